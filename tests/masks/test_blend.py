"""Pasting one region: exactly its own pixels, at the right size and brightness."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pasting import cut_regions, rock_settings

from marsgen.masks.blend import EditedMask, Stamp, match_brightness, paste, shape_stamp
from marsgen.masks.perspective import horizon_row

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9
CONFIG = rock_settings()
ON_MEADOW = np.arange(256) == MEADOW


@pytest.fixture(scope="module")
def region(boulders):
    """A boulder of about 220 px that no border cuts off."""
    return boulders.regions["boulder"][4]


@pytest.fixture(scope="module")
def cut_region(boulders):
    (region,) = (r for r in boulders.regions["boulder"] if r.cut)
    assert region.cut == ("bottom",)
    return region


def grassland(height: int = 60, width: int = 80, channels: int = 3, level: int = 90) -> EditedMask:
    labels = np.full((height, width), MEADOW, np.uint8)
    labels[: height // 4] = SKY
    noise = np.random.default_rng(3).integers(-5, 6, (height, width, channels))
    return EditedMask.of((level + noise).astype(np.uint8), labels)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(32, 90),
    width=st.integers(32, 90),
    scale=st.floats(0.3, 2.5),
    angle=st.floats(-45, 45),
    warp=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0, 6.3)),
    flip=st.booleans(),
    where=st.tuples(st.floats(-0.3, 1), st.floats(-0.3, 1)),
    feather=st.floats(0.1, 6),
)
def test_pasting_changes_exactly_its_own_pixels(boulders, height, width, scale, angle, warp, flip, where, feather):
    region = boulders.regions["boulder"][4]
    before, edited = grassland(height, width), grassland(height, width)
    stamp = shape_stamp(region, scale=scale, flip=flip, angle=angle, warp=warp)
    top, left = int(where[0] * height), int(where[1] * width)
    config = rock_settings(feather_px=feather)
    try:
        box = paste(stamp, top, left, BOULDER, 1.0, edited, config)
    except ValueError:  # it lies outside
        np.testing.assert_array_equal(edited.labels, before.labels)
        assert not edited.alpha.any()
        return
    np.testing.assert_array_equal(edited.changed, edited.labels != before.labels)
    assert set(np.unique(edited.labels)) <= {MEADOW, SKY, BOULDER}
    moved = (edited.image != before.image).any(axis=-1)
    assert not moved[edited.alpha == 0].any()
    assert (edited.alpha[edited.changed] == 1).all()  # a label never lies on what the scene itself shows
    rows, columns = np.nonzero(edited.alpha)
    assert box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    outside = edited.alpha.copy()
    outside[box.slices] = 0
    assert not outside.any()


def test_the_identity_gives_back_the_donor(region, fields):
    donor = fields.images[4]
    stamp = shape_stamp(region, scale=1.0)
    np.testing.assert_array_equal(stamp.depth, region.depth)
    np.testing.assert_array_equal(stamp.pixels, region.layers[..., :-1])
    # pasted where it was cut out, in a scene whose boulder was erased, it shows the donor's picture again
    edited = EditedMask.of(np.full_like(donor, 90), np.full(donor.shape[:2], MEADOW, np.uint8))
    paste(stamp, region.box.top - region.margin_px, region.box.left - region.margin_px, BOULDER, 1.0, edited, CONFIG)
    np.testing.assert_array_equal(edited.changed, fields.labels[4] == BOULDER)
    np.testing.assert_array_equal(edited.image[edited.changed], donor[edited.changed])


def test_a_flip_mirrors_pixels_outline_and_cut_sides(region):
    plain, mirrored = shape_stamp(region, scale=0.8), shape_stamp(region, scale=0.8, flip=True)
    np.testing.assert_allclose(mirrored.pixels, plain.pixels[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(mirrored.depth, plain.depth[:, ::-1], atol=1e-4)


def test_a_flip_swaps_left_and_right_cuts(paint):
    labels = np.full((1, 64, 64), MEADOW, np.uint8)
    labels[0, :14, :14] = BOULDER
    (corner,) = cut_regions(paint(labels), [0], ["boulder"], CONFIG).regions["boulder"]
    assert shape_stamp(corner, scale=1).cut == ("top", "left")
    assert shape_stamp(corner, scale=1, flip=True).cut == ("top", "right")


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0])
def test_the_area_grows_with_the_square_of_the_scale(region, scale):
    area = np.count_nonzero(shape_stamp(region, scale=scale, angle=4).depth > 0)
    assert area == pytest.approx(region.area_px * scale**2, rel=0.12)


def test_rotation_turns_counterclockwise(paint):
    labels = np.full((1, 64, 96), MEADOW, np.uint8)
    labels[0, 30:38, 30:60] = BOULDER
    (bar,) = cut_regions(paint(labels), [0], ["boulder"], rock_settings(min_thickness=0.2)).regions["boulder"]
    inside = shape_stamp(bar, scale=1, angle=20).depth > 0
    rows, columns = np.nonzero(inside)
    slope = np.polyfit(columns, rows, 1)[0]
    assert slope == pytest.approx(-np.tan(np.radians(20)), abs=0.06)  # the right end goes up, rows count down


def test_detail_survives_being_sampled_between_pixels(region):
    turned = shape_stamp(region, scale=1.0, angle=5)
    inside, of_turned = region.depth > 2, turned.depth > 2
    wanted = region.layers[..., 0][inside].std()
    assert turned.pixels[..., 0][of_turned].std() == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize("feather", [1.0, 2.5, 5.0])
def test_the_soft_edge_is_as_wide_as_asked(region, feather):
    config = rock_settings(feather_px=feather)
    edited = grassland(80, 80)
    paste(shape_stamp(region, scale=1), 25, 25, BOULDER, 1.0, edited, config)
    soft = edited.alpha[(edited.alpha > 0) & ~edited.changed]
    distances = _distance_to(edited.changed)[(edited.alpha > 0) & ~edited.changed]
    assert soft.max() < 1
    assert distances.max() <= feather + 0.5
    assert distances.max() > feather - 1


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Distance in px from each pixel's centre to the nearest of the mask: by trying them all."""
    points = np.argwhere(mask)
    grid = np.stack(np.mgrid[: mask.shape[0], : mask.shape[1]], axis=-1).reshape(-1, 1, 2)
    return np.sqrt(((grid - points) ** 2).sum(-1).min(1)).reshape(mask.shape)


def test_a_region_cut_off_below_reaches_the_border_without_a_gap(cut_region):
    stamp = shape_stamp(cut_region, scale=1.17)
    edited = grassland()
    paste(stamp, 60 - stamp.depth.shape[0], 20, BOULDER, 1.0, edited, CONFIG)
    rows = np.flatnonzero(edited.changed.any(axis=1))
    assert rows[-1] == 59
    # a boulder cut through its middle is widest at the cut
    assert edited.changed[59].sum() >= edited.changed[rows[0] : 59].sum(axis=1).max() - 1


def test_a_much_smaller_stamp_still_fades_out_within_its_surroundings(region):
    edited = grassland()
    stamp = shape_stamp(region, scale=0.2)
    assert stamp.reach_px < CONFIG.feather_px
    paste(stamp, 30, 30, BOULDER, 1.0, edited, CONFIG)
    window = edited.alpha[30 : 30 + stamp.depth.shape[0], 30 : 30 + stamp.depth.shape[1]]
    rim = np.concatenate([window[0], window[-1], window[:, 0], window[:, -1]])
    assert rim.max() < 0.15


@pytest.mark.parametrize(
    ("level", "gain"), [(90, 1.0), (135, 1.5**0.8), (60, (2 / 3) ** 0.8), (240, (8 / 3) ** 0.8), (20, 0.4)]
)
def test_brightness_follows_the_ratio_of_the_grounds(region, level, gain):
    edited = grassland(level=level)
    found, factors = match_brightness(shape_stamp(region, scale=1), 20, 30, ON_MEADOW, region, edited, CONFIG)
    assert found == pytest.approx(gain, rel=0.03)
    assert factors.shape[-1] == 3
    middle = factors[factors.shape[0] // 2, factors.shape[1] // 2]
    np.testing.assert_allclose(middle, found, rtol=0.3)


def test_the_rim_of_donor_ground_takes_the_brightness_of_the_ground_here(region):
    def rim_error(match_seam: float) -> float:
        # the region's outline is generous: a rim of donor ground lies inside it; without matching at all it shows
        config = rock_settings(match_brightness=0, match_seam=match_seam)
        edited = grassland(level=50)
        stamp = shape_stamp(region, scale=1)
        _, factors = match_brightness(stamp, 20, 30, ON_MEADOW, region, edited, config)
        paste(stamp, 20, 30, BOULDER, factors, edited, config)
        rim = (edited.alpha > 0.3) & ~edited.changed
        return float(np.abs(edited.image[rim].mean() - 50.0))

    assert rim_error(1.0) < 0.5 * rim_error(0.0)


def test_a_rim_of_sky_is_lost_before_a_wall(region):
    """Whatever lay beside the donor goes, beside what is no ground as well: the sky around a head."""
    bright = replace(region, layers=region.layers.copy())
    bright.layers[region.depth < 0, :-1] = 240
    edited = grassland(level=90)
    edited.labels[:40] = TREE  # no ground for it
    edited.image[:40] = 60
    before = edited.image.copy()
    stamp = shape_stamp(bright, scale=1)
    _, factors = match_brightness(stamp, 20, 30, ON_MEADOW, bright, edited, CONFIG)
    paste(stamp, 20, 30, BOULDER, factors, edited, CONFIG)
    rim = (edited.alpha > 0.5) & ~edited.changed
    rim[38:] = False
    assert rim.sum() > 10
    assert edited.image[rim].mean() < before[rim].mean() + 40


def test_a_region_is_not_brightened_until_it_glares(region):
    bright = replace(region, ground_level=region.ground_level / 3, highlight=180.0)  # it stood in deep shadow
    gain, _ = match_brightness(shape_stamp(bright, scale=1), 20, 30, ON_MEADOW, bright, grassland(level=90), CONFIG)
    assert gain == pytest.approx(2.5 * 90 / 180, rel=0.02)
    gain, _ = match_brightness(shape_stamp(bright, scale=1), 20, 30, ON_MEADOW, bright, grassland(level=60), CONFIG)
    assert gain == 1.0


def test_only_ground_counts_as_ground(region):
    edited = grassland(level=90)
    edited.image[:30] = 255  # bright sky down to row 30 ...
    edited.labels[:30] = SKY
    gain, _ = match_brightness(shape_stamp(region, scale=1), 20, 30, ON_MEADOW, region, edited, CONFIG)
    assert gain == pytest.approx(1.0, rel=0.03)  # ... is none of the donor's business


def test_a_grey_image_stays_grey(paint):
    labels = np.full((1, 64, 96), MEADOW, np.uint8)
    labels[0, 30:45, 30:45] = BOULDER
    (grey,) = cut_regions(paint(labels, channels=1), [0], ["boulder"], CONFIG).regions["boulder"]
    edited = grassland(channels=1)
    paste(shape_stamp(grey, scale=1, angle=3), 20, 20, BOULDER, 1.0, edited, CONFIG)
    assert edited.image.shape == (60, 80, 1)
    assert edited.image[edited.changed].mean() > 120


def test_two_pastes_add_up(region):
    edited = grassland()
    first = paste(shape_stamp(region, scale=0.6), 18, 5, BOULDER, 1.0, edited, CONFIG)
    once = edited.changed.sum()
    second = paste(shape_stamp(region, scale=0.6), 30, 45, TREE, 1.0, edited, CONFIG)
    np.testing.assert_array_equal(edited.changed, np.isin(edited.labels, [BOULDER, TREE]))
    assert edited.changed.sum() > once
    both = EditedMask(edited.labels, edited.image, edited.changed, edited.alpha, (first, second))
    assert both.box == (
        min(first.top, second.top),
        min(first.left, second.left),
        max(first.bottom, second.bottom),
        max(first.right, second.right),
    )


def test_the_originals_are_not_touched():
    image, labels = np.zeros((40, 40, 1), np.uint8), np.full((40, 40), MEADOW, np.uint8)
    edited = EditedMask.of(image, labels)
    depth = np.pad(np.ones((6, 6), np.float32), 4, constant_values=-5)
    paste(
        Stamp(
            lambda: np.full((14, 14, 1), 200, np.float32),
            lambda: labels,
            lambda: np.zeros((14, 14), bool),
            depth,
            (),
            6,
        ),
        10,
        10,
        BOULDER,
        1.0,
        edited,
        CONFIG,
    )
    assert edited.changed.sum() == 36
    assert not image.any()
    assert (labels == MEADOW).all()


@pytest.mark.parametrize(("top", "left"), [(-200, 10), (500, 10), (10, -200), (10, 500)])
def test_a_stamp_outside_the_image_is_our_own_mistake(region, top, left):
    with pytest.raises(ValueError, match="has no pixel in an image"):
        paste(shape_stamp(region, scale=1), top, left, BOULDER, 1.0, grassland(), CONFIG)


def test_the_horizon_is_where_the_sky_ends():
    labels = np.full((48, 40), MEADOW, np.uint8)
    assert horizon_row(labels, SKY, -0.25) == -12
    labels[:2] = SKY
    assert horizon_row(labels, SKY, -0.25) == -12  # a rim, no sky
    labels[:10] = SKY
    assert horizon_row(labels, SKY, -0.25) == 10
    labels[5, :20] = MEADOW  # a hill
    assert horizon_row(labels, SKY, -0.25) == 5
