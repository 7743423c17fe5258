"""Raster files: TIFF of any number of bands, 8 or 16 bits, "no data" and georeference, as GDAL reads and writes them.

rasterio (`pip install '.[geotiff]' in this project's folder`) is imported only where a file needs it.
"""

import os
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marsgen.core.errors import DataError, how_to_install
from marsgen.core.storage.reading import first_line
from marsgen.scenes.files.pictures import probe_image, tiff_tags
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.limits import MOST_CHANNELS, is_channels

GEO_TAGS = (33550, 33922, 34264, 34735)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory (OGC GeoTIFF 1.1, 7.1)"""
TIFF_SUFFIXES = (".tif", ".tiff")
NODATA_TAG = 42113
"""GDAL_NODATA"""
_SET_RANGE = "--set range=[{low:g},{high:g}]"


class RasterHeader(NamedTuple):
    """What a raster file says of itself, and what is read of it."""

    height: int
    width: int
    source: RasterSource
    """what is read of it"""


def is_raster(path: Path) -> bool:
    """Whether a file is a TIFF that a picture reader would lose something of: bands, bits, georeference, "no data"."""
    if path.suffix.lower() not in TIFF_SUFFIXES or (tags := tiff_tags(path)) is None:
        return False
    special = any(tag in tags.numbers for tag in (*GEO_TAGS, NODATA_TAG))
    return special or tags.bands not in (1, 3) or tags.bits > 8


def needs_raster_reader(path: Path) -> bool:
    """Whether a file is a raster of bands or bits that a picture reader refuses."""
    if not is_raster(path):
        return False
    try:
        probe_image(path)
    except DataError:
        return True
    return False


def is_georeferenced(path: Path) -> bool:
    """Whether a file is a TIFF that says where on the ground it lies."""
    if path.suffix.lower() not in TIFF_SUFFIXES or (tags := tiff_tags(path)) is None:
        return False
    return any(tag in tags.numbers for tag in GEO_TAGS)


def refuse_no_rasterio(what: str) -> None:
    """Raise DataError where rasterio is not installed."""
    if find_spec("rasterio") is None:
        raise DataError(f"{what} needs rasterio, which is not installed: {how_to_install('geotiff')}")


@cache
def _rasterio() -> Any:
    import rasterio

    # for good: the filters that catch_warnings gives back at its end are those of all threads
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def open_raster(path: Path, mode: str = "r", **profile: Any) -> Any:
    """A rasterio dataset.

    Raises:
        DataError: not a readable raster.
    """
    rasterio = _rasterio()
    try:
        return rasterio.open(path, mode, **profile)
    except rasterio.errors.RasterioIOError as problem:
        raise DataError(f"{path}: not a readable raster ({first_line(problem)})") from None


def probe_raster(
    path: Path,
    bands: Sequence[int] | None = None,
    value_range: Sequence[float] | None = None,
    command: str = "",
    usual: RasterSource | None = None,
) -> RasterHeader:
    """Size, bands and range of a raster.

    Args:
        bands: to read, counted from 1; None = those of `usual`, else all.
        value_range: values that become 0 and 255; None = those of `usual`, else 0 and 255 themselves, possible for 8
            bits only.
        command: that is repeated with the settings which an error asks for.
        usual: the rasters that training pictures were made from.
    Raises:
        DataError: bands that are not there, a band number or range that has to be chosen, or another kind of raster
            than `usual`.
    """
    with open_raster(path) as raster:
        height, width, count, kind = raster.height, raster.width, raster.count, np.dtype(raster.dtypes[0])
    if usual is not None:
        if value_range is None and kind.name != usual.kind:
            raise DataError(
                f"{path}: {kind} pixels; the training pictures were {usual.describe()}; say what becomes 0 and 255 "
                f"here: {command}--set range=[LOW,HIGH]"
            )
        if bands is None and count != usual.stored:
            raise DataError(
                f"{path}: {count} bands; the training pictures were {usual.describe()}; say which bands to read here: "
                f"{command}--set bands=[1,2,3]"
            )
        bands = usual.bands if bands is None else bands
        value_range = (usual.low, usual.high) if value_range is None else value_range
    chosen = tuple(bands) if bands else tuple(range(1, count + 1))
    if not bands and not is_channels(count):
        raise DataError(
            f"{path}: {count} bands; say which one, which three or which 4 to {MOST_CHANNELS} to read: "
            f"{command}--set bands=[1,2,3]"
        )
    if max(chosen) > count or min(chosen) < 1:
        raise DataError(f"{path}: bands {list(chosen)} of {count}; they are counted from 1")
    if value_range is None and kind != np.uint8:
        with open_raster(path) as raster:
            values = raster.read(list(chosen), masked=True)
        hint = _SET_RANGE.format(low=float(values.min()), high=float(values.max()))
        raise DataError(
            f"{path}: {kind} pixels ({values.min():g} to {values.max():g} here); say what becomes 0 and 255: "
            f"{command}{hint}"
        )
    low, high = value_range or (0, 255)
    if not low < high:
        raise DataError(f"range is [{low:g}, {high:g}]; the first value has to be below the second")
    return RasterHeader(height, width, RasterSource(kind.name, count, chosen, float(low), float(high)))


def read_raster(path: Path, header: RasterHeader) -> np.ndarray:
    """(H, W, bands) uint8: the header's range becomes 0..255, other values are clipped; 0 where there is no data."""
    source = header.source
    pixels = np.empty((header.height, header.width, len(source.bands)), np.uint8)
    with open_raster(path) as raster:
        for place, band in enumerate(source.bands):  # one by one: all of a large raster in float64 take gigabytes
            pixels[..., place] = _to_bytes(raster.read(band), source)
        pixels[_empty(raster)] = 0
    return pixels


def _to_bytes(values: np.ndarray, source: RasterSource) -> np.ndarray:
    """(H, W) of any type -> uint8: low..high becomes 0..255."""

    def scale(values: np.ndarray) -> np.ndarray:
        share = (values.astype(np.float64) - source.low) / (source.high - source.low)
        return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)

    if values.dtype.kind not in "ui" or values.dtype.itemsize > 2:
        return np.vstack([scale(rows) for rows in np.array_split(values, values.size // 2**20 + 1)])
    # of so few values each is scaled once; a negative one stands for itself, counted from the end
    every = np.arange(2 ** (8 * values.dtype.itemsize), dtype=np.int64).astype(values.dtype)
    return scale(every)[values.view(f"u{values.dtype.itemsize}")]


def read_empty(path: Path) -> np.ndarray:
    """(H, W) bool: True where no band of a raster holds data."""
    with open_raster(path) as raster:
        return _empty(raster)


def _empty(raster: Any) -> np.ndarray:
    if raster.nodata is None:
        return np.zeros((raster.height, raster.width), bool)
    return (raster.read_masks() == 0).all(0)


def write_raster(
    path: Path,
    pixels: np.ndarray,
    like: Path,
    *,
    nodata: int | None = None,
    names: Sequence[str] = (),
    colours: np.ndarray | None = None,
) -> None:
    """Write a GeoTIFF with the georeference of another one, whole or not at all.

    Args:
        pixels: (bands, H, W) uint8 or uint16.
        like: raster of the same height and width.
        names: of the bands.
        colours: (N, 3) uint8 palette of one band of uint8.
    """
    with open_raster(like) as source:
        place = {"crs": source.crs, "transform": source.transform}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial")
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    try:
        with open_raster(temporary, "w", driver="GTiff", compress="deflate", nodata=nodata, **shape, **place) as target:
            target.write(pixels)
            for number, name in enumerate(names, start=1):
                target.set_band_description(number, name)
            if colours is not None:
                target.write_colormap(1, {value: tuple(colour) for value, colour in enumerate(colours.tolist())})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
