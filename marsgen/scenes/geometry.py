"""Rectangles, connected regions and grids of cells: the one definition of each that every folder uses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["Box", "cell_weights", "connected_regions", "label_regions"]

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


class Box(NamedTuple):
    """A rectangle of pixels: rows top..bottom-1 and columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of_slices(cls, rows: slice, columns: slice) -> Box:
        return cls(rows.start, columns.start, rows.stop, columns.stop)

    @classmethod
    def around(cls, mask: np.ndarray) -> Box:
        """The smallest box that holds every True pixel of a (H, W) bool mask; at least one has to be True."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def shifted(self, down: int, right: int) -> Box:
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def grown(self, margin: int, shape: tuple[int, ...]) -> Box:
        """The box with `margin` pixels on each side, as far as they lie inside an image of this (height, width)."""
        return Box(
            max(self.top - margin, 0),
            max(self.left - margin, 0),
            min(self.bottom + margin, shape[0]),
            min(self.right + margin, shape[1]),
        )

    def overlaps(self, other: Box) -> bool:
        return (
            self.top < other.bottom and other.top < self.bottom and self.left < other.right and other.left < self.right
        )

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def touched_sides(self, shape: tuple[int, ...], within_px: int) -> tuple[str, ...]:
        """Sides (top, left, bottom, right) on which the box ends within `within_px` of an image of (height, width)."""
        to_border = (self.top, self.left, shape[0] - self.bottom, shape[1] - self.right)
        return tuple(side for side, distance in zip(Box._fields, to_border, strict=True) if distance <= within_px)


def label_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected regions of a mask; pixels that touch at a side or a corner are connected.

    Args:
        mask: (H, W) bool.
    Returns:
        (H, W) int32 numbers from 1, in reading order of each region's first pixel, 0 outside; and (R + 1,) int64 pixels
        of each number, 0 for number 0.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32), np.zeros(1, np.int64)
    from scipy import ndimage  # here: slow to import, and not needed before the data are opened

    numbered, count = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    return numbered, sizes


def connected_regions(mask: np.ndarray) -> Iterator[tuple[np.ndarray, Box]]:
    """Each connected region of a (H, W) bool mask, as `label_regions` orders them.

    Yields:
        (h, w) bool pixels of the region within its box, and the smallest box around it.
    """
    from scipy import ndimage

    numbered, _ = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        yield numbered[rows, columns] == number, Box.of_slices(rows, columns)


@lru_cache(maxsize=64)
def cell_weights(length: int, cells: int) -> np.ndarray:
    """(cells, length) float32: the share that each pixel of a line has in the mean of each cell."""
    low = np.arange(cells)[:, None] * length / cells
    high = low + length / cells
    pixel = np.arange(length)[None]
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return (covered * cells / length).astype(np.float32)
