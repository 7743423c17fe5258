"""Random fields and lines: smooth bumps."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=128)
def _interpolation(length: int, cells: int, smooth: bool) -> np.ndarray:
    """(length, cells) float32 weights that blow up `cells` values to `length`: in straight lines, or smoothly."""
    at = np.linspace(0, cells - 1, length)
    low = np.minimum(at.astype(int), cells - 2)
    part = at - low
    if smooth:
        part = part * part * (3 - 2 * part)
    weights = np.zeros((length, cells), np.float32)
    weights[np.arange(length), low] = 1 - part
    weights[np.arange(length), low + 1] = part
    return weights


def noise_field(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], smooth: bool = True
) -> np.ndarray:
    """(H, W) float32 noise of standard deviation about 0.6, with bumps as many as `cells`."""
    knots = rng.standard_normal(cells, np.float32)
    return _interpolation(shape[0], cells[0], smooth) @ knots @ _interpolation(shape[1], cells[1], smooth).T


def noise_line(rng: np.random.Generator, length: int, cells: int) -> np.ndarray:
    """(length,) float32 noise like `noise_field`."""
    return _interpolation(length, cells, True) @ rng.standard_normal(cells, np.float32)
