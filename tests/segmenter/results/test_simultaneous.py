"""Families: false verdicts of six idle arms, adjusted p against other procedures, and the promised power."""

import numpy as np
import pytest
from scipy import stats

from segmenter.results.bootstrap import gain_intervals, resample_arms
from segmenter.results.simultaneous import FamilyGain, family_gains, smallest_detectable_gain

ROCK = 0
STUDIES = 100
"""Classes that share images and nothing else are as many independent studies, tried at once."""


def draw_study(
    rng: np.random.Generator,
    ious: "list[float | np.ndarray]",
    seeds: int,
    *,
    studies: int = 1,
    seed_sd: float = 0.03,
    own: float = 0.1,
) -> list[np.ndarray]:
    """(seeds, 80, 5, studies) sums of arms with these true IoUs, on the same rocks.

    `own` is how far an arm goes its own way with an image, whatever the seed; each seed goes as far again.
    """
    area = rng.integers(20, 200, (80, studies)) * (rng.random((80, studies)) < 0.5)
    arms = []
    for iou in ious:
        share = iou + rng.uniform(-own, own, (80, studies)) + rng.uniform(-own, own, (seeds, 80, studies))
        share = share + seed_sd * rng.standard_normal((seeds, 1, studies))
        sums = np.zeros((seeds, 80, 5, studies))
        sums[:, :, 0], sums[:, :, 1], sums[:, :, 2] = area * share, area, area * share  # false pixels are none
        arms.append(sums)
    return arms


def shifted(hits: list[float], images: int = 4) -> np.ndarray:
    """Sums of seeds that hit so many of 100 pixels in every image: nothing varies but the seeds."""
    sums = np.zeros((len(hits), images, 5, 2))
    sums[:, :, 1:3] = 100
    sums[:, :, 0] = np.array(hits)[:, None, None]
    return sums


# several arms


def test_six_idle_arms_get_a_false_verdict_together_once_in_twenty_and_alone_far_more_often():
    baseline, *arms = draw_study(np.random.default_rng(0), [0.5] * 7, seeds=3, studies=STUDIES)
    gains = family_gains(baseline, arms, paired=[True] * 6, resamples=1500)
    alone = [(g.low > 0) | (g.high < 0) for g in gains]
    together = [(g.family_low > 0) | (g.family_high < 0) for g in gains]
    assert np.any(alone, axis=0)[:STUDIES].mean() >= 0.11
    assert np.any(together, axis=0)[:STUDIES].mean() <= 0.09


def test_one_arm_is_a_family_of_its_own():
    baseline, arm = draw_study(np.random.default_rng(0), [0.4, 0.5], seeds=3)
    (gain,) = family_gains(baseline, [arm], paired=[True], resamples=1000)
    assert 0 < gain.p[ROCK] < 1
    np.testing.assert_array_equal([gain.family_low, gain.family_high], [gain.low, gain.high])
    np.testing.assert_array_equal(gain.family_p, gain.p)
    alone = gain_intervals(*resample_arms([baseline, arm], 1000, 0), paired=True, confidence=0.95, seed=0)
    np.testing.assert_array_equal([alone.low, alone.high, alone.estimate], [gain.low, gain.high, gain.estimate])


def test_p_is_that_of_a_paired_t_test_when_images_are_all_alike():
    baseline, hits = [40, 42, 50, 47], [[43, 44, 55, 50], [41, 41, 53, 49], [40, 45, 49, 60]]
    gains = family_gains(shifted(baseline), [shifted(h) for h in hits], paired=[True] * 3, resamples=20_000)
    ious = [np.array(h) / (200 - np.array(h)) for h in (baseline, *hits)]
    expected = np.array([stats.ttest_rel(iou, ious[0]).pvalue for iou in ious[1:]])
    np.testing.assert_allclose([g.p[ROCK] for g in gains], expected, rtol=0.08)
    # the seed terms are independent, so the smallest of three p follows Sidak's formula
    np.testing.assert_allclose([g.family_p[ROCK] for g in gains], 1 - (1 - expected) ** 3, rtol=0.08)


def test_arms_that_move_as_one_cost_nothing_and_others_at_most_bonferroni():
    rng = np.random.default_rng(1)
    baseline, arm, *others = draw_study(rng, [0.4, 0.43, 0.42, 0.43, 0.41], seeds=1)
    twins = family_gains(baseline, [arm] * 4, paired=[True] * 4, resamples=4000)
    np.testing.assert_allclose(twins[0].family_low[ROCK], twins[0].low[ROCK], atol=1e-3)
    for gain in family_gains(baseline, [arm, *others], paired=[True] * 4, resamples=4000):
        assert gain.family_low[ROCK] < gain.low[ROCK] < gain.high[ROCK] < gain.family_high[ROCK]
        assert gain.p[ROCK] <= gain.family_p[ROCK] <= 4 * gain.p[ROCK]


def test_adjusted_p_and_simultaneous_interval_say_the_same():
    rng = np.random.default_rng(2)
    baseline, *arms = draw_study(rng, [0.4, 0.4, 0.42, 0.5, 0.6, 0.7], seeds=5)
    gains = family_gains(baseline, arms, paired=[True] * 5, resamples=4000)
    agree = [(g.family_p[ROCK] <= 0.05) == (g.family_low[ROCK] > 0 or g.family_high[ROCK] < 0) for g in gains]
    assert all(agree)
    assert 0 < sum(g.family_p[ROCK] <= 0.05 for g in gains) < 5  # both answers occur


def test_arms_may_differ_in_seeds_and_a_class_that_is_absent_stays_without_numbers():
    rng = np.random.default_rng(3)
    baseline, three = draw_study(rng, [0.4, 0.5], seeds=3)
    five = np.concatenate([three, three[:2]])
    three, five, baseline = (np.concatenate([s, np.zeros_like(s[..., :1])], -1) for s in (three, five, baseline))
    gains = family_gains(baseline, [three, five], paired=[True, False], resamples=400)
    for gain in gains:
        for field in vars(FamilyGain(*[np.zeros(5)] * 8)):
            assert np.isnan(getattr(gain, field)[1]) or field == "undefined", field
            assert not np.isnan(getattr(gain, field)[ROCK])
    assert gains[1].high[ROCK] - gains[1].low[ROCK] != gains[0].high[ROCK] - gains[0].low[ROCK]


# before any arm is looked at


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_smallest_detectable_gain_is_found_in_four_of_five_studies(seeds: int):
    rng = np.random.default_rng(seeds)
    (known,) = draw_study(rng, [0.4], seeds=6, studies=STUDIES)
    gain = smallest_detectable_gain(known, seeds=seeds, resamples=400)[:STUDIES]
    runs = draw_study(rng, [0.4, 0.4 + gain], seeds, studies=STUDIES)
    found = gain_intervals(*resample_arms(runs, 2000, 0), paired=True, confidence=0.95, seed=0).low[:STUDIES] > 0
    assert 0.68 <= found.mean() <= 0.92


def test_without_image_noise_it_is_the_power_of_a_t_test():
    hits = [40.0, 43, 46, 41, 44]
    needed = smallest_detectable_gain(shifted(hits), seeds=5)[ROCK]
    iou = np.array(hits) / (200 - np.array(hits))
    noncentrality = needed / (np.sqrt(2) * iou.std(ddof=1) / np.sqrt(5))
    assert stats.nct.sf(stats.t.isf(0.025, 4), 4, noncentrality) == pytest.approx(0.8, abs=0.002)


def test_more_seeds_find_less_and_more_arms_need_more():
    (known,) = draw_study(np.random.default_rng(4), [0.4], seeds=6)
    needed = {seeds: smallest_detectable_gain(known, seeds=seeds)[ROCK] for seeds in (2, 3, 5, 10)}
    assert needed[2] > needed[3] > needed[5] > needed[10] > 0
    assert smallest_detectable_gain(known, seeds=5, arms=6)[ROCK] > needed[5]
    assert smallest_detectable_gain(known, seeds=5, power=0.9)[ROCK] > needed[5]


def test_one_run_of_the_baseline_says_nothing():
    (known,) = draw_study(np.random.default_rng(5), [0.4], seeds=1)
    assert np.isnan(smallest_detectable_gain(known, seeds=3)).all()
