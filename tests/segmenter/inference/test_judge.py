"""A finished segmenter as a judge: what it has seen, what it says, and folders that are none."""

import json
import shutil

import numpy as np
import pytest
import torch

from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import encode_weights, read_weights
from marsgen.quality.judges import Judge
from marsgen.quality.judges import open_judge as open_any_judge
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import scene_key
from segmenter.config import TrainConfig, UNetConfig
from segmenter.inference.judge import SegmenterJudge, open_judge
from segmenter.inference.predict import load_segmenter, predict_probs
from segmenter.networks.unet import UNet
from segmenter.training.train import train


@pytest.fixture(scope="module")
def scenes(simulated):
    """6 simulated scenes of 64 x 128."""
    return simulated(6)


@pytest.fixture(scope="module")
def trained(scenes, simulated, make_dataset, tmp_path_factory):
    """Folder of a run of a few steps on scenes 0..3 and on one synthetic scene grown from scene 2 and another."""
    extra = simulated(1, seed=9)
    extra.ancestors = {0: (scene_key(scenes.images[2]), "e" * 16)}
    config = TrainConfig(unet=UNetConfig(width=4, depth=2), steps=4, batch_size=4, precision="fp32")
    inputs = {"extra": [{"location": "outputs/synth", "generator": "pix2pix"}]}
    run = Run.start(tmp_path_factory.mktemp("runs") / "run", "segmenter train", config, inputs)
    train(config, run, make_dataset(scenes, range(4), (4, 5)), [extra])
    return run.folder


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of that folder, to break."""
    return shutil.copytree(trained, tmp_path / "run")


def test_marsgen_finds_the_judge_through_its_entry_point(trained):
    judge: Judge = open_any_judge(trained)
    assert isinstance(judge, SegmenterJudge)
    assert (judge.classes.names, judge.channels) == (("soil", "bedrock", "sand", "big_rock"), 1)
    assert len(judge.fingerprint) == 16


def test_a_judge_names_the_scenes_it_has_seen(trained, scenes):
    judge = open_judge(trained)
    train_keys = {scene_key(image) for image in scenes.images[:4]}
    assert set(judge.trained_on) == train_keys | {"e" * 16}
    assert judge.saw_synthetic


def test_without_extras_no_synthetic_scene_was_seen(copy):
    config = (copy / "config.yaml").read_text()
    start = config.index("  extra:")
    (copy / "config.yaml").write_text(config[:start] + "  extra: []\n" + config[config.index("config:", start) :])
    assert not open_judge(copy).saw_synthetic


def test_probabilities_are_those_that_predict_writes(trained, scenes):
    images = np.stack(scenes.images)
    probs = open_judge(trained).probs(images)
    assert (probs.shape, probs.dtype) == ((6, 4, 64, 128), np.float32)
    np.testing.assert_array_equal(probs, predict_probs(load_segmenter(trained)[0], images))


def test_features_are_the_bottleneck_averaged_over_the_picture(trained, scenes):
    judge, images = open_judge(trained), np.stack(scenes.images[:3])
    seen = []
    network, _, _ = load_segmenter(trained)
    network.bottleneck.register_forward_hook(lambda _, __, output: seen.append(output.mean((2, 3)).numpy()))
    predict_probs(network, images)
    features = judge.features(images)
    assert (features.shape, features.dtype) == ((3, 16), np.float32)
    np.testing.assert_allclose(features, seen[0], rtol=1e-5, atol=1e-6)
    assert np.ptp(features, axis=0).max() > 1e-5  # they tell pictures apart


def test_features_exist_for_crops_of_any_size(trained, scenes):
    assert open_judge(trained).features(scenes.images[0][None, :45, :33]).shape == (1, 16)
    images = torch.zeros(2, 1, 37, 50)
    assert UNet(1, 4, width=4, stem=1, depth=2).eval().features(images).shape == (2, 16)


def test_a_baseline_can_judge_too(scenes, make_dataset, tmp_path):
    config = TrainConfig(network="baseline", steps=2, batch_size=4, precision="fp32")
    run = Run.start(tmp_path / "run", "segmenter train", config, {"extra": []})
    train(config, run, make_dataset(scenes, range(4), (4, 5)))
    judge = open_judge(run.folder)
    assert judge.features(np.stack(scenes.images)).shape == (6, 4)
    assert judge.fingerprint == open_judge(run.folder).fingerprint


def test_other_weights_have_another_fingerprint(trained, copy):
    path = copy / "best.safetensors"
    checkpoint = read_weights(path)
    name = next(name for name, tensor in checkpoint.tensors.items() if tensor.is_floating_point())
    checkpoint.tensors[name] = checkpoint.tensors[name] + 1e-3
    path.write_bytes(encode_weights(checkpoint.tensors, checkpoint.record))
    assert open_judge(copy).fingerprint != open_judge(trained).fingerprint


def test_a_folder_of_something_else_is_no_judge(tmp_path):
    assert open_judge(tmp_path) is None
    assert open_judge(tmp_path / "absent") is None
    (tmp_path / "config.yaml").write_text("somebody: else\n")
    assert open_judge(tmp_path) is None
    other = Run.start(tmp_path / "synth", "marsgen synthesize", TrainConfig(), {})
    assert open_judge(other.folder) is None
    with pytest.raises(RunError, match="was made by `marsgen synthesize`; expected a run of `segmenter train`"):
        open_any_judge(other.folder)


def test_an_unfinished_run_says_how_to_go_on(copy):
    (copy / "DONE").unlink()
    with pytest.raises(RunError, match="this run has not finished; repeat its `segmenter train` command"):
        open_judge(copy)


def test_a_run_without_its_split_or_weights_is_broken(copy):
    (copy / "split.json").write_text(json.dumps({"train": ["a" * 16]}))
    with pytest.raises(RunError, match=r"split\.json: expected lists of scene keys .*train it again"):
        open_judge(copy)
    (copy / "best.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match=r"best\.safetensors: not a readable checkpoint"):
        open_judge(copy)


def test_a_judge_of_other_classes_or_channels_is_refused(trained):
    other = ClassSet(("sea", "land"), (1, 2), ((0, 0, 9), (0, 9, 0)), ignored=0)
    with pytest.raises(RunError, match=r"was trained on the classes soil, .*; the data have sea, land"):
        open_any_judge(trained, other)
    with pytest.raises(RunError, match=r"images of 1 channel\(s\); the data have 3"):
        open_any_judge(trained, channels=3)
