"""Files of predictions: label maps, probabilities and overlays, each whole or not there.

labels/NAME.png     pixel value = label id, palette = class colours
labels/NAME.tif     the same as GeoTIFF, where the picture is one: its georeference, ignored id = "no data"
probs/NAME.npz      `probs` (C, H, W) float16 in [0, 1], and `classes`, the C names
probs/NAME.tif      GeoTIFF of C bands named after the classes, uint16 in units of 1/65535
overlay/NAME.png    the picture under the class colours, regions outlined
"""

import io
from pathlib import Path

import numpy as np

from marsgen.core.storage.files import write_bytes
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import encode_label_map
from marsgen.scenes.files.pictures import encode_image
from marsgen.scenes.files.rasters import read_empty, write_raster

_FILL = 0.4
"""share of the class colour inside a region"""


def write_labels(folder: Path, name: str, labels: np.ndarray, classes: ClassSet, raster: Path | None) -> np.ndarray:
    """Write a label map of ids (H, W) uint8.

    Args:
        raster: the picture's file where it has a georeference.
    Returns:
        the labels as written: without a label where the raster holds no data.
    """
    if raster is None:
        write_bytes(folder / f"{name}.png", encode_label_map(labels, classes))
        return labels
    labels = np.where(read_empty(raster), classes.ignored, labels).astype(np.uint8)
    colours = classes.paint(np.arange(256))
    write_raster(folder / f"{name}.tif", labels[None], raster, nodata=classes.ignored, colours=colours)
    return labels


def write_probs(folder: Path, name: str, probs: np.ndarray, classes: ClassSet, raster: Path | None) -> None:
    """Write the (C, H, W) probabilities of the classes."""
    if raster is None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probs=probs.astype(np.float16), classes=np.array(classes.names))
        write_bytes(folder / f"{name}.npz", buffer.getvalue())
        return
    steps = np.rint(probs.astype(np.float64) * 65535).clip(0, 65535).astype(np.uint16)
    write_raster(folder / f"{name}.tif", steps, raster, names=classes.names)


def write_overlay(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> None:
    """Write the picture (H, W, channels) uint8 with its label map of ids drawn over it."""
    write_bytes(folder / f"{name}.png", encode_image(draw_overlay(image, labels, classes)))


def draw_overlay(image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> np.ndarray:
    """(H, W, 3) uint8: regions filled with their class colour and outlined; pixels without a label as they are."""
    shown = classes.show(image).astype(np.float32)
    colours = classes.paint(labels).astype(np.float32)
    share = np.where(outlines(labels), 1, _FILL) * (labels != classes.ignored)
    mixed = shown + (colours - shown) * share[..., None].astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def outlines(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with another label above, below, left or right of them."""
    found = np.zeros(labels.shape, bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= rows
    found[:-1] |= rows
    found[:, 1:] |= columns
    found[:, :-1] |= columns
    return found
