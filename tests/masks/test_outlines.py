"""Mixed outlines: shapes that no scene holds, filled with one donor's pixels and nothing of its ground."""

import json

import numpy as np
import pytest
from scipy import ndimage

from marsgen.masks.outlines import recombine
from marsgen.masks.paste import PasteConfig
from marsgen.masks.plan import edit_sample
from marsgen.masks.regions import cut_regions

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9
ALWAYS = PasteConfig(recombine=1.0)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.fixture(scope="module")
def shapes(paint):
    """Regions of three shapes, all 20 x 24: an ellipse, a triangle, a slab with one corner off."""
    labels = np.full((3, 64, 96), MEADOW, np.uint8)
    y, x = np.mgrid[:20, :24]
    inside = [
        ((y - 9.5) / 10) ** 2 + ((x - 11.5) / 12) ** 2 <= 1,
        np.abs(x - 11.5) <= 1 + (y + 1) * 0.55,
        x + y <= 34,
    ]
    for i, mask in enumerate(inside):
        labels[i, 22:42, 30:54][mask] = BOULDER
    return cut_regions(paint(labels), range(3), ["boulder"], PasteConfig()).regions["boulder"]


@pytest.fixture(scope="module")
def mixed(shapes):
    """(first region, region with the new outline, lender) for 30 draws."""
    rng = np.random.default_rng(0)
    found = [(shapes[i % 3], recombine(shapes[i % 3], shapes, rng)) for i in range(30)]
    return [(first, *made) for first, made in found if made is not None]


def test_a_new_outline_is_neither_donors_but_as_large(shapes, mixed):
    areas = [region.area_px for region in shapes]
    assert len(mixed) > 25
    for first, region, _ in mixed:
        new = region.depth > 0
        assert all(overlap(new, other.depth > 0) < 0.97 for other in shapes)
        assert overlap(new, first.depth > 0) > 0.4
        assert 0.8 * min(areas) <= np.count_nonzero(new) == region.area_px <= 1.25 * max(areas)
        assert ndimage.label(new)[1] == 1
        rows, columns = np.flatnonzero(new.any(1)), np.flatnonzero(new.any(0))
        # in the first one's box, so that its foot and its size stay what perspective took them for
        assert abs(rows[-1] - rows[0] + 1 - 20) <= 1
        assert abs(columns[-1] - columns[0] + 1 - 24) <= 1


def test_the_new_outline_holds_rock_and_nothing_but_rock(mixed):
    for _, region, _ in mixed:
        grey = region.pixels.mean(axis=-1)
        # rock was painted 150, meadow 90, with a noise of 6 / sqrt(3)
        assert (grey[region.depth > 0.5] > 125).all()
        assert (grey[region.depth < -1.5] < 115).mean() > 0.99


def test_equal_draws_give_equal_outlines(shapes):
    once, again = (recombine(shapes[0], shapes, np.random.default_rng(7)) for _ in range(2))
    other = recombine(shapes[0], shapes, np.random.default_rng(8))
    np.testing.assert_array_equal(once[0].layers, again[0].layers)
    assert (once[0].depth != other[0].depth).any()


def test_the_first_region_is_left_alone(shapes):
    before = [region.layers.copy() for region in shapes]
    recombine(shapes[1], shapes, np.random.default_rng(3))
    for region, layers in zip(shapes, before, strict=True):
        np.testing.assert_array_equal(region.layers, layers)


def test_a_lone_region_keeps_its_outline(shapes):
    assert recombine(shapes[0], shapes[:1], np.random.default_rng(0)) is None


def test_a_cut_side_stays_cut_and_lends_to_none_that_is_whole(paint):
    labels = np.full((2, 64, 96), MEADOW, np.uint8)
    y, x = np.mgrid[:64, :96]
    labels[0][(y - 30) ** 2 + x**2 <= 14**2] = BOULDER
    labels[1][((y - 30) / 12) ** 2 + ((x - 50) / 10) ** 2 <= 1] = BOULDER
    cut, whole = cut_regions(paint(labels), range(2), ["boulder"], PasteConfig()).regions["boulder"]
    assert (cut.cut, whole.cut) == (("left",), ())
    rng = np.random.default_rng(0)
    made = [recombine(cut, (cut, whole), rng) for _ in range(10)]
    for region, lender in filter(None, made):
        assert lender.name == "field-1"
        assert region.cut == ("left",)
        assert np.count_nonzero(region.depth[:, 0] > 0) >= 10  # it goes on across the border, not along it
        assert (region.depth[:, -region.margin_px :] < 0).all()
    assert sum(one is not None for one in made) >= 8
    assert recombine(whole, (cut, whole), rng) is None


def test_a_pasted_new_outline_changes_exactly_its_own_pixels(fields, boulders):
    lent = 0
    for i in range(40):
        sample = edit_sample(i, 0, fields, boulders, ALWAYS, range(len(fields)))
        edited, before = sample.edited, fields.labels[sample.parent_index]
        np.testing.assert_array_equal(edited.changed, edited.labels != before)
        assert (edited.labels[edited.changed] == BOULDER).all()
        moved = (edited.image != fields.images[sample.parent_index]).any(axis=-1)
        assert not moved[edited.alpha == 0].any()
        assert (before[edited.changed] == SKY).mean() <= ALWAYS.max_ignored_fraction
        lent += sum(place.lender is not None for place in sample.places)
    assert lent > 30


def test_both_donors_are_named(fields, boulders):
    for i in range(10):
        sample = edit_sample(i, 0, fields, boulders, ALWAYS, range(len(fields)))
        record = json.loads(json.dumps(sample.record()))
        for donor, place in zip(record["donors"], sample.places, strict=True):
            assert {donor["key"], donor["outline"]["key"]} <= set(sample.ancestors)
            assert donor["outline"]["donor_box"] != donor["donor_box"] or donor["outline"]["key"] != donor["key"]
            assert 0 < donor["outline"]["weight"] < 1
            assert place.lender.record() == donor["outline"]


def test_a_share_of_the_outlines_is_new(fields, boulders):
    config = PasteConfig(recombine=0.5)
    places = [p for i in range(60) for p in edit_sample(i, 0, fields, boulders, config, range(24)).places]
    assert 0.3 < np.mean([p.lender is not None for p in places]) < 0.7
    plain = [p for i in range(10) for p in edit_sample(i, 0, fields, boulders, PasteConfig(), range(24)).places]
    assert all("outline" not in p.record() for p in plain)
