"""Losses: values against a second computation in numpy, and no say for ignored pixels."""

import numpy as np
import pytest
import torch
from segmentation_models_pytorch.losses import MULTICLASS_MODE, FocalLoss

from segmenter.config import LossConfig
from segmenter.training.losses import SegmentationLoss, cap_class_weights, weighted_cross_entropy

WEIGHTS = np.array([0.5, 1.0, 3.0], np.float32)
TERMS = ["cross_entropy", "bce", "dice", "focal", "weighted dice", "weighted focal"]


@pytest.fixture
def batch():
    """(2, 3, 8, 8) logits and (2, 8, 8) labels, about a quarter of them ignored."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 8, 8))
    labels[rng.random(labels.shape) < 0.25] = 255
    return rng.normal(size=(2, 3, 8, 8)).astype(np.float32), labels


def only(term: str, weight: float = 1.0) -> SegmentationLoss:
    name = term.removeprefix("weighted ")
    weighted = (name,) if name != term else ()
    return SegmentationLoss(LossConfig(**{"cross_entropy": 0.0, name: weight, "weighted": weighted}), WEIGHTS)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def expected(term: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The formulas written out over labelled pixels."""
    kept = labels != 255
    truth = labels[kept]
    if term == "cross_entropy":
        p = softmax(logits).transpose(0, 2, 3, 1)[kept]
        w = WEIGHTS[truth]
        return float((-w * np.log(p[np.arange(len(truth)), truth])).sum() / w.sum())
    per_class = []
    for c in range(3):
        yes = truth == c
        if term.endswith("dice"):
            p = softmax(logits)[:, c][kept]
            per_class.append(1 - 2 * p[yes].sum() / (p.sum() + yes.sum()))
        else:
            p = 1 / (1 + np.exp(-logits[:, c][kept]))
            right = np.where(yes, p, 1 - p)
            pixels = None if term == "focal" else WEIGHTS[truth]
            per_class.append(np.average(-((1 - right) ** (0 if term == "bce" else 2)) * np.log(right), weights=pixels))
    return float(np.average(per_class, weights=WEIGHTS if term == "weighted dice" else None))


@pytest.mark.parametrize("term", TERMS)
def test_each_term_is_its_formula_over_labelled_pixels(term, batch):
    logits, labels = batch
    loss = only(term)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected(term, logits, labels), rel=1e-5)


def test_a_sum_of_terms_is_the_weighted_sum(batch):
    logits, labels = batch
    config = LossConfig(cross_entropy=0.5, bce=1.5, dice=2.0, focal=3.0)
    loss = SegmentationLoss(config, WEIGHTS)(torch.from_numpy(logits), torch.from_numpy(labels))
    by_hand = sum(getattr(config, term) * expected(term, logits, labels) for term in TERMS[:4])
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_cross_entropy_counted_by_hand():
    # one pixel of class 0 (weight 0.5) with even odds, one of class 2 (weight 3) certain and right, one ignored
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, 2, 0, 1] = 100.0
    labels = torch.tensor([[[0, 2, 255]]])
    loss = weighted_cross_entropy(logits, labels, torch.from_numpy(WEIGHTS))
    assert loss.item() == pytest.approx(0.5 * np.log(3) / 3.5)


@pytest.mark.parametrize("term", TERMS)
def test_ignored_pixels_carry_no_gradient_and_the_others_do(term, batch):
    logits, labels = torch.from_numpy(batch[0]).requires_grad_(), torch.from_numpy(batch[1])
    only(term)(logits, labels).backward()
    ignored = (labels == 255)[:, None].expand_as(logits)
    assert ignored.any()
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).float().mean() > 0.99


@pytest.mark.parametrize("term", TERMS)
def test_a_batch_without_any_label_gives_zero_and_not_nan(term):
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = only(term)(logits, torch.full((2, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_broken_network_shows_even_without_labels():
    logits = torch.full((1, 3, 4, 4), torch.nan)
    assert only("cross_entropy")(logits, torch.full((1, 4, 4), 255)).isnan()


def test_pixels_of_a_class_of_weight_zero_alone_give_zero():
    loss = weighted_cross_entropy(torch.randn(1, 2, 4, 4), torch.zeros(1, 4, 4).long(), torch.tensor([0.0, 1.0]))
    assert loss.item() == 0


def test_half_precision_logits_are_summed_in_full_precision(batch):
    logits, labels = torch.from_numpy(batch[0]).bfloat16(), torch.from_numpy(batch[1])
    loss = only("cross_entropy")(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected("cross_entropy", logits.float().numpy(), batch[1]), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "bound", "ratios"),
    [
        ([0.1, 0.2, 20.0], 0, [1, 2, 200]),
        ([0.1, 0.2, 20.0], 50, [1, 2, 50]),
        ([0.1, 0.2, 0.0], 0, [1, 2, 2]),  # never seen in training: as heavy as the heaviest
        ([0.0, 0.0, 0.0], 5, [1, 1, 1]),
    ],
)
def test_class_weights_are_bounded_and_have_mean_one(weights, bound, ratios):
    capped = cap_class_weights(np.array(weights, np.float32), bound)
    np.testing.assert_allclose(capped / capped.min(), ratios, rtol=1e-5)
    assert capped.mean() == pytest.approx(1)


def test_a_loss_without_terms_is_refused():
    with pytest.raises(ValueError, match="all four terms are 0"):
        LossConfig(cross_entropy=0)


def test_a_weighted_term_of_weight_zero_is_refused():
    with pytest.raises(ValueError, match="weighted names dice, but dice is 0"):
        LossConfig(weighted=("dice",))


def test_focal_is_that_of_segmentation_models_pytorch(batch):
    logits, labels = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
    theirs = FocalLoss(MULTICLASS_MODE, gamma=2.0, ignore_index=255)(logits, labels)
    assert only("focal")(logits, labels).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_under_inverse_frequencies_every_class_has_an_equal_say_in_bce():
    labels = torch.zeros(1, 10, 10).long()
    labels[0, 0, 0] = 1  # one pixel in a hundred
    weights = np.array([1.0, 99.0], np.float32)
    loss_fn = SegmentationLoss(LossConfig(cross_entropy=0.0, bce=1.0), weights)
    logits = torch.zeros(1, 2, 10, 10, requires_grad=True)
    loss_fn(logits, labels).backward()
    for channel in (0, 1):
        rare, frequent = logits.grad[0, channel, 0, 0], logits.grad[0, channel].sum() - logits.grad[0, channel, 0, 0]
        assert rare.item() == pytest.approx(-frequent.item(), rel=1e-5)


def test_weights_follow_the_iou_of_the_last_batches():
    # truth 0 0 1 2, called 0 1 1 0, and one ignored: IoU 1/3, 1/2, 0
    labels = torch.tensor([[[0, 0, 1, 2, 255]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 1, 1, 0, 2]]]), 3).movedim(-1, 1).float()
    loss_fn = SegmentationLoss(LossConfig(), WEIGHTS, iou_offset=0.25)
    assert loss_fn.class_weights.tolist() == [1, 1, 1]
    loss_fn.update_class_weights(logits, labels)
    expected = 1 / (np.array([1 / 3, 1 / 2, 0]) + 0.25)
    np.testing.assert_allclose(loss_fn.class_weights, expected / expected.mean(), rtol=1e-5)
    for _ in range(300):  # from now on all is right: the first batch is forgotten
        loss_fn.update_class_weights(torch.nn.functional.one_hot(labels % 255, 3).movedim(-1, 1).float(), labels)
    np.testing.assert_allclose(loss_fn.class_weights, 1, rtol=0.05)
    capped = SegmentationLoss(LossConfig(), WEIGHTS, iou_offset=0.25, largest_ratio=1.5)
    capped.update_class_weights(logits, labels)
    assert capped.class_weights.max() / capped.class_weights.min() == pytest.approx(1.5)


def test_weights_by_frequency_follow_nothing():
    loss_fn = SegmentationLoss(LossConfig(), WEIGHTS)
    loss_fn.update_class_weights(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long())
    np.testing.assert_array_equal(loss_fn.class_weights, WEIGHTS)
