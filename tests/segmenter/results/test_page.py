"""The page of a study: one file that fetches nothing, made from counts alone; its gallery; its command."""

import base64
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from closed_pages import check_closed
from painted_runs import ArrayScenes, evaluate_run, paint_labels, predictor, write_run
from painted_studies import ROCK, paint_study, rank_study, study_of
from test_report import TagBalance, read_picture
from typer.testing import CliRunner

from marsgen.core.errors import DataError
from marsgen.scenes.scene import scene_key
from segmenter.cli import app
from segmenter.inference.config import InferenceConfig
from segmenter.results.counts import arm_of_evaluations, images_of_evaluations, write_counts
from segmenter.results.metadata import ArmMetadata
from segmenter.results.page.figures import draw_forest
from segmenter.results.page.gallery import Gallery, Row, make_gallery, picture_address, read_gallery, write_gallery
from segmenter.results.page.page import render
from segmenter.results.places import find_study
from segmenter.results.report import report_study
from segmenter.results.summary import summarise

SKILLS = {"real": (None, 0.2), "copy-1": ("real", 0.5), "less": (None, 0.1), "less-copy": ("less", 0.5)}
DOSES = {
    "name": "doses",
    "title": "More & more",
    "x_title": "scenes",
    "points": [{"x": 0, "arm": "real"}, {"x": 1, "arm": "copy-1"}],
}
PICTURE = picture_address(np.zeros((32, 48, 1), np.uint8))
GALLERY = Gallery("big_rock", (Row("scene3: among the largest (9 px)", (("image", PICTURE), ("real", PICTURE))),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: counts, gallery, tables and page."""
    folder = tmp_path_factory.mktemp("study")
    write_counts(folder / "counts", paint_study(SKILLS, images=40, curves=[DOSES]))
    write_gallery(folder / "results" / "gallery.json", GALLERY)
    report_study(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "results" / "study.html").read_text(encoding="utf-8")


# the page


def test_page_is_whole_html_and_fetches_nothing(page: str):
    parsed = TagBalance()
    parsed.feed(page)
    assert parsed.open == []
    assert not re.search(r"https?:|<link|<script|@import|xmlns", page)
    data = ("data:image/png;base64,", "data:text/csv;base64,")
    assert all(link.startswith(data) or link[1:] in parsed.ids for link in parsed.links)


def test_page_has_every_section(page: str):
    for section in ("gains", "doses", "scores", "subgroups", "gallery", "costs", "limitations", "files"):
        assert f'<section id="{section}">' in page
        assert f'href="#{section}"' in page


def test_page_shows_secondary_scores_where_there_are_any(page: str):
    assert "secondary" not in page.lower()
    study = rank_study(paint_study(SKILLS, images=40), {"real": 0, "copy-1": 1, "less": 0, "less-copy": 1.5})
    ranked = render(summarise(study))
    parsed = TagBalance()
    parsed.feed(ranked)
    assert parsed.open == []
    assert 'href="#secondary"' in ranked
    section = ranked[ranked.index('<section id="secondary">') :]
    section = section[: section.index("</section>")]
    assert ranked.index('<section id="scores">') < ranked.index(section) < ranked.index('<section id="subgroups">')
    for name in ("average precision big_rock", "IoU at matched fraction big_rock"):
        assert f"Gains in {name} (secondary)" in section
        assert section.count(f"<th class=n>{name}</th>") == 3  # over the own and the common baseline, and of each arm
    assert "secondary_gains.csv" in ranked
    assert "average precision" not in ranked[: ranked.index(section)]


def test_page_offers_every_csv_as_it_is_on_disk(page: str, folder: Path):
    offered = dict(re.findall(r'<a download="([^"]+)" href="data:text/csv;base64,([^"]+)"', page))
    on_disk = {path.name: path.read_text() for path in (folder / "results").glob("*.csv")}
    assert {name: base64.b64decode(text).decode() for name, text in offered.items()} == on_disk
    assert len(on_disk) == 5


@pytest.mark.slow
def test_counts_alone_give_the_same_bytes(page: str, folder: Path, tmp_path: Path):
    shutil.copytree(folder / "counts", tmp_path / "counts")
    shutil.copy(folder / "results" / "gallery.json", tmp_path / "gallery.json")
    done = CliRunner().invoke(
        app, ["study-report", str(tmp_path / "counts"), "--out", str(tmp_path)], catch_exceptions=False
    )
    assert done.output.splitlines()[0] == "Do more rocks help?"
    assert done.output.splitlines()[-1] == f"wrote {tmp_path / 'study.html'}"
    for name in ("study.html", "results.json", "results.md", "gains.csv"):
        assert (tmp_path / name).read_bytes() == (folder / "results" / name).read_bytes()


def test_page_goes_without_pictures_and_curves_and_takes_names_as_text():
    plain, other = paint_study({"a": (None, 0.2), "b": ("a", 0.3)}, images=30).arms
    marked = replace(other, metadata=other.metadata.model_copy(update={"title": "<b> $x$ & y"}))
    page = render(summarise(study_of([plain, marked], "a", title="a < b")))
    assert "<img" not in page
    assert 'id="doses"' not in page
    assert "<b>" not in page
    assert "<h1>a &lt; b</h1>" in page
    assert "&lt;b&gt; $x$ &amp; y" in page


def test_figures_show_whole_names_of_arms_and_titles():
    arms = paint_study({"a": (None, 0.2), "b": ("a", 0.3), "c": ("a", 0.3)}, images=30).arms
    titles = ("plain", "+ zoom crops and copy-paste, not drawn", "+ zoom crops and copy-paste, redrawn")
    named = [
        replace(arm, metadata=arm.metadata.model_copy(update={"title": title}))
        for arm, title in zip(arms, titles, strict=True)
    ]
    results = summarise(study_of(named, "a"))
    figure = draw_forest(results.gains_in("mean IoU"), "IoU at matched fraction of a rare class (secondary)")
    lines = re.findall(r"<text([^>]*)>([^<]*)</text>", figure)
    assert {"+ zoom crops and copy-paste, not", "drawn", "+ zoom crops and copy-paste,", "redrawn"} <= {
        t for _, t in lines
    }
    (title,) = [style for style, text in lines if text.startswith("IoU at matched")]
    # where the axes begin, it would end outside the figure
    assert float(re.search(r' x="([\d.]+)"', title)[1]) < 10


@pytest.mark.usefixtures("plain_figures")
def test_page_lists_the_smallest_detectable_gains():
    power = {"seeds": 3, "confidence": 0.95, "power": 0.8, "smallest_gain": {"mean IoU": 0.031}}
    power["with_other_seeds"] = {5: {"mean IoU": None}}
    arms = paint_study({"a": (None, 0.2), "b": ("a", 0.3)}, images=30).arms
    page = render(summarise(study_of(arms, "a", power=power)))
    assert '<th class="n">3 seeds</th><th class="n">5 seeds</th>' in page
    assert '<td>mean IoU</td><td class="n">3.1</td><td class="n">-</td>' in page
    unknown = {**power, "smallest_gain": {"mean IoU": None}}
    assert "cannot be said from this baseline" in render(summarise(study_of(arms, "a", power=unknown)))


# where a study is


def test_a_study_is_found_by_its_folder_or_its_counts(folder: Path, tmp_path: Path):
    assert find_study(folder) == (folder / "counts", folder / "results")
    assert find_study(folder / "counts") == (folder / "counts", folder / "results")
    with pytest.raises(DataError, match="absent: no such folder; expected a finished study"):
        find_study(tmp_path / "absent")
    with pytest.raises(
        DataError, match="neither a finished study .* nor a folder of counts .* `segmenter study` writes"
    ):
        find_study(tmp_path)


# the gallery


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "gallery.json: damaged; delete it and the page goes without pictures"),
        ('{"class": "big_rock", "rows": [{"title": "t"}]}', "gallery.json: damaged"),
        (
            '{"class": "c", "rows": [{"title": "t", "pictures": [["image", "https://x"]]}]}',
            "a picture of 't' is no png inside the file",
        ),
    ],
)
def test_damaged_gallery_is_refused(text: str, words: str, tmp_path: Path):
    (tmp_path / "gallery.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_gallery(tmp_path / "gallery.json")


def test_gallery_comes_back_as_it_was(folder: Path, tmp_path: Path):
    assert read_gallery(folder / "results" / "gallery.json") == GALLERY
    assert read_gallery(tmp_path / "gallery.json") is None


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory):
    """A study of two arms in two folds, its test images and the first seed's runs."""
    root = tmp_path_factory.mktemp("folded")
    labels = paint_labels(16, rocks=0.8)
    whole = ArrayScenes(labels)
    folds = [ArrayScenes(labels[:9]), ArrayScenes(labels[9:])]
    for fold, images in zip(folds, (whole.images[:9], whole.images[9:]), strict=True):
        fold.images = images
    runs, arms = {}, []
    for name, skill in (("real", 0.3), ("copy", 0.7)):
        runs[name] = [root / f"{name}-{f}" for f in range(2)]
        scored = [evaluate_run(write_run(run), fold, skill) for run, fold in zip(runs[name], folds, strict=True)]
        metadata = ArmMetadata(name=name, title=f"arm {name}", baseline=None if name == "real" else "real", seeds=(0,))
        arms.append(arm_of_evaluations(metadata, [scored]))
        images = images_of_evaluations(scored)
    return study_of(arms, "real", images), whole, runs


def stand_in(whole: ArrayScenes, asked: list[str]):
    def predictor_of(folder: Path, ask: InferenceConfig):
        predict = predictor(whole, 0.7 if folder.name.startswith("copy") else 0.3)

        def note(images: np.ndarray) -> np.ndarray:
            asked.extend(f"{folder.name} {scene_key(image)}" for image in images)
            return predict(images)

        return note

    return predictor_of


def test_gallery_asks_the_network_of_each_images_fold(folded):
    study, whole, runs = folded
    asked: list[str] = []
    gallery = make_gallery(study, runs, whole, each=2, predictor_of=stand_in(whole, asked))
    fold_of = dict(zip(study.images.keys, study.images.folds, strict=True))
    assert len(asked) == 2 * len(gallery.rows)
    assert all(run == f"{run.split('-')[0]}-{fold_of[key]}" for run, key in (line.split() for line in asked))
    assert {fold_of[line.split()[1]] for line in asked} == {0, 1}
    assert gallery.class_name == "big_rock"
    assert [caption for caption, _ in gallery.rows[0].pictures] == ["image", "label", "arm real", "arm copy"]


def test_gallery_shows_the_most_improved_image_by_the_counts(folded):
    study, whole, runs = folded
    gallery = make_gallery(study, runs, whole, each=1, predictor_of=stand_in(whole, []))
    right = [
        2 * arm.counts[0, :, ROCK, ROCK].astype(int) - arm.counts[0, :, :, ROCK].sum(1, dtype=int) for arm in study.arms
    ]
    gained = right[1] - right[0]
    largest = int(study.arms[0].regions["image"][study.arms[0].regions["area_px"].argmax()])
    gained[largest] = 0  # shown already, as the largest
    assert gallery.rows[1].title.endswith(f"most improved by arm copy ({gained.max():+d} px)")
    won = whole.labels[int(gained.argmax())] == 4
    seen = read_picture(gallery.rows[1].pictures[3][1])[::8, ::8]
    assert (seen[won] == (220, 40, 40)).all(-1).mean() > 0.4  # its inside; the line hides the border


def test_gallery_refuses_what_it_cannot_show(folded):
    study, whole, runs = folded
    with pytest.raises(DataError, match="the study's baseline, real, has to be among the arms"):
        make_gallery(study, {"copy": runs["copy"]}, whole)
    with pytest.raises(DataError, match="1 runs of arm copy; one for each of 2 folds was expected"):
        make_gallery(study, {**runs, "copy": runs["copy"][:1]}, whole)
    with pytest.raises(DataError, match="painted.npz does not hold the test image scene.*test.npz"):
        make_gallery(study, runs, ArrayScenes(whole.labels, seed=5))


def test_the_page_is_closed(page: str):
    check_closed(page)


@pytest.mark.usefixtures("plain_figures")
def test_what_a_killed_study_report_left_is_removed(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "results", tmp_path / "out")
    left = [tmp_path / "out" / f".{name}.4711.partial" for name in ("gains.csv", "results.json", "study.html")]
    others = tmp_path / "out" / ".thesis.docx.partial"
    for path in (*left, others):
        path.write_text("half")
    report_study(folder / "counts", tmp_path / "out")
    assert not any(path.exists() for path in left)
    assert others.exists()
