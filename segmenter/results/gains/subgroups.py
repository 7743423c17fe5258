"""Shares that are no class score: precision, recall, and regions found by size and by row."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmenter.evaluation.regions import region_classes
from segmenter.results.counts import ArmCounts, StudyCounts
from segmenter.results.statistics.bootstrap import ArmScores, Intervals, gain_intervals

_SIZE_BORDERS_PX = (64, 256, 1024)
_THIRDS = ("upper", "middle", "lower")


@dataclass(frozen=True)
class Share:
    """Part of a whole, both summed over images."""

    class_index: int
    by: str
    """"precision", "recall", "size" or "row" """
    bin: str = ""
    """in words"""
    start: int = 0
    """regions counted: area (size) or foot row (row) from here"""
    stop: int = 0
    """to below here"""


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Regions of one size or place: how many of them one arm found. Shares and gains are in [0, 1], NaN = none."""

    arm: str
    title: str
    baseline: str | None
    class_name: str
    by: str
    """"size" or "row" """
    bin: str
    """in words"""
    regions: int
    """how many there are"""
    found: float
    """mean over seeds"""
    share: float
    """found / regions, with its interval low..high"""
    low: float
    high: float
    gain: float
    """over the arm's own baseline, with the interval of this arm alone gain_low..gain_high"""
    gain_low: float
    gain_high: float


def list_shares(study: StudyCounts) -> list[Share]:
    """Precision and recall of the rare classes; then their regions by size and by row.

    Sizes are fixed. Rows are thirds of the true regions by foot row: on flat ground, lower in the image is nearer.
    """
    shares = [Share(c, by) for c in region_classes(study.classes) for by in ("precision", "recall")]
    first = study.arms[0]
    for c in region_classes(study.classes):
        regions = first.regions[(first.regions["seed_index"] == 0) & (first.regions["class_index"] == c)]
        borders = [study.metadata.scoring.min_region_px, *_SIZE_BORDERS_PX, np.iinfo(np.int32).max]
        for start, stop in itertools.pairwise(borders):
            if np.any((regions["area_px"] >= start) & (regions["area_px"] < stop)):
                last = stop == borders[-1]
                words = f"{start} px and more" if last else f"{start} to {stop - 1} px"
                shares.append(Share(c, "size", words, start, stop))
        rows = regions["foot_row"]
        thirds = np.quantile(rows, [0, 1 / 3, 2 / 3, 1]).round().astype(int) if len(rows) else [0] * 4
        thirds[-1] += 1
        for word, start, stop in zip(_THIRDS, thirds, thirds[1:], strict=False):
            if np.any((rows >= start) & (rows < stop)):
                words = f"{word} (foot in rows {start} to {stop - 1})"
                shares.append(Share(c, "row", words, int(start), int(stop)))
    return shares


def sum_shares(arm: ArmCounts, shares: Sequence[Share], study: StudyCounts) -> np.ndarray:
    """(S, units, 2, B) wholes and parts of B shares, for `resample_arms` with `share_sums`.

    So the intervals of all shares come from the same resamples as those of all other scores.
    """
    whole, part = np.zeros((2, *arm.counts.shape[:2], len(shares)))
    found = arm.found(study.metadata.scoring.found_fraction)
    for b, share in enumerate(shares):
        c = share.class_index
        if share.by in ("precision", "recall"):
            hit = arm.counts[:, :, c, c]
            total = arm.counts[:, :, :, c] if share.by == "precision" else arm.counts[:, :, c, :]
            whole[..., b], part[..., b] = total.sum(2, dtype=np.int64), hit
        else:
            place = arm.regions["area_px" if share.by == "size" else "foot_row"]
            counted = (arm.regions["class_index"] == c) & (place >= share.start) & (place < share.stop)
            rows = arm.regions[counted]
            np.add.at(whole[..., b], (rows["seed_index"], rows["image"]), 1)
            np.add.at(part[..., b], (rows["seed_index"], rows["image"]), found[counted])
    sums = np.stack([whole, part], axis=2)
    if study.images.groups is None:
        return sums
    names, unit = np.unique(np.asarray(study.images.groups), return_inverse=True)
    grouped = np.zeros((len(sums), len(names), *sums.shape[2:]))
    np.add.at(grouped.swapaxes(0, 1), unit, sums.swapaxes(0, 1))
    return grouped


def compute_subgroups(
    study: StudyCounts,
    shares: Sequence[Share],
    sums: Mapping[str, np.ndarray],
    scores: Mapping[str, ArmScores],
    intervals: Mapping[str, Intervals],
) -> list[Subgroup]:
    """A row for each arm and each share by size or row.

    Args:
        sums: `sum_shares` by arm name.
        scores: the same, resampled.
        intervals: of `scores`.
    """
    statistics, rows = study.metadata.statistics, []
    for arm in study.metadata.arms:
        own = intervals[arm.name]
        gain = None
        if arm.baseline is not None:
            paired = study.is_paired(arm.baseline, arm.name)
            gain = gain_intervals(
                scores[arm.baseline],
                scores[arm.name],
                paired=paired,
                confidence=statistics.confidence,
                seed=statistics.seed,
            )
        for b, share in enumerate(shares):
            if share.by in ("size", "row"):
                regions, found = sums[arm.name][..., b].sum(1).mean(0)
                rows.append(
                    Subgroup(
                        arm=arm.name,
                        title=arm.title,
                        baseline=arm.baseline,
                        class_name=study.classes.names[share.class_index],
                        by=share.by,
                        bin=share.bin,
                        regions=int(regions),
                        found=float(found),
                        share=float(own.estimate[b]),
                        low=float(own.low[b]),
                        high=float(own.high[b]),
                        gain=float(gain.estimate[b]) if gain else np.nan,
                        gain_low=float(gain.low[b]) if gain else np.nan,
                        gain_high=float(gain.high[b]) if gain else np.nan,
                    )
                )
    return rows
