"""Results as tables, files and lines for a terminal.

<out>/results.json      the study's metadata, every row, the limitations
<out>/scores.csv        every arm's scores with intervals
<out>/gains.csv         every gain with both intervals and its verdict
<out>/oracle_shares.csv share of the oracle's gain that each arm reaches; only where the study has an oracle
<out>/over_bar.csv      gains of arms with a generator over the best one without, where several have none
<out>/worth.csv         gains in labelled rare scenes; only where the study has a learning curve
<out>/curves.csv        gains by dose; only where the study has a curve
<out>/subgroups.csv     regions found by size and by row
<out>/secondary_scores.csv, secondary_gains.csv
                        the same two for scores that do not depend on how readily a class is called; only where
                        all evaluations kept margins
<out>/costs.csv         minutes and memory; only where they were measured
<out>/results.md        the same as tables for a document
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from marsgen.core.storage.files import plain, write_json, write_text
from segmenter.evaluation.summary import percent
from segmenter.results.gains.gains import BASELINE, COMMON, OWN, DosePoint, Gain, Recommendation, Score
from segmenter.results.gains.oracle import TOO_SMALL, OracleShare, share_interval, share_text
from segmenter.results.gains.subgroups import Subgroup
from segmenter.results.labels import interval_text, points
from segmenter.results.summary import StudyResults
from segmenter.results.verdict import ALONE, meanings

SECONDARY = (
    "Secondary scores do not depend on how readily a network calls the class: average precision of its pixels, ranked "
    "by how clearly the network prefers the class to every other one, and the IoU when as many labelled pixels are "
    "called the class as are labelled with it."
)


class Cell(NamedTuple):
    """One place of a table."""

    text: str
    detail: str = ""
    """in small type on the page, such as an interval"""
    verdict: str = ""
    """a verdict's words, or nothing"""
    corrected: str = ""
    """corrected interval where it is another, in small type; on the page alone"""


@dataclass(frozen=True)
class Table:
    """A table as both the page and the document show it; the first cell of a row names it."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    """leading columns that hold words, not numbers"""


def score_table(results: StudyResults) -> Table:
    """Every score of every arm with its interval."""
    return _by_arm(results, "Scores in %, mean over seeds", results.scores, lambda row: row.name, _score_cell)


def secondary_score_table(results: StudyResults) -> Table | None:
    """The secondary scores of every arm with their intervals; None where there are none."""
    rows = results.secondary_scores
    title = "Secondary scores in %, mean over seeds"
    return _by_arm(results, title, rows, lambda row: row.name, _score_cell) if rows else None


def gain_tables(results: StudyResults) -> list[Table]:
    """Every gain in percentage points: over each arm's own baseline, and over the study's where that is another."""
    return _gain_tables(results, results.gains)


def secondary_gain_tables(results: StudyResults) -> list[Table]:
    """The same of the secondary scores; empty where there are none."""
    return _gain_tables(results, results.secondary_gains, "Secondary: ")


def _gain_tables(results: StudyResults, gains: Sequence[Gain], kind: str = "") -> list[Table]:
    common = results.titles[results.metadata.baseline]
    titles = {OWN: "Gains over the arm's own baseline", COMMON: f"Gains of all arms over {common}"}
    if not any(row.against == COMMON for row in gains):
        titles = {OWN: f"Gains over {common}"}
    tables = []
    for against, title in titles.items():
        rows = [row for row in gains if row.against == against]
        if rows:
            name = f"{kind}{title[0].lower() + title[1:] if kind else title}, in percentage points"
            tables.append(_by_arm(results, name, rows, lambda row: row.name, _gain_cell))
    return tables


def oracle_table(results: StudyResults) -> Table | None:
    """Shares of the oracle's gain, the oracle's own gain in the last line; None where the study has no oracle."""
    oracle, rows = results.metadata.oracle, results.oracle_shares
    if oracle is None or not rows:
        return None
    base = results.titles[results.metadata.baseline]
    title = f"Share of the oracle's gain in %: 0 = {base}, 100 = {results.titles[oracle]}"
    table = _by_arm(results, title, rows, lambda row: row.name, _share_cell, show_baselines=False)
    gains = {g.name: g for g in results.gains if g.arm == oracle and g.baseline == results.metadata.baseline}
    own = [_gain_cell(gains[column]) if column in gains else Cell("-") for column in table.head[1:]]
    last = (Cell(results.titles[oracle], "gain in points"), *own)
    return Table(table.title, table.head, (*table.rows, last))


def over_bar_table(results: StudyResults) -> Table | None:
    """Gains of the arms with a generator over the best one without, a row per rare class and arm; None without any."""
    rows = [
        (
            Cell(row.class_name),
            Cell(row.title),
            Cell(results.titles[row.baseline]),
            Cell(percent(row.baseline_value)),
            Cell(percent(row.value)),
            _gain_cell(row),
        )
        for row in results.over_bar
    ]
    head = ("class", "arm", "best without a generator", "its IoU, %", "IoU, %", "gain, points")
    title = "Arms with a trained generator over the best arm without one (chosen by the same scores, which favours it)"
    return Table(title, head, tuple(rows), names=3) if rows else None


def worth_table(results: StudyResults) -> Table | None:
    """What gains are worth in labelled rare scenes; None where the study has no learning curve."""
    rows = [(Cell(row.class_name), Cell(row.title), Cell(row.reading)) for row in results.worth]
    title = "Gains over the baseline in labelled scenes of the rare classes"
    return Table(title, ("class", "arm", "worth"), tuple(rows), names=3) if rows else None


def curve_table(results: StudyResults, name: str) -> Table:
    """Gains of one dose curve, a row per dose."""
    curve = next(curve for curve in results.metadata.curves if curve.name == name)
    rows = [row for row in results.curves if row.curve == name]
    columns = list(dict.fromkeys(row.name for row in rows))
    lines = []
    for x, arm in dict.fromkeys((row.x, row.arm) for row in rows):
        here = {row.name: row for row in rows if (row.x, row.arm) == (x, arm)}
        chosen = " (recommended)" if any(row.recommended for row in here.values()) else ""
        first = (Cell(f"{x:g}{chosen}"), Cell(results.titles[arm]))
        lines.append((*first, *(_gain_cell(here[c]) if c in here else Cell("-") for c in columns)))
    return Table(f"{curve.title}, gains in percentage points", (curve.x_title, "arm", *columns), tuple(lines), names=2)


def subgroup_tables(results: StudyResults) -> list[Table]:
    """Share of regions found by size and by row, a table per class and kind."""
    tables = []
    for name, by in dict.fromkeys((row.class_name, row.by) for row in results.subgroups):
        rows = [row for row in results.subgroups if (row.class_name, row.by) == (name, by)]
        title = f"{name} found by {by}, in % of regions"
        tables.append(_by_arm(results, title, rows, lambda row: f"{row.bin}, n={row.regions}", _subgroup_cell))
    return tables


def cost_table(results: StudyResults) -> Table | None:
    """Minutes and memory of each arm; None where nothing was measured."""
    columns = {
        "train_minutes": "training, min per seed",
        "generator_minutes": "generator, min",
        "set_minutes": "set, min",
        "first_network_minutes": "first network, min",
        "peak_memory_mb": "peak memory, MB",
    }
    rows = [
        (
            Cell(row.title + (" (was interrupted: at least)" if row.interrupted else "")),
            Cell(str(row.seeds)),
            *(Cell(_number(getattr(row, key))) for key in columns),
        )
        for row in results.costs
    ]
    return Table("Cost of each arm", ("arm", "seeds", *columns.values()), tuple(rows)) if rows else None


def _by_arm(
    results: StudyResults,
    title: str,
    rows: Sequence[Any],
    column_of: Callable[[Any], str],
    cell_of: Callable[[Any], Cell],
    *,
    show_baselines: bool = True,
) -> Table:
    """Rows of one kind with arms downwards and `column_of` across; "-" where an arm has none."""
    columns = list(dict.fromkeys(column_of(row) for row in rows))
    cells = {(row.arm, column_of(row)): cell_of(row) for row in rows}
    baselines = {row.arm: getattr(row, "baseline", None) for row in rows}
    several = show_baselines and len(set(baselines.values()) - {None}) > 1
    lines = [
        (
            Cell(results.titles[arm], f"over {results.titles[baseline]}" if several and baseline else ""),
            *(cells.get((arm, column), Cell("-")) for column in columns),
        )
        for arm, baseline in baselines.items()
    ]
    return Table(title, ("arm", *columns), tuple(lines))


def _score_cell(row: Score) -> Cell:
    if row.unit == "number":
        return Cell(f"{row.value:.1f}")
    return Cell(percent(row.value), _range(row.low, row.high, percent))


def _gain_cell(row: Gain | DosePoint) -> Cell:
    if row.verdict == BASELINE:
        return Cell("0", BASELINE)
    alone, corrected = interval_text(row.low, row.high), interval_text(row.simultaneous_low, row.simultaneous_high)
    return Cell(points(row.gain), alone, verdict_text(row), corrected if corrected != alone else "")


def _share_cell(row: OracleShare) -> Cell:
    return (
        Cell("-", TOO_SMALL)
        if row.share != row.share
        else Cell(share_text(row.share), share_interval(row.low, row.high))
    )


def _subgroup_cell(row: Subgroup) -> Cell:
    gain = "" if row.gain != row.gain else f"{points(row.gain)} "
    return Cell(percent(row.share), gain + _range(row.gain_low, row.gain_high, points))


def verdict_text(row: Gain | DosePoint) -> str:
    """The verdict, with a mark where the interval of this arm alone leaves out 0."""
    return row.verdict + (ALONE if row.only_alone else "")


def _range(low: float, high: float, text: Callable[[float], str]) -> str:
    return "" if low != low else f"[{text(low)}, {text(high)}]"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


# files


def write_results(results: StudyResults, out: Path) -> None:
    """Write results.json, the csv files and results.md into `out`."""
    content = {
        "study": results.metadata.model_dump(mode="json"),
        "primary_class": results.primary_class,
        **{name.removesuffix(".csv"): [asdict(row) for row in rows] for name, rows in results.tables.items()},
        "recommendations": [asdict(row) for row in results.recommendations],
        "limitations": results.limitations,
    }
    write_json(out / "results.json", content)
    for name, text in csv_files(results).items():
        write_text(out / name, text)
    write_text(out / "results.md", "\n".join(markdown_lines(results)) + "\n")


def csv_files(results: StudyResults) -> dict[str, str]:
    """File name -> text of every csv file."""
    return {name: rows_as_csv(rows) for name, rows in results.tables.items()}


def rows_as_csv(rows: Sequence[Any]) -> str:
    """Rows of one dataclass as csv below a line of their fields; None and NaN are left empty."""
    text = io.StringIO()
    records = [plain(asdict(row)) for row in rows]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in record.items()} for record in records)
    return text.getvalue()


def markdown_lines(results: StudyResults) -> list[str]:
    """Every table, for a document."""
    lines = [f"# {escape_markdown(results.metadata.title)}", "", *_markdown(score_table(results))]
    for table in gain_tables(results):
        lines += _markdown(table)
    words = meanings(results.metadata.statistics.practical_gain)
    extra = (oracle_table(results), over_bar_table(results), worth_table(results))
    lines += [line for table in extra if table for line in _markdown(table)]
    if secondary := secondary_score_table(results):
        lines += [SECONDARY, "", *_markdown(secondary)]
        lines += [line for table in secondary_gain_tables(results) for line in _markdown(table)]
    lines += ["Intervals are those of each arm alone; the verdict is about the interval corrected for all arms.", ""]
    lines += [*(f"- {word}: {meaning}." for word, meaning in words.items()), ""]
    for curve, chosen in zip(results.metadata.curves, results.recommendations, strict=True):
        lines += [*_markdown(curve_table(results, curve.name)), escape_markdown(recommendation_text(chosen)), ""]
    for table in subgroup_tables(results):
        lines += _markdown(table)
    costs = cost_table(results)
    lines += _markdown(costs) if costs else []
    return [*lines, *(f"- {escape_markdown(sentence)}" for sentence in results.limitations)]


def _markdown(table: Table) -> list[str]:
    aligned = ["---" if n < table.names else "---:" for n in range(len(table.head))]
    rows = [markdown_row([" ".join(part for part in cell[:3] if part) for cell in row]) for row in table.rows]
    return [f"**{escape_markdown(table.title)}**", "", markdown_row(table.head), markdown_row(aligned), *rows, ""]


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a markdown table."""
    return "| " + " | ".join(map(escape_markdown, cells)) + " |"


def escape_markdown(text: str) -> str:
    """Text in which nothing begins a cell, code, a tag, a link or a line; names come from files of others."""
    escaped = "".join(f"\\{c}" if c in "\\|`<" else c for c in " ".join(text.split("\n")))
    return escaped.replace("](", "]\\(")


def recommendation_text(chosen: Recommendation) -> str:
    """The recommended dose, or why there is none, in words."""
    return chosen.words if chosen.x is None else f"Recommended: {chosen.words}"


# terminal


def result_lines(results: StudyResults, *, every_score: bool = False) -> list[str]:
    """Gains and recommended doses for a terminal.

    Args:
        every_score: gains in all scores, and the limitations; else in what the study is about and in the mean.
    """
    name = results.primary_class
    scores = [("IoU", name), ("mean IoU", ""), ("regions found", name)]
    if every_score:
        scores = list(dict.fromkeys((row.score, row.class_name) for row in results.gains))
    tables = [rows for score in scores if (rows := results.gains_in(*score))]
    shown = (*(row for rows in tables for row in rows), *results.secondary_gains)
    width = max((len(text) for row in shown for text in (row.title, row.name)), default=0)
    lines = [results.metadata.title]
    for rows in tables:
        lines += _gain_lines(rows, results, width)
    secondary = [
        row for row in results.secondary_gains if row.against == OWN and (every_score or row.class_name == name)
    ]
    if secondary:
        lines.append("secondary, whatever the readiness to call the class:")
        for score in dict.fromkeys(row.name for row in secondary):
            lines += _gain_lines([row for row in secondary if row.name == score], results, width)
    lines += _oracle_lines(results)
    lines += [f"{row.name}, {row.title}: {row.reading}" for row in results.worth]
    for curve, chosen in zip(results.metadata.curves, results.recommendations, strict=True):
        lines.append(f"{curve.title}: {recommendation_text(chosen)}")
    return [*lines, *(results.limitations if every_score else ())]


def _gain_lines(rows: Sequence[Gain], results: StudyResults, width: int) -> Iterator[str]:
    """A heading, and a line for each arm."""
    several = len({row.baseline for row in rows}) > 1
    head = f"{'interval alone':>20}  {'corrected':>20}"
    yield f"{rows[0].name:<{width}}    baseline, %  arm, %  gain, points  {head}   verdict"
    for row in rows:
        over = f"over {results.titles[row.baseline]}: " if several else ""
        yield (
            f"  {row.title:<{width}}  {percent(row.baseline_value):>11}  {percent(row.value):>6}  "
            f"{points(row.gain):>12}  {interval_text(row.low, row.high):>20}  "
            f"{interval_text(row.simultaneous_low, row.simultaneous_high):>20}   {over}{row.reading}"
        )


def _oracle_lines(results: StudyResults) -> Iterator[str]:
    """What is said of the oracle in the IoU of every rare class."""
    rare = results.classes.rare
    for row in results.oracle_shares:
        if row.score == "IoU" and row.class_name in rare:
            yield f"{row.name}, {row.title}: {row.reading}"
    for gain in results.over_bar:
        yield (
            f"{gain.name}, {gain.title}: {points(gain.gain)} points over the best arm without a generator, "
            f"{results.titles[gain.baseline]} {interval_text(gain.simultaneous_low, gain.simultaneous_high)}: "
            f"{gain.reading}"
        )
