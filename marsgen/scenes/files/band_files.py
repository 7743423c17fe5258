"""Pictures of 4 to 16 bands as .npy files, (H, W, bands) uint8: PNG has no more than RGB."""

import io
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.arrays import read_npy
from marsgen.scenes.files.finding import BANDS_SUFFIX
from marsgen.scenes.limits import MOST_CHANNELS, is_channels


def suffix_of(channels: int) -> str:
    """The ending of the file of a picture: .png for grey and RGB, .npy for more bands."""
    return ".png" if channels in (1, 3) else BANDS_SUFFIX


def read_bands(path: Path) -> np.ndarray:
    """(H, W, bands) uint8, mapped from the file and not read before it is used.

    Raises:
        DataError: no array of such a picture, or a damaged one.
    """
    image = read_npy(
        path, np.uint8, (None, None, None), DataError, "save it as uint8 (height, width, bands)", mapped=True
    )
    if not is_channels(image.shape[2]):
        raise DataError(f"{path}: {image.shape[2]} bands; expected 1, 3 or 4 to {MOST_CHANNELS}")
    return image


def encode_bands(image: np.ndarray) -> bytes:
    """(H, W, bands) uint8 -> the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(image), allow_pickle=False)
    return buffer.getvalue()
