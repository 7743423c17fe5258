"""open_dataset: survey, suspects and split of a data set, and the line that says what was left out."""

import re

import numpy as np
import pytest

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.cleaning.splits import check_disjoint
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.scenes.simulate import SimulationConfig, is_outlier


def nonsense_scenes(path) -> list[int]:
    """Scenes that carry the most frequent label map, found without our own code."""
    labels = [pair[1].tobytes() for pair in np.load(path)["training_set"]]
    most = max(labels, key=labels.count)
    return [scene for scene, content in enumerate(labels) if content == most]


@pytest.fixture(scope="module")
def tiny(tiny_npz) -> Dataset:
    return open_dataset(str(tiny_npz), DataConfig(val_fraction=0.25))


def test_suspects_are_the_nonsense_maps_and_in_no_part(tiny, tiny_npz):
    nonsense = nonsense_scenes(tiny_npz)
    assert len(nonsense) >= 3
    assert list(tiny.suspects) == nonsense
    assert set(tiny.suspects.values()) == {f"label map repeated {len(nonsense)} times"}
    used = tiny.split.train + tiny.split.val
    assert sorted([*used, *nonsense]) == list(range(48))
    assert tiny.describe() == (
        f"48 scenes: {len(nonsense)} left out (one label map repeated {len(nonsense)} times), "
        f"{len(tiny.split.train)} train, {len(tiny.split.val)} val, 0 test"
    )


def test_both_parts_show_rocks(tiny):
    rocks = tiny.survey.shows[:, 3]
    assert rocks[list(tiny.split.train)].sum() >= 6
    assert rocks[list(tiny.split.val)].sum() >= 2


def test_suspects_are_kept_on_demand(tiny, tiny_npz):
    kept = open_dataset(str(tiny_npz), DataConfig(val_fraction=0.25, suspects="keep"))
    assert kept.suspects == tiny.suspects
    assert len(kept.split.train + kept.split.val) == 48
    assert kept.describe().startswith(f"48 scenes: {len(kept.suspects)} suspects kept (one label map repeated")


def test_simulated_scenes_are_split_by_rover_stop():
    dataset = open_dataset("sim:80,outliers=0.1,rocks=0.5", DataConfig(val_fraction=0.2, test_fraction=0.2))
    outliers = [i for i in range(80) if is_outlier(i, SimulationConfig(outlier_fraction=0.1))]
    assert 3 <= len(outliers) <= 8
    assert list(dataset.suspects) == outliers
    groups = dataset.scenes.groups
    assert len(set(zip(groups, dataset.groups, strict=True))) == len(set(groups)) == len(set(dataset.groups))
    check_disjoint(dataset.split, dataset.survey.keys, groups)
    parts = [{groups[scene] for scene in part} for part in (dataset.split.train, dataset.split.val, dataset.split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_near_copies_stay_together_where_no_groups_are_known(tmp_path, tiny_npz):
    pairs = np.load(tiny_npz)["training_set"]
    darker = pairs.copy()
    darker[:, 0] = (0.8 * pairs[:, 0]).astype(np.uint8)
    path = tmp_path / "twice.npz"
    np.savez(path, training_set=np.concatenate([pairs, darker]))
    dataset = open_dataset(str(path), DataConfig(val_fraction=0.3))
    train, val = set(dataset.split.train), set(dataset.split.val)
    assert len(val) > 10
    separated = [
        scene for scene in range(48) if (scene in train and scene + 48 in val) or (scene in val and scene + 48 in train)
    ]
    assert separated == []
    assert all(dataset.groups[scene] == dataset.groups[scene + 48] for scene in range(48))
    assert len(set(dataset.groups)) >= 40
    alone = open_dataset(str(path), DataConfig(val_fraction=0.3, near_duplicate_similarity=1))
    assert any((s in alone.split.train) != (s + 48 in alone.split.train) for s in alone.split.train if s < 48)


def test_a_data_set_of_suspects_is_kept_unless_their_removal_is_asked_for(tmp_path, tiny_npz):
    pairs = np.load(tiny_npz)["training_set"][nonsense_scenes(tiny_npz)]
    np.savez(tmp_path / "aliens.npz", training_set=pairs)
    kept = open_dataset(str(tmp_path / "aliens.npz"), DataConfig())
    assert len(kept.split.train + kept.split.val) == len(pairs)
    assert re.search(r"4 of 4 scenes \(100%\) .* KEPT: .* data\.suspects=remove", kept.split.warnings[0])
    with pytest.raises(DataError, match=r"aliens\.npz: 0 scenes to .* suspects are left out, data\.suspects=keep"):
        open_dataset(str(tmp_path / "aliens.npz"), DataConfig(suspects="remove"))


def test_rare_scenes_beyond_the_limit_are_in_no_part_and_named(tiny, tiny_npz):
    limited = open_dataset(str(tiny_npz), DataConfig(val_fraction=0.25, rare_scenes=2))
    assert limited.survey.shows[list(limited.split.train), 3].sum() == 2
    assert limited.split.val == tiny.split.val
    beyond = len(tiny.split.train) - len(limited.split.train)
    assert len(limited.split.beyond_limit) == beyond >= 4
    assert f", {beyond} left out (beyond the limit on rare scenes), " in limited.describe()
    assert "too close" not in limited.describe()


def test_a_data_set_in_folds_is_tested_once_as_a_whole(tiny, tiny_npz):
    tested = [open_dataset(str(tiny_npz), DataConfig(folds=3, fold=fold)).split.test for fold in range(3)]
    assert sorted(scene for test in tested for scene in test) == sorted(tiny.split.train + tiny.split.val)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_course_file(real_data):
    dataset = open_dataset(str(real_data / "mars_for_students.npz"), DataConfig(test_fraction=0.1))
    assert dataset.describe().startswith("2615 scenes: 110 left out (one label map repeated 110 times), ")
    assert dataset.split.warnings == ()
    rocks = dataset.survey.shows[:, 3]
    shares = [rocks[list(part)].sum() for part in (dataset.split.train, dataset.split.val, dataset.split.test)]
    assert sum(shares) == 70
    np.testing.assert_allclose(shares, [52.5, 10.5, 7], atol=1.5)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_gold_labels_of_ai4mars_are_the_test_part(real_data):
    dataset = open_dataset(str(real_data / "ai4mars-dataset-merged-0.6"), DataConfig())
    assert len(dataset.split.test) == 20
    assert dataset.suspects == {}
    groups = dataset.scenes.groups
    gold = {groups[scene] for scene in dataset.split.test}
    assert not gold & {groups[scene] for scene in dataset.split.train + dataset.split.val}
    assert dataset.describe().startswith("820 scenes: 10 left out (too close to the test part), ")
