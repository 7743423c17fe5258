"""What a folder or file looks like, in words, and the reader that opens it."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.formats import class_folders, coco, geotiff, kind_masks, labelme, masks, tables, yolo
from marsgen.scenes.formats.config import ReadingConfig, refuse_unknown_format
from marsgen.scenes.formats.listing import Listing
from marsgen.scenes.formats.reading import Reading, ReadScenes


@dataclass(frozen=True)
class Format:
    """A reader: what tells that it is the right one, and how it reads."""

    key: str
    """for --format"""
    recognise: Callable[[Listing], str | None]
    """evidence in words, or None"""
    read: Callable[[Listing, ReadingConfig, ClassSet | None], Reading]
    names_classes: bool = True
    """whether the data say what their classes are called"""


FORMATS = (
    Format("labelme", labelme.recognise, labelme.read),
    Format("coco", coco.recognise, coco.read),
    Format("yolo", yolo.recognise, yolo.read),
    Format("voc", masks.recognise_voc, masks.read_voc),
    Format("cityscapes", masks.recognise_cityscapes, masks.read_cityscapes),
    Format("camvid", masks.recognise_camvid, masks.read_camvid),
    Format("class-folders", class_folders.recognise, class_folders.read),
    Format("kind-masks", kind_masks.recognise, kind_masks.read),
    Format("huggingface", tables.recognise_huggingface, tables.read_huggingface, names_classes=False),
    Format("parquet", tables.recognise_parquet, tables.read_parquet, names_classes=False),
    Format("geotiff", geotiff.recognise, geotiff.read, names_classes=False),
)


@dataclass(frozen=True)
class Recognised:
    """A format that fits, and why."""

    format: Format
    evidence: str


def list_source(path: Path) -> Listing:
    """The files of a folder; a single file is a folder of one."""
    if path.is_dir():
        return Listing.of(path)
    return Listing(path.parent, (PurePosixPath(path.name),))


def recognise(listing: Listing) -> list[Recognised]:
    """Every format that the files fit."""
    found = [(each, each.recognise(listing)) for each in FORMATS]
    return [Recognised(each, evidence) for each, evidence in found if evidence]


def open_recognised(
    location: str, path: Path, config: ReadingConfig, classes: ClassSet | None, *, labelled: bool = True
) -> ReadScenes | None:
    """Scenes of a data set in somebody else's format, or None where no format fits.

    Args:
        location: what the user typed.
        classes: names of the data are looked up there; None = numbered as they come.
    Raises:
        DataError: several formats fit and `config.format` names none, the one named does not fit, or the data cannot
            be used.
    """
    refuse_unknown_format(config)
    listing = list_source(path)
    found = recognise(listing)
    if config.format is not None:
        named = [each for each in found if each.format.key == config.format]
        if not named:
            raise DataError(f"{location}: no {config.format} data here{_but(found)}")
        found = named
    if not found:
        return None
    if len(found) > 1:
        raise DataError(
            f"{location}: this may be {_listed(found)}; say which: "
            f"marsgen import {shlex.quote(location)} --out my_data --format {found[0].format.key}"
        )
    if not labelled and classes is None and not found[0].format.names_classes:
        classes = _NO_CLASSES
    reading = found[0].format.read(listing, config, classes)
    reading.classes_are_given = classes is not None
    reading.notes.insert(0, f"read as {found[0].format.key}: {found[0].evidence}")
    return ReadScenes(location, reading, config, labelled=labelled)


def open_rasters(location: str, folder: Path, config: ReadingConfig, classes: ClassSet) -> ReadScenes:
    """Scenes of rasters that lie where a classes file says, which a picture reader cannot read.

    Raises:
        DataError: rasterio is not installed, bands or range that have to be chosen, or rasters that cannot be used.
    """
    reading = geotiff.read(list_source(folder), config, classes)
    reading.classes_are_given = True
    reading.notes.insert(0, f"read as geotiff: rasters in {classes.layout.places()}")
    return ReadScenes(location, reading, config)


_NO_CLASSES = ClassSet(("a", "b"), (0, 1), ((0, 0, 0), (1, 1, 1)), 255)
"""for pictures whose labels are not read"""


def _but(found: Sequence[Recognised]) -> str:
    return f"; it looks like {_listed(found)}" if found else ""


def _listed(found: Sequence[Recognised]) -> str:
    return " or ".join(f"{each.format.key} ({each.evidence})" for each in found)
