"""Pasted regions are like real ones: their sizes, what cuts them off, what they touch, the seam around them."""

import numpy as np
import pytest
from listed_scenes import ListedScenes
from painted_classes import SHAPE, cracks, discs, ground
from scipy import ndimage
from skimage.draw import disk

from marsgen.core.errors import DataError
from marsgen.masks.config import PasteConfig
from marsgen.masks.donors import draw_target
from marsgen.masks.infer_settings import resolve_settings
from marsgen.masks.plan import PlannedSample, edit_sample
from marsgen.masks.profiles.measure_classes import profile_classes
from marsgen.masks.profiles.summaries import share_by_size
from marsgen.masks.regions import RegionLibrary, cut_regions
from marsgen.masks.seams import clear_seam, measure_seam
from marsgen.scenes.geometry import Box, connected_regions
from marsgen.synthesis.compare_regions import collect_pasted, compare_regions

SOIL, BEDROCK, SAND, ROCK, BARE = 1, 2, 3, 4, 0
EDGES = (64, 256, 1024)


def scenes_of(maps: list[np.ndarray], seed: int = 0) -> ListedScenes:
    rng = np.random.default_rng(seed)
    level = np.array([60, 90, 120, 150, 220])
    return ListedScenes([np.clip(level[m] + rng.normal(0, 5, m.shape), 0, 255).astype(np.uint8) for m in maps], maps)


def open_library(scenes: ListedScenes, names: tuple[str, ...] = ("big_rock",), **given) -> RegionLibrary:
    """Settings inferred from all scenes, and the regions."""
    everything = range(len(scenes))
    profiles = profile_classes(scenes, everything, names)
    settings = {name: resolve_settings(PasteConfig(**given), found)[0] for name, found in profiles.items()}
    return cut_regions(scenes, everything, settings, profiles=profiles)


def make(library: RegionLibrary, scenes: ListedScenes, n: int) -> list[PlannedSample]:
    return [edit_sample(i, 0, scenes, library, range(len(scenes))) for i in range(n)]


@pytest.fixture(scope="module")
def sizes() -> tuple[ListedScenes, RegionLibrary, list[PlannedSample]]:
    """Discs of radius 3 to 17: a few large ones hold most of the pixels."""
    scenes = scenes_of(discs(40, lambda u: 3 + 14 * u**3, lambda u: 48))
    library = open_library(scenes)
    return scenes, library, make(library, scenes, 150)


def test_pasted_regions_have_the_sizes_of_real_ones_counted_in_pixels(sizes):
    _, library, samples = sizes
    # measured in the label maps, not as the plan says
    areas = [int(m.sum()) for s in samples for m, _ in connected_regions(s.edited.changed)]
    real, pasted = (share_by_size(a, EDGES)[1] for a in (library.real["big_rock"].areas, areas))
    assert abs(real - pasted).sum() / 2 < 0.15
    assert real[-1] == 0 or pasted[-1] > 0.5 * real[-1]


def test_a_target_is_one_of_the_real_sizes(sizes):
    _, library, _ = sizes
    rng = np.random.default_rng(0)
    drawn = {draw_target(library, "big_rock", rng).area_px for _ in range(200)}
    assert drawn <= set(library.real["big_rock"].areas)
    assert len(drawn) > 20


def test_the_comparison_tells_alike_from_different(sizes):
    _, library, samples = sizes
    donors = [place.record() for sample in samples for place in sample.places]
    alike = compare_regions(library, "big_rock", collect_pasted(donors)["big_rock"])
    small = [d | {"area_px": 40, "thickness": 0.1, "cut": ["left"]} for d in donors]
    different = compare_regions(library, "big_rock", collect_pasted(small)["big_rock"])
    for key in ("size", "cut"):
        assert alike[key]["distance"] < 0.1
    # the real discs have one thickness exactly; a warped outline has a little less
    assert alike["thickness"]["pasted"] == pytest.approx(alike["thickness"]["real"], abs=0.08)
    for key in ("size", "thickness", "cut"):
        assert different[key]["distance"] > 0.6


def test_cracks_are_cut_out_and_pasted_thin():
    scenes = scenes_of(cracks(20, lambda rng: rng.uniform(0, 180)))
    library = open_library(scenes)
    assert library.counts["big_rock"] >= 15
    for sample in make(library, scenes, 20):
        for mask, _ in connected_regions(sample.edited.changed):
            radius = ndimage.distance_transform_edt(np.pad(mask, 1)).max()
            assert radius <= 4  # real ones are 3 px wide
        soft = (sample.edited.alpha > 0) & ~sample.edited.changed
        reach = ndimage.distance_transform_edt(~sample.edited.changed)[soft]
        assert not reach.size or reach.max() <= 2.5


def test_only_classes_that_do_not_matter_for_direction_are_turned_freely():
    turned = open_library(scenes_of(cracks(30, lambda rng: rng.uniform(0, 180)))).settings["big_rock"]
    upright = open_library(scenes_of(cracks(30, lambda rng: rng.normal(90, 4)))).settings["big_rock"]
    assert turned.max_angle == 180
    assert upright.max_angle < 15


def test_cut_off_shares_are_those_of_real_regions():
    maps = []
    for i in range(40):
        labels = ground()
        # three of four lie across the left border
        labels[disk((20 + i, 2 if i % 4 else 48), 9, shape=SHAPE)] = ROCK
        maps.append(labels)
    scenes = scenes_of(maps)
    samples = make(open_library(scenes), scenes, 80)
    touching = [s.edited.changed[:, [0, -1]].any() for s in samples]
    assert np.mean(touching) == pytest.approx(0.75, abs=0.15)


def test_a_whole_donor_is_cut_at_the_border_where_cut_ones_are_missing():
    scenes = scenes_of(discs(12, lambda u: 8, lambda u: 48))
    library = open_library(scenes)
    real = library.real["big_rock"]
    object.__setattr__(real, "cut", tuple(("left",) for _ in real.cut))
    sample = edit_sample(0, 0, scenes, library, range(12))
    assert sample.edited.changed[:, 0].any()
    assert sample.places[0].cut == ("left",)
    assert sample.places[0].area_px == pytest.approx(real.areas.mean(), rel=0.5)


def test_no_region_covers_or_touches_a_class_that_real_ones_never_touch():
    # rocks lie on soil only; bedrock fills the right half of every scene
    maps = []
    rng = np.random.default_rng(3)
    for _ in range(30):
        labels = ground()
        labels[:, 60:] = BEDROCK
        labels[disk((rng.integers(12, 84), rng.integers(12, 44)), rng.integers(4, 8), shape=SHAPE)] = ROCK
        maps.append(labels)
    scenes = scenes_of(maps)
    library = open_library(scenes)
    assert library.settings["big_rock"].avoid_classes == ("bedrock",)  # no scene shows sand
    for sample in make(library, scenes, 60):
        near = ndimage.binary_dilation(sample.edited.changed, iterations=2)
        assert BEDROCK not in scenes.labels[sample.parent_index][near]


def test_size_is_tied_to_the_row_only_where_the_data_show_it():
    tied = open_library(scenes_of(discs(40, lambda u: 3 + 12 * u, lambda u: 30 + 40 * u))).settings["big_rock"]
    free = open_library(scenes_of(discs(40, lambda u: 3 + 12 * u, lambda u: 48))).settings["big_rock"]
    assert tied.horizon == pytest.approx(20 / 96, abs=0.06)
    assert free.horizon == "none"


@pytest.fixture(scope="module")
def seamed() -> ListedScenes:
    """Small discs have a seam of 2 px without a label, large ones of 5 px."""
    maps = []
    for i in range(24):
        labels, radius = ground(), 5 if i % 2 else 14
        labels[disk((48, 30 + i), radius + (2 if i % 2 else 5), shape=SHAPE)] = BARE
        labels[disk((48, 30 + i), radius, shape=SHAPE)] = ROCK
        maps.append(labels)
    return scenes_of(maps)


def test_a_seam_is_as_wide_as_around_real_regions_of_that_size(seamed):
    library = open_library(seamed)
    assert library.settings["big_rock"].seam
    rings: dict[str, list[float]] = {"small": [], "large": []}
    for sample in make(library, seamed, 40):
        (place,) = sample.places
        before, labels = seamed.labels[sample.parent_index], sample.edited.labels
        distance = ndimage.distance_transform_edt(~sample.edited.changed)
        lost = (labels == BARE) & (before != BARE)
        if lost.any():
            rings["small" if place.area_px < 300 else "large"].append(distance[lost].max())
        assert not (labels[sample.edited.changed] != ROCK).any()
    assert np.median(rings["small"]) == pytest.approx(2, abs=1)
    assert np.median(rings["large"]) == pytest.approx(5, abs=1.5)


def test_without_seams_in_the_data_none_is_drawn(sizes):
    scenes, library, samples = sizes
    assert not library.settings["big_rock"].seam
    for sample in samples[:20]:
        np.testing.assert_array_equal(sample.edited.changed, sample.edited.labels != scenes.labels[sample.parent_index])


def test_a_seam_on_one_side_stays_on_one_side():
    # something without a label lies to the right of each rock, as an unlabelled object beside a cyclist
    maps = []
    for i in range(24):
        labels = ground()
        labels[40:57, 30 + i : 50 + i] = BARE
        labels[disk((48, 30 + i), 8, shape=SHAPE)] = ROCK
        maps.append(labels)
    scenes = scenes_of(maps)
    library = open_library(scenes)
    assert library.settings["big_rock"].seam
    sides = []
    for sample in make(library, scenes, 30):
        (place,) = sample.places
        before, labels = scenes.labels[sample.parent_index], sample.edited.labels
        lost = (labels == BARE) & (before != BARE) & ~sample.edited.changed
        columns = np.nonzero(lost)[1]
        middle = np.nonzero(sample.edited.changed)[1].mean()
        if not place.cut:
            sides += [(columns >= middle).sum(), (columns < middle).sum()]
    right, left = np.sum(sides[::2]), np.sum(sides[1::2])
    assert right > 500
    assert left < 0.05 * right


def test_a_seam_is_known_beside_the_border_too():
    # a rock in the corner shows one direction well; the others take its width, and do not end the seam
    labels = np.full((64, 64), SOIL, np.uint8)
    labels[:30, :30] = BARE
    labels[:20, :20] = ROCK
    widths = measure_seam(labels, np.ones((20, 20), bool), Box(0, 0, 20, 20), BARE, np.arange(256) == ROCK)
    assert min(widths) == 10
    edited = np.full((64, 64), SOIL, np.uint8)
    assert clear_seam(edited, np.ones((20, 20), bool), Box(0, 0, 20, 20), widths, np.arange(256) == ROCK, BARE) == 10


def test_what_a_region_encloses_without_a_label_is_pasted_with_it():
    # a hole in the label is no hole in the rock: its own pixels belong there, and no label
    maps = []
    for i in range(12):
        labels = ground()
        labels[disk((48, 30 + i), 12, shape=SHAPE)] = ROCK
        labels[disk((48, 30 + i), 5, shape=SHAPE)] = BARE
        maps.append(labels)
    scenes = scenes_of(maps)
    library = open_library(scenes, scale=(1, 1), scale_jitter=0, max_angle=0, warp=0, seam=False, match_brightness=0)
    for sample in make(library, scenes, 10):
        (place,) = sample.places
        inside = sample.edited.labels[sample.edited.changed]
        assert np.count_nonzero(inside == BARE) == np.count_nonzero(maps[0] == BARE)
        assert np.count_nonzero(inside == ROCK) == place.area_px == np.count_nonzero(maps[0] == ROCK)
        hole = sample.edited.changed & (sample.edited.labels == BARE)
        # 60 = the level of what carries no label in these scenes; the ground is at 90
        assert sample.edited.image[hole].mean() == pytest.approx(60, abs=10)


def test_an_unfit_class_is_left_out_while_another_is_fit_and_refused_alone():
    maps = discs(8, lambda u: 8, lambda u: 48)
    for labels in maps:
        labels[2:4, 2:4] = SAND
    scenes = scenes_of(maps)
    library = open_library(scenes, ("big_rock", "sand"), min_region_px=50)
    assert library.class_names == ("big_rock",)
    assert "sand has no region of at least 50 px" in library.unfit["sand"]
    with pytest.raises(DataError, match="class sand has no region of at least 50 px .*the largest has 4 px"):
        open_library(scenes, ("sand",), min_region_px=50)


def test_a_value_in_yaml_wins_and_the_line_says_which_is_which():
    scenes = scenes_of(cracks(20, lambda rng: rng.uniform(0, 180)))
    profile = profile_classes(scenes, range(20), ["big_rock"])["big_rock"]
    settings, line = resolve_settings(PasteConfig(max_angle=3, min_solidity="auto"), profile)
    assert settings.max_angle == 3
    assert settings.min_solidity < 0.9
    inferred, given = line.split("; given ")
    assert line.startswith("paste big_rock: inferred ")
    assert "min_solidity=" in inferred
    assert given == "max_angle=3.0"
