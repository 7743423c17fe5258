"""Losses on logits and label maps: weighted cross-entropy, Dice, focal, and sums of them; ignored pixels left out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.classes import IGNORED_INDEX
from segmenter.config import LossConfig


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy averaged over labelled pixels, each counted with the weight of its true class.

    Args:
        logits: (B, C, H, W) float32.
        labels: (B, H, W) int64 indices; 255 = ignored.
        weights: (C,) float32, not negative.
    Returns:
        () float32; 0 where no pixel counts (torch's own mean is NaN there).
    """
    total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORED_INDEX, reduction="sum")
    counted = weights[labels[labels != IGNORED_INDEX]].sum()
    return total / counted.clamp_min(torch.finfo(torch.float32).tiny)


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms that `config` turns on.

    Only cross-entropy uses the class weights. Dice and focal average over classes already; with inverse frequencies on
    top, the rarest class would be nearly all of their sum.

    Args:
        config: weight of each term.
        class_weights: (C,) weights of the classes in cross-entropy.
    Source: Dice, Milletari et al. 2016, arXiv:1606.04797 (V-Net); focal, Lin et al. 2017, arXiv:1708.02002; both as in
        segmentation_models_pytorch, where focal treats each class as a yes-or-no question of its own.
    """

    class_weights: torch.Tensor

    def __init__(self, config: LossConfig, class_weights: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("class_weights", torch.from_numpy(np.asarray(class_weights, np.float32)))
        self.extra_terms = _region_terms(config)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) logits of any float type, (B, H, W) int64 labels (255 = ignored) -> () float32."""
        logits = logits.float()
        # 0, but attached to every logit: a broken network is noticed even where no pixel is labelled
        loss = 0.0 * logits.sum()
        if bool((labels == IGNORED_INDEX).all()):
            return loss
        if self.config.cross_entropy:
            loss = loss + self.config.cross_entropy * weighted_cross_entropy(logits, labels, self.class_weights)
        for weight, term in self.extra_terms:
            loss = loss + weight * term(logits, labels)
        return loss


def _region_terms(config: LossConfig) -> list[tuple[float, nn.Module]]:
    if not (config.dice or config.focal):
        return []
    # takes seconds to import, and most runs need neither
    from segmentation_models_pytorch.losses import MULTICLASS_MODE, DiceLoss, FocalLoss

    terms = [
        (config.dice, DiceLoss(MULTICLASS_MODE, ignore_index=IGNORED_INDEX)),
        (config.focal, FocalLoss(MULTICLASS_MODE, gamma=2.0, ignore_index=IGNORED_INDEX)),
    ]
    return [(weight, term) for weight, term in terms if weight]


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
