"""preview.png of a synthetic set."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from marsgen.core.errors import RunError
from marsgen.core.storage.files import write_bytes
from marsgen.core.storage.reading import shorten
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.files.pictures import read_image
from marsgen.scenes.readers.folder import image_path
from marsgen.scenes.readers.shards import SHARDS_FOLDER, read_slot
from marsgen.scenes.scene import SceneSource
from marsgen.synthesis.journal import MANIFEST, REMEDY, read_manifest

MIN_WIDTH_PX = 1000
"""narrower sheets are enlarged"""
FRAME_PX = 2


def write_preview(
    folder: Path, scenes: SceneSource, n: int, maps: SceneSource | None = None, rows: int = 12, zoom: int = 2
) -> None:
    """Write preview.png: for samples spread over the set, the real parent | label map | synthetic image.

    Args:
        maps: the label maps that the set was drawn for; their pictures stand in the parents' place.
    """
    chosen = set(np.linspace(0, n - 1, min(rows, n)).astype(int).tolist())
    before = scenes if maps is None else maps
    position = {name: index for index, name in enumerate(before.names)}
    strips = []
    for index, record in enumerate(read_manifest(folder)):
        if index in chosen:
            image, labels = _read_pair(folder, record["name"], index, scenes)
            name = record["parent"]["name"] if maps is None else record.get("map")
            if name not in position:
                said = shorten(str(name), 60)
                raise RunError(f"{folder / MANIFEST}: {said} is no scene of {before.location}; {REMEDY}")
            parent = before[position[name]].image
            panels = [_rgb(parent, scenes.classes), scenes.classes.paint(labels), _rgb(image, scenes.classes)]
            strips.append(np.concatenate([_padded(panel, FRAME_PX, FRAME_PX) for panel in panels], axis=1))
    width = max(strip.shape[1] for strip in strips)
    sheet = np.concatenate([_padded(strip, 0, 0, right=width - strip.shape[1]) for strip in strips])
    picture = Image.fromarray(sheet)
    if picture.width < MIN_WIDTH_PX:
        picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(folder / "preview.png", buffer.getvalue())


def _read_pair(folder: Path, name: str, index: int, scenes: SceneSource) -> tuple[np.ndarray, np.ndarray]:
    if (folder / SHARDS_FOLDER).is_dir():
        return read_slot(folder, index)
    labels = read_label_map(folder / "labels" / f"{name}.png", scenes.classes)
    return read_image(image_path(folder, name, scenes.channels)), labels


def _padded(panel: np.ndarray, rows: int, columns: int, right: int = 0) -> np.ndarray:
    return np.pad(panel, ((rows, rows), (columns, columns + right), (0, 0)), constant_values=255)


def _rgb(image: np.ndarray, classes: ClassSet) -> np.ndarray:
    return np.broadcast_to(classes.show(image), (*image.shape[:2], 3))
