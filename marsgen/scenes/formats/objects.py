"""Objects drawn into a label map: outlines, run lengths, and which object wins where two overlap.

A pixel belongs to an outline when its centre lies inside (even-odd rule); pixel (row 0, column 0) has its centre at
x = 0.5, y = 0.5. So an outline from 2 to 6 is 4 pixels long, and outlines that share an edge share no pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.formats.config import Overlap


@dataclass(frozen=True)
class Outlines:
    """One object as polygons; it covers what any of them covers."""

    polygons: tuple[np.ndarray, ...]
    """(points, 2) float x, y in pixels"""

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool."""
        covered = np.zeros(size, bool)
        for points in self.polygons:
            covered |= polygon_mask(points, size)
        return covered


@dataclass(frozen=True)
class RunLengths:
    """One object as numbers of pixels outside, inside, outside, ... column by column (COCO's RLE)."""

    counts: tuple[int, ...]
    size: tuple[int, int]
    """(height, width)"""

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool."""
        if self.size != size or min(self.counts, default=0) < 0 or sum(self.counts) != size[0] * size[1]:
            raise DataError(
                f"a run-length mask of {sum(self.counts)} pixels for {self.size[0]} x {self.size[1]} beside a picture "
                f"of {size[0]} x {size[1]}"
            )
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(size[1], size[0]).T


@dataclass(frozen=True)
class Window:
    """One object as a mask of its bounding box."""

    top: int
    left: int
    inside: np.ndarray
    """(h, w) bool"""

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool."""
        covered = np.zeros(size, bool)
        part = covered[
            max(self.top, 0) : self.top + self.inside.shape[0], max(self.left, 0) : self.left + self.inside.shape[1]
        ]
        part |= self.inside[max(-self.top, 0) :, max(-self.left, 0) :][: part.shape[0], : part.shape[1]]
        return covered


@dataclass(frozen=True)
class LabelledObject:
    """One object and the id of its class."""

    class_id: int
    shape: Outlines | RunLengths | Window
    below: bool = False
    """under all others, whatever its size: COCO's crowds"""


def polygon_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels whose centre lies inside a polygon, by the even-odd rule.

    Args:
        points: (N, 2) float x, y; the last point is joined to the first.
    """
    height, width = size
    inside = np.zeros(size, bool)
    if len(points) < 3:
        return inside
    top, bottom = (int(np.clip(np.ceil(edge - 0.5), 0, height)) for edge in (points[:, 1].min(), points[:, 1].max()))
    left, right = (int(np.clip(np.ceil(edge - 0.5), 0, width)) for edge in (points[:, 0].min(), points[:, 0].max()))
    if top == bottom or left == right:
        return inside
    # every edge toggles, in each row whose centre it crosses, all pixels from there to the right
    toggles = np.zeros((bottom - top, right - left + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(int(np.ceil(y0 - 0.5)), top), min(int(np.ceil(y1 - 0.5)), bottom))
        if len(rows):
            crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.intp) - left
            np.add.at(toggles, (rows - top, columns), 1)
    inside[top:bottom, left:right] = np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1
    return inside


def unpack_counts(text: str) -> tuple[int, ...]:
    """Run lengths of COCO's packed form: six bits a letter, differences to the count before the last one.

    Raises:
        DataError: letters that are none of this form.
    Source: cocoapi, common/maskApi.c, rleFrString.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise DataError(f"a run-length mask with the letter {letter!r}, which stands in none")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return tuple(counts)


@dataclass(frozen=True)
class Drawing:
    """A label map made of objects, and what was decided on the way."""

    labels: np.ndarray
    """(H, W) uint8 ids"""
    contested: int = 0
    """pixels that objects of different classes cover"""
    lost: int = 0
    """objects of which no pixel is left, or that never covered a pixel's centre"""


def draw_objects(
    objects: Sequence[LabelledObject], size: tuple[int, int], background: int, overlap: Overlap = "smaller"
) -> Drawing:
    """Draw objects over each other.

    Args:
        size: (height, width).
        background: id of pixels that no object covers.
        overlap: which of two objects keeps the pixels of both: the smaller or larger one by its pixels, or the first
            or last one listed.
    Raises:
        DataError: a run-length mask of another size.
    """
    masks = [each.shape.mask(size) for each in objects]
    areas = np.array([int(mask.sum()) for mask in masks])
    order = list(
        {
            "smaller": np.argsort(-areas, kind="stable"),
            "larger": np.argsort(areas, kind="stable"),
            "first": np.arange(len(objects))[::-1],
            "last": np.arange(len(objects)),
        }[overlap]
    )
    order = [*(i for i in order if objects[i].below), *(i for i in order if not objects[i].below)]
    labels = np.full(size, background, np.uint8)
    owner = np.full(size, -1, np.int32)
    contested = np.zeros(size, bool)
    for place in order:
        mask, each = masks[place], objects[place]
        contested |= mask & (owner >= 0) & (labels != each.class_id)
        labels[mask] = each.class_id
        owner[mask] = place
    left = set(np.unique(owner).tolist())
    return Drawing(labels, int(contested.sum()), sum(i not in left for i in range(len(objects))))
