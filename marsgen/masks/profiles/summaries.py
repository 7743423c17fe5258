"""Regions of one class, measured one by one, summarised: how large, how placed, how bare around them.

`of` maps a column of the measured regions (measure_classes.py) to its (R,) values.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from marsgen.masks.profiles.profile import SEAM_EDGES_PX, Quantiles, RowProfile, SeamProfile, SizeProfile
from marsgen.masks.profiles.statistics import FEWEST_GROUPS, rank_correlation

SIDES = ("top", "left", "bottom", "right")
_SMALL_PIXELS = 0.03  # of a class's pixels are left out with its smallest regions
_MOST_BINS = 5
_REGIONS_PER_BIN = 5
_PERMUTATIONS = 999
_MOST_PERMUTED = 500


def share_by_size(
    areas: Sequence[float] | np.ndarray, edges: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How regions and their pixels are spread over bins of size.

    Args:
        areas: (R,) sizes in pixels.
        edges: (B - 1,) inner edges, increasing; a size on an edge is in the upper bin.
    Returns:
        share of the regions and share of the pixels in each bin, (B,) each; NaN without a region.
    """
    areas = np.asarray(areas, np.float64)
    which = np.searchsorted(np.asarray(edges, np.float64), areas, side="right")
    counts = np.bincount(which, minlength=len(edges) + 1)
    pixels = np.bincount(which, areas, minlength=len(edges) + 1)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(), pixels / pixels.sum()


def is_cut(of: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) bool: the region reaches the border of its scene."""
    return np.any([of[f"cut_{side}"] > 0 for side in SIDES], axis=0)


def size_profile(of: Mapping[str, np.ndarray]) -> SizeProfile:
    """Sizes in pixels: quantiles, and bins that hold about equal shares of the class's pixels."""
    area = of["area"]
    edges = _size_edges(area)
    regions, pixels = share_by_size(area, edges)
    ordered = np.sort(area)
    small = int(np.searchsorted(np.cumsum(ordered), _SMALL_PIXELS * area.sum(), side="right")) if len(area) else 0
    return SizeProfile(
        px=Quantiles.of(area),
        scene_fraction=Quantiles.of(of["scene_fraction"]),
        small_px=float(ordered[small]) if len(area) else math.nan,
        small_share=float((area < ordered[small]).mean()) if len(area) else math.nan,
        edges_px=tuple(float(edge) for edge in edges),
        region_shares=tuple(float(share) for share in regions),
        pixel_shares=tuple(float(share) for share in pixels),
    )


def _size_edges(areas: np.ndarray) -> np.ndarray:
    """Inner edges of up to 5 bins of about equal shares of the pixels, for at least 5 regions each on average."""
    bins = min(_MOST_BINS, len(areas) // _REGIONS_PER_BIN)
    if bins < 2:
        return np.zeros(0)
    ordered = np.sort(areas)
    reached = np.cumsum(ordered) / ordered.sum()
    edges = np.unique(ordered[np.searchsorted(reached, np.arange(1, bins) / bins)])
    return edges[edges > ordered[0]]


def seam_profile(
    of: Mapping[str, np.ndarray], edges: Sequence[float], seams: np.ndarray, rings: np.ndarray, elsewhere: np.ndarray
) -> SeamProfile:
    """How much of what surrounds the regions has no label, by distance and by size.

    Args:
        edges: inner edges of the bins of size, px.
        seams, rings: (R, D) pixels at 1..D px from each region: those without a label, and all.
        elsewhere: pixels further away than D: those without a label, and all.
    """
    bins = np.searchsorted(np.asarray(edges), of["area"], side="right")
    with np.errstate(invalid="ignore", divide="ignore"):
        bare = np.where(rings > 0, seams / np.maximum(rings, 1), 0)
    # a ring outside the picture ends the seam, too
    width = np.where((bare >= 0.5).all(1), rings.shape[1], np.argmin(bare >= 0.5, axis=1)).astype(float)
    width[rings[:, 0] == 0] = math.nan

    def shares(chosen: np.ndarray) -> tuple[float, ...]:
        starts = (0, *SEAM_EDGES_PX[:-1])
        counted = [
            (seams[chosen, low:high].sum(dtype=np.float64), rings[chosen, low:high].sum(dtype=np.float64))
            for low, high in zip(starts, SEAM_EDGES_PX, strict=True)
        ]
        return tuple(float(part / whole) if whole else math.nan for part, whole in counted)

    every = np.ones(len(bins), bool)
    return SeamProfile(
        shares=shares(every),
        shares_by_size=tuple(shares(bins == number) for number in range(len(edges) + 1)),
        width_px=Quantiles.of(width),
        width_by_size=tuple(Quantiles.of(width[bins == number]) for number in range(len(edges) + 1)),
        elsewhere=float(elsewhere[0] / elsewhere[1]) if elsewhere[1] else math.nan,
    )


def row_profile(of: Mapping[str, np.ndarray], shaped: np.ndarray) -> RowProfile:
    """Rank correlation of size and foot, against places shuffled between regions.

    A region of height h has its top at a share t of the H - h rows that are free; if place does not depend on size, the
    t of any other region would do as well, and the foot would be at h + t (H - h).
    """
    chosen = np.flatnonzero(shaped & ~is_cut(of))
    rng = np.random.default_rng(0)
    # one region of each group, drawn at random
    tested = rng.permutation(chosen)
    tested = tested[np.unique(of["group"][tested], return_index=True)[1]][:_MOST_PERMUTED]
    unknown = RowProfile(math.nan, math.nan, math.nan, math.nan)
    if len(tested) < FEWEST_GROUPS:
        return unknown
    side, foot, tall = (values / of["scene_height"] for values in (np.sqrt(of["area"]), of["foot"], of["height"]))
    if np.ptp(side[tested]) == 0 or np.ptp(foot[tested]) == 0:
        return unknown
    free = np.maximum(1 - tall, 1e-6)
    place = ((foot - tall) / free)[tested]
    shuffled = np.stack([rng.permutation(place) for _ in range(_PERMUTATIONS)])
    measured = rank_correlation(side[tested], foot[tested])
    chance = rank_correlation(side[tested], tall[tested] + shuffled * free[tested])
    beyond = np.count_nonzero(chance >= measured - 1e-12)
    fitted = chosen if len(chosen) <= _MOST_PERMUTED else np.sort(rng.choice(chosen, _MOST_PERMUTED, replace=False))
    slope = float(stats.theilslopes(side[fitted], foot[fitted]).slope)
    horizon = float(np.median(foot[fitted]) - np.median(side[fitted]) / slope) if slope > 0 else math.nan
    return RowProfile(float(measured), float(np.mean(chance)), (beyond + 1) / (_PERMUTATIONS + 1), horizon)


def normalised(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of each row; NaN in a row of zeros."""
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def meeting_shares(counts: np.ndarray, names: Sequence[str], own: int) -> dict[str, float]:
    """Class -> share of the regions with a pixel of it; of regions with any pixel, and of other classes."""
    counts = counts[counts.sum(1) > 0]
    return {name: float((counts[:, i] > 0).mean()) for i, name in enumerate(names) if i != own and len(counts)}


def mean_shares(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Class -> mean over regions of its share, largest first; classes of no share are left out."""
    counts = counts[counts.sum(1) > 0]
    if not len(counts):
        return {}
    means = normalised(counts.astype(np.float64)).mean(0)
    return {names[i]: float(means[i]) for i in np.argsort(-means, kind="stable") if means[i] > 0}
