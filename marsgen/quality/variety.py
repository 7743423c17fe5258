"""How many different regions a set shows: its effective number, and how often each donor comes again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marsgen.quality.distances import pairwise_distances

__all__ = ["Variety", "measure_variety", "vendi_score"]

MOST_REGIONS = 1000
"""regions whose eigenvalues are computed: the time grows with their third power (1,000 take a second)"""
_DRAWS = 10  # random subsets as large as the real set


@dataclass(frozen=True)
class Variety:
    """Effective numbers of different regions of a class; NaN where there are too few to tell."""

    effective: float
    """of the synthetic regions, at most MOST_REGIONS of them: 1 = all alike, their number = none like another"""
    of: int
    """number of synthetic regions that it was computed from"""
    real: float
    """of the real regions"""
    same_number: float
    """of as many synthetic regions as there are real ones, mean over random choices: comparable with `real`"""
    donors: int
    """different real regions that were pasted; 0 where nothing was pasted"""
    per_donor: float
    """synthetic regions per donor"""


def vendi_score(distances: np.ndarray, width: float) -> float:
    """Effective number of different members of a set, from 1 to N.

    Args:
        distances: (N, N) float64 between the members.
        width: of the Gaussian kernel: members much nearer than this count as one.
    Returns:
        exp of the entropy of the eigenvalues of K / N; NaN for no member or no width.
    Source: Friedman and Dieng 2022, arXiv:2210.02410, equation 1, with a Gaussian kernel.
    """
    if not len(distances) or not width > 0:
        return float("nan")
    kernel = np.exp(-(distances**2) / (2 * width**2))
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def measure_variety(
    real: np.ndarray, synthetic: np.ndarray, width: float, donors: Sequence[object], *, seed: int = 0
) -> Variety:
    """Variety of the synthetic regions of a class beside that of the real ones.

    Args:
        real, synthetic: (N, F) and (M, F) features.
        width: see `vendi_score`; the usual distance between a real region and the nearest of another scene.
        donors: what each pasted region was cut from, hashable.
        seed: of the random choices.
    """
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(synthetic))[:MOST_REGIONS])
    distances = pairwise_distances(synthetic[some], synthetic[some])
    fewer = min(len(real), len(some))
    choices = [rng.permutation(len(some))[:fewer] for _ in range(_DRAWS)]
    enough = len(some) >= len(real) > 0
    different = len(set(donors))
    among_real = pairwise_distances(real, real)
    return Variety(
        effective=vendi_score(distances, width),
        of=len(some),
        real=vendi_score(among_real[:MOST_REGIONS, :MOST_REGIONS], width),
        same_number=float(np.mean([vendi_score(distances[np.ix_(c, c)], width) for c in choices]))
        if enough
        else float("nan"),
        donors=different,
        per_donor=len(donors) / different if different else float("nan"),
    )
