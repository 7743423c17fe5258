"""Profiles of painted classes whose truth is known."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed_scenes import ListedScenes
from painted_classes import ROCK, SHAPE, cracks, discs, ground, profile
from skimage.draw import disk
from skimage.measure import label

from marsgen.core.errors import DataError
from marsgen.masks.infer_settings import infer_paste_settings
from marsgen.masks.profiles.measure_classes import profile_classes
from marsgen.masks.profiles.profile import Quantiles
from marsgen.masks.profiles.summaries import share_by_size

# sizes and shape


def test_counts_sizes_and_shares_by_hand():
    first, second = ground(), ground()
    first[10:14, 10:15] = ROCK  # 20 px
    first[14, 15] = ROCK  # touches at a corner: 21 px
    first[50:60, 50:60] = ROCK  # 100 px
    second[20:30, 0:20] = ROCK  # 200 px, cut off on the left
    found = profile([first, second, ground()])
    assert (found.scenes, found.holders, found.regions, found.pixels) == (3, 2, 3, 321)
    assert found.pixel_fraction == pytest.approx(321 / (3 * 96 * 96))
    assert (found.size.px.least, found.size.px.median, found.size.px.most) == (21, 100, 200)
    assert (found.per_scene.least, found.per_scene.most) == (1, 2)
    assert found.place.cut_share == pytest.approx(1 / 3)
    assert found.place.cut_pixel_share == pytest.approx(200 / 321)
    assert found.place.cut_sides == pytest.approx({"top": 0, "left": 1 / 3, "bottom": 0, "right": 0})
    assert sum(map(sum, found.place.grid)) == pytest.approx(1)
    assert found.place.grid[4][4] == pytest.approx(100 / 321, abs=0.001)


def test_a_square_a_disc_and_a_crack_have_the_shape_they_have():
    square = ground()
    square[30:50, 30:50] = ROCK
    (disc,) = discs(1, lambda u: 15.5, lambda u: 48)
    (crack,) = cracks(1, lambda rng: 0)
    shapes = [profile([labels]).shape for labels in (square, disc, crack)]
    assert [shape.width_px.median for shape in shapes] == pytest.approx([20, 30, 3], abs=1)
    assert [shape.thickness.median for shape in shapes] == pytest.approx([0.5, 0.56, 1.5 / math.sqrt(183)], abs=0.03)
    assert shapes[0].solidity.median == pytest.approx(1, abs=0.01)
    assert shapes[2].elongation.median > 15
    assert ("thin" in profile([crack]).describe(), "thin" in profile([disc]).describe()) == (True, False)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.lists(st.integers(1, 5000), max_size=5, unique=True))
def test_shares_by_size_agree_with_a_loop(areas, edges):
    edges = sorted(edges)
    bins = [[a for a in areas if low <= a < high] for low, high in zip([0, *edges], [*edges, 10**9], strict=True)]
    regions, pixels = share_by_size(areas, edges)
    np.testing.assert_allclose(regions, [len(chosen) / len(areas) for chosen in bins])
    np.testing.assert_allclose(pixels, [sum(chosen) / sum(areas) for chosen in bins])


def test_size_bins_hold_about_equal_shares_of_the_pixels():
    size = profile(discs(60, lambda u: 2 + 18 * u, lambda u: 48)).size
    assert len(size.pixel_shares) == 5
    assert max(size.pixel_shares) < 0.3
    assert size.region_shares[0] > 2 * size.region_shares[-1]
    assert sum(size.region_shares) == pytest.approx(1)


# direction


def test_cracks_of_any_direction_are_isotropic_and_flat_ones_are_not():
    free = profile(cracks(40, lambda rng: rng.uniform(0, 180))).direction
    flat = profile(cracks(40, lambda rng: rng.normal(30, 5))).direction
    assert free.isotropic is True
    assert flat.isotropic is False
    assert flat.mean_angle == pytest.approx(30, abs=4)
    assert (flat.concentration, flat.axis_p) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=1e-6))


def test_things_that_stand_on_a_ground_are_not_to_be_turned():
    direction = profile(discs(20, lambda u: 8, lambda u: 48, top=2, bottom=3)).direction
    assert direction.up_down_p < 0.01
    assert direction.isotropic is False
    assert direction.left_right_p > 0.01


def test_a_heavy_lower_half_is_an_up_and_down_of_its_own():
    maps = []
    for number in range(12):
        labels = ground()
        for row in range(20):  # a triangle that stands on its base
            labels[30 + row + number, 40 - row : 41 + row] = ROCK
        maps.append(labels)
    assert profile(maps).direction.isotropic is False
    assert profile([labels.T.copy() for labels in maps]).direction.up_down_p > 0.01


# place


def test_regions_on_one_ground_touch_nothing_else():
    maps = discs(20, lambda u: 8, lambda u: 70, top=2, bottom=3)
    place = profile(maps).place
    assert place.beside == pytest.approx({"sand": 1})
    assert place.below == pytest.approx({"sand": 1})
    assert place.touched == {"soil": 0, "bedrock": 0, "sand": 1}
    assert place.never_touched == place.never_stood_on == ("bedrock",)
    assert place.distance["bedrock"] * 96 == pytest.approx(70 - 7 - 47, abs=1)
    assert place.foot_row.median * 96 == pytest.approx(78, abs=1)


@pytest.mark.parametrize(("scenes", "sure"), [(2, False), (20, True)])
def test_a_class_that_few_regions_have_not_met_is_not_avoided(scenes, sure):
    found = profile(discs(scenes, lambda u: 8, lambda u: 70, top=2, bottom=3))
    place = found.place
    assert (place.touched["bedrock"], place.groups) == (0, scenes)
    assert ("bedrock" in place.untouched, "bedrock" in place.never_touched) == (sure, sure)
    assert infer_paste_settings(found)["ground_classes"].value == ("sand",), "what no region has met is not covered"


def test_a_class_of_other_scenes_alone_is_avoided_once_chance_is_ruled_out():
    alone = [np.full((96, 128), 1, np.uint8) for _ in range(10)]
    for scenes, sure in ((2, False), (20, True)):
        place = profile([*discs(scenes, lambda u: 8, lambda u: 70, top=2, bottom=3), *alone]).place
        assert (place.available["soil"], place.elsewhere["soil"]) == (0, 10 / (10 + scenes))
        assert ("soil" in place.untouched) is sure


def test_what_is_above_and_below_is_told_apart():
    found = profile(discs(10, lambda u: 8, lambda u: 48, top=2, bottom=3))
    place = found.place
    assert place.touched == {"soil": 0, "bedrock": 1, "sand": 1}
    assert place.stood_on == {"soil": 0, "bedrock": 0, "sand": 1}
    assert (place.never_touched, place.never_stood_on) == ((), ("bedrock",))
    assert "never on bedrock" in found.describe()
    assert place.above == pytest.approx({"bedrock": 1}, abs=0.05)
    assert place.below == pytest.approx({"sand": 1}, abs=0.05)
    assert place.beside["sand"] == pytest.approx(0.5, abs=0.1)


# perspective


def test_discs_that_grow_with_the_row_have_a_perspective_and_its_horizon():
    rows = profile(discs(40, lambda u: 3 + 12 * u, lambda u: 30 + 40 * u)).rows
    assert rows.perspective
    assert rows.p < 0.005
    # radius 0 at u = -1/4: row 20, where the foot is too
    assert rows.horizon * 96 == pytest.approx(20, abs=3)


@pytest.mark.parametrize("seed", range(5))
def test_sizes_that_do_not_depend_on_the_place_are_no_perspective(seed):
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(40):
        labels, radius = ground(), rng.integers(3, 35)
        labels[disk((rng.integers(4 + radius, 92 - radius), 48), radius, shape=SHAPE)] = ROCK
        maps.append(labels)
    rows = profile(maps).rows
    assert not rows.perspective
    assert rows.by_chance > 0.2  # a large disc has no high foot: the plain correlation would mislead


# seam


@pytest.mark.parametrize("width", [0, 1, 3, 6])
def test_a_seam_of_known_width_is_measured(width):
    maps = []
    for labels in discs(10, lambda u: 6 + 6 * u, lambda u: 48):
        from scipy import ndimage

        near = ndimage.distance_transform_edt(labels != ROCK) <= width
        labels[near & (labels != ROCK)] = 0
        maps.append(labels)
    seam = profile(maps).seam
    assert (seam.width_px.least, seam.width_px.most) == (width, width)
    assert seam.shares[0] == pytest.approx(min(width, 2) / 2, abs=0.07)
    assert seam.shares[3] == 0
    assert seam.elsewhere == 0


def test_a_seam_that_grows_with_the_size_is_seen_by_size():
    from scipy import ndimage

    maps = []
    for labels in discs(40, lambda u: 3 if u < 0.5 else 12, lambda u: 48):
        width = 1 if (labels == ROCK).sum() < 100 else 4
        labels[(ndimage.distance_transform_edt(labels != ROCK) <= width) & (labels != ROCK)] = 0
        maps.append(labels)
    seam = profile(maps).seam
    assert seam.width_by_size[0].median == 1
    assert seam.width_by_size[-1].median == 4


# groups


def test_scenes_of_one_group_count_once_in_tests():
    maps = discs(40, lambda u: 3 + 12 * u, lambda u: 30 + 40 * u)
    scenes = ListedScenes(
        [np.zeros(SHAPE, np.uint8)] * 40, maps, groups=[f"part-{number // 8}" for number in range(40)]
    )
    grouped = profile_classes(scenes, range(40), ["big_rock"])["big_rock"]
    assert math.isnan(grouped.rows.p)
    assert grouped.limits == ("only 5 groups of scenes: too few for tests of direction and perspective",)
    alone = profile_classes(scenes, range(40), ["big_rock"], groups=range(40))["big_rock"]
    assert alone.rows.perspective


# few, none, everything


def test_what_few_regions_cannot_tell_is_said():
    none = profile([ground()])
    assert none.describe() == "big_rock: in none of 1 scenes"
    assert none.limits == ("nothing can be measured or pasted",)
    one = profile(discs(1, lambda u: 8, lambda u: 48))
    assert one.limits == ("one region only: every pasted one is a copy of it",)
    assert one.direction.isotropic is None
    assert "direction unknown" in one.describe()
    assert "size by row unknown" in one.describe()
    several = ground()
    several[10:16, 10:16] = several[40:50, 10:16] = ROCK
    assert profile([several]).limits == ("all regions are in one scene: how scenes differ is unknown",)
    crumbs = ground()
    crumbs[4, 4] = crumbs[10, 10:12] = ROCK
    assert "no region has 16 px" in profile([crumbs, crumbs]).describe()


def test_a_scene_full_of_the_class_is_measured():
    full = profile([np.full(SHAPE, ROCK, np.uint8), ground()])
    assert full.size.scene_fraction.median == 1
    assert full.place.cut_share == 1
    assert full.shape.width_px.median == 96
    assert math.isnan(full.seam.shares[0])
    assert "nan" not in json.dumps(full.to_dict(), allow_nan=False)


def test_an_unknown_class_is_an_error():
    with pytest.raises(DataError, match="no class 'rock'"):
        profile([ground()], "rock")


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 4))
def test_any_label_map_gives_a_profile_that_adds_up(seed, coarse, scenes):
    rng = np.random.default_rng(seed)
    cell = 2**coarse
    maps = [
        np.kron(rng.integers(0, 5, (32 // cell, 48 // cell), np.uint8), np.ones((cell, cell), np.uint8))
        for _ in range(scenes)
    ]
    found = profile(maps)
    assert found.regions == sum(int(label(m == ROCK, connectivity=2).max()) for m in maps)
    assert found.pixels == sum(int((m == ROCK).sum()) for m in maps)
    json.dumps(found.to_dict(), allow_nan=False)
    assert "\n" not in found.describe()
    if found.regions:
        assert sum(found.size.region_shares) == pytest.approx(1)
        assert sum(found.size.pixel_shares) == pytest.approx(1)
        assert found.size.px.least <= found.size.px.median <= found.size.px.most
    for shares in (found.place.beside, found.place.above, found.place.below):
        assert not shares or sum(shares.values()) == pytest.approx(1)


def test_memory_is_bounded_by_an_even_sample(monkeypatch):
    monkeypatch.setattr("marsgen.masks.profiles.measure_classes._MOST_REGIONS", 200)
    rng = np.random.default_rng(0)
    maps = []
    for _ in range(20):
        labels = ground()
        labels[::4, ::4][rng.random((24, 24)) < 0.5] = ROCK
        maps.append(labels)
    found = profile(maps)
    assert found.regions > 4000
    assert sum(found.size.region_shares) == pytest.approx(1)
    assert found.place.cut_share == pytest.approx(1 - 22 * 22 / 24**2, abs=0.1)


def test_quantiles_leave_nan_out():
    assert Quantiles.of([1, math.nan, 3]).median == 2
    assert math.isnan(Quantiles.of([]).median)
