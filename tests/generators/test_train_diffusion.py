"""Training diffusion: it learns, it goes on after a kill as if nothing had happened, it says what is wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import CLASSES, Killed, Painted, painted_dataset
from safetensors.torch import load_file, save_file

from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import read_weights
from marsgen.generators import DrawConfig, DrawRequest, load_generator, load_training_config
from marsgen.generators.diffusion.diffusion import DENOISER, DENOISER_WEIGHTS
from marsgen.generators.diffusion.train import TrainDiffusionConfig, draw_levels, sampler_of, train
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import scene_key

TINY = TrainDiffusionConfig(
    steps=6,
    batch_size=4,
    crop_px=32,
    widths=(8, 16),
    blocks=1,
    warmup_steps=2,
    precision="fp32",
    log_every=1,
    sample_every=3,
    checkpoint_every=3,
)


def start(folder: Path, config: TrainDiffusionConfig) -> Run:
    return Run.start(folder, "marsgen train-generator", config, {"data": "painted"})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """An undisturbed run of six steps, with four pictures that have no labels."""
    folder = tmp_path_factory.mktemp("trained")
    train(TINY, start(folder, TINY), painted_dataset(Painted(8), 6), [Painted(4)])
    return folder


@pytest.mark.parametrize(
    "killed_at_step", [pytest.param(2, marks=pytest.mark.slow), 5]
)  # before and after a checkpoint
def test_a_killed_run_ends_with_the_same_bytes(trained, tmp_path, killed_at_step):
    dataset = painted_dataset(scenes := Painted(8), 6)

    def kill(index: int) -> None:
        lines = tmp_path / "metrics.jsonl"
        if lines.exists() and len(lines.read_text().splitlines()) == killed_at_step - 1:
            raise Killed

    scenes.before_read = kill
    run = start(tmp_path, TINY)
    with pytest.raises(Killed):
        train(TINY, run, dataset, [Painted(4)])
    run.close()
    assert (tmp_path / "last.safetensors").exists() == (killed_at_step > 3)
    scenes.before_read = lambda index: None
    train(TINY, start(tmp_path, TINY), dataset, [Painted(4)])

    written = files_of(trained)
    assert {f"{DENOISER}/config.json", f"{DENOISER}/{DENOISER_WEIGHTS}", "generator.json", "DONE"} <= set(written)
    assert files_of(tmp_path) == written


@pytest.mark.slow
def test_it_learns_which_picture_belongs_to_which_class(tmp_path):
    config = TINY.model_copy(update={"steps": 100, "lr": 4e-3, "ema_decay": 0.95, "sample_every": 1000})
    dataset = painted_dataset(Painted(12), 10)
    train(config, run := start(tmp_path, config), dataset)
    losses = [line["denoising"] for line in run.metrics()]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])

    generator = load_generator(str(tmp_path), CLASSES, 1, DrawConfig(strength=1.0))
    indices = np.zeros((4, 32, 48), np.uint8)
    indices[:, 16:] = 1  # dark sand above bright slab
    request = DrawRequest(
        np.full((4, 32, 48, 1), 90, np.uint8),
        indices,
        np.ones(indices.shape, np.float32),
        np.arange(4, dtype=np.uint64),
    )
    drawn = generator.draw(request).astype(float)
    assert (drawn[:, 20:].mean((1, 2, 3)) - drawn[:, :12].mean((1, 2, 3)) > 25).all()


def test_a_finished_run_opens_with_what_it_has_seen(trained):
    generator = load_generator(str(trained), CLASSES, 1)
    assert (generator.name, generator.channels, generator.classes.names) == ("diffusion", 1, CLASSES.names)
    dataset, more = painted_dataset(Painted(8), 6), Painted(4)
    assert set(generator.trained_on) == {dataset.survey.keys[i] for i in range(6)} | {
        scene_key(more.read(i)[0]) for i in range(4)
    }


def test_unlabelled_pictures_come_without_a_label_map_and_in_their_share():
    config = TINY.model_copy(update={"unlabelled_fraction": 0.25})
    sampler = sampler_of(painted_dataset(Painted(8), 6), config, [Painted(3), Painted(2)])
    batch = sampler.batch(1, range(400))
    assert (~batch.labelled).mean() == pytest.approx(0.25, abs=0.07)
    assert (batch.indices[~batch.labelled] == 255).all()
    assert not (batch.indices[batch.labelled] == 255).all()
    assert sampler_of(painted_dataset(Painted(8), 6), config).batch(1, range(50)).labelled.all()


def test_some_label_maps_are_hidden_and_noise_levels_keep_to_the_middle():
    seeds = np.arange(1000, dtype=np.uint64)
    dropped, levels = draw_levels(seeds, TINY)
    assert dropped.mean() == pytest.approx(TINY.label_dropout, abs=0.03)
    assert 0 < levels.min() < levels.max() < 1
    assert np.median(levels) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(levels[5:6], draw_levels(seeds[5:6], TINY)[1])


def test_unlabelled_pictures_of_other_channels_are_refused():
    with pytest.raises(DataError, match="--unlabelled painted: RGB pictures beside grey data; convert them"):
        sampler_of(painted_dataset(Painted(8), 6), TINY, [Painted(2, channels=3)])


def test_without_dropout_and_unlabelled_pictures_there_is_no_guidance(tmp_path):
    config = TINY.model_copy(update={"label_dropout": 0.0, "steps": 1})
    train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    assert load_generator(str(tmp_path)).drawing["guidance"] == 1
    with pytest.raises(RunError, match="trained without a null condition"):
        load_generator(str(tmp_path), draw=DrawConfig(guidance=2))


def test_other_classes_or_channels_and_damaged_files_are_refused(trained, tmp_path):
    others = ClassSet(("a", "b"), (1, 2), ((1, 1, 1), (2, 2, 2)), ignored=0)
    with pytest.raises(RunError, match="was trained on the classes sand, slab, rock; the data have a, b"):
        load_generator(str(trained), others, 1)
    with pytest.raises(RunError, match=r"draws grey \(1 channel\) images; the data are RGB"):
        load_generator(str(trained), CLASSES, 3)
    for name, content in files_of(trained).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / DENOISER / DENOISER_WEIGHTS).write_bytes(b"junk")
    with pytest.raises(RunError, match="do not make a diffusion generator"):
        load_generator(str(tmp_path))
    (tmp_path / "generator.json").write_text(json.dumps({"generator": "diffusion"}))
    with pytest.raises(RunError, match="do not make a diffusion generator"):
        load_generator(str(tmp_path))


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path):
    config = TINY.model_copy(update={"lr": 1e30})
    with pytest.raises(RunError, match=r"denoising loss is (nan|inf) at step \d; lower lr, or set precision=fp32"):
        train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    assert not (tmp_path / DENOISER).exists()


def test_the_mean_of_the_weights_is_kept_and_not_the_last_ones(tmp_path):
    config = TINY.model_copy(update={"checkpoint_every": 5})
    dataset = painted_dataset(scenes := Painted(8), 6)
    run = start(tmp_path, config)

    def look(index: int) -> None:
        if (tmp_path / "last.safetensors").exists():
            raise Killed

    scenes.before_read = look
    with pytest.raises(Killed):
        train(config, run, dataset)
    tensors = read_weights(tmp_path / "last.safetensors").tensors
    name = "stem.weight"
    assert not torch.equal(tensors[f"network.{name}"], tensors[f"ema.{name}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("widths=[2,4]", "at least 4 channels in every scale"),
        ("fold=8 widths=[8,8,8,8]", "shrink a picture 64 times"),
        ("kind=difusion", "did you mean 'diffusion'"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_training_config(None, ["kind=diffusion", *setting.split()])


def test_other_weights_than_those_that_were_trained_are_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run" / DENOISER / DENOISER_WEIGHTS
    tensors = load_file(path)
    name = sorted(tensors)[0]

    def refused(words: str) -> None:
        with pytest.raises(RunError, match=rf"do not make a diffusion generator \(.*{words}"):
            load_generator(str(tmp_path / "run"))

    tensors[name].view(-1)[0] += 1
    save_file(tensors, path, {"format": "pt"})
    refused("do not have the checksum that was recorded")
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path, {"format": "pt"})
    refused(f"{name} holds values that are no finite numbers")
    shutil.copy(trained / DENOISER / DENOISER_WEIGHTS, path)
    described = tmp_path / "run" / DENOISER / "config.json"
    content = json.loads(described.read_text())
    # 10**7 channels would take terabytes: the shapes are compared before there is a network
    described.write_text(json.dumps(content | {"widths": [10**7, 16]}))
    refused(r"weight .* is \(.*\); its network has")
    described.write_text(json.dumps(content))
    load_generator(str(tmp_path / "run"))
