"""A region is pasted where what lies around it is what lay around it at home."""

from dataclasses import replace

import numpy as np
import pytest
from pasting import cut_regions, edit_sample, rock_settings

from marsgen.masks.blend import EditedMask
from marsgen.masks.canvas import Canvas
from marsgen.masks.donors import Target, draw_donor
from marsgen.masks.plan import NoPlaceError
from marsgen.masks.profiles.measure_classes import profile_classes

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9
CONFIG = rock_settings(
    regions_per_scene=(1, 1), horizon="none", min_region_px=16, min_visible_px=16, min_solidity=0, min_thickness=0,
    max_ignored_fraction=1.0, max_angle=0.0, gap_px=0,
)  # fmt: skip


def grounds(samples, scenes) -> np.ndarray:
    """(N, 2) share of meadow around each pasted region, and straight below it."""
    shares = []
    for sample in samples:
        labels, changed = scenes.labels[sample.parent_index], sample.edited.changed
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        around = np.zeros_like(changed)
        around[max(rows[0] - 5, 0) : rows[-1] + 6, max(columns[0] - 5, 0) : columns[-1] + 6] = True
        beneath = labels[rows[-1] + 1 : rows[-1] + 6, columns[0] : columns[-1] + 1]
        shares.append((np.mean(labels[around & ~changed] == MEADOW), np.mean(beneath == MEADOW)))
    return np.array(shares)


def pasted(scenes, library, config, n=40):
    return [edit_sample(i, 0, scenes, library, config, range(len(scenes))) for i in range(n)]


@pytest.fixture(scope="module")
def halves(paint):
    """24 scenes: meadow left, trees right; the first 8 hold a boulder on meadow."""
    labels = np.full((24, 64, 96), MEADOW, np.uint8)
    labels[:, :, 48:] = TREE
    for i in range(8):
        labels[i, 20 + 2 * i : 30 + 2 * i, 10 + i : 22 + i] = BOULDER
    return paint(labels)


@pytest.mark.parametrize(("least", "on_trees"), [(0.5, False), (0.0, True)])
def test_a_boulder_from_the_meadow_stays_on_meadow(halves, least, on_trees):
    config = CONFIG.model_copy(update={"match_surroundings": least})
    library = cut_regions(halves, range(24), ["boulder"], config)
    around = grounds(pasted(halves, library, config), halves)[:, 0]
    assert (around < 0.4).any() == on_trees


def test_a_scene_without_such_surroundings_takes_none(halves, paint):
    library = cut_regions(halves, range(24), ["boulder"], CONFIG)
    forest = paint(np.full((3, 64, 96), TREE, np.uint8))
    with pytest.raises(NoPlaceError):
        edit_sample(0, 0, forest, library, CONFIG.model_copy(update={"max_parents": 5}), range(3))


def test_only_boulders_that_suit_the_scene_are_tried(paint):
    """Half of the boulders lie on meadow, half among trees, all of one size."""
    labels = np.full((12, 64, 96), MEADOW, np.uint8)
    labels[6:] = TREE
    labels[:, 20:32, 30:42] = BOULDER
    library = cut_regions(paint(labels), range(12), ["boulder"], CONFIG)
    assert len(library.regions["boulder"]) == 12
    meadow, both = paint(np.full((1, 64, 96), MEADOW, np.uint8)), np.full((1, 64, 96), MEADOW, np.uint8)
    both[:, :, 48:] = TREE
    suits = [
        Canvas(EditedMask.of(scenes[0].image, scenes[0].labels), library).suits("boulder")
        for scenes in (meadow, paint(both))
    ]
    assert suits[0].tolist() == [True] * 6 + [False] * 6
    assert suits[1].all()
    rng, target = np.random.default_rng(0), Target(144.0, ())
    drawn = [draw_donor(library, "boulder", target, suits[0], rng) for _ in range(60)]
    assert {library.regions["boulder"].index(donor.region) for donor in drawn} == set(range(6))
    assert draw_donor(library, "boulder", target, ~suits[1], rng) is None


def test_what_stands_is_not_hung_up(paint):
    """Boulders stand on meadow and rise before trees, which are most of what surrounds them."""
    labels = np.full((40, 64, 96), TREE, np.uint8)
    labels[:, 44:] = MEADOW
    rng = np.random.default_rng(0)
    for i in range(30):
        left, tall = rng.integers(8, 80), rng.integers(12, 20)
        labels[i, 44 - tall : 44, left : left + 6] = BOULDER
    scenes = paint(labels)
    library = cut_regions(scenes, range(40), ["boulder"], CONFIG)
    assert (grounds(pasted(scenes, library, CONFIG), scenes)[:, 1] < 0.1).any()  # nothing is known of top and bottom
    upright = replace(library, profiles=profile_classes(scenes, range(40), ["boulder"]))
    assert upright.upright == {"boulder"}
    assert (grounds(pasted(scenes, upright, CONFIG.model_copy(update={"seam": False})), scenes)[:, 1] > 0.3).all()
