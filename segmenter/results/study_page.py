"""One page from a study's raw counts: nothing is trained, no picture is drawn again, no address is in it.

<out>/study.html        gains, dose curves, scores, failures, gallery, costs, doubts, and every csv file to download
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from marsgen.core.errors import DataError
from marsgen.core.files import write_text
from segmenter.evaluation.summary import percent
from segmenter.results.counts import Power, read_counts
from segmenter.results.figures import ARM_COLOURS, draw_doses, draw_forest, draw_found
from segmenter.results.gain_tables import interval_text, points, score_text
from segmenter.results.pages import open_template
from segmenter.results.study_gallery import Gallery, read_gallery
from segmenter.results.study_results import COMMON, OWN, VERDICTS, StudyResults, summarise
from segmenter.results.study_tables import (
    cost_table,
    curve_table,
    downloads,
    failure_tables,
    gain_tables,
    result_lines,
    score_table,
    write_results,
)


def find_study(folder: Path) -> tuple[Path, Path]:
    """Where a study's counts and its results are kept.

    Args:
        folder: a study's folder, or the folder of its counts.
    Returns:
        folder of counts, folder of results beside it.
    Raises:
        DataError: neither of the two.
    """
    if (folder / "study.json").is_file():
        return folder, folder.resolve().parent / "results"
    if (folder / "counts" / "study.json").is_file():
        return folder / "counts", folder / "results"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a finished study, or its folder of counts")
    raise DataError(
        f"{folder}: neither a finished study (counts/study.json is missing) nor a folder of counts (study.json is "
        "missing); `segmenter study` writes both"
    )


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
    write_results(results, out)
    page = out / "study.html"
    write_text(page, render(results, gallery))
    return result_lines(results), page


def render(results: StudyResults, gallery: Gallery | None = None) -> str:
    """The page as text; the same results and gallery give the same bytes."""
    card = results.card
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in results.classes.colours]
    return open_template("study.html.j2").render(
        card=card,
        titles=results.titles,
        headline=results.headline,
        heads=_heads(results),
        number_of_gains=len({row["arm"] for row in results.gains if row["against"] == OWN}),
        verdicts=VERDICTS,
        forests=[Markup(figure) for figure in _forests(results, OWN)],
        common_forests=[Markup(figure) for figure in _forests(results, COMMON)],
        gain_tables=gain_tables(results),
        curves=_curves(results),
        score_table=score_table(results),
        failure_tables=failure_tables(results),
        found_figures=[Markup(figure) for figure in _found_figures(results)],
        gallery=gallery,
        legend=[*zip(results.classes.names, colours, strict=True), ("no label", "#202020")],
        cost_table=cost_table(results),
        notes=results.notes,
        open_verdicts=[row for row in results.gains_in("IoU", results.headline) if row["verdict"] == "cannot tell"],
        power=_power_table(card.power) if card.power else None,
        files=[(name, _data_address(text), len(text)) for name, text in downloads(results)],
    )


def _heads(results: StudyResults) -> list[dict[str, Any]]:
    """The gain of every arm in what the study is about, best first; at most six."""
    rows = results.gains_in("IoU", results.headline) or results.gains_in("mean IoU")
    best = sorted(rows, key=lambda row: -row["gain"])[: len(ARM_COLOURS)]
    return [
        {**row, "name": score_text(row), "points": points(row["gain"]), "interval": interval_text(row)} for row in best
    ]


def _forests(results: StudyResults, against: str) -> Iterator[str]:
    """A figure per score: what the study is about, the mean, then the rest; of COMMON gains those first three alone."""
    scores = list(dict.fromkeys((row["score"], row["class"]) for row in results.gains if row["against"] == against))
    first = [("IoU", results.headline), ("mean IoU", ""), ("regions found", results.headline)]
    shown = scores if against == OWN else [s for s in scores if s in first]
    for score, name in sorted(shown, key=lambda s: first.index(s) if s in first else len(first)):
        rows = results.gains_in(score, name, against)
        yield draw_forest(rows, score_text(rows[0]))


def _curves(results: StudyResults) -> list[dict[str, Any]]:
    shown = (("IoU", results.headline), ("mean IoU", ""))
    sections = []
    for curve, chosen in zip(results.card.curves, results.recommendations, strict=True):
        lines: dict[str, list[dict[str, Any]]] = {}
        for row in results.curves:
            if row["curve"] == curve.name and (row["score"], row["class"]) in shown:
                lines.setdefault(score_text(row), []).append(row)
        figure = Markup(draw_doses(lines, curve.title, curve.x_title, chosen["x"])) if lines else ""
        sections.append({"figure": figure, "table": curve_table(results, curve.name), "chosen": chosen})
    return sections


def _found_figures(results: StudyResults) -> Iterator[str]:
    """The study's baseline and the arms that gain most in what the study is about: as many as there are colours."""
    gains = sorted(results.gains_in("IoU", results.headline), key=lambda row: -row["gain"])
    arms = [results.card.baseline, *(row["arm"] for row in gains if row["arm"] != results.card.baseline)]
    for by in ("size", "distance"):
        rows = [r for r in results.failures if r["class"] == results.headline and r["by"] == by]
        rows = [row for arm in arms[: len(ARM_COLOURS)] for row in rows if row["arm"] == arm]
        if rows:
            yield draw_found(rows, f"{results.headline} found by {by}")


def _data_address(text: str) -> str:
    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii")


def _power_table(power: Power) -> dict[str, Any]:
    """A column for each number of seeds that arms have, a row for each score."""
    columns = {power.seeds: power.smallest_gain, **power.with_other_seeds}
    rows = [(name, [percent(column[name]) for column in columns.values()]) for name in power.smallest_gain]
    return {"seeds": list(columns), "rows": rows}
