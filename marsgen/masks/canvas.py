"""The scene that regions are pasted into: where a region may stand, and whether it fits there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from marsgen.masks.blend import EditedMask, Slices, Stamp, clip_window
from marsgen.masks.config import PasteSettings
from marsgen.masks.donors import MAX_PUSH_OUT, TOLERANCE, Donor, Target
from marsgen.masks.regions import BORDER_PX, FOOT_FRACTION, RegionLibrary

FOOT_ON_GROUND = 0.9
"""share of that outline that has to lie on a ground class; label maps have small unlabelled gaps"""
MIN_LABELLED_PX = 8
"""with fewer labelled pixels around or below a region, nothing is known there"""
AVOID_PX = 3
"""distance within which a region may not come to a class of `avoid_classes`"""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A parent scene being edited, and what its ids mean for pasting."""

    edited: EditedMask
    library: RegionLibrary
    foot_weights: Callable[[str], np.ndarray] | None = None
    """class name -> (H, W) weights of a foot at each pixel; None = all pixels alike"""
    cached_weights: dict[str, np.ndarray] = field(default_factory=dict)
    """what `foot_weights` gave, once per class, before anything was pasted; 0 off the ground"""
    cached_sums: dict[str, np.ndarray] = field(default_factory=dict)
    """their cumulative sums in reading order"""
    cached_suits: dict[str, np.ndarray] = field(default_factory=dict)
    """what `suits` gave, once per class"""

    @cached_property
    def present(self) -> np.ndarray:
        """(256,) bool: ids in the scene."""
        return np.bincount(self.edited.labels.ravel(), minlength=256) > 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.edited.labels.shape

    def weights_of(self, class_name: str) -> np.ndarray | None:
        if self.foot_weights is not None and class_name not in self.cached_weights:
            weights = self.foot_weights(class_name) * self.library.ground[class_name][self.edited.labels]
            self.cached_weights[class_name] = weights
            self.cached_sums[class_name] = np.cumsum(weights, dtype=np.float64)
        return self.cached_weights.get(class_name)

    def suits(self, class_name: str) -> np.ndarray:
        """(R,) bool: regions of a class whose surroundings can match here, since the scene shows enough of them."""
        if class_name not in self.cached_suits:
            shares = self.library.donor_surroundings[class_name] @ self.present
            self.cached_suits[class_name] = shares >= self.library.settings[class_name].match_surroundings
        return self.cached_suits[class_name]

    def is_ground(self, class_name: str, row: int, column: int) -> bool:
        """Whether a region may stand at (row, column); a row below the image counts as the image's last one."""
        return bool(self.library.ground[class_name][self.edited.labels[min(row, self.shape[0] - 1), column]])


def draw_foot(
    canvas: Canvas, donor: Donor, rows: tuple[int, int] | None, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw the row and column where a region is to stand; None where it lands off the ground.

    Args:
        rows: first row and the one after the last that perspective allows for its size; None = any.
    """
    name = donor.region.class_name
    height, width = canvas.shape
    weights = canvas.weights_of(name)
    row, column = _fixed_foot(donor, canvas.shape)
    # a foot below the image makes a region that the lower border cuts off, which is common in real scenes
    first, last = rows or (0, height if weights is not None or "bottom" in donor.cut else height + height // 8)
    if row is not None:
        first, last = row, row + 1
    if weights is not None:
        first, last = max(first, 0), min(last, height)
    if first >= last:
        return None
    if weights is None:
        foot = (
            int(rng.integers(first, last)) if row is None else row,
            int(rng.integers(width)) if column is None else column,
        )
    elif column is None:
        sums = canvas.cached_sums[name]
        before = sums[first * width - 1] if first else 0.0
        inside = sums[first * width : last * width]
        found = int(np.searchsorted(inside, before + rng.random() * (inside[-1] - before), side="right"))
        if found == len(inside):
            return None  # no weight at all
        foot = (first + found // width, found % width)
    else:
        sums = np.cumsum(weights[first:last, column], dtype=np.float64)
        found = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        if found == len(sums):
            return None
        foot = (first + found, column)
    # the weights were computed before anything was pasted, so they may still allow a pasted pixel
    return foot if canvas.is_ground(name, *foot) else None


def _fixed_foot(donor: Donor, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Row and column that a cut side fixes; None = free. Inside of the rim that annotators leave unlabelled."""
    height, width = shape
    row = column = None
    tall, wide = (side * donor.scale for side in donor.region.box.shape)
    if "bottom" in donor.cut:
        row = height - 2 - BORDER_PX
    elif "top" in donor.cut:
        row = round(tall * (1 - donor.overhang[0])) + BORDER_PX
    if "left" in donor.cut or "right" in donor.cut:
        column = round(wide * (1 - donor.overhang[1]) / 2)
        column = column if "left" in donor.cut else width - 1 - column
    return (
        None if row is None else min(max(row, 0), height - 1),
        None if column is None else min(max(column, 0), width - 1),
    )


def rows_of_size(donor: Donor, horizon: float | None) -> tuple[int, int] | None:
    """First row and the one after the last at which perspective makes the donor as large as it is to be.

    None = any row: there is no perspective, or the lower border hides the foot.
    """
    if horizon is None or "bottom" in donor.cut:
        return None
    below = donor.region.distance * donor.region.donor_height * donor.scale / donor.jitter
    slack = max(1.0, 0.05 * below)
    foot = horizon + below - 1  # the last row of the region, not the first below it
    return math.floor(foot - slack), math.ceil(foot + slack) + 1


def move_to_border(stamp: Stamp, top: int, left: int, donor: Donor, shape: tuple[int, ...]) -> tuple[int, int]:
    """Move a stamp so that its cut sides, and no others, lie at the same border of the image or a little beyond it."""
    tall, wide = stamp.depth.shape
    cut, own = donor.cut, donor.region.cut
    box = stamp.box
    clear = BORDER_PX + 1  # nearer ones count as cut off
    top = max(min(top, shape[0] - clear - box.bottom), clear - box.top)
    left = max(min(left, shape[1] - clear - box.right), clear - box.left)
    if not cut:
        return top, left
    # a whole region has surroundings on the side that is to be cut off
    margin = 0 if own else math.ceil(stamp.reach_px)
    down = margin + int(donor.overhang[0] * (tall - 2 * margin))
    across = margin + int(donor.overhang[1] * (wide - 2 * margin))
    if "top" in cut and "bottom" in cut:
        top = -int(max(tall - shape[0], 0) * donor.overhang[0] / MAX_PUSH_OUT)
    elif "top" in cut:
        top = -down
    elif "bottom" in cut:
        top = shape[0] - tall + down
    if "left" in cut and "right" in cut:
        left = -int(max(wide - shape[1], 0) * donor.overhang[1] / MAX_PUSH_OUT)
    elif "left" in cut:
        left = -across
    elif "right" in cut:
        left = shape[1] - wide + across
    return top, left


def fits(stamp: Stamp, top: int, left: int, donor: Donor, target: Target, canvas: Canvas) -> bool:
    """Whether a stamp may be pasted at (top, left).

    It has to be about as large as its target, to stand on ground, to keep away from classes that the real ones never
    touch and from other regions of the pasted classes, and to cover little that has no label.
    """
    library, name = canvas.library, donor.region.class_name
    settings = library.settings[name]
    window, inside = clip_window(stamp, top, left, canvas.shape)
    labels, depth = canvas.edited.labels[window], stamp.depth[inside]
    mask = depth > 0
    visible = np.count_nonzero(mask)
    if not target.area_px / TOLERANCE <= visible <= target.area_px * TOLERANCE or visible < settings.min_visible_px:
        return False
    if visible < settings.min_visible_fraction * np.count_nonzero(stamp.depth > 0):
        return False
    if library.avoided[name][labels[depth > -AVOID_PX]].any():
        return False
    if library.pasted[labels[depth > -settings.gap_px]].any() or _too_close(window, stamp, canvas, settings):
        return False
    if np.count_nonzero(labels[mask] == library.classes.ignored) > settings.max_ignored_fraction * visible:
        return False
    if "bottom" not in donor.cut:  # else its foot is outside
        standing = library.ground[name][labels[_foot_outline(mask)]]
        if standing.mean() < FOOT_ON_GROUND:
            return False
    return _surroundings_match(labels, stamp.labels[inside], depth, canvas, name)


def _surroundings_match(labels: np.ndarray, own: np.ndarray, depth: np.ndarray, canvas: Canvas, name: str) -> bool:
    """Whether most of what surrounds a stamp is of the class that surrounded its donor.

    A simple form of Dvornik et al. 2018 (arXiv 1807.07428), who learn which surroundings suit an object.

    Args:
        labels, own, depth: (h, w) ids of the scene and of the donor, and distance to the outline, positive inside.
    """
    library, least = canvas.library, canvas.library.settings[name].match_surroundings
    if not least:
        return True
    unknown = library.pasted.copy()
    unknown[library.classes.ignored] = True
    around = (depth <= 0) & ~unknown[labels] & ~unknown[own]
    alike = labels == own
    checked = [around]
    if name in library.upright:
        lowest = np.flatnonzero((depth > 0).any(axis=1))[-1]
        beneath = around.copy()
        beneath[: lowest + 1] = False
        beneath[:, ~(depth > 0).any(axis=0)] = False
        checked.append(beneath)
    return all(alike[part].mean() >= least for part in checked if np.count_nonzero(part) >= MIN_LABELLED_PX)


def _too_close(window: Slices, stamp: Stamp, canvas: Canvas, settings: PasteSettings) -> bool:
    """Whether a pasted class lies within the gap outside the window.

    The gap leaves the window of a stamp that was shrunk much.
    """
    beyond = math.ceil(settings.gap_px - stamp.reach_px)
    if beyond <= 0:
        return False
    rows, columns = (slice(max(0, side.start - beyond), side.stop + beyond) for side in window)
    return bool(canvas.library.pasted[canvas.edited.labels[rows, columns]].any())


def _foot_outline(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of a non-empty mask with nothing of it below, in its lowest rows."""
    below = np.zeros_like(mask)
    below[:-1] = mask[1:]
    outline = mask & ~below
    rows = np.flatnonzero(mask.any(axis=1))
    outline[: rows[-1] - int(FOOT_FRACTION * (rows[-1] - rows[0]))] = False
    return outline
