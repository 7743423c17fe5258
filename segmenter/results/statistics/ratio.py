"""The interval of a ratio of two gains over one baseline: which share of the one the other is.

*Fieller's set.* The share r = (arm - baseline) / (oracle - baseline) is in the interval exactly where the linear
combination L(r) = (arm - baseline) - r (oracle - baseline) cannot be told from 0. L(r) is a difference like any gain,
so its interval is made like that of a gain (bootstrap.py): the same resamples of the test images in all three arms,
and the exact t for what seeds change, of the seeds' own L(r). No ratio is ever drawn, so a resample in which the
denominator is near 0 does no harm. For normal draws this is Fieller's theorem; where every resampled denominator is
above 0, it is the percentile interval of the ratio.

The set is an interval exactly where the denominator's own interval leaves out 0. Elsewhere it is everything, or
everything but an interval, and there is no answer: the denominator is too small to divide by.

Source: Fieller 1954, doi:10.1111/j.2517-6161.1954.tb00159.x; the bootstrap of it: Hwang 1995, Fieller's problems and
resampling techniques, Statistica Sinica 5, 161-171.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segmenter.results.statistics.bootstrap import MAX_UNDEFINED, ArmScores, count_once

_STEPS = 20
"""halvings of a bracket: to a millionth of its width"""
_FARTHEST = 1e6
"""a limit beyond this is none: the denominator is hardly distinguishable from 0"""


@dataclass(frozen=True)
class Ratio:
    """One ratio; all three NaN where the denominator is too small to divide by."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """Weighted sums of one score of some arms."""

    arms: Sequence[tuple[np.ndarray, np.ndarray]]
    """of each arm (S,) scores over all images and (R, S) on each resample"""
    seeds: Sequence[tuple[int, ...]]
    """training seeds of each"""

    @classmethod
    def of(cls, arms: Sequence[ArmScores], column: int, seeds: Sequence[tuple[int, ...]]) -> "WeightedSum":
        """Score `column` of arms from one call of `resample_arms`."""
        return cls([(arm.per_seed[:, column], arm.drawn[:, :, column]) for arm in arms], seeds)

    def estimate(self, *weights: float) -> float:
        """The sum, one weight for each arm."""
        return float(sum(c * own.mean() for c, (own, _) in zip(weights, self.arms, strict=True)))

    def interval(self, *weights: float, confidence: float, seed: int) -> tuple[float, float]:
        """Its interval; arms with the same seeds are added up seed by seed. NaN where it cannot be made."""
        resamples = self._whole.sum()
        if resamples < (1 - MAX_UNDEFINED) * len(self._whole):
            return np.nan, np.nan
        resampled, both, noise = np.zeros(resamples), 0.0, np.zeros(resamples)
        for group, terms in zip(self._groups, self._seed_terms(seed), strict=True):
            of_group = np.array([weights[number] for number in group.members])
            resampled += of_group @ group.means
            both += of_group @ group.together @ of_group
            if terms is not None:
                own = of_group @ group.own
                noise += terms * (own.std(ddof=1) / np.sqrt(len(own)))
        draws = count_once(self.estimate(*weights), resampled, both, noise)
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws, [tail, 1 - tail])
        return float(low), float(high)

    # an interval is asked for at dozens of weights: what does not depend on them is computed once

    @cached_property
    def _whole(self) -> np.ndarray:
        """(R,) whether each arm has a score on a resample with each seed."""
        return ~np.any([np.isnan(drawn).any(1) for _, drawn in self.arms], axis=0)

    @cached_property
    def _groups(self) -> list["_Group"]:
        members: dict[tuple[int, ...], list[int]] = {}
        for number, seeds in enumerate(self.seeds):
            members.setdefault(seeds, []).append(number)
        return [_Group.of(numbers, self.arms, self._whole) for numbers in members.values()]

    def _seed_terms(self, seed: int) -> list[np.ndarray | None]:
        """Of each group (whole resamples,) draws of t; None for one seed."""
        if seed not in self._drawn_terms:
            rng = np.random.default_rng([seed, 3])
            freedoms = [group.own.shape[1] - 1 for group in self._groups]
            self._drawn_terms[seed] = [
                rng.standard_t(freedom, len(self._whole))[self._whole] if freedom else None for freedom in freedoms
            ]
        return self._drawn_terms[seed]

    @cached_property
    def _drawn_terms(self) -> dict[int, list[np.ndarray | None]]:
        return {}


@dataclass(frozen=True, eq=False)
class _Group:
    """A arms with the same S seeds, on the R resamples on which all arms have a score."""

    members: Sequence[int]
    own: np.ndarray
    """(A, S) scores over all images"""
    means: np.ndarray
    """(A, R) means over the seeds"""
    together: np.ndarray
    """(A, A) of weights w, w @ together @ w is `seed_image_variance` of the weighted sum"""

    @classmethod
    def of(cls, members: Sequence[int], arms: Sequence[tuple[np.ndarray, np.ndarray]], whole: np.ndarray) -> "_Group":
        drawn = np.stack([arms[number][1][whole] for number in members])
        means = drawn.mean(2)
        resamples, seeds = drawn.shape[1:]
        together = np.zeros((len(members), len(members)))
        if seeds > 1:
            apart = drawn - means[..., None]
            apart -= apart.mean(1, keepdims=True)
            flat = apart.reshape(len(members), -1)
            together = flat @ flat.T / (resamples * seeds * (seeds - 1))
        return cls(members, np.stack([arms[number][0] for number in members]), means, together)


def ratio_of_gains(
    arm: ArmScores,
    baseline: ArmScores,
    oracle: ArmScores,
    column: int,
    *,
    seeds: Sequence[tuple[int, ...]],
    confidence: float,
    seed: int,
) -> Ratio:
    """(arm - baseline) / (oracle - baseline) in one score, with its interval.

    Args:
        arm, baseline, oracle: from one call of `resample_arms`, so that all saw the same resamples.
        column: k of the score, 0..K-1.
        seeds: training seeds of the three arms, in that order; arms with the same seeds are paired seed by seed.
        confidence: of the interval, in (0.5, 1).
        seed: of the draws.
    """
    scores = WeightedSum.of((arm, baseline, oracle), column, seeds)
    gain = scores.estimate(0, -1, 1)
    if not gain > 0 or not scores.interval(0, -1, 1, confidence=confidence, seed=seed)[0] > 0:
        return Ratio(np.nan, np.nan, np.nan)
    value = scores.estimate(1, -1, 0) / gain

    def fits(share: float) -> bool:
        """Whether L(share) cannot be told from 0."""
        low, high = scores.interval(1, share - 1, -share, confidence=confidence, seed=seed)
        return bool(low <= 0 <= high)

    low, high = (_limit(fits, value, direction) for direction in (-1, 1))
    return Ratio(value, low, high) if np.isfinite(low) and np.isfinite(high) else Ratio(np.nan, np.nan, np.nan)


def _limit(fits: Callable[[float], bool], inside: float, direction: int) -> float:
    """Where the set that holds `inside` ends in a direction; infinite where it does not."""
    width = 0.25
    while fits(inside + direction * width):
        inside, width = inside + direction * width, 2 * width
        if width > _FARTHEST:
            return direction * np.inf
    outside = inside + direction * width
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if fits(middle) else (inside, middle)
    return inside
