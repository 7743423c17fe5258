"""Rasters in images/ and labels/: TIFF files of any number of bands, 8 or 16 bits, with what GDAL writes into them.

Scenes are 8-bit, so the range of 16-bit values is chosen by whoever imports; pixels that a file marks as "no data"
carry no label.
"""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.files.pairs import find_pairs
from marsgen.scenes.files.pictures import tiff_tags
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.files.rasters import (
    TIFF_SUFFIXES,
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
    files = [listing.root / f for f in listing.with_suffix(*TIFF_SUFFIXES) if f.parts[0] == "images"]
    if not files or not (listing.root / "labels").is_dir():
        return None
    first = next((file for file in files if is_raster(file)), None)
    tags = None if first is None else tiff_tags(first)
    if tags is None:
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
            f"classes.yaml beside images/; `marsgen import {shlex.quote(str(listing.root))} --dry-run` drafts one"
        )
    notes: list[str] = []
    pairs = find_pairs(listing.root, classes.layout, notes)
    usual = classes.rasters
    first = _header(next(pair.image for pair in pairs if is_raster(pair.image)), config, usual).source
    as_they_are = {pair.name for pair in pairs if _is_picture(pair.image, first)}
    # pictures of two kinds: nothing says how those to come are read
    classes = replace(classes, rasters=None if as_they_are else first)
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
    if as_they_are:
        notes.append(
            f"that is done to {len(pairs) - len(as_they_are)} rasters; {len(as_they_are)} other pictures are "
            "read as they are"
        )
    samples = []
    for pair in pairs:
        used = [path for path in (pair.image, pair.labels) if path is not None]
        files = tuple((path.relative_to(listing.root).as_posix(), path) for path in used)
        label = None if pair.labels is None else _label_reader(pair.image, pair.labels, classes)
        place = pair.image if is_georeferenced(pair.image) else None
        plain = pair.name in as_they_are
        image = pair.image if plain else _image_reader(pair.image, config, usual, first)
        shape = None if plain else _shape_reader(pair.image, config, usual)
        samples.append(Sample(pair.name, image, label, pair.part, files=files, raster=place, shape=shape))
    if any(sample.raster for sample in samples):
        notes.append("a copy does not keep the georeference; predictions on the files themselves do")
    return Reading(NAME, classes, samples, notes)


def _is_picture(path: Path, rasters: RasterSource) -> bool:
    """Whether a file lies among rasters and is none: a range of wider pixels would turn its 8 bits black."""
    tiff = path.suffix.lower() in TIFF_SUFFIXES
    return not is_raster(path) and not (tiff and rasters.kind == "uint8")


def _header(path: Path, config: ReadingConfig, usual: RasterSource | None) -> RasterHeader:
    return probe_raster(path, config.bands, config.range, _COMMAND, usual)


def _image_reader(
    path: Path, config: ReadingConfig, usual: RasterSource | None, first: RasterSource
) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        header = _header(path, config, usual)
        if header.source.kind != first.kind:
            raise DataError(
                f"{path}: {header.source.kind} pixels, other rasters here have {first.kind}, and one range cannot be "
                "right for both; save them with one type"
            )
        return read_raster(path, header)

    return read


def _shape_reader(path: Path, config: ReadingConfig, usual: RasterSource | None) -> Callable[[], tuple[int, int, int]]:
    def shape() -> tuple[int, int, int]:
        header = _header(path, config, usual)
        return header.height, header.width, len(header.source.bands)

    return shape


def _label_reader(image: Path, labels: Path, classes: ClassSet) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        ids, unlabelled = _read_ids(labels, classes)
        if ids.shape != size:
            raise DataError(
                f"{labels}: {ids.shape[0]} x {ids.shape[1]} pixels beside {image.name} of {size[0]} x {size[1]}; "
                "expected the same size, make the label map again from that image"
            )
        if is_raster(image):
            unlabelled = unlabelled | read_empty(image)
        ids = np.where(unlabelled, classes.ignored, ids).astype(np.uint8)
        classes.check_labels(ids, str(labels))
        return Labelling(ids, {_NO_DATA: int(unlabelled.sum())})

    return read


def _read_ids(labels: Path, classes: ClassSet) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) ids of a label map, and where it holds no data (the ids there mean nothing)."""
    if not is_raster(labels):
        ids = read_label_map(labels, classes)
        return ids, np.zeros(ids.shape, bool)
    with open_raster(labels) as raster:
        if raster.count != 1:
            raise DataError(f"{labels}: {raster.count} bands; expected a label map of one band of ids")
        values, nodata = raster.read(1), raster.nodata
    empty = np.zeros(values.shape, bool) if nodata is None else values == nodata
    known = np.where(empty, 0, values)
    if known.min() < 0 or known.max() > 255 or (known != np.rint(known)).any():
        raise DataError(f"{labels}: values {known.min():g} to {known.max():g}; ids lie in 0..255")
    return classes.id_of_value[known.astype(np.uint8)], empty
