"""A study's results as tables, files and lines for a terminal.

<out>/results.json      the study's card, every row, the notes
<out>/scores.csv        every arm's scores with intervals
<out>/gains.csv         every gain, alone and corrected
<out>/curves.csv        gains by dose; only where the study has a curve
<out>/failures.csv      rocks found by size and by distance
<out>/costs.csv         minutes and memory
<out>/results.md        the same as tables for a document
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from marsgen.core.files import write_json, write_text
from segmenter.evaluation.summary import percent
from segmenter.results.gain_tables import csv_text, interval_text, markdown_row, points, score_text
from segmenter.results.study_results import COMMON, OWN, VERDICTS, Rows, StudyResults


class Cell(NamedTuple):
    """One place of a table."""

    text: str
    detail: str = ""
    """said smaller, such as an interval"""
    verdict: str = ""
    """one of VERDICTS, or nothing"""


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
    return _by_arm(results, "Scores in %, mean over seeds", results.scores, score_text, _score_cell)


def gain_tables(results: StudyResults) -> list[Table]:
    """Every gain in percentage points: over each arm's own baseline, and over the study's where that is another."""
    common = results.titles[results.card.baseline]
    titles = {OWN: "Gains over the arm's own baseline", COMMON: f"Gains of all arms over {common}"}
    if not any(row["against"] == COMMON for row in results.gains):
        titles = {OWN: f"Gains over {common}"}
    tables = []
    for against, title in titles.items():
        rows = [row for row in results.gains if row["against"] == against]
        if rows:
            tables.append(_by_arm(results, f"{title}, in percentage points", rows, score_text, _gain_cell))
    return tables


def curve_table(results: StudyResults, name: str) -> Table:
    """Gains of one dose curve, a row per dose."""
    curve = next(curve for curve in results.card.curves if curve.name == name)
    rows = [row for row in results.curves if row["curve"] == name]
    columns = list(dict.fromkeys(score_text(row) for row in rows))
    lines = []
    for x, arm in dict.fromkeys((row["x"], row["arm"]) for row in rows):
        here = {score_text(row): row for row in rows if (row["x"], row["arm"]) == (x, arm)}
        chosen = " (recommended)" if any(row["recommended"] for row in here.values()) else ""
        first = (Cell(f"{x:g}{chosen}"), Cell(results.titles[arm]))
        lines.append((*first, *(_gain_cell(here[c]) if c in here else Cell("-") for c in columns)))
    return Table(f"{curve.title}, gains in percentage points", (curve.x_title, "arm", *columns), tuple(lines), names=2)


def failure_tables(results: StudyResults) -> list[Table]:
    """Share of rocks found by size and by distance, a table per class and kind."""
    tables = []
    for name, by in dict.fromkeys((row["class"], row["by"]) for row in results.failures):
        rows = [row for row in results.failures if (row["class"], row["by"]) == (name, by)]
        title = f"{name} found by {by}, in % of regions"
        tables.append(_by_arm(results, title, rows, lambda row: f"{row['bin']}, n={row['regions']}", _failure_cell))
    return tables


def cost_table(results: StudyResults) -> Table:
    """Minutes and memory of each arm."""
    keys = ("train_minutes", "generator_minutes", "set_minutes", "first_network_minutes", "peak_memory_mb")
    head = (
        "arm",
        "seeds",
        "training, min per seed",
        "generator, min",
        "set, min",
        "first network, min",
        "peak memory, MB",
    )
    rows = [
        (
            Cell(r["title"] + (" (was interrupted: at least)" if r["interrupted"] else "")),
            Cell(str(r["seeds"])),
            *(Cell(_number(r[key])) for key in keys),
        )
        for r in results.costs
    ]
    return Table("Cost of each arm", head, tuple(rows))


def _by_arm(results: StudyResults, title: str, rows: Rows, column_of: Any, cell_of: Any) -> Table:
    """Rows of one kind with arms downwards and `column_of` across; "-" where an arm has none."""
    columns = list(dict.fromkeys(column_of(row) for row in rows))
    cells = {(row["arm"], column_of(row)): cell_of(row) for row in rows}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    baselines = {row["arm"]: row["baseline"] for row in rows if row.get("baseline")}
    told = len(set(baselines.values())) > 1
    over = {arm: f"over {results.titles[name]}" for arm, name in baselines.items() if told}
    lines = [(Cell(results.titles[a], over.get(a, "")), *(cells.get((a, c), Cell("-")) for c in columns)) for a in arms]
    return Table(title, ("arm", *columns), tuple(lines))


def _score_cell(row: dict[str, Any]) -> Cell:
    if row["unit"] == "number":
        return Cell(f"{row['value']:.1f}")
    return Cell(percent(row["value"]), _range(row["low"], row["high"]))


def _gain_cell(row: dict[str, Any]) -> Cell:
    if row["verdict"] == "baseline":
        return Cell("0", "baseline")
    return Cell(points(row["gain"]), interval_text(row), row["verdict"])


def _failure_cell(row: dict[str, Any]) -> Cell:
    gain = "" if row["gain"] != row["gain"] else f"{points(row['gain'])} "
    return Cell(percent(row["share"]), gain + _range(row["gain_low"], row["gain_high"], points))


def _range(low: float, high: float, text: Any = percent) -> str:
    return "" if low != low else f"[{text(low)}, {text(high)}]"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


# files and lines


def write_results(results: StudyResults, out: Path) -> None:
    """Write results.json, the csv files and results.md into `out`."""
    content = {
        "study": results.card.model_dump(mode="json"),
        "headline_class": results.headline,
        **{name.removesuffix(".csv"): rows for name, rows in results.tables.items()},
        "recommendations": results.recommendations,
        "notes": results.notes,
    }
    write_json(out / "results.json", content)
    for name, rows in results.tables.items():
        write_text(out / name, csv_text(rows))
    write_text(out / "results.md", "\n".join(markdown_lines(results)) + "\n")


def markdown_lines(results: StudyResults) -> list[str]:
    """Every table, for a document."""
    lines = [f"# {results.card.title}", "", *_markdown(score_table(results))]
    for table in gain_tables(results):
        lines += _markdown(table)
    lines += [*(f"- {word}: {meaning}." for word, meaning in VERDICTS.items()), ""]
    for curve, chosen in zip(results.card.curves, results.recommendations, strict=True):
        lines += [*_markdown(curve_table(results, curve.name)), _recommended(chosen), ""]
    for table in failure_tables(results):
        lines += _markdown(table)
    lines += _markdown(cost_table(results))
    return [*lines, *(f"- {note}" for note in results.notes)]


def _markdown(table: Table) -> list[str]:
    aligned = ["---" if n < table.names else "---:" for n in range(len(table.head))]
    rows = [markdown_row([" ".join(part for part in cell if part) for cell in row]) for row in table.rows]
    return [f"**{table.title}**", "", markdown_row(table.head), markdown_row(aligned), *rows, ""]


def _recommended(chosen: dict[str, Any]) -> str:
    return chosen["words"] if chosen["x"] is None else f"Recommended: {chosen['words']}"


def result_lines(results: StudyResults) -> list[str]:
    """What the study is about, for a terminal: gains of the headline class and of the mean, and recommended doses."""
    lines = [results.card.title]
    for score, name in (("IoU", results.headline), ("mean IoU", ""), ("regions found", results.headline)):
        rows = results.gains_in(score, name)
        if rows:
            lines.append(f"{score_text(rows[0])}: gain over the arm's baseline, percentage points")
            lines += _gain_lines(rows, results)
    for curve, chosen in zip(results.card.curves, results.recommendations, strict=True):
        lines.append(f"{curve.title}: {_recommended(chosen)}")
    return lines


def _gain_lines(rows: Rows, results: StudyResults) -> Iterable[str]:
    width = max(len(row["title"]) for row in rows)
    for row in rows:
        yield (
            f"  {row['title']:<{width}}  {points(row['gain']):>6}  {interval_text(row):>24}   "
            f"over {results.titles[row['baseline']]}: {row['reading']}"
        )


def downloads(results: StudyResults) -> Sequence[tuple[str, str]]:
    """(file name, text) of every csv file, as the page offers them."""
    return [(name, csv_text(rows)) for name, rows in results.tables.items()]
