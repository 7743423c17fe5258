"""manifest.jsonl: one json per synthetic scene, read once into flat arrays, so that a million lines fit into memory."""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.progress import ProgressBar
from marsgen.core.storage.reading import parse_json, shorten
from marsgen.scenes.files.names import is_plain

MANIFEST_FILE = "manifest.jsonl"


class Names(Sequence[str]):
    """Many short texts in one piece of memory: their bytes and 8 more each, where a list of str takes 60 more."""

    def __init__(self, joined: bytes, ends: np.ndarray) -> None:
        """Text i is the utf-8 in joined[ends[i - 1]:ends[i]]; ends: (N,) int64."""
        self._joined, self._ends = joined, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = int(self._ends[row - 1]) if row else 0
        return self._joined[start : int(self._ends[row])].decode("utf-8")


class Manifest:
    """Content of a manifest, entry i from line i: names, and the keys of the real scenes that each was made from.

    About 40 bytes a scene, plus each distinct key once.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` line by line; a long file shows its progress.

        Raises:
            DataError: not readable text, a line that is not a json with name, parent and donors, or a name twice.
        """
        self._path = path
        self.in_order = True
        """whether the file names NAME.png only ever rise, so that a listing sorted by name is in this order"""
        joined, name_ends, line_ends = bytearray(), array("q"), array("q")
        table: dict[str, int] = {}
        codes, code_ends, last = array("i"), array("q"), ""
        for number, (line, end) in enumerate(_lines(path), start=1):
            name, keys = _parse_line(line, f"{path}: line {number}")
            self.in_order &= last < f"{name}.png"
            last = f"{name}.png"
            joined += name.encode("utf-8")
            name_ends.append(len(joined))
            line_ends.append(end)
            codes.extend(table.setdefault(key, len(table)) for key in keys)
            code_ends.append(len(codes))
        self.names = Names(bytes(joined), np.array(name_ends, np.int64))
        self._line_ends, self._code_ends = np.array(line_ends, np.int64), np.array(code_ends, np.int64)
        self._codes, self._keys = np.array(codes, np.int32), tuple(table)
        if not self.in_order:
            _refuse_repeated(self.names, path)

    def __len__(self) -> int:
        return len(self.names)

    def ancestors(self, row: int) -> tuple[str, ...]:
        """Content keys of the parent and the donors in this line, each once."""
        start = int(self._code_ends[row - 1]) if row else 0
        return tuple(self._keys[code] for code in self._codes[start : int(self._code_ends[row])])

    def record(self, row: int) -> dict[str, Any]:
        """The whole json of a line, read again from the file."""
        start = int(self._line_ends[row - 1]) if row else 0
        with self._path.open("rb") as file:
            file.seek(start)
            line = file.read(int(self._line_ends[row]) - start)
        return parse_json(line, f"{self._path}: line {row + 1}")


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Each line without its end, and the byte at which the next one starts."""
    end = 0
    try:
        size = path.stat().st_size
        bar = ProgressBar(total=size, unit="B", unit_scale=True, desc=f"reading {path.name}", delay=2, leave=False)
        with path.open("rb") as file, bar:
            for line in file:
                end += len(line)
                yield line.removesuffix(b"\n").decode("utf-8"), end
                bar.update(len(line))
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not a readable text file ({problem}); make the synthetic scenes again") from None


def _parse_line(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    try:
        content = parse_json(line, where)
        donors = content["donors"]
        name, parents = content["name"], [] if content["parent"] is None else [content["parent"]]
        keys = [real["key"] for real in (*parents, *donors)]
    except (DataError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{where}: not a json with name, parent {{name, key}} (or null) and donors [{{name, key}}, ...]; "
            "make the synthetic scenes again"
        ) from None
    if not is_plain(name):
        raise DataError(
            f"{where}: name {shorten(repr(name), 60)} is no plain file name; pictures are in this folder's images/"
        )
    if not all(isinstance(key, str) and key for key in keys):
        raise DataError(
            f"{where}: keys of parent and donors are {shorten(repr(keys))}; expected texts, "
            "make the synthetic scenes again"
        )
    return name, tuple(dict.fromkeys(keys))


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise DataError(f"{path}: line {number}: {name!r} has a line already; keep one of the two")
        seen.add(name)
