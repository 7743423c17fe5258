"""Simultaneous intervals: false verdicts of six arms without effect, and adjusted p against other procedures."""

import numpy as np
from painted_studies import draw_sums, shifted_sums
from scipy import stats

from segmenter.results.statistics.bootstrap import gain_intervals, resample_arms
from segmenter.results.statistics.simultaneous import SimultaneousGain, simultaneous_gains

ROCK = 0
STUDIES = 100
"""Classes that share images and nothing else are as many independent studies, tried at once."""


def measure(
    baseline: np.ndarray, arms: list[np.ndarray], *, paired: list[bool], resamples: int
) -> list[SimultaneousGain]:
    first, *others = resample_arms([baseline, *arms], resamples, 0)
    return simultaneous_gains(first, others, paired=paired, confidence=0.95, seed=0)


def test_six_arms_without_effect_get_a_false_verdict_together_once_in_twenty_and_alone_far_more_often():
    baseline, *arms = draw_sums(np.random.default_rng(0), [0.5] * 7, seeds=3, studies=STUDIES)
    gains = measure(baseline, arms, paired=[True] * 6, resamples=1500)
    alone = [(g.low > 0) | (g.high < 0) for g in gains]
    together = [(g.simultaneous_low > 0) | (g.simultaneous_high < 0) for g in gains]
    assert np.any(alone, axis=0)[:STUDIES].mean() >= 0.11
    assert np.any(together, axis=0)[:STUDIES].mean() <= 0.09


def test_one_arm_needs_no_correction():
    baseline, arm = draw_sums(np.random.default_rng(0), [0.4, 0.5], seeds=3)
    (gain,) = measure(baseline, [arm], paired=[True], resamples=1000)
    assert 0 < gain.p[ROCK] < 1
    np.testing.assert_array_equal([gain.simultaneous_low, gain.simultaneous_high], [gain.low, gain.high])
    np.testing.assert_array_equal(gain.adjusted_p, gain.p)
    alone = gain_intervals(*resample_arms([baseline, arm], 1000, 0), paired=True, confidence=0.95, seed=0)
    np.testing.assert_array_equal([alone.low, alone.high, alone.estimate], [gain.low, gain.high, gain.estimate])


def test_p_is_that_of_a_paired_t_test_when_images_are_all_alike():
    baseline, hits = [40, 42, 50, 47], [[43, 44, 55, 50], [41, 41, 53, 49], [40, 45, 49, 60]]
    gains = measure(shifted_sums(baseline), [shifted_sums(h) for h in hits], paired=[True] * 3, resamples=20_000)
    ious = [np.array(h) / (200 - np.array(h)) for h in (baseline, *hits)]
    expected = np.array([stats.ttest_rel(iou, ious[0]).pvalue for iou in ious[1:]])
    np.testing.assert_allclose([g.p[ROCK] for g in gains], expected, rtol=0.08)
    # the seed terms are independent, so the smallest of three p follows Sidak's formula
    np.testing.assert_allclose([g.adjusted_p[ROCK] for g in gains], 1 - (1 - expected) ** 3, rtol=0.08)


def test_arms_that_move_as_one_cost_nothing_and_others_at_most_bonferroni():
    rng = np.random.default_rng(1)
    baseline, arm, *others = draw_sums(rng, [0.4, 0.43, 0.42, 0.43, 0.41], seeds=1)
    twins = measure(baseline, [arm] * 4, paired=[True] * 4, resamples=4000)
    np.testing.assert_allclose(twins[0].simultaneous_low[ROCK], twins[0].low[ROCK], atol=1e-3)
    for gain in measure(baseline, [arm, *others], paired=[True] * 4, resamples=4000):
        assert gain.simultaneous_low[ROCK] < gain.low[ROCK] < gain.high[ROCK] < gain.simultaneous_high[ROCK]
        assert gain.p[ROCK] <= gain.adjusted_p[ROCK] <= 4 * gain.p[ROCK]


def test_adjusted_p_and_simultaneous_interval_say_the_same():
    rng = np.random.default_rng(2)
    baseline, *arms = draw_sums(rng, [0.4, 0.4, 0.42, 0.5, 0.6, 0.7], seeds=5)
    gains = measure(baseline, arms, paired=[True] * 5, resamples=4000)
    agree = [
        (g.adjusted_p[ROCK] <= 0.05) == (g.simultaneous_low[ROCK] > 0 or g.simultaneous_high[ROCK] < 0) for g in gains
    ]
    assert all(agree)
    assert 0 < sum(g.adjusted_p[ROCK] <= 0.05 for g in gains) < 5  # both answers occur


def test_arms_may_differ_in_seeds_and_a_class_that_is_absent_stays_without_numbers():
    rng = np.random.default_rng(3)
    baseline, three = draw_sums(rng, [0.4, 0.5], seeds=3)
    five = np.concatenate([three, three[:2]])
    three, five, baseline = (np.concatenate([s, np.zeros_like(s[..., :1])], -1) for s in (three, five, baseline))
    gains = measure(baseline, [three, five], paired=[True, False], resamples=400)
    for gain in gains:
        for field in vars(SimultaneousGain(*[np.zeros(5)] * 8)):
            assert np.isnan(getattr(gain, field)[1]) or field == "undefined", field
            assert not np.isnan(getattr(gain, field)[ROCK])
    assert gains[1].high[ROCK] - gains[1].low[ROCK] != gains[0].high[ROCK] - gains[0].low[ROCK]
