"""A comparison in words and tables: flat rows, lines for a terminal, json, csv and markdown."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marsgen.core.files import plain, write_json, write_text
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.regions import region_classes
from segmenter.evaluation.summary import percent
from segmenter.results.arms import Arm

if TYPE_CHECKING:
    from segmenter.results.compare import Comparison


def verdict(low: float, high: float) -> str:
    """helps, hurts, or cannot tell: the interval of a gain contains 0, or there is none (NaN)."""
    if low > 0:
        return "helps"
    return "hurts" if high < 0 else "cannot tell"


def explain_verdict(low: float, high: float, practical: float) -> str:
    """The verdict, and where it cannot tell, what the interval of a gain leaves possible.

    Args:
        practical: the smallest gain that would be worth having; shares in [0, 1], as low and high.
    """
    word = verdict(low, high)
    if word != "cannot tell":
        return word
    if low != low:
        return f"{word}: too few images for an interval"
    ruled = "not ruled out" if high >= practical else "ruled out"
    return (
        f"{word}: anything from a loss of {100 * abs(low):.1f} to a gain of {100 * high:.1f} points fits, "
        f"so a gain of {100 * practical:g} is {ruled}"
    )


def score_names(classes: ClassSet) -> list[tuple[str, str]]:
    """(score, class) of each of the K scores; scores that are not reported have an empty name."""
    counted = region_classes(classes)
    found = [("regions found" if c in counted else "", name) for c, name in enumerate(classes.names)]
    return [*(("IoU", name) for name in classes.names), ("mean IoU", ""), *found]


def gain_rows(comparison: "Comparison") -> list[dict[str, Any]]:
    """One flat record per gain; shares in [0, 1], NaN where there is nothing to score or too little for an interval."""
    rows = []
    for number, gain in enumerate(comparison.gains, start=1):
        for k, (score, name) in enumerate(score_names(comparison.classes)):
            if score and not np.isnan(comparison.scores[0].estimate[k]):
                found = gain.intervals
                low, high = float(found.low[k]), float(found.high[k])
                family_low, family_high = float(found.family_low[k]), float(found.family_high[k])
                rows.append(
                    {
                        "arm": gain.arm.label,
                        "baseline": comparison.arms[0].label,
                        "score": score,
                        "class": name,
                        "baseline_value": float(comparison.scores[0].estimate[k]),
                        "value": float(comparison.scores[number].estimate[k]),
                        "gain": float(found.estimate[k]),
                        "low": low,
                        "high": high,
                        "verdict": verdict(low, high),
                        "reading": explain_verdict(low, high, comparison.config.practical_gain),
                        "p": float(found.p[k]),
                        "family_low": family_low,
                        "family_high": family_high,
                        "family_p": float(found.family_p[k]),
                        "family_verdict": verdict(family_low, family_high),
                        "undefined_fraction": float(found.undefined[k]),
                    }
                )
    return rows


def score_rows(comparison: "Comparison") -> list[dict[str, Any]]:
    """One flat record per arm and score, with its own interval."""
    return [
        {
            "arm": arm.label,
            "score": score,
            "class": name,
            "value": float(scores.estimate[k]),
            "low": float(scores.low[k]),
            "high": float(scores.high[k]),
        }
        for arm, scores in zip(comparison.arms, comparison.scores, strict=True)
        for k, (score, name) in enumerate(score_names(comparison.classes))
        if score and not np.isnan(scores.estimate[k])
    ]


def false_alarms_per_class(arm: Arm, class_index: int) -> float:
    """Predicted regions of a class where there is nothing of it, mean over the arm's seeds."""
    return float(np.mean([np.count_nonzero(e.false_alarms["class_index"] == class_index) for e in arm.evaluations]))


def write_comparison(comparison: "Comparison", out: Path) -> None:
    """Write compare.json, compare.csv and compare.md into `out`."""
    record = comparison.arms[0].evaluations[0].record
    counted = [(c, comparison.classes.names[c]) for c in region_classes(comparison.classes)]
    content = {
        "test": {**record["data"], "part": record["part"], "images": record["images"], "settings": record["settings"]},
        "config": comparison.config.model_dump(mode="json"),
        "arms": [
            {
                "label": arm.label,
                "seeds": arm.seeds,
                "runs": [str(run.folder) for run in arm.runs],
                "false_alarms": {name: false_alarms_per_class(arm, c) for c, name in counted},
            }
            for arm in comparison.arms
        ],
        "scores": score_rows(comparison),
        "gains": gain_rows(comparison),
        "notes": comparison.notes,
    }
    write_json(out / "compare.json", content)
    write_text(out / "compare.csv", csv_text(gain_rows(comparison)))
    write_text(out / "compare.md", "\n".join(markdown_lines(comparison)) + "\n")


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Flat records of the same keys as csv, a line each below a line of the keys; None and NaN are left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in plain(row).items()} for row in rows)
    return text.getvalue()


def points(value: float) -> str:
    """A difference of shares in percentage points with its sign; "-" for NaN."""
    return "-" if value != value else f"{100 * value:+.1f}"


def interval_text(row: dict[str, Any]) -> str:
    """The interval of a gain in percentage points."""
    return "none: too few images" if row["low"] != row["low"] else f"[{points(row['low'])}, {points(row['high'])}]"


def score_text(row: dict[str, Any]) -> str:
    """The score and its class in words, such as `IoU soil` or `mean IoU`."""
    return f"{row['score']} {row['class']}".rstrip()


def comparison_lines(comparison: "Comparison") -> list[str]:
    """The gains as lines of text, one table per arm."""
    lines: list[str] = []
    rows = gain_rows(comparison)
    width = max(len(score_text(row)) for row in rows)
    for gain in comparison.gains:
        lines.append(f"{gain.arm.label}  against  {comparison.arms[0].label}   (%; gain in percentage points)")
        head = f"{'interval':>24}"
        lines.append(f"  {'':<{width}}  baseline  with it    gain  {head}   verdict")
        for row in (r for r in rows if r["arm"] == gain.arm.label):
            lines.append(
                f"  {score_text(row):<{width}}  {percent(row['baseline_value']):>8}  {percent(row['value']):>7}  "
                f"{points(row['gain']):>6}  {interval_text(row):>24}   {row['verdict']}"
            )
    return [*lines, *comparison.notes]


def markdown_lines(comparison: "Comparison") -> list[str]:
    """Two tables: every score of every arm with its interval, and every gain with its verdict."""
    scores = score_rows(comparison)
    labels = [arm.label for arm in comparison.arms]
    level = f"{comparison.config.confidence:.0%}"
    lines = [
        f"Scores in % with {level} intervals",
        "",
        markdown_row(["score", *labels]),
        markdown_row(["---", *["---:"] * len(labels)]),
    ]
    for name in dict.fromkeys(score_text(row) for row in scores):
        of_arm = {row["arm"]: row for row in scores if score_text(row) == name}
        lines.append(markdown_row([name, *(value_text(of_arm.get(label)) for label in labels)]))
    for c in region_classes(comparison.classes):
        alarms = [f"{false_alarms_per_class(arm, c):.1f}" for arm in comparison.arms]
        lines.append(markdown_row([f"false alarms {comparison.classes.names[c]} (number)", *alarms]))
    lines += ["", f"Gains over {labels[0]}, in percentage points", ""]
    family = [f"of all {len(comparison.gains)} arms together"] if len(comparison.gains) > 1 else []
    lines += [
        markdown_row(["arm", "score", "gain", f"{level} interval", "verdict", *family]),
        markdown_row(["---", "---", "---:", "---:", "---", *["---" for _ in family]]),
    ]
    for row in gain_rows(comparison):
        together = [row["family_verdict"] for _ in family]
        cells = [row["arm"], score_text(row), points(row["gain"]), interval_text(row), row["reading"], *together]
        lines.append(markdown_row(cells))
    return [*lines, "", *(f"- {note}" for note in comparison.notes)]


def value_text(row: dict[str, Any] | None) -> str:
    """A score in % with its interval; "-" where the arm has none."""
    if row is None:
        return "-"
    interval = "" if row["low"] != row["low"] else f" [{percent(row['low'])}, {percent(row['high'])}]"
    return percent(row["value"]) + interval


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
