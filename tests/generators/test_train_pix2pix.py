"""Training pix2pix: it learns, it goes on after a kill as if nothing had happened, it says what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from listed_scenes import ListedScenes
from painted import CLASSES, Killed, Painted, painted_dataset
from PIL import Image

from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import InputError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import Checkpoint, read_weights
from marsgen.generators import DrawRequest, load_generator
from marsgen.generators.batches import InpaintingSampler, cut_window, soft_window
from marsgen.generators.pix2pix.train import TrainPix2PixConfig, train
from marsgen.generators.sizes import STEP_PX

TINY = TrainPix2PixConfig(
    steps=6,
    batch_size=4,
    generator_width=4,
    discriminator_width=4,
    precision="fp32",
    log_every=1,
    sample_every=3,
    checkpoint_every=3,
)


def start(folder: Path, config: TrainPix2PixConfig) -> Run:
    return Run.start(folder, "marsgen train-generator", config, {"data": "painted"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """An undisturbed run of six steps, with the discriminator that segments."""
    folder = tmp_path_factory.mktemp("trained")
    train(TINY, start(folder, TINY), painted_dataset(Painted(8), 6))
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
        train(TINY, run, dataset)
    run.close()
    assert (tmp_path / "last.safetensors").exists() == (killed_at_step > 3)
    scenes.before_read = lambda index: None
    train(TINY, start(tmp_path, TINY), dataset)

    written = {p.relative_to(trained) for p in trained.rglob("*") if p.is_file()}
    assert {"best.safetensors", "generator.json", "metrics.jsonl", "DONE", "step_000003.png"} <= {
        p.name for p in written
    }
    assert written == {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    for path in written:
        assert (tmp_path / path).read_bytes() == (trained / path).read_bytes(), path


def test_both_networks_take_steps_and_the_mean_follows(tmp_path):
    dataset = painted_dataset(scenes := Painted(8), 6)
    config = TINY.model_copy(update={"checkpoint_every": 1, "ema_decay": 0.1})
    seen: list[Checkpoint] = []

    def look(index: int) -> None:
        path = tmp_path / "last.safetensors"
        if path.exists():
            checkpoint = read_weights(path)
            if not seen or checkpoint.step > seen[-1].step:
                seen.append(checkpoint)

    scenes.before_read = look
    train(config, start(tmp_path, config), dataset)
    first, second = seen[0].tensors, seen[1].tensors
    for name, value in first.items():
        if name.startswith(("generator.", "discriminator.")) and not name.endswith(("_u", "_v")):
            assert not torch.equal(value, second[name]), name
    name = "stem.weight"
    expected = 0.1 * first[f"ema.{name}"] + 0.9 * second[f"generator.{name}"]
    torch.testing.assert_close(second[f"ema.{name}"], expected)


def test_the_weights_kept_are_the_running_mean(trained, tmp_path):
    config = TINY.model_copy(update={"ema_decay": 0.0})
    train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()
    for kept in ("best.safetensors", "samples/step_000006.png"):
        assert (tmp_path / kept).read_bytes() != (trained / kept).read_bytes()


def test_another_seed_ends_elsewhere(trained, tmp_path):
    config = TINY.model_copy(update={"seed": 1})
    train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    assert (tmp_path / "best.safetensors").read_bytes() != (trained / "best.safetensors").read_bytes()


def test_a_finished_run_is_left_as_it_is(trained):
    before = (trained / "best.safetensors").stat().st_mtime_ns
    summary = train(TINY, start(trained, TINY), painted_dataset(Painted(8), 6))
    assert summary["rare_scenes"] == 2
    assert (trained / "best.safetensors").stat().st_mtime_ns == before


def test_what_was_trained_can_be_loaded_and_draws(trained):
    scenes = Painted(8)
    generator = load_generator(str(trained), CLASSES, 1)
    assert (generator.name, generator.channels, generator.classes.names) == ("pix2pix", 1, CLASSES.names)
    assert generator.trained_on == painted_dataset(scenes, 6).survey.keys[:6]
    assert len(generator.fingerprint) == 16
    image, labels = scenes.read(0)
    window = np.zeros((1, *labels.shape), np.float32)
    window[:, 8:24, 8:24] = 1
    request = DrawRequest(image[None], CLASSES.to_indices(labels)[None], window, np.array([5], np.uint64))
    drawn = generator.draw(request)
    np.testing.assert_array_equal(drawn[window == 0], image[None][window == 0])
    assert (drawn != image).any()


def test_a_generator_of_other_classes_or_channels_is_refused(trained, tmp_path):
    with pytest.raises(
        RunError, match="was trained on the classes sand, slab, rock; the data have sand, slab, ice; train"
    ):
        load_generator(str(trained), replace(CLASSES, names=("sand", "slab", "ice"), rare=()))
    with pytest.raises(RunError, match=r"draws grey \(1 channel\) images; the data are RGB \(3 channels\)"):
        load_generator(str(trained), CLASSES, 3)
    with pytest.raises(RunError, match="no run folder here"):
        load_generator(str(tmp_path / "absent"))
    run = Run.start(tmp_path / "other", "segmenter train", TINY)
    run.finish({})
    with pytest.raises(RunError, match="made by `segmenter train`; expected a run of `marsgen train-generator`"):
        load_generator(str(tmp_path / "other"))
    start(tmp_path / "half", TINY)
    with pytest.raises(RunError, match="has not finished"):
        load_generator(str(tmp_path / "half"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("width", 8, "do not make a pix2pix generator .*its network has"),
        ("classes", [], r"generator\.json: a mapping with keys"),
        ("generator", "pix2pixx", r"no generator 'pix2pixx' \(did you mean 'pix2pix'\?\)"),
    ],
)
def test_a_record_that_does_not_fit_its_weights_is_refused(trained, tmp_path, key, value, message):
    for path in trained.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads((trained / "generator.json").read_text()) | {key: value}
    (tmp_path / "generator.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message) as caught:
        load_generator(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_a_number_stops_the_run_before_it_is_kept(tmp_path):
    config = TINY.model_copy(update={"generator_lr": 1e38, "checkpoint_every": 1})
    with pytest.raises(RunError, match=r"loss is (nan|-?inf) at step [2-6]; lower generator_lr") as caught:
        train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    stopped_at = int(str(caught.value).split("at step ")[1].split(";")[0])
    assert not (tmp_path / "best.safetensors").exists()
    assert not (tmp_path / "DONE").exists()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == stopped_at - 1


def test_a_grid_shows_four_pictures_per_scene(trained):
    with Image.open(trained / "samples" / "step_000006.png") as grid:
        scale = 192 // 32
        assert grid.size == (4 * (48 + 4) * scale, 2 * (32 + 4) * scale)
        pixels = np.asarray(grid)[::scale, ::scale]
    image = Painted(8).read(6)[0]
    np.testing.assert_array_equal(pixels[:32, 52:100], np.broadcast_to(image, (32, 48, 3)))


def test_colour_scenes_of_several_sizes_without_a_rare_class_are_trained_on(tmp_path):
    scenes = Painted(6, shapes=((40, 50), (64, 33), (90, 100)), channels=3)
    scenes.classes = replace(CLASSES, rare=())
    config = TINY.model_copy(update={"steps": 2, "crop_px": 40})
    train(config, start(tmp_path, config), painted_dataset(scenes, 4))
    assert load_generator(str(tmp_path)).channels == 3


@pytest.mark.slow
@pytest.mark.parametrize("discriminator", ["segmentation", "patch"])
def test_four_scenes_can_be_learned_by_heart(tmp_path, discriminator):
    """What is dark and what is bright is learned from the label map, not only the mean."""
    config = TINY.model_copy(
        update={
            "discriminator": discriminator,
            "steps": 42,
            "generator_lr": 4e-3,
            "discriminator_lr": 2e-3,
            "scene_fraction": 1.0,
            "ema_decay": 0.9,
            "log_every": 10,
            "sample_every": 1000,
        }
    )
    scenes = Painted(5)
    train(config, start(tmp_path, config), painted_dataset(scenes, 4))
    pairs = [scenes.read(i) for i in range(4)]
    images, labels = np.stack([i for i, _ in pairs]), np.stack([m for _, m in pairs])
    inpainting_mask = np.ones(labels.shape, np.float32)
    request = DrawRequest(images, CLASSES.to_indices(labels), inpainting_mask, np.arange(4, dtype=np.uint64))
    drawn = load_generator(str(tmp_path)).draw(request)
    labelled = labels != 0
    error = np.abs(drawn[labelled].astype(float) - images[labelled]).mean()
    error_of_mean = np.abs(images[labelled] - images[labelled].mean()).mean()
    assert error_of_mean > 40
    assert error < 0.4 * error_of_mean


# batches


def sampler(scenes: Painted, **fields) -> InpaintingSampler:
    known = {"rare_fraction": 0.5, "scene_fraction": 0.5, "crop_px": 128, "seed": 3}
    return InpaintingSampler(scenes, **({"train": [0, 1, 2, 4], "rare_train": {2: [0]}, "rare": (2,)} | known | fields))


def test_a_sample_depends_on_seed_step_and_number_alone():
    whole = sampler(Painted(6)).batch(9, range(8))
    halves = [sampler(Painted(6)).batch(9, range(rank, 8, 2)) for rank in (1, 0)]
    for name in ("images", "indices", "inpainting_mask", "seeds"):
        np.testing.assert_array_equal(getattr(whole, name)[1::2], getattr(halves[0], name))
        np.testing.assert_array_equal(getattr(whole, name)[::2], getattr(halves[1], name))
    assert not np.array_equal(whole.seeds, sampler(Painted(6)).batch(10, range(8)).seeds)
    assert not np.array_equal(whole.seeds, sampler(Painted(6), seed=4).batch(9, range(8)).seeds)


def test_only_training_scenes_are_read_and_rare_ones_as_often_as_asked():
    reads: list[int] = []
    scenes = Painted(6)
    scenes.before_read = reads.append
    batch = sampler(scenes, rare_fraction=0.6, train=[0, 1, 2, 4]).batch(1, range(2000))
    assert set(reads) == {0, 1, 2, 4}
    # scene 0 is the only rare one: 0.6 on purpose, and a quarter of the rest
    assert reads.count(0) / 2000 == pytest.approx(0.6 + 0.4 / 4, abs=0.04)
    whole = (batch.inpainting_mask == 1).all(axis=(1, 2))
    assert whole.mean() == pytest.approx(0.5, abs=0.04)
    flipped = (batch.indices[:, 0, -1] == 255).mean()  # the ignored rim changes sides
    assert flipped == pytest.approx(0.5, abs=0.04)


def test_images_and_label_maps_stay_together():
    batch = sampler(Painted(9, shapes=((40, 60), (64, 50))), crop_px=36).batch(1, range(64))
    assert batch.images.shape == (64, 36, 36, 1)
    light = [batch.images[batch.indices == index].mean() for index in range(3)]
    np.testing.assert_allclose(light, [60, 140, 230], atol=3)


def test_half_of_the_windows_lie_round_a_rare_region():
    indices = np.zeros((64, 128), np.uint8)
    indices[5:9, 7:12] = indices[50:60, 100:110] = 2
    inpainting_masks = [soft_window(indices, (2,), np.random.default_rng(seed)) for seed in range(400)]
    # whole rocks inside the inpainting mask; a random box rarely holds one
    small = np.array([inpainting_mask[5:9, 7:12].min() == 1 for inpainting_mask in inpainting_masks])
    large = np.array([inpainting_mask[50:60, 100:110].min() == 1 for inpainting_mask in inpainting_masks])
    assert 0.42 < (small | large).mean() < 0.7
    assert 5 * small.sum() > large.sum() > 2 * small.sum() > 0, "a region is chosen by its pixels: 100 against 20"
    values = np.concatenate([h.ravel() for h in inpainting_masks])
    assert values.min() == 0
    assert values.max() == 1
    assert ((values > 0) & (values < 1)).mean() > 0.02, "the rim is soft"
    assert np.mean([(h == 1).mean() for h in inpainting_masks]) < 0.5


def test_a_rare_window_always_shows_the_class_and_never_leaves_the_scene():
    indices = np.zeros((200, 300), np.uint8)
    indices[199, 0] = 2
    image = np.arange(60000).reshape(200, 300, 1)
    cuts = [cut_window(image, indices, (64, 128), (2,), np.random.default_rng(seed)) for seed in range(200)]
    assert {(i.shape, m.shape) for i, m in cuts} == {((64, 128, 1), (64, 128))}
    assert all((m == 2).any() for _, m in cuts)
    for window, labels in cuts:
        assert (labels == 2).any() == (image[199, 0] in window)
    plain = [cut_window(image, indices, (64, 128), (), np.random.default_rng(seed)) for seed in range(200)]
    assert np.mean([(m == 2).any() for _, m in plain]) < 0.05


def test_a_rare_window_is_centred_and_shows_small_classes_as_often_as_large_ones():
    indices = np.zeros((200, 300), np.uint8)
    indices[80:120, 100:200], indices[60, 150] = 2, 3
    image = indices[..., None]
    small = 0
    for seed in range(100):
        _, labels = cut_window(image, indices, (65, 65), (2, 3), np.random.default_rng(seed))
        assert labels[32, 32] in (2, 3)
        small += labels[32, 32] == 3
    assert 35 < small < 65


def test_every_window_of_a_rare_draw_shows_the_class():
    def sampler(rare_fraction: float) -> InpaintingSampler:
        scenes = ListedScenes([np.zeros((96, 96), np.uint8)] * 4, [blot(row) for row in (0, 30, 60, 92)])
        return InpaintingSampler(scenes, range(4), {3: range(4)}, (3,), rare_fraction, 0.5, 32, 0)

    def shown(rare_fraction: float) -> float:
        batch = sampler(rare_fraction).batch(0, range(80))
        return float((batch.indices == 3).any(axis=(1, 2)).mean())

    assert shown(1.0) == 1
    assert shown(0.0) < 0.4


def test_rare_classes_are_drawn_equally_often_however_many_scenes_show_them():
    maps = [blot(row) for row in (0, 20, 40, 60, 80)]
    maps[4] = np.where(maps[4] == 4, 3, maps[4])  # sand, in one scene of five
    scenes = ListedScenes([np.zeros((96, 96), np.uint8)] * 5, maps)
    sampler = InpaintingSampler(scenes, range(5), {2: [4], 3: range(4)}, (2, 3), 1.0, 0.5, 32, 0)
    indices = sampler.batch(0, range(200)).indices
    assert (indices == 2).any(axis=(1, 2)).mean() == pytest.approx(0.5, abs=0.08)
    assert ((indices == 2) | (indices == 3)).any(axis=(1, 2)).all()


def blot(row: int) -> np.ndarray:
    labels = np.full((96, 96), 1, np.uint8)
    labels[row : row + 4, 5:9] = 4  # big rock
    return labels


# settings


def test_the_shipped_settings_are_the_defaults_and_tiny_is_quick():
    assert load_config(TrainPix2PixConfig, configs_folder() / "train-generator.yaml") == TrainPix2PixConfig()
    tiny = load_config(TrainPix2PixConfig, configs_folder() / "tiny" / "train-generator.yaml")

    def work(config: TrainPix2PixConfig) -> int:
        pixels = STEP_PX if config.batch_size is None else config.batch_size * (config.crop_px or 128) ** 2
        return config.steps * pixels * config.generator_width**2

    assert work(tiny) < work(TrainPix2PixConfig()) / 10


def test_training_leaves_the_global_random_numbers_alone(tmp_path):
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    config = TINY.model_copy(update={"steps": 1})
    train(config, start(tmp_path, config), painted_dataset(Painted(8), 6))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(before_numpy, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
