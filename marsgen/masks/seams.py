"""Seams: pixels without a label around a region, as wide on each side as around a real one.

Two things leave such pixels: an annotator's rough outline, which is bare all around, and something unlabelled that the
region touches, which is bare on one side. One width for all sides would turn the second into a ring that no real label
map has; so a width is measured for each direction, and drawn as it was measured.
"""

import numpy as np
from scipy import ndimage

from marsgen.masks.profiles.profile import SEAM_EDGES_PX
from marsgen.scenes.geometry import Box

DIRECTIONS = 8
"""of the way from a region's outline to a pixel beside it, the first to the right, then clockwise"""
REACH_PX = SEAM_EDGES_PX[-1]
_NEARBY_PX = 5


def measure_seam(labels: np.ndarray, mask: np.ndarray, box: Box, ignored: int, pasted: np.ndarray) -> tuple[int, ...]:
    """How far a region's surroundings have no label, in each direction.

    Args:
        labels: (H, W) ids of the scene.
        mask: (h, w) bool: the region in `box`.
        pasted: (256,) bool: ids that say nothing about the seam, such as those of other regions.
    Returns:
        DIRECTIONS widths: the distance in px up to which at least half of each one-pixel ring in that direction has no
        label, at most REACH_PX and at most as far as the picture goes.
    """
    window, distance, direction = _around(mask, box, labels.shape)
    ids = labels[window.slices]
    counted = (distance > 0) & (distance <= REACH_PX) & ~pasted[ids]
    return _nearest_known(_widths(distance[counted], direction[counted], ids[counted] == ignored, DIRECTIONS))


def clear_seam(
    labels: np.ndarray, mask: np.ndarray, box: Box, widths: tuple[int, ...], keep: np.ndarray, ignored: int
) -> int:
    """Take the label from pixels around a region just pasted, in place.

    Args:
        labels: (H, W) ids of the edited scene.
        mask: (h, w) bool: the region in `box`.
        widths: from `measure_seam`, of the real region that this one is as large as.
        keep: (256,) bool: ids that keep their label.
    Returns:
        distance up to which at least half of each ring lost its label, in all directions together.
    """
    window, distance, direction = _around(mask, box, labels.shape)
    outside = (distance > 0) & (distance <= REACH_PX)
    wanted = outside & (distance <= np.asarray(widths)[direction])
    # steps of the outline turn the direction pixel by pixel: the majority nearby decides, so that no stripes stay
    share, every = (ndimage.uniform_filter(part.astype(float), _NEARBY_PX) for part in (wanted, outside))
    bare = outside & (2 * share >= every)
    ids = labels[window.slices]
    ids[bare & ~keep[ids]] = ignored
    (width,) = _widths(distance[outside], np.zeros(np.count_nonzero(outside), int), bare[outside], 1)
    return max(width, 0)


def _around(mask: np.ndarray, box: Box, shape: tuple[int, ...]) -> tuple[Box, np.ndarray, np.ndarray]:
    """A window around a region, and for each of its pixels the distance from the region and the direction from it."""
    window = box.grown(REACH_PX, shape)
    inside = np.zeros(window.shape, bool)
    inside[box.shifted(-window.top, -window.left).slices] = mask
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    down, right = (at - near for at, near in zip(np.indices(window.shape), nearest, strict=True))
    turn = np.arctan2(down, right) / (2 * np.pi)
    return window, distance, np.round(turn * DIRECTIONS).astype(int) % DIRECTIONS


def _widths(distance: np.ndarray, group: np.ndarray, bare: np.ndarray, groups: int) -> tuple[int, ...]:
    """For each group of pixels, the distance up to which at least half of each one-pixel ring is bare; -1 where the
    group has no pixel. A ring without a pixel of the group says nothing."""
    ring = group * REACH_PX + np.ceil(distance).astype(int) - 1
    every, open_ = (
        np.bincount(ring[some], minlength=groups * REACH_PX).reshape(groups, REACH_PX) for some in (slice(None), bare)
    )
    labelled = 2 * open_ < every
    last = REACH_PX - np.argmax(every[:, ::-1] > 0, axis=1)
    width = np.where(labelled.any(axis=1), np.argmax(labelled, axis=1), last)
    return tuple(int(px) for px in np.where(every.any(axis=1), width, -1))


def _nearest_known(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Directions in which a border or the outline left nothing to measure take the width of the nearest that is known,
    the smaller of two; 0 where none is."""
    known = [number for number, width in enumerate(widths) if width >= 0]
    sides = len(widths)
    return tuple(
        min(((min((k - n) % sides, (n - k) % sides), widths[k]) for k in known), default=(0, 0))[1]
        for n in range(sides)
    )
