"""Calibration: how much more or less readily a rare class is named, chosen on real validation scenes.

Oversampling, class weights and pasted regions all make a network name the rare class too readily, each by another
amount. A shift of the class's logit undoes that without another training, for every recipe by the same rule.
Source: logit adjustment, Menon et al. 2021, arXiv:2007.07314, with the shift taken from data instead of class priors.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from marsgen.scenes.classes import IGNORED_INDEX

SHIFTS = np.round(np.arange(-6, 6.01, 0.25), 2)
"""candidates, in units of a logit"""
_NEIGHBOURS = 4
"""each candidate is judged by its mean score over so many to either side: few rocks make a jagged curve"""


class Calibrated(nn.Module):
    """A network whose logits are shifted class by class.

    Args:
        network: (B, channels, H, W) -> (B, C, H, W) logits; has features().
        shift: (C,) added to the logits of each class.
    """

    shift: torch.Tensor

    def __init__(self, network: nn.Module, shift: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) shifted logits."""
        return self.network(images) + self.shift

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The network's own features."""
        return self.network.features(images)  # type: ignore[operator]


class MarginCounts:
    """Pixels by how far one class leads the others: all that its IoU needs at any shift.

    Attributes:
        true: (len(SHIFTS) + 1,) int64; pixels of the class, by the first shift at which they are called it.
        other: the same of labelled pixels of other classes.
    """

    def __init__(self) -> None:
        self.true = np.zeros(len(SHIFTS) + 1, np.int64)
        self.other = np.zeros(len(SHIFTS) + 1, np.int64)

    def add(self, logits: np.ndarray, labels: np.ndarray, class_index: int) -> None:
        """Count a batch: logits (B, C, H, W) float, labels (B, H, W) indices with 255 = ignored."""
        rest = np.delete(logits, class_index, axis=1).max(1)
        # called the class where its lead plus the shift is above 0
        first = np.searchsorted(SHIFTS, rest - logits[:, class_index], side="right")
        labelled = labels != IGNORED_INDEX
        is_class = labels == class_index
        self.true += np.bincount(first[is_class], minlength=len(SHIFTS) + 1)
        self.other += np.bincount(first[labelled & ~is_class], minlength=len(SHIFTS) + 1)

    def iou(self) -> np.ndarray:
        """(len(SHIFTS),) IoU of the class at each shift; 0 where no pixel is of the class."""
        hit, wrong = np.cumsum(self.true)[:-1], np.cumsum(self.other)[:-1]
        return hit / np.maximum(self.true.sum() + wrong, 1)

    def best_shift(self) -> float:
        """The shift with the best mean IoU around it; 0 where the class is not there; ties go to the smaller."""
        if not self.true.sum():
            return 0.0
        width = 2 * _NEIGHBOURS + 1
        padded = np.pad(self.iou(), _NEIGHBOURS, mode="edge")
        smooth = np.convolve(padded, np.full(width, 1 / width), mode="valid")
        best = np.flatnonzero(smooth >= smooth.max() - 1e-12)
        return float(SHIFTS[best[np.argmin(np.abs(SHIFTS[best]))]])


def find_shifts(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int, class_indices: Sequence[int]
) -> list[float]:
    """The best shift of each of the given classes, each by itself; 0 for all others.

    Args:
        batches: (B, C, H, W) logits with (B, H, W) labels, 255 = ignored.
    Returns:
        C numbers for `Calibrated`.
    """
    counts = {index: MarginCounts() for index in class_indices}
    for logits, labels in batches:
        for index, count in counts.items():
            count.add(logits, labels, index)
    return [counts[index].best_shift() if index in counts else 0.0 for index in range(num_classes)]
