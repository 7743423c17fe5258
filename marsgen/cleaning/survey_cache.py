"""What looking through a data set has found, kept between commands: the survey, the pairs of near copies, which
pictures a run has seen under other names, and the styles of pictures that a generator trains on.

It lies in `cache_folder()`/found as .npy files in one .npz each, named after everything the result depends on. Nothing
else reads them: a file that is missing, damaged or cannot be written costs time and changes no result.
"""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from marsgen.core.storage.files import write_bytes
from marsgen.core.storage.places import cache_folder

FORMAT = "3"
"""part of every name; to be raised where what is found, or how it is stored, changes"""
LEAST_SECONDS = 1.0
"""what took less is found anew"""
MOST_BYTES = 2**27
"""what is larger is found anew: a survey of 190,000 scenes"""
_IDLE_SECONDS = 90 * 86400
"""without use, after which a file is deleted"""

Arrays = dict[str, np.ndarray]


def find_or_recall(
    what: str,
    depends_on: Sequence[str],
    find: Callable[[], Arrays],
    fits: Callable[[Mapping[str, np.ndarray]], bool],
) -> Arrays:
    """What `find` returns, kept from an earlier command where there is one.

    Args:
        what: beginning of the file's name.
        depends_on: everything that the result depends on.
        fits: whether arrays that were kept have the right names, shapes and types.
    """
    path = _path(what, depends_on)
    if path is not None:
        kept = _read(path)
        if kept is not None and fits(kept):
            return kept
    start = time.perf_counter()
    found = find()
    slow = time.perf_counter() - start >= LEAST_SECONDS
    if path is not None and slow and sum(array.nbytes for array in found.values()) <= MOST_BYTES:
        _write(path, found)
    return found


def _path(what: str, depends_on: Sequence[str]) -> Path | None:
    """None where there is no home folder to keep anything in."""
    digest = hashlib.blake2b("\0".join([FORMAT, *depends_on]).encode("utf-8", "backslashreplace"), digest_size=16)
    try:
        return cache_folder() / "found" / f"{what}-{digest.hexdigest()}.npz"
    except RuntimeError:
        return None


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        path.touch()  # it is in use
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError):
        return None
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with suppress(OSError):  # no room, or no right to write there: the next command looks again
        write_bytes(path, buffer.getvalue(), sync=False)
        for other in path.parent.glob("*.npz"):
            if time.time() - other.stat().st_mtime > _IDLE_SECONDS:
                other.unlink(missing_ok=True)
