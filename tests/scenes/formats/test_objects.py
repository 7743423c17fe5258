"""Outlines and run lengths, held against areas counted by hand and against COCO's own code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsgen.core.errors import DataError
from marsgen.scenes.formats.objects import (
    LabelledObject,
    Outlines,
    RunLengths,
    Window,
    draw_objects,
    polygon_mask,
    unpack_counts,
)


def box(left: float, top: float, right: float, bottom: float) -> Outlines:
    return Outlines((np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float),))


def test_an_outline_from_2_to_6_covers_four_pixels():
    expected = np.zeros((10, 12), bool)
    expected[3:5, 2:6] = True
    np.testing.assert_array_equal(box(2, 3, 6, 5).mask((10, 12)), expected)


def test_outlines_that_share_an_edge_share_no_pixel_and_leave_none():
    left, right = box(0, 0, 3.5, 8).mask((8, 8)), box(3.5, 0, 8, 8).mask((8, 8))
    assert not (left & right).any()
    assert (left | right).all()


def test_what_lies_outside_the_picture_is_cut_off():
    assert box(-5, -5, 3, 3).mask((8, 8)).sum() == 9
    assert box(-9, -9, -1, -1).mask((8, 8)).sum() == 0
    assert box(20, 20, 30, 30).mask((8, 8)).sum() == 0


@given(st.lists(st.tuples(st.floats(-4, 30), st.floats(-4, 24)), min_size=3, max_size=8))
def test_a_pixel_is_inside_when_a_line_from_its_centre_crosses_the_outline_an_odd_number_of_times(corners):
    points = np.array(corners)
    expected = np.zeros((20, 26), bool)
    x = np.arange(26) + 0.5
    for row, y in enumerate(np.arange(20) + 0.5):
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if (y0 <= y) != (y1 <= y):
                expected[row] ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    found = polygon_mask(points, (20, 26))
    assert (found != expected).sum() <= 1  # a crossing within a rounding of a centre


def test_polygons_come_close_to_those_of_coco():
    mask_api = pytest.importorskip("pycocotools.mask")
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([60 + 41.3 * np.cos(angles), 50 + 30.7 * np.sin(3 * angles + angles)], 1)
    ours = polygon_mask(points, (100, 120))
    theirs = mask_api.decode(mask_api.frPyObjects([points.ravel().tolist()], 100, 120))[..., 0].astype(bool)
    convex = np.stack([60 + 41.3 * np.cos(angles), 50 + 30.7 * np.sin(angles)], 1)
    ours_convex = polygon_mask(convex, (100, 120))
    theirs_convex = mask_api.decode(mask_api.frPyObjects([convex.ravel().tolist()], 100, 120))[..., 0].astype(bool)
    assert (ours_convex & theirs_convex).sum() / (ours_convex | theirs_convex).sum() > 0.98
    assert ours_convex.sum() == pytest.approx(np.pi * 41.3 * 30.7, rel=0.01)
    assert ours.any()
    assert theirs.any()


@given(st.integers(0, 2**16))
def test_run_lengths_are_those_of_coco(seed):
    mask_api = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 9)) < rng.random()
    packed = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = unpack_counts(packed["counts"].decode())
    np.testing.assert_array_equal(RunLengths(counts, (7, 9)).mask((7, 9)), mask)


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"a run-length mask of 12 pixels for 3 x 4 beside a picture of 3 x 5"):
        RunLengths((12,), (3, 4)).mask((3, 5))
    with pytest.raises(DataError, match="letter"):
        unpack_counts("a b")


def test_a_window_may_hang_over_the_border():
    mask = Window(-1, 6, np.ones((3, 4), bool)).mask((5, 8))
    assert mask.sum() == 2 * 2
    assert mask[:2, 6:].all()


BIG, SMALL = LabelledObject(1, box(0, 0, 6, 6)), LabelledObject(2, box(4, 4, 7, 7))


@pytest.mark.parametrize(
    ("overlap", "order", "winner"),
    [("smaller", (SMALL, BIG), 2), ("larger", (SMALL, BIG), 1), ("first", (SMALL, BIG), 2), ("last", (SMALL, BIG), 1)],
)
def test_who_keeps_the_pixels_of_two(overlap, order, winner):
    drawn = draw_objects(order, (8, 8), 0, overlap)
    assert (drawn.labels[4:6, 4:6] == winner).all()
    assert drawn.contested == 4
    assert drawn.lost == 0
    assert (drawn.labels > 0).sum() == 36 + 9 - 4


def test_one_class_contests_nothing_and_hidden_objects_are_counted():
    twins = [LabelledObject(1, box(0, 0, 4, 4)), LabelledObject(1, box(0, 0, 4, 4))]
    drawn = draw_objects(twins, (8, 8), 0)
    assert (drawn.contested, drawn.lost) == (0, 1)
    assert draw_objects([LabelledObject(1, box(1.6, 1.6, 2.4, 2.4))], (8, 8), 0).lost == 1


def test_a_crowd_lies_under_all_others():
    crowd = LabelledObject(2, box(4, 4, 7, 7), below=True)
    assert (draw_objects([crowd, BIG], (8, 8), 0).labels[4:6, 4:6] == 1).all()
