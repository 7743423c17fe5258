"""Regions: what is cut out, what is left, and what is known about it."""

import numpy as np
import pytest
from pasting import cut_regions, rock_settings
from pydantic import ValidationError

from marsgen.core.errors import DataError
from marsgen.scenes.scene import scene_key

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9


def meadow(count: int = 1, height: int = 64, width: int = 96) -> np.ndarray:
    labels = np.full((count, height, width), MEADOW, np.uint8)
    labels[:, :16] = SKY
    return labels


def test_a_region_holds_the_pixels_and_the_outline_of_its_donor(paint):
    labels = meadow()
    labels[0, 30:40, 50:65] = BOULDER
    scenes = paint(labels)
    (region,) = cut_regions(scenes, [0], ["boulder"], rock_settings()).regions["boulder"]
    margin = region.margin_px
    window = slice(30 - margin, 40 + margin), slice(50 - margin, 65 + margin)
    np.testing.assert_array_equal(region.layers[..., :-1], scenes.images[0][window])
    np.testing.assert_array_equal(region.depth > 0, labels[0][window] == BOULDER)
    # half a pixel from the outline on either side, one more with every pixel
    np.testing.assert_allclose(region.depth[margin + 5, margin - 2 : margin + 3], [-1.5, -0.5, 0.5, 1.5, 2.5])
    assert (region.area_px, tuple(region.box), region.cut) == (150, (30, 50, 40, 65), ())
    assert (region.donor_name, region.donor_key) == ("field-0", scene_key(scenes.images[0]))
    assert (region.class_name, region.class_id) == ("boulder", BOULDER)


def test_foot_horizon_and_ground_are_measured_in_the_donor(paint):
    labels = meadow()
    labels[0, 30:40, 50:65] = BOULDER
    scenes = paint(labels)
    scenes.images[0][labels[0] == MEADOW] = 77
    (region,) = cut_regions(scenes, [0], ["boulder"], rock_settings()).regions["boulder"]
    assert region.foot == 40 / 64
    assert region.distance == pytest.approx((40 - 16) / 64)  # the sky ends at row 16
    assert region.ground_level == pytest.approx(77)
    labels[0, :16] = MEADOW
    (region,) = cut_regions(scenes, [0], ["boulder"], rock_settings(horizon=-1)).regions["boulder"]
    assert region.distance == pytest.approx((40 + 64) / 64)  # no sky: the configured row


def test_the_foot_of_a_region_cut_off_below_is_the_border(paint):
    labels = meadow()
    labels[0, 45:62, 50:65] = BOULDER  # two unlabelled rows of rim below it
    (region,) = cut_regions(paint(labels), [0], ["boulder"], rock_settings()).regions["boulder"]
    assert region.cut == ("bottom",)
    assert region.foot == 1
    assert region.distance == pytest.approx((64 - 16) / 64)


def test_brightness_of_the_ground_ignores_sky_and_other_pasted_classes(paint):
    labels = meadow()
    labels[0, 17:30, 50:65] = BOULDER
    labels[0, 20:28, 67:80] = TREE
    scenes = paint(labels)
    scenes.images[0][labels[0] == MEADOW] = 77
    library = cut_regions(scenes, [0], ["boulder", "tree"], rock_settings(min_region_px=90))
    assert library.regions["boulder"][0].ground_level == pytest.approx(77)


def test_only_the_train_part_is_searched(paint):
    labels = meadow(4)
    labels[:, 30:40, 50:65] = BOULDER
    library = cut_regions(paint(labels), [2, 0], ["boulder"], rock_settings(), keys=["a", "b", "c", "d"])
    assert [r.donor_key for r in library.regions["boulder"]] == ["c", "a"]
    assert len(library) == 2


def test_small_components_strips_rims_and_walls_are_not_cut_out(paint):
    labels = meadow(4)
    labels[0, 30:37, 40:49] = BOULDER  # 63 px: a small component
    labels[0, 45:60, 70:85] = BOULDER  # a block
    labels[1, 30:33, 20:60] = BOULDER  # a strip
    labels[2, 25:55, 20:60] = BOULDER  # a rim
    labels[2, 28:52, 23:57] = MEADOW
    labels[3, 20:60, 10:80] = BOULDER  # a wall
    scenes, parts = paint(labels), range(4)

    def areas(**changes: float) -> list[int]:
        return [r.area_px for r in cut_regions(scenes, parts, ["boulder"], rock_settings(**changes)).regions["boulder"]]

    assert areas() == [225]
    assert areas(min_region_px=63) == [63, 225]
    assert areas(min_thickness=0.1) == [225, 120]
    assert areas(min_solidity=0.2, min_thickness=0.05) == [225, 120, 384]
    assert areas(max_region_fraction=0.5) == [225, 2800]
    library = cut_regions(scenes, parts, ["boulder"], rock_settings())
    assert library.found == {"boulder": 5}
    assert library.counts == {"boulder": 1}


@pytest.mark.parametrize(
    ("rows", "columns", "cut"),
    [
        ((30, 45), (0, 12), ("left",)),
        ((30, 45), (3, 15), ("left",)),  # a rim of three pixels is still the border
        ((30, 45), (4, 16), ()),
        ((30, 45), (84, 96), ("right",)),
        ((50, 64), (40, 55), ("bottom",)),
        ((0, 12), (2, 14), ("top", "left")),
    ],
)
def test_a_region_knows_which_borders_cut_it_off(paint, rows, columns, cut):
    labels = meadow()
    labels[0, slice(*rows), slice(*columns)] = BOULDER
    (region,) = cut_regions(paint(labels), [0], ["boulder"], rock_settings()).regions["boulder"]
    assert region.cut == cut
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    assert region.depth.shape == (
        height + region.margin_px * (2 - len({"top", "bottom"} & set(cut))),
        width + region.margin_px * (2 - len({"left", "right"} & set(cut))),
    )
    if cut == ("left",):  # across the border it goes on: no outline there
        assert region.depth[region.margin_px + height // 2, 0] > height // 3


def test_a_region_from_border_to_border_is_no_rock(paint):
    labels = meadow(2)
    labels[0, 30:40, :] = BOULDER
    labels[1, 30:40, 20:40] = BOULDER
    library = cut_regions(paint(labels), [0, 1], ["boulder"], rock_settings())
    assert [r.donor_name for r in library.regions["boulder"]] == ["field-1"]


def test_cutting_twice_gives_the_same_library(fields, boulders):
    again = cut_regions(fields, range(len(fields)), ["boulder"], rock_settings())
    assert len(again) == len(boulders) == 7
    for a, b in zip(again.regions["boulder"], boulders.regions["boulder"], strict=True):
        assert (a.donor_key, a.box) == (b.donor_key, b.box)
        np.testing.assert_array_equal(a.layers, b.layers)


def test_what_is_missing_is_said_in_words(paint):
    labels = meadow(3)
    labels[0, 30:35, 40:46] = BOULDER
    labels[1, 30:32, 40:90] = TREE
    scenes = paint(labels)
    with pytest.raises(DataError, match=r"class boulder has no region of at least 64 px in the 3 train scenes .*30 px"):
        cut_regions(scenes, range(3), ["boulder"], rock_settings())
    with pytest.raises(DataError, match=r"lower paste\.min_region_px"):
        cut_regions(scenes, range(3), ["boulder"], rock_settings())
    with pytest.raises(DataError, match=r"in the 1 train scenes \(none has a single pixel of it\)"):
        cut_regions(scenes, [2], ["boulder"], rock_settings())
    with pytest.raises(DataError, match=r"class tree has 1 regions .* none of a shape .*paste\.min_thickness"):
        cut_regions(scenes, range(3), ["tree"], rock_settings())
    with pytest.raises(DataError, match=r"no class 'bolder' \(did you mean 'boulder'\?\)"):
        cut_regions(scenes, range(3), ["bolder"], rock_settings())
    with pytest.raises(DataError, match="no class to paste was named; the classes are meadow, tree, boulder"):
        cut_regions(scenes, range(3), [], rock_settings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions_per_scene": (3, 2)}, "1 <= fewest <= most"),
        ({"regions_per_scene": (0, 2)}, "1 <= fewest <= most"),
        ({"scale": (0.0, 1.0)}, "0.01 <= smallest <= largest"),
        ({"scale": (1.0, 0.5)}, "0.01 <= smallest <= largest"),
        ({"feather_px": 0}, "greater than 0"),
        ({"fether_px": 1}, "Extra inputs"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        rock_settings(**changes)


@pytest.mark.real_data
def test_the_real_train_scenes_hold_rocks_worth_pasting(real_data):
    from marsgen.scenes.sources import open_scenes

    scenes = open_scenes(str(real_data / "mars_for_students.npz"))
    library = cut_regions(scenes, range(len(scenes)), ["big_rock"], rock_settings())
    assert library.found["big_rock"] > 100  # small components and rims of the crowd's outlines
    assert 25 <= library.counts["big_rock"] <= 45
    assert sum(r.layers.nbytes + r.detail.nbytes for r in library.regions["big_rock"]) < 1_000_000
