"""Room on the disk, asked for before a long write begins."""

import shutil
from pathlib import Path

from marsgen.core.errors import RunError


def refuse_no_room(folder: Path, needed: int, what: str, remedy: str) -> None:
    """Refuse to begin what the disk cannot hold. A folder that a command has begun to fill is not asked about.

    Args:
        folder: which will be filled; need not exist.
        needed: bytes, about.
        what: that will be written, in words.
        remedy: beside another disk, in words.
    Raises:
        RunError: fewer bytes are free.
    """
    if (folder / "config.yaml").exists():
        return
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError:  # some network drives do not say
        return
    if free < needed:
        raise RunError(
            f"{folder}: {what} need about {in_words(needed)} and {in_words(free)} are free; "
            f"give --out on another disk, or {remedy}"
        )


def in_words(size: int) -> str:
    """Bytes as MB, GB or TB."""
    number, unit = size / 1e6, "MB"
    for larger in ("GB", "TB"):
        if number >= 1000:
            number, unit = number / 1000, larger
    return f"{number:,.1f} {unit}"
