"""Data whose scenes share a view, a field of view or a border: correct data, of which nothing may get lost."""

import re

import numpy as np
import pytest
from listed_scenes import ListedScenes
from skimage.draw import disk, polygon

from marsgen.cleaning.dataset import Dataset, clean_scenes
from marsgen.core.config import DataConfig
from marsgen.scenes.simulate import SimulationConfig, simulate_scene

THREE_PARTS = DataConfig(val_fraction=0.2, test_fraction=0.2)
SHAPE = (64, 128)


@pytest.fixture(scope="module")
def ground() -> list[tuple[np.ndarray, np.ndarray]]:
    """60 simulated pairs of different ground."""
    config = SimulationConfig(outlier_fraction=0, scenes_per_stop=1, rock_scene_fraction=0.2)
    return [simulate_scene(index, config) for index in range(60)]


def used(dataset: Dataset) -> list[int]:
    return sorted([*dataset.split.train, *dataset.split.val, *dataset.split.test])


def seen_through(mask: np.ndarray, ground, outside: int) -> ListedScenes:
    """Black outside the mask; two thirds of the label maps are one class inside it."""
    images = [np.where(mask[..., None], image, 0).astype(np.uint8) for image, _ in ground]
    labels = [np.where(mask, 1 if i % 3 else labels, outside).astype(np.uint8) for i, (_, labels) in enumerate(ground)]
    return ListedScenes(images, labels)


def round_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[disk((32, 64), 30)] = True
    return mask


def polygonal_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[polygon([2, 10, 58, 62, 30], [30, 110, 122, 25, 4])] = True
    return mask


def framed_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[4:-4, 6:-6] = True
    return mask


@pytest.mark.parametrize("mask", [round_mask(), polygonal_mask(), framed_mask()], ids=["round", "polygon", "border"])
@pytest.mark.parametrize("outside", [0, 3], ids=["unlabelled outside", "a class outside"])
def test_nothing_of_a_masked_view_is_left_out(mask, outside, ground):
    dataset = clean_scenes(seen_through(mask, ground, outside), THREE_PARTS)
    assert used(dataset) == list(range(60))
    assert dataset.suspects == {}
    # the rim alone may make pictures look alike; then what differs inside it decides, and no group is large
    assert all("grouped by what differs between them" in note for note in dataset.split.warnings)
    assert len(dataset.split.val) == pytest.approx(12, abs=2)


@pytest.mark.parametrize("mask", [round_mask(), polygonal_mask(), framed_mask()], ids=["round", "polygon", "border"])
def test_a_second_camera_with_a_field_of_view_of_its_own_is_no_suspect(mask, ground):
    second = seen_through(mask, ground[:6], 0)
    scenes = ListedScenes(
        [*second.images, *(image for image, _ in ground[6:])],
        [*(np.where(mask, 1, 0).astype(np.uint8) for _ in range(6)), *(labels for _, labels in ground[6:])],
        groups=[f"stop-{number}" for number in range(60)],
    )
    dataset = clean_scenes(scenes, THREE_PARTS)
    assert dataset.suspects == {}
    assert used(dataset) == list(range(60))


def test_a_repeated_map_inside_a_field_of_view_is_still_reported(ground):
    scenes = seen_through(round_mask(), ground, 0)
    nonsense = np.where(round_mask(), np.kron(np.random.default_rng(3).integers(1, 4, (16, 32)), np.ones((4, 4))), 0)
    for scene in (3, 9, 30, 51):
        scenes.labels[scene] = nonsense.astype(np.uint8)
    scenes.groups = [f"stop-{number}" for number in range(60)]
    dataset = clean_scenes(scenes, THREE_PARTS)
    assert sorted(dataset.suspects) == [3, 9, 30, 51]
    assert "4 of 60 scenes" in dataset.split.warnings[0]


def fixed_camera(ground, count: int = 40, empty: int = 25) -> ListedScenes:
    """One view with noise and changing light; the first `empty` scenes show nothing else, the others one rock each.

    Scenes 38 and 39 show the same rock at the same place.
    """
    rng = np.random.default_rng(4)
    background = ground[0][0].astype(float)
    view = np.kron(rng.integers(1, 4, (4, 8)), np.ones((16, 16))).astype(np.uint8)  # a map with corners
    images, labels = [], []
    for number in range(count):
        image, label_map = background * rng.uniform(0.8, 1.2) + rng.normal(0, 2, (*SHAPE, 1)), view.copy()
        if number >= empty:
            place = np.random.default_rng(min(number, 38))
            where = disk((place.integers(14, 50), place.integers(14, 114)), place.integers(6, 12), shape=SHAPE)
            texture = place.integers(20, 230, (*SHAPE, 1))
            image[where], label_map[where] = texture[where], 4
        images.append(image.clip(0, 255).astype(np.uint8))
        labels.append(label_map)
    return ListedScenes(images, labels)


def test_a_fixed_camera_can_be_trained_on_and_keeps_equal_objects_together(ground):
    dataset = clean_scenes(fixed_camera(ground), THREE_PARTS)
    assert used(dataset) == list(range(40))
    assert dataset.suspects == {}
    assert [len(part) for part in (dataset.split.train, dataset.split.val, dataset.split.test)] == pytest.approx(
        [24, 8, 8], abs=2
    )
    (note,) = dataset.split.warnings
    assert re.search(r"40 of 40 scenes .*one camera position.*this view only; .*data\.near_duplicate_similarity", note)
    part_of = {scene: part for part in ("train", "val", "test") for scene in getattr(dataset.split, part)}
    assert part_of[38] == part_of[39]


def test_equal_maps_of_one_view_among_others_are_reported_and_kept(ground):
    tripod = fixed_camera(ground, count=4, empty=4)
    scenes = ListedScenes(
        [*tripod.images, *(image for image, _ in ground[1:])],
        [*tripod.labels, *(labels for _, labels in ground[1:])],
        groups=[f"stop-{number}" for number in range(63)],  # where groups are known, no near copies are looked for
    )
    dataset = clean_scenes(scenes, DataConfig(val_fraction=0.2))
    assert sorted(dataset.suspects) == [0, 1, 2, 3]
    assert dataset.left_out == ()
    assert used(dataset) == list(range(63))
    assert re.search("4 of 63 scenes .* look alike .*: kept; data.suspects=remove", dataset.split.warnings[0])
    assert clean_scenes(scenes, DataConfig(val_fraction=0.2, suspects="remove")).left_out == (0, 1, 2, 3)


def test_video_frames_of_one_drive_can_be_trained_on():
    config = SimulationConfig(height=64, width=1024, outlier_fraction=0, rock_scene_fraction=0)
    image, labels = simulate_scene(0, config)
    starts = range(0, 300, 3)  # each frame shares 98 % of its ground with the next one
    scenes = ListedScenes(
        [image[:, start : start + 128] for start in starts], [labels[:, start : start + 128] for start in starts]
    )
    dataset = clean_scenes(scenes, DataConfig(val_fraction=0.2))
    assert used(dataset) == list(range(100))
    assert len(dataset.split.val) == pytest.approx(20, abs=8)
    assert any("data.near_duplicate_similarity" in note for note in dataset.split.warnings)


def test_a_group_that_leaves_enough_for_validation_is_kept_together(ground):
    images = [image for image, _ in ground[:20]] + [ground[30][0] // 2 + shade for shade in range(20)]
    dataset = clean_scenes(ListedScenes(images), DataConfig(val_fraction=0.2))
    assert set(range(20, 40)) <= set(dataset.split.train)
    assert not any("look alike" in note for note in dataset.split.warnings)


def test_many_exact_copies_are_never_separated(ground):
    images = [ground[0][0]] * 38 + [ground[1][0], ground[2][0]]
    dataset = clean_scenes(ListedScenes(images), DataConfig(val_fraction=0.2))
    assert set(range(38)) <= set(dataset.split.train)
