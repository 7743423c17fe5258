"""Bad places: files and folders that may not be read or written, links, locks that are none."""

import os
import random
from collections.abc import Callable
from pathlib import Path

from case import SYNTHESIZE, TRAIN, Case
from materials import copy


def permissions(rng: random.Random, materials: Path, folder: Path) -> Case:
    """Files and folders that an ordinary user may not read or write, or that are links."""
    copy(materials, "train.npz", "test.npz", "run", "run1", "png", "plain", into=folder)
    victim = folder.parent / f"{folder.name}-victim"
    victim.write_text("precious")
    locked: dict[str, Callable[[], object]] = {
        "data unreadable": lambda: os.chmod(folder / "train.npz", 0),
        "run unreadable": lambda: os.chmod(folder / "run", 0),
        "config of the run unreadable": lambda: os.chmod(folder / "run" / "config.yaml", 0),
        "weights unreadable": lambda: os.chmod(folder / "run" / "best.safetensors", 0),
        "split unreadable": lambda: os.chmod(folder / "run" / "split.json", 0),
        "picture unreadable": lambda: os.chmod(next((folder / "plain" / "images").iterdir()), 0),
        "manifest unreadable": lambda: os.chmod(folder / "png" / "manifest.jsonl", 0),
        "run read-only": lambda: os.chmod(folder / "run", 0o555),
        "here read-only": lambda: ([(folder / n).write_text("") for n in (".out", ".err")], os.chmod(folder, 0o555)),
        "out is a file": lambda: (folder / "out").write_text("x"),
        "out is a link to a file": lambda: (folder / "out").symlink_to(victim),
        "out is a broken link": lambda: (folder / "out").symlink_to("nowhere"),
        "out has a lock that is a link": lambda: ((folder / "out").mkdir(), (folder / "out/.lock").symlink_to(victim)),
        "out has a lock that is a folder": lambda: (folder / "out" / ".lock").mkdir(parents=True),
        "out has a lock that is a pipe": lambda: ((folder / "out").mkdir(), os.mkfifo(folder / "out" / ".lock")),
        "out read-only": lambda: (folder / "out").mkdir(0o555),
    }
    note = rng.choice(list(locked))
    locked[note]()
    commands: list[tuple[str, ...]] = [
        (*TRAIN, "--data", "train.npz"),
        (*TRAIN, "--data", "train.npz", "--extra", "png"),
        (*SYNTHESIZE, "--data", "train.npz", "--judge", "run", "--keep", "0.8"),
        ("marsgen", "export", "plain", "--out", "out"),
        ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out"),
        ("segmenter", "predict", "run", "--data", "test.npz", "--out", "out"),
        ("segmenter", "compare", "run", "run1", "--set", "resamples=200", "--out", "out"),
    ]
    return Case(rng.choice(commands), note, ordinary=True)
