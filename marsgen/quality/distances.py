"""How far a set of synthetic pictures is from a set of real ones, by their features, and how sure that is.

kid        squared maximum mean discrepancy under a cubic kernel; unbiased, about 0 for sets of one source
           (Binkowski et al. 2018, arXiv:1801.01401)
frechet    distance between two Gaussians fitted to principal components (Heusel et al. 2017, arXiv:1706.08500); grows
           as samples get fewer, so two values compare only at equal numbers of samples
density    how many real neighbourhoods hold a synthetic picture, over what is usual; about 1, less = unreal
coverage   share of real pictures with a synthetic one in their neighbourhood; low = variety is missing
           (Naeem et al. 2020, arXiv:2002.09797)

All work on kernel or distance matrices made once; a bootstrap resample is a row of weights, how often each picture was
drawn, so that a thousand resamples are a few matrix products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "MIN_PICTURES",
    "MetricResult",
    "compare_sets",
    "density_and_coverage",
    "frechet",
    "kid",
    "principal_components",
]

MIN_PICTURES = 8
"""with fewer real or synthetic pictures no distribution is estimated"""
NAMES = ("kid", "frechet", "density", "coverage")
_LIMITS = {"kid": (-np.inf, np.inf), "frechet": (0, np.inf), "density": (0, np.inf), "coverage": (0, 1)}


@dataclass(frozen=True)
class MetricResult:
    """One metric between real and synthetic pictures, with its interval and its reference values."""

    value: float
    low: float
    high: float
    """ends of the 95 % bootstrap interval"""
    floor: float
    """the same metric between two random halves of the real pictures, mean over splits: the best possible value"""
    floor_low: float
    floor_high: float
    """ends of the range that holds 95 % of the splits"""
    same_size: float
    """the metric of as many synthetic pictures as are in a half, against the other half: comparable with `floor`"""


def compare_sets(
    real: np.ndarray,
    synthetic: np.ndarray,
    real_groups: np.ndarray,
    synthetic_groups: np.ndarray,
    *,
    max_dimensions: int = 32,
    neighbours: int = 5,
    resamples: int = 1000,
    splits: int = 20,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """All metrics, each with its interval and its floor.

    Args:
        real, synthetic: (N, F) and (M, F) features, both at least MIN_PICTURES.
        real_groups, synthetic_groups: (N,) and (M,) int64; pictures of one group (one scene) are drawn together
            and are no neighbours of each other.
        max_dimensions: most principal components for `frechet`; see `principal_components`.
        neighbours: k of density and coverage; fewer where the real pictures are too few.
        resamples: of the bootstrap.
        splits: of the real pictures, for the floor.
    Source: intervals are percentiles of the resampled values, moved by the difference of their mean to the value,
        because drawing a picture twice narrows a sample and shifts most of these measures. Groups are resampled as
        in Davison & Hinkley 1997, chapter 3.8. In simulations the intervals of kid held the truth in 93 to 97 % of
        200 cases with 8 and 32 features, and in 88 % with one feature and 80 pictures: the kernel's tail is heavy.
    """
    rng = np.random.default_rng(seed)
    components = principal_components(real, max_dimensions)
    scorer = _Scorer.of(real, synthetic, real_groups, synthetic_groups, components, neighbours)
    once = scorer.score(np.ones((1, len(real))), np.ones((1, len(synthetic))))
    drawn = scorer.score(draw_weights(real_groups, resamples, rng), draw_weights(synthetic_groups, resamples, rng))
    floors: list[dict[str, np.ndarray]] = []
    same_sizes: list[dict[str, np.ndarray]] = []
    for _ in range(splits):
        half, other = _halve(real_groups, rng)
        few = rng.permutation(len(synthetic))[: len(other)]
        against = (floors, real[other], real_groups[other]), (same_sizes, synthetic[few], synthetic_groups[few])
        for scores, pictures, groups in against:
            part = _Scorer.of(real[half], pictures, real_groups[half], groups, components, neighbours)
            scores.append(part.score(np.ones((1, len(half))), np.ones((1, len(pictures)))))
    measures = {}
    for name in NAMES:
        value = float(once[name][0])
        low, high = recentred_interval(value, drawn[name], _LIMITS[name])
        of_halves = np.concatenate([scores[name] for scores in floors])
        ends = [float(end) for end in np.percentile(of_halves, [2.5, 97.5])]
        same_size = float(np.mean([scores[name] for scores in same_sizes]))
        measures[name] = MetricResult(value, low, high, float(of_halves.mean()), ends[0], ends[1], same_size)
    return measures


def draw_weights(groups: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) groups -> (resamples, N) float64: how often each member is drawn when groups are, with replacement."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), resamples)[:, group].astype(np.float64)


def recentred_interval(value: float, drawn: np.ndarray, limits: tuple[float, float]) -> tuple[float, float]:
    """Ends of the 95 % interval round `value` from resampled values, within `limits`; NaN resamples are left out."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.clip(np.percentile(drawn, [2.5, 97.5]) - drawn.mean() + value, *limits)
    return float(low), float(high)


# the measures; every one takes weights (R, N) and (R, M) and gives (R,) values


def cubic_kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, F), (M, F) -> (N, M) float64: (x . y / F + 1) ** 3."""
    return (first.astype(np.float64) @ second.astype(np.float64).T / first.shape[1] + 1) ** 3


def kid(
    within_real: np.ndarray,
    within_synthetic: np.ndarray,
    between: np.ndarray,
    real_weights: np.ndarray,
    synthetic_weights: np.ndarray,
    real_groups: np.ndarray,
    synthetic_groups: np.ndarray,
) -> np.ndarray:
    """Unbiased squared maximum mean discrepancy from kernel matrices (N, N), (M, M) and (N, M).

    Pairs of one group are left out, hence also a picture with itself where it was drawn more than once. With groups
    of one it is the formula of torchmetrics.
    """
    across = ((real_weights @ between) * synthetic_weights).sum(1)
    across /= real_weights.sum(1) * synthetic_weights.sum(1)
    real = _mean_of_pairs(within_real, real_weights, real_groups)
    return real + _mean_of_pairs(within_synthetic, synthetic_weights, synthetic_groups) - 2 * across


def _mean_of_pairs(kernel: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    other_groups = np.where(groups[:, None] == groups[None], 0, kernel)
    total = ((weights @ other_groups) * weights).sum(1)
    names, group = np.unique(groups, return_inverse=True)
    per_group = weights @ np.eye(len(names))[group]  # (R, groups)
    pairs = weights.sum(1) ** 2 - (per_group**2).sum(1)
    return np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def frechet(
    real: np.ndarray, synthetic: np.ndarray, real_weights: np.ndarray, synthetic_weights: np.ndarray
) -> np.ndarray:
    """Frechet distance between Gaussians fitted to (N, D) and (M, D) coordinates."""
    mean, covariance = _moments(real, real_weights)
    other_mean, other_covariance = _moments(synthetic, synthetic_weights)
    # trace of the root of a product of two covariances, through a symmetric matrix with the same eigenvalues
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))[:, None]) @ vectors.swapaxes(1, 2)
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other_covariance @ root), 0, None)).sum(1)
    traces = np.trace(covariance, axis1=1, axis2=2) + np.trace(other_covariance, axis1=1, axis2=2)
    return ((mean - other_mean) ** 2).sum(1) + traces - 2 * shared


def _moments(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted (R, D) means and (R, D, D) covariances of (N, D) points."""
    count, dimensions = weights.sum(1), points.shape[1]
    mean = weights @ points / count[:, None]
    squares = (points[:, :, None] * points[:, None]).reshape(len(points), -1)
    second = (weights @ squares).reshape(-1, dimensions, dimensions)
    outer = mean[:, :, None] * mean[:, None] * count[:, None, None]
    return mean, (second - outer) / np.maximum(count - 1, 1)[:, None, None]


def principal_components(real: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and axes (D, F) of the real features; D = min(most, N / 2 - 1), so that half of them still span it."""
    dimensions = max(1, min(most, len(real) // 2 - 1, real.shape[1]))
    mean = real.mean(0, dtype=np.float64)
    return mean, np.linalg.svd(real - mean, full_matrices=False)[2][:dimensions]


def density_and_coverage(
    inside: np.ndarray, neighbours: int, real_weights: np.ndarray, synthetic_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Density and coverage from (N, M) bool: synthetic picture m lies nearer to real n than n's k-th real neighbour."""
    near = inside.astype(np.float64)
    density = ((real_weights @ near) * synthetic_weights).sum(1) / (neighbours * synthetic_weights.sum(1))
    reached = ((synthetic_weights > 0) @ near.T) > 0  # (R, N)
    return density, (reached * real_weights).sum(1) / real_weights.sum(1)


def pairwise_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, F), (M, F) -> (N, M) float64 Euclidean distances."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    return np.sqrt(np.clip(squares, 0, None))


def neighbour_radii(distances: np.ndarray, groups: np.ndarray, neighbours: int) -> np.ndarray:
    """(N, N) distances -> (N,) distance of each to its k-th nearest of another group; inf where it has fewer."""
    other_groups = np.where(groups[:, None] == groups[None], np.inf, distances)
    return np.partition(other_groups, neighbours - 1, axis=1)[:, neighbours - 1]


@dataclass(frozen=True, eq=False)
class _Scorer:
    """The matrices of two sets; all measures of any weights of them."""

    kernels: tuple[np.ndarray, np.ndarray, np.ndarray]
    groups: tuple[np.ndarray, np.ndarray]
    coordinates: tuple[np.ndarray, np.ndarray]
    inside: np.ndarray
    neighbours: int

    @classmethod
    def of(
        cls,
        real: np.ndarray,
        synthetic: np.ndarray,
        real_groups: np.ndarray,
        synthetic_groups: np.ndarray,
        components: tuple[np.ndarray, np.ndarray],
        neighbours: int,
    ) -> "_Scorer":
        mean, axes = components
        largest_group = int(np.unique(real_groups, return_counts=True)[1].max())
        neighbours = max(1, min(neighbours, len(real) - largest_group))
        radii = neighbour_radii(pairwise_distances(real, real), real_groups, neighbours)
        return cls(
            (cubic_kernel(real, real), cubic_kernel(synthetic, synthetic), cubic_kernel(real, synthetic)),
            (real_groups, synthetic_groups),
            ((real - mean) @ axes.T, (synthetic - mean) @ axes.T),
            pairwise_distances(real, synthetic) < radii[:, None],
            neighbours,
        )

    def score(self, real_weights: np.ndarray, synthetic_weights: np.ndarray) -> dict[str, np.ndarray]:
        weights = real_weights, synthetic_weights
        density, coverage = density_and_coverage(self.inside, self.neighbours, *weights)
        distance = _in_pieces(lambda r, s: frechet(*self.coordinates, r, s), *weights)
        found = kid(*self.kernels, *weights, *self.groups)
        return {"kid": found, "frechet": distance, "density": density, "coverage": coverage}


def _in_pieces(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], real: np.ndarray, synthetic: np.ndarray
) -> np.ndarray:
    """`measure` of 256 rows of weights at a time: covariances of all of them at once would fill the memory."""
    return np.concatenate([measure(real[i : i + 256], synthetic[i : i + 256]) for i in range(0, len(real), 256)])


def _halve(groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions of two random halves, groups whole: the cut comes where the first has its share of the pictures."""
    names, sizes = np.unique(groups, return_counts=True)
    order = rng.permutation(len(names))
    cut = int(np.clip(np.searchsorted(np.cumsum(sizes[order]), len(groups) / 2) + 1, 1, len(names) - 1))
    first = np.isin(groups, names[order[:cut]])
    return np.flatnonzero(first), np.flatnonzero(~first)
