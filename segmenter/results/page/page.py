"""The page: results as one html file that fetches nothing. The same results give the same bytes."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from marsgen.pages.html import hex_colour, open_template
from segmenter.evaluation.summary import percent
from segmenter.results.gains.gains import COMMON, OWN, Gain
from segmenter.results.labels import interval_text, points
from segmenter.results.metadata import Power
from segmenter.results.page.figures import ARM_COLOURS, draw_doses, draw_forest, draw_found
from segmenter.results.page.gallery import Gallery
from segmenter.results.page.runs import RunSections
from segmenter.results.summary import StudyResults
from segmenter.results.tables import (
    SECONDARY,
    Table,
    cost_table,
    csv_files,
    curve_table,
    gain_tables,
    oracle_table,
    over_bar_table,
    recommendation_text,
    score_table,
    secondary_gain_tables,
    secondary_score_table,
    subgroup_tables,
    worth_table,
)
from segmenter.results.verdict import Verdict, meanings


def render(results: StudyResults, gallery: Gallery | None = None, runs: RunSections | None = None) -> str:
    """The page as text.

    Args:
        gallery: pictures, or why there are none; None = the page has no such section.
        runs: sections made from run folders; None = there are no run folders at hand.
    """
    name = results.primary_class
    colours = [hex_colour(colour) for colour in results.classes.colours]
    return open_template("results.html.j2", Path(__file__).parent / "templates").render(
        metadata=results.metadata,
        titles=results.titles,
        primary_class=name,
        heads=_heads(results),
        number_of_gains=len({row.arm for row in results.gains if row.against == OWN}),
        points=points,
        interval_text=interval_text,
        verdicts=meanings(results.metadata.statistics.practical_gain),
        forests=[Markup(figure) for figure in _forests(results, OWN)],
        common_forests=[Markup(figure) for figure in _forests(results, COMMON)],
        gain_tables=gain_tables(results),
        oracle_table=oracle_table(results),
        over_bar_table=over_bar_table(results),
        worth_table=worth_table(results),
        oracle_shares={row.arm: row.reading for row in results.oracle_shares if row.name == f"IoU {name}"},
        curves=_curves(results),
        score_table=score_table(results),
        secondary=SECONDARY,
        secondary_forests=[Markup(figure) for figure in _secondary_forests(results)],
        secondary_gain_tables=secondary_gain_tables(results),
        secondary_score_table=secondary_score_table(results),
        subgroup_tables=subgroup_tables(results),
        found_figures=[Markup(figure) for figure in _found_figures(results)],
        gallery=gallery,
        classes=[*zip(results.classes.names, colours, strict=True), ("no label", "#202020")],
        cost_table=cost_table(results),
        runs=runs,
        run_curves=Markup(runs.curves) if runs else "",
        confusions=[Markup(figure) for figure in runs.confusions] if runs else [],
        limitations=results.limitations,
        open_verdicts=[row for row in results.gains_in("IoU", name) if row.verdict == Verdict.CANNOT_TELL],
        power=_power_table(results.metadata.power) if results.metadata.power else None,
        files=[(file, _data_address(text), len(text)) for file, text in csv_files(results).items()],
    )


def _heads(results: StudyResults) -> list[Gain]:
    """The gain of every arm in what the study is about, best first; at most six."""
    rows = results.gains_in("IoU", results.primary_class) or results.gains_in("mean IoU")
    return sorted(rows, key=lambda row: -row.gain)[: len(ARM_COLOURS)]


def _forests(results: StudyResults, against: str) -> Iterator[str]:
    """A figure per score: what the study is about, the mean, then the rest; of COMMON gains those first three alone."""
    scores = list(dict.fromkeys((row.score, row.class_name) for row in results.gains if row.against == against))
    first = [("IoU", results.primary_class), ("mean IoU", ""), ("regions found", results.primary_class)]
    shown = scores if against == OWN else [score for score in scores if score in first]
    for score in sorted(shown, key=lambda score: first.index(score) if score in first else len(first)):
        rows = results.gains_in(*score, against)
        yield draw_forest(rows, rows[0].name)


def _secondary_forests(results: StudyResults) -> Iterator[str]:
    """A figure per secondary score of what the study is about."""
    rows = [r for r in results.secondary_gains if (r.class_name, r.against) == (results.primary_class, OWN)]
    for name in dict.fromkeys(row.name for row in rows):
        yield draw_forest([row for row in rows if row.name == name], f"{name} (secondary)")


@dataclass(frozen=True)
class _Curve:
    """What the page shows of a dose curve."""

    figure: Markup
    table: Table
    advice: str


def _curves(results: StudyResults) -> list[_Curve]:
    shown = (("IoU", results.primary_class), ("mean IoU", ""))
    sections = []
    for curve, chosen in zip(results.metadata.curves, results.recommendations, strict=True):
        rows = [row for row in results.curves if row.curve == curve.name and (row.score, row.class_name) in shown]
        lines = {name: [row for row in rows if row.name == name] for name in dict.fromkeys(row.name for row in rows)}
        figure = Markup(draw_doses(lines, curve.title, curve.x_title, chosen.x) if lines else "")
        sections.append(_Curve(figure, curve_table(results, curve.name), recommendation_text(chosen)))
    return sections


def _found_figures(results: StudyResults) -> Iterator[str]:
    """The study's baseline and the arms that gain most in what the study is about: as many as there are colours."""
    name, baseline = results.primary_class, results.metadata.baseline
    gains = sorted(results.gains_in("IoU", name), key=lambda row: -row.gain)
    arms = [baseline, *(row.arm for row in gains if row.arm != baseline)][: len(ARM_COLOURS)]
    for by in ("size", "row"):
        of_kind = [row for row in results.subgroups if (row.class_name, row.by) == (name, by)]
        if rows := [row for arm in arms for row in of_kind if row.arm == arm]:
            yield draw_found(rows, f"{name} found by {by}")


def _data_address(text: str) -> str:
    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii")


@dataclass(frozen=True)
class _PowerTable:
    """A column for each number of seeds that arms have, a row for each score."""

    seeds: Sequence[int]
    rows: Sequence[tuple[str, Sequence[str]]]


def _power_table(power: Power) -> _PowerTable:
    columns = {power.seeds: power.smallest_gain, **power.with_other_seeds}
    rows = [(name, [percent(column[name]) for column in columns.values()]) for name in power.smallest_gain]
    return _PowerTable(list(columns), rows)
