"""Rasters in images/ and labels/: TIFF files of any number of bands, 8 or 16 bits, with what GDAL writes into them.

Scenes are 8-bit grey or RGB, so bands and range are chosen by whoever imports; pixels that a file marks as "no data"
carry no label. The georeference is not kept.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.reading import first_line
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.layout import Layout
from marsgen.scenes.files.pairs import find_pairs
from marsgen.scenes.files.pictures import tiff_tags
from marsgen.scenes.formats.listing import Listing
from marsgen.scenes.formats.reading import Labelling, Reading, ReadingConfig, Sample

NAME = "GeoTIFF"
_GEO_TAGS = (33550, 33922, 34264, 34735, 42113)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory; GDAL_NODATA"""


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    files = [f for f in listing.with_suffix(".tif", ".tiff") if f.parts[0] == "images"]
    if not files or not (listing.root / "labels").is_dir():
        return None
    tags = tiff_tags(listing.root / files[0])
    if tags is None:
        return None
    bands, bits = tags.bands, tags.bits
    if bands in (1, 3) and bits == 8 and not any(tag in tags.numbers for tag in _GEO_TAGS):
        return None
    return f"{len(files)} rasters of {bands} bands of {bits} bits in images/ beside labels/"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read the chosen bands of images/ and the first band of labels/.

    Raises:
        DataError: rasterio is not installed, no classes, or bands or range that have to be chosen.
    """
    if find_spec("rasterio") is None:
        raise DataError("reading rasters needs rasterio, which is not installed: pip install 'marsgen[geotiff]'")
    if classes is None:
        raise DataError(
            f"{listing.root}: rasters without classes; give --classes FILE with name and id of each class, or put "
            "classes.yaml beside images/"
        )
    notes: list[str] = []
    pairs = find_pairs(listing.root, classes.layout if classes else Layout(), notes)
    first = _Raster(pairs[0].image, config)
    low, high = first.range
    shown = ", ".join(str(band) for band in first.bands)
    notes.append(
        f"bands {shown} of {first.count} are read as {'grey' if len(first.bands) == 1 else 'red, green, blue'}"
    )
    if (low, high) != (0, 255):
        notes.append(f"values {low:g} to {high:g} become 0 to 255, others are clipped")
    notes.append("the georeference is not kept")
    samples = []
    for pair in pairs:
        used = [path for path in (pair.image, pair.labels) if path is not None]
        files = tuple((path.relative_to(listing.root).as_posix(), path) for path in used)
        label = None if pair.labels is None else _label_reader(pair.image, pair.labels, classes, config)
        samples.append(Sample(pair.name, _image_reader(pair.image, config), label, pair.part, None, files))
    return Reading(NAME, classes, samples, notes)


class _Raster:
    """A raster's header, and the bands and range that are read of it."""

    def __init__(self, path: Path, config: ReadingConfig) -> None:
        with _opened(path) as raster:
            self.count, kind = raster.count, np.dtype(raster.dtypes[0])
        bands = config.bands or {1: [1], 3: [1, 2, 3]}.get(self.count)
        if bands is None or len(bands) == 2:
            raise DataError(
                f"{path}: {self.count} bands; say which one to read as grey, or which three as red, green and blue: "
                "marsgen import SOURCE --out my_data --set bands=[1,2,3]"
            )
        if max(bands) > self.count or min(bands) < 1:
            raise DataError(f"{path}: bands {bands} of {self.count}; they are counted from 1")
        if config.range is None and kind != np.uint8:
            low, high = _span(path, bands)
            raise DataError(
                f"{path}: {kind} pixels ({low:g} to {high:g} here); say what becomes 0 and 255: "
                f"marsgen import SOURCE --out my_data --set range=[{low:g},{high:g}]"
            )
        self.bands = bands
        low, high = config.range or (0, 255)
        if not low < high:
            raise DataError(f"range is [{low:g}, {high:g}]; the first value has to be below the second")
        self.range = low, high


def _opened(path: Path) -> Any:
    import rasterio

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(path)
    except rasterio.errors.RasterioIOError as problem:
        raise DataError(f"{path}: not a readable raster ({first_line(problem)})") from None


def _span(path: Path, bands: list[int]) -> tuple[float, float]:
    with _opened(path) as raster:
        values = raster.read(bands)
    return float(values.min()), float(values.max())


def _image_reader(path: Path, config: ReadingConfig) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        header = _Raster(path, config)
        low, high = header.range
        with _opened(path) as raster:
            values = raster.read(header.bands).astype(np.float64)
        scaled = np.clip((values - low) / (high - low), 0, 1) * 255
        return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(1, 2, 0))

    return read


def _label_reader(
    image: Path, labels: Path, classes: ClassSet, config: ReadingConfig
) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        with _opened(labels) as raster:
            values, nodata = raster.read(1), raster.nodata
        with _opened(image) as raster:
            empty = (raster.read_masks() == 0).all(0) if raster.nodata is not None else np.zeros(size, bool)
        unlabelled = empty | (values == nodata if nodata is not None else np.zeros(values.shape, bool))
        if values.shape != size:
            raise DataError(f"{labels}: {values.shape[0]} x {values.shape[1]} pixels beside {image.name} of {size}")
        values = np.where(unlabelled, classes.ignored, values)
        if values.min() < 0 or values.max() > 255 or (values != np.rint(values)).any():
            raise DataError(f"{labels}: values {values.min():g} to {values.max():g}; ids lie in 0..255")
        ids = values.astype(np.uint8)
        ids = np.where(unlabelled, classes.ignored, classes.id_of_value[ids]).astype(np.uint8)
        classes.check_labels(ids, str(labels))
        return Labelling(ids, {"pixels without data carry no label": int(unlabelled.sum())})

    return read
