"""`marsgen playground`: what is written into the page, and what is refused."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_predictions import paint_predictions
from PIL import Image

from marsgen.commands.demo import ARMS, playground_command
from marsgen.commands.playground import PlaygroundConfig, make_playground
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.scenes.sources import open_scenes


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


def test_the_command_that_the_demo_ends_with_makes_a_page(place, tiny_test_npz, tmp_path, monkeypatch, capsys):
    from marsgen.cli import app

    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    for name, there in (("demo/generator", "gen"), ("demo/synth", "synth"), ("package", "ort")):
        Path(name).symlink_to(place / there)
    for arm in ARMS:
        paint_predictions(
            Path(f"demo/predictions-{arm}"),
            str(tiny_test_npz),
            lambda _, truth: np.where(truth == 255, 0, truth),
            run=f"demo/segmenter-{arm}-seed0",
        )
    monkeypatch.setattr("marsgen.commands.demo.run_demo", lambda config, out: out / "report" / "report.html")
    app(["demo", "--out", "demo"], standalone_mode=False)
    needs, _, command = capsys.readouterr().out.splitlines()[-1].partition(": ")
    assert "the extra `export`" in needs
    assert "npm pack onnxruntime-web" in needs
    words = shlex.split(command)
    assert words == playground_command(Path("demo"))
    app([*words[1:], "--set", "scenes=1", "--set", "regions=0"], standalone_mode=False)
    described = content(Path("demo/page"), "page.json")
    assert described["sets"][0]["pairs"] == 12
    assert described["comparison"]["pictures"] == 24
    names = [run["name"] for run in content(Path("demo/page"), "compare.json")["runs"]]
    assert names == ["segmenter-real-seed0", "segmenter-pix2pix-seed0"]
