"""Places that a user names, data and run folders: looked for, and asked for room, before anything slow is imported."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsgen.core.errors import DataError, RunError

SIMULATED = "sim:"
"""begins the name of simulated scenes, such as sim:400,seed=3"""
IN_MEMORY = "arrays in memory"
"""stands for scenes that were given from Python and lie in no file"""
_BLOCK_BYTES = 4096
"""of the usual file systems"""


def find_path(location: str) -> Path:
    """The file or folder that a user named; ~ is the home folder.

    Raises:
        DataError: there is none.
    """
    path = Path(location)
    # os.path.exists answers for names that no file can have, where Path.exists raises
    if location.startswith("~") and not os.path.exists(location):
        path = path.expanduser()
    if location and os.path.exists(path):
        return path
    # the location may be what an earlier run stored, from another folder
    where = "" if not location or path.is_absolute() else f" in {Path.cwd()}"
    link = f" (a link to {os.readlink(path)}, which does not exist)" if os.path.islink(path) else ""
    raise DataError(
        f"{location or repr(location)}: no such file or folder{where}{link}; give an .npz, a folder "
        "(AI4Mars release, images/ and labels/, or another format of docs/formats.md) or sim:N"
    )


def refuse_missing(places: Sequence[str | Path]) -> list[Path]:
    """The files and folders that were named; sim:N as it stands.

    Raises:
        DataError: one is not there.
    """
    return [
        Path(place) if str(place).startswith(SIMULATED) or place == IN_MEMORY else find_path(str(place))
        for place in places
    ]


def refuse_no_run(folder: Path, *commands: str) -> None:
    """Refuse a folder that holds no run.

    Args:
        commands: of which a run was expected, for the message.
    Raises:
        RunError: it has no config.yaml.
    """
    if not (folder / "config.yaml").is_file():
        made_by = f" made by `{'` or `'.join(commands)}`" if commands else ""
        raise RunError(f"{folder}: no run folder here (config.yaml is missing); expected one{made_by}")


def refuse_no_network(file: Path) -> None:
    """Raise RunError where no exported network is."""
    if file.suffix != ".onnx" or not file.is_file():
        what = "no such file" if not file.exists() else "no .onnx file"
        raise RunError(f"{file}: {what}; `segmenter export` and `marsgen export --to onnx` write ONNX files")


def refuse_no_classes(file: Path) -> None:
    """Raise DataError where no file is that could say what the ids of a data set mean."""
    if file.is_dir() or not file.exists():
        raise DataError(f"{file}: no such classes file; --classes takes one like configs/classes_mars.yaml")


@dataclass(frozen=True)
class Room:
    """What a run takes on the disk, in bytes, about."""

    kept: int
    working: int = 0
    """beside that, until it is finished: its checkpoint, and the next one that takes its place"""

    @property
    def most(self) -> int:
        return self.kept + self.working


def refuse_no_room(folder: Path, needed: int, what: str, remedy: str, *, left: bool = False) -> None:
    """Refuse to begin what the disk cannot hold. A folder that a command has begun to fill is not asked about.

    Args:
        folder: which will be filled; need not exist.
        needed: bytes, about.
        what: that will be written, in words.
        remedy: beside another disk, in words.
        left: `needed` is what is left to write; a folder that was begun is asked about too.
    Raises:
        RunError: fewer bytes are free.
    """
    if not left and (folder / "config.yaml").exists():
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


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take; 0 where there is none."""
    return sum(on_disk(path.stat().st_size) for path in folder.rglob("*") if path.is_file())


def on_disk(size: int) -> int:
    """What a file of so many bytes takes: file systems give it whole blocks."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def in_words(size: int) -> str:
    """Bytes as MB, GB or TB."""
    number, unit = size / 1e6, "MB"
    for larger in ("GB", "TB"):
        if number >= 1000:
            number, unit = number / 1000, larger
    return f"{number:,.1f} {unit}"


def configs_folder() -> Path:
    """The folder of shipped yaml files: configs/ of a checkout, or its copy inside an installed package."""
    package = Path(__file__).parents[2]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def cache_folder() -> Path:
    """Where large arrays are unpacked and findings kept: MARSGEN_CACHE, else marsgen in XDG_CACHE_HOME or ~/.cache.

    Safe to delete between commands.

    Raises:
        RuntimeError: none of these is known.
    """
    named, shared = os.environ.get("MARSGEN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(shared) if shared else Path.home() / ".cache") / "marsgen"
