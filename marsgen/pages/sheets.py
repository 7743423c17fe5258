"""Thumbnails on sheets: many small pictures in one file, of which a page shows cells.

STEM-KIND-000.jpg    photographs, as JPEG
STEM-KIND-000.png    label maps, exact: in class colours, or class indices as grey levels
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from marsgen.core.progress import ProgressBar
from marsgen.core.storage.files import write_bytes
from marsgen.scenes.classes import IGNORED_INDEX

SHEET_PX = 2**19
"""pixels of a sheet, at most: a browser decodes that in a few milliseconds, and keeps many"""
_MOST_ACROSS = 20


def write_sheets(
    folder: Path,
    stem: str,
    photos: Mapping[str, bool],
    cells: Iterator[Sequence[np.ndarray]],
    count: int,
    shape: tuple[int, int] | None,
    side: int,
) -> dict[str, Any]:
    """Write sheets of every kind, reading one cell at a time.

    Args:
        stem: of the file names.
        photos: kind -> whether it is a photograph, which is drawn smoothly; others are label maps.
        cells: for each of `count` cells an array of each kind: (H, W, 1 or 3) uint8, or (H, W) uint8 class indices.
        shape: (H, W) of all of them; None = they differ, and are fitted into a square.
        side: longer side of a cell in pixels; less where all pictures are smaller.
    Returns:
        how the sheets are laid out, for the page: stem, cell (height, width), rows, columns, count.
    """
    height, width = shape or (side, side)
    scale = min(side / max(height, width), 1)
    cell = (max(round(height * scale), 1), max(round(width * scale), 1))
    across = min(max(int((SHEET_PX / (cell[0] * cell[1])) ** 0.5), 1), _MOST_ACROSS)
    layout = {"stem": stem, "cell": list(cell), "rows": across, "columns": across, "count": count}
    starts = range(0, count, across * across)
    for number, start in enumerate(ProgressBar(starts, desc=f"thumbnails of {stem}", unit="sheet")):
        drawn = [next(cells) for _ in range(min(across * across, count - start))]
        for (kind, photo), pictures in zip(photos.items(), zip(*drawn, strict=True), strict=True):
            buffer = io.BytesIO()
            _arrange(pictures, photo, cell, across).save(buffer, "JPEG" if photo else "PNG", quality=88)
            name = f"{stem}-{kind}-{number:03d}.{'jpg' if photo else 'png'}"
            write_bytes(folder / name, buffer.getvalue(), sync=False)  # the end of the run brings all to the disk
    return layout


def _arrange(pictures: Sequence[np.ndarray], photo: bool, cell: tuple[int, int], across: int) -> Image.Image:
    """One sheet; what a picture leaves of its cell, and cells without one, are black, grey, or without a label."""
    colours = pictures[0].ndim == 3
    size = (-(-len(pictures) // across) * cell[0], min(len(pictures), across) * cell[1], *((3,) if colours else ()))
    sheet = np.full(size, 0 if photo else 128 if colours else IGNORED_INDEX, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // across * cell[0], place % across * cell[1]
        small = _fit(np.broadcast_to(picture, (*picture.shape[:2], 3)) if colours else picture, cell, photo)
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return Image.fromarray(sheet)


def _fit(picture: np.ndarray, cell: tuple[int, int], photo: bool) -> np.ndarray:
    scale = min(cell[0] / picture.shape[0], cell[1] / picture.shape[1])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    how = Image.Resampling.BILINEAR if photo else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, how))
