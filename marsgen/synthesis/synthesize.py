"""Fill a folder with synthetic image/label pairs; the same command resumes an interrupted set."""

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.quality.select import SelectionCounts, Selector, build_selector
from marsgen.synthesis.compare_regions import write_comparison
from marsgen.synthesis.config import CHUNK
from marsgen.synthesis.focus import find_placement
from marsgen.synthesis.inputs import SynthesisInputs
from marsgen.synthesis.journal import (
    MANIFEST,
    Journal,
    finished_chunks,
    merge_journals,
    read_manifest,
    remove_journals,
    truncate_journals,
)
from marsgen.synthesis.parts import FOLDER, PartOfSet
from marsgen.synthesis.preview import write_preview
from marsgen.synthesis.record import write_card, write_record
from marsgen.synthesis.scene_maker import SceneMaker, pilot

SMALL_PICTURE_PX = 256 * 256
"""two threads write smaller pictures more slowly than one does, measured in memory too"""


def prepare_maker(inputs: SynthesisInputs, process_group: ProcessGroup = SINGLE_PROCESS) -> SceneMaker:
    """Learn where to paste and which candidates to keep. Nothing is written.

    Raises:
        RunError: the judge cannot tell the candidates apart.
    """
    config, dataset = inputs.config, inputs.dataset
    placement = None
    if inputs.library is not None:
        names, standing = inputs.library.class_names, inputs.library.standing
        placement = find_placement(config.paste, dataset, names, inputs.focus, standing, process_group)
    maker = SceneMaker(config, dataset, inputs.library, inputs.generator, placement=placement, maps=inputs.maps)
    if inputs.judge is None:
        return maker
    return replace(maker, selector=build_selector(config.select, inputs.judge, pilot(maker, process_group)))


def synthesize(
    run: Run,
    maker: SceneMaker,
    process_group: ProcessGroup = SINGLE_PROCESS,
    make: Callable[[np.ndarray], None] | None = None,
) -> None:
    """Fill `run.folder` with pairs, resuming where an earlier run was interrupted, and finish the run.

    Args:
        process_group: the processes that call this together; each makes some of the chunks, the main one writes the
            rest.
        make: makes the chunks of these numbers elsewhere; None = in these processes.
    """
    folder, n = run.folder, maker.config.n
    manifest = folder / MANIFEST
    if process_group.is_main_process:
        write_record(run, maker)
        truncate_journals(folder, n)
    process_group.wait_for_everyone()
    if not manifest.exists():
        todo = np.flatnonzero(~finished_chunks(folder, n))
        process_group.wait_for_everyone()  # all have read the journals before the first writes one
        if make is None:
            make_chunks(todo[process_group.process_index :: process_group.num_processes], folder, maker, process_group)
        elif len(todo):
            make(todo)
            truncate_journals(folder, n)  # a part that was lost may have left a line cut short
    process_group.wait_for_everyone()
    if process_group.is_main_process:
        if not manifest.exists():
            merge_journals(folder, n)
        remove_journals(folder)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        summary = _summarise(folder, maker.selector)  # checks every line, before others read them
        write_preview(folder, maker.dataset.scenes, n, None if maker.maps is None else maker.maps.source)
        write_card(folder, maker)
        if maker.library is not None:
            write_comparison(folder, MANIFEST, maker.library)
        run.finish(summary)


def make_part(inputs: SynthesisInputs, folder: Path, number: int, chunks: range) -> None:
    """Make those of the given chunks that are not finished, for the process that has opened the set in `folder`.

    Args:
        number: of the part, which gives its journals their name.
    """
    part = PartOfSet(number)
    done = finished_chunks(folder, inputs.config.n)
    todo = np.array([chunk for chunk in chunks if not done[chunk]], int)
    make_chunks(todo, folder, prepare_maker(inputs, part), part)


def make_chunks(
    chunks: np.ndarray,
    folder: Path,
    maker: SceneMaker,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Make the samples of the given chunks, numbers from 0, and write a journal of them."""
    config = maker.config
    per_batch = -(-config.batch_size // CHUNK)
    total = min(config.n, len(chunks) * CHUNK)
    bar = ProgressBar(
        total=total, unit="pair", desc="synthesize", disable=None if process_group.is_main_process else True
    )
    with ExitStack() as stack:
        stack.enter_context(bar)
        journal = stack.enter_context(Journal(folder, process_group))
        # planning, drawing and writing release the interpreter's lock, so that threads work side by side
        helpers = _helper_threads(maker.shape)
        each = stack.enter_context(ThreadPoolExecutor(helpers)).map if helpers else map
        for start in range(0, len(chunks), per_batch):
            batch = [int(chunk) for chunk in chunks[start : start + per_batch]]
            for chunk, planned in zip(batch, each(maker.plan, batch), strict=True):
                drafts = maker.make(planned)[: config.n - chunk * CHUNK]
                records = list(each(lambda draft: maker.write(folder, draft), drafts))
                journal.add(records)
                bar.update(len(drafts))


def _helper_threads(shape: tuple[int, int] | None) -> int:
    """Threads that plan and write beside the one that draws.

    None where the process is limited to one thread (OMP_NUM_THREADS=1, as torchrun sets it) and draws on the CPU: a
    second thread would take a core from another process.

    Args:
        shape: height and width of the pictures; None = of several sizes.
    """
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        return 0
    return 1 if shape is not None and math.prod(shape) < SMALL_PICTURE_PX else 2


def _summarise(folder: Path, selector: Selector | None = None) -> dict[str, Any]:
    regions: Counter[str] = Counter()
    donors: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    pairs, counts = 0, SelectionCounts()
    for record in read_manifest(folder):
        pairs += 1
        for part in record.get("drawn", record["donors"]):
            regions[part["class"]] += 1
        for donor in () if "map" in record else record["donors"]:
            donors[donor["class"]].add((donor["key"], str(donor["donor_box"])))
        if selection := record.get("selection"):
            counts.add(selection)
    summary: dict[str, Any] = {"pairs": pairs, "regions": dict(sorted(regions.items()))}
    if donors:  # how often the same region comes again tells more of a set than its size
        summary["donors"] = {f"donors of {name}": len(some) for name, some in sorted(donors.items())}
    if selector is not None:
        summary["selection"] = counts.describe(selector)
    return summary
