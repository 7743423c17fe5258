"""Margins: which bin a pixel falls into, that the calls can be counted from the bins, and what an evaluation keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_runs import CLASSES, ArrayScenes, evaluate_run, paint_labels, write_run

from marsgen.scenes.confusion import confusion_matrices
from segmenter.config import InferenceConfig
from segmenter.evaluation.margins import count_margins, disagreeing
from segmenter.inference.margins import BIN_WIDTH, BINS, CALLED, margin_bins
from segmenter.inference.predict import predict_indices, predict_probs, predict_with_margins
from segmenter.networks.wrappers import Calibrated


class Logits(torch.nn.Module):
    """A network whose logits are given; the picture says which: its first channel is the number of the pixel's logits.

    A whole network would do, but here every logit is known, ties and extremes too.
    """

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table)  # (256, C)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        number = ((images[:, 0] + 1) * 127.5).round().long()
        return self.table[number].permute(0, 3, 1, 2)


@pytest.fixture
def table() -> torch.Tensor:
    """Logits of four classes, two of them in ties, and one row far beyond the last bin."""
    table = 3 * torch.randn((256, 4), generator=torch.Generator().manual_seed(5))
    table[:40, 3] = table[:40, :3].amax(1)  # ties with an earlier class, which is called
    table[40:80, 1] = table[40:80, 2:].amax(1)  # ties with a later class: it is called itself
    table[80] = torch.tensor([0.0, 0.0, 0.0, 99.0])
    table[81] = torch.tensor([0.0, 0.0, 0.0, -99.0])
    return table


@pytest.fixture
def images() -> np.ndarray:
    numbers = np.random.default_rng(2).permutation(np.arange(3 * 32 * 40) % 256)
    return numbers.reshape(3, 32, 40, 1).astype(np.uint8)


def margins_of(logits: np.ndarray, c: int) -> np.ndarray:
    """(..., C) -> z_c - max of the others."""
    return logits[..., c] - np.delete(logits, c, -1).max(-1)


def test_a_margin_falls_into_its_bin(table: torch.Tensor, images: np.ndarray):
    indices, bins = predict_with_margins(Logits(table), images, [3, 1])
    np.testing.assert_array_equal(indices, predict_indices(Logits(table), images))
    assert (bins.shape, bins.dtype) == ((3, 2, 32, 40), np.uint8)
    logits = table.numpy().astype(np.float64)[images[..., 0]]
    for place, c in enumerate((3, 1)):
        margin = margins_of(logits, c)
        edge = (bins[:, place].astype(float) - CALLED) * BIN_WIDTH
        inside = np.abs(margin) < BIN_WIDTH * (CALLED - 0.01)
        off = 1e-4  # of rounding: probabilities have 24 bits
        assert (margin[inside] > edge[inside] - off).all()
        assert (margin[inside] < edge[inside] + BIN_WIDTH + off).all()
        np.testing.assert_array_equal(bins[:, place][margin > 90], BINS - 1)
        np.testing.assert_array_equal(bins[:, place][margin < -90], 0)
        np.testing.assert_array_equal(bins[:, place] >= CALLED, indices == c)  # ties are called or not, as they are
    tied = np.abs(margins_of(logits, 3)) < 1e-6
    assert 0 < (bins[:, 0][tied] == CALLED - 1).sum() == tied.sum()


@pytest.mark.parametrize(
    "how", [{"flip": True}, {"scales": (0.5, 1)}, {"window": (32, 32)}], ids=lambda how: next(iter(how))
)
def test_averaged_predictions_have_the_margin_of_the_average(how: dict, table: torch.Tensor, images: np.ndarray):
    inference = InferenceConfig(**how)
    network = Logits(table.clamp(-6, 6))
    indices, bins = predict_with_margins(network, images, [3], inference)
    np.testing.assert_array_equal(indices, predict_indices(network, images, inference))
    log_odds = np.log(np.moveaxis(predict_probs(network, images, inference).astype(np.float64), 1, -1))
    margin = margins_of(log_odds, 3)
    edge = (bins[:, 0].astype(float) - CALLED) * BIN_WIDTH
    assert (np.abs(margin - edge - BIN_WIDTH / 2) < BIN_WIDTH / 2 + 1e-4).all()


def test_calibration_moves_margins_by_its_shift(table: torch.Tensor, images: np.ndarray):
    """Two whole bins up for the shifted class: its logit is what moves."""
    narrow = table[82:].clamp(-6, 6).repeat(2, 1)  # none in ties
    plain, shifted = (
        predict_with_margins(network, images, [3])[1].astype(int)
        for network in (Logits(narrow), Calibrated(Logits(narrow), [0, 0, 0, 2.04 * BIN_WIDTH]))
    )
    assert set(np.unique(shifted - plain)) <= {2, 3}
    assert (shifted - plain == 2).mean() > 0.9


def test_more_classes_than_few_and_one_alone(images: np.ndarray):
    """The likeliest class is found in another way where there are many."""
    table = torch.randn((256, 12), generator=torch.Generator().manual_seed(1))
    indices, bins = predict_with_margins(Logits(table), images, [11])
    np.testing.assert_array_equal(indices, predict_indices(Logits(table), images))
    np.testing.assert_array_equal(bins[:, 0] >= CALLED, indices == 11)
    margin = margins_of(table.numpy()[images[..., 0]], 11)
    middle = (bins[:, 0].astype(float) - CALLED + 0.5) * BIN_WIDTH
    np.testing.assert_allclose(middle, margin, rtol=0, atol=BIN_WIDTH / 2 + 1e-4)
    assert predict_with_margins(Logits(table), images, [])[1].shape == (3, 0, 32, 40)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bins_on_cuda_are_those_of_the_cpu(table: torch.Tensor):
    probs = table.repeat(8, 8, 1).permute(2, 0, 1)[None].softmax(1)
    index = probs.argmax(1).to(torch.uint8)
    on_cpu = margin_bins(probs, index, [3, 1])
    on_gpu = margin_bins(probs.cuda(), index.cuda(), [3, 1]).cpu()
    assert ((on_cpu.int() - on_gpu.int()).abs() <= 1).all()  # logarithms may differ in their last bit
    assert (on_cpu == on_gpu).float().mean() > 0.999
    assert ((on_cpu >= CALLED) == (on_gpu >= CALLED)).all()


# counts


def test_pixels_are_counted_by_label_and_bin():
    truth = np.array([[[2, 2, 0, 255]], [[0, 1, 2, 2]]], np.uint8)
    bins = np.array([[[[7, 7, 7, 7]], [[0, 1, 2, 3]]], [[[255, 0, 9, 8]], [[5, 5, 5, 5]]]], np.uint8)
    counts = count_margins(truth, bins, [2, 0])
    assert counts.shape == (2, 2, 2, BINS)
    # image, class, 0 = labelled with it, bin, pixels
    assert [tuple(map(int, (*place, counts[tuple(place)]))) for place in np.argwhere(counts)] == [
        (0, 0, 0, 7, 2), (0, 0, 1, 7, 1),
        (0, 1, 0, 2, 1), (0, 1, 1, 0, 1), (0, 1, 1, 1, 1),
        (1, 0, 0, 8, 1), (1, 0, 0, 9, 1), (1, 0, 1, 0, 1), (1, 0, 1, 255, 1),
        (1, 1, 0, 5, 1), (1, 1, 1, 5, 3),
    ]  # fmt: skip


def test_the_confusion_of_a_class_can_be_counted_from_its_margins(table: torch.Tensor, images: np.ndarray):
    indices, bins = predict_with_margins(Logits(table), images, [3, 1])
    truth = np.random.default_rng(3).choice(np.array([0, 1, 2, 3, 255], np.uint8), indices.shape)
    counts, margins = confusion_matrices(truth, indices, 4), count_margins(truth, bins, [3, 1])
    for place, c in enumerate((3, 1)):
        called = margins[:, place, :, CALLED:].sum(-1)
        np.testing.assert_array_equal(called[:, 0], counts[:, c, c])
        np.testing.assert_array_equal(called.sum(1), counts[:, :, c].sum(1))
        np.testing.assert_array_equal(margins[:, place, 0].sum(-1), counts[:, c].sum(1))
        np.testing.assert_array_equal(margins[:, place].sum((1, 2)), counts.sum((1, 2)))
    assert not disagreeing(margins, counts, [3, 1]).any()
    assert disagreeing(margins, counts, [1, 3]).all()


# kept by an evaluation


def test_an_evaluation_keeps_margins_of_the_rare_class(tmp_path: Path):
    source = ArrayScenes(paint_labels(11))
    scored = evaluate_run(write_run(tmp_path / "run"), source, 0.5, batch_size=4)
    margins = scored.margins
    assert margins is not None
    assert (margins.shape, margins.dtype) == ((11, 1, 2, BINS), np.uint32)  # pictures of any size may follow
    np.testing.assert_array_equal(margins[:, 0, 0].sum(1), [(map_ == 4).sum() for map_ in source.labels])
    source.shape = (32, 48)
    small = evaluate_run(write_run(tmp_path / "small"), source, 0.5)
    assert small.margins is not None
    assert small.margins.dtype == np.uint16
    np.testing.assert_array_equal(small.margins, margins)


def test_no_rare_class_no_margins(tmp_path: Path):
    source = ArrayScenes(paint_labels(3), replace(CLASSES, rare=()))
    scored = evaluate_run(write_run(tmp_path / "run"), source, 0.5)
    assert scored.margins is None
    assert not (scored.folder / "margins.npy").exists()
