"""Calibration: a shift of each rare class's logit, so that the class is predicted as often as it occurs.

Oversampling, class weights and pasted regions make a network over-predict the rare class, each by another amount. A
shift of the class's logit corrects that without retraining, by one rule for every recipe: on the real validation
scenes, the class gets the fraction of the pixels that the training labels lead to expect. That fraction is known well
even where too few validation scenes show the class to choose a shift by IoU.
Source: logit adjustment, Menon et al. 2021, arXiv:2007.07314; known class priors, Saerens et al. 2002,
doi:10.1162/089976602753284446.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from marsgen.cleaning.dataset import Dataset
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.scene import batches_of_one_shape
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.sliding_window import predict_whole

SHIFTS = np.round(np.arange(-12, 12.001, 0.05), 2)
"""candidates, in units of a logit"""


class MarginCounts:
    """Labelled pixels counted by the lead of one class over the others: its fraction of the prediction at any shift.

    Attributes:
        pixels: (len(SHIFTS) + 1,) int64, by the first shift at which a pixel is predicted as the class.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros(len(SHIFTS) + 1, np.int64)

    def add(self, logits: np.ndarray, labels: np.ndarray, class_index: int) -> None:
        """Count a batch: logits (B, C, H, W) float, labels (B, H, W) indices with 255 = ignored."""
        rest = np.delete(logits, class_index, axis=1).max(1)
        # predicted as the class where its lead plus the shift is above 0
        first = np.searchsorted(SHIFTS, rest - logits[:, class_index], side="right")
        self.pixels += np.bincount(first[labels != IGNORED_INDEX], minlength=len(SHIFTS) + 1)

    def fractions(self) -> np.ndarray:
        """(len(SHIFTS),) fraction of the labelled pixels predicted as the class at each shift; rising."""
        return np.cumsum(self.pixels)[:-1] / max(self.pixels.sum(), 1)

    def shift_for(self, fraction: float) -> float:
        """The shift whose fraction is nearest; of equally near ones the smallest in absolute value."""
        off = np.abs(self.fractions() - fraction)
        nearest = SHIFTS[off <= off.min() + 1e-12]
        return float(nearest[np.argmin(np.abs(nearest))])


def find_shifts(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int, wanted: dict[int, float]
) -> list[float]:
    """The shift that gives each class its wanted fraction, each class by itself; 0 for classes without one.

    Args:
        batches: (B, C, H, W) logits with (B, H, W) labels, 255 = ignored.
        wanted: class index -> fraction of the labelled pixels, in [0, 1].
    Returns:
        C numbers for `Calibrated`.
    """
    counts = {index: MarginCounts() for index in wanted}
    for logits, labels in batches:
        for index, count in counts.items():
            count.add(logits, labels, index)
    return [counts[index].shift_for(wanted[index]) if index in counts else 0.0 for index in range(num_classes)]


@torch.inference_mode()
def choose_shifts(network: nn.Module, dataset: Dataset, factor: float, batch_size: int = 32) -> list[float]:
    """Shifts for a trained network, from its logits on the validation scenes.

    Args:
        network: in eval mode.
        dataset: the training run's data.
        factor: a rare class gets this many times its fraction of the training labels.
    Returns:
        C numbers for `Calibrated`; 0 for classes that are not rare.
    """
    classes, device = dataset.scenes.classes, next(network.parameters()).device

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches_of_one_shape((dataset.scenes[index] for index in dataset.split.val), batch_size):
            images = image_tensor(np.stack([scene.image for scene in batch])).to(device)
            logits = predict_whole(network, images.contiguous(memory_format=torch.channels_last))[:, : len(classes)]
            yield logits.float().cpu().numpy(), np.stack([scene.indices for scene in batch])

    pixels = dataset.survey.pixels[list(dataset.split.train), : len(classes)].sum(0)
    rare = [classes.index(name) for name in classes.rare]
    wanted = {index: min(factor * float(pixels[index] / pixels.sum()), 1.0) for index in rare}
    return find_shifts(batches(), len(classes), wanted)
