"""The playground in Chromium, where there is one: one browser and one page for all tests.

Needs Chromium, its driver, and the npm package onnxruntime-web, unpacked in node_modules/ or in the folder that
MARSGEN_ORT names; skipped without them.
"""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_predictions import paint_predictions
from PIL import Image
from playground_pages import NO_BROWSER, WHY_NO_BROWSER, Seen, open_page
from scipy import ndimage

from marsgen.commands.playground import PlaygroundConfig, make_playground
from marsgen.core.storage.onnx_files import OnnxNetwork
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NO_BROWSER, reason=WHY_NO_BROWSER)]

ROCK = mars_classes().index("big_rock")
TABS = ("paint", "browse", "compare")
BLANK = 255
ENTER, LEFT, RIGHT = "\ue007", "\ue012", "\ue014"  # as WebDriver names keys


def predict_a(number: int, truth: np.ndarray) -> np.ndarray:
    """Every rock is missed; scene 1 is right."""
    filled = np.where(truth == BLANK, 0, truth)
    return np.where((filled == ROCK) & (number != 1), 0, filled).astype(np.uint8)


def predict_b(number: int, truth: np.ndarray) -> np.ndarray:
    """Every rock is found; scene 1 is all rock."""
    return np.where(number == 1, ROCK, np.where(truth == BLANK, 0, truth)).astype(np.uint8)


@pytest.fixture(scope="module")
def opened(place, tiny_test_npz, tmp_path_factory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("browser")
    config = PlaygroundConfig(scenes=3, regions=4, thumbnail_px=64)
    painted = [("a", predict_a), ("b", predict_b)]
    compare = [paint_predictions(folder / name, str(tiny_test_npz), paint, run=name) for name, paint in painted]
    given: dict[str, Any] = {"browse": [str(place / "synth")], "compare": compare, "ort": place / "ort"}
    make_playground(str(place / "gen"), config, folder / "page", **given)
    (folder / "downloads").mkdir()
    with open_page(folder / "page", folder / "downloads") as browser:
        seen = Seen(browser, folder / "page", folder / "downloads")
        ready = "return document.body.dataset.ready && document.body.dataset.drawn"
        seen.wait_for(lambda: seen.run(ready) or seen.at("status").get_attribute("class"))
        yield seen


@pytest.fixture
def seen(opened) -> Iterator[Seen]:
    """The page with nothing painted; afterwards its console must be empty."""
    opened.run("scrollTo(0, 0)")
    opened.click("tab-paint")
    opened.after_drawing(lambda: opened.click("reset"))
    opened.choose("size", "8")
    opened.tool("brush")
    opened.run("document.querySelector('#classes [data-index=\"3\"]').click()")
    yield opened
    assert opened.complaints() == []


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


# painting


def test_the_saved_pair_is_what_the_network_draws_for_the_painted_map(seen):
    seen.after_drawing(lambda: seen.press(seen.at("edit"), (20, 40), (50, 44)))
    seen.after_drawing(lambda: seen.choose("extent", "whole"))
    seen.after_drawing(lambda: seen.click("next-seed"))
    image, indices = seen.saved()
    assert len(open_scenes(str(seen.downloads / "saved"))) == 1  # a data set as it is
    seen.after_drawing(lambda: seen.choose("extent", "changed"))

    pixels, real = seen.scene()
    changed = indices != real
    assert 30 < changed.sum() < 1000
    assert set(indices[changed]) == {ROCK}
    whole, fine, middle, coarse = js_noise(1, (1, 8), (1, 4, 32, 64), (1, 1, 16, 32), (1, 1, 8, 16))
    choice = np.array([next(mulberry32(1 ^ 0x9E3779B9))], np.float32)
    network = OnnxNetwork(seen.page / "models" / "generator.onnx")
    inputs = (
        pixels[None, None] / np.float32(127.5) - 1,
        indices[None].astype(np.int32),
        np.ones((1, 1, 64, 128), np.float32),
        *(choice, whole, fine, middle, coarse),
    )
    wanted = np.rint((network(*inputs)[0, 0] + 1) * 127.5).clip(0, 255)
    assert np.abs(image - wanted).max() <= 1
    assert (image == wanted).mean() > 0.99  # chance alone: this picture has a dozen grey levels
    assert wanted.std() > 1


def test_every_tool_changes_the_pixels_that_it_is_for(seen):
    _, real = seen.scene()
    edit, rows, columns = seen.at("edit"), *np.mgrid[:64, :128]

    seen.after_drawing(lambda: seen.press(edit, (20.5, 40.5)))
    brushed = np.hypot(columns - 20, rows - 40) <= 4
    np.testing.assert_array_equal(seen.saved()[1], np.where(brushed, ROCK, real))

    seen.tool("polygon")
    for corner in ((70.3, 5.3), (90.3, 5.3), (90.3, 15.3), (70.3, 15.3)):
        seen.press(edit, corner)
    seen.after_drawing(lambda: edit.send_keys(ENTER))
    framed = (columns >= 70) & (columns < 90) & (rows >= 5) & (rows < 15)
    painted = np.where(brushed | framed, ROCK, real)
    np.testing.assert_array_equal(seen.saved()[1], painted)

    seen.tool("fill")
    seen.run("document.querySelector('#classes [data-index=\"1\"]').click()")
    seen.after_drawing(lambda: seen.press(edit, (80.5, 10.5)))
    regions, _ = ndimage.label(painted == ROCK)  # sides alone join pixels
    filled = np.where(regions == regions[10, 80], 1, painted)
    np.testing.assert_array_equal(seen.saved()[1], filled)

    seen.tool("stamp")
    seen.run("document.querySelector('#stamps button').click()")
    seen.after_drawing(lambda: seen.press(edit, (64.2, 32.2)))
    region = json.loads((seen.page / "data" / "page.json").read_text(encoding="utf-8"))["regions"][0]
    size = (region["height"], region["width"])
    mask = np.frombuffer((seen.page / "data" / region["file"]).read_bytes(), np.uint8)[-math.prod(size) :].reshape(size)
    stamped = filled.copy()
    left, top = (math.floor(middle - side / 2 + 0.5) for middle, side in ((64.2, size[1]), (32.2, size[0])))
    stamped[top : top + size[0], left : left + size[1]][mask > 0] = region["class"]
    assert region["donor"] in seen.all("#stamps [aria-checked=true]")[0].get_attribute("title")
    np.testing.assert_array_equal(seen.saved()[1], stamped)

    seen.tool("restore")
    seen.choose("size", "40")
    for point in ((20.5, 40.5), (64.2, 32.2)):
        seen.after_drawing(lambda point=point: seen.press(edit, point))
    near = (np.hypot(columns - 20, rows - 40) <= 20) | (np.hypot(columns + 0.5 - 64.2, rows + 0.5 - 32.2) <= 20)
    restored = np.where(near, real, stamped)
    np.testing.assert_array_equal(seen.saved()[1], restored)
    assert (restored != real).any()  # the filled polygon is still there

    for wanted in (None, stamped, filled, painted, np.where(brushed, ROCK, real), real):
        seen.after_drawing(lambda: seen.click("undo"))
        if wanted is not None:
            np.testing.assert_array_equal(seen.saved()[1], wanted)
    seen.wait_for(lambda: "nothing was changed" in seen.at("draw-time").text)


def test_a_finger_paints(seen):
    _, real = seen.scene()
    seen.after_drawing(lambda: seen.touch(seen.at("edit"), (30.5, 20.5), (40.5, 20.5), (50.5, 20.5)))
    seen.wait_for(lambda: (seen.saved()[1] != real).sum() > 100)
    indices = seen.saved()[1]
    assert (indices[20, 27:54] == ROCK).all()
    assert (indices[:12] == real[:12]).all()


# looking through


def test_a_rejected_pair_is_not_in_the_kept_list(seen, place):
    names = list(open_scenes(str(place / "synth")).names)
    seen.click("tab-browse")
    seen.wait_for(lambda: len(seen.all(".pair")) == 12)
    grid = seen.at("grid")
    grid.send_keys(RIGHT, "x")
    seen.wait_for(lambda: "1 of 12 rejected" in seen.at("count").text)
    assert [pair.get_attribute("title") for pair in seen.all(".pair.rejected")] == [names[1]]
    grid.send_keys(ENTER)
    assert "parent" in seen.wait_for(lambda: seen.at("detail").text)
    seen.all("#detail button")[0].click()
    seen.click("export")
    kept = json.loads(seen.downloaded("kept.json"))
    assert kept["kept"] == [names[0], *names[2:]]
    assert kept["fingerprint"] == open_scenes(str(place / "synth")).fingerprint()
    seen.choose("which", "rejected")
    seen.wait_for(lambda: len(seen.all(".pair")) == 1)
    seen.choose("which", "all")


# comparing


def changes(npz: Path) -> list[tuple[str, int]]:
    """Name and change of every picture: right pixels of big rock less false ones, B less A; largest first."""
    found = []
    for number, scene in enumerate(open_scenes(str(npz))):
        truth = scene.indices
        balances = []
        for predicted in (predict_a(number, truth), predict_b(number, truth)):
            called = (predicted == ROCK) & (truth != BLANK)
            balances.append(int((called & (truth == ROCK)).sum() - (called & (truth != ROCK)).sum()))
        found.append((scene.name, balances[1] - balances[0]))
    return sorted(found, key=lambda one: -abs(one[1]))


def captions(seen: Seen) -> list[tuple[str, str]]:
    read = "return [...document.querySelectorAll('.caption')].map((c) => [...c.children].map((e) => e.textContent))"
    return [(name, change) for change, name in seen.run(read)]


def shown(seen: Seen, element: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)


def test_pictures_that_changed_are_shown_first_and_filtered(seen, tiny_test_npz):
    wanted = changes(tiny_test_npz)
    better, worse = sum(by > 0 for _, by in wanted), sum(by < 0 for _, by in wanted)
    assert (worse, better > 5, len(wanted)) == (1, True, 24)
    seen.click("tab-compare")
    seen.wait_for(lambda: seen.all(".change"))
    words = [
        (name, f"▲ {by} px improved" if by > 0 else f"▼ {-by} px regressed" if by < 0 else "= the same")
        for name, by in wanted
    ]
    found = captions(seen)
    assert found == words[: len(found)]
    assert len(found) < 24  # only those in sight
    assert seen.at("compared-count").text == f"{better} improved, 1 regressed, {23 - better} the same; 24 shown"
    rows = [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in seen.all("#iou tbody tr")]
    rock = next(row for row in rows if row[0] == "big_rock")
    assert float(rock[3].replace("−", "-")) == pytest.approx(float(rock[2]) - float(rock[1]), abs=0.11)
    assert [row[0] for row in rows] == [*mars_classes().names, "mean"]
    assert "A look, not a test." in seen.at("compare").text

    seen.choose("changed", "regressed")
    assert captions(seen) == [one for one in words if "regressed" in one[1]]
    seen.choose("changed", "all")
    seen.run("document.getElementById('changes').scrollTop = 1e6")
    seen.wait_for(lambda: words[-1] in captions(seen))
    assert len(seen.all(".change")) < 24


def test_the_line_is_dragged_by_mouse_finger_and_keys(seen, tiny_test_npz):
    seen.click("tab-compare")
    seen.choose("changed", "improved")
    seen.wait_for(lambda: seen.all(".change[data-drawn]"))
    card = seen.all(".change[data-drawn]")[0]
    swipe, slider = (card.find_element("css selector", part) for part in (".swipe", ".swipe input"))

    def value() -> int:
        return int(slider.get_attribute("value"))

    seen.press(slider, (64, 32), (126, 32), (127.9, 32))
    assert value() == 100  # all of A, which misses the rocks
    pixels = shown(seen, swipe)
    missed, right = (pixels[..., 0] - pixels[..., 2] > 60), (pixels[..., 2] - pixels[..., 0] > 60)
    assert (missed.sum() > 200, right.sum()) == (True, 0)
    seen.press(slider, (64, 32), (2, 32), (0.1, 32))
    assert value() == 0  # all of B, which finds them
    pixels = shown(seen, swipe)
    missed, right = (pixels[..., 0] - pixels[..., 2] > 60), (pixels[..., 2] - pixels[..., 0] > 60)
    assert (missed.sum(), right.sum() > 200) == (0, True)

    seen.touch(slider, (10, 32), (30, 32), (64, 32), (96, 32))
    seen.wait_for(lambda: abs(value() - 75) <= 2)
    before = value()
    slider.send_keys(LEFT, LEFT)
    assert value() == before - 2
    assert slider.get_attribute("aria-valuetext") == f"A {before - 2} %"
    assert swipe.get_attribute("style").endswith(f"--split: {before - 2}%;")
    seen.choose("changed", "all")


# for every eye and every screen

FAINT = """
const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
  if (!text || !element.checkVisibility() || element.disabled || element.closest("option, noscript")) continue;
  let [behind, share] = [null, 1];
  for (let e = element; e; e = e.parentElement) {
    const style = getComputedStyle(e);
    const colour = numbers(style.backgroundColor);
    if (!behind && (colour[3] ?? 1) > 0) behind = colour;
    share *= Number(style.opacity);
  }
  const ink = numbers(getComputedStyle(element).color).slice(0, 3).map((v, i) => behind[i] + share * (v - behind[i]));
  const [a, b] = [light(ink), light(behind)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  found.push([ratio, text.slice(0, 40)]);
}
return found;
"""

WIDE = """
return [...document.querySelectorAll("main:not([hidden]) *")]
  .filter((e) => e.checkVisibility() && !e.closest(".stamps, .space") && e.getBoundingClientRect().right > 361)
  .map((e) => e.outerHTML.slice(0, 80));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_read_on_its_background(seen, scheme):
    seen.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    papers = set()
    for tab in TABS:
        seen.click(f"tab-{tab}")
        found = seen.run(FAINT)
        assert len(found) > 10
        assert [line for line in found if line[0] < 4.5] == []
        papers.add(seen.run("return getComputedStyle(document.body).backgroundColor"))
    assert papers == {{"light": "rgb(251, 250, 248)", "dark": "rgb(23, 24, 27)"}[scheme]}
    seen.tell("Emulation.setEmulatedMedia", features=[])


def test_nothing_is_wider_than_a_narrow_screen(seen):
    seen.tell("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    for tab in TABS:
        seen.click(f"tab-{tab}")
        assert seen.run(WIDE) == [], tab
        assert seen.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360], tab
        for scroller in seen.all("main:not([hidden]) .scroller"):
            assert seen.run("return arguments[0].scrollWidth <= arguments[0].clientWidth", scroller), tab
    assert len(seen.all(".change")) > 0
    seen.tell("Emulation.clearDeviceMetricsOverride")
