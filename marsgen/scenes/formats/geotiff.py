"""Rasters in images/ and labels/: TIFF files of any number of bands, 8 or 16 bits, with what GDAL writes into them.

Scenes are 8-bit, so the range of 16-bit values is chosen by whoever imports; pixels that a file marks as "no data"
carry no label.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.files.layout import Layout
from marsgen.scenes.files.pairs import find_pairs
from marsgen.scenes.files.pictures import tiff_tags
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.files.rasters import (
    RasterHeader,
    is_georeferenced,
    is_raster,
    open_raster,
    probe_raster,
    read_empty,
    read_raster,
    refuse_no_rasterio,
)
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import Listing
from marsgen.scenes.formats.reading import Labelling, Reading, Sample

NAME = "GeoTIFF"
_NO_DATA = "pixels without data carry no label"
_COMMAND = "marsgen import SOURCE --out my_data "


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    files = [f for f in listing.with_suffix(".tif", ".tiff") if f.parts[0] == "images"]
    if not files or not (listing.root / "labels").is_dir():
        return None
    first = listing.root / files[0]
    tags = tiff_tags(first)
    if tags is None or not is_raster(first):
        return None
    return f"{len(files)} rasters of {tags.bands} bands of {tags.bits} bits in images/ beside labels/"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read the chosen bands of images/ and the first band of labels/.

    Raises:
        DataError: rasterio is not installed, no classes, or bands or range that have to be chosen.
    """
    refuse_no_rasterio("reading rasters")
    if classes is None:
        raise DataError(
            f"{listing.root}: rasters without classes; give --classes FILE with name and id of each class, or put "
            "classes.yaml beside images/"
        )
    notes: list[str] = []
    pairs = find_pairs(listing.root, classes.layout if classes else Layout(), notes)
    first = _header(pairs[0].image, config, usual := classes.rasters).source
    classes = replace(classes, rasters=first)
    if usual is not None and usual != first:
        notes.append(f"{usual.describe()} was remembered; the settings change that")
    shown = ", ".join(str(band) for band in first.bands)
    kinds = {1: " as grey", 3: " as red, green, blue"}
    notes.append(f"bands {shown} of {first.stored} are read{kinds.get(len(first.bands), '')}")
    if len(first.bands) > 3 and not classes.bands:
        notes.append(
            "the first three are shown as red, green, blue; others with e.g. `bands: [3, 2, 1]` in classes.yaml"
        )
    if (first.low, first.high) != (0, 255):
        notes.append(f"values {first.low:g} to {first.high:g} become 0 to 255, others are clipped")
    samples = []
    for pair in pairs:
        used = [path for path in (pair.image, pair.labels) if path is not None]
        files = tuple((path.relative_to(listing.root).as_posix(), path) for path in used)
        label = None if pair.labels is None else _label_reader(pair.image, pair.labels, classes)
        place = pair.image if is_georeferenced(pair.image) else None
        image = _image_reader(pair.image, config, usual)
        shape = _shape_reader(pair.image, config, usual)
        samples.append(Sample(pair.name, image, label, pair.part, files=files, raster=place, shape=shape))
    if any(sample.raster for sample in samples):
        notes.append("a copy does not keep the georeference; predictions on the files themselves do")
    return Reading(NAME, classes, samples, notes)


def _header(path: Path, config: ReadingConfig, usual: RasterSource | None) -> RasterHeader:
    return probe_raster(path, config.bands, config.range, _COMMAND, usual)


def _image_reader(path: Path, config: ReadingConfig, usual: RasterSource | None) -> Callable[[], np.ndarray]:
    return lambda: read_raster(path, _header(path, config, usual))


def _shape_reader(path: Path, config: ReadingConfig, usual: RasterSource | None) -> Callable[[], tuple[int, int, int]]:
    def shape() -> tuple[int, int, int]:
        header = _header(path, config, usual)
        return header.height, header.width, len(header.source.bands)

    return shape


def _label_reader(image: Path, labels: Path, classes: ClassSet) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        def refuse_other_size(values: np.ndarray) -> None:
            if values.shape != size:
                there = f"{values.shape[0]} x {values.shape[1]} pixels"
                raise DataError(f"{labels}: {there} beside {image.name} of {size[0]} x {size[1]}")

        if not is_raster(labels):  # a picture of ids or colours
            ids = read_label_map(labels, classes)
            refuse_other_size(ids)
            unlabelled = read_empty(image)
            ids[unlabelled] = classes.ignored
            return Labelling(ids, {_NO_DATA: int(unlabelled.sum())})
        with open_raster(labels) as raster:
            if raster.count > 1:
                raise DataError(f"{labels}: {raster.count} bands; expected one band of ids, or RGB colours in a PNG")
            values, nodata = raster.read(1), raster.nodata
        refuse_other_size(values)
        unlabelled = read_empty(image) | (values == nodata if nodata is not None else np.zeros(size, bool))
        values = np.where(unlabelled, classes.ignored, values)
        if values.min() < 0 or values.max() > 255 or (values != np.rint(values)).any():
            raise DataError(f"{labels}: values {values.min():g} to {values.max():g}; ids lie in 0..255")
        ids = values.astype(np.uint8)
        ids = np.where(unlabelled, classes.ignored, classes.id_of_value[ids]).astype(np.uint8)
        classes.check_labels(ids, str(labels))
        return Labelling(ids, {_NO_DATA: int(unlabelled.sum())})

    return read
