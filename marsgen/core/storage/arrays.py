"""Arrays: the one reader of .npy and .npz files. Nothing is unpickled, and no memory is taken before type, shape and
length are known to be right.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import Fault, naming

UNPACKED_FREELY_BYTES = 2**30
MOST_UNPACKED = 200
"""times its packed size that a larger array may have; pictures have 2, label maps up to 100"""

Shape = tuple[int | None, ...]
"""an expected shape; None = any length"""


@dataclass(frozen=True)
class Header:
    """First bytes of an .npy file: enough to refuse it before any of its data is read."""

    shape: tuple[int, ...]
    column_major: bool
    dtype: np.dtype
    size: int
    """bytes of the header itself"""

    @property
    def bytes_expected(self) -> int:
        """Length of the whole file."""
        return self.size + prod(self.shape) * self.dtype.itemsize


def read_header(file: Any) -> Header:
    """The header at the start of an open .npy file.

    Raises:
        ValueError: no numpy header, or a shape that no array has.
        OSError: the file cannot be read.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        header = Header(*read(file), size=file.tell())
    except OSError:
        raise
    except Exception as problem:  # numpy lets through whatever tokenize, ast and dtype raise
        reason = (str(problem).splitlines() or [""])[0] or type(problem).__name__
        raise ValueError(f"no numpy header ({reason})") from None
    if any(type(side) is not int or side < 0 for side in header.shape):
        raise ValueError(f"no numpy header (shape {header.shape})")
    return header


def read_npy(
    path: Path,
    dtype: Any,
    shape: Shape,
    fault: Fault = DataError,
    remedy: str = "delete it and repeat the command that wrote it",
    *,
    mapped: bool = False,
) -> np.ndarray:
    """The array of an .npy file.

    Args:
        dtype, shape: what is expected; a set of dtypes where it may be one of several.
        fault: what is raised.
        remedy: what the user can do; ends the sentence.
        mapped: leave it on disk and read it as needed.
    Raises:
        fault: missing, damaged, or another type or shape.
    """
    with naming(path, fault, remedy):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            header = read_header(file)
            _refuse_other(header, _dtypes(dtype), shape, os.fstat(descriptor).st_size)
            if mapped and header.bytes_expected > header.size:
                return np.memmap(
                    file, header.dtype, "r", header.size, header.shape, "F" if header.column_major else "C"
                )
            return _read_values(file, header)


def read_npz(
    path: Path,
    expected: Mapping[str, tuple[Any, Shape]],
    fault: Fault = DataError,
    remedy: str = "copy or write it again",
    optional: Mapping[str, tuple[Any, Shape]] | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file.

    Args:
        expected: key -> its possible dtypes, or the only one, and its shape.
        fault, remedy: as in `read_npy`.
        optional: the same for keys that may be missing.
    Raises:
        fault: missing, damaged, without one of the keys, or with another type or shape.
    """
    arrays = {}
    with naming(path, fault, remedy), zipfile.ZipFile(path) as archive:
        for key, (dtypes, shape) in {**expected, **(optional or {})}.items():
            if f"{key}.npy" not in archive.namelist():
                if key not in expected:
                    continue
                raise ValueError(f"no array '{key}'")
            info = archive.getinfo(f"{key}.npy")
            with naming(f"{path}: '{key}'", fault, remedy), archive.open(info) as file:
                header = read_header(file)
                _refuse_other(header, _dtypes(dtypes), shape, info.file_size)
                if bomb := unpacks_too_far(info):
                    raise ValueError(bomb)
                arrays[key] = _read_values(file, header)
    return arrays


def unpacks_too_far(info: zipfile.ZipInfo) -> str:
    """Why a member of a zip is no data but fills a disk from a small file, in words; "" where it is data."""
    if info.file_size <= max(UNPACKED_FREELY_BYTES, MOST_UNPACKED * info.compress_size):
        return ""
    return f"unpacks to {info.file_size:,} bytes, more than {MOST_UNPACKED} times its {info.compress_size:,}"


def _dtypes(expected: Any) -> set[np.dtype]:
    return {np.dtype(one) for one in (expected if isinstance(expected, (set, frozenset)) else {expected})}


def _refuse_other(header: Header, dtypes: set[np.dtype], shape: Shape, length: int) -> None:
    fits = len(header.shape) == len(shape) and all(
        want is None or side == want for side, want in zip(header.shape, shape, strict=True)
    )
    if header.dtype not in dtypes or not fits:
        sides = ", ".join("any" if side is None else str(side) for side in shape)
        words = " or ".join(sorted(str(dtype) for dtype in dtypes))
        raise ValueError(f"{header.dtype} of shape {header.shape}; {words} of shape ({sides}) was expected")
    if header.bytes_expected != length:
        raise ValueError(f"{length:,} bytes; {header.bytes_expected:,} were expected for shape {header.shape}")


def _read_values(file: BinaryIO | Any, header: Header) -> np.ndarray:
    content = file.read(header.bytes_expected - header.size)
    if len(content) != header.bytes_expected - header.size:
        raise ValueError("cut short")
    values = np.frombuffer(bytearray(content), header.dtype)
    return values.reshape(header.shape, order="F" if header.column_major else "C")
