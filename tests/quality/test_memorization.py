"""Copies are found however they were moved, resized, lit or cut off; different rocks are not taken for copies."""

import numpy as np
import pytest
from scipy import ndimage

from marsgen.quality.crops import RareRegion
from marsgen.quality.memorization import copy_bound, find_nearest
from marsgen.scenes.geometry import Box

INSIDE = (False, False, False, False)


def rock(seed: int, height: int = 28, width: int = 36) -> np.ndarray:
    """(height, width) float: rough ground under light from the left, in 0..255."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 60)), 1.5)
    rough = ndimage.zoom(rough, (height / 60, width / 60), order=1)
    return np.clip(120 + 140 * rough / rough.std() / 4 + np.linspace(30, -30, width), 0, 255)


def region(picture: np.ndarray, touches=INSIDE) -> RareRegion:
    pixels = np.clip(picture, 0, 255).round().astype(np.uint8)[..., None]
    height, width = picture.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask = np.ones(picture.shape, bool) if any(touches) else rows**2 + columns**2 <= 1
    return RareRegion(0, "big_rock", Box(0, 0, height, width), mask, pixels, pixels, touches)


TRAINING = [region(rock(seed)) for seed in range(8)]
COPIES = {
    "as it is": lambda picture: region(picture),
    "mirrored": lambda picture: region(picture[:, ::-1]),
    "darker, with less contrast": lambda picture: region(picture * 0.4 + 20),
    "under other light": lambda picture: region(picture + np.linspace(-40, 40, picture.shape[1])),
    "half as large": lambda picture: region(ndimage.zoom(ndimage.gaussian_filter(picture, 0.8), 0.5, order=1)),
    "turned by 5 degrees": lambda picture: region(ndimage.rotate(picture, 5, reshape=False, mode="nearest")),
    "cut off at the right": lambda picture: region(picture[:, :26], (False, False, False, True)),
    "cut off in a corner": lambda picture: region(picture[8:, 10:], (True, True, False, False)),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found(change):
    found = find_nearest([COPIES[change](rock(seed)) for seed in range(4)], TRAINING)
    bound = copy_bound(find_nearest(TRAINING, TRAINING, np.arange(8), np.arange(8)).distance, 0.01)
    np.testing.assert_array_equal(found.which, [0, 1, 2, 3])
    assert (found.distance < bound).all(), (found.distance, bound)


def test_other_rocks_are_no_copies():
    others = [region(rock(seed)) for seed in range(100, 140)]
    bound = copy_bound(find_nearest(TRAINING, TRAINING, np.arange(8), np.arange(8)).distance, 0.01)
    assert (find_nearest(others, TRAINING).distance < bound).mean() <= 0.1


def test_the_same_pixels_have_distance_nought():
    np.testing.assert_allclose(find_nearest(TRAINING[:2], TRAINING).distance, 0, atol=1e-5)


def test_regions_of_one_group_are_not_compared():
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 6])
    found = find_nearest(TRAINING, TRAINING, groups, groups)
    assert all(groups[which] != groups[i] for i, which in enumerate(found.which))
    lonely = find_nearest(TRAINING[:2], TRAINING[:2], np.zeros(2), np.zeros(2))
    assert lonely.which.tolist() == [-1, -1]
    assert np.isnan(lonely.distance).all()


def test_a_flat_region_is_like_nothing():
    assert find_nearest([region(np.full((20, 20), 80.0))], TRAINING).distance[0] > 0.9


def test_the_bound_is_the_quantile_of_a_normal_curve_and_outliers_do_not_move_it():
    z = np.random.default_rng(0).normal(0.7, 0.1, 4000)
    bound = copy_bound(1 - np.tanh(z), 0.01)
    assert bound == pytest.approx(1 - np.tanh(0.7 + 2.326 * 0.1), abs=0.01)
    with_twins = np.concatenate([1 - np.tanh(z), np.full(100, 1e-4), [np.nan]])
    assert copy_bound(with_twins, 0.01) == pytest.approx(bound, abs=0.01)
    assert np.isnan(copy_bound(np.array([0.5, np.nan]), 0.01))
