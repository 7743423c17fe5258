"""Repeated label maps: the nonsense is found, plain ground that repeats is not."""

import re
from math import comb, log10

import numpy as np
import pytest
from listed_scenes import ListedScenes, noise_images

from marsgen.cleaning.outliers import (
    RepeatedMap,
    choose_left_out,
    explain_repeated_map,
    find_corners,
    find_repeated_maps,
    log10_expected_sets,
)
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


def repeated_in(labels, images=None, copies=()):
    scenes = ListedScenes(images if images is not None else noise_images(len(labels)), labels)
    return find_repeated_maps(scenes, survey_scenes(scenes), copies)


# corners


def painted(*areas: tuple[slice, slice]) -> np.ndarray:
    labels = np.ones((32, 32), np.uint8)
    for rows, columns in areas:
        labels[rows, columns] = 0
    return labels


@pytest.mark.parametrize(
    ("labels", "corners"),
    [
        (painted(), 0),
        (painted(np.s_[:5, :]), 0),
        (painted(np.s_[:5, :], np.s_[-2:, :]), 0),
        (painted(np.s_[:5, :], np.s_[:, -3:]), 1),
        (painted(np.s_[:5, :9]), 1),
        (painted(np.s_[8:12, 8:20]), 4),
        (painted(np.s_[9:10, 9:10]), 4),
        (painted(np.s_[8:12, 8:20], np.s_[10:14, 20:22]), 8),  # two rectangles that share half a side
    ],
    ids=["constant", "strip", "two strips", "two crossing strips", "corner", "rectangle", "pixel", "step"],
)
def test_corners_counted_by_hand(labels, corners):
    assert np.count_nonzero(find_corners(labels)) == corners
    assert np.count_nonzero(find_corners(labels.T)) == corners
    assert np.count_nonzero(find_corners(labels[::-1])) == corners


def test_corners_agree_with_a_slow_loop():
    labels = np.random.default_rng(0).integers(0, 3, (32, 33), np.uint8)
    slow = 0
    for y in range(31):
        for x in range(32):
            (a, b), (c, d) = labels[y : y + 2, x : x + 2]
            slow += not ((a == b and c == d) or (a == c and b == d))
    assert np.count_nonzero(find_corners(labels)) == slow > 500


# repetitions


def test_exactly_the_scenes_with_the_nonsense_map_are_found():
    labels = ragged_maps(30) + plain_maps(24)
    for place in (2, 17, 31, 40):
        labels.insert(place, NONSENSE)
    (repeated,) = repeated_in(labels)
    assert repeated.scenes == (2, 17, 31, 40)
    assert repeated.pictures == 4
    assert repeated.corners > 60
    assert explain_repeated_map(repeated) == "label map repeated 4 times"


def test_plain_maps_may_repeat_as_often_as_they_like():
    assert repeated_in(plain_maps(60)) == []


def test_two_equal_maps_are_no_repetition():
    assert repeated_in([*ragged_maps(40), NONSENSE, NONSENSE]) == []


def test_copies_of_one_picture_count_once():
    labels = ragged_maps(40) + [NONSENSE] * 5
    images = noise_images(45)
    assert len(repeated_in(labels, images)) == 1
    same = [*images[:41], *[images[40]] * 4]
    assert repeated_in(labels, same) == []
    assert repeated_in(labels, images, copies=[(40, 41, 42, 43)]) == []
    (still,) = repeated_in(labels, images, copies=[(40, 41, 42)])
    assert (still.pictures, len(still.scenes)) == (3, 5)


def test_several_maps_come_with_the_most_frequent_first():
    other = NONSENSE[::-1].copy()
    labels = [other, NONSENSE, other, NONSENSE, NONSENSE, other, NONSENSE, *ragged_maps(20)]
    assert [found.scenes for found in repeated_in(labels)] == [(1, 3, 4, 6), (0, 2, 5)]


def test_suspects_are_left_out_only_where_they_are_few():
    few = RepeatedMap(tuple(range(10)), 10, 50, -90.0, 0.1)
    assert choose_left_out([few], 100, "auto") == (tuple(range(10)), ())
    left_out, notes = choose_left_out([few], 99, "auto")
    assert left_out == ()
    assert re.search(r"10 of 99 scenes \(10%\) .* KEPT: .*`marsgen inspect`.* data\.suspects=remove", notes[0])
    assert choose_left_out([few], 99, "remove") == (tuple(range(10)), ())
    assert choose_left_out([few], 100, "keep") == ((), ())


def test_maps_of_pictures_that_look_alike_are_not_left_out():
    alike, different = (
        RepeatedMap(scenes, 4, 50, -90.0, like) for scenes, like in (((1, 2, 3, 4), 0.8), ((5, 6, 7), 0.1))
    )
    left_out, notes = choose_left_out([alike, different], 100, "auto")
    assert left_out == (5, 6, 7)
    assert re.search("4 of 100 scenes .* look alike .* kept; data.suspects=remove leaves", notes[0])
    assert choose_left_out([alike, different], 100, "remove")[0] == (1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(("count", "pictures", "corners"), [(2615, 110, 316), (2615, 8, 1), (40, 3, 0), (5, 5, 9)])
def test_the_expected_number_agrees_with_exact_arithmetic(count, pictures, corners):
    exact = log10(comb(count, pictures)) - corners * (pictures - 1) * log10(2)
    assert log10_expected_sets(count, pictures, corners) == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.real_data
@pytest.mark.slow
def test_exactly_the_110_outliers_of_the_course_file(real_data):
    pairs = np.load(real_data / "mars_for_students.npz")["training_set"]
    found = repeated_in(list(pairs[:, 1]), list(pairs[:, 0]))
    # the map that most scenes carry, by sorting all maps
    _, number, counts = np.unique(pairs[:, 1].reshape(len(pairs), -1), axis=0, return_inverse=True, return_counts=True)
    outliers = np.flatnonzero(number == counts.argmax())
    assert len(outliers) == 110
    assert [repeated.scenes for repeated in found] == [tuple(outliers)]


@pytest.mark.real_data
def test_no_label_map_of_the_test_set_is_a_suspect(real_data):
    content = np.load(real_data / "mars_dev_test.npz")
    assert repeated_in(list(content["labels"]), list(content["images"])) == []
