"""Families: several arms against one baseline, and what a test set could show before any arm is looked at.

*Several arms.* Of 20 arms that change nothing, one would be said to help or hurt. So each gain has a second, wider
interval that holds together with those of all other arms: in 95 of 100 studies the truth of *every* arm is inside. It
is the arm's own interval at a higher level, the same level for all arms (balanced simultaneous intervals), which comes
from the resamples: p of a draw says how far out it lies among its arm's draws, and the smallest p over the arms stays
above the level in 95 % of the resamples. This is the single-step min-p procedure; not max-|t|, because the tails of
three seeds and of five differ in shape and p puts them on one scale. Single-step, not step-down (Holm), so that the
adjusted p and the simultaneous interval always say the same.
Source: Westfall and Young 1993, Resampling-Based Multiple Testing, section 2.3; Beran 1988, Balanced simultaneous
confidence sets, doi:10.1080/01621459.1988.10478649.

*What the arms share.* Test images and the baseline's luck with them are shared, so resamples are drawn once for all.
Seed terms are drawn for each arm on its own. Three seeds cannot tell how six arms vary together, and independent terms
are the safe side: whatever the correlation, they make the level no less strict (Sidak 1967,
doi:10.1080/01621459.1967.10482935).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segmenter.results.bootstrap import (
    ArmScores,
    Intervals,
    draw_gains,
    percentiles,
    resample_arms,
    seed_image_variance,
)


@dataclass(frozen=True, eq=False)
class FamilyGain(Intervals):
    """(K,) gains of one arm: `low` and `high` for this arm alone, the rest for it as one of a family.

    All are NaN where no interval could be made.
    """

    p: np.ndarray
    """two-sided, of this arm alone: below 1 - confidence exactly where low..high leaves out 0"""
    family_low: np.ndarray
    family_high: np.ndarray
    family_p: np.ndarray
    """adjusted: the chance that any arm of a family without gains lies as far out"""


def family_gains(
    baseline: np.ndarray,
    arms: Sequence[np.ndarray],
    *,
    paired: Sequence[bool],
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[FamilyGain]:
    """Gains of several arms over one baseline on the same test images.

    Args:
        baseline: (S, N, 5, C) `unit_sums` of each seed; see segmenter/intervals.py.
        arms: the same of each arm; N and C agree, S may differ.
        paired: for each arm, whether its seeds are those of the baseline, in the same order.
        resamples: R. The simultaneous interval of m arms needs about 400 m of them.
        seed: of the resamples.
    Returns:
        One for each arm.
    """
    first, *others = resample_arms([baseline, *arms], resamples, seed)
    return gains_of_family(first, others, paired=paired, confidence=confidence, seed=seed)


def gains_of_family(
    baseline: ArmScores, others: Sequence[ArmScores], *, paired: Sequence[bool], confidence: float, seed: int
) -> list[FamilyGain]:
    """`family_gains` of arms that have been resampled together."""
    drawn = [
        draw_gains(baseline, arm, paired=pair, seed=seed, stream=number)
        for number, (arm, pair) in enumerate(zip(others, paired, strict=True))
    ]
    alone = [percentiles(arm.estimate - baseline.estimate, d, confidence) for arm, d in zip(others, drawn, strict=True)]
    lost = [np.isnan(interval.low) for interval in alone]
    smallest = np.full(drawn[0].shape, np.nan)  # (R, K) smallest p over the arms that have an interval
    for d, without in zip(drawn, lost, strict=True):
        smallest = np.fmin(smallest, np.where(without, np.nan, _p_of_draws(d)))
    level = _levels(smallest, 1 - confidence, np.sum([~without for without in lost], axis=0))
    gains = []
    for interval, d, without in zip(alone, drawn, lost, strict=True):
        p = np.where(without, np.nan, _p_of_zero(d))
        tails = np.stack([level / 2, 1 - level / 2])
        low, high = np.full((2, len(p)), np.nan)
        for k in np.flatnonzero(~without):
            low[k], high[k] = np.quantile(d[~np.isnan(d[:, k]), k], tails[:, k])
        # at least p: with one arm, and where draws are tied, the count would fall below it
        family_p = np.where(without, np.nan, np.maximum(p, (smallest <= p).sum(0) / ((~np.isnan(smallest)).sum(0) + 1)))
        gains.append(FamilyGain(**vars(interval), p=p, family_low=low, family_high=high, family_p=family_p))
    return gains


def _p_of_draws(drawn: np.ndarray) -> np.ndarray:
    """(R, K) two-sided p of each draw among the draws: 1 in the middle, 2 / (R + 1) at either end."""
    from scipy.stats import rankdata

    count = (~np.isnan(drawn)).sum(0)
    rank = rankdata(drawn, axis=0, nan_policy="omit")  # ties share a rank: an arm that never moves is never far out
    return np.minimum(2 * np.minimum(rank, count + 1 - rank) / (count + 1), 1)


def _p_of_zero(drawn: np.ndarray) -> np.ndarray:
    """(K,) two-sided p of no gain; never 0, since the draws are finite."""
    count = (~np.isnan(drawn)).sum(0)
    beyond = np.minimum((drawn <= 0).sum(0), (drawn >= 0).sum(0))
    return np.minimum(2 * (beyond + 1) / (count + 1), 1)


def _levels(smallest: np.ndarray, error: float, arms: np.ndarray) -> np.ndarray:
    """(K,) level of each arm's interval such that a share of 1 - error of the resamples has every arm inside."""
    levels = np.full(smallest.shape[1], np.nan)
    for k in np.flatnonzero(arms):
        # between Bonferroni and no correction, whatever the draws: few of them lie this far out
        levels[k] = np.clip(np.nanquantile(smallest[:, k], error), error / arms[k], error)
    return levels


# before any arm is looked at


def smallest_detectable_gain(
    baseline: np.ndarray,
    *,
    seeds: int,
    arms: int = 1,
    confidence: float = 0.95,
    power: float = 0.8,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """How large a true gain has to be for this test set and this many seeds to find it, with the stated power.

    It is said from the baseline's own runs, which differ by their seed alone, so that it can be said before any arm is
    looked at. Two things are assumed of the arm: its gain varies between seeds as the difference of two baseline runs
    does, and between images, the same for all its seeds, as much again. An arm that treats all images alike is found
    more often, one that helps some images and hurts others less often.

    With s_d the standard deviation of such a difference over seeds and s_i over images, the gain of S seeds is normal
    with variance s_i^2 + s_d^2 / S, and its interval reaches as far as a quantile of s_i z + s t / sqrt(S), where s is
    the S seeds' own estimate of s_d: chi-distributed, and what makes three seeds so weak. Both are integrated out.
    s_d itself is a guess from few baseline seeds: in simulations of power 0.8, gains said from 3, 5 and 10 of them were
    found in 69, 67 to 80, and 79 % of the studies.

    Args:
        baseline: (S, N, 5, C) `unit_sums` of the baseline's seeds.
        seeds: of each arm in the comparison to come.
        arms: compared with the baseline at once; the level is then divided by them (Bonferroni).
        power: share of such studies that find it.
        resamples: of the images, for s_i.
        seed: of the resamples.
    Returns:
        (K,) gains in the unit of the scores; more than what is missing to 1 where nothing could be found. NaN where the
        baseline has no score, and everywhere with one baseline seed, which says nothing of seeds.
    """
    from scipy.special import ndtr, ndtri
    from scipy.stats import chi2

    scores = resample_arms([baseline], resamples, seed)[0]
    runs = len(scores.per_seed)
    if runs < 2:
        return np.full(scores.per_seed.shape[1], np.nan)
    s_i = np.sqrt(2 * runs * seed_image_variance(scores.drawn))
    s_d = np.sqrt(2) * scores.per_seed.std(0, ddof=1)
    spread = np.sqrt(s_i**2 + s_d**2 / seeds)
    tail = (1 - confidence) / arms / 2
    if seeds == 1:  # no seed term, and what seed and image vary together is in the resamples
        reach = -ndtri(tail) * np.sqrt(2) * s_i[None]
    else:
        guessed = np.sqrt(chi2.ppf(_MIDPOINTS[:, None], seeds - 1) / (seeds - 1)) * s_d / np.sqrt(seeds)
        reach = _half_width(np.broadcast_to(s_i, guessed.shape), guessed, seeds - 1, tail)
    # the gain at which it lies beyond the reach of its interval in a share of `power`
    low, high = np.zeros(len(s_d)), reach.max(0) + 10 * spread
    for _ in range(60):
        middle = (low + high) / 2
        found = ndtr(np.divide(middle - reach, spread, out=np.zeros_like(reach), where=spread > 0)).mean(0)
        low, high = np.where(found < power, middle, low), np.where(found < power, high, middle)
    return high


_MIDPOINTS = (np.arange(1000) + 0.5) / 1000
"""where a distribution is cut for integrals over it: the middle of each thousandth"""


def _half_width(images: np.ndarray, seeds: np.ndarray, freedom: int, tail: float) -> np.ndarray:
    """h with P(images z + seeds t > h) = tail; z normal, t Student's with `freedom` degrees of freedom."""
    angles, reach = _half_widths_by_angle(freedom, tail)
    return np.hypot(images, seeds) * np.interp(np.arctan2(seeds, images), angles, reach)


@lru_cache
def _half_widths_by_angle(freedom: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """A grid of angles, and h of cos(angle) z + sin(angle) t. Given t's chi-square the sum is normal: one integral."""
    from scipy.special import ndtr
    from scipy.stats import chi2

    angles = np.linspace(0, np.pi / 2, 33)
    scale = freedom / chi2.ppf(_MIDPOINTS, freedom)
    deviation = np.sqrt(np.cos(angles)[:, None] ** 2 + np.sin(angles)[:, None] ** 2 * scale)  # (33, 1000)
    low, high = np.zeros(33), np.full(33, 1e6)
    for _ in range(60):
        middle = (low + high) / 2
        beyond = ndtr(-middle[:, None] / deviation).mean(1)
        low, high = np.where(beyond > tail, middle, low), np.where(beyond > tail, high, middle)
    return angles, high
