"""Names of scores and formats of numbers: every table, figure and sentence about results uses these."""

from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.regions import region_classes


def score_names(classes: ClassSet) -> list[tuple[str, str]]:
    """(score, class) of each of the K = 2 C + 1 scores of `statistics/bootstrap.py`, in their order.

    A score that is not reported (regions found of a class whose regions are not counted) has an empty name.
    """
    counted = region_classes(classes)
    found = [("regions found" if c in counted else "", name) for c, name in enumerate(classes.names)]
    return [*(("IoU", name) for name in classes.names), ("mean IoU", ""), *found]


AVERAGE_PRECISION = "average precision"
MATCHED_IOU = "IoU at matched fraction"


def secondary_names(classes: ClassSet) -> list[tuple[str, str]]:
    """(score, class) of each of the K = 2 Q scores of `statistics/ranking.py`, in their order."""
    return [(score, name) for score in (AVERAGE_PRECISION, MATCHED_IOU) for name in classes.rare]


def score_text(score: str, class_name: str) -> str:
    """A score and its class in words, such as `IoU soil` or `mean IoU`."""
    return f"{score} {class_name}".rstrip()


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign and one decimal; "-" for NaN."""
    return "-" if value != value else f"{100 * value:+.1f}"


def interval_text(low: float, high: float) -> str:
    """The interval of a gain in percentage points; words where there is none (NaN)."""
    return "none: too few images" if low != low else f"[{points(low)}, {points(high)}]"
