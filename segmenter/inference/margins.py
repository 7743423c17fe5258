"""Margins: how clearly a network prefers a class to every other one, in bins that are the same for all runs.

The margin of class c at a pixel is m = log p_c - log max of the other classes' probabilities, after everything that
inference does: mirror images, scales, windows, calibration. Where one prediction is made of an image, that is exactly
the difference of the logits, z_c - max of the others; where probabilities are averaged, it is the same of the average.
A pixel is called c where m > 0, or m = 0 and c is the first of the classes with that probability.

Bin b of 0..BINS-1 holds margins from (b - CALLED) * BIN_WIDTH on, in natural units; the first and the last bin hold
everything beyond. CALLED is the first bin of the pixels that are called the class: by the call itself, so that ties
and rounding cannot move a pixel over that edge, and the calls can be counted from the bins.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # for type checking alone: who reads bins does not need it

BINS = 256
"""as many as a byte can tell apart"""
BIN_WIDTH = 0.125
"""Margins reach 16 to either side. A network that knows how sure it is gains e^0.125 in odds from bin to bin, so what
lies in one bin hardly differs in rank; see tests/segmenter/results/test_ranking.py."""
CALLED = BINS // 2


def margin_bins(probs: "torch.Tensor", called: "torch.Tensor", class_indices: Sequence[int]) -> "torch.Tensor":
    """The bin of each pixel's margin, for some of the classes.

    Args:
        probs: (B, C, H, W) probabilities; or anything in proportion to them at each pixel.
        called: (B, H, W) index of the class that each pixel is called: the likeliest.
        class_indices: R classes.
    Returns:
        (B, R, H, W) uint8.
    """
    # side by side in memory, or one class is read with the gaps of all others
    by_class = probs.contiguous().unbind(1)
    highest, second = by_class[0], probs.new_zeros(()).expand_as(by_class[0])
    for other in by_class[1:]:
        second = second.maximum(highest.minimum(other))
        highest = highest.maximum(other)
    bins = called.new_empty((len(class_indices), *called.shape))
    for place, class_index in enumerate(class_indices):
        own = called == class_index
        rest = second.where(own, highest)
        steps = (by_class[class_index] / rest).log().abs().div(BIN_WIDTH).clamp(max=CALLED - 1).to(called.dtype)
        bins[place] = (steps + CALLED).where(own, CALLED - 1 - steps)
    return bins.transpose(0, 1)
