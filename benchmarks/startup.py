"""CPU seconds until a command answers: --help, a mistake, and a training of one step.

    python benchmarks/startup.py [--repeats 3]

Each command runs in a process of its own, as a user's would; what counts is user plus system time of the process, least
of the repeats, so that other work on the machine adds little. Compiled modules are kept, as a user's Python keeps
them. A training of one step includes imports, the survey of 24 scenes, the step, validation and writing.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OUT = "a folder of its own"
HEADER = b'{"__metadata__": {"record": "{}"}}'
"""of a safetensors file without a tensor"""
RUNS = {
    "run": "segmenter train",
    "cut": "segmenter train",
    "lost": "segmenter train",
    "gen": "marsgen train-generator",
    "bare": "marsgen train-generator",
    "set": "marsgen synthesize",
}
TRAINING = ["--data", "data.npz", "--set", "steps=1", "--set", "batch_size=2"]
PASTE = ["marsgen", "synthesize", "--generator", "copy-paste"]
MAPS = ["marsgen", "synthesize", "--generator", "gen", "--data", "data.npz", "--maps"]
COMMANDS = {
    "marsgen --help": ["marsgen", "--help"],
    "segmenter --help": ["segmenter", "--help"],
    "segmenter train --help": ["segmenter", "train", "--help"],
    "train, wrong path": ["segmenter", "train", "--data", "absent"],
    "train, wrong key": ["segmenter", "train", "--data", "absent", "--set", "stepz=3"],
    "evaluate, wrong run": ["segmenter", "evaluate", "absent", "--data", "data.npz"],
    "train-generator, wrong path": ["marsgen", "train-generator", "--data", "absent"],
    "synthesize, wrong path": ["marsgen", "synthesize", "--generator", "copy-paste", "--data", "absent"],
    "synthesize, wrong class": ["marsgen", "synthesize", "--generator", "copy-paste", "--data", "data.npz"]
    + ["--class", "unicorn"],
    "train, wrong class": ["segmenter", "train", "--data", "data.npz", "--set", "best_metric=iou_unicorn"],
    "auto, wrong class": ["segmenter", "auto", "--data", "data.npz", "--class", "unicorn"],
    "evaluate, wrong key": ["segmenter", "evaluate", "run", "--data", "data.npz", "--set", "stepz=3"],
    "inspect, wrong key": ["marsgen", "inspect", "--data", "data.npz", "--set", "stepz=3"],
    "score, wrong key": ["marsgen", "score", "run", "--set", "stepz=3"],
    "inspect, wrong path": ["marsgen", "inspect", "--data", "absent"],
    "import, wrong key": ["marsgen", "import", "data.npz", "--set", "stepz=3"],
    "train, wrong --extra": ["segmenter", "train", "--data", "data.npz", "--extra", "absent"],
    "train, wrong --fork": ["segmenter", "train", "--data", "data.npz", "--fork", "absent"],
    "predict, run of another": ["segmenter", "predict", "gen", "--data", "data.npz"],
    "study-report, wrong path": ["segmenter", "study-report", "absent"],
    "synthesize, wrong --judge": [*PASTE, "--data", "data.npz", "--judge", "absent", "--keep", "0.5"],
    "synthesize, wrong --focus": [*PASTE, "--data", "data.npz", "--focus", "absent"],
    "synthesize, copy-past": ["marsgen", "synthesize", "--generator", "copy-past", "--data", "data.npz"],
    "synthesize, wrong --maps": ["marsgen", "synthesize", "--generator", "gen", "--maps", "absent"],
    "synthesize, --maps and --class": [*MAPS, "data.npz", "--class", "sand"],
    "synthesize, --maps of others": [*MAPS, "other"],
    "distilled, wrong --teacher": ["marsgen", "train-generator", "--data", "data.npz", "--kind", "distilled"]
    + ["--teacher", "run"],
    "preview, lost data": ["marsgen", "preview", "gen"],
    "export --to onnx, lost data": ["marsgen", "export", "gen", "--to", "onnx"],
    "playground, wrong --ort": ["marsgen", "playground", "gen", "--ort", "absent"],
    "train, a folder without data": ["segmenter", "train", "--data", "empty"],
    "synthesize, --maps without maps": [*MAPS, "empty"],
    "train, data of no kind": ["segmenter", "train", "--data", "notes.txt"],
    "train, sim: misspelt": ["segmenter", "train", "--data", "sim:40,sed=1"],
    "synthesize, --judge of another": [*PASTE, "--data", "data.npz", "--judge", "gen", "--keep", "0.5"],
    "distilled, --teacher of another": ["marsgen", "train-generator", "--data", "data.npz", "--kind", "distilled"]
    + ["--teacher", "gen"],
    "train, --fork without a state": ["segmenter", "train", "--data", "data.npz", "--fork", "run"],
    "score, damaged synth.json": ["marsgen", "score", "set"],
    "evaluate, damaged split.json": ["segmenter", "evaluate", "cut", "--data", "data.npz"],
    "predict, no weights": ["segmenter", "predict", "lost", "--data", "data.npz"],
    "preview, damaged generator.json": ["marsgen", "preview", "bare"],
    "study-report, damaged study.json": ["segmenter", "study-report", "counts"],
    "train, --out of another": ["segmenter", "train", "--data", "data.npz", "--out", "gen"],
    "inspect, --out is a file": ["marsgen", "inspect", "--data", "data.npz", "--out", "notes.txt"],
    "copy-paste with --strength": [*PASTE, "--data", "data.npz", "--strength", "0.5"],
    "compare, one run": ["segmenter", "compare", "run"],
    "import numpy alone": ["-c", "import numpy"],
    "import typer, pydantic, yaml": ["-c", "import typer, pydantic, yaml"],
    "import torch alone": ["-c", "import torch"],
    "train, one step": ["segmenter", "train", *TRAINING, "--out", OUT],
    "train-generator, one step": ["marsgen", "train-generator", *TRAINING, "--set", "crop_px=32", "--out", OUT],
    "diffusion, one step": ["marsgen", "train-generator", "--kind", "diffusion", *TRAINING, "--set", "crop_px=32"]
    + ["--set", "widths=[8,8]", "--out", OUT],
}
"""what is measured -> words of the command, or of python itself"""


def measure(words: list[str], folder: Path) -> float:
    """CPU seconds of one process from its start to its end."""
    start = [sys.executable] if words[0] == "-c" else [sys.executable, "-m", f"{words[0]}.cli"]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        [*start, *(words if words[0] == "-c" else words[1:])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {'with' if has_bf16() else 'without'} bf16 instructions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = np.kron(rng.integers(1, 5, (24, 8, 8)), np.ones((1, 8, 8))).astype(np.uint8)
        images = (labels * 40 + rng.integers(0, 30, labels.shape)).astype(np.uint8)
        np.savez(folder / "data.npz", images=images, labels=labels)
        for empty in ("empty", "counts"):
            (folder / empty).mkdir()
        (folder / "notes.txt").touch()
        (folder / "counts" / "study.json").write_text("{")
        for run, command in RUNS.items():
            (folder / run).mkdir()
            inputs = '{"data": {"location": "absent.npz", "classes": null}}'
            (folder / run / "config.yaml").write_text(f"command: {command}\ninputs: {inputs}\nconfig: {{}}\n")
            (folder / run / "DONE").write_text("{}")
            (folder / run / "split.json").write_text('{"train": [], "val": [], "test": [], "extra": []}')
            (folder / run / "generator.json").write_text('{"generator": "pix2pix"}')
            if run != "lost":
                (folder / run / "best.safetensors").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER)
        for damaged in ("cut/split.json", "set/synth.json", "bare/generator.json"):
            (folder / damaged).write_text("{")
        (folder / "other" / "labels").mkdir(parents=True)
        (folder / "other" / "classes.yaml").write_text("ignored: 0\nclasses:\n- {name: moss, id: 1}\n")
        for what, words in COMMANDS.items():
            outs = [what.replace(" ", "-").replace(",", "") + f"-{number}" for number in range(options.repeats)]
            runs = [[out if word == OUT else word for word in words] for out in outs]
            print(f"{what:<32} {min(measure(run, folder) for run in runs):6.2f} s", flush=True)


def has_bf16() -> bool:
    """Whether this CPU computes in bf16 itself."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))


if __name__ == "__main__":
    main()
