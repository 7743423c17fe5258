"""Copies are found when they are shifted, darkened and noisy; bland ground is not taken for a copy."""

import numpy as np
import pytest
from listed_scenes import ListedScenes, noise_images

from marsgen.cleaning import near_duplicates
from marsgen.cleaning.near_duplicates import (
    DuplicatePair,
    cluster_pairs,
    compare_details,
    find_duplicates,
    find_duplicates_between,
    fine_detail,
    join_linked,
)
from marsgen.cleaning.survey import survey_scenes, thumbnail
from marsgen.scenes.simulate import SimulationConfig, simulate_scene


@pytest.fixture(scope="module")
def ground() -> list[np.ndarray]:
    """30 simulated pictures of different ground, 4 pixels larger on each side than 64 x 128."""
    config = SimulationConfig(height=72, width=136, outlier_fraction=0, scenes_per_stop=1)
    return [simulate_scene(index, config)[0] for index in range(30)]


def cut(picture: np.ndarray, down: int = 0, right: int = 0, gain: float = 1.0) -> np.ndarray:
    window = picture[4 + down : 68 + down, 4 + right : 132 + right]
    noise = np.random.default_rng(9).normal(0, 1, window.shape)
    return np.clip(window * gain + (noise if gain != 1 else 0), 0, 255).astype(np.uint8)


def found(images, similarity=0.75):
    scenes = ListedScenes(images)
    return find_duplicates(scenes, survey_scenes(scenes), similarity)


def test_different_ground_is_no_duplicate(ground):
    assert found([cut(picture) for picture in ground]) == []


def test_exact_shifted_and_darkened_copies_are_found_and_nothing_else(ground):
    images = [cut(picture) for picture in ground]
    images += [images[3].copy(), cut(ground[5], 1, -2), cut(ground[7], 0, 3, gain=0.7)]
    pairs = found(images)
    assert [(pair.first, pair.second, pair.exact) for pair in pairs] == [(3, 30, True), (5, 31, False), (7, 32, False)]
    assert pairs[0].similarity == 1
    assert all(0.75 <= pair.similarity <= 1 for pair in pairs)


def test_similarity_of_one_finds_exact_copies_only(ground):
    images = [cut(ground[0]), cut(ground[0], 1, 1), cut(ground[0])]
    assert found(images, similarity=1.0) == [DuplicatePair(0, 2, 1.0, True)]
    assert len(found(images, similarity=0.75)) == 3


def test_bland_pictures_with_equal_thumbnails_are_no_copies():
    ramp = np.linspace(60, 140, 128)[None].repeat(64, 0)
    bland = [
        np.clip(ramp + np.random.default_rng(seed).normal(0, 3, ramp.shape), 0, 255).astype(np.uint8) for seed in (1, 2)
    ]
    assert thumbnail(bland[0][..., None]) @ thumbnail(bland[1][..., None]) > 0.99  # else this tests nothing
    assert found(bland) == []


def test_flat_pictures_are_copies_only_when_equal():
    flat = [np.full((64, 128), grey, np.uint8) for grey in (10, 90, 10)]
    assert found(flat) == [DuplicatePair(0, 2, 1.0, True)]


def test_the_similarity_of_shifted_noise_and_of_other_noise():
    a, b = (fine_detail(image[..., None])[None] for image in noise_images(2))
    shifted = fine_detail(np.roll(noise_images(1)[0], (2, -4), (0, 1))[..., None])[None]
    assert compare_details(a, a)[0] == pytest.approx(1, abs=1e-3)
    assert compare_details(a, shifted)[0] > 0.95
    assert compare_details(a, b)[0] < 0.2


def test_many_pictures_in_lists_have_the_candidates_of_each_with_each(monkeypatch):
    rng = np.random.default_rng(0)
    ground = np.concatenate([rng.normal(size=(40, 128)), rng.normal(size=(1, 128)) + 0.3 * rng.normal(size=(40, 128))])
    seen = ground[rng.permutation(np.repeat(np.arange(80), 30))] + 0.4 * rng.normal(size=(2400, 128))
    seen = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)
    exact = [
        near_duplicates._candidates(seen, seen, same=True),
        near_duplicates._candidates(seen[:900], seen, same=False),
    ]
    monkeypatch.setattr(near_duplicates, "_LISTS_FROM", 0)
    monkeypatch.setattr(near_duplicates, "_each_with_each", None)
    listed = [
        near_duplicates._candidates(seen, seen, same=True),
        near_duplicates._candidates(seen[:900], seen, same=False),
    ]
    for all_of_them, found in zip(exact, listed, strict=True):
        wanted, given = (set(zip(*(part.tolist() for part in pair), strict=True)) for pair in (all_of_them, found))
        assert len(wanted) > 4000
        assert len(wanted ^ given) <= 0.001 * len(wanted)


def test_overlap_names_the_scene_in_each_set(ground):
    here = ListedScenes([cut(picture) for picture in ground[:8]])
    there = ListedScenes([cut(ground[20]), cut(ground[2], 1, 1), cut(ground[21]), cut(ground[6])])
    pairs = find_duplicates_between(here, survey_scenes(here), there, survey_scenes(there), 0.75)
    assert [(pair.first, pair.second, pair.exact) for pair in pairs] == [(2, 1, False), (6, 3, True)]


def test_pairs_that_share_a_scene_make_one_cluster():
    pairs = [DuplicatePair(*ends, 0.9, False) for ends in ((0, 4), (4, 2), (5, 6))]
    assert cluster_pairs(8, pairs) == [(0, 2, 4), (5, 6)]
    assert cluster_pairs(3, []) == []
    assert join_linked(9, [[0, 1, 2], [7], [8, 2]]) == [(0, 1, 2, 8)]


@pytest.mark.real_data
@pytest.mark.slow
def test_no_picture_of_the_training_set_is_in_the_test_set(real_data):
    train = np.load(real_data / "mars_for_students.npz")["training_set"][:, 0]
    test = np.load(real_data / "mars_dev_test.npz")["images"]
    scenes, others = ListedScenes(list(train)), ListedScenes(list(test))
    pairs = find_duplicates_between(scenes, survey_scenes(scenes), others, survey_scenes(others), 0.75)
    assert not any(pair.exact for pair in pairs)
    assert {image.tobytes() for image in train} & {image.tobytes() for image in test} == set()
    # the one near pair shows the same part of the rover, with the same calibration target, before other ground
    assert [(pair.first, pair.second) for pair in pairs] == [(2335, 1216)]
