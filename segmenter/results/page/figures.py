"""Figures of the page as inline SVG: gains with intervals, dose curves, regions found, training curves, confusion.

Text takes the colour of the page around it (currentColor), so figures can be read on a light and on a dark background.
"""

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segmenter.results.gains.gains import DosePoint, Gain
from segmenter.results.gains.subgroups import Subgroup
from segmenter.results.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ec4899", "#8b5cf6", "#94a3b8")
"""One per arm, in order; distinct on white and on near-black, and for colour-blind readers. They repeat after six."""
VERDICT_COLOURS = {Verdict.HELPS: "#10b981", Verdict.HURTS: "#ef4444"}
"""Colour of a gain; of every other verdict it is _OPEN."""
_OPEN = "#94a3b8"
_TEXT = "#010203"  # stands for the page's text colour until the svg is written
_MOST_CLASSES_IN_WORDS = 12
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "marsgen",  # the same figure, the same bytes
    "text.parse_math": False,  # a class may be called $x$
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _TEXT,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "grid.color": _TEXT,
    "grid.alpha": 0.15,
}


@dataclass(frozen=True)
class Curve:
    """One run's values of one metric over training."""

    arm: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def draw_curves(panels: Sequence[tuple[str, Sequence[Curve]]], arms: Sequence[str]) -> str:
    """Training curves: a panel per metric, a colour per arm, a line per run.

    Args:
        panels: title and curves of each panel.
        arms: labels in order of their colours.
    """
    with _figure(3.7 * max(len(panels), 2), 2.8) as figure:
        for number, (title, curves) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), number)
            shown = set()
            for curve in curves:
                marker = "o" if len(curve.steps) == 1 else ""
                label = "" if curve.arm in shown else curve.arm
                style: Any = {"linewidth": 1.3, "alpha": 0.85, "marker": marker, "markersize": 3}
                axes.plot(curve.steps, curve.values, color=_colour(arms.index(curve.arm)), label=label, **style)
                shown.add(curve.arm)
            axes.set_title(title, loc="left")
            axes.set_xlabel("step")
            axes.grid()
            if number == 1:
                _legend(axes, 0.9)
    return _svg(figure, "Training curves")


def draw_forest(rows: Sequence[Gain], title: str) -> str:
    """Gains of all arms in one score: a dot, its interval alone (thick) and the corrected one (thin).

    Where the interval of the arm alone leaves out 0 and the corrected one does not, the dot is white.

    Args:
        rows: `StudyResults.gains_in`, one per arm, top to bottom.
    """
    labels = [_in_lines(row.title, 34) for row in rows]
    with _figure(5.4, 0.95 + (0.27 if not any("\n" in label for label in labels) else 0.38) * len(rows)) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=_TEXT, linewidth=1)
        for place, row in enumerate(rows):
            colour = VERDICT_COLOURS.get(row.verdict, _OPEN)
            for low, high, width in ((row.simultaneous_low, row.simultaneous_high, 1.2), (row.low, row.high, 3.6)):
                axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=width)
            inside = "white" if row.only_alone else colour
            axes.plot(100 * row.gain, place, "o", color=colour, markerfacecolor=inside, markersize=6)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        _title(figure, title)
        axes.set_xlabel("gain, percentage points")
        axes.grid(axis="x")
    return _svg(figure, f"Gains in {title} with their intervals")


def draw_doses(lines: Mapping[str, Sequence[DosePoint]], title: str, x_title: str, chosen: float | None) -> str:
    """Gain by dose: a line with its interval per score.

    Args:
        lines: name of each score, and its rows of `StudyResults.curves`, by growing x.
        chosen: the recommended dose, marked; None = none.
    """
    with _figure(5.4, 3.1) as figure:
        axes = figure.add_subplot()
        axes.axhline(0, color=_TEXT, linewidth=1)
        doses = sorted({row.x for rows in lines.values() for row in rows})
        if chosen is not None:
            axes.axvline(chosen, color=_TEXT, linewidth=1, linestyle=":")
            beside = ("left", 4) if chosen < max(doses) else ("right", -4)
            at: Any = {"xytext": (beside[1], -2), "textcoords": "offset points", "ha": beside[0], "va": "top"}
            axes.annotate("recommended", (chosen, 1), xycoords=("data", "axes fraction"), fontsize=8, **at)
        for number, (name, rows) in enumerate(lines.items()):
            x = [row.x for row in rows]
            low, gain, high = ([100 * getattr(row, key) for row in rows] for key in ("low", "gain", "high"))
            axes.fill_between(x, low, high, color=_colour(number), alpha=0.18, linewidth=0)
            axes.plot(x, gain, "o-", color=_colour(number), linewidth=1.6, markersize=4.5, label=name)
        if doses[0] > 0 and doses[-1] > 20 * doses[0]:
            axes.set_xscale("log")
        axes.set_xticks(doses, [f"{dose:g}" for dose in doses])
        axes.minorticks_off()
        _title(figure, title)
        axes.set_xlabel(x_title)
        axes.set_ylabel("gain, percentage points")
        axes.grid()
        _legend(axes, 0.9)
    return _svg(figure, f"{title}: gain by dose")


def draw_found(rows: Sequence[Subgroup], title: str) -> str:
    """Share of regions found in each bin, a colour per arm, with intervals.

    Args:
        rows: `StudyResults.subgroups` of one class and kind, of few arms.
    """
    bins = list(dict.fromkeys(row.bin for row in rows))
    arms = list(dict.fromkeys(row.title for row in rows))
    with _figure(5.4, 2.9) as figure:
        axes = figure.add_subplot()
        for number, arm in enumerate(arms):
            of_arm = [row for row in rows if row.title == arm]
            x = [bins.index(row.bin) + 0.7 * ((number + 0.5) / len(arms) - 0.5) for row in of_arm]
            for place, row in zip(x, of_arm, strict=True):
                axes.plot([place, place], [100 * row.low, 100 * row.high], color=_colour(number), linewidth=2.2)
            shares = [100 * row.share for row in of_arm]
            axes.plot(x, shares, "o", color=_colour(number), markersize=5, label=_in_lines(arm, 34))
        numbers = {row.bin: row.regions for row in rows}
        axes.set_xticks(
            range(len(bins)), [f"{name.replace(' (', chr(10) + '(')}\nn = {numbers[name]}" for name in bins]
        )
        axes.tick_params(axis="x", labelsize=8)
        axes.set_ylim(0, 100)
        _title(figure, title)
        axes.set_ylabel("found, %")
        axes.grid(axis="y")
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return _svg(figure, title)


def _in_lines(words: str, most: int) -> str:
    """Words in two lines of at most so many characters; what is longer is cut off."""
    return "\n".join(textwrap.wrap(words, most, max_lines=2, placeholder="…"))


def draw_confusion(confusion: np.ndarray, names: Sequence[str], title: str) -> str:
    """A confusion matrix as a heat map of shares of each row; counts stand in the cells where there is room.

    Args:
        confusion: (C, C) pixels; row = truth, column = prediction.
    """
    total = confusion.sum(1, keepdims=True)
    shares = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    in_words = len(names) <= _MOST_CLASSES_IN_WORDS
    side = 0.62 * len(names) if in_words else 4.2
    with _figure(side + 1.5, side + 1.1) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        _title(figure, title)
        axes.spines[:].set_visible(False)
        if in_words:
            axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
            axes.set_yticks(range(len(names)), names)
            for row, column in np.ndindex(confusion.shape):
                ink = "white" if shares[row, column] > 0.5 else "#1e293b"
                words = f"{100 * shares[row, column]:.1f} %\n{_short(int(confusion[row, column]))}"
                axes.text(column, row, words, ha="center", va="center", color=ink, fontsize=7.5)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
    return _svg(figure, f"Confusion matrix, {title}")


def _short(count: int) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _colour(arm: int) -> str:
    return ARM_COLOURS[arm % len(ARM_COLOURS)]


def _legend(axes: "Axes", size: float) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9 * size, loc="best")


@contextmanager
def _figure(width: float, height: float) -> Iterator["Figure"]:
    import matplotlib  # here: slow to import, and runs or counts that are not there are to be refused before
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure((width, height), layout="constrained")


def _title(figure: "Figure", title: str) -> None:
    """A title as wide as the figure, in lines: beside long names of arms the axes are narrow."""
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=_STYLE["axes.titlesize"], wrap=True)


def _svg(figure: "Figure", label: str) -> str:
    """The <svg> element alone, without addresses of any kind, described by `label` for screen readers."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    described = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{described}" ', 1).replace(_TEXT, "currentColor")
