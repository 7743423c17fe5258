"""Weighted scenes and places: those where a class occurs in real scenes, or any others."""

import json

import numpy as np
import pytest
from pasting import cut_regions, edit_sample, rock_settings

from marsgen.cleaning.survey import survey_scenes
from marsgen.masks.placement import PlacementPrior, learn_placement

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9
CONFIG = rock_settings(regions_per_scene=(1, 1), horizon="none", match_surroundings=0)  # the prior alone decides


@pytest.fixture(scope="module")
def lowland(paint):
    """60 scenes of 64 x 96: trees left of the middle, meadow right of it (every third scene all trees).

    The first 20 that show meadow hold a boulder in the lower half of the picture, on meadow.
    """
    labels = np.full((60, 64, 96), TREE, np.uint8)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :96]
    holders = 0
    for i in range(60):
        if i % 3:
            labels[i, :, 48:] = MEADOW
            if holders < 20:
                row, column, radius = rng.integers(42, 54), rng.integers(60, 84), rng.integers(5, 7)
                labels[i][(y - row) ** 2 + (x - column) ** 2 <= radius**2] = BOULDER
                holders += 1
    return paint(labels)


@pytest.fixture(scope="module")
def library(lowland):
    return cut_regions(lowland, range(60), ["boulder"], CONFIG)


@pytest.fixture(scope="module")
def learned(lowland) -> PlacementPrior:
    return learn_placement(lowland, range(60), survey_scenes(lowland).pixels, ["boulder"])


def feet(scenes, library, placement, n=150):
    """(n, 3) row, column, id of the ground there; and the samples' parents."""
    samples = [edit_sample(i, 0, scenes, library, CONFIG, range(60), placement=placement) for i in range(n)]
    places = [(s.parent_index, s.places[0].row, s.places[0].column) for s in samples]
    return np.array([(r, c, scenes.labels[p][min(r, 63), np.clip(c, 0, 95)]) for p, r, c in places]), samples


def test_a_class_goes_where_it_occurs_and_evenly_without(lowland, library, learned):
    even, _ = feet(lowland, library, None)
    own, samples = feet(lowland, library, learned)
    at_home = [np.mean((found[:, 0] >= 32) & (found[:, 2] == MEADOW)) for found in (even, own)]
    # a third of the picture's area is meadow, and half of that lies low; feet are low more often, for a boulder has
    # to fit in above them
    assert 0.1 < at_home[0] < 0.4
    assert at_home[1] > 0.8
    assert np.mean(own[:, 0] >= 32) > 0.8 > np.mean(even[:, 0] >= 32)
    all_trees = np.mean([s.parent_index % 3 == 0 for s in samples])
    assert all_trees < 0.1


def test_no_scene_and_no_ground_is_out_of_the_question(lowland, learned):
    assert (learned.parents > 0).all()
    assert (learned.feet(lowland[0], "boulder") > 0).all()
    assert learned.feet(lowland[1], "boulder").shape == (64, 96)


def test_a_class_without_a_region_is_placed_evenly(lowland):
    empty = [i for i in range(60) if BOULDER not in lowland.labels[i]]
    placement = learn_placement(lowland, empty, survey_scenes(lowland).pixels, ["boulder"])
    np.testing.assert_array_equal(placement.parents, np.ones(len(empty)))
    np.testing.assert_array_equal(placement.feet(lowland[0], "boulder"), np.ones((64, 96)))


def test_two_classes_have_weights_of_their_own(fields):
    placement = learn_placement(fields, range(24), survey_scenes(fields).pixels, ["tree", "boulder"])
    assert (placement.feet(fields[20], "tree") != placement.feet(fields[20], "boulder")).any()
    library = cut_regions(fields, range(24), ["tree", "boulder"], CONFIG)
    for i in range(10):
        sample = edit_sample(i, 0, fields, library, CONFIG, range(24), placement=placement)
        np.testing.assert_array_equal(sample.edited.changed, sample.edited.labels != fields.labels[sample.parent_index])


def test_weights_in_one_corner_leave_only_that_corner(fields, boulders):
    weights = np.zeros((72, 96))
    weights[50:60, 60:80] = 1
    parents = np.zeros(24)
    parents[[12, 20]] = 1, 3
    placement = PlacementPrior(parents, lambda scene, name: weights)
    library = cut_regions(fields, range(5), ["boulder"], CONFIG)  # whole ones: a cut one has to go to its border
    samples = [edit_sample(i, 0, fields, library, CONFIG, range(24), placement=placement) for i in range(60)]
    chosen = [s.parent_index for s in samples]
    assert set(chosen) == {12, 20}
    assert 0.55 < chosen.count(20) / 60 < 0.95  # 3 : 1
    for sample in samples:
        (place,) = sample.places
        # scale and angle move the middle of the foot by a pixel or two
        assert 48 <= place.row < 62
        assert 58 <= place.column < 82


def test_a_placed_sample_depends_on_its_numbers_alone(lowland, library, learned):
    def made(order, placement):
        return {
            i: json.dumps(edit_sample(i, 3, lowland, library, CONFIG, range(60), placement=placement).record())
            for i in order
        }

    again = learn_placement(lowland, range(60), survey_scenes(lowland).pixels, ["boulder"])
    assert made(range(8), learned) == made(reversed(range(8)), again)


def test_every_attempt_is_another_plan_and_the_first_is_the_plain_one(fields, boulders):
    plans = [
        json.dumps(edit_sample(5, 0, fields, boulders, CONFIG, range(24), attempt=a).record()) for a in (0, 1, 2, 1)
    ]
    assert plans[0] == json.dumps(edit_sample(5, 0, fields, boulders, CONFIG, range(24)).record())
    assert len(set(plans)) == 3
    assert plans[1] == plans[3]


def test_weight_zero_is_never_drawn():
    rng = np.random.default_rng(0)
    weights = np.array([0, 1, 0, 2, 0])
    prior = PlacementPrior(weights, lambda scene, name: np.ones(scene.labels.shape))
    drawn = np.bincount([prior.draw_parent(rng) for _ in range(3000)], minlength=5) / 3000
    np.testing.assert_allclose(drawn, [0, 1 / 3, 0, 2 / 3, 0], atol=0.03)
    assert drawn[[0, 2, 4]].sum() == 0
