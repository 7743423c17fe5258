"""Boxes and connected regions, counted by hand and against scikit-image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label, regionprops

from marsgen.scenes.geometry import Box, connected_regions, label_regions

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
BOXES = st.builds(
    lambda top, left, height, width: Box(top, left, top + height, left + width),
    *[st.integers(0, 20)] * 2,
    *[st.integers(1, 10)] * 2,
)


def pixels(box: Box) -> np.ndarray:
    canvas = np.zeros((40, 40), bool)
    canvas[box.slices] = True
    return canvas


@given(MASKS)
def test_regions_are_those_of_scikit_image(mask):
    expected = regionprops(label(mask, connectivity=2))
    numbered, sizes = label_regions(mask)
    np.testing.assert_array_equal(numbered, label(mask, connectivity=2))
    assert sizes.tolist() == [0, *(region.area for region in expected)]
    found = list(connected_regions(mask))
    assert [box for _, box in found] == [region.bbox for region in expected]
    for (region, _), other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(region, other.image)


def test_pixels_that_touch_at_a_corner_are_one_region():
    mask = np.eye(3, dtype=bool)
    assert label_regions(mask)[1].tolist() == [0, 3]
    assert [box for _, box in connected_regions(mask)] == [Box(0, 0, 3, 3)]
    assert list(connected_regions(np.zeros((4, 4), bool))) == []


@given(BOXES, BOXES)
def test_overlap_and_union_are_those_of_the_pixels(a, b):
    together = pixels(a) | pixels(b)
    assert a.overlaps(b) == b.overlaps(a) == bool((pixels(a) & pixels(b)).any())
    assert a.union(b) == b.union(a) == Box.around(together)


@given(BOXES)
def test_the_box_around_the_pixels_of_a_box_is_that_box(box):
    assert Box.around(pixels(box)) == box
    assert pixels(box)[box.slices].shape == box.shape
    assert Box.of_slices(*box.slices) == box
    assert Box.around(np.roll(pixels(box), (3, 5), (0, 1))) == box.shifted(3, 5)


def test_a_grown_box_stays_in_the_image():
    assert Box(2, 5, 8, 9).grown(3, (10, 40)) == Box(0, 2, 10, 12)


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        (Box(0, 10, 5, 20), ("top",)),
        (Box(3, 3, 5, 5), ("top", "left")),
        (Box(4, 4, 36, 36), ()),
        (Box(4, 4, 37, 40), ("bottom", "right")),
    ],
)
def test_touched_sides(box, sides):
    assert box.touched_sides((40, 40), within_px=3) == sides
