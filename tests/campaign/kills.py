"""Commands killed at random moments and repeated: the files have to be those of an undisturbed run."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import answers
from inputs import PASTE
from materials import ROOT, TINY_GENERATOR, TINY_SEGMENTER, copy

DATA, TEST = ("--data", "train.npz"), ("--data", "test.npz")
SYNTHESIZE = ("marsgen", "synthesize", "--generator", "copy-paste", *DATA, *PASTE, "--out", "out")
TRAIN = ("segmenter", "train", *DATA, *TINY_SEGMENTER, "--set", "steps=40", "--out", "out")
DIFFUSION = ("marsgen", "train-generator", *DATA, "--config", str(ROOT / "configs/tiny/diffusion.yaml"))
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "marsgen inspect": (("train.npz",), ("marsgen", "inspect", *DATA, "--out", "out")),
    "marsgen train-generator": (
        ("train.npz",),
        ("marsgen", "train-generator", *DATA, *TINY_GENERATOR, "--set", "steps=6", "--set", "checkpoint_every=2")
        + ("--out", "out"),
    ),
    "marsgen train-generator (diffusion)": (
        ("train.npz",),
        (*DIFFUSION, "--set", "steps=6", "--set", "checkpoint_every=2", "--out", "out"),
    ),
    "marsgen synthesize": (("train.npz",), (*SYNTHESIZE, "--n", "300")),
    "marsgen synthesize (shards)": (("train.npz",), (*SYNTHESIZE, "--n", "300", "--format", "shards")),
    "marsgen score": (("train.npz", "png"), ("marsgen", "score", "png", "--features", "judge", "--out", "out")),
    "marsgen preview": (("train.npz",), ("marsgen", "preview", *DATA, "--out", "out")),
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


def try_kills(count: int, seed: int, only: str, root: Path, place: Path, verbose: bool) -> list[dict]:
    """Kill commands `count` times, shared among them; a row of counts for each."""
    chosen = {name: found for name, found in COMMANDS.items() if only in f"kill {name}"}
    rows = []
    for name, (materials, words) in chosen.items():
        rng = random.Random(f"{seed} {name}")
        whole = place / "whole"
        seconds = _undisturbed(root, whole, materials, words)
        number, faults = -(-count // len(chosen)), []
        for index in range(number):
            folder = place / "killed"
            fault = _kill_once(rng, index, root, folder, materials, words, seconds, whole)
            if verbose or fault:
                print(f"[kill {name} {index}] {fault or 'same bytes'}", flush=True)
            if fault:
                faults.append(f"{index}: {fault}")
        kind = f"kill: {name}"
        print(f"{kind}: {number} tried, {len(faults)} faults, {seconds:.1f} s undisturbed", file=sys.stderr, flush=True)
        rows.append({"kind": kind, "tried": number, "well": number - len(faults), "faults": faults})
    return rows


def _undisturbed(root: Path, folder: Path, materials: tuple[str, ...], words: tuple[str, ...]) -> float:
    _fresh(root, folder, materials)
    answer = answers.run(words, folder)
    assert answer.code == 0, f"{' '.join(words)}: {answer.err}"
    return answer.seconds


def _fresh(root: Path, folder: Path, materials: tuple[str, ...]) -> None:
    from run import remove

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
    whole: Path,
) -> str:
    """Kill (every third time: SIGTERM) once or twice, repeat; what is wrong then, or ""."""
    _fresh(root, folder, materials)
    number = signal.SIGTERM if index % 3 == 2 else signal.SIGKILL
    for _ in range(rng.choice([1, 1, 2])):
        for name in (".out", ".err"):
            (folder / name).unlink(missing_ok=True)
        started = time.monotonic()
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
    return _difference(_content(whole), _content(folder))


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _content(folder: Path) -> dict[str, bytes]:
    names = (".out", ".err", ".lock")
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in names
    }


def _difference(whole: dict[str, bytes], killed: dict[str, bytes]) -> str:
    if names := whole.keys() ^ killed.keys():
        return f"{min(names)} is {'missing' if min(names) in whole else 'left over'}"
    return next((f"{name} differs" for name in whole if whole[name] != killed[name]), "")
