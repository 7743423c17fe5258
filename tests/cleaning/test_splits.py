"""Splits: nothing shared between parts, every class in every part, and a sentence where that cannot be."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed_scenes import TERRAINS

from marsgen.cleaning.splits import PARTS, Split, check_disjoint, split_scenes
from marsgen.cleaning.survey import Survey
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError

THREE_PARTS = DataConfig(val_fraction=0.2, test_fraction=0.2)


def survey_of(shows: np.ndarray, keys: list[str] | None = None) -> Survey:
    """A survey of scenes that show the given classes, (N, 4) bool; all else is of no matter to a split."""
    count = len(shows)
    pixels = np.concatenate([shows * 10, np.ones((count, 1))], 1).astype(np.int64)
    keys = keys or [f"key-{number}" for number in range(count)]
    return Survey(
        tuple(keys), ("",) * count, pixels, np.zeros((count, 128), np.float32), np.zeros((count, 72), np.uint8)
    )


def terrain(count: int, rocks: int, seed: int = 0) -> np.ndarray:
    """Each scene shows one or two of three grounds; the first `rocks` scenes show a big rock too."""
    rng = np.random.default_rng(seed)
    shows = np.zeros((count, 4), bool)
    shows[np.arange(count), rng.choice(3, count, p=[0.5, 0.3, 0.2])] = True
    shows[np.arange(count), rng.choice(3, count)] = True
    shows[:rocks, 3] = True
    return shows


def split(shows, config=THREE_PARTS, **given) -> Split:
    return split_scenes(survey_of(shows, given.pop("keys", None)), config, TERRAINS.names, **given)


def test_every_class_is_in_every_part_in_its_share():
    shows = terrain(1000, rocks=25)
    parts = split(shows)
    assert parts.warnings == ()
    assert sorted(parts.train + parts.val + parts.test) == list(range(1000))
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        chosen = list(getattr(parts, part))
        assert len(chosen) == pytest.approx(1000 * share, abs=15)
        expected = shows.sum(0) * share
        assert np.abs(shows[chosen].sum(0) - expected).max() <= max(1, 0.02 * 1000 * share)
        assert shows[chosen, 3].sum() == pytest.approx(25 * share, abs=1)


def test_the_seed_alone_decides():
    shows = terrain(60, rocks=6)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - to see that nobody touches it
    again = split(shows)
    assert split(shows) == again
    assert split(shows, DataConfig(val_fraction=0.2, test_fraction=0.2, split_seed=1)) != again
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_three_scenes_of_a_class_reach_three_parts():
    for seed in range(10):
        parts = split(terrain(50, rocks=3), DataConfig(val_fraction=0.1, test_fraction=0.1, split_seed=seed))
        assert [sum(scene < 3 for scene in getattr(parts, part)) for part in PARTS] == [1, 1, 1]


def test_a_class_in_fewer_groups_than_parts_goes_to_train_and_is_reported():
    groups = ["stop-0"] * 5 + [f"stop-{number}" for number in range(1, 46)]
    parts = split(terrain(50, rocks=5), groups=groups)
    assert set(range(5)) <= set(parts.train)
    assert parts.warnings == (
        "big_rock is in 1 group of scenes only: all of it goes to train, none is in val and test",
    )


def test_without_a_test_share_there_is_no_test_part():
    parts = split(terrain(40, rocks=2), DataConfig(val_fraction=0.25))
    assert parts.test == ()
    assert len(parts.val) == pytest.approx(10, abs=2)
    assert sum(scene < 2 for scene in parts.val) == 1
    assert parts.warnings == ()


def test_scenes_that_show_no_class_are_divided_too():
    shows = terrain(100, rocks=5)
    shows[20:] = False
    parts = split(shows)
    assert [len(getattr(parts, part)) for part in PARTS] == pytest.approx([60, 20, 20], abs=1)


def test_groups_copies_and_exact_copies_stay_together():
    rng = np.random.default_rng(1)
    groups = [f"stop-{number}" for number in rng.integers(0, 30, 200)]
    keys = [f"key-{number}" for number in range(200)]
    for twin in range(0, 20, 2):
        keys[twin + 100] = keys[twin]
    parts = split(terrain(200, rocks=40), groups=groups, keys=keys, copies=[(3, 77, 150)])
    part_of = {scene: part for part in PARTS for scene in getattr(parts, part)}
    assert len({(group, part_of[scene]) for scene, group in enumerate(groups)}) == len(set(groups))
    assert all(part_of[twin] == part_of[twin + 100] for twin in range(0, 20, 2))
    assert part_of[3] == part_of[77] == part_of[150]


def test_scenes_left_out_are_in_no_part_and_bind_nobody():
    groups = ["same"] * 30
    parts = split(terrain(30, rocks=6), left_out=range(10))
    assert sorted(parts.train + parts.val + parts.test) == list(range(10, 30))
    with pytest.raises(DataError, match="20 scenes to split, in 1 group of .*; train and val and test need"):
        split(terrain(30, rocks=6), left_out=range(10), groups=groups)


def test_parts_fixed_by_the_data_set_are_respected():
    parts_given = ["train"] * 40 + ["test"] * 10
    groups = [f"stop-{number}" for number in range(38)] + ["gold"] * 12
    keys = [f"key-{number}" for number in range(50)]
    keys[7] = keys[45]
    parts = split(terrain(50, rocks=12), groups=groups, parts=parts_given, keys=keys)
    assert parts.test == tuple(range(40, 50))
    # 38 and 39 share the group of the test scenes, 7 a picture
    assert sorted(parts.train + parts.val) == [scene for scene in range(38) if scene != 7]
    assert len(parts.val) == pytest.approx(0.2 * 37, abs=2)
    assert parts.warnings == ("3 training scenes left out: of the same group or picture as a test scene",)


def test_large_groups_that_spoil_the_shares_are_reported():
    groups = ["a"] * 50 + ["b"] * 50
    parts = split(terrain(100, rocks=0), DataConfig(val_fraction=0.1), groups=groups)
    assert len(parts.val) == len(parts.train) == 50
    assert parts.warnings == ("val holds 50% of the scenes instead of 10%: groups stay whole",)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_groups_than_parts_is_an_error(count):
    with pytest.raises(DataError, match=rf"{count} scenes to split, in {count} groups? of .*give more scenes"):
        split(terrain(count, rocks=0) if count else np.zeros((0, 4), bool))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (Split((0, 1), (1,), ()), r"scene 1 \(train\) and scene 1 \(val\) are the same scene"),
        (Split((0,), (2,), ()), r"scene 0 \(train\) and scene 2 \(val\) are the same picture same-key"),
        (Split((1,), (), (3,)), r"scene 1 \(train\) and scene 3 \(test\) are the same group g"),
    ],
)
def test_overlap_is_an_error(parts, message):
    with pytest.raises(DataError, match=message):
        check_disjoint(parts, ["same-key", "a", "same-key", "b"], ["e", "g", "f", "g"])


def test_disjoint_parts_pass():
    check_disjoint(Split((0, 2), (1,), ()), ["a", "b", "a"], ["g", "h", "g"])


def test_no_part_stays_empty_for_the_sake_of_a_scarce_class():
    shows = np.zeros((6, 4), bool)
    shows[4:, 3] = True
    parts = split(shows, groups=["a", "a", "a", "a", "b", "c"])
    assert all(getattr(parts, part) for part in PARTS)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_the_groups_nothing_is_shared_and_nothing_lost(data):
    count = data.draw(st.integers(6, 60))
    groups = [f"g{number}" for number in data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))]
    shows = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=count, max_size=count))
    )
    if len(set(groups)) < 3:
        return
    parts = split(shows, groups=groups)
    assert sorted(parts.train + parts.val + parts.test) == list(range(count))
    assert all(getattr(parts, part) for part in PARTS)
    part_of = {scene: part for part in PARTS for scene in getattr(parts, part)}
    assert len({(group, part_of[scene]) for scene, group in enumerate(groups)}) == len(set(groups))
    tested = [split(shows, DataConfig(folds=3, fold=fold), groups=groups).test for fold in range(3)]
    assert sorted(scene for test in tested for scene in test) == list(range(count))
    for class_index, name in enumerate(TERRAINS.names):
        reached = {part_of[scene] for scene in np.flatnonzero(shows[:, class_index])}
        assert not reached or len(reached) == 3 or any(text.startswith(f"{name} is in") for text in parts.warnings)


def test_a_class_in_a_few_large_groups_still_reaches_every_part():
    groups = [f"stop-{scene // 12}" for scene in range(240)]
    shows = terrain(240, rocks=0)
    shows[[0, 13, 25, 26, 27], 3] = True  # three groups
    parts = split(shows, groups=groups)
    assert parts.warnings == ()
    assert Counter(part for part in PARTS for scene in getattr(parts, part) if shows[scene, 3]).keys() == set(PARTS)


# folds


def folds_of(shows: np.ndarray, folds: int, **given) -> list[Split]:
    return [split(shows, DataConfig(val_fraction=0.2, folds=folds, fold=fold), **given) for fold in range(folds)]


def test_each_scene_is_tested_in_exactly_one_fold_and_each_fold_tests_the_rare_class():
    shows = terrain(200, rocks=12)
    parts = folds_of(shows, 5)
    assert sorted(scene for one in parts for scene in one.test) == list(range(200))
    for one in parts:
        assert one.warnings == ()
        assert sorted(one.train + one.val + one.test) == list(range(200))
        assert len(one.test) == pytest.approx(40, abs=4)
        assert len(one.val) == pytest.approx(0.2 * (200 - len(one.test)), abs=3)
        rocks = [sum(scene < 12 for scene in getattr(one, part)) for part in PARTS]
        assert rocks[2] in (2, 3)
        assert min(rocks) >= 1
    again = split(shows, DataConfig(val_fraction=0.2, folds=5, fold=0, split_seed=1))
    assert again.test != parts[0].test


def test_folds_split_no_group_and_no_copies():
    rng = np.random.default_rng(1)
    groups = [f"stop-{number}" for number in rng.integers(0, 30, 200)]
    keys = [f"key-{number}" for number in range(200)]
    keys[100] = keys[0]
    parts = folds_of(terrain(200, rocks=40), 4, groups=groups, keys=keys, copies=[(3, 77, 150)])
    fold_of = {scene: fold for fold, one in enumerate(parts) for scene in one.test}
    assert len({(group, fold_of[scene]) for scene, group in enumerate(groups)}) == len(set(groups))
    assert fold_of[0] == fold_of[100]
    assert fold_of[3] == fold_of[77] == fold_of[150]  # and within a fold `split_scenes` checks its parts itself


def test_a_class_in_fewer_groups_than_folds_is_spread_and_reported():
    parts = folds_of(terrain(60, rocks=3), 5)
    said = "big_rock is in 3 groups of scenes only: none is in the test part of folds 3 and 4"
    assert [sum(scene < 3 for scene in one.test) for one in parts] == [1, 1, 1, 0, 0]
    assert all(said in one.warnings for one in parts)


def test_a_fold_that_tests_all_of_a_class_says_that_nothing_is_left_to_learn_it_from():
    first, second = folds_of(terrain(60, rocks=1), 2)
    assert first.test[0] == 0
    assert "all scenes of big_rock are in the test part of fold 0: nothing of it to train on" in first.warnings
    assert second.warnings == (
        "big_rock is in 1 group of scenes only: none is in the test part of fold 1",
        "big_rock is in 1 group of scenes only: all of it goes to train, none is in val",
    )


def test_a_fold_spoilt_by_a_large_group_is_reported():
    parts = folds_of(terrain(100, rocks=0), 4, groups=["a"] * 60 + [f"g{number}" for number in range(40)])
    large = next(fold for fold, one in enumerate(parts) if 0 in one.test)
    said = f"the test part of fold {large} holds {len(parts[large].test)}% of the scenes instead of 25%: groups"
    assert len(parts[large].test) < 65
    assert any(text.startswith(said) for text in parts[large].warnings)


def test_folds_that_cannot_be_made_are_refused():
    with pytest.raises(
        DataError, match=r"4 scenes to divide into 5 folds, in 4 groups .*; every fold needs one group, so"
    ):
        split(terrain(4, rocks=0), DataConfig(folds=5))
    with pytest.raises(DataError, match="the data set itself says which scenes are for testing, so 2 folds cannot be"):
        split(terrain(10, rocks=0), DataConfig(folds=2), parts=["train"] * 8 + ["test"] * 2)
    with pytest.raises(DataError, match="1 scenes to split, in 1 group of the same ground; train and val need"):
        split(terrain(2, rocks=0), DataConfig(folds=2))


# a limit on rare scenes


def test_a_limit_on_rare_scenes_is_nested_and_leaves_the_rest_alone():
    shows = terrain(300, rocks=90)

    def limited(limit, seed=0):
        return split(
            shows,
            DataConfig(val_fraction=0.2, test_fraction=0.2, rare_scenes=limit, split_seed=seed),
            rare=["big_rock"],
        )

    whole, ten, twenty = limited(None), limited(10), limited(20)
    assert whole.beyond_limit == ()
    rocks = {one: {scene for scene in one.train if scene < 90} for one in (whole, ten, twenty)}
    assert (len(rocks[ten]), len(rocks[twenty])) == (10, 20)
    assert rocks[ten] < rocks[twenty] < rocks[whole]
    for one in (ten, twenty):
        assert (one.val, one.test, one.warnings) == (whole.val, whole.test, ())
        assert set(one.train) - rocks[one] == set(whole.train) - rocks[whole]
        assert sorted(one.train + one.beyond_limit) == list(whole.train)
    assert {scene for scene in limited(10, seed=1).train if scene < 90} != rocks[ten]


def test_a_limit_that_is_never_reached_or_counts_nothing_says_so():
    parts = split(terrain(100, rocks=10), DataConfig(val_fraction=0.2, rare_scenes=50), rare=["big_rock"])
    assert parts.warnings == ("rare_scenes is 50, but only 8 training scenes show a rare class: all are used",)
    with pytest.raises(DataError, match="rare_scenes is 5, but the class set names no rare class; name one there, or"):
        split(terrain(100, rocks=10), DataConfig(rare_scenes=5))


def test_the_limit_works_within_a_fold():
    shows = terrain(200, rocks=50)
    config = DataConfig(val_fraction=0.2, folds=5, fold=3, rare_scenes=7)
    limited, whole = split(shows, config, rare=["big_rock"]), folds_of(shows, 5)[3]
    assert limited.test == whole.test
    assert sum(scene < 50 for scene in limited.train) == 7


# a split that the data set ships

SHIPPED = ("train", "train", "train", "val", "val", "test")


def test_a_shipped_split_is_used_as_it_is_and_said():
    divided = split(terrain(6, 2), parts=SHIPPED)
    assert (divided.train, divided.val, divided.test) == ((0, 1, 2), (3, 4), (5,))
    assert any("is the one that the data set ships" in warning for warning in divided.warnings)


def test_what_a_shipped_split_shares_between_its_parts_is_left_out_of_train_first_and_said():
    keys = ["a", "b", "c", "a", "d", "e"]
    groups = ["1", "2", "3", "4", "5", "2"]
    divided = split_scenes(survey_of(terrain(6, 2), keys), THREE_PARTS, TERRAINS.names, parts=SHIPPED, groups=groups)
    assert (divided.train, divided.val, divided.test) == ((2,), (3, 4), (5,))
    assert any(
        warning.startswith("2 train scenes left out: of the same group or picture") for warning in divided.warnings
    )


def test_a_shipped_split_without_training_scenes_is_refused():
    with pytest.raises(DataError, match="leaves no scene to train on"):
        split(terrain(2, 1), parts=("val", "val"))


def test_folds_go_over_a_shipped_split_and_say_so():
    config = DataConfig(folds=2, val_fraction=0.4)
    divided = split(terrain(8, 4), config, parts=("train",) * 6 + ("val",) * 2)
    assert any("the split that the data set ships has no effect" in warning for warning in divided.warnings)
    assert len(divided.train) + len(divided.val) + len(divided.test) == 8
