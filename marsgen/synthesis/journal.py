"""Journals of finished chunks, and the manifest that they become: how an interrupted set is resumed.

Each process appends the manifest lines of a chunk to a journal of its own once the chunk's pictures are written and on
the disk. A chunk whose lines are all in a journal is finished, after a power cut too; any other is made again.
"""

import heapq
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import RunError
from marsgen.core.process_group import ProcessGroup
from marsgen.core.storage.files import filling_text, plain, sync_file_system, sync_folder
from marsgen.core.storage.reading import parse_json, read_json_lines, value_at
from marsgen.synthesis.config import CHUNK

MANIFEST = "manifest.jsonl"
REMEDY = "delete the folder and repeat the command"
_KEYS = {"name": str, "parent.name": str, "donors": list}
_MAP_KEYS = {"name": str, "parent": (dict, type(None)), "donors": list, "map": str, "drawn": list}
"""of a pair that was drawn for a given label map"""
_DONOR_KEYS = {
    "class": str, "key": str, "donor_box": list, "area_px": int, "thickness": float, "cut": list, "seam_px": int,
    "beside": list,
}  # fmt: skip
SYNC_SECONDS = 2.0
"""time between two syncs of the disk; a killed process makes again what it made since the last one"""


class Journal:
    """The journal of one process, open for writing."""

    def __init__(self, folder: Path, process_group: ProcessGroup) -> None:
        self._folder, self._waiting, self._synced = folder, list[str](), time.monotonic()
        self._file = _new_path(folder, process_group).open("x", encoding="utf-8", newline="\n")

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the lines of a chunk whose pictures are written."""
        self._waiting += [json.dumps(plain(record)) + "\n" for record in records]
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Write the lines that wait, after what they speak of is on the disk."""
        sync_file_system(self._folder)
        self._file.write("".join(self._waiting))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._waiting, self._synced = [], time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self.sync()


def _new_path(folder: Path, process_group: ProcessGroup) -> Path:
    """A name for a journal of this process that no earlier call has used."""
    taken = [path.stem for path in _journals(folder)]
    return next(
        folder / f"{name}.jsonl"
        for k in count()
        if (name := f"journal-{process_group.process_index:03d}-{k:03d}") not in taken
    )


def truncate_journals(folder: Path, n: int) -> None:
    """Remove the lines of a chunk that was interrupted."""
    for path in _journals(folder):
        os.truncate(path, max((end for _, end in _finished(path, n)), default=0))


def finished_chunks(folder: Path, n: int) -> np.ndarray:
    """(chunks,) bool: which chunks of a set of `n` samples are finished."""
    done = np.zeros(-(-n // CHUNK), bool)
    for path in _journals(folder):
        for chunk, _ in _finished(path, n):
            done[chunk] = True
    return done


def merge_journals(folder: Path, n: int) -> None:
    """Journals, each in order, -> the manifest in the order of samples; memory does not grow with their number.

    Raises:
        RunError: a sample of 0..n-1 is missing or there twice.
    """
    with filling_text(folder / MANIFEST) as manifest:
        lines = heapq.merge(*map(_numbered_lines, _journals(folder)), key=lambda numbered: numbered[0])
        expected = 0
        for number, line in lines:
            if number != expected:
                break
            manifest.write(line)
            expected += 1
        else:
            number = n
        if (number, expected) != (n, n):
            what = f"sample {expected} is missing" if number > expected else f"sample {number} is there twice"
            raise RunError(f"{folder}: {what} in the journals; {REMEDY}")
    sync_folder(folder)  # before the journals are removed


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the manifest that `merge_journals` wrote.

    Raises:
        RunError: a line that describes no pair.
    """
    path = folder / MANIFEST
    for number, (_, record) in enumerate(read_json_lines(path, RunError, REMEDY), start=1):
        for key, kind in (_MAP_KEYS if "map" in record else _KEYS).items():
            value_at(record, key, kind, f"{path}: line {number}", RunError, REMEDY)
        for patch in record.get("drawn", ()):
            value_at(patch, "class", str, f"{path}: line {number}: drawn", RunError, REMEDY)
        for donor in () if "map" in record else record["donors"]:
            for key, donor_kind in _DONOR_KEYS.items():
                value_at(donor, key, donor_kind, f"{path}: line {number}: donors", RunError, REMEDY)
        if "selection" in record:
            value_at(record, "selection.tried", int, f"{path}: line {number}", RunError, REMEDY)
            value_at(record, "selection.kept", str, f"{path}: line {number}", RunError, REMEDY)
        yield record


def remove_journals(folder: Path) -> None:
    for journal in _journals(folder):
        journal.unlink()


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.jsonl"))


def _finished(path: Path, n: int) -> Iterator[tuple[int, int]]:
    """For each finished chunk of a journal: its number, and the byte at which its lines end."""
    for end, record in read_json_lines(path, RunError, REMEDY):
        index = _index(record, path)
        if index >= n:
            raise RunError(f"{path}: sample {index} of a set of {n}; {REMEDY}")
        if index % CHUNK == CHUNK - 1 or index == n - 1:
            yield index // CHUNK, end


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield _index(parse_json(line, str(path), dict, RunError, REMEDY), path), line


def _index(record: Mapping[str, Any], path: Path) -> int:
    index = record.get("index")
    if type(index) is not int or index < 0:
        raise RunError(f"{path}: a line without a whole number under 'index'; {REMEDY}")
    return index
