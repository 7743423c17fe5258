"""Counts and class weights, by hand and against another implementation."""

import numpy as np
import pytest
from listed_scenes import TERRAINS, ListedScenes, noise_images
from skimage.measure import label as label_regions

from marsgen.cleaning.counts import class_weights, count_classes, count_regions, region_sizes
from marsgen.cleaning.survey import survey_scenes
from marsgen.core.errors import DataError


def test_weights_are_inverse_frequencies_of_mean_one():
    pixels = np.array([[6, 2, 0, 0, 100], [2, 2, 4, 0, 0]])  # 8, 4, 4, 0 of 16 labelled
    weights = class_weights(pixels)
    np.testing.assert_allclose(weights, [2 / (10 / 3), 4 / (10 / 3), 4 / (10 / 3), 0], rtol=1e-6)
    assert weights.dtype == np.float32
    assert weights[weights > 0].mean() == pytest.approx(1)


def test_power_softens_the_weights():
    pixels = np.array([[1, 100, 0]])
    np.testing.assert_allclose(class_weights(pixels, 0.0), [1, 1])
    full, half = class_weights(pixels, 1.0), class_weights(pixels, 0.5)
    assert full[0] / full[1] == pytest.approx(100)
    assert half[0] / half[1] == pytest.approx(10)


@pytest.mark.parametrize("pixels", [np.zeros((0, 3), np.int64), np.array([[0, 0, 99]])])
def test_no_labelled_pixel_is_an_error(pixels):
    with pytest.raises(DataError, match=r"none of the \d training scenes has a labelled pixel; check"):
        class_weights(pixels)


def small_scenes() -> ListedScenes:
    first = np.zeros((32, 32), np.uint8)
    first[2:4, 2:4] = 4
    first[4, 4] = 4  # touches the square at a corner
    first[10, 10:13] = 4
    first[20:, :] = 1
    second = np.ones((32, 32), np.uint8)
    second[:, 16] = 0
    return ListedScenes(noise_images(2, (32, 32)), [first, second])


def test_region_sizes_by_hand():
    scenes = small_scenes()
    sizes = count_regions(scenes, survey_scenes(scenes), [0, 1])
    assert [list(found) for found in sizes] == [[384, 512, 480], [], [], [5, 3]]
    assert list(count_regions(scenes, survey_scenes(scenes), [1])[3]) == []


def test_region_sizes_agree_with_scikit_image():
    indices = np.random.default_rng(0).integers(0, 3, (40, 60), np.uint8)
    numbered = label_regions(indices == 1, connectivity=2)
    assert list(region_sizes(indices, 1)) == list(np.bincount(numbered.ravel())[1:])
    assert region_sizes(indices, 7).size == 0


def test_pixels_and_scenes_by_hand():
    survey = survey_scenes(small_scenes())
    rows = {count.name: count for count in count_classes(survey, TERRAINS.names, [0, 1])}
    assert (rows["soil"].pixels, rows["soil"].scenes) == (384 + 992, 2)
    assert (rows["big_rock"].pixels, rows["big_rock"].scenes) == (8, 1)
    assert rows["big_rock"].pixel_fraction == pytest.approx(8 / 2048)
    assert rows["sand"].scenes == 0
    assert sum(count.pixel_fraction for count in rows.values()) == pytest.approx(1)
    assert list(rows)[-1] == "no label"


def test_counting_no_scene_gives_zeros():
    rows = count_classes(survey_scenes(small_scenes()), TERRAINS.names, [])
    assert [(count.pixels, count.pixel_fraction, count.scenes) for count in rows] == [(0, 0, 0)] * 5
