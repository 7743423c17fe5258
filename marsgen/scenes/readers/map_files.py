"""MapFiles: label maps alone, without pictures: what is still to be drawn."""

from pathlib import Path

import numpy as np

from marsgen.scenes.classes import CLASSES_FILE, ClassSet
from marsgen.scenes.files.finding import LABEL_SUFFIXES, list_pictures
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.files.names import plain_names
from marsgen.scenes.files.pictures import check_all
from marsgen.scenes.readers.folder import check_side, fingerprint_files
from marsgen.scenes.scene import Origin, SceneSource


def holds_maps_only(folder: Path, classes: ClassSet | None) -> bool:
    """Whether the folder of label maps is there, and that of pictures is not."""
    places = classes.layout.folders if classes is not None else None
    images, labels = (places.images, places.labels) if places else ("images", "labels")
    return (folder / labels).is_dir() and not (folder / images).is_dir()


class MapFiles(SceneSource):
    """The label maps of a folder; their pictures are black, and nothing is known of where they come from."""

    def __init__(self, folder: Path, classes: ClassSet, channels: int, location: str | None = None) -> None:
        """Open `folder`.

        Args:
            classes: what the pixel values mean, and the name of the folder of label maps in it.
            channels: of the black pictures.
        Raises:
            DataError: no label map, or some that cannot be used (all of them are named).
        """
        self.location, self._folder = location or str(folder), folder
        self.classes, self.channels = classes, channels
        found = list_pictures(folder / classes.layout.folders.labels, LABEL_SUFFIXES, inside=folder)
        self._files = list(found.values())
        self.names, renamed = plain_names(list(found))
        self.notes = (renamed,) if renamed else ()
        shapes = set(check_all(self._check, self._files, "label maps", folder))
        self.shape = shapes.pop() if len(shapes) == 1 else None

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`; the picture is black."""
        labels = read_label_map(self._files[index], self.classes)
        return np.zeros((*labels.shape, self.channels), np.uint8), labels

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`."""
        own = self._folder / CLASSES_FILE
        return fingerprint_files(self._folder, [*self._files, *([own] if own.is_file() else [])])

    def origin(self, index: int) -> Origin:
        """Synthetic, of unknown ancestors: there is no picture."""
        return Origin("synthetic")

    def _check(self, path: Path) -> tuple[int, int]:
        labels = read_label_map(path, self.classes)
        check_side(path, *labels.shape)
        return labels.shape[0], labels.shape[1]
