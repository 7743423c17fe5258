"""A set made in parts on an engine: each task makes a range of chunks, and the process that opened the set the rest.

A sample depends on its number alone, so the parts together have the bytes of a set made by one process.
"""

from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marsgen.core.errors import RunError
from marsgen.core.progress import ProgressBar
from marsgen.engines.task import Engine, Task, outcome_of
from marsgen.synthesis.config import CHUNK, SynthesizeConfig

FOLDER = "parts"
_PER_WORKER = 2
"""parts that each worker makes one after the other: more balance the load, and each opens the inputs again"""
_MOST_CHUNKS = 4096
"""chunks of a part at most: a set of 100 million pairs has 1,526 parts"""


@dataclass
class PartOfSet:
    """The `ProcessGroup` of a process that makes a part: none of the others waits for it."""

    process_index: int
    num_processes: int = 1

    @property
    def is_main_process(self) -> bool:
        return False

    def wait_for_everyone(self) -> None:
        pass

    def main_process_first(self) -> AbstractContextManager:
        return nullcontext()


def split_chunks(todo: np.ndarray, workers: int) -> list[np.ndarray]:
    """Chunks that are to be made -> those of each part, of nearly equal size.

    Args:
        todo: (chunks,) numbers of chunks, rising.
        workers: parts that are made at a time.
    """
    parts = max(_PER_WORKER * workers, -(-len(todo) // _MOST_CHUNKS))
    return [part for part in np.array_split(todo, min(parts, len(todo)) or 1) if len(part)]


def make_parts(todo: np.ndarray, folder: Path, generator: str, config: SynthesizeConfig, engine: Engine) -> None:
    """Have the engine make the given chunks of the set in `folder`; `marsgen synthesize-part` is the other side.

    Args:
        todo: (chunks,) numbers of chunks, rising.
        generator: folder of the generator, or copy-paste.
    Raises:
        RunError: a part failed; what is finished is kept.
    """
    logs, n = folder / FOLDER, config.n
    logs.mkdir(exist_ok=True)
    running = {}
    for number, chunks in enumerate(split_chunks(todo, engine.width)):
        span = f"{chunks[0]}:{chunks[-1] + 1}"
        words = ["marsgen", "synthesize-part", str(folder), "--generator", generator, "--chunks", span]
        words += ["--number", str(number), "--batch-size", str(config.batch_size)]
        task = Task(f"{folder.name} {span}", (tuple(words),), logs / f"{number:04d}.log")
        running[engine.submit(task)] = task, int((np.minimum(n, (chunks + 1) * CHUNK) - chunks * CHUNK).sum())
    failed: list[str] = []
    with ProgressBar(total=sum(pairs for _, pairs in running.values()), unit="pair", desc="synthesize") as bar:
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, pairs = running.pop(future)
                if reason := outcome_of(future).reason:
                    failed.append(f"part {task.name}: {reason} (full output: {task.log})")
                bar.update(pairs)
    if failed:
        raise RunError(f"{failed[0]}; correct that and repeat the command, finished parts are kept")
