"""Journals of finished chunks, and the manifest that they become: how an interrupted set is resumed.

Each process appends the manifest lines of a chunk to a journal of its own once the chunk's pictures are written. A
chunk whose lines are all in a journal is finished; any other is made again.
"""

import heapq
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np

from marsgen.core.process_group import ProcessGroup
from marsgen.synthesis.config import CHUNK

MANIFEST = "manifest.jsonl"


def new_journal(folder: Path, process_group: ProcessGroup) -> Path:
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


def merge_journals(folder: Path) -> None:
    """Journals, each in order, -> the manifest in the order of samples; memory does not grow with their number."""
    temporary = folder / f".{MANIFEST}.partial"
    with ExitStack() as stack, temporary.open("w", encoding="utf-8") as manifest:
        files: list[Iterable[str]] = [stack.enter_context(path.open(encoding="utf-8")) for path in _journals(folder)]
        manifest.writelines(heapq.merge(*files, key=lambda line: json.loads(line)["index"]))
    os.replace(temporary, folder / MANIFEST)


def remove_journals(folder: Path) -> None:
    for journal in _journals(folder):
        journal.unlink()


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.jsonl"))


def _finished(path: Path, n: int) -> Iterator[tuple[int, int]]:
    """For each finished chunk of a journal: its number, and the byte at which its lines end."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            index = json.loads(line)["index"]
            if index % CHUNK == CHUNK - 1 or index == n - 1:
                yield index // CHUNK, offset
