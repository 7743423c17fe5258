"""What was measured, in words: the lines that `marsgen score` prints and the rows of the tables on its page."""

from typing import Any

import numpy as np


def describe(summary: dict[str, Any], location: str) -> tuple[str, ...]:
    """The lines that the command prints, from what DONE holds."""
    lines = [f"{location}: {summary['samples']} samples compared with {summary['reference']}"]
    for name, found in summary["crops"].items():
        lines += _measure_lines(f"crops of {name}", found)
    lines += _measure_lines("whole scenes", summary["scenes"])
    return (*lines, *describe_fidelity(summary))


def describe_fidelity(summary: dict[str, Any]) -> tuple[str, ...]:
    """The lines about variety, copies and agreement."""
    lines = []
    for name, found in summary["crops"].items():
        if "variety" in found:
            lines += _variety_lines(name, found["variety"], found["real"])
    for name, found in summary["copies"].items():
        lines += _copy_lines(name, found)
    if summary["agreement"] is not None:
        lines += _agreement_lines(summary["agreement"])
    return tuple(lines)


def measure_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Of each measure its name, its value with interval, the floor with range, and the value at the floor's size."""
    rows = []
    for name, measure in found.get("measures", {}).items():
        value, floor = _spread(measure, "value", "low", "high"), _spread(measure, "floor", "floor_low", "floor_high")
        rows.append((name, value, floor, number(measure["same_size"])))
    return rows


def _measure_lines(title: str, found: dict[str, Any]) -> list[str]:
    counts = f"{title}: {found['synthetic']} synthetic, {found['real']} real"
    if "measures" not in found:
        return [f"{counts}; too few scenes to compare"]
    table = [
        (counts, "synthetic [95 % interval]", "real halves [range]", "synthetic, same number"),
        *((f"  {name}", *rest) for name, *rest in measure_rows(found)),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [*lines, f"  ({found['features']} features; frechet on {found['dimensions']} principal components)"]


def _variety_lines(name: str, found: dict[str, Any], real: int) -> list[str]:
    line = f"variety of {name}: as good as {number(found['effective'])} different regions of {found['of']}"
    if found["donors"]:
        line += f", from {found['donors']} donors ({found['per_donor']:.1f} regions a donor)"
    return [
        line,
        f"  {real} synthetic ones {number(found['same_number'])}, the {real} real ones {number(found['real'])}",
    ]


def _copy_lines(name: str, found: dict[str, Any]) -> list[str]:
    if found["bound"] is None:
        return [f"copies of {name}: {found['training']} training regions are too few to tell"]
    interval = f"[{_percent(found['low'])}, {_percent(found['high'])}]"
    return [
        f"copies of {name}: {_percent(found['fraction'])} {interval} of the regions copy a training region",
        f"  bound {number(found['bound'])}; below it: different training regions {_percent(found['real_fraction'])} of "
        f"{found['training']}, held-out ones {_percent(found['held_out_fraction'])} of {found['held_out']}",
        f"  median distance {number(found['distance'])}, among training regions {number(found['real_distance'])}; the "
        f"nearest is the region's own donor in {_percent(found['nearest_is_donor'])}",
    ]


def _agreement_lines(found: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in found["classes"])
    lines = [f"agreement of the judge (IoU), compared with {found['held_out']} held-out real scenes"]
    for name, scores in found["classes"].items():
        lines.append(f"  {name:{width}}  {_spread(scores, 'iou', 'low', 'high'):22}  real {number(scores['real'])}")
    return lines


def _spread(found: dict[str, Any], value: str, low: str, high: str) -> str:
    return f"{number(found[value])} [{number(found[low])}, {number(found[high])}]"


def number(value: float | None) -> str:
    """Three significant digits; a dash for none."""
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.1%}"
