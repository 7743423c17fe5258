"""Crumbs of a rare class lose their label in training scenes, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from marsgen.config import DataConfig
from marsgen.errors import DataError
from marsgen.scenes.crumbs import drop_crumbs
from marsgen.scenes.dataset import open_dataset
from marsgen.scenes.survey import survey_scenes


def test_small_regions_become_ignored_and_large_ones_stay():
    labels = np.ones((12, 12), np.uint8)
    labels[1:4, 1:4] = 4  # 9 px
    labels[4, 4] = 4  # touches it at a corner: 10 px in all
    labels[8, 8:11] = 4  # 3 px
    before = labels.copy()
    after = drop_crumbs(labels, class_id=4, ignored=0, min_px=10)
    expected = before.copy()
    expected[8, 8:11] = 0
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(labels, before)
    assert not (drop_crumbs(labels, 4, 0, 11) == 4).any()


def test_a_map_without_the_class_is_given_back_as_it_is():
    labels = np.ones((4, 4), np.uint8)
    assert drop_crumbs(labels, 4, 0, 100) is labels


def test_only_training_scenes_lose_crumbs_and_the_survey_says_so(tiny_npz):
    whole = open_dataset(str(tiny_npz), DataConfig())
    rock = whole.scenes.classes.index("big_rock")
    showing = [i for i in whole.split.train if whole.survey.shows[i, rock]]
    largest = max(int(whole.survey.pixels[i, rock]) for i in showing)
    dataset = open_dataset(str(tiny_npz), DataConfig(min_rare_px=largest + 1))
    assert dataset.split == whole.split
    np.testing.assert_array_equal(dataset.survey.pixels, survey_scenes(dataset.scenes).pixels)
    for index in range(len(whole.scenes)):
        before, after = whole.scenes[index], dataset.scenes[index]
        np.testing.assert_array_equal(after.image, before.image)
        if index in showing:
            np.testing.assert_array_equal(after.labels, np.where(before.labels == 4, 0, before.labels))
        else:
            np.testing.assert_array_equal(after.labels, before.labels)
    assert dataset.describe() == f"{whole.describe()}; {len(showing)} of the train scenes lost the label of crumbs"
    assert dataset.scenes.fingerprint() == whole.scenes.fingerprint()


def test_data_without_a_rare_class_are_refused_in_words(tiny_npz):
    classes = open_dataset(str(tiny_npz), DataConfig()).scenes.classes
    with pytest.raises(DataError, match=r"data\.min_rare_px is 64, but the class set names no rare class"):
        open_dataset(str(tiny_npz), DataConfig(min_rare_px=64), replace(classes, rare=()))
