"""A study that two workers share, killed at random moments and repeated."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from folders import remove
from kills import content_of, difference
from materials import ROOT, copy

SECONDS = 400
STUDY = ("study", "s.yaml", "--data", "train.npz", "--test", "test.npz", "--workers", "2", "--out", "out")
TEXT = """
title: two workers
seeds: [0, 1]
baseline: real
train: {unet: {width: 4, depth: 1}, steps: 6, batch_size: 4, warmup_steps: 1, validate_every: 3, precision: fp32}
evaluate: {min_region_px: 2}
sets:
  pasted: {settings: {n: 16, paste: {min_region_px: 4, min_visible_px: 4, min_solidity: 0.2, min_thickness: 0.1}}}
arms:
  real: {}
  pasted: {extra: [pasted]}
statistics: {resamples: 200}
"""


def try_study(kills: int, seed: int, root: Path, place: Path) -> list[str]:
    """Kill a study of two workers `kills` times, each time repeated to its end; the faults found."""
    whole, folder, rng, faults = place / "whole-study", place / "study", random.Random(f"{seed} study"), []
    _fresh(root, whole)
    started = time.monotonic()
    if reason := _run(whole):
        return [f"fails undisturbed: {reason}"] * max(1, kills)
    seconds = time.monotonic() - started
    for number in range(kills):
        _fresh(root, folder)
        child = _start(folder)
        time.sleep(rng.random() * seconds)
        # by turns: all at once as a node that dies, one process alone, and SIGTERM as a scheduler sends it
        victims = [rng.choice(_family(child.pid))] if number % 3 == 1 else _family(child.pid)
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGTERM if number % 3 == 2 else signal.SIGKILL)
        child.wait()
        fault = _run(folder) or difference(_results(whole), _results(folder))
        if fault:
            faults.append(f"{number}: {fault}")
            print(f"FAULT study {faults[-1]}", flush=True)
        print(f"study with two workers: kill {number + 1} of {kills}", file=sys.stderr, flush=True)
    return faults


def _fresh(root: Path, folder: Path) -> None:
    remove(folder)
    folder.mkdir()
    copy(root, "train.npz", "test.npz", into=folder)
    (folder / "s.yaml").write_text(TEXT)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with (folder / ".err").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "segmenter.cli", *STUDY],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )


def _run(folder: Path) -> str:
    """Run the study to its end; what went wrong, or ""."""
    child = _start(folder)
    try:
        code = child.wait(SECONDS)
    except subprocess.TimeoutExpired:
        for one in _family(child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        child.wait()
        return f"no end in {SECONDS} s"
    text = (folder / ".err").read_text(errors="replace")
    return "" if code == 0 else f"exit code {code}: {text.strip()[-600:]}"


def _family(parent: int) -> list[int]:
    """A process and all that it has started, itself first."""
    return [parent, *(one for child in _children(parent) for one in _family(child))]


def _children(parent: int) -> list[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def _results(folder: Path) -> dict[str, bytes]:
    """All but how long it took: logs and costs of the jobs, minutes in the counts and in what is made from them."""
    left_out = ("out/jobs/", "out/results/", "out/counts/study.json")
    return {name: content for name, content in content_of(folder).items() if not name.startswith(left_out)}
