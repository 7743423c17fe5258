"""`void_weight`: what carries no label is learned as a class that nothing predicts and pseudo-labels leave out."""

import numpy as np
import pytest
import torch

from marsgen.core.config import load_config
from marsgen.core.errors import ConfigError, DataError
from marsgen.core.runs import Run
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.sources import open_scenes
from segmenter.config import AugmentConfig, PseudoLabelConfig, TrainConfig, UNetConfig
from segmenter.inference.predict import load_segmenter, predict_indices, predict_probs
from segmenter.inference.pseudo_labels import open_teachers, pseudo_label, summary_lines
from segmenter.training.batches import TrainingBatches
from segmenter.training.model import build_loss
from segmenter.training.train import train

C = 4


def ground_and_rover(rng: np.random.Generator, n: int):
    """Dark ground of soil with a bright thing at the right that nobody labelled."""
    images = rng.integers(20, 60, (n, 32, 48, 1), dtype=np.uint8)
    labels = np.full((n, 32, 48), 1, np.uint8)
    images[:, :, 32:] += 180
    labels[:, :, 32:] = 0
    labels[:, :4, :8] = 4  # so that all parts show the rare class
    return images, labels


@pytest.fixture(scope="module")
def runs(array_scenes, make_dataset, tmp_path_factory):
    """The same recipe without and with a weight on what carries no label."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = make_dataset(array_scenes(*ground_and_rover(np.random.default_rng(0), 10)), range(8), (8, 9))
    for weight in (0.0, 1.0):
        config = TrainConfig(
            unet=UNetConfig(width=8),
            steps=40,
            batch_size=4,
            warmup_steps=5,
            lr=1e-2,
            precision="fp32",
            void_weight=weight,
            calibrate=1.0 if weight else None,
        )
        run = Run.start(folder / f"weight{weight:g}", "segmenter train", config, {"extra": []})
        train(config, run, dataset)
    return folder


def test_such_pixels_are_one_more_class_in_real_scenes_alone(array_scenes, make_dataset):
    images, labels = ground_and_rover(np.random.default_rng(1), 6)
    dataset = make_dataset(array_scenes(images, labels), range(4), (4, 5))
    extra = array_scenes(255 - images, labels)
    shrinking = AugmentConfig(scale=0.5, brightness=0, contrast=0)
    config = TrainConfig(
        void_weight=0.5,
        steps=4,
        batch_size=4,
        extra_fraction=0.5,
        extra_steps=(0, 1),
        rare_fraction=0,
        augment=shrinking,
    )
    pictures, found = TrainingBatches(config, dataset, [extra])[1]
    real, drawn = found[:2], found[2:]
    assert C in real
    assert C not in drawn
    assert IGNORED_INDEX in drawn
    outside = real == IGNORED_INDEX
    assert outside.any(), "nothing was shrunk; the next line would say nothing"
    assert (pictures[:2, 0][outside] == -1).float().mean() > 0.9  # beyond the scene all is black, but for its edge
    assert C not in TrainingBatches(config.model_copy(update={"void_weight": 0.0}), dataset, [extra])[1][1]
    # a window larger than the scene: its rim is no thing without a label
    wide = TrainConfig(
        void_weight=0.5, batch_size=4, crop=(32, 64), augment=AugmentConfig(scale=0, translate=0, flip=0)
    )
    found = TrainingBatches(wide, dataset)[1][1]
    assert (found[..., 48:] == IGNORED_INDEX).all()
    assert (found[..., 32:48] == C).all()


def test_it_is_told_apart_but_never_predicted(runs):
    images, _ = ground_and_rover(np.random.default_rng(2), 3)
    network, _, record = load_segmenter(runs / "weight1")
    assert record["network"]["void_weight"] == 1.0
    assert predict_probs(network, images).shape == (3, C, 32, 48)
    assert predict_indices(network, images).max() < C
    assert network.features(torch.zeros(1, 1, 32, 48)).dim() == 2
    whole = predict_probs(load_segmenter(runs / "weight1", keep_void=True)[0], images)
    assert whole.shape == (3, C + 1, 32, 48)
    no_label = whole.argmax(1) == C
    assert no_label[:, :, 34:].mean() > 0.95
    assert no_label[:, :, :30].mean() < 0.05


def test_pseudo_labels_leave_it_out(runs, array_scenes, tmp_path):
    images, labels = ground_and_rover(np.random.default_rng(3), 5)
    pictures = array_scenes(images, labels)
    shares = {}
    for name, teachers in {"without": ["weight0"], "with": ["weight1"], "both": ["weight0", "weight1"]}.items():
        config = PseudoLabelConfig(keep=1.0)
        run = Run.start(tmp_path / name, "segmenter pseudo-label", config, {})
        pseudo_label(config, run, open_teachers([runs / teacher for teacher in teachers], pictures), pictures)
        made = np.stack([scene.labels for scene in open_scenes(str(tmp_path / name))])
        shares[name] = (made[:, :, 34:] == 0).mean(), (made[:, :, :30] == 0).mean()
        called = sum(of["called_px"] for of in run.summary["classes"].values())
        assert called + run.summary["no_label_px"] == made.size
        assert any("predicted to have no label" in line for line in summary_lines(run.summary)) == (name != "without")
    assert shares["without"] == (0, 0)
    assert shares["with"][0] > 0.95
    assert shares["with"][1] < 0.05
    assert shares["both"][0] > 0.95  # a teacher trained without it has no say in it
    assert shares["both"][1] < 0.05


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_it_counts_beside_the_most_frequent_class(array_scenes, make_dataset, tmp_path, weight):
    dataset = make_dataset(array_scenes(*ground_and_rover(np.random.default_rng(0), 6)), range(4), (4, 5))
    config = TrainConfig(unet=UNetConfig(width=4), steps=1, batch_size=4, precision="fp32", void_weight=weight)
    *classes, no_label = build_loss(config, dataset).class_weights.tolist()
    assert (len(classes), no_label) == (C, pytest.approx(weight * min(classes)))
    run = Run.start(tmp_path / "run", "segmenter train", config, {"extra": []})
    train(config, run, dataset)
    assert run.summary["scores"]["loss"] < 10  # on the classes alone


@pytest.mark.parametrize("how", ["labelled whole", "synthetic", "by networks"])
def test_where_no_label_means_nothing_it_is_refused(array_scenes, make_dataset, tmp_path, how):
    images, labels = ground_and_rover(np.random.default_rng(0), 6)
    if how == "labelled whole":
        labels[labels == 0] = 1
    scenes = array_scenes(images, labels)
    if how == "synthetic":
        scenes.ancestors = {0: ("elsewhere",)}
    if how == "by networks":
        (tmp_path / "synth.json").write_text('{"trained_on": [], "teachers": [{}]}')
        scenes.location = str(tmp_path)
    words = "every pixel of the 4 training scenes has a label" if how == "labelled whole" else "not labelled by people"
    with pytest.raises(DataError, match=words):
        TrainingBatches(TrainConfig(void_weight=1.0), make_dataset(scenes, range(4), (4, 5)))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("class_weights=iou", "but class_weights is iou"),
        ("loss.dice=1", "bce, dice and focal do not read it"),
        ("extra_fraction=1", "no real scene is drawn"),
    ],
)
def test_what_does_not_go_with_it_is_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        load_config(TrainConfig, None, ["void_weight=0.5", setting])
