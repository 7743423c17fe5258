"""PictureFiles: pictures without labels, given as a list of files and folders, to be labelled."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.finding import IMAGE_SUFFIXES, is_clutter, is_picture, list_pictures
from marsgen.scenes.files.names import plain_names
from marsgen.scenes.files.pictures import check_all, follows_rotation, probe_image, read_image
from marsgen.scenes.files.rasters import (
    RasterHeader,
    is_georeferenced,
    is_raster,
    probe_raster,
    read_raster,
    refuse_no_rasterio,
)
from marsgen.scenes.readers.folder import fingerprint_sorted
from marsgen.scenes.scene import SceneSource


class PictureFiles(SceneSource):
    """Pictures of any sizes; all their pixels are without a label.

    Headers are checked on opening. Pictures with a rotation tag are turned as viewers show them.
    """

    def __init__(
        self,
        places: Sequence[Path],
        classes: ClassSet,
        *,
        channels: int | None = None,
        bands: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        """Look for pictures.

        Args:
            places: picture files, and folders with pictures in them.
            classes: of the labels to come; only its ignored id is used here, and how its rasters are read.
            channels: that are wanted; grey pictures are read as RGB where it is 3. None = as they are.
            bands, value_range: of rasters, see `probe_raster`.
        Raises:
            DataError: no picture, two of one name, files that are none, or pictures of different channels.
        """
        self.location = str(places[0]) if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
        self.classes = classes
        self._bands, self._range = bands, value_range
        faults, left = Faults(), 0
        found: dict[str, Path] = {}
        for place in places:
            listed, others = _list(place, faults)
            left += others
            for name, path in listed.items():
                if name in found and path != found[name]:
                    faults.add(f"{path}: {found[name]} has the same name; give the two in separate calls")
                found[name] = path
        faults.raise_any(self.location)
        names, renamed = plain_names(list(found))
        self.names, self._paths = tuple(names), list(found.values())
        headers = check_all(self._probe, self._paths, "pictures", self.location)
        self._headers = [header for header, _, _ in headers]
        # what sets a picture apart from those that were trained on, if one is
        sources = [header.source if isinstance(header, RasterHeader) else None for header in self._headers]
        unlike = [source for source in sources if source != classes.rasters]
        self.classes = replace(classes, rasters=unlike[0] if unlike else classes.rasters)
        own = [count for _, _, count in headers]
        self.channels = 3 if channels == 3 or len(set(own)) > 1 else own[0]
        if strange := [i for i, count in enumerate(own) if count not in (1, self.channels)]:
            raise DataError(
                f"{self.location}: {self._paths[strange[0]].name} has {own[strange[0]]} channels, others have "
                f"{min(own)}; pictures that are labelled together need the same number"
            )
        shapes = {size for _, size, _ in headers}
        self.shape = shapes.pop() if len(shapes) == 1 else None
        turned = sum(header is True for header in self._headers)
        grey = own.count(1) if self.channels == 3 else 0
        self.notes = tuple(
            sentence
            for sentence, count in (
                (renamed, renamed),
                (f"{left} other files are left aside", left),
                (f"{turned} pictures are turned as their rotation tag says", turned),
                (f"{grey} grey pictures are read as RGB", grey),
            )
            if count
        )
        self._fingerprint = ""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        path, header = self._paths[index], self._headers[index]
        image = read_image(path, turned=header) if isinstance(header, bool) else read_raster(path, header)
        if image.shape[2] == 1 and self.channels == 3:
            image = image.repeat(3, axis=2)
        return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)

    def raster(self, index: int) -> Path | None:
        """See `SceneSource.raster`."""
        path = self._paths[index]
        return path if is_georeferenced(path) else None

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the names and contents of the files."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_sorted(sorted(zip(self.names, self._paths, strict=True)))
        return self._fingerprint

    def _probe(self, path: Path) -> tuple[RasterHeader | bool, tuple[int, int], int]:
        """How a file is read (a raster's header, or whether it is turned), its (height, width) and channels."""
        if is_raster(path):
            refuse_no_rasterio(f"{path}: reading this raster")
            raster = probe_raster(
                path, self._bands, self._range, "repeat the command with ", usual=self.classes.rasters
            )
            return raster, (raster.height, raster.width), len(raster.source.bands)
        header = probe_image(path)
        turned = follows_rotation(path, header, None)
        return turned, header.upright if turned else (header.height, header.width), header.channels


def _list(place: Path, faults: Faults) -> tuple[dict[str, Path], int]:
    """Name -> picture of a file or a folder, and how many other files lie in the folder."""
    if not place.is_dir():
        if place.is_file() and is_picture(place):
            return {place.stem: place}, 0
        faults.add(f"{place}: no picture; expected {', '.join(IMAGE_SUFFIXES)}")
        return {}, 0
    others = [
        entry.name for entry in os.scandir(place) if not is_clutter(entry.name) and not is_picture(Path(entry.name))
    ]
    return list_pictures(place, beside=others, faults=faults), len(others)
