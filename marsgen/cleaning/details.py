"""What a picture shows in a grid of cells: their grey means, and the fine detail in them without light and shading."""

from functools import lru_cache

import numpy as np

from marsgen.scenes.geometry import cell_weights

_SOFTENING = 0.75  # cells; without it a shift by half a cell hides a copy of finely textured ground
_SHADING = 2.0  # cells; what changes more slowly is light, not detail
_NOISE = 0.5  # grey levels of contrast below which a place counts as bland


def block_means(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Mean grey value of each cell of a grid laid over a picture of any size.

    Args:
        image: (H, W, channels) uint8.
    Returns:
        (rows, columns) float32 in 0..255; a pixel on the border of two cells counts in both, by the area it has there.
    """
    grey = image[..., 0].astype(np.float32) if image.shape[2] == 1 else image.mean(2, dtype=np.float32)
    return cell_weights(image.shape[0], rows) @ grey @ cell_weights(image.shape[1], columns).T


def normalise_contrast(cells: np.ndarray) -> np.ndarray:
    """(..., rows, columns) grey block means -> float32 of the same shape: detail without shading, of even contrast.

    Source: local contrast normalisation, Jarrett et al. 2009, doi:10.1109/ICCV.2009.5459469.
    """
    cells = _blur(cells, _SOFTENING)
    cells = cells - _blur(cells, _SHADING)
    contrast = np.sqrt(np.clip(_blur(cells * cells, 2 * _SHADING), 0, None))
    return cells / (contrast + _NOISE)


def _blur(cells: np.ndarray, sigma: float) -> np.ndarray:
    return _blur_weights(cells.shape[-2], sigma) @ cells @ _blur_weights(cells.shape[-1], sigma).T


@lru_cache(maxsize=64)
def _blur_weights(length: int, sigma: float) -> np.ndarray:
    """(length, length) float32 matrix of a Gaussian blur; at the ends only what lies inside has weight."""
    offset = np.arange(length)[:, None] - np.arange(length)[None]
    weights = np.exp(-0.5 * (offset / sigma) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
