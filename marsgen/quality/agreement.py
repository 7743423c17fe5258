"""How far a judge's segmentation of a synthetic picture agrees with the label map that the picture was made from."""

from collections.abc import Iterator

import numpy as np

from marsgen.quality.judges import Judge
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.confusion import confusion_matrix

MAX_PX = 2**20
"""pixels that a judge sees at once; bounds its memory"""


def agreement_counts(judge: Judge, images: np.ndarray, indices: np.ndarray, *, soft: bool = False) -> np.ndarray:
    """Count pixels by the class of the label map and the class that the judge predicts.

    Args:
        images: (B, H, W, channels) uint8.
        indices: (B, H, W) uint8 class indices of the label maps; 255 = ignored, left out.
        soft: a pixel counts for every class with the judge's probability, not only for the most probable one.
    Returns:
        (B, C, C) int64 (float64 where soft); row = label map, column = judge. Input of `iou_per_class`, picture by
        picture or summed over B.
    """
    num_classes = len(judge.classes)
    counts = np.zeros((len(images), num_classes, num_classes), np.float64 if soft else np.int64)
    for some, probs in _probs(judge, images):
        for number, labels, seen in zip(range(some.start, some.stop), indices[some], probs, strict=True):
            if soft:
                counts[number] = _sum_probs(labels, seen)
            else:
                counts[number] = confusion_matrix(labels, seen.argmax(0), num_classes)
    return counts


def pixel_losses(judge: Judge, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The judge's cross-entropy of the label map, pixel by pixel.

    Args:
        images, indices: as in `agreement_counts`.
    Returns:
        (B, H, W) float32 in nats, 0 .. about 87; 0 where ignored.
    """
    losses = np.zeros(indices.shape, np.float32)
    for some, probs in _probs(judge, images):
        labelled = indices[some] != IGNORED_INDEX
        classes = np.where(labelled, indices[some], 0).astype(np.intp)[:, None]  # (b, 1, H, W)
        of_class = np.take_along_axis(probs, classes, axis=1)[:, 0]
        # the smallest normal number instead of 0: a softmax that rounds to 0 gives a large loss, not an infinite one
        losses[some] = np.where(labelled, -np.log(np.maximum(of_class, np.finfo(np.float32).tiny)), 0)
    return losses


def _sum_probs(indices: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(H, W) indices and (C, H, W) probabilities -> (C, C) float64 sums over the pixels of each class index."""
    return np.stack([probs[:, indices == index].sum(1, dtype=np.float64) for index in range(len(probs))])


def _probs(judge: Judge, images: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The judge's (b, C, H, W) probabilities of some of the pictures, then of the next ones."""
    per_call = max(MAX_PX // (images.shape[1] * images.shape[2]), 1)
    for start in range(0, len(images), per_call):
        some = slice(start, min(start + per_call, len(images)))
        yield some, judge.probs(images[some])
