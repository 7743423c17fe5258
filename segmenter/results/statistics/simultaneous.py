"""Simultaneous intervals: gains of several arms over one baseline, corrected for looking at all of them.

*Why.* Of 20 arms that change nothing, about one would be said to help or hurt. So each gain has a second, wider
interval that holds together with those of all other arms: in 95 of 100 studies the truth of *every* arm is inside. It
is the arm's own interval at a higher level, the same level for all arms (balanced simultaneous intervals). The level
comes from the resamples: p of a draw says how far out it lies among its arm's draws, and the smallest p over the arms
stays above the level in 95 % of the resamples. This is the single-step min-p procedure. It is not max-|t|, because the
tails of three seeds and of five differ in shape and p puts them on one scale. It is single-step and not step-down
(Holm), so that the adjusted p and the simultaneous interval always agree.
Source: Westfall and Young 1993, Resampling-Based Multiple Testing, section 2.3; Beran 1988, Balanced simultaneous
confidence sets, doi:10.1080/01621459.1988.10478649.

*What the arms share.* The test images and the baseline's scores on them are shared, so resamples are drawn once for
all. Seed terms are drawn for each arm on its own. Three seeds cannot tell how six arms vary together, and independent
terms are the conservative choice: whatever the correlation, they make the level no less strict (Sidak 1967,
doi:10.1080/01621459.1967.10482935).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segmenter.results.statistics.bootstrap import ArmScores, Intervals, draw_gains, percentiles


@dataclass(frozen=True, eq=False)
class SimultaneousGain(Intervals):
    """(K,) gains of one arm: `low` and `high` for this arm alone, the rest corrected for all arms.

    All are NaN where no interval could be made.
    """

    p: np.ndarray
    """two-sided, of this arm alone: below 1 - confidence exactly where low..high leaves out 0"""
    simultaneous_low: np.ndarray
    simultaneous_high: np.ndarray
    adjusted_p: np.ndarray
    """the chance that, of arms without any gain, one lies as far out"""


def simultaneous_gains(
    baseline: ArmScores, arms: Sequence[ArmScores], *, paired: Sequence[bool], confidence: float, seed: int
) -> list[SimultaneousGain]:
    """Gains of several arms over one baseline on the same test images.

    Args:
        baseline, arms: from one call of `resample_arms`, so that all saw the same resamples. The simultaneous interval
            of m arms needs about 400 m of them.
        paired: for each arm, whether its seeds are those of the baseline, in the same order.
        confidence: level of both intervals, in (0.5, 1).
        seed: of the draws.
    Returns:
        One for each arm.
    """
    drawn = [
        draw_gains(baseline, arm, paired=pair, seed=seed, stream=number)
        for number, (arm, pair) in enumerate(zip(arms, paired, strict=True))
    ]
    alone = [percentiles(arm.estimate - baseline.estimate, d, confidence) for arm, d in zip(arms, drawn, strict=True)]
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
        adjusted = np.where(without, np.nan, np.maximum(p, (smallest <= p).sum(0) / ((~np.isnan(smallest)).sum(0) + 1)))
        gains.append(
            SimultaneousGain(**vars(interval), p=p, simultaneous_low=low, simultaneous_high=high, adjusted_p=adjusted)
        )
    return gains


def _p_of_draws(drawn: np.ndarray) -> np.ndarray:
    """(R, K) two-sided p of each draw among the draws: 1 in the middle, 2 / (R + 1) at either end."""
    count = (~np.isnan(drawn)).sum(0)
    rank = np.full(drawn.shape, np.nan)
    for k in range(drawn.shape[1]):
        # ties share their mean rank: an arm that never moves is never far out
        there = np.flatnonzero(~np.isnan(drawn[:, k]))
        order = there[np.argsort(drawn[there, k])]
        ordered = drawn[order, k]
        # looked up in order, which the processor's caches like
        rank[order, k] = (np.searchsorted(ordered, ordered) + np.searchsorted(ordered, ordered, "right") + 1) / 2
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
