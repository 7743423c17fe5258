"""Confusion counts and scores against hand counts and against torchmetrics."""

import numpy as np
import pytest
import torch

from marsgen.scenes.confusion import (
    confusion_matrix,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
    precision_per_class,
    recall_per_class,
)

# truth 0 0 1 1, predicted 0 1 1 1, class 2 nowhere
HAND = np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])


def random_maps(num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, (3, 40, 50)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, num_classes, truth.shape)).astype(
        np.uint8
    )
    truth[rng.random(truth.shape) < 0.2] = 255
    return truth, predicted


def test_pixels_are_counted_by_row_truth_and_column_prediction():
    truth, predicted = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 3), HAND)


def test_ignored_pixels_are_in_no_count():
    truth, predicted = np.array([[0, 255, 1, 255]], np.uint8), np.array([[0, 1, 0, 0]], np.uint8)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 2), [[1, 0], [1, 0]])


def test_scores_counted_by_hand():
    np.testing.assert_allclose(iou_per_class(HAND), [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(precision_per_class(HAND), [1, 2 / 3, np.nan])
    np.testing.assert_allclose(recall_per_class(HAND), [1 / 2, 1, np.nan])
    np.testing.assert_allclose(mean_iou(HAND), (1 / 2 + 2 / 3) / 2)
    np.testing.assert_allclose(pixel_accuracy(HAND), 3 / 4)
    np.testing.assert_allclose(pixel_accuracy(HAND, ignored_px=2), 3 / 6)


def test_a_class_only_predicted_scores_zero_and_not_nothing():
    assert iou_per_class(np.array([[3, 1], [0, 0]]))[1] == 0


def test_nothing_scored_is_nan_not_zero():
    assert np.isnan(mean_iou(np.zeros((2, 2), int)))
    assert np.isnan(pixel_accuracy(np.zeros((2, 2), int)))


def test_counts_of_parts_add_up_to_the_whole():
    truth, predicted = random_maps(5)
    parts = [confusion_matrix(t, p, 5) for t, p in zip(truth, predicted, strict=True)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(truth, predicted, 5))


@pytest.mark.parametrize("num_classes", [2, 4, 20])
def test_torchmetrics_agrees(num_classes: int):
    # here: it takes seconds to import, and every process that runs tests imports every test file
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
        multiclass_jaccard_index,
        multiclass_precision,
        multiclass_recall,
    )

    truth, predicted = random_maps(num_classes, seed=num_classes)
    confusion = confusion_matrix(truth, predicted, num_classes)
    p, t = torch.from_numpy(predicted.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    common = {"num_classes": num_classes, "ignore_index": 255}
    np.testing.assert_array_equal(confusion, multiclass_confusion_matrix(p, t, **common))
    for ours, theirs in (
        (iou_per_class, multiclass_jaccard_index),
        (precision_per_class, multiclass_precision),
        (recall_per_class, multiclass_recall),
    ):
        np.testing.assert_allclose(ours(confusion), theirs(p, t, average="none", **common), atol=1e-6)
    np.testing.assert_allclose(
        pixel_accuracy(confusion), multiclass_accuracy(p, t, average="micro", **common), atol=1e-6
    )


def test_many_matrices_at_once_score_like_one_by_one():
    truth, predicted = random_maps(4)
    stack = np.stack([confusion_matrix(t, p, 4) for t, p in zip(truth, predicted, strict=True)])
    np.testing.assert_allclose(iou_per_class(stack), [iou_per_class(c) for c in stack])
    np.testing.assert_allclose(mean_iou(stack), [mean_iou(c) for c in stack])


@pytest.mark.parametrize(
    ("truth", "predicted", "words"),
    [
        ([[0, 1]], [[0], [1]], "differ in shape"),
        ([[0, 3]], [[0, 1]], r"class index outside 0\.\.2"),
        ([[0, 1]], [[0, 255]], r"class index outside 0\.\.2"),
        ([[0, -1]], [[0, 1]], r"class index outside 0\.\.2"),
    ],
)
def test_impossible_label_maps_are_refused(truth: list, predicted: list, words: str):
    with pytest.raises(ValueError, match=words):
        confusion_matrix(np.array(truth), np.array(predicted), 3)


@pytest.mark.parametrize(
    ("counts", "words"), [(np.zeros((2, 3)), "not square"), (np.array([[1, -1], [0, 0]]), "negative")]
)
def test_impossible_counts_are_refused(counts: np.ndarray, words: str):
    with pytest.raises(ValueError, match=words):
        iou_per_class(counts)
