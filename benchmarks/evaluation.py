"""Images/s of `segmenter evaluate` and `segmenter predict`, beside a plain loop or beside another version of this code.

    python benchmarks/evaluation.py outputs/sim-real --data sim:500,seed=7
    python benchmarks/evaluation.py outputs/sim-real --data sim:500,seed=7 --other ../older-checkout
    python benchmarks/evaluation.py outputs/tiles --data magnetic_tiles --other ../older-checkout --window 128 128

Each turn runs in a process of its own; what counts is the CPU time after imports and after the data were opened, with
which other work on the machine interferes least, and the time that passed. The versions take turns. The plain loop does
what is written first: read a picture, network, softmax, argmax, count, one picture after the other; it looks for no
copies and no regions and writes nothing. The counts of all have to be the same bytes; those of the loop may differ
where rounding decides, since its batches are of one picture, and the pixels that do are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVALUATE = """
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import evaluate_run
from segmenter.inference import predict
work = lambda out: evaluate_run(run, data, EvaluateConfig(**settings), out).counts
"""
PREDICT = """
import segmenter.inference.predict
from segmenter import api
def work(out):
    api.predict_data(run, data, out=out, settings={"format": "png", **settings})
    return np.zeros(0)
"""
LOOP = """
import torch
from segmenter.inference.predict import load_segmenter
from marsgen.scenes.tensors import image_tensor
@torch.no_grad()
def work(out):
    network, classes, _ = load_segmenter(run)
    C, counts = len(classes), []
    for index in range(len(data)):
        scene = data[index]
        predicted = network(image_tensor(scene.image[None])).softmax(1).argmax(1)[0].numpy()
        truth, known = scene.indices.astype(int), scene.indices != 255
        counts.append(np.bincount(C * truth[known] + predicted[known], minlength=C * C).reshape(C, C))
    return np.stack(counts)
"""
TURN = """
import json, sys, time
from pathlib import Path
import numpy as np
from marsgen.scenes.sources import open_scenes
run, data, settings = Path(sys.argv[1]), open_scenes(sys.argv[2]), json.loads(sys.argv[4])
{work}
data.fingerprint()
cpu, wall = time.process_time(), time.perf_counter()
counts = work(Path(sys.argv[3]) / "result")
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
np.save(Path(sys.argv[3]) / "counts.npy", np.asarray(counts, np.int64))
number = len(counts) or len(data)
print(json.dumps([number / cpu, number / wall]))
"""


def turn(work: str, checkout: Path, run: str, data: str, settings: dict[str, object]) -> tuple[float, float, bytes]:
    """Images per CPU second and per second, and the counts, of one process."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", TURN.replace("{work}", work), run, data, folder]
        words.append(json.dumps(settings))
        environment = {**os.environ, "PYTHONPATH": str(checkout), "TQDM_DISABLE": "1"}
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True)
        per_cpu, per_second = json.loads(done.stdout.splitlines()[-1])
        return per_cpu, per_second, np.load(Path(folder) / "counts.npy").tobytes()


def main() -> None:
    """Print a table."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of `segmenter train`")
    parser.add_argument("--data", required=True, help="labelled scenes that the run has not seen")
    parser.add_argument("--other", type=Path, help="checkout of another version, to stand in for the plain loop")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=("evaluate", "predict"), help="one of the two")
    parser.add_argument("--window", type=int, nargs=2, help="height and width of sliding windows; needs --other")
    options = parser.parse_args()
    if options.window and not options.other:
        parser.error("--window: the plain loop has none; name another version with --other")
    settings = {"window": options.window} if options.window else {}
    for name, work in (("evaluate", EVALUATE), ("predict", PREDICT)):
        if options.only not in (None, name):
            continue
        peer = (work, options.other) if options.other else (LOOP, ROOT)
        called = str(options.other) if options.other else "plain loop"
        turns = [
            (turn(work, ROOT, options.run, options.data, settings), turn(*peer, options.run, options.data, settings))
            for _ in range(options.turns)
        ]
        for what, column in (("CPU second", 0), ("second", 1)):
            own, theirs = ([each[side][column] for each in turns] for side in (0, 1))
            ratios = [a / b for a, b in zip(own, theirs, strict=True)]
            print(
                f"{name}: {statistics.median(own):.1f} images per {what}, {called} {statistics.median(theirs):.1f}; "
                f"ratio {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} in {len(turns)} turns"
            )
        if name == "evaluate":
            a, b = (np.frombuffer(each[2], np.int64) for each in turns[0])
            print(f"evaluate: {np.abs(a - b).sum() // 2} pixels counted elsewhere than by {called}")


if __name__ == "__main__":
    main()
