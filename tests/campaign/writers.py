"""Two processes that write into one folder at random times: one writes, the other is refused or finds it finished."""

import os
import random
import sys
import time
from pathlib import Path

import answers
from case import PASTE
from folders import remove
from kills import content_of, difference
from materials import copy

from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_text

FILES = 5
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "marsgen export": (("png",), ("marsgen", "export", "png", "--out", "out")),
    "marsgen synthesize": (
        ("train.npz",),
        ("marsgen", "synthesize", "--generator", "copy-paste", "--data", "train.npz", "--n", "40", *PASTE)
        + ("--out", "out"),
    ),
    "segmenter evaluate": (("run", "test.npz"), ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out")),
}


class _Settings(Config):
    """of a run that writes a few files"""


def race_runs(rounds: int, seed: int, place: Path) -> list[str]:
    """Let two processes fill one run folder, `rounds` times, the second at a random moment; the faults found."""
    rng, faults = random.Random(f"{seed} writers"), []
    for number in range(rounds):
        folder = place / "two"
        remove(folder)
        folder.mkdir()
        children = [_fork(folder, delay) for delay in (0.0, rng.random() * 0.004)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        written = (folder / "written").stat().st_size
        if written != FILES or any(codes) or not (folder / "run" / "DONE").exists():
            faults.append(f"{number}: {written} files written, exit codes {codes}")
    return faults


def _fork(folder: Path, delay: float) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        time.sleep(delay)
        try:
            run = Run.start(folder / "run", "campaign", _Settings(), {})
        except RunError as problem:
            code = 0 if "another process is writing" in str(problem) else 3
        else:
            if not run.finished:
                _write(folder, run)
            code = 0
    finally:
        os._exit(code)


def _write(folder: Path, run: Run) -> None:
    log = os.open(folder / "written", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(FILES):
        write_text(run.folder / f"{number}", "x")
        os.write(log, b"x")
    run.finish({})


def race_commands(rounds: int, seed: int, root: Path, place: Path) -> list[str]:
    """The same with real commands; the folder has to hold the bytes of an undisturbed run."""
    rng, faults = random.Random(f"{seed} commands"), []
    for number in range(rounds):
        name = list(COMMANDS)[number % len(COMMANDS)]
        materials, words = COMMANDS[name]
        whole, folder = place / "whole", place / "two"
        if number < len(COMMANDS):
            _fresh(root, place / f"whole-{name.replace(' ', '-')}", materials)
            answers.run(words, place / f"whole-{name.replace(' ', '-')}")
        whole = place / f"whole-{name.replace(' ', '-')}"
        _fresh(root, folder, materials)
        started = time.monotonic()
        first = answers.start(words, folder)
        time.sleep(rng.random() * 1.5)
        second = answers.start(words, folder)
        found = [answers.wait(child, folder, started) for child in (first, second)]
        refused = found[1].err.count("another process is writing into this run")
        codes = sorted(answer.code for answer in found)
        again = answers.run(words, folder)
        if codes not in ([0, 0], [0, 2]) or (2 in codes) != bool(refused) or again.code:
            faults.append(f"{number}: {name}: exit codes {codes}, {refused} refused, {again.code} when repeated")
        elif differs := difference(content_of(whole), content_of(folder)):
            faults.append(f"{number}: {name}: {differs}")
    return faults


def _fresh(root: Path, folder: Path, materials: tuple[str, ...]) -> None:
    remove(folder)
    folder.mkdir()
    copy(root, *materials, into=folder)
