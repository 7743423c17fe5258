"""The scene that regions are pasted into: where a region may stand, how large it is there, and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.config import PasteConfig
from marsgen.masks.paste import EditedMask, Slices, Stamp, clip_window
from marsgen.masks.perspective import distance_below
from marsgen.masks.placement import draw_from
from marsgen.masks.regions import Region, RegionLibrary
from marsgen.scenes.classes import ClassSet

FOOT_FRACTION = 0.2
"""lowest share of a region's rows in which its outline touches the ground"""
FOOT_ON_GROUND = 0.9
"""share of that outline that has to lie on a ground class; label maps have small unlabelled gaps"""
MAX_PUSH_OUT = 0.3
"""a region that its donor's border cuts off is pushed out of the image by up to this share of its size"""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A parent scene being edited, and what its ids mean for pasting."""

    edited: EditedMask
    ground: np.ndarray
    """(256,) bool: ids that a region may stand on"""
    pasted: np.ndarray
    """(256,) bool: ids that a region must not touch"""
    ignored: int
    horizon: float
    """row, see `horizon_row`"""
    foot_weights: Callable[[str], np.ndarray] | None = None
    """class name -> (H, W) weights of a foot at each pixel; None = all pixels alike"""
    cached_weights: dict[str, np.ndarray] = field(default_factory=dict)
    """what `foot_weights` gave, once per class, before anything was pasted; 0 off the ground"""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.edited.labels.shape

    def weights_of(self, class_name: str) -> np.ndarray | None:
        if self.foot_weights is not None and class_name not in self.cached_weights:
            self.cached_weights[class_name] = self.foot_weights(class_name) * self.ground[self.edited.labels]
        return self.cached_weights.get(class_name)

    def is_ground(self, row: int, column: int) -> bool:
        """Whether a region may stand at (row, column); a row below the image counts as the image's last one."""
        return bool(self.ground[self.edited.labels[min(row, self.shape[0] - 1), column]])


def ground_table(library: RegionLibrary, config: PasteConfig) -> np.ndarray:
    """(256,) bool: ids that a region may stand on.

    Raises:
        DataError: none is left, or `config.ground_classes` names a pasted class.
    """
    classes = library.classes
    names = config.ground_classes or tuple(name for name in classes.names if name not in library.class_names)
    pasted = [name for name in names if name in library.class_names]
    if pasted or not names:
        raise DataError(
            f"nothing to stand on: {', '.join(library.class_names)} are pasted and the ground is "
            f"{', '.join(names) or 'empty'}; name classes that are not pasted in paste.ground_classes"
        )
    return id_table(classes, names)


def id_table(classes: ClassSet, names: Sequence[str]) -> np.ndarray:
    """(256,) bool: the ids of the named classes."""
    table = np.zeros(256, bool)
    table[[classes.ids[classes.index(name)] for name in names]] = True
    return table


def draw_foot(canvas: Canvas, region: Region, flip: bool, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw the row and column where a region is to stand; None where it lands off the ground.

    Anywhere for whole regions; for those that the border of their scene cuts off, along the same border.
    """
    weights = canvas.weights_of(region.class_name)
    if weights is None:
        foot = _draw_evenly(region, flip, canvas.shape, rng)
    else:
        foot = _draw_weighted(region, flip, weights, rng)
    # the weights were computed before anything was pasted, so they may still allow a pasted pixel
    return foot if foot is not None and canvas.is_ground(*foot) else None


def _draw_evenly(
    region: Region, flip: bool, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int] | None:
    height, width = shape
    # a foot below the image makes a region that the lower border cuts off, which is common in real scenes
    row, column = int(rng.integers(height + height // 8)), int(rng.integers(width))
    fixed_row, fixed_column = _fixed_foot(region, flip, shape)
    return row if fixed_row is None else fixed_row, column if fixed_column is None else fixed_column


def _draw_weighted(region: Region, flip: bool, weights: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    row, column = _fixed_foot(region, flip, weights.shape)
    rows = slice(None) if row is None else slice(row, row + 1)
    columns = slice(None) if column is None else slice(column, column + 1)
    allowed = weights[rows, columns]
    if not allowed.any():
        return None
    down, across = divmod(draw_from(allowed.ravel(), rng), allowed.shape[1])
    return down + (row or 0), across + (column or 0)


def _fixed_foot(region: Region, flip: bool, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Row and column that a cut side fixes; None = free."""
    height, width = shape
    row = column = None
    if "bottom" in region.cut:
        row = height - 1
    elif "top" in region.cut:
        row = min(int(region.foot * height), height - 1)
    if "left" in region.cut or "right" in region.cut:
        column = 0 if ("left" in region.cut) != flip else width - 1
    return row, column


def scale_at(row: int, region: Region, canvas: Canvas, config: PasteConfig, rng: np.random.Generator) -> float:
    """Size relative to the donor's own pixels: proportional to the distance of the foot below the horizon."""
    height = canvas.shape[0]
    distance = distance_below(canvas.horizon, row + 1, height)
    jitter = 1 + config.scale_jitter * float(rng.uniform(-1, 1))
    scale = min(max(jitter * distance / region.distance, config.scale[0]), config.scale[1])
    return scale * height / region.donor_height


def push_to_border(
    stamp: Stamp, top: int, left: int, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int]:
    """Move a stamp so that its cut sides lie on the same side of the image, or a little beyond it."""
    tall, wide = stamp.depth.shape
    down, across = (int(share * MAX_PUSH_OUT * side) for share, side in zip(rng.random(2), (tall, wide), strict=True))
    if "top" in stamp.cut:
        top = -down
    if "bottom" in stamp.cut:
        top = shape[0] - tall + down
    if "left" in stamp.cut:
        left = -across
    if "right" in stamp.cut:
        left = shape[1] - wide + across
    return top, left


def fits(stamp: Stamp, top: int, left: int, canvas: Canvas, config: PasteConfig) -> bool:
    """Whether a stamp may be pasted at (top, left).

    Enough of it has to be visible and to stand on ground, little of it may cover unlabelled pixels, and it has to keep
    its distance from other regions of the pasted classes.
    """
    window, inside = clip_window(stamp, top, left, canvas.shape)
    labels, depth = canvas.edited.labels[window], stamp.depth[inside]
    mask = depth > 0
    visible = np.count_nonzero(mask)
    if visible < max(config.min_visible_px, config.min_visible_fraction * np.count_nonzero(stamp.depth > 0)):
        return False
    if canvas.pasted[labels[depth > -config.gap_px]].any() or _too_close(window, stamp, canvas, config):
        return False
    if np.count_nonzero(labels[mask] == canvas.ignored) > config.max_ignored_fraction * visible:
        return False
    standing = canvas.ground[labels[_foot_outline(mask)]]
    return bool(standing.mean() >= FOOT_ON_GROUND)


def _too_close(window: Slices, stamp: Stamp, canvas: Canvas, config: PasteConfig) -> bool:
    """Whether a pasted class lies within the gap outside the window.

    The gap leaves the window of a stamp that was shrunk much, because its donor scene is larger.
    """
    beyond = math.ceil(config.gap_px - stamp.reach_px)
    if beyond <= 0:
        return False
    rows, columns = (slice(max(0, side.start - beyond), side.stop + beyond) for side in window)
    return bool(canvas.pasted[canvas.edited.labels[rows, columns]].any())


def _foot_outline(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of a non-empty mask with nothing of it below, in its lowest rows."""
    below = np.zeros_like(mask)
    below[:-1] = mask[1:]
    outline = mask & ~below
    rows = np.flatnonzero(mask.any(axis=1))
    outline[: rows[-1] - int(FOOT_FRACTION * (rows[-1] - rows[0]))] = False
    return outline
