"""Pictures a second of one segmenter on the CPU: torch as it is, torch.compile, onnxruntime in fp32 and in int8.

    segmenter export RUN --int8 --out outputs/export
    python benchmarks/inference.py RUN outputs/export --data sim:64

All four label the same pictures, each in turn, in every round; a run's figure is its best round, so that other work on
the machine adds little. Each number of threads has a process of its own. Normalisation, softmax and the choice of the
class are counted, reading and writing are not. torch.compile needs a C++ compiler and is left out where there is none;
its compilation is not counted. --rounds and --batch change the measurement.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def measure(run: Path, export: Path, data: str, batch: int, rounds: int, threads: int) -> None:
    """Print a line for each way."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    from marsgen.scenes.sources import open_scenes
    from segmenter.inference.predict import load_segmenter, predict_indices

    scenes = open_scenes(data)
    images = np.stack([scenes.read(index)[0] for index in range(len(scenes))])
    network = load_segmenter(run)[0].cpu()
    ways = {"torch eager": network}
    if shutil.which(os.environ.get("CXX", "g++")):
        ways["torch.compile"] = torch.compile(network)
    for name, file in (("onnxruntime fp32", "model.onnx"), ("onnxruntime int8", "model-int8.onnx")):
        ways[name] = load_segmenter(export / file)[0]

    def label(way: torch.nn.Module) -> np.ndarray:
        starts = range(0, len(images) - len(images) % batch or 1, batch)
        return np.concatenate([predict_indices(way, images[start : start + batch]) for start in starts])

    wanted = label(network)
    best = dict.fromkeys(ways, float("inf"))
    agree = {name: (label(way) == wanted).mean() for name, way in ways.items()}  # compiles, too
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            label(way)
            best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        print(f"| {name} | {threads} | {len(wanted) / seconds:.0f} | {agree[name]:.2%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of segmenter train")
    parser.add_argument("export", type=Path, help="folder of segmenter export --int8")
    parser.add_argument("--data", default="sim:64", help="pictures of one size")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=0, help="measure in this process; 0: one and two, one after the other"
    )
    options = parser.parse_args()
    if options.threads:
        return measure(options.run, options.export, options.data, options.batch, options.rounds, options.threads)
    print(
        "| way | threads | pictures a second | pixels as torch labels them |\n| --- | ---: | ---: | ---: |", flush=True
    )
    for threads in (1, 2):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, *sys.argv, "--threads", str(threads)], env=environment, check=True)


if __name__ == "__main__":
    main()
