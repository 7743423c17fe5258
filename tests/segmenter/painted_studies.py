"""Studies without training: raw counts of arms whose skill at rocks is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from painted_runs import CLASSES

from segmenter.inference.margins import BIN_WIDTH, BINS, CALLED
from segmenter.results.counts import SEED_REGION, ArmCounts, ImageList, StudyCounts
from segmenter.results.metadata import ArmMetadata, StudyMetadata
from segmenter.results.statistics.ranking import rank_margins

ROCK = 2


def paint_arm(metadata: ArmMetadata, skill: float, images: int, false_px: float = 10, seed: int = 0) -> ArmCounts:
    """An arm that sees each rock with probability `skill`; the rocks are the same whatever the arm."""
    truth = np.random.default_rng(7)
    soil, bedrock = truth.integers(300, 900, images), truth.integers(200, 800, images)
    area = np.where(truth.random(images) < 0.7, np.exp(truth.uniform(np.log(20), np.log(600), images)), 0).astype(int)
    foot = truth.integers(5, 60, images)
    counts = np.zeros((len(metadata.seeds), images, 3, 3), np.int64)
    regions, alarms = [], []
    for s, of_seed in enumerate(metadata.seeds):
        rng = np.random.default_rng([seed, of_seed, int(1000 * skill)])
        chance = np.clip(skill + 0.12 * (np.log(area + 1) - 5), 0.02, 0.98)
        hit = np.where(np.random.default_rng(of_seed).random(images) < chance, (0.9 * area).astype(int), area // 10)
        wrong = rng.poisson(false_px, images)
        counts[s, :, 0, 0], counts[s, :, 0, 1], counts[s, :, 0, ROCK] = soil - 60 - wrong, 60, wrong
        counts[s, :, 1, 1], counts[s, :, 1, 0] = bedrock - 50, 50
        counts[s, :, ROCK, ROCK], counts[s, :, ROCK, 0] = hit, area - hit
        there = np.flatnonzero(area >= 16)
        rows = np.zeros(len(there), SEED_REGION)
        rows["image"], rows["class_index"], rows["seed_index"] = there, ROCK, s
        rows["area_px"], rows["hit_px"], rows["foot_row"] = area[there], hit[there], foot[there]
        regions.append(rows)
        false = np.zeros(rng.poisson(4), SEED_REGION)
        false["image"], false["class_index"], false["seed_index"] = rng.integers(0, images, len(false)), ROCK, s
        alarms.append(false)
    return ArmCounts(
        metadata, counts.astype(np.min_scalar_type(counts.max())), np.concatenate(regions), np.concatenate(alarms)
    )


def bins_of(margins: np.ndarray) -> np.ndarray:
    """Raw margins -> their bins, as `margin_bins` makes them of logits."""
    steps = np.minimum(np.abs(margins) / BIN_WIDTH, BINS - CALLED - 1).astype(int)
    return np.where(margins > 0, CALLED + steps, CALLED - 1 - steps)


def paint_margins(of_class: np.ndarray, others: np.ndarray, apart: float, seed: int, shift: float = 0) -> np.ndarray:
    """(N, 1, 2, BINS) margins of images with so many pixels of the class and others, `apart` the mean of the former.

    Images and pixels of a seed are the same whatever `apart` and `shift`, which is added to every margin.
    """
    rng = np.random.default_rng(seed)
    margins = np.zeros((len(of_class), 1, 2, BINS), np.uint16)
    for image, numbers in enumerate(zip(of_class, others, strict=True)):
        ease = rng.normal(0, 1)
        for label, (number, mean) in enumerate(zip(numbers, (apart + ease, -5.0), strict=True)):
            bins = bins_of(rng.normal(0, 2, int(number)) + mean + shift)
            margins[image, 0, label] = np.bincount(bins, minlength=BINS)
    return margins


def with_ranks(arm: ArmCounts, apart: float, shift: float = 0) -> ArmCounts:
    """The arm with margins of its true pixels; rocks lie `apart`, and every margin is moved by `shift`."""
    true = arm.counts.sum(3, dtype=np.int64)
    ranks = [
        rank_margins([paint_margins(t[:, ROCK], t[:, :ROCK].sum(1), apart, seed, shift)])
        for t, seed in zip(true, arm.metadata.seeds, strict=True)
    ]
    return replace(arm, ranks=np.stack(ranks))


def rank_study(study: StudyCounts, apart: Mapping[str, float], shift: Mapping[str, float] | None = None) -> StudyCounts:
    """The study with margins of the arms that `apart` names; see `with_ranks`."""
    shift = shift or {}
    arms = [
        with_ranks(arm, apart[name], shift.get(name, 0)) if (name := arm.metadata.name) in apart else arm
        for arm in study.arms
    ]
    return replace(study, arms=tuple(arms))


def study_of(arms: Sequence[ArmCounts], baseline: str, images: ImageList | None = None, **more: Any) -> StudyCounts:
    """A study of these arms; `more` are fields of StudyMetadata."""
    number = arms[0].counts.shape[1]
    names = tuple(f"scene{i}" for i in range(number))
    images = images or ImageList(names, None, None, tuple(f"{i:016x}" for i in range(number)))
    fields: dict[str, Any] = {
        "title": "Do more rocks help?",
        "baseline": baseline,
        "classes": CLASSES.to_dict(),
        "test": {"location": "test.npz", "fingerprint": "f" * 16, "part": "all", "images": number},
        "scoring": {"found_fraction": 0.25, "min_region_px": 16, "flip": False},
        "statistics": {"resamples": 400},
        "arms": [arm.metadata.model_dump() for arm in arms],
        **more,
    }
    return StudyCounts(StudyMetadata.model_validate(fields), images, tuple(arms))


def paint_study(
    skills: Mapping[str, tuple[str | None, float]], images: int = 80, seeds: int = 3, **more: Any
) -> StudyCounts:
    """Arms by name: (baseline, skill); the first one is the study's baseline."""
    arms = []
    for name, (baseline, skill) in skills.items():
        metadata = ArmMetadata(
            name=name,
            title=name.replace("-", " "),
            baseline=baseline,
            seeds=tuple(range(seeds)),
            synthetic=baseline is not None,
            train_minutes=(4.0,) * seeds,
            peak_memory_mb=(900.0,) * seeds,
            set_minutes=None if baseline is None else 1.5,
        )
        arms.append(paint_arm(metadata, skill, images))
    return study_of(arms, next(iter(skills)), **more)


def draw_sums(
    rng: np.random.Generator,
    ious: Sequence[float | np.ndarray],
    seeds: int,
    *,
    studies: int = 1,
    seed_sd: float = 0.03,
    own: float = 0.1,
) -> list[np.ndarray]:
    """(seeds, 80, 5, studies) sums of arms with these true IoUs, on the same rocks.

    `own` is how far an arm goes its own way with an image, whatever the seed; each seed goes as far again.
    """
    area = rng.integers(20, 200, (80, studies)) * (rng.random((80, studies)) < 0.5)
    arms = []
    for iou in ious:
        share = iou + rng.uniform(-own, own, (80, studies)) + rng.uniform(-own, own, (seeds, 80, studies))
        share = share + seed_sd * rng.standard_normal((seeds, 1, studies))
        sums = np.zeros((seeds, 80, 5, studies))
        sums[:, :, 0], sums[:, :, 1], sums[:, :, 2] = area * share, area, area * share  # false pixels are none
        arms.append(sums)
    return arms


def shifted_sums(hits: list[float], images: int = 4) -> np.ndarray:
    """Sums of seeds that hit so many of 100 pixels in every image: nothing varies but the seeds."""
    sums = np.zeros((len(hits), images, 5, 2))
    sums[:, :, 1:3] = 100
    sums[:, :, 0] = np.array(hits)[:, None, None]
    return sums
