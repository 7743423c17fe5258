"""Proposed settings: thin classes stay thin, free rotation only where no direction matters, no class never touched."""

import math
from dataclasses import replace

import pytest
from painted_classes import cracks, discs, ground, profile
from pydantic import ValidationError

from marsgen.masks.infer_settings import NO_PERSPECTIVE, infer_paste_settings


def test_a_class_without_a_region_gives_nothing():
    assert infer_paste_settings(profile([ground()])) == {}


def test_cracks_of_any_direction_are_cut_out_thin_and_turned_freely():
    found = infer_paste_settings(profile(cracks(40, lambda rng: rng.uniform(0, 180))))
    assert found["min_thickness"].value < 0.15
    assert found["feather_px"].value <= 1.5  # half of 3 px
    assert found["max_angle"].value == 180
    assert found["horizon"].value == NO_PERSPECTIVE or "horizon" not in found
    assert "p " in found["flip"].reason


def test_cracks_of_one_direction_are_turned_within_its_spread():
    angle = infer_paste_settings(profile(cracks(40, lambda rng: rng.normal(30, 5))))["max_angle"]
    assert angle.value == pytest.approx(5, abs=3)
    assert "30 +- 5 degrees" in angle.reason or "axes lie at" in angle.reason


def test_what_stands_is_turned_little_however_far_its_axes_spread():
    of_cracks = profile(cracks(40, lambda rng: rng.normal(30, 12)))
    assert infer_paste_settings(of_cracks)["max_angle"].value > 6
    standing = replace(of_cracks, direction=replace(of_cracks.direction, up_down_p=1e-6))
    assert infer_paste_settings(standing)["max_angle"].value == 6


def test_discs_that_grow_with_the_row_get_their_horizon_and_no_free_turn():
    found = infer_paste_settings(profile(discs(40, lambda u: 3 + 12 * u, lambda u: 30 + 40 * u)))
    assert found["horizon"].value == pytest.approx(20 / 96, abs=0.04)
    assert found.get("max_angle", (0, ""))[0] < 180


def test_only_what_real_regions_touch_is_ground():
    found = infer_paste_settings(profile(discs(20, lambda u: 8, lambda u: 70, top=2, bottom=3)))
    assert found["ground_classes"].value == ("sand",)
    assert "never bedrock" in found["ground_classes"].reason
    assert found["placement"].value == "class"


def test_what_touches_two_classes_but_stands_on_one_gets_that_one():
    found = infer_paste_settings(profile(discs(20, lambda u: 8, lambda u: 48, top=2, bottom=3)))
    assert found["ground_classes"].value == ("sand",)
    assert found["max_angle"].value == 6


def test_one_region_leaves_what_it_cannot_tell_at_its_default():
    found = infer_paste_settings(profile(discs(1, lambda u: 8, lambda u: 48)))
    assert not {"horizon", "flip", "max_angle"} & set(found)
    assert found["regions_per_scene"].value == (1, 1)


def test_real_regions_pass_the_bounds_that_they_gave():
    maps = discs(60, lambda u: 2 + 18 * u, lambda u: 48)
    measured = profile(maps)
    found = infer_paste_settings(measured)
    assert found["max_region_fraction"].value >= measured.size.scene_fraction.most
    assert found["min_region_px"].value <= measured.size.px.q25
    assert found["min_solidity"].value <= measured.shape.solidity.q10


@pytest.mark.parametrize(
    "maps",
    [cracks(20, lambda rng: 90), discs(20, lambda u: 40, lambda u: 48), discs(3, lambda u: 1, lambda u: 5)],
    ids=["cracks", "large", "small"],
)
def test_every_proposal_is_a_valid_setting(maps):
    from marsgen.masks.config import PasteConfig

    found = infer_paste_settings(profile(maps))
    values = {name: value for name, (value, _) in found.items() if not (name == "max_angle" and value > 45)}
    try:
        config = PasteConfig(**values)
    except ValidationError as problem:
        pytest.fail(str(problem))
    assert all(getattr(config, name) == value for name, value in values.items())
    assert all(reason and "nan" not in reason for _, reason in found.values())
    assert not any(isinstance(value, float) and math.isnan(value) for value in values.values())
