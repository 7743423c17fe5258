"""Atomic writes: a file is there whole or not at all, whatever is killed when."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, then rename over it."""
    write_stream(path, (content,))


def write_stream(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_bytes` of the pieces one after the other, so that they need not fit in memory."""
    # one fixed temporary name per process: what a kill leaves behind is overwritten or swept by `remove_leftovers`
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Atomic write of utf-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Atomic write of indented json; numpy scalars and arrays become numbers and lists, NaN becomes null."""
    write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_npy(path: Path, array: np.ndarray) -> None:
    """Atomic write of a numpy array without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


@contextmanager
def filling_npy(path: Path, shape: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray]:
    """An array of zeros on disk, filled piece by piece, so that it need not fit in memory; `path` appears last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def filling_bytes(path: Path) -> Iterator[BinaryIO]:
    """`filling_text` for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def filling_text(path: Path) -> Iterator[TextIO]:
    """A utf-8 text file written line by line, so that it need not fit in memory; `path` appears at the end, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_fingerprint(path: Path) -> str:
    """16 hex digits that change when the file's content does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8, person=b"marsgen")).hexdigest()


def plain(content: Any) -> Any:
    """The same content in json's own types: tuples and arrays to lists, numpy scalars to numbers, NaN to None."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, float) and content != content:
        return None
    if isinstance(content, Path):
        return str(content)
    return content


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders that a killed process left anywhere under `folder`."""
    for leftover in list(folder.rglob(".*.partial")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
