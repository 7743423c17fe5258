"""Agreement of a judge with the label map, counted by hand."""

import numpy as np
import pytest

from marsgen.quality import agreement
from marsgen.quality.agreement import agreement_counts, pixel_losses
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import iou_per_class

CLASSES = ClassSet(("soil", "sand", "rock"), (1, 2, 4), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), ignored=0, rare=("rock",))


class GreyJudge:
    """Sees rock with a probability that grows with the grey value, sand never, soil otherwise."""

    fingerprint, classes, channels, trained_on, saw_synthetic = "a" * 16, CLASSES, 1, (), False

    def __init__(self):
        self.calls: list[int] = []

    def probs(self, images):
        self.calls.append(len(images))
        rock = (images[..., 0] / np.float32(255)).astype(np.float32)
        return np.stack([1 - rock, np.zeros_like(rock), rock], axis=1)

    def features(self, images):
        return images.reshape(len(images), -1).astype(np.float32)


def picture(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)[None, :, :, None]


def wanted(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)[None]


def test_rows_are_classes_of_the_label_map_and_columns_those_of_the_judge():
    counts = agreement_counts(GreyJudge(), picture([255, 255, 0, 0]), wanted([2, 0, 2, 1]))
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [[[0, 0, 1], [1, 0, 0], [1, 0, 1]]])
    np.testing.assert_allclose(iou_per_class(counts)[0], [0, 0, 1 / 3])


def test_ignored_pixels_have_no_say():
    counts = agreement_counts(GreyJudge(), picture([255, 255, 0]), wanted([2, 255, 255]))
    np.testing.assert_array_equal(counts, [[[0, 0, 0], [0, 0, 0], [0, 0, 1]]])


def test_soft_counts_hold_probabilities():
    # rock with 0.2 where the label map has it and 0.4 beside it: IoU 0.2 / (1 + 0.4)
    soft = agreement_counts(GreyJudge(), picture([51, 102]), wanted([2, 0]), soft=True)
    np.testing.assert_allclose(soft, [[[0.6, 0, 0.4], [0, 0, 0], [0.8, 0, 0.2]]], rtol=1e-6)
    assert iou_per_class(soft)[0, 2] == pytest.approx(0.2 / 1.4)


def test_soft_and_hard_agree_where_the_judge_is_certain():
    rng = np.random.default_rng(0)
    images, indices = rng.choice([0, 255], (3, 8, 9, 1)).astype(np.uint8), rng.choice([0, 1, 2, 255], (3, 8, 9))
    hard, soft = (agreement_counts(GreyJudge(), images, indices.astype(np.uint8), soft=s) for s in (False, True))
    assert hard.sum() == (indices != 255).sum() > 100
    np.testing.assert_array_equal(soft, hard)


def test_losses_are_the_cross_entropy_of_the_label_map():
    losses = pixel_losses(GreyJudge(), picture([51, 51, 51, 0]), wanted([2, 0, 255, 2]))
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses[0, 0, :3], [-np.log(0.2), -np.log(0.8), 0], rtol=1e-5)
    assert 80 < losses[0, 0, 3] < 90  # probability 0: large, not infinite


def test_large_pictures_are_judged_a_few_at_a_time_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(0)
    images, indices = rng.integers(0, 256, (5, 8, 8, 1), np.uint8), rng.choice([0, 2, 255], (5, 8, 8)).astype(np.uint8)
    whole = agreement_counts(GreyJudge(), images, indices), pixel_losses(GreyJudge(), images, indices)
    monkeypatch.setattr(agreement, "MAX_PX", 2 * 64)
    judge = GreyJudge()
    np.testing.assert_array_equal(agreement_counts(judge, images, indices), whole[0])
    np.testing.assert_array_equal(pixel_losses(judge, images, indices), whole[1])
    assert judge.calls == [2, 2, 1, 2, 2, 1]


def test_nothing_to_judge_is_no_error():
    empty = np.zeros((0, 8, 8, 1), np.uint8), np.zeros((0, 8, 8), np.uint8)
    assert agreement_counts(GreyJudge(), *empty).shape == (0, 3, 3)
    assert pixel_losses(GreyJudge(), *empty).shape == (0, 8, 8)
