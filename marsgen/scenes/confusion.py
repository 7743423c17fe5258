"""Confusion matrix and the scores computed from it."""

import numpy as np

from marsgen.scenes.classes import IGNORED_INDEX


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by true and predicted class.

    Args:
        truth: integer class indices, any shape; 255 = ignored, left out.
        predicted: integer class indices 0..num_classes-1 of the same shape.
        num_classes: C.
    Returns:
        (C, C) int64 pixel counts; row = truth, column = prediction.
    Raises:
        ValueError: shapes differ, or a scored pixel has an index outside 0..C-1.
    """
    return confusion_matrices(truth[None], predicted[None], num_classes)[0]


def confusion_matrices(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """`confusion_matrix` of each of B pictures: (B, ...) and (B, ...) -> (B, C, C) int64, counted all at once."""
    if truth.shape != predicted.shape:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} differ in shape")
    scored = truth != IGNORED_INDEX
    t, p = truth[scored].astype(np.int64), predicted[scored].astype(np.int64)
    if t.size and (max(t.max(), p.max()) >= num_classes or min(t.min(), p.min()) < 0):
        raise ValueError(f"class index outside 0..{num_classes - 1}")
    picture = np.repeat(np.arange(len(truth)), np.count_nonzero(scored.reshape(len(truth), -1), axis=1))
    shape = (len(truth), num_classes, num_classes)
    return np.bincount((picture * num_classes + t) * num_classes + p, minlength=np.prod(shape)).reshape(shape)


def _check(confusion: np.ndarray) -> np.ndarray:
    if confusion.ndim < 2 or confusion.shape[-1] != confusion.shape[-2]:
        raise ValueError(f"confusion of shape {confusion.shape} is not square")
    if (confusion < 0).any():
        raise ValueError("confusion holds a negative count")
    return confusion.astype(np.float64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Args:
        confusion: (..., C, C) pixel counts; row = truth, column = prediction; ignored pixels left out.
    Returns:
        (..., C) float64 in [0, 1]. NaN where a class is in neither truth nor prediction: nothing to score.
    Raises:
        ValueError: not square, or a negative count.
    Source: PASCAL VOC segmentation accuracy, Everingham et al. 2010, doi:10.1007/s11263-009-0275-4.
    """
    counts = _check(confusion)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    return _ratio(hit, counts.sum(-1) + counts.sum(-2) - hit)


def precision_per_class(confusion: np.ndarray) -> np.ndarray:
    """Fraction of the pixels predicted as a class that are of it: (..., C, C) -> (..., C) in [0, 1], NaN if none."""
    counts = _check(confusion)
    return _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-2))


def recall_per_class(confusion: np.ndarray) -> np.ndarray:
    """Fraction of a class's pixels that are predicted as it: (..., C, C) -> (..., C) in [0, 1], NaN if none."""
    counts = _check(confusion)
    return _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1))


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean of `iou_per_class` over the classes that can be scored: (..., C, C) counts -> (...) float64.

    NaN classes are left out of the mean, and the mean is NaN where no class can be scored.
    """
    iou = iou_per_class(confusion)
    scored = ~np.isnan(iou)
    return _ratio(np.where(scored, iou, 0).sum(-1), scored.sum(-1).astype(np.float64))


def pixel_accuracy(confusion: np.ndarray, ignored_px: int | np.ndarray = 0) -> np.ndarray:
    """Fraction of correct pixels: (..., C, C) counts -> (...) in [0, 1].

    Args:
        ignored_px: pixels without a label that count as wrong. 0 gives the accuracy over labelled pixels; the number of
            ignored pixels gives the stricter figure over the whole picture (a network that never says "no label" has
            none of those right).
    """
    counts = _check(confusion)
    hit = np.trace(counts, axis1=-2, axis2=-1)
    return _ratio(hit, counts.sum((-2, -1)) + ignored_px)
