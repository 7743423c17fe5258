"""Commands killed at random moments and repeated: the files have to be those of an undisturbed run."""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import answers
from case import PASTE
from folders import is_chosen, remove
from materials import TINY_DIFFUSION, TINY_GENERATOR, TINY_SEGMENTER, copy

DATA, TEST = ("--data", "train.npz"), ("--data", "test.npz")
SYNTHESIZE = ("marsgen", "synthesize", "--generator", "copy-paste", *DATA, *PASTE, "--out", "out")
TRAIN = ("segmenter", "train", *DATA, *TINY_SEGMENTER, "--set", "steps=40", "--out", "out")
DIFFUSION = ("marsgen", "train-generator", *DATA, *TINY_DIFFUSION)
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "marsgen inspect": (("train.npz",), ("marsgen", "inspect", *DATA, "--set", "autoencoder_steps=5", "--out", "out")),
    "marsgen train-generator": (
        ("train.npz",),
        ("marsgen", "train-generator", *DATA, *TINY_GENERATOR, "--set", "steps=6", "--set", "checkpoint_every=2")
        + ("--out", "out"),
    ),
    "marsgen train-generator (diffusion)": (
        ("train.npz",),
        (*DIFFUSION, "--set", "steps=6", "--out", "out"),
    ),
    "marsgen synthesize": (("train.npz",), (*SYNTHESIZE, "--n", "300")),
    "marsgen synthesize (shards)": (("train.npz",), (*SYNTHESIZE, "--n", "300", "--format", "shards")),
    "marsgen score": (("train.npz", "png", "run"), ("marsgen", "score", "png", "--judge", "run", "--out", "out")),
    "marsgen preview": (
        ("generator", "train.npz"),
        ("marsgen", "preview", "generator", "--set", "rows=2", "--out", "out"),
    ),
    "marsgen export": (("png",), ("marsgen", "export", "png", "--out", "out")),
    "marsgen export (webdataset)": (("png",), ("marsgen", "export", "png", "--to", "webdataset", "--out", "out")),
    "segmenter train": (("train.npz",), TRAIN),
    "segmenter train --extra": (("train.npz", "png"), (*TRAIN, "--extra", "png")),
    "segmenter predict": (("run", "train.npz"), ("segmenter", "predict", "run", *DATA, "--out", "out")),
    "segmenter evaluate": (("run", "test.npz"), ("segmenter", "evaluate", "run", *TEST, "--out", "out")),
    "segmenter pseudo-label": (("run", "train.npz"), ("segmenter", "pseudo-label", "run", *DATA, "--out", "out")),
    "segmenter compare": (
        ("run", "run1", "extra", "test.npz", "train.npz", "png"),
        ("segmenter", "compare", "run", "extra", "--set", "resamples=200", "--out", "out"),
    ),
    "segmenter report": (
        ("run", "run1", "extra", "test.npz", "train.npz", "png"),
        ("segmenter", "report", "run", "extra", "--set", "resamples=200", "--out", "out"),
    ),
    "segmenter study-report": (("counts",), ("segmenter", "study-report", "counts", "--out", "out")),
}

PART: dict[str, tuple[str, ...]] = {
    "marsgen synthesize": ("--n", "100"),
    "marsgen export": (),
    "segmenter train": ("--set", "steps=16"),
    "segmenter evaluate": (),
}
"""commands that `make test-all` kills -> words that make them shorter"""


def try_kills(
    given: argparse.Namespace, root: Path, place: Path, is_done: Callable[[str], bool]
) -> Iterator[dict[str, Any]]:
    """Kill commands as often as `given` (the options of run.py) says, shared among them; a row of counts for each."""
    chosen = {name: found for name, found in COMMANDS.items() if is_chosen(f"kill: {name}", given.only)}
    if given.part:
        chosen = {name: (chosen[name][0], chosen[name][1] + shorter) for name, shorter in PART.items()}
    for name, (materials, words) in chosen.items():
        if is_done(f"kill: {name}"):
            continue
        rng = random.Random(f"{given.seed} {name}")
        whole = place / "whole"
        number, faults = -(-given.kills // len(chosen)), []
        seconds, writes = _undisturbed(root, whole, materials, words)
        if seconds < 0:
            yield {"kind": f"kill: {name}", "tried": number, "well": 0, "faults": ["fails undisturbed"]}
            continue
        for index in range(number):
            folder = place / "killed"
            fault = _kill_once(rng, index, root, folder, materials, words, seconds, writes, whole)
            if given.verbose or fault:
                print(f"[kill {name} {index}] {fault or 'same bytes'}", flush=True)
            if fault:
                faults.append(f"{index}: {fault}")
        kind = f"kill: {name}"
        print(f"{kind}: {number} tried, {len(faults)} faults, {seconds:.1f} s undisturbed", file=sys.stderr, flush=True)
        yield {"kind": kind, "tried": number, "well": number - len(faults), "faults": faults}


def _undisturbed(root: Path, folder: Path, materials: tuple[str, ...], words: tuple[str, ...]) -> tuple[float, int]:
    """Seconds that the command takes alone, and how often it syncs or renames a file; -1 where it fails."""
    _fresh(root, folder, materials)
    answer = answers.run(words, folder, before=lambda: _at_writes(_count_write))
    if answer.code != 0:
        print(f"{' '.join(words)}: {answer.err.strip()[-500:]}", file=sys.stderr, flush=True)
    writes = (folder / ".writes").stat().st_size if (folder / ".writes").exists() else 0
    return (answer.seconds if answer.code == 0 else -1), writes


def _count_write() -> None:
    descriptor = os.open(".writes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x")
    os.close(descriptor)


def _at_writes(act: Callable[[], None]) -> None:
    """Let this process call `act` before and after every sync and rename of a file."""
    for name in ("replace", "rename", "fsync"):
        setattr(os, name, _acting(getattr(os, name), act))


def _acting(call: Callable[..., object], act: Callable[[], None]) -> Callable[..., object]:
    def wrapped(*args: object, **options: object) -> object:
        act()
        found = call(*args, **options)
        act()
        return found

    return wrapped


def _die_at(number: int) -> None:
    """Let this process be killed at its write of this number, counted from 1."""
    left = [number]

    def act() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    _at_writes(act)


def _fresh(root: Path, folder: Path, materials: tuple[str, ...]) -> None:
    remove(folder)
    folder.mkdir()
    copy(root, *materials, into=folder)


def _kill_once(
    rng: random.Random,
    index: int,
    root: Path,
    folder: Path,
    materials: tuple[str, ...],
    words: tuple[str, ...],
    seconds: float,
    writes: int,
    whole: Path,
) -> str:
    """Kill once or twice, repeat; what is wrong then, or "".

    By turns: at a sync or rename of a file, at a random moment, and at a random moment with SIGTERM.
    """
    _fresh(root, folder, materials)
    number = signal.SIGTERM if index % 3 == 2 else signal.SIGKILL
    for _ in range(rng.choice([1, 1, 2])):
        for name in (".out", ".err"):
            (folder / name).unlink(missing_ok=True)
        started = time.monotonic()
        if index % 3 == 0 and writes:
            at = rng.randint(1, writes)
            child = answers.start(words, folder, before=lambda at=at: _die_at(at))  # type: ignore[misc]
            answers.wait(child, folder, started)
            continue
        child = answers.start(words, folder)
        if rng.random() < 0.5:  # in its write phase
            while not (folder / "out").exists() and not _ended(child):
                time.sleep(0.001)
            time.sleep(rng.random() ** 2 * 0.5 * seconds)
        else:
            time.sleep(rng.random() * seconds)
        if not _ended(child):
            os.kill(child, number)
        answer = answers.wait(child, folder, started)
        if number == signal.SIGTERM and answer.code not in (0, 143, -signal.SIGTERM):
            return f"SIGTERM: exit code {answer.code}, {answer.err.strip()[-200:]}"
        if "Traceback" in answer.err:
            return f"traceback: {answer.err.strip().splitlines()[-1][:200]}"
    answer = answers.run(words, folder)
    if answer.code != 0:
        return f"exit code {answer.code} when repeated: {answer.err.strip()[-300:]}"
    return difference(content_of(whole), content_of(folder))


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def content_of(folder: Path) -> dict[str, bytes]:
    """The files under a folder, but for what no run is."""
    names = (".out", ".err", ".lock", ".writes")
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in names
    }


def difference(whole: dict[str, bytes], killed: dict[str, bytes]) -> str:
    """The first file that is not the same, in words, or ""."""
    if names := whole.keys() ^ killed.keys():
        return f"{min(names)} is {'missing' if min(names) in whole else 'left over'}"
    return next((f"{name} differs" for name in whole if whole[name] != killed[name]), "")
