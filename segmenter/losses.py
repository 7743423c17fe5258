"""Losses on logits and label maps: weighted cross-entropy, Dice, focal, and sums of them; ignored pixels left out.

Where several processes share a batch, a loss is this process's part of the batch's loss: the parts add up to what one
process would have computed. `add_up` sums a tensor over the processes.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.classes import IGNORED_INDEX
from segmenter.config import LossConfig

AddUp = Callable[[torch.Tensor], torch.Tensor]


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return tensor


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, add_up: AddUp = alone
) -> torch.Tensor:
    """Cross-entropy averaged over labelled pixels, each counted with the weight of its true class.

    Args:
        logits: (B, C, H, W) float32.
        labels: (B, H, W) int64 indices; 255 = ignored.
        weights: (C,) float32, not negative.
    Returns:
        () float32; 0 where no pixel counts (torch's own mean is NaN there).
    """
    total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORED_INDEX, reduction="sum")
    counted = add_up(weights[labels[labels != IGNORED_INDEX]].sum())
    return total / counted.clamp_min(torch.finfo(torch.float32).tiny)


def dice_loss(logits: torch.Tensor, labels: torch.Tensor, add_up: AddUp = alone) -> torch.Tensor:
    """1 - Dice coefficient of each class over the whole batch, 0 for a class that is not in it; mean over classes.

    Args:
        logits: (B, C, H, W) float32.
        labels: (B, H, W) int64 indices; 255 = ignored.
    Returns:
        () float32, the loss of the whole batch in every process.
    Source: Milletari et al. 2016, arXiv:1606.04797 (V-Net).
    """
    labelled = (labels != IGNORED_INDEX)[:, None]
    truth = F.one_hot(labels * labelled[:, 0], logits.shape[1]).movedim(-1, 1) * labelled  # (B, C, H, W)
    probs = logits.softmax(1) * labelled
    sums = [(probs * truth).sum((0, 2, 3)), probs.sum((0, 2, 3)), truth.sum((0, 2, 3)).float()]
    overlap, predicted, true = add_up(torch.stack(sums))  # (C,) each
    dice = 2 * overlap / (predicted + true).clamp_min(1e-7)
    return ((1 - dice) * (true > 0)).mean()


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms that `config` turns on.

    Only cross-entropy uses the class weights. Dice and focal average over classes already; with inverse frequencies on
    top, the rarest class would be nearly all of their sum.

    Args:
        config: weight of each term.
        class_weights: (C,) weights of the classes in cross-entropy.
    Source: focal, Lin et al. 2017, arXiv:1708.02002, as in segmentation_models_pytorch, where it treats each class as
        a yes-or-no question of its own.
    """

    class_weights: torch.Tensor

    def __init__(self, config: LossConfig, class_weights: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("class_weights", torch.from_numpy(np.asarray(class_weights, np.float32)))
        self.focal = _focal_loss() if config.focal else None

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, add_up: AddUp = alone) -> torch.Tensor:
        """(B, C, H, W) logits of any float type, (B, H, W) int64 labels (255 = ignored) -> () float32."""
        logits = logits.float()
        # 0, but attached to every logit: a broken network is noticed even where no pixel is labelled
        loss = 0.0 * logits.sum()
        labelled = (labels != IGNORED_INDEX).sum()
        in_batch = add_up(labelled)
        if not in_batch:
            return loss
        share = labelled / in_batch  # of the labelled pixels; the shares of all processes add up to 1
        if self.config.cross_entropy:
            loss = loss + self.config.cross_entropy * weighted_cross_entropy(logits, labels, self.class_weights, add_up)
        if self.config.dice:
            loss = loss + self.config.dice * share * dice_loss(logits, labels, add_up)
        if self.focal is not None and labelled:  # a mean over the labelled pixels: NaN without any
            loss = loss + self.config.focal * share * self.focal(logits, labels)
        return loss


def _focal_loss() -> nn.Module:
    # takes seconds to import, and most runs do not need it
    from segmentation_models_pytorch.losses import MULTICLASS_MODE, FocalLoss

    return FocalLoss(MULTICLASS_MODE, gamma=2.0, ignore_index=IGNORED_INDEX)


def cap_class_weights(weights: np.ndarray, largest_ratio: float) -> np.ndarray:
    """Bound how much more a rare class weighs than the most frequent one.

    Args:
        weights: (C,) class weights; 0 for a class without a training pixel.
        largest_ratio: bound on weight / smallest positive weight; 0 = none.
    Returns:
        (C,) float32 with mean 1. A class without a training pixel gets the largest weight: it is the rarest of all, and
        extra scenes may show it.
    """
    known = weights > 0
    if not known.any():
        return np.ones_like(weights, dtype=np.float32)
    bound = weights[known].min() * largest_ratio if largest_ratio else np.inf
    capped = np.minimum(np.where(known, weights, weights.max()), bound)
    return (capped / capped.mean()).astype(np.float32)
