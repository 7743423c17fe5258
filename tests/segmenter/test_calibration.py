"""The shift of a rare class's logit: counted by hand, and against trying every shift."""

import numpy as np
import pytest
import torch

from marsgen.errors import ConfigError
from marsgen.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import confusion_matrix, iou_per_class
from segmenter.calibration import SHIFTS, Calibrated, MarginCounts, find_shifts
from segmenter.config import TrainConfig, UNetConfig
from segmenter.predict import load_segmenter
from segmenter.train import check_best_metric, train


def draw(seed: int = 0, lead: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network that names class 2 too readily, by `lead`; labels with a few ignored pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 255], (4, 20, 20), p=[0.5, 0.4, 0.05, 0.05])
    logits = rng.normal(0, 1, (4, 3, 20, 20))
    for c in range(3):
        logits[:, c] += 2.5 * (labels == c)
    logits[:, 2] += lead
    return logits, labels


def iou_at(logits: np.ndarray, labels: np.ndarray, shift: float) -> float:
    predicted = (logits + np.array([0, 0, shift])[:, None, None]).argmax(1).astype(np.uint8)
    return float(iou_per_class(confusion_matrix(labels.astype(np.uint8), predicted, 3))[2])


def test_the_iou_at_every_shift_is_that_of_the_shifted_prediction():
    logits, labels = draw()
    counts = MarginCounts()
    for part in (slice(0, 1), slice(1, 4)):
        counts.add(logits[part], labels[part], 2)
    np.testing.assert_allclose(counts.iou(), [iou_at(logits, labels, shift) for shift in SHIFTS])


def test_a_class_named_too_readily_is_held_back_and_its_iou_rises():
    logits, labels = draw(lead=3.0)
    shifts = find_shifts([(logits, labels)], 3, [2])
    assert shifts[:2] == [0.0, 0.0]
    assert -4.5 <= shifts[2] <= -1.5
    assert iou_at(logits, labels, shifts[2]) > 1.5 * iou_at(logits, labels, 0)


def test_a_class_that_is_not_there_is_left_alone():
    logits, labels = draw()
    assert find_shifts([(logits, np.where(labels == 2, 255, labels))], 3, [2]) == [0.0, 0.0, 0.0]


def test_where_no_shift_matters_there_is_none():
    logits = np.zeros((1, 2, 2, 2))
    logits[0, 1] = [[20, -20], [20, -20]]  # no shift within reach changes a pixel
    assert find_shifts([(logits, np.array([[[1, 0], [1, 0]]]))], 2, [1]) == [0.0, 0.0]


def test_a_calibrated_network_adds_its_shift_and_keeps_its_features():
    class Plain(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.repeat(1, 2, 1, 1)

        def features(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    network, images = Calibrated(Plain(), [0.0, -1.5]), torch.ones(1, 1, 2, 2)
    assert network(images)[0, :, 0, 0].tolist() == [1.0, -0.5]
    assert network.features(images).item() == pytest.approx(1)


def test_training_shifts_the_rare_class_to_its_best_iou_on_validation(simulated, make_dataset, tmp_path):
    scenes = simulated(12)
    dataset = make_dataset(scenes, range(6), range(6, 12))
    rock = scenes.classes.index("big_rock")
    loaded = {}
    for name, calibrate in (("plain", False), ("calibrated", True)):
        config = TrainConfig(
            unet=UNetConfig(width=4), steps=12, batch_size=4, lr=1e-2, precision="fp32", calibrate=calibrate
        )
        run = Run.start(tmp_path / name, "segmenter train", config, {})
        train(config, run, dataset)
        loaded[name] = load_segmenter(tmp_path / name)
    plain, (shifted, _, record) = loaded["plain"][0], loaded["calibrated"]
    shift = record["logit_shift"]
    assert shift[rock] != 0, "a network of 12 steps is not calibrated by chance"
    assert [s for c, s in enumerate(shift) if c != rock] == [0.0] * (len(shift) - 1)
    assert Run.load(tmp_path / "calibrated").summary["logit_shift"]["big_rock"] == shift[rock]
    images = torch.randn(2, 1, 64, 128)
    with torch.inference_mode():
        difference = shifted(images) - plain(images)
    torch.testing.assert_close(difference[:, rock], torch.full((2, 64, 128), shift[rock]))


def test_calibration_needs_a_rare_class(simulated, make_dataset):
    scenes = simulated(4)
    scenes.classes = ClassSet(
        names=scenes.classes.names, ids=scenes.classes.ids, colours=scenes.classes.colours, ignored=0, rare=()
    )
    with pytest.raises(ConfigError, match=r"calibrate is true, but arrays names no rare class"):
        check_best_metric(TrainConfig(calibrate=True), make_dataset(scenes, range(2), (2, 3)))
