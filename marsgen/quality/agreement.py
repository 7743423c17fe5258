"""A judge's opinion of a picture beside the label map that the picture was asked to show."""

from collections.abc import Iterable, Iterator

import numpy as np

from marsgen.quality.judges import Judge
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.confusion import confusion_matrix

MAX_PX = 2**20
"""pixels that a judge sees at once; bounds its memory whatever the size of the pictures"""


def agreement_counts(judge: Judge, images: np.ndarray, indices: np.ndarray, *, soft: bool = False) -> np.ndarray:
    """Count pixels by the class asked for and the class that the judge sees.

    Args:
        images: (B, H, W, channels) uint8.
        indices: (B, H, W) uint8 class indices asked for; 255 = ignored, left out.
        soft: a pixel counts for every class with the judge's probability, not for the likeliest alone.
    Returns:
        (B, C, C) int64 (float64 where soft); row = asked for, column = seen by the judge. `iou_per_class` reads it,
        picture by picture or summed over B.
    """
    num_classes = len(judge.classes)
    counts = np.zeros((len(images), num_classes, num_classes), np.float64 if soft else np.int64)
    for some, probs in _probs(judge, images):
        for number, asked, seen in zip(range(some.start, some.stop), indices[some], probs, strict=True):
            if soft:
                counts[number] = _sum_probs(asked, seen)
            else:
                counts[number] = confusion_matrix(asked, seen.argmax(0), num_classes)
    return counts


def pixel_losses(judge: Judge, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The judge's cross-entropy of the class asked for, pixel by pixel.

    Args:
        images, indices: as in `agreement_counts`.
    Returns:
        (B, H, W) float32 in nats, 0 .. about 87; 0 where ignored.
    """
    losses = np.zeros(indices.shape, np.float32)
    for some, probs in _probs(judge, images):
        labelled = indices[some] != IGNORED_INDEX
        asked = np.where(labelled, indices[some], 0).astype(np.intp)[:, None]  # (b, 1, H, W)
        of_asked = np.take_along_axis(probs, asked, axis=1)[:, 0]
        # the least normal number instead of 0: a softmax that rounds to 0 is certain, not infinitely so
        losses[some] = np.where(labelled, -np.log(np.maximum(of_asked, np.finfo(np.float32).tiny)), 0)
    return losses


def usual_losses(pictures: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int) -> np.ndarray:
    """What a pixel of each class usually loses: the mean over all pictures, taken one after the other.

    Args:
        pictures: pairs of losses and indices, as `pixel_losses` gives and takes them.
        num_classes: C.
    Returns:
        (C,) float64; infinite for a class without a pixel, of which no loss is unusual.
    """
    totals, counts = np.zeros(num_classes), np.zeros(num_classes, np.int64)
    for losses, indices in pictures:
        labelled = indices != IGNORED_INDEX
        totals += np.bincount(indices[labelled], losses[labelled].astype(np.float64), num_classes)
        counts += np.bincount(indices[labelled], minlength=num_classes)
    return np.divide(totals, counts, out=np.full(num_classes, np.inf), where=counts > 0)


def ignore_noisy(
    indices: np.ndarray, losses: np.ndarray, usual: np.ndarray, tolerance: float, where: np.ndarray | bool = True
) -> np.ndarray:
    """Turn pixels that lose far more than is usual for their class into ignored ones.

    Args:
        indices: (..., H, W) uint8 class indices asked for; 255 = ignored.
        losses: (..., H, W) of the same pixels.
        usual: (C,) from `usual_losses`.
        tolerance: a pixel may lose this many times what is usual.
        where: (..., H, W) bool, the pixels that may change.
    Returns:
        (..., H, W) uint8, a new array.
    Source: FreeMask, Yang et al. 2023, arXiv:2310.15160: the usual losses are those of real scenes, the tolerance 1.25.
    """
    bounds = np.full(256, np.inf)
    bounds[: len(usual)] = tolerance * usual
    return np.where((losses > bounds[indices]) & where, np.uint8(IGNORED_INDEX), indices)


def _sum_probs(asked: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(H, W) indices and (C, H, W) probabilities -> (C, C) float64 sums over the pixels of each class asked for."""
    return np.stack([probs[:, asked == index].sum(1, dtype=np.float64) for index in range(len(probs))])


def _probs(judge: Judge, images: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The judge's (b, C, H, W) probabilities of some of the pictures, then of the next ones."""
    per_call = max(MAX_PX // (images.shape[1] * images.shape[2]), 1)
    for start in range(0, len(images), per_call):
        some = slice(start, min(start + per_call, len(images)))
        yield some, judge.probs(images[some])
