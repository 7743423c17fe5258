"""NpzScenes: the course's .npz and its relatives, checked before they are read, never unpickled, never loaded whole.

    training_set        (N, 2, H, W) uint8: image and label map of each scene
    test_set            (M, H, W) uint8: images without labels
or
    images              (N, H, W) or (N, H, W, 3) uint8
    labels              (N, H, W) uint8 ids
"""

import errno
import hashlib
import lzma
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError, nearest
from marsgen.core.progress import ProgressBar
from marsgen.core.storage.arrays import Header, read_header, unpacks_too_far
from marsgen.core.storage.files import remove_leftovers_of, write_stream
from marsgen.core.storage.places import cache_folder
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.places import no_whole_npz
from marsgen.scenes.scene import SceneSource

MEMORY_LIMIT_BYTES = 256 * 2**20
"""larger arrays stay on disk: mapped in place when stored uncompressed, else unpacked once into `cache_folder`"""

_CHUNK_BYTES = 4 * 2**20
_IDLE_SECONDS = 600.0
"""without a write, after which somebody else's unpacking counts as killed"""
_EXPECTED = {
    "training_set": "(N, 2, height, width)",
    "test_set": "(N, height, width)",
    "images": "(N, height, width) or (N, height, width, 3)",
    "labels": "(N, height, width)",
}


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
                pairs = _load(path, archive, key, memory_limit)
                self._images, self._labels = pairs[:, 0], pairs[:, 1]
            else:
                self._images = _load(path, archive, key, memory_limit)
                if labelled:
                    self._labels = _load(path, archive, "labels", memory_limit)
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


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (NotImplementedError, RuntimeError) as problem:
        raise DataError(f"{path}: packed in an unknown way ({problem}); write it with numpy.savez_compressed") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError) as problem:
        raise no_whole_npz(path, problem) from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror or problem}); check the file") from None


def _image_key(path: Path, archive: zipfile.ZipFile, labelled: bool) -> str:
    """The key that holds the images."""
    keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    found = f"keys found: {', '.join(keys) or 'none'}"
    order = ("training_set", "images") if labelled else ("test_set", "images", "training_set")
    key = next((k for k in order if k in keys), None)
    if labelled and key != "training_set" and "labels" not in keys and {"images", "test_set"} & set(keys):
        raise DataError(
            f"{path}: images without labels ({found}); expected 'training_set', or 'labels' beside 'images'"
        )
    if key is None:
        hint = next((h for k in keys if (h := nearest(k, _EXPECTED))), "")
        raise DataError(
            f"{path}: {found}{hint}; expected 'training_set' {_EXPECTED['training_set']}, "
            f"or 'images' {_EXPECTED['images']} and 'labels' {_EXPECTED['labels']}"
        )
    return key


def _read_header(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    with archive.open(info) as file:
        try:
            return read_header(file)
        except ValueError as problem:
            raise DataError(f"{where} has {problem}; save it again") from None


def _check_header(where: str, key: str, header: Header, bytes_there: int) -> None:
    """Refuse an array by its type, shape or length."""
    shape = header.shape
    if header.dtype.hasobject:
        raise DataError(f"{where} holds python objects, which are never unpickled; save plain uint8 arrays")
    if header.dtype.kind == "f" and key != "labels":
        raise DataError(f"{where}: float images without a stated range; convert to uint8 (0..255)")
    if header.dtype != np.uint8:
        raise DataError(f"{where} is {header.dtype}; expected uint8, convert it to values in 0..255")
    fits = {
        "training_set": len(shape) == 4 and shape[1] == 2,
        "images": shape[3:] in ((), (1,), (3,)) and len(shape) > 2,
    }
    if not fits.get(key, len(shape) == 3):
        raise DataError(f"{where} has shape {shape}; expected {_EXPECTED[key]}")
    if 0 in shape:
        raise DataError(f"{where} has shape {shape}, which holds no scene; expected at least one")
    height, width = shape[2:] if key == "training_set" else shape[1:3]
    if min(height, width) < MIN_SIDE_PX:
        raise DataError(f"{where}: {height} x {width} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed")
    if header.size + prod(shape) != bytes_there:
        raise DataError(
            f"{where} has {bytes_there - header.size} bytes for shape {shape}, which needs {prod(shape)}; "
            "the file is damaged, copy or download it again"
        )


# from the file to an array


def _load(path: Path, archive: zipfile.ZipFile, key: str, memory_limit: int) -> np.ndarray:
    """The array of a key: held in memory when small, else mapped from disk; read-only either way."""
    info = archive.getinfo(f"{key}.npy")
    where = f"{path}: '{key}'"
    header = _read_header(where, archive, info)
    _check_header(where, key, header, info.file_size)
    if bomb := unpacks_too_far(info):
        raise DataError(f"{where} {bomb}; no pictures pack that well, write it with numpy.savez")
    if info.file_size > memory_limit:
        file, start = _mappable(path, archive, info)
        return np.memmap(file, np.uint8, "r", start + header.size, header.shape, "F" if header.column_major else "C")
    with archive.open(info) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
    array.flags.writeable = False
    return array


def _mappable(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Path, int]:
    """A file that holds the member unpacked, and the byte where it starts there."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)  # local header: 30 bytes, the last four are the lengths of name and extra
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        if info.compress_type == zipfile.ZIP_STORED:
            return path, start
        file.seek(start)
        digest = hashlib.blake2b(digest_size=16, person=b"marsgen-npz")
        for left in range(info.compress_size, 0, -_CHUNK_BYTES):
            digest.update(file.read(min(left, _CHUNK_BYTES)))
    unpacked = cache_folder() / f"{digest.hexdigest()}.npy"
    if not unpacked.is_file() or unpacked.stat().st_size != info.file_size:
        _unpack(archive, info, unpacked)
    return unpacked, 0


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacked: Path) -> None:
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_of(unpacked, _IDLE_SECONDS)
        if (free := shutil.disk_usage(unpacked.parent).free) < info.file_size:
            raise OSError(errno.ENOSPC, f"{free / 2**20:.0f} MiB are free")
        write_stream(unpacked, _unpacked_pieces(archive, info))
    except OSError as problem:
        raise DataError(
            f"{unpacked.parent}: cannot hold the {info.file_size / 2**20:.0f} MiB of '{info.filename}' unpacked "
            f"({problem.strerror or problem}); make room or set MARSGEN_CACHE to another folder"
        ) from None


def _unpacked_pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    label = f"unpacking {info.filename} once"
    bar = ProgressBar(total=info.file_size, unit="B", unit_scale=True, desc=label, delay=2, leave=False)
    with bar, archive.open(info) as member:
        while piece := member.read(_CHUNK_BYTES):
            bar.update(len(piece))
            yield piece
