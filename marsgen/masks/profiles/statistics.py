"""Statistics of profiles: means over groups of scenes, and the tests that take one value from each group."""

import math

import numpy as np
from scipy import stats

FEWEST_GROUPS = 8
"""groups without which no test is made"""
_TIE = 0.02  # smaller differences between sides come from the rounding of outlines to pixels


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of (N,) with each row of (..., N)."""
    first, second = (stats.rankdata(values, axis=-1) for values in (first, second))
    first, second = (ranks - ranks.mean(-1, keepdims=True) for ranks in (first, second))
    return second @ first / np.maximum(np.sqrt((second**2).sum(-1) * (first**2).sum()), 1e-12)


def group_means(values: np.ndarray, group: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(G,) complex: mean over the chosen regions of each group that has one."""
    _, which, counts = np.unique(group[chosen], return_inverse=True, return_counts=True)
    real = np.bincount(which, values[chosen].real, minlength=len(counts))
    imaginary = np.bincount(which, values[chosen].imag, minlength=len(counts))
    return (real + 1j * imaginary) / np.maximum(counts, 1)


def nan_means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(S, ...) -> (G, ...): mean over the scenes of each group, NaN left out."""
    means = [values[group == number] for number in np.unique(group)]
    known = [np.isfinite(part).sum(0) for part in means]
    totals = [np.nansum(part, axis=0) / np.maximum(count, 1) for part, count in zip(means, known, strict=True)]
    return np.array([np.where(count > 0, total, np.nan) for total, count in zip(totals, known, strict=True)]).reshape(
        -1, *values.shape[1:]
    )


def rayleigh_p(resultant: float, count: int) -> float:
    """p-value of the Rayleigh test of uniform directions; Zar, Biostatistical Analysis, equation 27.4."""
    if count < FEWEST_GROUPS:
        return math.nan
    total = count * resultant
    return min(1.0, math.exp(math.sqrt(1 + 4 * count + 4 * (count**2 - total**2)) - (1 + 2 * count)))


def sides_p(skews: np.ndarray, sided: np.ndarray, own: int) -> float:
    """Smallest p of signed-rank tests over groups, times their number: outline, then each neighbouring class.

    Args:
        skews: (G,) how far the centre of mass lies off the middle of the box.
        sided: (G, C) share of each class on one side minus that on the other; NaN where a side has no label.
        own: index of the class itself.
    """
    samples = [skews, *(sided[:, number] for number in range(sided.shape[1]) if number != own)]
    found = []
    for sample in samples:
        sample = sample[np.isfinite(sample)]
        different = sample[np.abs(sample) >= _TIE]
        if len(different) >= FEWEST_GROUPS:
            found.append(float(stats.wilcoxon(different).pvalue))
    if not found:
        enough = any(np.isfinite(sample).sum() >= FEWEST_GROUPS for sample in samples)
        return 1.0 if enough else math.nan  # the sides never differ; or nothing to test
    return min(1.0, min(found) * len(found))
