"""Power: the smallest gain that a test set and a number of training seeds can detect, before any arm is trained."""

from functools import lru_cache

import numpy as np

from marsgen.scenes.classes import ClassSet
from segmenter.results.labels import score_names, score_text
from segmenter.results.metadata import Power
from segmenter.results.statistics.bootstrap import resample_arms, seed_image_variance

_MIDPOINTS = (np.arange(1000) + 0.5) / 1000
"""where a distribution is cut for integrals over it: the middle of each thousandth"""


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

    It is computed from the baseline's own runs, which differ by their seed alone, so it is known before any arm is
    trained. Two things are assumed of the arm: its gain varies between seeds as the difference of two baseline runs
    does, and between images, the same for all its seeds, as much again. An arm that treats all images alike is found
    more often, one that helps some images and hurts others less often.

    With s_d the standard deviation of such a difference over seeds and s_i over images, the gain of S seeds is normal
    with variance s_i^2 + s_d^2 / S, and its interval reaches as far as a quantile of s_i z + s t / sqrt(S), where s is
    the S seeds' own estimate of s_d: chi-distributed, and what makes three seeds so weak. Both are integrated out.
    s_d itself is estimated from few baseline seeds: in simulations of power 0.8, gains computed from 3, 5 and 10 of
    them were detected in 69, 67 to 80, and 79 % of the studies.

    Args:
        baseline: (S, N, 5, C) `unit_sums` of the baseline's seeds.
        seeds: of each arm in the comparison to come.
        arms: compared with the baseline at once; the level is then divided by them (Bonferroni).
        power: share of such studies that find it.
        resamples: of the images, for s_i.
        seed: of the resamples.
    Returns:
        (K,) gains in the unit of the scores; more than what is missing to 1 where nothing could be found. NaN where the
        baseline has no score, and everywhere with one baseline seed, which shows no variation between seeds.
    """
    from scipy.special import gammaincinv, ndtr, ndtri

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
        chi_square = 2 * gammaincinv((seeds - 1) / 2, _MIDPOINTS[:, None])  # its quantiles
        guessed = np.sqrt(chi_square / (seeds - 1)) * s_d / np.sqrt(seeds)
        reach = _half_width(np.broadcast_to(s_i, guessed.shape), guessed, seeds - 1, tail)
    # the gain at which it lies beyond the reach of its interval in a share of `power`
    low, high = np.zeros(len(s_d)), reach.max(0) + 10 * spread
    for _ in range(60):
        middle = (low + high) / 2
        found = ndtr(np.divide(middle - reach, spread, out=np.zeros_like(reach), where=spread > 0)).mean(0)
        low, high = np.where(found < power, middle, low), np.where(found < power, high, middle)
    return high


def _half_width(images: np.ndarray, seeds: np.ndarray, freedom: int, tail: float) -> np.ndarray:
    """h with P(images z + seeds t > h) = tail; z normal, t Student's with `freedom` degrees of freedom."""
    angles, reach = _half_widths_by_angle(freedom, tail)
    return np.hypot(images, seeds) * np.interp(np.arctan2(seeds, images), angles, reach)


@lru_cache
def _half_widths_by_angle(freedom: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """A grid of angles, and h of cos(angle) z + sin(angle) t. Given t's chi-square the sum is normal: one integral."""
    from scipy.special import gammaincinv, ndtr

    angles = np.linspace(0, np.pi / 2, 33)
    scale = freedom / (2 * gammaincinv(freedom / 2, _MIDPOINTS))
    deviation = np.sqrt(np.cos(angles)[:, None] ** 2 + np.sin(angles)[:, None] ** 2 * scale)  # (33, 1000)
    low, high = np.zeros(33), np.full(33, 1e6)
    for _ in range(60):
        middle = (low + high) / 2
        beyond = ndtr(-middle[:, None] / deviation).mean(1)
        low, high = np.where(beyond > tail, middle, low), np.where(beyond > tail, high, middle)
    return angles, high


def describe_power(
    classes: ClassSet,
    smallest_gain: dict[int, np.ndarray],
    *,
    arms: int = 1,
    confidence: float,
    power: float,
) -> Power:
    """A Power from (K,) results of `smallest_detectable_gain`; NaN = cannot be said.

    Nor can it be said where no score could gain so much (above 1), or where all runs score the same, as those do that
    have never met the class (0).

    Args:
        smallest_gain: by number of seeds, that of the baseline first.
    """
    named = {
        seeds: {
            score_text(score, name): float(gain) if 0 < gain <= 1 else None
            for (score, name), gain in zip(score_names(classes), gains, strict=True)
            if score
        }
        for seeds, gains in smallest_gain.items()
    }
    seeds = next(iter(named))
    first = named.pop(seeds)
    return Power(
        seeds=seeds, arms=arms, confidence=confidence, power=power, smallest_gain=first, with_other_seeds=named
    )
