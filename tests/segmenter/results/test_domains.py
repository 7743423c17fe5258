"""One table of several studies, from counts alone."""

import csv

import pytest
from painted_studies import paint_study
from test_oracle import SKILLS, iou, with_generator
from typer.testing import CliRunner

from segmenter.cli import app
from segmenter.results.counts import write_counts
from segmenter.results.summary import summarise


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """A study with a generator, and one in which the oracle gains nothing and none has a generator."""
    folder = tmp_path_factory.mktemp("studies")
    mars = with_generator(paint_study(SKILLS, images=80, oracle="all", title="Mars"), "drawn")
    flat = {"few": (None, 0.3), "weighted": ("few", 0.5), "all": ("few", 0.3005)}
    write_counts(folder / "mars", mars)
    write_counts(folder / "tiles" / "counts", paint_study(flat, images=60, oracle="all", title="Tiles"))
    write_counts(folder / "plain", paint_study({"few": (None, 0.3), "more": ("few", 0.5)}, images=20, title="Plain"))
    return folder, mars


def test_a_line_says_what_the_study_itself_says(folders, tmp_path):
    folder, mars = folders
    done = CliRunner().invoke(
        app, ["study-report", *(str(folder / n) for n in ("mars", "tiles")), "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    first, second = csv.DictReader((tmp_path / "domains.csv").open())
    results = summarise(mars)
    share = {row.arm: row.reading.split(" of the")[0] for row in results.oracle_shares if row.name == "IoU big_rock"}
    assert first["study"] == "Mars"
    assert first["baseline"] == f"few {100 * iou(mars, 'few'):.1f}"
    assert first["oracle_gain"].startswith(f"{100 * (iou(mars, 'all') - iou(mars, 'few')):+.1f} [")
    assert first["without_generator"].startswith(f"augmented: {share['augmented']} [")
    assert first["with_generator"].startswith(f"drawn: {share['drawn']} [")
    assert first["over_bar"].startswith(f"{100 * (iou(mars, 'drawn') - iou(mars, 'augmented')):+.1f} [")
    assert first["over_bar"].endswith(results.over_bar[0].verdict)
    assert (second["without_generator"], second["with_generator"], second["over_bar"]) == (
        "weighted: too small to divide by",
        "-",
        "-",
    )
    assert (tmp_path / "domains.md").read_text() == done.output
    assert not (folder / "results").exists()


def test_a_study_without_an_oracle_has_no_place_in_the_table(folders, capsys):
    folder, _ = folders
    done = CliRunner().invoke(app, ["study-report", str(folder / "mars"), str(folder / "plain")])
    assert "the study 'Plain' names no oracle" in str(done.exception)
