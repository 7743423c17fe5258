"""What a data set does not say and its numbers suggest: rare classes, and which scenes belong together."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from marsgen.scenes.classes import ClassSet

RARE_PIXELS = 0.01
"""a class with a smaller share of the labelled pixels is proposed as rare"""
RARE_SCENES, FEW_PIXELS = 0.1, 0.05
"""so is a class in fewer of the pictures than the first, if its share of the pixels is below the second"""


def propose_rare(classes: ClassSet, pixels: np.ndarray) -> tuple[str, ...]:
    """Classes that are there, and rare by their pixels or by the pictures that show them.

    Args:
        pixels: (N, C) pixels of each class in each scene.
    """
    total = pixels.sum(0)
    pixel_share = total / max(1, total.sum())
    scene_share = (pixels > 0).mean(0)
    rare = (pixel_share < RARE_PIXELS) | ((scene_share < RARE_SCENES) & (pixel_share < FEW_PIXELS))
    return tuple(name for name, proposed, count in zip(classes.names, rare, total, strict=True) if proposed and count)


def rare_rule() -> str:
    """The rule of `propose_rare` in words."""
    return (
        f"under {RARE_PIXELS:.0%} of the labelled pixels, or in under {RARE_SCENES:.0%} of the pictures with under "
        f"{FEW_PIXELS:.0%} of the pixels"
    )


def propose_groups(names: Sequence[str]) -> tuple[str, int] | None:
    """A pattern for `groups:` where names differ in numbers only and one of the numbers names what was photographed.

    That is a number that occurs again under other values of the others (exposures of one object, frames of one drive),
    in at least a third as many values as there are names. No pattern for names that differ in words.

    Returns:
        (regular expression with one group, number of groups), or None.
    """
    split = [re.split(r"(\d+)", name) for name in names]
    templates = {tuple(parts[::2]) for parts in split}
    if len(templates) != 1 or len(names) < 2:
        return None
    (words,) = templates
    candidates = []
    for place in range(len(words) - 1):
        counts = Counter(parts[2 * place + 1] for parts in split)
        if len(names) / 3 <= len(counts) < len(names):
            candidates.append((len(counts), place))
    if not candidates or len(words) < 3:  # one number only: it is the picture's own
        return None
    groups, place = max(candidates)
    before = words[place]
    if not before:
        return None
    return rf"{re.escape(before)}(\d+)", groups
