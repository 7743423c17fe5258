"""CPU seconds from the end of the imports to the first pass of the network, for each training loop.

    python benchmarks/first_batch.py --data camvid_half [--other ../older-checkout] [--repeats 3]

Each training runs in a process of its own. The first process of a loop lists what it has imported by then, and lets the
survey of the data be found and kept; those that are timed import all of that before the clock starts. Versions take
turns; the least of the repeats is printed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOPS = {
    "segmenter": ["segmenter", "train"],
    "pix2pix": ["marsgen", "train-generator", "--kind", "pix2pix"],
    "diffusion": ["marsgen", "train-generator", "--kind", "diffusion"],
}
TIMED = """
import contextlib, importlib, json, os, runpy, sys, time
from pathlib import Path
import torch
listed, words = Path(sys.argv[1]), sys.argv[2:]
for name in json.loads(listed.read_text()) if listed.exists() else ():
    with contextlib.suppress(Exception):
        importlib.import_module(name)
start, forward = time.process_time(), torch.nn.Conv2d.forward
def first(layer, pictures):
    if pictures.device.type == "meta":  # shapes are being counted
        return forward(layer, pictures)
    print(f"first pass {time.process_time() - start}", flush=True)
    listed.write_text(json.dumps([name for name in sys.modules if name != "__main__"]))
    os._exit(0)
torch.nn.Conv2d.forward = first
sys.argv = words
runpy.run_module(words[0] + ".cli", run_name="__main__")
"""


def measure(checkout: Path, listed: Path, words: list[str]) -> float:
    """CPU seconds of one process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", TIMED, str(listed), *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("first pass ")]
    if not found:
        sys.exit(done.stderr or f"{' '.join(words)}: ended before its first pass")
    return float(found[-1].split()[-1])


def main() -> None:
    """Print a line for each loop and version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--other", type=Path, action="append", default=[], help="another checkout; repeatable")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data = str(Path(options.data).resolve()) if Path(options.data).exists() else options.data
    checkouts = [ROOT, *(path.resolve() for path in options.other)]
    with tempfile.TemporaryDirectory() as name:
        for loop, words in LOOPS.items():
            seconds: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
            for repeat in range(options.repeats + 1):
                for place, checkout in enumerate(checkouts):
                    out = ["--data", data, "--set", "steps=2", "--out", f"{name}/{loop}-{place}-{repeat}"]
                    taken = measure(checkout, Path(name) / f"{loop}-{place}.json", [*words, *out])
                    if repeat:  # the first imports as it goes
                        seconds[checkout].append(taken)
            for checkout, taken_there in seconds.items():
                print(f"{loop:<10} {min(taken_there):6.2f} s  {checkout.name}", flush=True)


if __name__ == "__main__":
    main()
