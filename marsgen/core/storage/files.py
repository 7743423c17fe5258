"""Atomic writes: a file is there whole or not at all, whatever is killed when, and after a power cut too."""

import ctypes
import glob
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from marsgen.core.storage.numbers import is_numpy

if TYPE_CHECKING:
    import numpy as np


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write `content` under a temporary name beside `path`, then rename over it.

    Args:
        sync: have the content on the disk before the name; False for the many small files of a set, which
            `sync_file_system` brings there together before anything says that they are done.
    """
    write_stream(path, (content,), sync=sync)


def write_stream(path: Path, pieces: Iterable[bytes], *, sync: bool = True) -> None:
    """`write_bytes` of the pieces one after the other, so that they need not fit in memory."""
    with filling_bytes(path, sync=sync) as file:
        for piece in pieces:
            file.write(piece)


def write_text(path: Path, text: str) -> None:
    """Atomic write of utf-8 text; bytes of a file name that are no utf-8 become \\udc.., which json reads back."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Atomic write of indented json; numpy scalars and arrays become numbers and lists, NaN and infinity null."""
    write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_npy(path: Path, array: "np.ndarray") -> None:
    """Atomic write of a numpy array without pickle."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


@contextmanager
def filling_bytes(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file written piece by piece, so that it need not fit in memory; `path` appears at the end, whole.

    Raises:
        OSError: with the name of the file, whatever went wrong.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _open_temporary(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as problem:
        problem.filename = problem.filename or str(path)  # a full disk is found by a write, which knows no name
        raise


@contextmanager
def filling_text(path: Path) -> Iterator[TextIO]:
    """`filling_bytes` for utf-8 text."""
    with filling_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
        try:
            yield text
        finally:
            text.detach()


@contextmanager
def filling_npy(path: Path, shape: tuple[int, ...], dtype: Any) -> Iterator["np.ndarray"]:
    """An array of zeros on disk, filled piece by piece, so that it need not fit in memory; `path` appears last."""
    import numpy as np

    with filling_bytes(path) as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        start, size = file.tell(), int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        file.truncate(start + size)
        if not size:
            yield np.zeros(shape, dtype)
            return
        array = np.memmap(_temporary_name(path), dtype, "r+", start, shape)
        yield array
        array.flush()


def _temporary_name(path: Path) -> Path:
    # one fixed name per process: what a kill leaves behind is replaced or swept by `remove_leftovers`
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _open_temporary(path: Path) -> tuple[Path, int]:
    temporary = _temporary_name(path)
    # through no link, and into no file that is there: whoever can write into the folder gets nothing overwritten
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    for name in ("O_NOFOLLOW", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        return temporary, os.open(temporary, flags, 0o666)
    except FileExistsError:  # of a killed process that had this number
        temporary.unlink()
        return temporary, os.open(temporary, flags, 0o666)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk; without effect where a folder cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        with suppress(OSError):  # some network file systems know no such call
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Have on the disk all that was written so far into files under `folder`, and their names.

    One call for any number of files: fsync of each picture would take longer than drawing it.
    """
    syncfs = getattr(_c_library(), "syncfs", None)
    if syncfs is None:
        getattr(os, "sync", lambda: None)()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)


def _c_library() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None


def is_written(path: Path) -> bool:
    """Whether a file is there and not empty: a power cut may leave the name of a file without its content."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def file_fingerprint(path: Path) -> str:
    """16 hex digits that change when the file's content does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8, person=b"marsgen")).hexdigest()


def plain(content: Any) -> Any:
    """The same content in json's own types: tuples and arrays to lists, numpy scalars to numbers.

    NaN and infinity, which json does not have, become None.
    """
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if is_numpy(content, "ndarray"):
        return plain(content.tolist())
    if is_numpy(content, "generic"):
        return plain(content.item())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return str(content)
    return content


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders that a killed process left anywhere under `folder`; links are not followed."""
    for where, folders, names in os.walk(folder, followlinks=False):
        for name in [n for n in folders if _is_leftover(n)]:
            path = Path(where, name)
            if not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            folders.remove(name)
        for name in names:
            if _is_leftover(name):
                Path(where, name).unlink(missing_ok=True)


def remove_leftovers_of(path: Path, idle_seconds: float = 0.0) -> None:
    """Delete the temporary files that killed processes left of one file, in a folder that is no run's.

    Args:
        idle_seconds: leave those that were written to since; for files that several processes may be writing.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):
            if time.time() - left.stat(follow_symlinks=False).st_mtime >= idle_seconds:
                left.unlink()


def _is_leftover(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")
