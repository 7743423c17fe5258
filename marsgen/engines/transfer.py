"""Transfer: files and folders as bytes, for machines that share no file system.

A relative path is unpacked under the working directory, an absolute one where it was.
"""

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path


def paths_in(words: Sequence[str]) -> list[Path]:
    """The words of a command, `--out` left out, that name a file or folder here: what it reads."""
    before = ["", *words]
    return [Path(word) for word, option in zip(words, before, strict=False) if option != "--out" and _exists(word)]


def _exists(word: str) -> bool:
    try:
        return bool(word) and os.path.exists(word)
    except ValueError:
        return False


def pack(paths: Iterable[Path]) -> bytes:
    """The contents of files and folders; locks and what is not there are left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in paths:
            if path.exists():
                tar.add(path, arcname=f"{'root' if path.is_absolute() else 'here'}/{path}", filter=_without_locks)
    return buffer.getvalue()


def unpack(parcel: bytes, place: Path) -> None:
    """Write the contents of a parcel; relative paths under `place`.

    Raises:
        OSError: an absolute path cannot be written here.
    """
    with tarfile.open(fileobj=io.BytesIO(parcel)) as tar:
        for member in tar:
            kind, _, name = member.name.partition("/")
            member.name = name.lstrip("/")
            tar.extract(member, Path("/") if kind == "root" else place, filter="data")


def _without_locks(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.name.endswith(".lock") else member
