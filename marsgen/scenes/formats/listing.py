"""Listing: the files of a folder, found once for all readers."""

import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from marsgen.core.errors import DataError
from marsgen.scenes.files.finding import IMAGE_SUFFIXES, is_clutter, leaves
from marsgen.scenes.places import MOST_DEPTH

PART_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""folder or file names that say a part"""


@dataclass(frozen=True, eq=False)
class Listing:
    """All files under a folder, at most six folders deep, as paths relative to it with /, sorted."""

    root: Path
    files: tuple[PurePosixPath, ...]

    @classmethod
    def of(cls, root: Path) -> "Listing":
        """List `root`; links to folders are followed once, and only inside `root` (see `FOLLOW_LINKS`).

        Raises:
            DataError: a link that leads out of `root`, a pipe or a device.
        """
        found: list[PurePosixPath] = []
        seen: set[str] = set()
        for folder, inner, names in os.walk(root, followlinks=True):
            here = PurePosixPath(Path(folder).relative_to(root).as_posix())
            real = os.path.realpath(folder)
            if real in seen or len(here.parts) >= MOST_DEPTH:
                inner.clear()
                continue
            seen.add(real)
            inner[:] = sorted(name for name in inner if not is_clutter(name))
            there = sorted(name for name in names if not is_clutter(name))
            for path in (Path(folder, name) for name in (*inner, *there)):
                _refuse_special(path, root)
            found += [here / name for name in there]
        return cls(root, tuple(sorted(found)))

    def with_suffix(self, *suffixes: str) -> list[PurePosixPath]:
        return [file for file in self.files if file.suffix.lower() in suffixes]

    @cached_property
    def pictures(self) -> list[PurePosixPath]:
        return self.with_suffix(*IMAGE_SUFFIXES)

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        places: dict[str, list[PurePosixPath]] = {}
        for file in self.pictures:
            places.setdefault(composed(file.name), []).append(file)
        return places

    def find_picture(self, stated: str, beside: PurePosixPath) -> PurePosixPath:
        """The picture that an annotation file names.

        Args:
            stated: as it stands there, with or without folders, with / or \\.
            beside: the annotation file.
        Raises:
            DataError: no such picture under the folder, or several and none is nearer.
        """
        wanted = PurePosixPath(composed(stated.replace("\\", "/")))
        found = self._by_name.get(wanted.name, [])
        if len(found) > 1:
            inner = tuple(part for part in wanted.parts if part not in ("..", "."))
            found = [f for f in found if tuple(composed(p) for p in f.parts[-len(inner) :]) == inner] or found
        if len(found) > 1:
            found = [f for f in found if f.parent == beside.parent] or found
        if len(found) > 1 and (part := part_of(beside)):
            found = [f for f in found if part_of(f) == part] or found
        if not found:
            raise DataError(f"{self.root / beside}: its picture {stated} is nowhere in {self.root}")
        if len(found) > 1:
            raise DataError(f"{self.root / beside}: its picture {stated} may be {found[0]} or {found[1]}; rename one")
        return found[0]


def _refuse_special(path: Path, root: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); check the folder") from None
    if stat.S_ISLNK(mode):
        if reason := leaves(path, root):
            raise DataError(reason)
    elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path}: a pipe or a device among the data; move it elsewhere")


def composed(text: str) -> str:
    """The same text in normal form NFC, in which é is one letter."""
    return unicodedata.normalize("NFC", text)


def part_of(file: PurePosixPath) -> str:
    """The part of a split that a path names in a folder or in words of its file name; "" for none."""
    for folder in reversed(file.parts[:-1]):
        for word in (folder.lower(), folder.lower().rstrip("0123456789").rstrip("_-")):
            if word in PART_WORDS:
                return PART_WORDS[word]
    words = file.stem.lower().replace("-", "_").replace(".", "_").split("_")
    named = [PART_WORDS[w] for word in words if (w := word.rstrip("0123456789")) in PART_WORDS]
    return named[0] if file.suffix.lower() in (".json", ".parquet") and len(set(named)) == 1 else ""


def name_all(files: Sequence[PurePosixPath]) -> list[str]:
    """A name for each file: its own without suffix where these differ, else with its folders."""
    stems = [composed(file.stem) for file in files]
    if len(set(stems)) == len(stems):
        return stems
    shared = len(os.path.commonpath([file.parent for file in files]).split("/")) if files else 0
    shared = 0 if os.path.commonpath([file.parent for file in files]) in ("", ".") else shared
    return [
        "-".join([*(composed(p) for p in file.parts[shared:-1]), stem]) for file, stem in zip(files, stems, strict=True)
    ]


def few(words: Iterable[object], most: int = 3) -> str:
    """The first words of a list, and how many more there are."""
    texts = [str(word) for word in words]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
