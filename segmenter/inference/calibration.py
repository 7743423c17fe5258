"""Calibration: how readily a rare class is named, set by how much of it there should be.

Oversampling, class weights and pasted regions all make a network name the rare class too readily, each by another
amount. A shift of the class's logit undoes that without another training, for every recipe by the same rule: on the
real validation scenes, the class gets the share of the pixels that the training labels lead to expect. A share of all
labelled pixels is known well even where the few validation scenes that show the class say nothing of its best IoU.
Source: logit adjustment, Menon et al. 2021, arXiv:2007.07314; known class priors, Saerens et al. 2002,
doi:10.1162/089976602753284446.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from marsgen.scenes.classes import IGNORED_INDEX

SHIFTS = np.round(np.arange(-12, 12.001, 0.05), 2)
"""candidates, in units of a logit"""


class Calibrated(nn.Module):
    """A network whose logits are shifted class by class.

    What a further logit says of pixels without a label (`void_weight`) is as probable as it was: calibration is
    between the classes.

    Args:
        network: (B, channels, H, W) -> (B, C, H, W) logits, or C + 1; has features().
        shift: (C,) added to the logits of each class.
    """

    shift: torch.Tensor

    def __init__(self, network: nn.Module, shift: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) shifted logits, or C + 1."""
        logits = self.network(images)
        plain, no_label = logits.split([len(self.shift), logits.shape[1] - len(self.shift)], dim=1)
        shifted = plain + self.shift
        if no_label.shape[1]:
            grown = shifted.logsumexp(1, keepdim=True) - plain.logsumexp(1, keepdim=True)
            shifted = torch.cat([shifted, no_label + grown], 1)
        return shifted

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The network's own features."""
        return self.network.features(images)  # type: ignore[operator]


class MarginCounts:
    """Labelled pixels by how far one class leads the others: its share of the prediction at any shift.

    Attributes:
        pixels: (len(SHIFTS) + 1,) int64, by the first shift at which a pixel is called the class.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros(len(SHIFTS) + 1, np.int64)

    def add(self, logits: np.ndarray, labels: np.ndarray, class_index: int) -> None:
        """Count a batch: logits (B, C, H, W) float, labels (B, H, W) indices with 255 = ignored."""
        rest = np.delete(logits, class_index, axis=1).max(1)
        # called the class where its lead plus the shift is above 0
        first = np.searchsorted(SHIFTS, rest - logits[:, class_index], side="right")
        self.pixels += np.bincount(first[labels != IGNORED_INDEX], minlength=len(SHIFTS) + 1)

    def shares(self) -> np.ndarray:
        """(len(SHIFTS),) share of the labelled pixels that is called the class at each shift; rising."""
        return np.cumsum(self.pixels)[:-1] / max(self.pixels.sum(), 1)

    def shift_for(self, share: float) -> float:
        """The shift whose share comes nearest; of equally near ones the smallest in size."""
        off = np.abs(self.shares() - share)
        nearest = SHIFTS[off <= off.min() + 1e-12]
        return float(nearest[np.argmin(np.abs(nearest))])


def find_shifts(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int, wanted: dict[int, float]
) -> list[float]:
    """The shift that gives each class its wanted share, each by itself; 0 for classes without one.

    Args:
        batches: (B, C, H, W) logits with (B, H, W) labels, 255 = ignored.
        wanted: class index -> share of the labelled pixels, in [0, 1].
    Returns:
        C numbers for `Calibrated`.
    """
    counts = {index: MarginCounts() for index in wanted}
    for logits, labels in batches:
        for index, count in counts.items():
            count.add(logits, labels, index)
    return [counts[index].shift_for(wanted[index]) if index in counts else 0.0 for index in range(num_classes)]
