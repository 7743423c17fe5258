"""Every place that scenes come from, behind one function: npz, AI4Mars, folders, formats/, the simulator."""

import hashlib
import json
import logging
import os
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.places import IN_MEMORY, SIMULATED, find_path, refuse_missing
from marsgen.scenes.classes import CLASSES_FILE, ClassSet
from marsgen.scenes.files.finding import is_picture
from marsgen.scenes.files.layout import IGNORED, Folders
from marsgen.scenes.files.rasters import is_raster, needs_raster_reader
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.reading import ReadScenes
from marsgen.scenes.formats.recognise import list_source, open_rasters, open_recognised, recognise
from marsgen.scenes.formats.tables import read_loaded
from marsgen.scenes.places import no_data_file
from marsgen.scenes.readers.ai4mars import Ai4MarsScenes
from marsgen.scenes.readers.folder import open_folder
from marsgen.scenes.readers.npz import NpzScenes
from marsgen.scenes.readers.picture_files import PictureFiles
from marsgen.scenes.readers.shards import SHARDS_FOLDER, ShardScenes
from marsgen.scenes.readers.shrunk import ShrunkScenes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.simulated_name import parse_simulation
from marsgen.scenes.stated import classes_of, find_navcam, mars_classes, stated_classes

_CACHE_BYTES = 64 * 2**20


DEFAULT_READING = ReadingConfig()

_log = logging.getLogger(__name__)


LABEL_FOLDERS = ("labels", "masks", "mask", "annotations")
"""where label maps lie beside images/, if classes.yaml does not say it"""


def open_scenes(
    location: str,
    *,
    classes: ClassSet | Path | None = None,
    labelled: bool = True,
    reading: ReadingConfig = DEFAULT_READING,
) -> SceneSource:
    """Open a data set, whatever it is. What was decided or left out on opening is logged, and in `notes` of the result.

    Args:
        location: an .npz file, a folder (AI4Mars release, images/ and labels/ with classes.yaml, what `marsgen
            synthesize` made, or a format of scenes/formats/), a Parquet file, or sim:N with options such as
            sim:400,seed=3,size=64x128,channels=3,rocks=0.1,outliers=0,noise=1. ~ is the home folder.
        classes: what the ids mean, or the file that says it; default: the folder's classes.yaml, else the terrains of
            configs/classes_mars.yaml.
        labelled: False gives the images to predict (npz: test_set if it is there; folders need no labels); all their
            pixels are ignored.
        reading: how a data set in one of scenes/formats/ is read.
    Returns:
        Scenes read one at a time; label maps have been checked, so that a wrong id shows here and not hours later.
        Those of a finished synthesis have not: there may be millions, and whoever wrote them checked them.
    Raises:
        DataError: the data set cannot be used; the message names the file and what is wrong with it.
    """
    scenes = _open(location, classes, labelled, reading)
    if isinstance(classes, Path):
        scenes.classes_file = classes
    for note in scenes.notes:
        _log.warning("%s: %s", location, note)
    return scenes


def _open(location: str, given: ClassSet | Path | None, labelled: bool, reading: ReadingConfig) -> SceneSource:
    known = stated_classes(location, given)
    if location.startswith(SIMULATED):
        return SimulatedScenes(location, known or mars_classes(), labelled=labelled)
    if location == IN_MEMORY:
        raise DataError(
            f"{IN_MEMORY}: these data were given from Python and lie in no file, so they cannot be opened again; name "
            "the same scenes with --data, or call the function of marsgen or segmenter with them"
        )
    path = find_path(location)
    if path.is_dir():
        return _open_folder(path, location, known, labelled, reading, own=given is None)
    if path.suffix.lower() == ".npz" and path.is_file():
        return NpzScenes(path, known or mars_classes(), labelled=labelled, location=location)
    if not path.is_file():
        raise DataError(f"{location}: a pipe or a device; --data takes an .npz, a folder of pictures or sim:N")
    found = open_recognised(location, path, fit_config(reading, known), known, labelled=labelled)
    if found is None:
        raise no_data_file(location)
    return found


def open_pictures(
    places: Sequence[str | Path],
    classes: ClassSet,
    *,
    channels: int | None = None,
    reading: ReadingConfig = DEFAULT_READING,
    stated: ClassSet | None = None,
) -> SceneSource:
    """Pictures to label: files and folders of pictures, or one data set, whose labels are not read.

    Args:
        places: picture files, folders with pictures in them; or one place that `open_scenes` opens.
        classes: of the labels to come, and how the rasters were read that a network was trained on.
        channels: that are wanted, see `PictureFiles`.
        reading: bands and range of rasters.
        stated: what the ids of a data set mean; default: what its own classes.yaml says.
    Raises:
        DataError: pictures that cannot be used; the message names them.
    """
    paths = refuse_missing(places)
    if len(places) == 1 and (stated is not None or not _holds_pictures(paths[0])):
        known = stated or classes_of(paths[0])
        if known is not None and known.rasters is None and _holds_rasters(paths[0], known):
            known = replace(known, rasters=classes.rasters)  # rasters are read as those that were trained on
        return open_scenes(str(places[0]), classes=known, labelled=False, reading=reading)
    if data := [str(path) for path in paths if not is_picture(path) and not _holds_pictures(path)]:
        raise DataError(f"{data[0]}: neither a picture nor a folder of pictures; label a data set in a call of its own")
    scenes = PictureFiles(paths, classes, channels=channels, bands=reading.bands, value_range=reading.range)
    for note in scenes.notes:
        _log.warning("%s: %s", scenes.location, note)
    return scenes


def _holds_pictures(path: Path) -> bool:
    """Whether a path is a picture, or a folder with pictures directly in it that is no data set of any format."""
    if not path.is_dir():
        return is_picture(path)
    if (path / CLASSES_FILE).exists() or not any(is_picture(entry) for entry in path.iterdir() if entry.is_file()):
        return False
    return find_navcam(path) is None and not recognise(list_source(path))


def open_test_set(location: str, classes: ClassSet) -> SceneSource | None:
    """The pictures without labels that an .npz brings along (key test_set), or None."""
    return open_scenes(location, classes=classes, labelled=False) if has_test_set(location) else None


def has_test_set(location: str) -> bool:
    """Whether `location` is an .npz with unlabelled images (key test_set), as the course's challenge has it."""
    if not zipfile.is_zipfile(location):
        return False
    with zipfile.ZipFile(location) as file:
        return "test_set.npy" in file.namelist()


def _open_folder(
    folder: Path, location: str, known: ClassSet | None, labelled: bool, reading: ReadingConfig, *, own: bool
) -> SceneSource:
    """Open a folder; `own`: what is known of its classes, it says itself."""
    if find_navcam(folder) is not None:
        return Ai4MarsScenes(folder, known or mars_classes(), labelled=labelled, location=location)
    if (folder / "config.yaml").exists() and (folder / "environment.json").exists() and not (folder / "DONE").exists():
        # its scenes are synthetic, but the manifest that says so may not be there yet
        raise DataError(f"{location}: a run that has not finished; repeat its command and it goes on")
    if (folder / SHARDS_FOLDER).is_dir():
        return ShardScenes(folder, None if own else known, labelled=labelled, location=location)
    if labelled and known is not None and is_laid_out(folder, known) and _holds_rasters(folder, known, unreadable=True):
        return open_rasters(location, folder, fit_config(reading, known), known)
    # an imported copy of rasters says too how they were read
    if known is None or not is_laid_out(folder, known) or (known.rasters and _holds_rasters(folder, known)):
        found = open_recognised(location, folder, fit_config(reading, known), known, labelled=labelled)
        if found is not None:
            return found
    if known is None and labelled and needs_classes(folder):
        _refuse_without_classes(location)
    if known is None and not labelled:
        return open_folder(folder, mars_classes(), labelled=labelled, location=location)
    return open_folder(folder, None if own else known, labelled=labelled, location=location)


def _holds_rasters(folder: Path, classes: ClassSet, *, unreadable: bool = False) -> bool:
    """Whether there are rasters among the pictures of a folder.

    Args:
        unreadable: ask only for those of a number of bands or bits that no picture reader takes.
    """
    counts = needs_raster_reader if unreadable else is_raster
    places = [place for place in classes.layout.splits.values() if isinstance(place, Folders)]
    for place in [*places, classes.layout.folders]:
        if not (folder / place.images).is_dir():
            continue
        with os.scandir(folder / place.images) as entries:
            if any(is_picture(Path(entry.path)) and counts(Path(entry.path)) for entry in entries):
                return True
    return False


def is_laid_out(folder: Path, classes: ClassSet | None) -> bool:
    """Whether the folders that the classes file names (images/ and labels/ by default) are there, with label maps."""
    if classes is None:
        return False
    layout = classes.layout
    places = [place for place in layout.splits.values() if isinstance(place, Folders)] or [layout.folders]
    return any(
        (folder / place.images).is_dir()
        and (folder / place.labels).is_dir()
        and any(is_picture(path) for path in (folder / place.labels).iterdir())
        for place in places
    )


def fit_config(config: ReadingConfig, classes: ClassSet | None) -> ReadingConfig:
    """`config`, with what a classes file says of how to read a data set in another format where it says nothing."""
    if classes is None:
        return config
    layout, usual, given = classes.layout, ReadingConfig(), dict[str, Any]()
    for key in ("groups", "orientation", "threshold"):
        stated = getattr(layout, key)
        if stated not in ("", None) and getattr(config, key) == getattr(usual, key):
            given[key] = stated
    if config.background == usual.background and usual.background not in classes.names:
        # no class for it: what no object covers carries no label
        given["background"] = IGNORED
    return config.model_copy(update=given)


def open_source(location: str, config: ReadingConfig, classes: ClassSet | None) -> SceneSource:
    """`open_scenes` for `marsgen import`: the reader and its settings may be named.

    Raises:
        DataError: see `open_scenes`.
    """
    scenes = _open_source(location, config, classes)
    if config.longest_side is not None:
        scenes = ShrunkScenes(scenes, config.longest_side)
        _log.warning("%s: %s", location, scenes.notes[-1])
    return scenes


def _open_source(location: str, config: ReadingConfig, classes: ClassSet | None) -> SceneSource:
    if config.format is None and (config.bands or config.range):
        config = config.model_copy(update={"format": "geotiff"})
    path = find_path(location)
    known = classes or classes_of(path if path.is_dir() else path.parent)
    laid_out = path.is_dir() and is_laid_out(path, known)
    found: SceneSource | None = None
    if known is not None and laid_out and config.format in (None, "geotiff"):
        wanted = _holds_rasters(path, known, unreadable=config.format is None)
        found = open_rasters(location, path, fit_config(config, known), known) if wanted else None
    if found is None and config.format is None and (find_navcam(path) is not None or laid_out):
        return open_scenes(location, classes=classes)
    if found is None:
        found = open_recognised(location, path, fit_config(config, known), known)
    if found is None:
        return open_scenes(location, classes=classes)
    for note in found.notes:
        _log.warning("%s: %s", location, note)
    return found


def open_loaded(dataset: Any, config: ReadingConfig, classes: ClassSet) -> SceneSource:
    """Scenes of a `datasets.Dataset`, or of a `datasets.DatasetDict`, whose splits are their parts.

    Raises:
        DataError: not such an object, no columns of pictures and label maps, or data that cannot be used.
    """
    scenes = ReadScenes(IN_MEMORY, read_loaded(dataset, config, classes), config)
    for note in scenes.notes:
        _log.warning("%s: %s", scenes.location, note)
    return scenes


def needs_classes(folder: Path) -> bool:
    """Whether a folder has images/ and label maps beside it, in no format that says what their ids mean."""
    if (folder / CLASSES_FILE).is_file() or not (folder / "images").is_dir() or label_folder(folder) is None:
        return False
    return not any(each.format.names_classes for each in recognise(list_source(folder)))


def label_folder(folder: Path) -> str | None:
    """Name of the folder beside images/ that holds the label maps, by what such folders are usually called."""
    return next((name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)


def _refuse_without_classes(location: str) -> None:
    """Say what is in images/ and labels/ when nothing says what the ids mean."""
    place = label_folder(find_path(location))
    raise DataError(
        f"{location}: images/ and {place}/, but no {CLASSES_FILE} that says what the ids mean; give --classes FILE, or "
        f"let `marsgen import {shlex.quote(location)} --dry-run` list the ids and draft one"
    )


# the simulator


class SimulatedScenes(SceneSource):
    """N simulated scenes (scenes/simulate/), drawn when they are asked for; groups are rover stops."""

    def __init__(self, location: str, classes: ClassSet, *, labelled: bool = True) -> None:
        """Parse sim:N[,option=value]... .

        Args:
            classes: has the simulator's classes by name, with its ids.
            labelled: False hides the label maps.
        Raises:
            DataError: N or an option cannot be read, or `classes` are others.
        """
        from marsgen.scenes.simulate import MARS_IDS, SimulationConfig, simulate_stop

        count, options = parse_simulation(location)
        try:
            self._config = SimulationConfig(**options)
        except ValueError as problem:
            raise DataError(f"{location}: {problem}") from None
        drawn = {**dict(zip(classes.names, classes.ids, strict=True)), "background": classes.ignored}
        if drawn != MARS_IDS:
            raise DataError(
                f"{location}: simulated scenes have the classes and ids {MARS_IDS}, not {drawn}; leave --classes out"
            )
        self.location = location
        self.classes = classes
        self.channels = self._config.channels
        self.shape = (self._config.height, self._config.width)
        self.names = tuple(f"sim[{number:0{max(4, len(str(count - 1)))}d}]" for number in range(count))
        self.groups = tuple(simulate_stop(number, self._config) for number in range(count))
        self._labelled = labelled
        # a scene always goes to the same slot: no lock is needed, a race only draws a scene twice
        slots = _CACHE_BYTES // (self.shape[0] * self.shape[1] * (self.channels + 1))
        self._drawn: list[tuple[int, np.ndarray, np.ndarray] | None] = [None] * max(1, min(count, slots))

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        number = range(len(self))[index]
        kept = self._drawn[number % len(self._drawn)]
        if kept is None or kept[0] != number:
            from marsgen.scenes.simulate import simulate_scene

            kept = number, *simulate_scene(number, self._config)
            self._drawn[number % len(self._drawn)] = kept
        _, image, labels = kept
        return image.copy(), labels.copy() if self._labelled else np.full_like(labels, self.classes.ignored)

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the number of scenes, the options and the simulator's own code."""
        from marsgen.scenes import simulate

        asked = json.dumps({"scenes": len(self), "labelled": self._labelled, **asdict(self._config)}, sort_keys=True)
        code = b"".join(path.read_bytes() for path in sorted(Path(simulate.__file__).parent.glob("*.py")))
        return hashlib.blake2b(asked.encode() + code, digest_size=8, person=b"marsgen").hexdigest()
