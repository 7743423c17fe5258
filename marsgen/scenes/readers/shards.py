"""Shards: scenes of one size as a few large .npy files, to be read and written one scene at a time.

shards/images-00000.npy     (4096, H, W, channels) uint8; the last shard is as long as needed
shards/labels-00000.npy     (4096, H, W) uint8 ids
classes.yaml, synth.json, manifest.jsonl    as beside PNG pictures, see scenes/readers/folder.py

Scene i, line i of the manifest, is in slot i % 4096 of shard i // 4096.
A file is made at its full length first, and a scene always goes to the slot of its index: any number of processes fill
the files in any order, and what they leave is the same. numpy.load(file, mmap_mode="r") opens one by hand.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.arrays import read_header
from marsgen.core.storage.files import filling_npy
from marsgen.scenes.classes import CLASSES_FILE, ClassSet
from marsgen.scenes.files.manifest import MANIFEST_FILE
from marsgen.scenes.limits import is_channels
from marsgen.scenes.readers.folder import MadeScenes, fingerprint_files
from marsgen.scenes.scene import Scene, SceneSource

SHARDS_FOLDER = "shards"
SHARD_LENGTH = 4096
"""scenes in every shard but the last"""


# writing


def refuse_mixed_sizes(scenes: SceneSource) -> None:
    """Raise DataError where scenes made from `scenes` would differ in size, which shards cannot hold."""
    if scenes.shape is None:
        raise DataError(
            f"{scenes.location}: its scenes differ in size, and shards hold scenes of one size; use --format png"
        )


def allocate_shards(folder: Path, n: int, shape: tuple[int, int], channels: int) -> None:
    """Make the files for `n` scenes, all zeros; files that are there already stay as they are."""
    for number in range(-(-n // SHARD_LENGTH)):
        length = min(SHARD_LENGTH, n - number * SHARD_LENGTH)
        for kind, item in (("images", (*shape, channels)), ("labels", shape)):
            path = _shard_path(folder, kind, number)
            if not path.exists():
                with filling_npy(path, (length, *item), np.uint8):
                    pass


def write_slot(folder: Path, index: int, image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> None:
    """Write scene `index` to its place in files that `allocate_shards` made.

    Args:
        image: (H, W, channels) uint8.
        labels: (H, W) uint8 ids.
    Raises:
        DataError: the arrays are no possible scene of `classes`, or not of the shards' size.
    """
    scene = Scene(f"{folder}: scene {index}", image, labels, classes)
    number, slot = divmod(index, SHARD_LENGTH)
    for kind, item in (("labels", scene.labels), ("images", scene.image)):
        _open_shard(_shard_path(folder, kind, number)).write(slot, item)


# reading


def read_slot(folder: Path, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map at the place of scene `index`; zeros where nothing has been written yet."""
    number, slot = divmod(index, SHARD_LENGTH)
    image, labels = (_open_shard(_shard_path(folder, kind, number)).read(slot) for kind in ("images", "labels"))
    return image, labels


class ShardScenes(MadeScenes):
    """Scenes of a folder of shards; a scene is read by one seek in each of two files."""

    def __init__(
        self, folder: Path, classes: ClassSet | None = None, *, labelled: bool = True, location: str | None = None
    ) -> None:
        """Open `folder`; only the headers of the shards are read.

        Args:
            classes: instead of the folder's classes.yaml.
            labelled: False reads the images alone; all labels are ignored.
            location: what the user typed, if not the folder.
        Raises:
            DataError: no classes, a malformed manifest, or shards that are missing, damaged or do not fit each other.
        """
        if not (folder / MANIFEST_FILE).is_file():
            raise DataError(f"{folder}: shards without {MANIFEST_FILE}; copy the whole folder, or make the set again")
        super().__init__(folder, classes, labelled=labelled, location=location)
        self._images = _open_shards(folder, "images", len(self))
        self._labels = _open_shards(folder, "labels", len(self)) if labelled else []
        height, width, self.channels = self._images[0].item
        self.shape = height, width
        if self._labels and self._labels[0].item != self.shape:
            raise DataError(
                f"{self._labels[0].path}: label maps of {self._labels[0].item} beside images of {self.shape}; "
                "expected the same height and width, make the set again"
            )

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        number, slot = divmod(range(len(self))[index], SHARD_LENGTH)
        image = self._images[number].read(slot)
        if not self._labels:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        return image, self._labels[number].read(slot)

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the names and contents of the files in use."""
        if not self._fingerprint:
            used = [shard.path for shard in (*self._images, *self._labels)]
            described = [CLASSES_FILE, MANIFEST_FILE] if self._own_classes else [MANIFEST_FILE]
            self._fingerprint = fingerprint_files(self._folder, [*used, *(self._folder / name for name in described)])
        return self._fingerprint


@dataclass(frozen=True)
class _Shard:
    """One .npy file of uint8 arrays of equal shape, read and written without mapping it: no handle stays open, however
    many shards there are, and copies in other processes need nothing of their own."""

    path: Path
    length: int
    """arrays in it"""
    item: tuple[int, ...]
    """shape of each"""
    start: int
    """byte of the first"""

    def read(self, slot: int) -> np.ndarray:
        size = prod(self.item)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.start + slot * size)
                content = file.read(size)
        except FileNotFoundError:
            raise DataError(f"{self.path}: the file is gone; was the data set moved while it was read?") from None
        if len(content) != size:
            raise DataError(f"{self.path}: cut short at scene {slot}; copy the file again")
        return np.frombuffer(bytearray(content), np.uint8).reshape(self.item)

    def write(self, slot: int, array: np.ndarray) -> None:
        if array.shape != self.item or slot >= self.length:
            raise DataError(
                f"{self.path}: slot {slot} of shape {array.shape} in {self.length} slots of shape {self.item}"
            )
        with self.path.open("r+b") as file:
            file.seek(self.start + slot * array.size)
            file.write(np.ascontiguousarray(array).data)


def _shard_path(folder: Path, kind: str, number: int) -> Path:
    return folder / SHARDS_FOLDER / f"{kind}-{number:05d}.npy"


def _open_shards(folder: Path, kind: str, n: int) -> list[_Shard]:
    """The shards of a kind, checked to hold `n` items of one shape."""
    if not n:
        raise DataError(f"{folder}/{MANIFEST_FILE}: no line, so no scene; make the set again")
    shards = [_open_shard(_shard_path(folder, kind, number)) for number in range(-(-n // SHARD_LENGTH))]
    for number, shard in enumerate(shards):
        expected = min(SHARD_LENGTH, n - number * SHARD_LENGTH)
        if shard.length != expected or shard.item != shards[0].item:
            raise DataError(
                f"{shard.path}: {shard.length} arrays of {shard.item}; expected {expected} of {shards[0].item} for "
                f"{n} lines in {MANIFEST_FILE}, copy the whole folder again"
            )
    return shards


def _open_shard(path: Path) -> _Shard:
    """Read the header of a shard and hold it against the file's size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            header, size = read_header(file), os.fstat(descriptor).st_size
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); copy the whole folder again") from None
    except ValueError:
        raise DataError(f"{path}: no .npy file; copy the whole folder again") from None
    dimensions = 4 if path.name.startswith("images") else 3
    shape = header.shape
    channels_fit = all(map(is_channels, shape[3:]))
    if header.dtype != np.uint8 or header.column_major or len(shape) != dimensions or not channels_fit:
        raise DataError(
            f"{path}: {header.dtype} of shape {shape}; expected rows of uint8 (scenes, height, width"
            f"{', channels' if dimensions == 4 else ''}), make the set again"
        )
    if size != header.bytes_expected:
        raise DataError(
            f"{path}: {size:,} bytes; expected {header.bytes_expected:,} for shape {shape}, copy the file again"
        )
    return _Shard(path, shape[0], shape[1:], header.size)
