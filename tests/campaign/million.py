"""What a set of very many pairs takes in memory from its first journal to its reading, without drawing a picture."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

LIMIT_MB = 512
"""beyond what the process held before"""


def measure_peak(pairs: int, sample: dict[str, Any], folder: Path) -> float:
    """The most memory in MB that `pairs` records take in the functions of `marsgen synthesize` and of who reads them.

    Args:
        sample: a record of a real manifest; each pair gets it under its own number and name.
        folder: empty.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            before = _reset_peak()
            _fill_and_read(pairs, sample, folder)
            os.write(write_end, f"{_memory_mb('VmHWM') - before:.0f}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return float(found or "inf")


def find_fault(pairs: int, manifest: Path, folder: Path) -> list[str]:
    """`measure_peak` against the limit."""
    folder.mkdir()
    sample = json.loads(manifest.read_text(encoding="utf-8").splitlines()[0])
    peak = measure_peak(pairs, sample, folder)
    print(f"{pairs:,} pairs without pictures: {peak:.0f} MB at most", flush=True)
    return [] if peak < LIMIT_MB else [f"{peak:.0f} MB"]


def _fill_and_read(pairs: int, sample: dict[str, Any], folder: Path) -> None:
    from marsgen.scenes.files.manifest import Manifest
    from marsgen.synthesis import journal
    from marsgen.synthesis.config import CHUNK, SynthesizeConfig
    from marsgen.synthesis.synthesize import SceneMaker, _summarise, make_chunks

    maker = SimpleNamespace(
        config=SynthesizeConfig(n=pairs),
        dataset=SimpleNamespace(scenes=SimpleNamespace(shape=None)),
        plan=lambda chunk: range(chunk * CHUNK, (chunk + 1) * CHUNK),
        make=list,
        write=lambda folder, index: sample | {"index": index, "name": f"pair_{index:08d}"},
    )
    chunks = np.arange(-(-pairs // CHUNK))
    make_chunks(chunks[: len(chunks) // 2], folder, cast(SceneMaker, maker))
    journal.truncate_journals(folder, pairs)
    rest = np.flatnonzero(~journal.finished_chunks(folder, pairs))
    make_chunks(rest, folder, cast(SceneMaker, maker))
    journal.merge_journals(folder, pairs)
    journal.remove_journals(folder)
    assert _summarise(folder)["pairs"] == pairs
    manifest = Manifest(folder / journal.MANIFEST)
    assert len(manifest) == pairs
    assert manifest.record(pairs - 1)["index"] == pairs - 1


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _memory_mb(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024
