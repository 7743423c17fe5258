"""The playground: what is written into the page, and the page itself in Chromium, where there is one.

The browser test needs Chromium, its driver, and the npm package onnxruntime-web, unpacked in node_modules/ or in the
folder that MARSGEN_ORT names; it is skipped without them.
"""

import functools
import http.server
import io
import json
import math
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marsgen.cleaning.dataset import clean_scenes
from marsgen.commands.playground import ORT_FILES, PlaygroundConfig, find_ort, make_playground
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.onnx_files import OnnxNetwork
from marsgen.core.runs import Run
from marsgen.generators.config import TrainPix2PixConfig
from marsgen.scenes.sources import open_scenes

TINY = TrainPix2PixConfig(
    steps=4, batch_size=2, generator_width=4, discriminator_width=4, generator_lr=0.03, ema_decay=0.0
)


def ort_here() -> Path | None:
    """onnxruntime-web, where somebody unpacked it."""
    try:
        return find_ort(Path(os.environ["MARSGEN_ORT"]) if "MARSGEN_ORT" in os.environ else None)
    except ConfigError:
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_npz) -> Path:
    """A folder with gen/ (pix2pix of four large steps), synth/ (12 pairs of it) and ort/."""
    from marsgen.cli import app
    from marsgen.generators.pix2pix.train import train

    folder = tmp_path_factory.mktemp("playground")
    dataset = clean_scenes(open_scenes(str(tiny_npz)), DataConfig())
    run = Run.start(folder / "gen", "marsgen train-generator", TINY, {"data": dataset.scenes.identity()})
    train(TINY, run, dataset)
    run.close()
    words = ["synthesize", "--generator", folder / "gen", "--n", "12", "--out", folder / "synth"]
    app([str(word) for word in words], standalone_mode=False)
    (folder / "ort").mkdir()
    for name in ORT_FILES:
        there = ort_here()
        if there is None:
            (folder / "ort" / name).write_text("not the package")
        else:
            shutil.copy(there / name, folder / "ort" / name)
    return folder


@pytest.fixture(scope="module")
def page(place) -> Path:
    config = PlaygroundConfig(scenes=3, regions=4, thumbnail_px=64)
    make_playground(str(place / "gen"), config, place / "page", browse=[str(place / "synth")], ort=place / "ort")
    return place / "page"


def content(page: Path, name: str) -> dict[str, Any]:
    return json.loads((page / "data" / name).read_text(encoding="utf-8"))


def test_scenes_and_regions_are_those_of_the_data(page, tiny_npz):
    scenes = open_scenes(str(tiny_npz))
    described = content(page, "page.json")
    assert [c["name"] for c in described["classes"]["classes"]] == list(scenes.classes.names)
    assert len(described["scenes"]) == 3
    for entry in described["scenes"]:
        image, labels = scenes.read(scenes.names.index(entry["name"]))
        stored = np.frombuffer((page / "data" / entry["file"]).read_bytes(), np.uint8)
        pixels, indices = np.split(stored, [image.size])
        np.testing.assert_array_equal(pixels, image.ravel())
        np.testing.assert_array_equal(indices, scenes.classes.to_indices(labels).ravel())
    first = scenes.read(scenes.names.index(described["scenes"][0]["name"]))[1]
    assert (first == scenes.classes.ids[scenes.classes.index("big_rock")]).any()
    assert len(described["regions"]) == 4
    for entry in described["regions"]:
        stored = np.frombuffer((page / "data" / entry["file"]).read_bytes(), np.uint8)
        mask = stored[entry["height"] * entry["width"] :]
        assert set(np.unique(mask)) == {0, 1}


def test_larger_scenes_are_cut_to_their_middle(place):
    config = PlaygroundConfig(scenes=1, regions=0, side_px=48)
    make_playground(str(place / "gen"), config, place / "small", ort=place / "ort")
    described = content(place / "small", "page.json")
    assert [(s["height"], s["width"]) for s in described["scenes"]] == [(48, 48)]
    assert described["regions"] == []
    assert described["sets"] == []


def test_a_set_lies_in_sheets_with_what_is_known_of_each_pair(page, place):
    synth = open_scenes(str(place / "synth"))
    listed = content(page, "set-0.json")
    assert listed["fingerprint"] == synth.fingerprint()
    assert [pair["name"] for pair in listed["pairs"]] == list(synth.names)
    assert listed["cell"] == [32, 64]
    pictures = np.asarray(Image.open(page / "data" / "set-0-pictures-000.jpg").convert("L")).astype(float)
    maps = np.asarray(Image.open(page / "data" / "set-0-labels-000.png"))
    assert pictures.shape == (32, 12 * 64)
    for number, pair in enumerate(listed["pairs"]):
        image, labels = synth.read(number)
        halved = image[..., 0].reshape(32, 2, 64, 2).mean((1, 3))
        assert np.abs(pictures[:, number * 64 : (number + 1) * 64] - halved).mean() < 8
        red = (maps[:, number * 64 : (number + 1) * 64] == synth.classes.colours[3]).all(-1).sum()
        assert red == pytest.approx(pair["px"]["big_rock"] / 4, rel=0.3, abs=4)
        record = synth.record(number)
        assert pair["px"]["big_rock"] == (labels == synth.classes.ids[3]).sum()
        assert (pair["parent"], pair["pasted"]) == (record["parent"]["name"], ["big_rock"])
        assert pair["donors"] == [donor["name"] for donor in record["donors"]]
        assert {pair["parent"], *pair["donors"]} <= content(page, "page.json")["real"]["numbers"].keys()


def test_the_scores_of_a_set_are_shown_and_those_of_another_refused(place):
    synth = open_scenes(str(place / "synth"))
    for name, fingerprint in (("scores", synth.fingerprint()), ("others", "0" * 16)):
        inputs = {"set": {"location": "synth", "fingerprint": fingerprint}}
        run = Run.start(place / name, "marsgen score", DataConfig(), inputs)
        lines = [
            {"name": n, "agreement": {"big_rock": i / 100}, "copy": i == 3, "distance": 0.5}
            for i, n in enumerate(synth.names)
        ]
        (place / name / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.finish({})
    config = PlaygroundConfig(scenes=1, regions=0)
    given = {"browse": [str(place / "synth")], "ort": place / "ort"}
    make_playground(str(place / "gen"), config, place / "scored", scores=[place / "scores"], **given)
    pairs = content(place / "scored", "set-0.json")["pairs"]
    assert [pair["agreement"] for pair in pairs] == [i / 100 for i in range(12)]
    assert [pair["copy"] for pair in pairs].index(True) == 3
    with pytest.raises(RunError, match="is about synth, which is none of the sets named with --browse"):
        make_playground(str(place / "gen"), config, place / "x", scores=[place / "others"], **given)
    assert not (place / "x").exists()


def test_what_is_missing_or_does_not_fit_is_refused(place, page, tmp_path):
    config = PlaygroundConfig()
    with pytest.raises(ConfigError, match=r"--ort .*npm pack onnxruntime-web && tar xzf .* give --ort package"):
        make_playground(str(place / "gen"), config, tmp_path / "page", ort=tmp_path)
    with pytest.raises(RunError, match="no run folder here"):
        make_playground(str(tmp_path), config, tmp_path / "page", ort=place / "ort")
    other = tmp_path / "other"
    for kind in ("images", "labels"):
        (other / kind).mkdir(parents=True)
        Image.fromarray(np.ones((32, 32), np.uint8)).save(other / kind / "a.png")
    two = "".join(f"  - {{name: {name}, id: {i}, colour: [1, 2, {i}]}}\n" for i, name in ((1, "moss"), (2, "fern")))
    (other / "classes.yaml").write_text(f"ignored: 0\nclasses:\n{two}")
    with pytest.raises(DataError, match=r"--browse .* has the classes moss, fern; the generator's are soil"):
        make_playground(str(place / "gen"), config, tmp_path / "page", browse=[str(other)], ort=place / "ort")
    model = page / "models" / "generator.onnx"
    with pytest.raises(RunError, match="not a segmenter; give a file that `segmenter export` wrote"):
        make_playground(str(place / "gen"), config, tmp_path / "page", segmenter=model, ort=place / "ort")
    assert not (tmp_path / "page").exists()


# in the browser


def mulberry32(seed: int) -> Iterator[float]:
    """The generator of noise.js, written again."""
    state = seed
    while True:
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ (state >> 15)) * (state | 1) % 2**32
        t = (t ^ (t + (t ^ (t >> 7)) * (t | 61))) % 2**32
        yield ((t ^ (t >> 14)) % 2**32) / 2**32


def js_noise(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    random, found = mulberry32(seed), []
    for shape in shapes:
        values = []
        for _ in range(math.prod(shape) // 2):
            size, angle = math.sqrt(-2 * math.log(1 - next(random))), 2 * math.pi * next(random)
            values += [size * math.cos(angle), size * math.sin(angle)]
        found.append(np.array(values, np.float32).reshape(shape))
    return found


@pytest.fixture
def browser(page, tmp_path) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None or ort_here() is None:
        pytest.skip("needs Chromium, chromedriver, and onnxruntime-web in node_modules/ or where MARSGEN_ORT says")
    from selenium import webdriver

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(page)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(switch)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.get(f"http://127.0.0.1:{server.server_port}/")
        yield opened
    finally:
        opened.quit()
        server.shutdown()
        server.server_close()


def wait_for(what: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "the page did not do it in time"
        time.sleep(0.1)
    return found


def test_painting_drawing_saving_and_looking_through_in_chromium(browser, page, place, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    def state(key: str) -> str:
        return browser.execute_script("return document.body.dataset[arguments[0]] || ''", key)

    def at(name: str) -> Any:
        return browser.find_element(By.ID, name)

    def drawn_after(action: Any) -> None:
        before = state("drawn")
        action()
        wait_for(lambda: state("drawn") != before or at("status").get_attribute("class"))
        assert not at("status").get_attribute("class"), at("status").text

    wait_for(lambda: state("ready") or at("status").get_attribute("class"))
    assert state("ready") == "yes", at("status").text
    wait_for(lambda: state("drawn"))
    edit = at("edit")
    stroke = ActionChains(browser).move_to_element_with_offset(edit, -80, 30).click_and_hold().move_by_offset(90, 10)
    drawn_after(stroke.release().perform)
    drawn_after(lambda: Select(at("extent")).select_by_value("whole"))
    drawn_after(lambda: at("next-seed").click())
    at("save").click()
    path = wait_for(lambda: next(iter(tmp_path.glob("*.zip")), None))
    with zipfile.ZipFile(path) as saved:
        assert saved.testzip() is None
        image, labels = (
            np.asarray(Image.open(io.BytesIO(saved.read(n)))) for n in sorted(saved.namelist()) if n.endswith(".png")
        )
        saved.extractall(tmp_path / "saved")
    assert len(open_scenes(str(tmp_path / "saved"))) == 1  # a data set as it is

    # what was painted: the real map but for a stroke of the rare class
    entry = content(page, "page.json")["scenes"][0]
    stored = np.frombuffer((page / "data" / entry["file"]).read_bytes(), np.uint8).reshape(2, 64, 128)
    classes = open_scenes(str(place / "synth")).classes
    indices = classes.to_indices(labels)
    changed = indices != stored[1]
    assert 30 < changed.sum() < 1000
    assert set(indices[changed]) == {classes.index("big_rock")}

    # the picture, drawn again here with the same noise
    whole, fine, middle, coarse = js_noise(1, (1, 8), (1, 4, 32, 64), (1, 1, 16, 32), (1, 1, 8, 16))
    choice = np.array([next(mulberry32(1 ^ 0x9E3779B9))], np.float32)
    network = OnnxNetwork(page / "models" / "generator.onnx")
    inputs = (
        stored[:1, None] / np.float32(127.5) - 1,
        indices[None].astype(np.int32),
        np.ones((1, 1, 64, 128), np.float32),
        *(choice, whole, fine, middle, coarse),
    )
    wanted = np.rint((network(*inputs)[0, 0] + 1) * 127.5).clip(0, 255)
    assert np.abs(image - wanted).max() <= 1
    assert (image == wanted).mean() > 0.99  # chance alone: this picture has a dozen grey levels
    assert wanted.std() > 1

    # undo brings the real map back
    drawn_after(lambda: Select(at("extent")).select_by_value("changed"))
    drawn_after(lambda: at("undo").click())
    wait_for(lambda: "nothing was changed" in at("draw-time").text)

    # browse: the second pair of the set is rejected
    at("tab-browse").click()
    grid = at("grid")
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".pair")) == 12)
    grid.send_keys(Keys.ARROW_RIGHT, "x")
    wait_for(lambda: "1 of 12 rejected" in at("count").text)
    grid.send_keys(Keys.ENTER)
    assert "parent" in wait_for(lambda: at("detail").text)
    browser.find_element(By.CSS_SELECTOR, "#detail button").click()
    at("export").click()
    kept = json.loads(wait_for(lambda: next(iter(tmp_path.glob("kept.json")), None)).read_text())
    names = list(open_scenes(str(place / "synth")).names)
    assert kept["kept"] == [names[0], *names[2:]]
    Select(at("which")).select_by_value("rejected")
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".pair")) == 1)
    errors = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    assert errors == []
