"""Power: the promised share of studies detects the smallest detectable gain."""

import numpy as np
import pytest
from painted_runs import CLASSES
from painted_studies import draw_sums, shifted_sums
from scipy import stats

from segmenter.results.statistics.bootstrap import gain_intervals, resample_arms
from segmenter.results.statistics.power import describe_power, smallest_detectable_gain

ROCK = 0
STUDIES = 100
"""Classes that share images and nothing else are as many independent studies, tried at once."""


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_smallest_detectable_gain_is_found_in_four_of_five_studies(seeds: int):
    rng = np.random.default_rng(seeds)
    (known,) = draw_sums(rng, [0.4], seeds=6, studies=STUDIES)
    gain = smallest_detectable_gain(known, seeds=seeds, resamples=400)[:STUDIES]
    runs = draw_sums(rng, [0.4, 0.4 + gain], seeds, studies=STUDIES)
    found = gain_intervals(*resample_arms(runs, 2000, 0), paired=True, confidence=0.95, seed=0).low[:STUDIES] > 0
    assert 0.68 <= found.mean() <= 0.92


def test_without_image_noise_it_is_the_power_of_a_t_test():
    hits = [40.0, 43, 46, 41, 44]
    needed = smallest_detectable_gain(shifted_sums(hits), seeds=5)[ROCK]
    iou = np.array(hits) / (200 - np.array(hits))
    noncentrality = needed / (np.sqrt(2) * iou.std(ddof=1) / np.sqrt(5))
    assert stats.nct.sf(stats.t.isf(0.025, 4), 4, noncentrality) == pytest.approx(0.8, abs=0.002)


def test_more_seeds_find_less_and_more_arms_need_more():
    (known,) = draw_sums(np.random.default_rng(4), [0.4], seeds=6)
    needed = {seeds: smallest_detectable_gain(known, seeds=seeds)[ROCK] for seeds in (2, 3, 5, 10)}
    assert needed[2] > needed[3] > needed[5] > needed[10] > 0
    assert smallest_detectable_gain(known, seeds=5, arms=6)[ROCK] > needed[5]
    assert smallest_detectable_gain(known, seeds=5, power=0.9)[ROCK] > needed[5]


def test_one_run_of_the_baseline_says_nothing():
    (known,) = draw_sums(np.random.default_rng(5), [0.4], seeds=1)
    assert np.isnan(smallest_detectable_gain(known, seeds=3)).all()


def test_power_is_kept_by_the_name_of_each_score():
    gains = np.array([0.01, 0.02, 0.03, 0.04, 9, 9, np.nan])
    power = describe_power(CLASSES, {5: gains, 3: 2 * gains}, confidence=0.9, power=0.8)
    assert (power.seeds, power.with_other_seeds[3]["IoU big_rock"]) == (5, 0.06)
    assert power.smallest_gain == {
        "IoU soil": 0.01,
        "IoU bedrock": 0.02,
        "IoU big_rock": 0.03,
        "mean IoU": 0.04,
        "regions found big_rock": None,
    }


def test_no_gain_of_more_than_there_is_nor_of_nothing_is_called_detectable():
    gains = np.array([2.48, 0.0, 0.03, 1.0, 9, 9, 0.5])
    assert describe_power(CLASSES, {2: gains}, confidence=0.95, power=0.8).smallest_gain == {
        "IoU soil": None,
        "IoU bedrock": None,
        "IoU big_rock": 0.03,
        "mean IoU": 1.0,
        "regions found big_rock": 0.5,
    }
