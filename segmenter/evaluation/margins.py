"""Pixels counted by their margin: what scores are made of that do not depend on how readily a class is called."""

from collections.abc import Sequence

import numpy as np

from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from segmenter.inference.margins import BINS, CALLED


def ranked_classes(classes: ClassSet) -> list[int]:
    """Indices of the classes whose margins are counted: the rare ones, in their order."""
    return [classes.index(name) for name in classes.rare]


def count_margins(truth: np.ndarray, bins: np.ndarray, class_indices: Sequence[int]) -> np.ndarray:
    """Count the labelled pixels of each picture by bin.

    Args:
        truth: (B, H, W) uint8 class indices; 255 = ignored, left out.
        bins: (B, R, H, W) uint8, see `margin_bins`.
        class_indices: R classes.
    Returns:
        (B, R, 2, BINS) int64: pixels labelled with the class, other labelled pixels.
    """
    counts = np.empty((len(truth), len(class_indices), 2, BINS), np.int64)
    first = (np.arange(len(truth)) * (3 * BINS))[:, None, None]
    for place, class_index in enumerate(class_indices):
        # ignored pixels are counted too, and left out at the end: faster than picking the others out
        start = np.full(256, BINS)
        start[class_index], start[IGNORED_INDEX] = 0, 2 * BINS
        index = start[truth]
        index += first
        index += bins[:, place]
        found = np.bincount(index.ravel(), minlength=len(truth) * 3 * BINS)
        counts[:, place] = found.reshape(len(truth), 3, BINS)[:, :2]
    return counts


def disagreeing(margins: np.ndarray, counts: np.ndarray, class_indices: Sequence[int]) -> np.ndarray:
    """(N,) bool: the pictures whose margins do not hold the pixels of their confusion matrix.

    Args:
        margins: (N, R, 2, BINS), see `count_margins`.
        counts: (N, C, C) pixels; row = truth, column = prediction.
    """
    wrong = np.zeros(len(counts), bool)
    for place, c in enumerate(class_indices):
        hit, true, called = counts[:, c, c], counts[:, c].sum(1), counts[:, :, c].sum(1)
        in_all, in_called = margins[:, place].sum(2), margins[:, place, :, CALLED:].sum(2)
        expected = (true, counts.sum((1, 2)) - true, hit, called - hit)
        found = (in_all[:, 0], in_all[:, 1], in_called[:, 0], in_called[:, 1])
        wrong |= np.any([a != b for a, b in zip(found, expected, strict=True)], axis=0)
    return wrong
