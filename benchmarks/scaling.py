"""Pairs per second of `marsgen synthesize` under torchrun: one process beside two, one thread each.

    python benchmarks/scaling.py --generator outputs/generator --data mars_for_students.npz --n 512

One and two processes take turns, so that other work on the machine meets both. What is timed is the making: planning,
drawing, and writing of all pairs, from the moment all processes are ready to the moment the last one is done. Start-up
(imports, opening the data, cutting the regions) is not. `cores` is CPU time over wall time, all processes together;
--pin gives each process one core.

Nothing is deleted before the end, and nothing much should have been for five minutes before the start: ext4 does not
give away the places of files that were just deleted and searches on, so that a new file takes 500 us instead of 10.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def measure(where: str, data: str, n: int, folder: str, pin: bool) -> dict[str, float]:
    """Make this process's share of n pairs; return seconds until all are done and the CPU seconds of this process."""
    if pin:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ["LOCAL_RANK"]) % len(cores)]})
    import numpy as np

    from marsgen.cleaning.dataset import open_dataset
    from marsgen.core.config import DataConfig
    from marsgen.core.process_group import join_process_group
    from marsgen.generators import load_generator
    from marsgen.masks.library import open_library
    from marsgen.synthesis.config import CHUNK, SynthesizeConfig
    from marsgen.synthesis.scene_maker import SceneMaker
    from marsgen.synthesis.synthesize import make_chunks

    process_group = join_process_group()
    dataset = open_dataset(data, DataConfig())
    generator = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    config = SynthesizeConfig(n=n, classes=dataset.scenes.classes.rare)
    library = open_library(dataset, config.classes, config.paste)
    maker = SceneMaker(config, dataset, library, generator)
    maker.draw(maker.plan(10_000_000))  # warm-up
    chunks = np.arange(-(-n // CHUNK))[process_group.process_index :: process_group.num_processes]

    process_group.wait_for_everyone()
    start, cpu = time.perf_counter(), time.process_time()
    make_chunks(chunks, Path(folder), maker, process_group)
    own, cpu = time.perf_counter() - start, time.process_time() - cpu
    process_group.wait_for_everyone()
    return {"seconds": time.perf_counter() - start, "own_seconds": own, "cpu_seconds": cpu}


def measure_processes(processes: int, folder: str, options: argparse.Namespace) -> dict[str, float]:
    """Let torchrun start `processes` of `measure`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    # as one word: torchrun takes "--n" for one of its own options, wherever it stands
    task = json.dumps([options.generator, options.data, options.n, folder, options.pin])
    done = subprocess.run(
        [*torchrun, __file__, task],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=None if options.verbose else subprocess.DEVNULL,
        text=True,
        check=True,
    )
    # two processes may write into one line
    results = [json.loads(text + "}") for text in done.stdout.replace("\n", "").split("}") if "{" in text]
    assert len(results) == processes
    seconds = max(result["seconds"] for result in results)
    return {
        "pairs_per_s": options.n / seconds,
        "cores": sum(result["cpu_seconds"] for result in results) / seconds,
        "cpu_ms_per_pair": 1000 * sum(result["cpu_seconds"] for result in results) / options.n,
        "waiting_fraction": 1 - sum(result["own_seconds"] for result in results) / (processes * seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="folder of `marsgen train-generator`, or copy-paste")
    parser.add_argument("--data", required=True)
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; the median counts")
    parser.add_argument("--pin", action="store_true", help="keep each process on one core of its own")
    parser.add_argument("--verbose", action="store_true", help="show what the processes print")
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folders:
        for turn in range(options.rounds):
            for processes in rates:
                folder = Path(folders, f"{turn}-{processes}")
                folder.mkdir()
                result: dict[str, Any] = measure_processes(processes, str(folder), options)
                rates[processes].append(result["pairs_per_s"])
                rounded = {name: round(value, 3) for name, value in result.items()}
                print(f"{processes}: {json.dumps(rounded)}", flush=True)
    one, two = (statistics.median(rates[processes]) for processes in (1, 2))
    print(f"two / one: {two / one:.2f} times the pairs/s ({two:.1f} / {one:.1f})")


if __name__ == "__main__":
    # torchrun hands its processes the task; a user hands options
    if "LOCAL_RANK" in os.environ:
        print(json.dumps(measure(*json.loads(sys.argv[1]))), flush=True)
    else:
        main()
