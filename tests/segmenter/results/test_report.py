"""The report: one file, honest choices, words for what is missing."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from closed_pages import check_closed
from painted_runs import ArrayScenes, evaluate_run, keys_of, paint_labels, predictor, with_margins, write_run
from PIL import Image

from marsgen.core.errors import DataError, RunError
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import choose_scenes, evaluate
from segmenter.inference.config import InferenceConfig
from segmenter.results.arms import Arm, count_arms
from segmenter.results.compare import open_arms
from segmenter.results.metadata import StatisticsSettings
from segmenter.results.page.figures import Curve, draw_confusion, draw_curves
from segmenter.results.page.gallery import Choice, choose_images, picture_address
from segmenter.results.page.runs import nearest_rows, thumbnail
from segmenter.results.report import ReportConfig, report
from segmenter.results.summary import summarise

ROCK = 2
CONFIG = ReportConfig(resamples=300, gallery=2, samples=3)
BARE = ReportConfig(resamples=300, gallery=0, samples=0)
SKILLS = {"real": 0.5, "copy": 0.7, "pix": 0.3}


def paint_world(root: Path, classes: ClassSet | None = None):
    """Test scenes, real and synthetic training scenes, and three arms of one run, trained and scored on them."""
    test = ArrayScenes(paint_labels(40, rocks=0.8), *([classes] if classes else []), location="test.npz")
    real = ArrayScenes(paint_labels(6, seed=1), test.classes, location="real.npz", seed=1)
    synthetic = ArrayScenes(paint_labels(5, seed=2, rocks=1), test.classes, location="outputs/synth", seed=2)
    data = {"location": real.location, "fingerprint": real.fingerprint()}
    extra = {"location": synthetic.location, "fingerprint": synthetic.fingerprint(), "mode": "region", "n": 5}
    for name, generator in (("real", None), ("copy", "copy-paste"), ("pix", "pix2pix")):
        made = [{**extra, "generator": generator}] if generator else []
        run = write_run(root / name, extra=made, data=data, train_keys=keys_of(real)[:4], val_keys=keys_of(real)[4:])
        evaluate_run(run, test, SKILLS[name])
    return [root / name for name in SKILLS], {source.location: source for source in (test, real, synthetic)}


def write_page(folders: list[Path], sources: dict[str, ArrayScenes], out: Path, config: ReportConfig = CONFIG) -> str:
    def scenes_at(location: str, classes: ClassSet | None = None) -> ArrayScenes:
        if location not in sources:
            raise DataError(f"{location}: no such file or folder")
        return sources[location]

    def predictor_of(folder: Path, ask: InferenceConfig):
        return predictor(sources["test.npz"], SKILLS[folder.name])

    return report(folders, config, out, scenes_at=scenes_at, predictor_of=predictor_of).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    return paint_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def reported(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report."""
    folder = tmp_path_factory.mktemp("page") / "report"
    write_page(*world, folder)
    return folder


@pytest.fixture(scope="module")
def page(reported: Path) -> str:
    return (reported / "report.html").read_text(encoding="utf-8")


class TagBalance(HTMLParser):
    """Collects ids and links, and insists that every tag is closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.open += [] if tag in self.VOID else [tag]
        self.ids += [value for key, value in attrs if key == "id"]
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read_picture(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


# the page


def test_page_is_whole_html_and_fetches_nothing(page: str):
    parsed = TagBalance()
    parsed.feed(page)
    assert parsed.open == []
    assert not re.search(r"https?:|<link|<script|@import|xmlns", page)
    assert all(
        link.startswith(("data:image/png;base64,", "data:text/csv;base64,")) or link[1:] in parsed.ids
        for link in parsed.links
    )


def test_page_shows_every_gain_with_its_intervals_and_verdict(page: str, world):
    gains = summarise(count_arms(open_arms(world[0], CONFIG), CONFIG)).gains
    assert len(gains) == 10
    for row in gains:
        alone, corrected = (
            f"[{100 * low:+.1f}, {100 * high:+.1f}]"
            for low, high in ((row.low, row.high), (row.simultaneous_low, row.simultaneous_high))
        )
        assert f"{100 * row.gain:+.1f}<small>{alone}</small>" in page
        assert alone == corrected or f"<small>corrected {corrected}</small>" in page
        assert f'<span class="verdict {row.verdict.replace(" ", "-")}">{row.verdict}</span>' in page


def test_report_writes_the_tables_of_compare_too(reported: Path, world, tmp_path: Path):
    from segmenter.results.compare import CompareConfig, compare

    compare(world[0], CompareConfig(resamples=300), tmp_path / "compare")
    for name in ("results.json", "results.md", "gains.csv", "scores.csv", "subgroups.csv"):
        assert (reported / name).read_bytes() == (tmp_path / "compare" / name).read_bytes()


def test_page_has_every_section_and_every_run(page: str, world):
    for section in (
        "gains",
        "scores",
        "subgroups",
        "gallery",
        "samples",
        "curves",
        "confusion",
        "runs",
        "limitations",
        "files",
    ):
        assert f'<section id="{section}">' in page
        assert f'href="#{section}"' in page
    for folder in world[0]:
        assert f"<summary>{folder}</summary>" in page
    assert "steps: 100" in page  # a resolved setting in the fold-out
    assert "do not cover what training again would change" in page


@pytest.mark.slow
def test_same_runs_same_bytes(page: str, world, tmp_path: Path):
    assert write_page(*world, tmp_path / "again") == page


@pytest.mark.slow
def test_markup_in_names_is_text(tmp_path: Path):
    classes = ClassSet(("<b>", "$x$ & y", "big_rock"), (1, 2, 4), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), 0, ("big_rock",))
    page = write_page(*paint_world(tmp_path, classes), tmp_path / "report")
    assert "<b>" not in page.replace("<b>real only</b>", "").replace("<b>+ copy-paste</b>", "").replace(
        "<b>+ pix2pix (region)</b>", ""
    )
    assert "IoU &lt;b&gt;" in page


@pytest.mark.usefixtures("plain_figures")
def test_data_that_moved_or_changed_are_said_to_be_missing(world, tmp_path: Path):
    folders, sources = world
    left = {"real.npz": sources["real.npz"], "outputs/synth": ArrayScenes(paint_labels(5, seed=9))}
    page = write_page(folders, left, tmp_path / "report")
    assert "not shown: test.npz: no such file or folder" in page
    assert "not shown: outputs/synth has changed since the runs used it" in page


@pytest.mark.usefixtures("plain_figures")
def test_pictures_can_be_left_out(world, tmp_path: Path):
    page = write_page(*world, tmp_path / "bare", BARE)
    assert "<img" not in page
    assert 'href="#gallery"' not in page


@pytest.mark.usefixtures("plain_figures")
def test_a_folder_of_another_report_is_refused(world, tmp_path: Path):
    write_page(*world, tmp_path / "report", BARE)
    with pytest.raises(RunError, match="belongs to another run"):
        write_page(world[0][:2], world[1], tmp_path / "report", BARE)


# which pictures


def choose_for(arms: list[Arm], each: int) -> list[Choice]:
    study = count_arms(arms, StatisticsSettings())
    counts = [arm.counts[0] for arm in study.arms]
    return choose_images([arm.label for arm in arms], counts, study.arms[0].regions, ROCK, each)


def test_gallery_takes_largest_then_improved_and_regressed(world):
    arms = open_arms(world[0], CONFIG)
    choices = choose_for(arms, 2)
    assert len({choice.image for choice in choices}) == len(choices)
    test = world[1]["test.npz"]
    areas = np.array([(map_ == 4).sum() for map_ in test.labels])
    assert {areas[c.image] for c in choices[:2]} <= set(np.sort(areas)[-4:])
    hits = np.array([[e.counts[i, ROCK, ROCK] for i in range(40)] for e in (arm.evaluations[0] for arm in arms)])
    rest = [i for i in range(40) if i not in {c.image for c in choices[:2]}]
    improved = [c for c in choices if c.reason.startswith("most improved by + copy-paste")]
    regressed = [c for c in choices if c.reason.startswith("most regressed by + pix2pix (region)")]
    gained = hits - hits[0]  # these stand-ins never call anything rock that is none
    assert improved[0].reason == f"most improved by + copy-paste ({max(gained[1][rest]):+d} px)"
    assert gained[2][regressed[0].image] == gained[2][rest].min() < 0


def test_false_pixels_count_against_an_arm(tmp_path: Path):
    labels = [np.full((32, 48), 1, np.uint8) for _ in range(3)]
    labels[0][:4, :4] = 4
    source = ArrayScenes(labels)

    arms = []
    for name, wrong in (("a", False), ("b", True)):

        def predict(images: np.ndarray, wrong: bool = wrong) -> np.ndarray:
            maps = np.zeros(images.shape[:3], np.uint8)
            maps[2, :, :10] = ROCK if wrong else 0
            return maps

        run = write_run(tmp_path / name)
        stand_in = with_margins(predict)
        scored = evaluate(run, source, choose_scenes(run, source), source.classes, stand_in, EvaluateConfig())
        arms.append(Arm(name, (run,), (scored,)))
    assert [(c.image, c.reason) for c in choose_for(arms, 2)] == [
        (0, "among the largest (16 px)"),
        (2, "most regressed by b (-320 px)"),
    ]


def test_nearest_real_scene_is_one_that_was_trained_on():
    smooth = np.linspace(0, 200, 48)[None, :] + np.linspace(0, 50, 32)[:, None]
    real = ArrayScenes(paint_labels(4))
    rng = np.random.default_rng(0)
    for i in range(4):
        blob = np.roll(smooth, 12 * i, axis=1) + rng.normal(0, 2, smooth.shape)
        real.images[i] = blob.clip(0, 255).astype(np.uint8)[..., None]
    synthetic = ArrayScenes(paint_labels(2))
    synthetic.images = [np.minimum(real.images[i] // 2 + 20, 255).astype(np.uint8) for i in (1, 3)]  # darker copies
    rows = nearest_rows(synthetic, real, keys_of(real), 2)
    assert [row.pictures[2][0] for row in rows] == ["nearest real: scene1", "nearest real: scene3"]
    unseen = nearest_rows(synthetic, real, keys_of(real)[:3], 2)
    assert unseen[1].pictures[2][0] != "nearest real: scene3"
    assert nearest_rows(synthetic, real, ["0" * 16], 2) == []


def test_thumbnails_do_not_see_brightness_and_contrast():
    image = np.random.default_rng(0).integers(50, 150, (64, 96, 1), np.uint8)
    smooth = np.repeat(np.repeat(image[::16, ::16], 16, 0), 16, 1)
    np.testing.assert_allclose(thumbnail(smooth), thumbnail(smooth // 2 + 40), atol=0.1)
    assert np.abs(thumbnail(smooth) - thumbnail(smooth[::-1])).max() > 0.5


def test_outline_runs_around_the_region():
    image = np.full((32, 64, 1), 100, np.uint8)
    region = np.zeros((32, 64), bool)
    region[10:20, 10:20] = True
    shown = read_picture(picture_address(image, region, line=(255, 0, 0)))
    assert shown.shape == (192, 384, 3)  # six times as large
    assert (shown[60:120, 60:120] == 100).all()
    assert (shown[58:60, 90] == [255, 0, 0]).all()
    assert (shown[57, 90] == 0).all()
    assert (shown[:50] == 100).all()


def test_large_pictures_are_thinned_out():
    assert read_picture(picture_address(np.zeros((1024, 1024, 3), np.uint8))).shape[:2] == (342, 342)


# figures


def test_confusion_figure_states_shares_of_rows_and_counts():
    svg = draw_confusion(np.array([[3000, 1000], [0, 0]]), ["a", "b"], "arm")
    ElementTree.fromstring(re.sub(r"xlink:", "", svg))
    assert ">75.0 %<" in svg
    assert ">3 k<" in svg
    assert ">0.0 %<" in svg  # a class without a pixel: no warning, no NaN
    assert "nan" not in svg


def test_names_in_figures_are_not_read_as_formulas_or_markup():
    svg = draw_confusion(np.eye(2, dtype=int), ["$x$ & y", "<b>"], "$")
    assert ">$x$ &amp; y<" in svg
    assert ">&lt;b&gt;<" in svg


def test_figures_take_the_colour_of_the_page():
    svg = draw_curves(
        [("loss", [Curve("real only", (1, 2), (0.5, 0.4)), Curve("x", (1,), (0.3,))])], ["real only", "x"]
    )
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_hundreds_of_classes_fit_in_a_figure():
    svg = draw_confusion(np.eye(200, dtype=int) * 5, [f"class {i}" for i in range(200)], "arm")
    assert "class 17" not in svg


def test_the_page_is_closed(page: str):
    check_closed(page)
