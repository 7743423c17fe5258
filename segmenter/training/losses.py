"""Losses on logits and label maps: cross-entropy, Dice, focal, and sums of them; ignored pixels left out.

In several processes, a loss is this process's part of the loss of the whole batch; the parts add up to what one process
would compute. `add_up` sums a tensor over the processes.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.classes import IGNORED_INDEX
from segmenter.training.config import LossConfig

AddUp = Callable[[torch.Tensor], torch.Tensor]

_CONFUSION_DECAY = 0.99
"""per step: batches count for about a hundred steps"""


def one_process(tensor: torch.Tensor) -> torch.Tensor:
    """`add_up` of a single process."""
    return tensor


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, add_up: AddUp = one_process
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


def binary_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, add_up: AddUp = one_process, gamma: float = 0.0
) -> torch.Tensor:
    """Binary cross-entropy of each class against the rest: mean over classes, then over labelled pixels, each counted
    with the weight of its true class.

    The weights are on pixels and not on classes: with inverse frequencies on classes, the term of the rarest class
    would be nearly the whole sum, and predicting that class nowhere would be enough.

    Args:
        logits: (B, C, H, W) float32.
        labels: (B, H, W) int64 indices; 255 = ignored.
        weights: (C,) float32, not negative; alpha of the focal loss.
        gamma: of the focal loss; a right class of probability p counts (1 - p)^gamma. 0 = plain cross-entropy.
    Returns:
        () float32; 0 where no pixel counts.
    Source: focal, Lin et al. 2017, arXiv:1708.02002.
    """
    truth, labelled = _one_vs_rest(labels, logits.shape[1])
    loss = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")  # (B, C, H, W)
    if gamma:
        loss = loss * (1 - torch.exp(-loss)) ** gamma  # exp(-loss) is the probability of the right answer
    of_pixel = weights[labels * labelled[:, 0]] * labelled[:, 0]  # (B, H, W)
    total = (loss.mean(1) * of_pixel).sum()
    counted = add_up(of_pixel.sum())
    return total / counted.clamp_min(torch.finfo(torch.float32).tiny)


def dice_loss(
    logits: torch.Tensor, labels: torch.Tensor, add_up: AddUp = one_process, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """1 - Dice coefficient of each class over the whole batch, 0 for a class that is not in it; mean over classes.

    Args:
        logits: (B, C, H, W) float32.
        labels: (B, H, W) int64 indices; 255 = ignored.
        weights: (C,) float32, not negative: of each class in that mean; None = equal.
    Returns:
        () float32, the loss of the whole batch, in every process.
    Source: Milletari et al. 2016, arXiv:1606.04797 (V-Net).
    """
    truth, labelled = _one_vs_rest(labels, logits.shape[1])
    probs = logits.softmax(1) * labelled
    sums = [(probs * truth).sum((0, 2, 3)), probs.sum((0, 2, 3)), truth.sum((0, 2, 3)).float()]
    overlap, predicted, true = add_up(torch.stack(sums))  # (C,) each
    dice = 2 * overlap / (predicted + true).clamp_min(1e-7)
    loss = (1 - dice) * (true > 0)
    return loss.mean() if weights is None else (loss * weights).sum() / weights.sum()


def _one_vs_rest(labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H, W) indices -> (B, C, H, W) 1 where a pixel is of the class, (B, 1, H, W) True where it has a label."""
    labelled = (labels != IGNORED_INDEX)[:, None]
    return F.one_hot(labels * labelled[:, 0], num_classes).movedim(-1, 1) * labelled, labelled


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms that `config` turns on.

    Dice and focal use class weights only where `config.weighted` says so. Dice already averages over classes; with
    inverse frequencies on top, the rarest class would be nearly all of it.

    Args:
        config: weight of each term.
        class_weights: (C,) weights of the classes.
        iou_offset: a, where class weights are updated during training to 1 / (IoU + a); None = they stay as given.
        largest_ratio: bound on such weights, see `cap_class_weights`.
    Source: weights from the IoU, Li et al. 2024, arXiv:2404.04155 (MarsSeg); taking the IoU of a running confusion
        matrix is ours.
    """

    class_weights: torch.Tensor
    confusion: torch.Tensor
    """(C, C) float32 pixels of the last batches, weighted by age; row = truth. See `update_class_weights`"""

    def __init__(
        self,
        config: LossConfig,
        class_weights: np.ndarray,
        iou_offset: float | None = None,
        largest_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        self.config, self.iou_offset, self.largest_ratio = config, iou_offset, largest_ratio
        weights = torch.from_numpy(np.asarray(class_weights, np.float32))
        self.register_buffer("class_weights", torch.ones_like(weights) if iou_offset else weights)
        self.register_buffer("confusion", torch.zeros(len(weights), len(weights)))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, add_up: AddUp = one_process) -> torch.Tensor:
        """(B, C, H, W) logits of any float type, (B, H, W) int64 labels (255 = ignored) -> () float32.

        Logits of fewer classes than there are weights are those of the first ones.
        """
        logits, config = logits.float(), self.config
        # 0, but depends on every logit: a NaN is noticed even where no pixel is labelled
        loss = 0.0 * logits.sum()
        labelled = (labels != IGNORED_INDEX).sum()
        in_batch = add_up(labelled)
        if not in_batch:
            return loss
        fraction = labelled / in_batch  # of the labelled pixels of the batch
        weights = self.class_weights[: logits.shape[1]]
        equal = torch.ones_like(weights)
        if config.cross_entropy:
            loss = loss + config.cross_entropy * weighted_cross_entropy(logits, labels, weights, add_up)
        if config.bce:
            loss = loss + config.bce * binary_cross_entropy(logits, labels, weights, add_up)
        if config.dice:
            dice = dice_loss(logits, labels, add_up, weights if "dice" in config.weighted else None)
            loss = loss + config.dice * fraction * dice
        if config.focal:
            of_focal = weights if "focal" in config.weighted else equal
            loss = loss + config.focal * binary_cross_entropy(logits, labels, of_focal, add_up, gamma=2.0)
        return loss

    @torch.no_grad()
    def update_class_weights(self, logits: torch.Tensor, labels: torch.Tensor, add_up: AddUp = one_process) -> None:
        """Set the class weights to 1 / (IoU + a) of the last batches; without effect where they are fixed.

        Args:
            logits: (B, C, H, W) of a training batch.
            labels: (B, H, W) int64 indices; 255 = ignored.
        """
        if self.iou_offset is None:
            return
        num_classes, kept = logits.shape[1], labels != IGNORED_INDEX
        pairs = labels[kept] * num_classes + logits.argmax(1)[kept]
        found = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        self.confusion.mul_(_CONFUSION_DECAY).add_(add_up(found))
        hits = self.confusion.diagonal()
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        iou = hits / union.clamp_min(1e-9)  # 0 for a class that has not occurred yet
        weights = cap_class_weights((1 / (iou + self.iou_offset)).cpu().numpy(), self.largest_ratio)
        self.class_weights.copy_(torch.from_numpy(weights))


def cap_class_weights(weights: np.ndarray, largest_ratio: float) -> np.ndarray:
    """Bound the weights of rare classes, relative to that of the most frequent one.

    Args:
        weights: (C,) class weights; 0 for a class without a training pixel.
        largest_ratio: bound on weight / smallest positive weight; 0 = none.
    Returns:
        (C,) float32 with mean 1. A class without a training pixel gets the largest weight, since it is the rarest of
        all, and extra scenes may show it.
    """
    known = weights > 0
    if not known.any():
        return np.ones_like(weights, dtype=np.float32)
    bound = weights[known].min() * largest_ratio if largest_ratio else np.inf
    capped = np.minimum(np.where(known, weights, weights.max()), bound)
    return (capped / capped.mean()).astype(np.float32)
