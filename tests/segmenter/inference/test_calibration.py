"""The shift of a rare class's logit: against trying every shift, and through a whole training."""

import numpy as np
import pytest
import torch

from marsgen.core.errors import ConfigError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import confusion_matrix, iou_per_class
from marsgen.scenes.tensors import image_tensor
from segmenter.config import TrainConfig, UNetConfig
from segmenter.inference.calibration import SHIFTS, MarginCounts, find_shifts
from segmenter.inference.predict import load_segmenter
from segmenter.networks.wrappers import Calibrated
from segmenter.training.start import check_best_metric
from segmenter.training.train import train


def draw(seed: int = 0, lead: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network that names class 2 too readily, by `lead`; labels with a few ignored pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 255], (4, 20, 20), p=[0.5, 0.4, 0.05, 0.05])
    logits = rng.normal(0, 1, (4, 3, 20, 20))
    for c in range(3):
        logits[:, c] += 2.5 * (labels == c)
    logits[:, 2] += lead
    return logits, labels


def share_at(logits: np.ndarray, labels: np.ndarray, shift: float) -> float:
    predicted = (logits + np.array([0, 0, shift])[:, None, None]).argmax(1)
    return float((predicted == 2)[labels != 255].mean())


def test_the_share_at_every_shift_is_that_of_the_shifted_prediction():
    logits, labels = draw()
    counts = MarginCounts()
    for part in (slice(0, 1), slice(1, 4)):
        counts.add(logits[part], labels[part], 2)
    np.testing.assert_allclose(counts.fractions(), [share_at(logits, labels, shift) for shift in SHIFTS])


def test_a_class_named_too_readily_is_held_back_to_its_share():
    logits, labels = draw(lead=3.0)
    assert share_at(logits, labels, 0) > 0.3
    shifts = find_shifts([(logits, labels)], 3, {2: 0.05})
    assert shifts[:2] == [0.0, 0.0]
    assert share_at(logits, labels, shifts[2]) == pytest.approx(0.05, abs=2e-3)
    truth = {lead: iou_per_class(confusion(logits, labels, lead))[2] for lead in (0.0, shifts[2])}
    assert truth[shifts[2]] > 1.5 * truth[0.0]


def confusion(logits: np.ndarray, labels: np.ndarray, shift: float) -> np.ndarray:
    predicted = (logits + np.array([0, 0, shift])[:, None, None]).argmax(1).astype(np.uint8)
    return confusion_matrix(labels.astype(np.uint8), predicted, 3)


def test_a_class_never_named_is_named_more_readily():
    logits, labels = draw(lead=-5.0)
    assert share_at(logits, labels, 0) < 0.01
    assert find_shifts([(logits, labels)], 3, {2: 0.05})[2] > 2


def test_where_no_shift_matters_there_is_none():
    logits = np.zeros((1, 2, 2, 2))
    logits[0, 1] = [[20, -20], [20, -20]]  # no shift within reach changes a pixel
    assert find_shifts([(logits, np.array([[[1, 0], [1, 0]]]))], 2, {1: 0.5}) == [0.0, 0.0]


def test_a_calibrated_network_adds_its_shift_and_keeps_its_features():
    class Plain(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.repeat(1, 2, 1, 1)

        def features(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    network, images = Calibrated(Plain(), [0.0, -1.5]), torch.ones(1, 1, 2, 2)
    assert network(images)[0, :, 0, 0].tolist() == [1.0, -0.5]
    assert network.features(images).item() == pytest.approx(1)


def test_what_has_no_label_is_as_likely_as_before():
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    calibrated = Calibrated(torch.nn.Identity(), [0.0, 0.0, 2.5])
    before, after = logits.softmax(1), calibrated(logits).softmax(1)
    torch.testing.assert_close(after[:, 3], before[:, 3])
    torch.testing.assert_close(after[:, :3] / after[:, :3].sum(1, keepdim=True), calibrated(logits[:, :3]).softmax(1))


def test_training_shifts_the_rare_class_to_its_share_on_validation(simulated, make_dataset, tmp_path):
    scenes = simulated(12)
    dataset = make_dataset(scenes, range(6), range(6, 12))
    rock = scenes.classes.index("big_rock")
    loaded = {}
    for name, calibrate in (("plain", None), ("calibrated", 1.0)):
        config = TrainConfig(
            unet=UNetConfig(width=4), steps=12, batch_size=4, lr=1e-2, precision="fp32", calibrate=calibrate
        )
        run = Run.start(tmp_path / name, "segmenter train", config, {})
        train(config, run, dataset)
        loaded[name] = load_segmenter(tmp_path / name)
    plain, (shifted, _, record) = loaded["plain"][0], loaded["calibrated"]
    shift = record["logit_shift"]
    assert shift[rock] != 0, "a network of 12 steps is not calibrated by chance"
    pixels = dataset.survey.pixels[:6, : len(shift)].sum(0)
    wanted = pixels[rock] / pixels.sum()
    labels = np.stack([scenes[i].indices for i in range(6, 12)])
    images = image_tensor(np.stack([scenes[i].image for i in range(6, 12)]))
    with torch.inference_mode():
        logits = plain(images).numpy()
    off = {}
    for step in (-0.05, 0, 0.05):  # no neighbouring shift comes nearer
        moved = logits + np.where(np.arange(len(shift)) == rock, shift[rock] + step, 0)[:, None, None]
        off[step] = abs((moved.argmax(1) == rock)[labels != 255].mean() - wanted)
    assert off[0] <= min(off.values()) + 1e-6
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
    with pytest.raises(ConfigError, match=r"calibrate is 1, but arrays names no rare class"):
        check_best_metric(TrainConfig(calibrate=1), make_dataset(scenes, range(2), (2, 3)))
