"""Near-copies: how similar each synthetic region is to the most similar region of the training scenes.

Regions are compared by the picture inside their outline alone. A copy may be moved, resized, mirrored, lit differently
or cut off by the border. So each training region is resampled to a small grid in all those ways, shading and contrast
are removed, and the result is correlated with the synthetic region where both have labels. Between each of 36 rocks of
mars_for_students.npz and the most similar other one the correlation is 0.58 (median; highest 0.82); rocks pasted with a
new size, rotation and brightness have 0.91.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from marsgen.masks.regions import luminance
from marsgen.quality.crops import RareRegion

__all__ = ["Nearest", "copy_bound", "find_nearest"]

_GRID = 16  # cells along each side of a region's box; most rocks have few more pixels
_SHADING = 3.0  # cells; slower changes are light and shape, which different rocks share
_SHIFTS = (-0.08, 0.0, 0.08)  # of the box's side: outlines of one region differ a little
_VISIBLE = (0.6, 0.75, 0.9)  # fractions of a region that a border leaves
_FEWEST_CELLS = 20
_BLAND = 0.3  # grey levels: rounding alone varies as much
_TINY = 1e-6
_BATCH = 256


@dataclass(frozen=True, eq=False)
class Nearest:
    """For N regions the most similar of the training regions."""

    which: np.ndarray
    """(N,) int64 position among the training regions; -1 where none may be compared"""
    distance: np.ndarray
    """(N,) float64: 1 - correlation, 0 = the same picture; NaN where none may be compared"""


def find_nearest(
    regions: Sequence[RareRegion],
    training: Sequence[RareRegion],
    groups: np.ndarray | None = None,
    training_groups: np.ndarray | None = None,
) -> Nearest:
    """The most similar training region of each region.

    Args:
        groups, training_groups: (N,) and (T,) int64; regions of one group are not compared. None = compare all.
    """
    best = np.full(len(regions), -1.0)
    which = np.full(len(regions), -1)
    prepared = [_prepare(region) for region in regions]
    by_touch: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for position, region in enumerate(regions):
        by_touch[region.touches].append(position)
    for number, candidate in enumerate(training):
        for touches, positions in by_touch.items():
            views = _views(candidate, touches)
            for start in range(0, len(positions), _BATCH):
                batch = np.array(positions[start : start + _BATCH])
                if groups is not None and training_groups is not None:
                    batch = batch[groups[batch] != training_groups[number]]
                if not len(batch):
                    continue
                score = _correlate([prepared[i] for i in batch], views).max(1)
                better = score > best[batch]
                best[batch[better]], which[batch[better]] = score[better], number
    return Nearest(which, np.where(which >= 0, 1 - best, np.nan))


def copy_bound(distances: np.ndarray, share: float) -> float:
    """The distance below which a region counts as a copy.

    Args:
        distances: (N,) of different real regions, each to the most similar other; NaN is left out.
        share: of different real regions that may lie below it by chance.
    Returns:
        the `share` quantile of a normal curve laid through Fisher's transform of the correlations by median and median
        deviation: few real regions are known, and two pictures of one rock among them must not move it. NaN for fewer
        than 2 distances.
    """
    known = distances[~np.isnan(distances)]
    if len(known) < 2:
        return float("nan")
    z = np.arctanh(np.clip(1 - known, -1 + _TINY, 1 - _TINY))
    spread = 1.4826 * np.median(np.abs(z - np.median(z)))
    return float(1 - np.tanh(np.median(z) + NormalDist().inv_cdf(1 - share) * spread))


def _prepare(region: RareRegion) -> tuple[np.ndarray, np.ndarray]:
    """The picture of a region on the grid, flat, and the cells that are of it: (256,) float32 each."""
    mask = _lay(region.mask.astype(np.float32)) > 0.5
    if mask.sum() < _FEWEST_CELLS:  # a thin strip; its box says more than a handful of cells
        mask[:] = True
    return _flatten(_lay(luminance(region.pixels))).ravel(), mask.astype(np.float32).ravel()


def _views(region: RareRegion, touches: tuple[bool, ...]) -> np.ndarray:
    """(V, 256) float32: a training region as it may look when pasted where the scene cuts it off at these sides."""
    picture = luminance(region.pixels)
    at_top, at_left, at_bottom, at_right = touches
    rows = _ways_to_lay(picture.shape[0], at_top, at_bottom)  # (R, 16, h)
    columns = _ways_to_lay(picture.shape[1], at_left, at_right)  # (C, 16, w)
    columns = np.concatenate([columns, columns[:, :, ::-1]])  # the mirror image too, cut off at the same sides
    views = (rows @ picture)[:, None] @ columns.swapaxes(1, 2)[None]  # (R, 2C, 16, 16)
    return _flatten(views).reshape(-1, _GRID**2)


@lru_cache(maxsize=1024)
def _ways_to_lay(length: int, cut_first: bool, cut_last: bool) -> np.ndarray:
    """(ways, 16, length) float32 weights: a line moved a little, whole or with what a border leaves of it."""
    parts = [(0.0, 1.0)] + [(1 - s, 1.0) for s in _VISIBLE if cut_first] + [(0.0, s) for s in _VISIBLE if cut_last]
    ends = [(start + s * (stop - start), stop + s * (stop - start)) for start, stop in parts for s in _SHIFTS]
    return np.stack([_weights(length, start * length, stop * length) for start, stop in ends])


def _correlate(prepared: Sequence[tuple[np.ndarray, np.ndarray]], views: np.ndarray) -> np.ndarray:
    """Correlation over its own cells of each of B regions with each of V views: (B, V) float32."""
    pictures, masks = (np.stack(part) for part in zip(*prepared, strict=True))
    count = masks.sum(1, keepdims=True)
    centred = (pictures - (pictures * masks).sum(1, keepdims=True) / count) * masks
    bland = _BLAND**2 * count
    centred /= np.sqrt(np.maximum((centred * centred).sum(1, keepdims=True), bland))
    variance = masks @ (views * views).T - (masks @ views.T) ** 2 / count
    return centred @ views.T / np.sqrt(np.maximum(variance, bland))


def _lay(picture: np.ndarray) -> np.ndarray:
    """(h, w) picture -> (16, 16) cells of the grid."""
    height, width = picture.shape
    return _weights(height, 0, height) @ picture @ _weights(width, 0, width).T


def _weights(length: int, start: float, stop: float) -> np.ndarray:
    """(16, length) float32 weights of the pixels of a line in the cells laid from start to stop.

    Linear, as wide as a cell or a pixel; beyond the line its end goes on.
    """
    step = (stop - start) / _GRID
    middle = np.clip(start + (np.arange(_GRID) + 0.5) * step - 0.5, 0, length - 1)
    weights = np.clip(1 - np.abs(np.arange(length)[None] - middle[:, None]) / max(step, 1.0), 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _flatten(cells: np.ndarray) -> np.ndarray:
    """(..., 16, 16) cells without the shading that varies slowly."""
    blur = _blur()
    return cells - blur @ cells @ blur.T


@lru_cache(maxsize=1)
def _blur() -> np.ndarray:
    """(16, 16) float32 matrix of a Gaussian blur along one axis."""
    from scipy import ndimage  # here: slow to import, and not needed before the data are opened

    return ndimage.gaussian_filter1d(np.eye(_GRID, dtype=np.float32), _SHADING, axis=0, mode="nearest")
