"""Perspective of a scene on flat ground: objects appear larger the farther below the horizon they stand."""

from typing import Literal

import numpy as np

from marsgen.masks.config import NO_PERSPECTIVE

MIN_DISTANCE = 0.05
"""objects nearer to the horizon than this share of the image height count as this far below it"""
SKY_FRACTION = 0.95
"""a row with at least this share of unlabelled pixels counts as sky"""


def horizon_row(labels: np.ndarray, ignored: int, horizon: float | Literal["none"]) -> float | None:
    """Row of the horizon in a (H, W) label map: where the sky ends, or `horizon` where there is no sky.

    None where there is no perspective.

    Sky has no label, so unlabelled rows at the top of the image count as sky. Fewer than a twelfth of the height do
    not: annotators leave a thin unlabelled border.
    """
    if horizon == NO_PERSPECTIVE:
        return None
    height, width = labels.shape
    for row in range(height):
        if np.count_nonzero(labels[row] == ignored) < SKY_FRACTION * width:
            break
    return float(row) if row >= height / 12 else horizon * height


def distance_below(horizon: float, row: float, height: int) -> float:
    """How far `row` lies below the row of the horizon, as a share of the image height; at least MIN_DISTANCE."""
    return max((row - horizon) / height, MIN_DISTANCE)
