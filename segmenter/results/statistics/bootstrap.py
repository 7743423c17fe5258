"""Intervals: how far a score could be off because other test images, or another training seed, would have been drawn.

Letters: N units that are resampled (images, or groups of them), C classes, S seeds of an arm, R resamples,
K = 2 C + 1 scores: IoU of each class, their mean, and the share of regions found of each class.

*Test images.* Scores are ratios of sums over images, so a resample of the images is a row of multinomial weights and
its sums are one matrix product: weights (R, N) @ sums (N, 5 C). All arms and seeds see the same resamples (paired), and
the percentiles of the resampled gain are the interval.
Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13, doi:10.1201/9780429246593.

*Training seeds.* The gain is the mean over S seeds; with s their standard deviation, s / sqrt(S) * t is added to each
resampled gain, t drawn from Student's distribution with S - 1 degrees of freedom. So two seeds give a very wide
interval and three a wide one. With one seed nothing can be added: such an interval does not cover
training again, and there is no verdict on it.
Source: propagation of distributions, a mean of few readings as a scaled and shifted t: JCGM 101:2008, sections 5 and
6.4.9, doi:10.59161/JCGM101-2008.

*Seeds and images together.* That one seed does well on these images and another on those is in s, and in the resamples
too: averaged over the seeds, it still moves with the images drawn. It is counted once, by the exact t, and its share of
the resamples' variance taken away: v = mean over seeds of var(score of the seed - mean over seeds) / (S - 1), the
interaction mean square of a crossed two-way table. In simulations with 3 and 5 seeds, 95 % intervals then held the
truth in 94 to 97 %, however much seeds varied; counted twice, in 95 to 100 %. A bootstrap that draws seeds as well as
images held it in 77 to 100 %: three seeds drawn from three vary too little where seeds matter.

*Absent classes.* A resample in which a score has no value (nothing of the class was drawn) is left out for that score.
Where that happens in more than MAX_UNDEFINED of the resamples, too few images show the class and there is no interval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SUMS = ("hit_px", "true_px", "predicted_px", "regions", "found")
"""What is summed over images, in the order of the second-last axis of every `sums` array below."""
MAX_UNDEFINED = 0.02
"""With n images of a class among many, about exp(-n) of the resamples hold none of them: 4 images are enough."""
_BLOCK_WEIGHTS = 2_000_000
"""resampling weights held in memory at a time"""


@dataclass(frozen=True, eq=False)
class ArmScores:
    """Scores of one arm: runs that differ by their seed alone."""

    per_seed: np.ndarray
    """(S, K) scores over all units"""
    drawn: np.ndarray
    """(R, S, K) the same on each resample of the units"""

    @property
    def estimate(self) -> np.ndarray:
        """(K,) mean over seeds."""
        return self.per_seed.mean(0)

    @property
    def resampled(self) -> np.ndarray:
        """(R, K) mean over seeds, on each resample of the units."""
        return self.drawn.mean(1)


@dataclass(frozen=True, eq=False)
class Intervals:
    """(K,) estimates with their intervals; low and high are NaN where none could be made."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    undefined: np.ndarray
    """share of the resamples in which the score had no value"""


def unit_sums(
    counts: np.ndarray, regions: np.ndarray, found: np.ndarray, groups: Sequence[str] | None = None
) -> np.ndarray:
    """What is summed over images, per image or per group.

    Args:
        counts: (N, C, C) pixels; row = truth, column = prediction. May lie on disk: it is read in blocks.
        regions: (R,) with fields image and class_index.
        found: (R,) bool.
        groups: name of each image's group; None = each image is a unit of its own.
    Returns:
        (units, 5, C) float64, in the order of SUMS.
    """
    images, num_classes = counts.shape[:2]
    sums = np.zeros((images, len(SUMS), num_classes))
    for start in range(0, images, 1024):
        block = np.asarray(counts[start : start + 1024], np.float64)
        sums[start : start + 1024, 0] = np.diagonal(block, axis1=1, axis2=2)
        sums[start : start + 1024, 1] = block.sum(2)
        sums[start : start + 1024, 2] = block.sum(1)
    np.add.at(sums[:, 3], (regions["image"], regions["class_index"]), 1)
    np.add.at(sums[:, 4], (regions["image"], regions["class_index"]), found.astype(np.float64))
    if groups is None:
        return sums
    names, unit = np.unique(np.asarray(groups), return_inverse=True)
    grouped = np.zeros((len(names), *sums.shape[1:]))
    np.add.at(grouped, unit, sums)
    return grouped


def score_sums(sums: np.ndarray) -> np.ndarray:
    """Sums over images -> scores.

    Args:
        sums: (..., 5, C), see SUMS.
    Returns:
        (..., 2 C + 1): IoU of each class, mean IoU over the classes that have one, share of regions found of each
        class. NaN where there is nothing to score.
    """
    hit, true, predicted, regions, found = np.moveaxis(sums, -2, 0)
    iou = _ratio(hit, true + predicted - hit)
    scored = ~np.isnan(iou)
    mean = _ratio(np.where(scored, iou, 0).sum(-1, keepdims=True), scored.sum(-1, keepdims=True).astype(np.float64))
    return np.concatenate([iou, mean, _ratio(found, regions)], axis=-1)


def share_sums(sums: np.ndarray) -> np.ndarray:
    """(..., 2, B) sums of B wholes and of their parts -> (..., B) shares, NaN where the whole is 0."""
    return _ratio(sums[..., 1, :], sums[..., 0, :])


def resample_arms(
    arms: Sequence[np.ndarray],
    resamples: int,
    seed: int,
    score: Callable[[np.ndarray], np.ndarray] = score_sums,
) -> list[ArmScores]:
    """Score every arm on the same resamples of the same test images.

    Args:
        arms: (S, N, 5, C) `unit_sums` of each arm's seeds; N and C agree, S may differ.
        resamples: R.
        seed: of the resamples.
        score: makes scores (..., K) of sums; with `share_sums`, arms are (S, N, 2, B).
    """
    return resample_together([(arms, score)], resamples, seed)[0]


def resample_together(
    kinds: Sequence[tuple[Sequence[np.ndarray], Callable[[np.ndarray], np.ndarray]]], resamples: int, seed: int
) -> list[list[ArmScores]]:
    """`resample_arms` for several kinds of sums of the same images, each with its score: resamples are drawn once."""
    arms = [(arm, score) for those, score in kinds for arm in those]
    full = [score(arm.sum(1)) for arm, score in arms]
    drawn = [np.empty((resamples, *scores.shape)) for scores in full]
    # one wide matrix of all arms and seeds: (N, runs * 5 * C); what the test holds is the same for all of them, so many
    # columns are equal and are summed once
    flat = np.concatenate([np.moveaxis(arm, 0, 1).reshape(arm.shape[1], -1) for arm, _ in arms], axis=1)
    flat, columns = _different_columns(flat)
    edges = np.cumsum([0, *(arm.shape[0] * arm.shape[2] * arm.shape[3] for arm, _ in arms)])
    for rows, weights in draw_weights(len(flat), resamples, seed):
        sums = weights @ flat
        for (arm, score), scores, out, start, stop in zip(arms, full, drawn, edges, edges[1:], strict=False):
            own = sums.take(columns[start:stop], axis=1).reshape(len(weights), len(arm), *arm.shape[2:])
            block = score(own)
            if score is score_sums:
                # a mean IoU over fewer classes than usual is another quantity
                classes = arm.shape[3]
                lost = np.isnan(block[..., :classes]) & ~np.isnan(scores[:, :classes])
                block[..., classes][lost.any(-1)] = np.nan
            out[rows] = block
    found = iter(ArmScores(scores, out) for scores, out in zip(full, drawn, strict=True))
    return [[next(found) for _ in those] for those, _ in kinds]


def _different_columns(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) -> its (N, D) different columns, and the (K,) index of each column among them."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(column.tobytes(), number) for number, column in enumerate(matrix.T)]
    kept, index = np.unique(places, return_inverse=True)
    return np.ascontiguousarray(matrix[:, kept]), index


def score_intervals(arm: ArmScores, confidence: float, seed: int) -> Intervals:
    """Interval of an arm's scores (its mean over seeds)."""
    return percentiles(arm.estimate, vary([arm], [1], np.random.default_rng([seed, 1])).clip(0, 1), confidence)


def gain_intervals(baseline: ArmScores, other: ArmScores, *, paired: bool, confidence: float, seed: int) -> Intervals:
    """Interval of the gain: scores of `other` minus those of `baseline`; see `draw_gains`."""
    drawn = draw_gains(baseline, other, paired=paired, seed=seed)
    return percentiles(other.estimate - baseline.estimate, drawn, confidence)


def draw_gains(baseline: ArmScores, other: ArmScores, *, paired: bool, seed: int, stream: int = 0) -> np.ndarray:
    """The gain of `other` over `baseline` as other test images and training seeds might have given it.

    Args:
        paired: seed i of one arm belongs to seed i of the other (same weights and order of scenes at the start), so
            that what a seed does to both is no part of the gain's variation.
        seed: of the draws.
        stream: arms that are looked at together draw their seed terms from streams of their own.
    Returns:
        (R, K) float64 in [-1, 1]; NaN where a resample has no score.
    """
    rng = np.random.default_rng([seed, 2, stream])
    if paired:
        difference = ArmScores(other.per_seed - baseline.per_seed, other.drawn - baseline.drawn)
        drawn = vary([difference], [1], rng)
    else:
        drawn = vary([other, baseline], [1, -1], rng)
    return drawn.clip(-1, 1)  # few seeds can carry the noise beyond what two shares can differ by


def vary(arms: Sequence[ArmScores], signs: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """(R, K) draws of a signed sum of arms: what other images and other seeds would have made of it."""
    estimate = sum(sign * arm.estimate for sign, arm in zip(signs, arms, strict=True))
    resampled = sum(sign * arm.resampled for sign, arm in zip(signs, arms, strict=True))
    assert isinstance(resampled, np.ndarray)
    both = sum(seed_image_variance(arm.drawn) for arm in arms)
    noise = sum(_seed_noise(arm.per_seed, len(resampled), rng) for arm in arms)
    return count_once(estimate, resampled, both, noise)


def count_once(estimate: Any, resampled: np.ndarray, both: Any, noise: Any) -> np.ndarray:
    """Resampled scores and the noise of seeds, with what seeds and images vary together in the noise alone.

    Args:
        estimate, both: (K,), or numbers for (R,) `resampled`; `both` is the variance of what they vary together.
        resampled, noise: (R, K).
    """
    images = variance(resampled)
    alone = np.clip(1 - np.divide(both, images, out=np.zeros_like(images), where=images > 0), 0, 1)
    return estimate + (resampled - estimate) * np.sqrt(alone) + noise


def seed_image_variance(drawn: np.ndarray) -> np.ndarray:
    """What seeds and images vary together, as a variance of the mean over seeds; zeros for one seed.

    Args:
        drawn: (R, S, K) scores or gains of each seed on each resample.
    Returns:
        (K,) variance of that part of the mean over S seeds.
    """
    seeds = drawn.shape[1]
    if seeds < 2:
        return np.zeros(drawn.shape[2])
    return variance(drawn - drawn.mean(1, keepdims=True)).mean(0) / (seeds - 1)


def variance(drawn: np.ndarray) -> np.ndarray:
    """Variance over the first axis of what is not NaN; 0 where nothing is left."""
    there = ~np.isnan(drawn)
    if there.all() and len(drawn):
        return np.asarray(drawn.var(0))
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, drawn, 0).sum(0) / count
    return np.where(there, (drawn - mean) ** 2, 0).sum(0) / count


def _seed_noise(per_seed: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(R, K) draws of what other training seeds would have changed in a mean over S seeds; zeros for one seed."""
    seeds = len(per_seed)
    if seeds < 2:
        return np.zeros((resamples, per_seed.shape[1]))
    return rng.standard_t(seeds - 1, (resamples, 1)) * (per_seed.std(0, ddof=1) / np.sqrt(seeds))


def percentiles(estimate: np.ndarray, drawn: np.ndarray, confidence: float) -> Intervals:
    """Interval of each score from its draws.

    Args:
        estimate: (K,).
        drawn: (R, K) draws; NaN where a resample has no score.
    """
    undefined = np.isnan(drawn).mean(0)
    low, high = np.full((2, len(estimate)), np.nan)
    usable = ~np.isnan(estimate) & (undefined <= MAX_UNDEFINED)
    if usable.any():
        tail = (1 - confidence) / 2
        low[usable], high[usable] = np.nanquantile(drawn[:, usable], [tail, 1 - tail], axis=0)
    return Intervals(estimate, low, high, undefined)


def draw_weights(units: int, resamples: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a (resamples, units) matrix of multinomial weights, in blocks that fit in little memory."""
    rng = np.random.default_rng([seed, 0])
    per_block = max(1, _BLOCK_WEIGHTS // units)
    for start in range(0, resamples, per_block):
        size = min(per_block, resamples - start)
        drawn = rng.integers(0, units, (size, units), dtype=np.int32)
        drawn += np.arange(size, dtype=np.int32)[:, None] * np.int32(units)
        weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield slice(start, start + size), weights.astype(np.float64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
