"""Fingerprints of pictures: one bit for each cell of a 24 x 24 grid, the sign of the fine detail there.

A picture that was saved again, resized or cropped has another `scene_key`; its fingerprint agrees (see resaved.py).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor

import numpy as np

from marsgen.cleaning.details import block_means, normalise_contrast

FINGERPRINT_BYTES = 72
CELLS = 24
_RIM = 1  # cells left out along the border of a picture: blurring knows nothing beyond it
_BLAND = 1e-3  # detail below which a cell has no sign: rounding errors of a flat picture
_FINE = 96  # cells that a picture is reduced to first; more change no cell of the grids below

Window = tuple[float, float, float, float]
"""top, bottom, left, right of a picture in cells of the fingerprint; beyond 0..24 where it shows more"""
WHOLE: Window = (0.0, float(CELLS), 0.0, float(CELLS))


def fingerprint_picture(image: np.ndarray) -> bytes:
    """(H, W, channels) uint8 -> 72 bytes, the sign of fine detail in each of 24 x 24 cells; zeros for a flat picture.

    Pictures of equal content have fingerprints that differ in few bits, whatever their size and file format.
    """
    return np.packbits(lay_out(reduce_picture(image), [WHOLE]).ravel() > 0).tobytes()


def reduce_picture(image: np.ndarray) -> np.ndarray:
    """(H, W, channels) uint8 -> at most 96 x 96 grey block means, float32."""
    return block_means(image, min(image.shape[0], _FINE), min(image.shape[1], _FINE))


def lay_out(reduced: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """Fine detail of a reduced picture, laid on a fingerprint in each way: (P, 24, 24) float32, 0 beyond its border."""
    laid = np.zeros((len(windows), CELLS, CELLS), np.float32)
    alike: dict[tuple[int, int], list[tuple[int, range, range]]] = {}  # windows of one shape are computed together
    for place, (top, bottom, left, right) in enumerate(windows):
        rows, columns = _cells_within(top, bottom), _cells_within(left, right)
        alike.setdefault((len(rows), len(columns)), []).append((place, rows, columns))
    for members in alike.values():
        down = np.stack([_weights(reduced.shape[0], *windows[place][:2], rows) for place, rows, _ in members])
        across = np.stack([_weights(reduced.shape[1], *windows[place][2:], columns) for place, _, columns in members])
        details = normalise_contrast(down @ reduced @ across.transpose(0, 2, 1))
        for (place, rows, columns), detail in zip(members, details, strict=True):
            inner = detail[_RIM:-_RIM, _RIM:-_RIM]
            laid[place, rows.start + _RIM : rows.stop - _RIM, columns.start + _RIM : columns.stop - _RIM] = inner
    laid[np.abs(laid) < _BLAND] = 0
    return laid


def _cells_within(start: float, stop: float) -> range:
    return range(max(0, ceil(start)), min(CELLS, floor(stop)))


@lru_cache(maxsize=4096)
def _weights(length: int, start: float, stop: float, cells: range) -> np.ndarray:
    """(cells, length) float32: the share of each pixel of a line, laid from `start` to `stop`, in each cell's mean."""
    pixels = length / (stop - start)
    low = (np.array(cells)[:, None] - start) * pixels
    at = np.arange(length)[None]
    covered = np.clip(np.minimum(low + pixels, at + 1) - np.maximum(low, at), 0, None)
    return (covered / pixels).astype(np.float32)
