"""REPORT: one page of results, from runs or from the counts of a study; nothing is trained and no image drawn again.

<out>/report.html or study.html     the page: one file that fetches nothing
<out>/                              the tables that tables.py lists
"""

from collections.abc import Sequence
from pathlib import Path

from marsgen.core.runs import Run
from marsgen.core.storage.files import remove_leftovers_of, write_text
from marsgen.scenes.sources import open_scenes
from segmenter.results.arms import count_arms
from segmenter.results.compare import inputs_of, limitations_of_runs, open_arms
from segmenter.results.config import ReportConfig
from segmenter.results.counts import read_counts
from segmenter.results.page.gallery import OpenPredictor, open_predictor, read_gallery
from segmenter.results.page.page import render
from segmenter.results.page.runs import OpenScenes, gallery_of_arms, sections_of_arms
from segmenter.results.places import find_study
from segmenter.results.summary import summarise
from segmenter.results.tables import result_lines, write_results


def report(
    folders: Sequence[Path],
    config: ReportConfig,
    out: Path,
    *,
    replace: bool = False,
    scenes_at: OpenScenes = open_scenes,
    predictor_of: OpenPredictor = open_predictor,
) -> Path:
    """Write tables and page of finished and evaluated runs.

    Args:
        folders, config: see `open_arms`.
        replace: see `Run.start`.
        scenes_at: opens data by location; data that are no longer there, or have changed, are said to be missing.
        predictor_of: opens a run's network for the gallery.
    Returns:
        the page's path.
    Raises:
        RunError, DataError: see `open_arms`.
    """
    arms = open_arms(folders, config)
    study = count_arms(arms, config)
    results = summarise(study, *limitations_of_runs(arms))
    run = Run.start(out, "segmenter report", config, inputs_of(folders, results), replace=replace)
    gallery = gallery_of_arms(arms, study, config.gallery, scenes_at, predictor_of)
    sections = sections_of_arms(arms, study, config.samples, scenes_at)
    write_results(results, out)
    page = out / "report.html"
    write_text(page, render(results, gallery, sections))
    run.finish({"page": page.name, "arms": [arm.label for arm in arms]})
    return page


def report_study(folder: Path, out: Path | None = None) -> tuple[list[str], Path]:
    """Write tables and page of a finished study.

    Args:
        folder: see `find_study`.
        out: folder to write; None = results/ beside the counts. The gallery is read there, else from that results/.
    Returns:
        lines for a terminal, path of the page.
    Raises:
        DataError: counts or gallery are missing or damaged.
    """
    counts, beside = find_study(folder)
    out = out or beside
    results = summarise(read_counts(counts))
    gallery = read_gallery(out / "gallery.json") or read_gallery(beside / "gallery.json")
    page = out / "study.html"
    for path in (*(out / name for name in ("results.json", "results.md", *results.tables)), page):
        remove_leftovers_of(path)
    write_results(results, out)
    write_text(page, render(results, gallery))
    return result_lines(results), page
