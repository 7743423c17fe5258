"""Mixing: exact shares, the same batches whoever asks, and no extra that knows a held-out scene."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marsgen.core.config import Config
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.folder import write_classes, write_pair
from marsgen.scenes.scene import scene_key
from marsgen.scenes.sources import mars_classes
from segmenter.config import AugmentConfig, TrainConfig
from segmenter.training.augment import augment, build_augmentation
from segmenter.training.batches import TrainingBatches, check_extra, iterate_batches, open_extras

STILL = AugmentConfig(flip=0, brightness=0, contrast=0, scale=0, translate=0)


def painted(rng: np.random.Generator, n: int, size=(32, 48), channels: int = 1):
    """Images and label maps (ids 1..3, no big rock) of plain noise."""
    return (
        rng.integers(0, 256, (n, *size, channels), dtype=np.uint8),
        rng.integers(1, 4, (n, *size), dtype=np.uint8),
    )


@pytest.fixture
def dataset(array_scenes, make_dataset):
    """20 scenes: 0..13 train (0, 1, 2 show a big rock), 14..17 val, 18 and 19 test."""
    images, labels = painted(np.random.default_rng(1), 20)
    labels[[0, 1, 2, 15], 3, 4] = 4
    return make_dataset(array_scenes(images, labels), train=range(14), val=range(14, 18), test=(18, 19))


@pytest.fixture
def extras(array_scenes):
    """Two sources, of 3 and 5 scenes, grown from nothing that is held out."""
    rng = np.random.default_rng(2)
    sources = [array_scenes(*painted(rng, n)) for n in (3, 5)]
    for source in sources:
        source.ancestors = dict.fromkeys(range(len(source)), ("elsewhere",))
    return sources


def config_of(**settings) -> TrainConfig:
    return TrainConfig(**{"steps": 40, "batch_size": 8, "augment": STILL, **settings})


# shares


def test_each_batch_has_the_stated_shares(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.25, rare_fraction=0.125), dataset, extras)
    for step in (1, 2, 17, 40):
        sources = Counter(source for source, _ in batches.plan(step))
        assert sum(sources.values()) == 8
        assert sources[1] + sources[2] == 2
    rare = sum(index in (0, 1, 2) for step in range(1, 41) for source, index in batches.plan(step) if source == 0)
    # 40 on purpose, and 3 of 14 of the other 200
    assert rare == pytest.approx(40 + 200 * 3 / 14, abs=3)


def test_a_share_that_is_no_whole_number_of_scenes_is_kept_over_the_steps(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.3), dataset, extras)
    drawn = [sum(source > 0 for source, _ in batches.plan(step)) for step in range(1, 41)]
    assert set(drawn) == {2, 3}
    assert [sum(drawn[:steps]) for steps in (5, 10, 40)] == [12, 24, 96]


def test_every_scene_of_its_kind_is_drawn_equally_often(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.25, steps=56), dataset, extras)
    drawn = Counter(member for step in range(1, 57) for member in batches.plan(step))
    # 112 draws from 8 extra scenes, 336 from 14 real ones
    assert {member: n for member, n in drawn.items() if member[0]} == dict.fromkeys(
        [(1, i) for i in range(3)] + [(2, i) for i in range(5)], 14
    )
    assert {index: n for (source, index), n in drawn.items() if source == 0} == dict.fromkeys(range(14), 24)


def test_without_extras_the_batch_is_all_real(dataset):
    batches = TrainingBatches(config_of(extra_fraction=0.5), dataset)
    assert Counter(batches.plan(3)).total() == 8
    assert {source for source, _ in batches.plan(3)} == {0}


def test_held_out_scenes_are_never_drawn(dataset, extras):
    batches = TrainingBatches(config_of(rare_fraction=0.5), dataset, extras)
    real = {index for step in range(1, 41) for source, index in batches.plan(step) if source == 0}
    assert real == set(range(14))


def test_rare_share_needs_a_rare_scene(dataset, array_scenes, make_dataset):
    plain = array_scenes(*painted(np.random.default_rng(3), 4))
    with pytest.raises(
        DataError, match=r"rare_fraction is 0\.5, but no training scene shows a rare class \(big_rock\)"
    ):
        TrainingBatches(config_of(rare_fraction=0.5), make_dataset(plain, (0, 1), (2, 3)))


def test_a_split_without_training_scenes_is_refused(dataset, make_dataset):
    with pytest.raises(DataError, match="no scene is left to train on"):
        TrainingBatches(config_of(), make_dataset(dataset.scenes, (), (0, 1)))


# batches


def test_a_batch_depends_on_seed_and_step_alone(dataset, extras):
    config = TrainConfig(steps=5, batch_size=8, seed=4)
    one, other = (TrainingBatches(config, dataset, extras) for _ in range(2))
    before = torch.get_rng_state()
    wanted = [one[step] for step in range(1, 6)]
    for step in (5, 2):
        for tensor, again in zip(wanted[step - 1], other[step], strict=True):
            assert torch.equal(tensor, again)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(wanted[0][0], wanted[1][0])
    different = TrainingBatches(config.model_copy(update={"seed": 5}), dataset, extras)
    assert not torch.equal(wanted[0][0], different[1][0])


def test_another_seed_augments_otherwise(dataset, make_dataset):
    one_scene = make_dataset(dataset.scenes, (0,), (1,))  # nothing to shuffle: only augmentation can differ
    images = [TrainingBatches(TrainConfig(steps=2, batch_size=4, seed=s), one_scene)[1][0] for s in (4, 5)]
    assert not torch.equal(*images)


def test_worker_processes_change_nothing(dataset, extras):
    config = TrainConfig(steps=4, batch_size=8)
    alone = list(iterate_batches(TrainingBatches(config, dataset, extras), first=2))
    helped = list(iterate_batches(TrainingBatches(config.model_copy(update={"workers": 1}), dataset, extras), first=2))
    assert [step for step, _ in alone] == [step for step, _ in helped] == [2, 3, 4]
    for (_, batch), (_, other) in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


def test_images_and_indices_arrive_as_they_are(dataset):
    batches = TrainingBatches(config_of(), dataset)
    images, labels = batches[1]
    assert (images.shape, images.dtype) == ((8, 1, 32, 48), torch.float32)
    assert (labels.shape, labels.dtype) == ((8, 32, 48), torch.int64)
    _, index = batches.plan(1)[5]
    np.testing.assert_allclose(images[5, 0], dataset.scenes.images[index][..., 0] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(labels[5], dataset.scenes.labels[index].astype(int) - 1)


def test_a_crop_cuts_image_and_labels_at_the_same_place(array_scenes, make_dataset):
    # image and label map say the same thing at each pixel, so any shift between them would show
    labels = np.random.default_rng(5).integers(1, 4, (6, 40, 60), dtype=np.uint8)
    scenes = array_scenes(labels[..., None], labels)
    batches = TrainingBatches(config_of(crop=(32, 36)), make_dataset(scenes, range(6), ()))
    images, indices = batches[1]
    assert images.shape == (8, 1, 32, 36)
    np.testing.assert_array_equal(np.round((images[:, 0].numpy() + 1) * 127.5), indices.numpy() + 1)


def test_scenes_of_several_sizes_are_trained_in_windows(array_scenes, make_dataset):
    rng = np.random.default_rng(6)
    pairs = [tuple(array[0] for array in painted(rng, 1, size)) for size in [(32, 200), (150, 160), (140, 128)]]
    scenes = array_scenes([image for image, _ in pairs], [labels for _, labels in pairs])
    images, labels = TrainingBatches(config_of(), make_dataset(scenes, range(3), ()))[1]
    assert images.shape == (8, 1, 128, 128)
    ignored = (labels == 255).float().mean((1, 2))
    # only the scene of 32 rows is smaller than its window: 96 of 128 rows are rim, and nothing else is
    assert sorted(set(ignored.tolist())) == [0, 0.75]


# augmentation


def test_augmentation_moves_image_and_labels_together_and_marks_the_outside():
    labels = torch.from_numpy(np.kron(np.random.default_rng(7).integers(0, 4, (4, 8, 8)), np.ones((1, 8, 8)))).byte()
    images = (labels[:, None] + 1) * 50
    config = AugmentConfig(brightness=0, contrast=0, scale=0.3, translate=0.2)
    moved, mask = augment(images, labels, build_augmentation(config), samples_per_draw=1, seed=0)
    outside = mask == 255
    assert 0 < outside.float().mean() < 0.5
    # blocks of one class stay one class; only their rims blur in the image
    agrees = ((moved[:, 0].float() / 50 - 1 - mask.float()).abs() < 0.5)[~outside]
    assert agrees.float().mean() > 0.85
    assert not torch.equal(mask, labels)


def test_brightness_leaves_labels_alone():
    images, labels = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8), torch.ones(2, 32, 32, dtype=torch.uint8)
    config = AugmentConfig(flip=0, scale=0, translate=0, brightness=0.5)
    changed, same = augment(images, labels, build_augmentation(config), samples_per_draw=1, seed=1)
    assert torch.equal(same, labels)
    assert not torch.equal(changed[0], changed[1])


# refusals


def write_synthetic(folder: Path, ancestors: list[str], classes: ClassSet | None = None, size=(32, 48)) -> Path:
    """A folder as `marsgen synthesize` leaves it, one scene per ancestor."""
    classes = classes or mars_classes()
    images, labels = painted(np.random.default_rng(9), len(ancestors), size)
    for i, (image, label_map) in enumerate(zip(images, labels, strict=True)):
        write_pair(folder, f"drawn{i}", image, label_map, classes)
    write_classes(folder, classes)
    lines = [
        {"name": f"drawn{i}", "parent": {"name": "p", "key": "elsewhere"}, "donors": [{"name": "d", "key": key}]}
        for i, key in enumerate(ancestors)
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def key_of(dataset, index: int) -> str:
    return dataset.survey.keys[index]


def test_scenes_grown_from_training_scenes_are_welcome(dataset, tmp_path, capsys):
    folder = write_synthetic(tmp_path / "synth", [key_of(dataset, 0), key_of(dataset, 13)])
    (folder / "synth.json").write_text(json.dumps({"trained_on": [key_of(dataset, 5)]}))
    (extra,) = open_extras([str(folder)], dataset)
    assert len(extra) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("index", "part"), [(16, "validation"), (19, "test")])
def test_a_scene_grown_from_a_held_out_one_is_refused_by_name(dataset, tmp_path, index, part):
    folder = write_synthetic(tmp_path / "synth", ["elsewhere", key_of(dataset, index)])
    with pytest.raises(DataError, match=f"scene drawn1 was grown from scene{index}, a {part} scene of this run; make"):
        open_extras([str(folder)], dataset)


def test_rare_scenes_beyond_the_limit_do_not_come_back_as_material(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", [key_of(dataset, 12), key_of(dataset, 13)])
    split = replace(dataset.split, train=dataset.split.train[:-1], beyond_limit=dataset.split.train[-1:])
    with pytest.raises(DataError, match=r"was grown from scene13, a scene beyond data\.rare_scenes of this run; make"):
        open_extras([str(folder)], replace(dataset, split=split))


def test_a_generator_trained_on_a_held_out_scene_is_refused(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", ["elsewhere"])
    (folder / "synth.json").write_text(json.dumps({"trained_on": ["elsewhere", key_of(dataset, 14)]}))
    with pytest.raises(DataError, match="what made it has learned from scene14, a validation scene of this run"):
        open_extras([str(folder)], dataset)
    (folder / "synth.json").write_text("[1]")
    with pytest.raises(DataError, match=r"synth\.json: not readable json with a list 'trained_on'"):
        open_extras([str(folder)], dataset)


def test_other_classes_are_refused(dataset, tmp_path):
    mars = mars_classes()
    names = ("gravel", *mars.names[1:])
    other = ClassSet(names, mars.ids, mars.colours, mars.ignored, mars.rare)
    folder = write_synthetic(tmp_path / "synth", ["elsewhere"], other)
    with pytest.raises(DataError, match=r"its classes are 1=gravel, .*those of arrays are 1=soil"):
        open_extras([str(folder)], dataset)


def test_another_size_is_refused(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", ["elsewhere"], size=(32, 64))
    with pytest.raises(DataError, match=r"height and width are \(32, 64\), those of arrays are \(32, 48\)"):
        open_extras([str(folder)], dataset)


def test_colour_scenes_do_not_join_grey_ones(dataset, array_scenes):
    colour = array_scenes(*painted(np.random.default_rng(3), 2, channels=3))
    with pytest.raises(DataError, match="its channels are 3, those of arrays are 1"):
        check_extra(colour, dataset)


def test_an_empty_folder_is_refused(dataset, tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match="no picture in this folder"):
        open_extras([str(tmp_path)], dataset)


def test_an_unfinished_synthesis_is_refused(dataset, tmp_path):
    run = Run.start(tmp_path / "synth", "marsgen synthesize", Config())
    write_synthetic(run.folder, ["elsewhere"])
    with pytest.raises(RunError, match="this run has not finished; repeat its `marsgen synthesize` command"):
        open_extras([str(run.folder)], dataset)
    run.finish({})
    assert len(open_extras([str(run.folder)], dataset)) == 1


def test_a_folder_of_another_command_is_refused(dataset, tmp_path):
    Run.start(tmp_path / "run", "marsgen train-generator", Config()).finish({})
    with pytest.raises(RunError, match="was made by `marsgen train-generator`; expected a run of `marsgen synthesize`"):
        open_extras([str(tmp_path / "run")], dataset)


def test_a_plain_folder_joins_with_a_note_unless_it_holds_a_validation_scene(dataset, tmp_path, capsys):
    folder, classes = tmp_path / "plain", mars_classes()
    images, labels = painted(np.random.default_rng(11), 2)
    for i in range(2):
        write_pair(folder, f"own{i}", images[i], labels[i], classes)
    (extra,) = open_extras([str(folder)], dataset)  # no classes.yaml: the real scenes' classes
    assert extra.classes == classes
    assert "nothing says what 2 of its 2 scenes were made from" in capsys.readouterr().err
    write_pair(folder, "own1", dataset.scenes.images[17], labels[1], classes)
    assert scene_key(dataset.scenes.images[17]) == key_of(dataset, 17)
    with pytest.raises(DataError, match="scene own1 is the same picture as scene17, a validation scene of this run"):
        open_extras([str(folder)], dataset)
