"""Judges: trained segmenters whose predictions on synthetic pictures are compared with the label maps.

marsgen trains no segmenter and imports none. A package that has one names it in the entry point group `marsgen.judges`
(name -> a function that opens a folder as a `Judge`, or gives None for a folder that is not its own); `segmenter` does.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np

from marsgen.core.errors import RunError
from marsgen.quality.places import no_judge, refuse_no_judge
from marsgen.scenes.classes import ClassSet

__all__ = ["GROUP", "Judge", "open_judge"]

GROUP = "marsgen.judges"


class Judge(Protocol):
    """A trained segmenter. Its methods are pure functions: a result depends on the pictures alone."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights."""

    @property
    def classes(self) -> ClassSet:
        """What its C outputs mean."""

    @property
    def channels(self) -> int:
        """1 = grey, 3 = RGB."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Scene keys of the real scenes that it was trained on, or that its synthetic ones were made from."""

    @property
    def saw_synthetic(self) -> bool:
        """Whether synthetic scenes were among its training scenes: it then agrees too well with similar ones."""

    def probs(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, channels) uint8 -> (B, C, H, W) float32 probabilities, sum 1 over C."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, channels) uint8 -> (B, F) float32: what its deepest layers see, averaged over the picture."""


class ReorderedJudge:
    """A judge of the same classes in another order."""

    def __init__(self, judge: Judge, classes: ClassSet, order: list[int]) -> None:
        self._judge, self._order = judge, order
        self.classes, self.channels = classes, judge.channels
        self.fingerprint, self.trained_on = judge.fingerprint, judge.trained_on
        self.saw_synthetic = judge.saw_synthetic

    def probs(self, images: np.ndarray) -> np.ndarray:
        """See `Judge.probs`."""
        return self._judge.probs(images)[:, self._order]

    def features(self, images: np.ndarray) -> np.ndarray:
        """See `Judge.features`."""
        return self._judge.features(images)


def open_judge(folder: Path, classes: ClassSet | None = None, channels: int | None = None) -> Judge:
    """Open a trained segmenter.

    Args:
        folder: a finished run of a command that a judge is made by, such as `segmenter train`.
        classes, channels: of the pictures it will label; None = those it was trained on. Classes may come in another
            order and with other ids.
    Raises:
        RunError: no trained segmenter, not finished, or trained on classes of other names or other channels.
    """
    refuse_no_judge(folder)
    found = (entry.load()(folder) for entry in entry_points(group=GROUP))
    judge: Judge | None = next((judge for judge in found if judge is not None), None)
    if judge is None:
        raise no_judge(folder)
    if classes is not None and judge.classes.names != classes.names:
        order = judge.classes.order_of(classes)
        if order is None:
            raise RunError(
                f"{folder} was trained on the classes {', '.join(judge.classes.names)}; the data have "
                f"{', '.join(classes.names)}; train a segmenter on these data"
            )
        judge = ReorderedJudge(judge, classes, order)
    if channels is not None and judge.channels != channels:
        raise RunError(
            f"{folder} was trained on images of {judge.channels} channel(s); the data have {channels}; train a "
            "segmenter on these data"
        )
    return judge
