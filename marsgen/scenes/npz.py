"""NpzScenes: the course's .npz and its relatives, checked before they are read, never unpickled, never loaded whole.

    training_set        (N, 2, H, W) uint8: image and label map of each scene
    test_set            (M, H, W) uint8: images without labels
or
    images              (N, H, W) or (N, H, W, 3) uint8
    labels              (N, H, W) uint8 ids
"""

import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from marsgen.errors import DataError, nearest
from marsgen.files import write_stream
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.scene import MIN_SIDE_PX, SceneSource

MEMORY_LIMIT_BYTES = 256 * 2**20
"""larger arrays stay on disk: mapped in place when the zip stores them uncompressed, else unpacked once into the cache"""

_CHUNK_BYTES = 16 * 2**20
_KEYS = ("training_set", "test_set", "images", "labels")


class NpzScenes(SceneSource):
    """Scenes of an .npz file; names such as `training_set[0012]`. Every label map is checked when it is opened."""

    def __init__(
        self,
        path: Path,
        classes: ClassSet,
        *,
        labelled: bool = True,
        location: str | None = None,
        memory_limit: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        """Open `path`.

        Args:
            classes: what the ids in the file mean.
            labelled: False gives the images to predict: test_set if it is there, else the other images.
            location: what the user typed, if not the path.
            memory_limit: bytes; an array above it is mapped from disk.
        Raises:
            DataError: not a whole zip, keys, shapes or types other than above, or a label id of no class.
        """
        self.location = location or str(path)
        self.classes = classes
        with _opened(path) as archive:
            key = _image_key(path, archive, labelled)
            self._labels: np.ndarray | None = None
            if key == "training_set":
                pairs = _load(path, archive, key, _check_pairs, memory_limit)
                self._images, self._labels = pairs[:, 0], pairs[:, 1]
            else:
                self._images = _load(path, archive, key, _check_images, memory_limit)
                if labelled:
                    self._labels = _load(path, archive, "labels", _check_labels, memory_limit)
        if not labelled:
            self._labels = None
        self.channels = 1 if self._images.ndim == 3 else self._images.shape[3]
        self.shape = self._images.shape[1:3]
        digits = max(4, len(str(len(self._images) - 1)))
        self.names = tuple(f"{key}[{number:0{digits}d}]" for number in range(len(self._images)))
        self._fingerprint = ""
        self._check_ids(path)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        image = np.array(self._images[index]).reshape(*self._images.shape[1:3], self.channels)
        if self._labels is None:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        return image, np.array(self._labels[index])

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the unpacked arrays, so packing them anew changes nothing."""
        if not self._fingerprint:
            digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
            for array in (self._images, self._labels):
                digest.update(repr(None if array is None else array.shape).encode())
                for block in _blocks(array) if array is not None else ():
                    digest.update(np.ascontiguousarray(block).data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _check_ids(self, path: Path) -> None:
        if self._labels is None:
            return
        if self._labels.shape != self._images.shape[:3]:
            raise DataError(
                f"{path}: 'labels' has shape {self._labels.shape} beside 'images' of {self._images.shape}; "
                "expected one label map per image, of the same height and width"
            )
        start = 0
        for block in _blocks(self._labels):
            unknown = (self.classes.index_of_id[block] == IGNORED_INDEX) & (block != self.classes.ignored)
            if unknown.any():
                number = int(np.flatnonzero(unknown.any(axis=(1, 2)))[0])
                self.classes.check_labels(block[number], f"{path}: {self.names[start + number]}")
            start += len(block)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Runs of consecutive scenes, so that checking a mapped file does not fill the memory."""
    step = max(1, _CHUNK_BYTES // max(1, prod(array.shape[1:])))
    return (array[start : start + step] for start in range(0, len(array), step))


# what is in the file


@dataclass(frozen=True)
class _Header:
    """First bytes of an .npy member: enough to refuse it before any of its data is read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int
    """bytes of the header itself"""


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as problem:
        raise DataError(
            f"{path}: not a whole .npz file ({problem}); it may be cut short, copy or download it again"
        ) from None
    except (zlib.error, lzma.LZMAError, EOFError, struct.error) as problem:
        raise DataError(f"{path}: damaged .npz file ({problem}); copy or download it again") from None
    except (NotImplementedError, RuntimeError) as problem:
        raise DataError(f"{path}: packed in an unknown way ({problem}); write it with numpy.savez_compressed") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror or problem})") from None


def _image_key(path: Path, archive: zipfile.ZipFile, labelled: bool) -> str:
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    order = ("training_set", "images") if labelled else ("test_set", "images", "training_set")
    key = next((k for k in order if k in keys), None)
    if labelled and key != "training_set" and ("images" in keys or "test_set" in keys) and "labels" not in keys:
        raise DataError(
            f"{path}: images without labels (keys: {', '.join(keys)}); expected 'training_set', or 'labels' beside 'images'"
        )
    if key is None:
        hint = next((h for k in keys if (h := nearest(k, _KEYS))), "")
        raise DataError(
            f"{path}: keys found: {', '.join(keys) or 'none'}{hint}; "
            "expected 'training_set' (N, 2, H, W), or 'images' (N, H, W[, 3]) and 'labels' (N, H, W)"
        )
    return key


def _check_pairs(header: _Header) -> str:
    if len(header.shape) != 4 or header.shape[1] != 2:
        return "(N, 2, height, width): image and label map of each scene"
    return ""


def _check_images(header: _Header) -> str:
    grey = len(header.shape) == 3
    return "" if grey or (len(header.shape) == 4 and header.shape[3] in (1, 3)) else "(N, height, width) or (N, height, width, 3)"


def _check_labels(header: _Header) -> str:
    return "" if len(header.shape) == 3 else "(N, height, width)"


def _read_header(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header:
    with archive.open(info) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
        except (ValueError, KeyError) as problem:
            raise DataError(f"{where}: no readable numpy header ({str(problem).splitlines()[0]}); save it again") from None
        return _Header(shape, dtype, file.tell())


def _check_header(where: str, header: _Header, info: zipfile.ZipInfo, wrong_shape: Callable[[_Header], str]) -> None:
    """Refuse an array by its header: type, shape, length."""
    if header.dtype.hasobject:
        raise DataError(f"{where}: python objects, which are never unpickled; save plain uint8 arrays")
    if header.dtype.kind == "f" and not where.endswith("'labels'"):
        raise DataError(f"{where}: float images without a stated range; convert to uint8 (0..255)")
    if header.dtype != np.uint8:
        raise DataError(f"{where}: type {header.dtype}; expected uint8, convert the values to 0..255")
    if expected := wrong_shape(header):
        raise DataError(f"{where}: shape {header.shape}; expected {expected}")
    if 0 in header.shape:
        raise DataError(f"{where}: shape {header.shape} holds no scene; expected at least one")
    height, width = header.shape[2:] if wrong_shape is _check_pairs else header.shape[1:3]
    if min(height, width) < MIN_SIDE_PX:
        raise DataError(f"{where}: {height} x {width} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed")
    if header.size + prod(header.shape) != info.file_size:
        raise DataError(
            f"{where}: {info.file_size} bytes, but shape {header.shape} needs {header.size + prod(header.shape)}; "
            "the file is damaged, copy or download it again"
        )


# from the file to an array


def _load(
    path: Path, archive: zipfile.ZipFile, key: str, wrong_shape: Callable[[_Header], str], memory_limit: int
) -> np.ndarray:
    """The array of a key: held in memory when small, else mapped from disk; read-only either way."""
    info = archive.getinfo(f"{key}.npy" if f"{key}.npy" in archive.namelist() else key)
    where = f"{path}: '{key}'"
    header = _read_header(where, archive, info)
    _check_header(where, header, info, wrong_shape)
    if info.file_size > memory_limit:
        return _map(path, archive, info, header)
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    array.flags.writeable = False
    return array


def _map(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header) -> np.ndarray:
    start = _data_start(path, info)
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(start)
            return _map_npy(path, start + header.size, file)
    digest = hashlib.blake2b(digest_size=16, person=b"marsgen-npz")
    for chunk in _file_chunks(path, start, info.compress_size):
        digest.update(chunk)
    unpacked = cache_folder() / f"{digest.hexdigest()}.npy"
    if not unpacked.is_file() or unpacked.stat().st_size != info.file_size:
        _unpack(archive, info, unpacked)
    with unpacked.open("rb") as file:
        return _map_npy(unpacked, header.size, file)


def _map_npy(path: Path, offset: int, file: BinaryIO) -> np.ndarray:
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
