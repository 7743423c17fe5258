"""Training: it learns, stops, resumes after a kill to the same bytes, and validates on real scenes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import read_weights
from marsgen.core.storage.reading import read_yaml
from marsgen.provenance import read_split_keys
from marsgen.scenes.confusion import iou_per_class
from segmenter.config import AugmentConfig, LossConfig, TrainConfig, UNetConfig
from segmenter.inference.predict import load_segmenter, predict_indices
from segmenter.training.device import can_be_captured
from segmenter.training.model import init_network
from segmenter.training.train import Progress, named_scores, train

STILL = AugmentConfig(flip=0, brightness=0, contrast=0, scale=0, translate=0)
SMALL = UNetConfig(width=4)


@pytest.fixture(scope="module")
def scenes(simulated):
    """12 simulated scenes of 64 x 128."""
    return simulated(12)


@pytest.fixture(scope="module")
def dataset(scenes, make_dataset):
    """8 scenes to train on, 4 to validate on."""
    return make_dataset(scenes, range(8), range(8, 12))


def config_of(**settings) -> TrainConfig:
    quick = {"unet": SMALL, "steps": 6, "batch_size": 2, "validate_every": 3, "log_every": 1, "precision": "fp32"}
    return TrainConfig(**{**quick, **settings})


def fit(folder, config, dataset, extras=()) -> Run:
    run = Run.start(folder, "segmenter train", config, {})
    try:
        train(config, run, dataset, extras)
    finally:
        run.close()
    return run


def content(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir()}


# learning


@pytest.mark.slow
def test_four_scenes_can_be_learned_by_heart(scenes, make_dataset, tmp_path):
    # those that show the most classes
    four, (other, *_) = np.split(np.argsort([-np.unique(m).size for m in scenes.labels], stable=True), [4])
    dataset = make_dataset(scenes, four, (other,))
    config = config_of(
        unet=UNetConfig(width=8),
        steps=75,
        batch_size=4,
        lr=5e-3,
        warmup_steps=5,
        class_weight_power=0,
        augment=STILL,
        validate_every=75,
    )
    fit(tmp_path / "run", config, dataset)
    network, classes, _ = load_segmenter(tmp_path / "run")
    predicted = predict_indices(network, np.stack([scenes.images[i] for i in four]))
    truth = classes.to_indices(np.stack([scenes.labels[i] for i in four]))
    labelled = truth != 255
    assert labelled.mean() > 0.3
    assert np.unique(truth[labelled]).size >= 3
    assert (predicted == truth)[labelled].mean() > 0.95


def test_the_recorded_scores_are_those_of_the_kept_weights(dataset, tmp_path):
    run = fit(tmp_path / "run", config_of(), dataset)
    network, classes, record = load_segmenter(run.folder)
    predicted = predict_indices(network, np.stack(dataset.scenes.images[8:]))
    truth = classes.to_indices(np.stack(dataset.scenes.labels[8:]))
    for i, name in enumerate(classes.names):
        union = (((truth == i) | (predicted == i)) & (truth != 255)).sum()
        iou = ((truth == i) & (predicted == i)).sum() / union if union else None
        assert record["scores"][f"iou_{name}"] == (iou and pytest.approx(iou))
    logged = [line for line in run.metrics() if "mean_iou" in line]
    assert [line["step"] for line in logged] == [3, 6]
    best = max(logged, key=lambda line: line["mean_iou"])
    summary = run.summary
    assert (summary["best_step"], summary["best_score"]) == (best["step"], best["mean_iou"])
    assert summary["scores"] == record["scores"] == {k: v for k, v in best.items() if k != "step"}
    assert (summary["steps"], summary["images_seen"], summary["stopped_early"]) == (6, 12, False)


def test_the_best_weights_are_kept_and_not_the_last(dataset, tmp_path):
    # at this rate the loss of a single layer jumps about; the kept step must be the one with the least of it
    run = fit(
        tmp_path / "run",
        config_of(network="baseline", unet=UNetConfig(), lr=3, validate_every=1, best_metric="loss"),
        dataset,
    )
    losses = {line["step"]: line["loss"] for line in run.metrics() if "mean_iou" in line}
    assert losses[run.summary["best_step"]] == min(losses.values())
    assert run.summary["best_step"] < 6
    assert read_weights(run.folder / "best.safetensors").step == run.summary["best_step"]


def test_extra_scenes_join_training_and_not_validation(dataset, array_scenes, tmp_path):
    # the same pictures with every soil pixel called sand: validating on them would show
    wrong = array_scenes(
        dataset.scenes.images[:4], [np.where(m == 1, 3, m).astype(np.uint8) for m in dataset.scenes.labels[:4]]
    )
    still = config_of(network="baseline", unet=UNetConfig(), lr=1e-12)
    runs = [fit(tmp_path / name, still, dataset, extras) for name, extras in (("real", ()), ("mixed", (wrong,)))]
    real, mixed = ([line for line in run.metrics() if "mean_iou" in line] for run in runs)
    for line, other in zip(real, mixed, strict=True):
        assert line == pytest.approx(other, abs=1e-6, nan_ok=True)
    losses = [[line["train_loss"] for line in run.metrics() if "train_loss" in line] for run in runs]
    assert losses[0] != losses[1]
    assert [run.summary["extra_scenes"] for run in runs] == [0, 4]
    assert read_split_keys(runs[1].folder).val == set(dataset.survey.keys[8:])
    assert read_split_keys(runs[1].folder).extra == set(dataset.survey.keys[:4])  # real pictures
    assert runs[0].summary["images_seen"] == runs[1].summary["images_seen"] == 12


# going on


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"ema_decay": 0.0, "unet": UNetConfig(width=4, dropout=0.5)}, marks=pytest.mark.slow),
        {"ema_decay": 0.9, "loss": LossConfig(dice=1.0, weighted=("dice",)), "class_weights": "iou"},
    ],
)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(
    dataset, array_scenes, make_dataset, tmp_path, settings
):
    class Failing(array_scenes):
        left = 17  # 3 steps and a validation take 10 scenes, the kill comes in the middle of the second validation

        def read(self, index):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return super().read(index)

    config = config_of(**settings)
    whole = fit(tmp_path / "whole", config, dataset)
    failing = Failing(dataset.scenes.images, dataset.scenes.labels)
    failing.left = 10**6
    broken = make_dataset(failing, dataset.split.train, dataset.split.val)
    failing.left = 17
    with pytest.raises(Killed):
        fit(tmp_path / "cut", config, broken)
    assert {"last.safetensors", "best.safetensors"} <= {path.name for path in (tmp_path / "cut").iterdir()}
    assert read_weights(tmp_path / "cut" / "last.safetensors").step == 3
    resumed = fit(tmp_path / "cut", config, dataset)
    assert content(whole) == content(resumed)
    assert "last.safetensors" not in content(whole)


def test_a_finished_run_is_left_alone(dataset, tmp_path):
    run = fit(tmp_path / "run", config_of(steps=2), dataset)
    before = content(run)
    again = Run.start(run.folder, "segmenter train", config_of(steps=2), {})
    assert train(config_of(steps=2), again, dataset) == run.folder / "best.safetensors"
    again.close()
    assert content(run) == before


def test_another_seed_is_another_run(dataset, tmp_path):
    weights = [
        read_weights(
            fit(tmp_path / str(seed), config_of(steps=1, seed=seed), dataset).folder / "best.safetensors"
        ).tensors
        for seed in (0, 1)
    ]
    assert not torch.equal(weights[0]["head.weight"], weights[1]["head.weight"])


# stopping


def test_training_stops_when_validation_no_longer_improves(dataset, tmp_path):
    standing = config_of(network="baseline", unet=UNetConfig(), lr=1e-12, steps=20, validate_every=1, patience=2)
    run = fit(tmp_path / "run", standing, dataset)
    # step 1 is the best for want of another, steps 2 and 3 are no better
    assert (run.summary["best_step"], run.summary["steps"], run.summary["stopped_early"]) == (1, 3, True)


def test_a_loss_that_is_no_number_stops_the_run_before_anything_of_it_is_kept(dataset, tmp_path):
    with pytest.raises(RunError, match=r"training loss is (nan|inf) at step \d; lower the learning rate \(lr=1e\+30\)"):
        fit(tmp_path / "run", config_of(lr=1e30, warmup_steps=0, validate_every=6), dataset)
    assert not {"best.safetensors", "last.safetensors", "DONE"} & {path.name for path in (tmp_path / "run").iterdir()}


def test_a_metric_that_is_not_measured_is_refused_with_the_nearest(dataset, tmp_path):
    with pytest.raises(
        ConfigError, match=r"best_metric is 'iou_bigrock' \(did you mean 'iou_big_rock'\?\); measured are"
    ):
        fit(tmp_path / "run", config_of(best_metric="iou_bigrock"), dataset)


def test_a_metric_that_the_validation_scenes_cannot_give_is_refused(dataset, make_dataset, tmp_path):
    rockless = [i for i in range(12) if not dataset.survey.pixels[i, 3]][:1]
    others = [i for i in range(12) if i not in rockless]
    with pytest.raises(DataError, match="no validation scene has a pixel to measure iou_big_rock on"):
        fit(tmp_path / "run", config_of(best_metric="iou_big_rock"), make_dataset(dataset.scenes, others, rockless))


@pytest.mark.parametrize(
    ("metric", "scores", "best"), [("mean_iou", [0.1, 0.3, 0.3, 0.2], 2), ("loss", [3, 1, 1, 2], 2)]
)
def test_progress_keeps_the_earlier_of_equals(metric, scores, best):
    progress = Progress()
    kept = [progress.add(step, score, metric) for step, score in enumerate(scores, start=1)]
    assert kept == [True, True, False, False]
    assert (progress.best_step, progress.since_best) == (best, 2)


# parts of the loop


def test_a_cuda_graph_is_for_one_gpu_one_shape_and_nothing_drawn_on_the_cpu():
    def captured(device: str = "cuda", processes: int = 1, **settings) -> bool:
        config = config_of(**settings)
        network, _ = init_network(config, 1, 4)
        return can_be_captured(network, config, SimpleNamespace(device=torch.device(device), num_processes=processes))

    assert captured()
    assert not captured(device="cpu")
    assert not captured(processes=2)
    assert not captured(scales=(0.5, 1.0))
    assert not captured(unet=UNetConfig(width=4, dropout=0.2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.0}, {"network": "marsseg", "unet": UNetConfig()}], ids=str)
def test_a_cuda_graph_trains_what_single_launches_train(dataset, tmp_path, settings):
    weights = {}
    for cuda_graph in (True, False):
        run = fit(tmp_path / str(cuda_graph), config_of(cuda_graph=cuda_graph, steps=4, **settings), dataset)
        weights[cuda_graph] = read_weights(run.folder / "best.safetensors").tensors
    for name, tensor in weights[False].items():
        torch.testing.assert_close(weights[True][name], tensor, rtol=1e-2, atol=1e-3, msg=name)


def test_scores_carry_the_names_of_the_classes(dataset):
    confusion = np.array([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]])
    scores = named_scores(confusion, dataset.scenes.classes)
    assert scores["iou_soil"] == pytest.approx(3 / 5)
    assert scores["iou_big_rock"] == pytest.approx(1 / 2)
    assert np.isnan(scores["iou_sand"])
    assert scores["mean_iou"] == pytest.approx(np.nanmean(iou_per_class(confusion)))


# configs


def test_the_shipped_recipe_says_what_the_defaults_are():
    path = configs_folder() / "segmenter.yaml"
    assert load_config(TrainConfig, path) == TrainConfig()
    written = read_yaml(path)
    assert written == TrainConfig().model_dump(mode="json")  # every key, none forgotten


@pytest.mark.parametrize(
    ("name", "network", "stem", "power"),
    [
        ("seed_report/final_unet", "unet", 1, 1),
        ("seed_report/single_convolution", "baseline", 2, 1),
        ("tiny/segmenter", "unet", 2, None),
    ],
)
def test_the_other_recipes_load(name, network, stem, power):
    config = load_config(TrainConfig, configs_folder() / f"{name}.yaml")
    assert (config.network, config.unet.stem) == (network, stem)
    if power is not None:  # the report's loss: cross-entropy by inverse frequency, unbounded, and nothing else
        assert (config.class_weight_power, config.class_weight_max) == (power, 0)
        assert config.loss == LossConfig(cross_entropy=1, dice=0, focal=0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["network=baseline", "unet.width=8"], "unet.width is set, but network is baseline, which does not read it"),
        (["class_weights=iou", "class_weight_power=1"], "class_weight_power is set, but class_weights is iou"),
        (["class_weight_offset=1"], "class_weight_offset is set, but class_weights is frequency"),
        (["extra_fraction=0.6", "rare_fraction=0.5"], "more than a batch"),
        (["crop=[16,64]"], r"crop \[16, 64\]: each side needs at least 32 pixels"),
        (["network=unett"], "network is 'unett'; expected one of 'unet', 'encoder', 'marsseg', 'baseline'"),
    ],
)
def test_settings_that_contradict_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, None, override)
