"""Batches: exact fractions of real, rare and extra scenes, and the same windows for every number of processes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from marsgen.core.errors import DataError
from marsgen.scenes.sources import mars_classes
from segmenter.config import AugmentConfig, TrainConfig
from segmenter.training.batches import TrainingBatches, iterate_batches, window_of

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
    plain = {"steps": 40, "batch_size": 8, "augment": STILL, "rare_fraction": 0, "extra_steps": (0.0, 1.0)}
    return TrainConfig(**plain | settings)


# shares


def test_each_batch_has_the_stated_shares(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.25, rare_fraction=0.125), dataset, extras)
    for step in (1, 2, 17, 40):
        sources = Counter(source for source, _ in batches.plan(step))
        assert sum(sources.values()) == 8
        assert sources[1] + sources[2] == 2
    rare = sum(index in (0, 1, 2) for step in range(1, 41) for source, index in batches.plan(step) if source == 0)
    # 40 on purpose, and 3 of 14 of the other 200, a few more or less since extra scenes take the places of any
    assert rare == pytest.approx(40 + 200 * 3 / 14, abs=8)


def test_a_share_that_is_no_whole_number_of_scenes_is_kept_over_the_steps(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.3), dataset, extras)
    drawn = [sum(source > 0 for source, _ in batches.plan(step)) for step in range(1, 41)]
    assert set(drawn) == {2, 3}
    assert [sum(drawn[:steps]) for steps in (5, 10, 40)] == [12, 24, 96]


def test_every_scene_of_its_kind_is_drawn_equally_often(dataset, extras):
    config = config_of(extra_fraction=0.25, steps=56)
    batches = TrainingBatches(config, dataset, extras)
    drawn = Counter(member for step in range(1, 57) for member in batches.plan(step))
    # 112 draws from 8 extra scenes
    assert {member: n for member, n in drawn.items() if member[0]} == dict.fromkeys(
        [(1, i) for i in range(3)] + [(2, i) for i in range(5)], 14
    )
    # 448 draws from 14 real ones, of which extra scenes take the places of 112 wherever those stand
    real = Counter(member for step in range(1, 57) for member in TrainingBatches(config, dataset).plan(step))
    assert real == dict.fromkeys([(0, i) for i in range(14)], 32)
    assert all(18 <= drawn[member] <= 30 for member in real)


def test_extra_scenes_change_no_other_place_of_a_batch(dataset, extras):
    settings = {"rare_fraction": 0.125, "crop": (32, 32)}
    plain = TrainingBatches(config_of(**settings), dataset)
    for fraction, replaced in ((0.25, 2), (0.5, 4)):
        mixed = TrainingBatches(config_of(extra_fraction=fraction, **settings), dataset, extras)
        for step in (1, 7, 40):
            wanted, got = plain.plan(step), mixed.plan(step)
            same = [place for place in range(8) if wanted[place] == got[place]]
            assert same == [place for place in range(8) if got[place][0] == 0]
            assert len(same) == 8 - replaced
            for one, other in zip(plain[step], mixed[step], strict=True):
                assert torch.equal(one[same], other[same])


def test_extra_scenes_come_in_the_stated_steps_only(dataset, extras):
    batches = TrainingBatches(config_of(extra_fraction=0.25, extra_steps=(0.25, 0.6)), dataset, extras)
    drawn = [[member for member in batches.plan(step) if member[0]] for step in range(1, 41)]
    assert [len(members) for members in drawn] == [0] * 10 + [2] * 14 + [0] * 16
    # the order begins with the first of those steps
    always = TrainingBatches(config_of(extra_fraction=0.25), dataset, extras)
    assert drawn[10] == [member for member in always.plan(1) if member[0]]


@pytest.mark.parametrize("size", [8, 15])
def test_a_batch_is_never_larger_than_stated(dataset, extras, size):
    batches = TrainingBatches(config_of(extra_fraction=0.5, rare_fraction=0.5, batch_size=size), dataset, extras)
    assert {len(batches.plan(step)) for step in range(1, 41)} == {size}


def test_without_extras_the_batch_is_all_real(dataset):
    batches = TrainingBatches(config_of(extra_fraction=0.5), dataset)
    assert Counter(batches.plan(3)).total() == 8
    assert {source for source, _ in batches.plan(3)} == {0}


def test_held_out_scenes_are_never_drawn(dataset, extras):
    batches = TrainingBatches(config_of(rare_fraction=0.5), dataset, extras)
    real = {index for step in range(1, 41) for source, index in batches.plan(step) if source == 0}
    assert real == set(range(14))


@pytest.fixture
def uneven(array_scenes, make_dataset):
    """12 scenes of 64 x 96 with two rare classes: all show sand (id 3, one pixel), the last alone a rock (id 4)."""
    images, labels = np.random.default_rng(4).integers(0, 256, (12, 64, 96, 1), dtype=np.uint8), np.ones((12, 64, 96))
    labels[:, 60, 90] = 3
    labels[11, 3, 4] = 4
    classes = replace(mars_classes(), rare=("sand", "big_rock"))
    return make_dataset(array_scenes(images, labels.astype(np.uint8), classes), range(12), ())


def test_rare_classes_take_turns_however_many_scenes_show_them(uneven):
    batches = TrainingBatches(config_of(rare_fraction=0.25, crop=(32, 32)), uneven)
    for step in range(1, 41):
        assert batches.plan(step)[-1] == (0, 11)
        shown = [set(indices.unique().tolist()) for indices in batches[step][1][-2:]]
        assert shown == [{0, 2}, {0, 3}], "a window is centred on the class that its scene was drawn for"
    sand = Counter(batches.plan(step)[-2] for step in range(1, 37))
    assert sand == dict.fromkeys([(0, i) for i in range(12)], 3)


@pytest.mark.parametrize(
    ("settings", "part", "times"),
    [
        ({}, 0.25, 27),
        ({"rare_fraction": 0.5}, 0.5, 53),
        ({"extra_fraction": 0.9}, 0.1, 11),
        ({"rare_fraction": 0}, 0, 0),
    ],
)
def test_rare_classes_are_oversampled_unless_asked_otherwise(dataset, settings, part, times):
    batches = TrainingBatches(config_of(**({"rare_fraction": None} | settings)), dataset)
    assert batches.rare.fraction == pytest.approx(part)
    if part:
        assert batches.describe() == (
            f"rare_fraction: {part:g} of each batch is drawn for big_rock "
            f"(in 3 of 14 scenes, each drawn about {times} times)"
        )
    else:
        assert batches.describe() == "rare_fraction: 0, real scenes are drawn as they come"


def test_by_default_a_class_in_a_quarter_of_the_scenes_takes_no_turns(uneven, array_scenes, make_dataset):
    batches = TrainingBatches(config_of(rare_fraction=None), uneven)
    assert batches.rare_classes == ["big_rock"], "all scenes show sand"
    assert [batches.plan(step)[-2:] for step in (1, 40)] == [[(0, 11)] * 2] * 2
    for holders, part in ((2, 0.25), (3, 0.0)):
        labels = np.ones((12, 64, 96), np.uint8)
        labels[:holders, 3, 4] = 4
        scenes = array_scenes(np.zeros((12, 64, 96, 1), np.uint8), labels)
        assert TrainingBatches(config_of(rare_fraction=None), make_dataset(scenes, range(12), ())).rare.fraction == part


@pytest.mark.parametrize(
    ("settings", "first"),
    [({}, 17), ({"extra_steps": (0.0, 1.0)}, 1), ({"extra_fraction": 1.0, "rare_fraction": 0}, 1)],
)
def test_by_default_extra_scenes_join_late_where_there_are_real_ones(dataset, extras, settings, first):
    batches = TrainingBatches(config_of(**({"extra_fraction": 0.25, "extra_steps": None} | settings)), dataset, extras)
    shown = [step for step in range(1, 41) if any(source for source, _ in batches.plan(step))]
    assert shown == list(range(first, 41))
    assert f"of the batches of steps {first} to 40 is extra" in batches.describe()


def test_without_a_rare_scene_scenes_are_drawn_as_they_come(array_scenes, make_dataset):
    plain = array_scenes(*painted(np.random.default_rng(3), 4))
    batches = TrainingBatches(config_of(rare_fraction=None), make_dataset(plain, (0, 1), (2, 3)))
    assert batches.rare.fraction == 0
    assert {member for step in range(1, 9) for member in batches.plan(step)} == {(0, 0), (0, 1)}


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


def test_windows_of_rare_draws_show_the_rare_class(array_scenes, make_dataset):
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (6, 64, 96, 1), dtype=np.uint8), np.full((6, 64, 96), 1, np.uint8)
    corners = [(0, 0), (60, 90), (30, 50), (2, 70), (55, 4), (40, 40)]
    for label_map, (row, column) in zip(labels, corners, strict=True):
        label_map[row : row + 3, column : column + 3] = 4
    dataset = make_dataset(array_scenes(images, labels), range(6), ())
    settings = config_of(crop=(32, 32), rare_fraction=0.5)
    batches = TrainingBatches(settings, dataset)
    for step in range(1, 9):
        found = batches[step][1]
        assert (found[len(found) // 2 :] == 3).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("shape", "crop", "window"),
    [
        ((512, 512), None, None),
        ((256, 1024), None, None),
        ((1200, 1500), None, (256, 256)),
        ((513, 512), None, (256, 256)),
        (None, None, (128, 128)),
    ],
)
def test_large_scenes_are_trained_in_windows(shape, crop, window):
    assert window_of(shape) == window


def test_a_batch_of_large_scenes_is_windows_and_is_said(array_scenes, make_dataset):
    images, labels = painted(np.random.default_rng(3), 3, (560, 600))
    batches = TrainingBatches(config_of(), make_dataset(array_scenes(images, labels), range(3), ()))
    assert batches[1][0].shape == (8, 1, 256, 256)
    assert batches.describe().startswith("windows of 256 x 256 px of scenes of 560 x 600")
    assert (
        "windows" not in TrainingBatches(config_of(crop=(64, 64)), make_dataset(batches.sources[0], [0], ())).describe()
    )


@pytest.mark.parametrize(
    ("record", "least", "most"),
    [
        ({"donors": [{"class": "big_rock", "box": [90, 300, 96, 306]}]}, 8, 8),  # that one of the two
        ({"donors": []}, 8, 8),  # a zoom crop: either of them
        ({}, 0, 3),  # no scene of `marsgen synthesize`: anywhere
        ({"donors": [{"class": "elsewhere", "box": [1]}, 5]}, 8, 8),  # nothing that can be read: as without a region
    ],
)
def test_windows_of_synthetic_scenes_show_what_was_pasted(array_scenes, make_dataset, record, least, most):
    """A window of 32 x 32 of a scene of 200 x 400 shows one of two small regions by chance one time in 30."""
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (1, 200, 400, 1), dtype=np.uint8), np.full((1, 200, 400), 1, np.uint8)
    labels[0, 90:96, 300:306] = labels[0, 10:16, 10:16] = 4
    extra = array_scenes(images, labels)
    extra.record = lambda index: record
    real = make_dataset(array_scenes(images, np.ones_like(labels)), [0], ())
    batches = TrainingBatches(config_of(crop=(32, 32), extra_fraction=1), real, [extra])
    shown = [int((found == 3).any()) for found in batches[1][1]]
    assert least <= sum(shown) <= most
    if record.get("donors") and "box" in record["donors"][0] and len(record["donors"][0]["box"]) == 4:
        where = [np.argwhere(found.numpy() == 3) for found in batches[1][1]]
        assert all(len(pixels) == 36 for pixels in where)
