"""Repeated label maps: the nonsense is found, plain ground that repeats is not."""

from math import comb, log10

import numpy as np
import pytest
from listed_scenes import ListedScenes, noise_images

from marsgen.cleaning.outliers import explain_repeated_map, find_repeated_maps, log10_expected_sets
from marsgen.cleaning.survey import survey_scenes

NONSENSE = np.kron(np.random.default_rng(3).integers(1, 4, (8, 16), np.uint8), np.ones((8, 8), np.uint8))


def ragged_maps(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [np.kron(rng.integers(1, 4, (4, 8), np.uint8), np.ones((16, 16), np.uint8)) for _ in range(count)]


def plain_maps(count: int) -> list[np.ndarray]:
    """Half all soil, half soil with a strip of "no label" on the left."""
    strip = np.ones((64, 128), np.uint8)
    strip[:, :3] = 0
    return [np.ones((64, 128), np.uint8) if number % 2 else strip for number in range(count)]


def survey_of(labels, images=None):
    return survey_scenes(ListedScenes(images if images is not None else noise_images(len(labels)), labels))


def test_exactly_the_scenes_with_the_nonsense_map_are_found():
    labels = ragged_maps(30) + plain_maps(24)
    for place in (2, 17, 31, 40):
        labels.insert(place, NONSENSE)
    (repeated,) = find_repeated_maps(survey_of(labels))
    assert repeated.scenes == (2, 17, 31, 40)
    assert repeated.pictures == 4
    assert repeated.corners > 80
    assert explain_repeated_map(repeated) == "label map repeated 4 times"


def test_plain_maps_may_repeat_as_often_as_they_like():
    assert find_repeated_maps(survey_of(plain_maps(60))) == []


def test_two_equal_maps_are_no_repetition():
    assert find_repeated_maps(survey_of([*ragged_maps(40), NONSENSE, NONSENSE])) == []


def test_copies_of_one_picture_count_once():
    labels = ragged_maps(40) + [NONSENSE] * 5
    images = noise_images(45)
    assert len(find_repeated_maps(survey_of(labels, images))) == 1
    same = [*images[:41], *[images[40]] * 4]
    assert find_repeated_maps(survey_of(labels, same)) == []
    assert find_repeated_maps(survey_of(labels, images), copies=[(40, 41, 42, 43)]) == []
    (still,) = find_repeated_maps(survey_of(labels, images), copies=[(40, 41, 42)])
    assert (still.pictures, len(still.scenes)) == (3, 5)


def test_several_maps_come_with_the_most_frequent_first():
    other = NONSENSE[::-1].copy()
    labels = [other, NONSENSE, other, NONSENSE, NONSENSE, other, NONSENSE, *ragged_maps(20)]
    assert [found.scenes for found in find_repeated_maps(survey_of(labels))] == [(1, 3, 4, 6), (0, 2, 5)]


@pytest.mark.parametrize(("count", "pictures", "corners"), [(2615, 110, 316), (2615, 8, 1), (40, 3, 0), (5, 5, 9)])
def test_the_expected_number_agrees_with_exact_arithmetic(count, pictures, corners):
    exact = log10(comb(count, pictures)) - corners * (pictures - 1) * log10(2)
    assert log10_expected_sets(count, pictures, corners) == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.real_data
def test_exactly_the_110_outliers_of_the_course_file(real_data):
    pairs = np.load(real_data / "mars_for_students.npz")["training_set"]
    found = find_repeated_maps(survey_of(list(pairs[:, 1]), list(pairs[:, 0])))
    # the map that most scenes carry, by sorting all maps
    _, number, counts = np.unique(pairs[:, 1].reshape(len(pairs), -1), axis=0, return_inverse=True, return_counts=True)
    outliers = np.flatnonzero(number == counts.argmax())
    assert len(outliers) == 110
    assert [repeated.scenes for repeated in found] == [tuple(outliers)]


@pytest.mark.real_data
def test_no_label_map_of_the_test_set_is_a_suspect(real_data):
    content = np.load(real_data / "mars_dev_test.npz")
    assert find_repeated_maps(survey_of(list(content["labels"]), list(content["images"]))) == []
