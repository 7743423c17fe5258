"""A bad input: a folder made ready, and a command that reads it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from materials import TINY_SEGMENTER
from mutations import damage_bytes, damage_json, damage_json_lines, damage_yaml

TRAIN = ("segmenter", "train", *TINY_SEGMENTER, "--set", "steps=2", "--out", "out")
PASTE = ("--set", "paste.min_region_px=4", "--set", "paste.min_visible_px=4", "--set", "paste.min_solidity=0.2")
SYNTHESIZE = ("marsgen", "synthesize", "--generator", "copy-paste", "--n", "4", *PASTE, "--out", "out")


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        words: the command line.
        note: what was done to the input.
        may_pass: whether the command may find the input good: what was changed may carry no meaning.
        ordinary: run without root's rights.
    """

    words: tuple[str, ...]
    note: str
    may_pass: bool = True
    ordinary: bool = False


LEFT_OUT: list[str] = []
"""cases that take too long for `make test-all`"""

Maker = Callable[[random.Random, Path, Path], Case]
"""(random numbers, folder of materials, empty folder of the case) -> the case, its folder filled"""


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file as its kind allows, or remove it; what was done, in words."""
    if rng.random() < 0.04:
        path.unlink()
        return "lost"
    kinds = {".yaml": damage_yaml, ".json": damage_json, ".jsonl": damage_json_lines, "": damage_json}
    if path.suffix in kinds:
        return kinds[path.suffix](path, rng)
    words, content = damage_bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return words
