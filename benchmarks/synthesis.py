"""Pairs per second and peak memory of `marsgen synthesize`, writing included, beside a plain loop over the same parts.

    python benchmarks/synthesis.py --generator outputs/generator --data mars_for_students.npz --n 2000

Each measurement is a process of its own, so that peak memory is its own. The peer plans, draws, and writes one pair
after the other, which is what a first version of such a tool does. Start-up (imports, opening the data, cutting the
regions) is not counted; it is printed beside.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(where: str, data: str, n: int, peer: bool) -> dict[str, float]:
    """Make n pairs in this process; return seconds and peak memory."""
    started = time.perf_counter()
    import numpy as np

    from marsgen.cleaning.dataset import open_dataset
    from marsgen.core.config import DataConfig
    from marsgen.core.runs import Run
    from marsgen.generators import load_generator
    from marsgen.masks.library import open_library
    from marsgen.synthesis.config import CHUNK, SynthesizeConfig
    from marsgen.synthesis.scene_maker import SceneMaker
    from marsgen.synthesis.synthesize import make_chunks

    dataset = open_dataset(data, DataConfig())
    generator = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    config = SynthesizeConfig(n=n, classes=dataset.scenes.classes.rare, batch_size=64)
    library = open_library(dataset, config.classes, config.paste)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.start(Path(folder) / "synth", "marsgen synthesize", config)
        maker = SceneMaker(config, dataset, library, generator)
        maker.draw(maker.plan(10_000_000))  # warm-up
        start = time.perf_counter()
        if peer:
            for index in range(n):
                maker.write(run.folder, maker.draw([maker.draft(index)])[0])
        else:
            make_chunks(np.arange(-(-n // CHUNK)), run.folder, maker)
        seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"n": n, "pairs_per_s": n / seconds, "start_up_s": start - started, "peak_mb": peak_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="folder of `marsgen train-generator`, or copy-paste")
    parser.add_argument("--data", required=True)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--only", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.generator, options.data, options.n, options.only == "peer")))
        return
    rates = {}
    for only, n in (("ours", options.n // 10), ("peer", options.n // 10), ("ours", options.n)):
        command = [sys.executable, __file__, "--generator", options.generator, "--data", options.data]
        done = subprocess.run([*command, "--n", str(n), "--only", only], check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        rates[only, n] = result
        print(f"{only}: {json.dumps(result)}")
    ours, few, peer = rates["ours", options.n], rates["ours", options.n // 10], rates["peer", options.n // 10]
    print(f"ours / peer: {ours['pairs_per_s'] / peer['pairs_per_s']:.2f} times the pairs/s")
    print(f"peak memory at {options.n} / at {options.n // 10} pairs: {ours['peak_mb'] / few['peak_mb']:.3f}")


if __name__ == "__main__":
    main()
