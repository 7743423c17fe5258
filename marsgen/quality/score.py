"""Measure a synthetic set: realism and variety, copies of training regions, agreement of a judge.

Realism and variety are distances to real scenes; novelty is the distance to the nearest training region; label
fidelity is a judge's agreement. Each number has an interval, or the value that real scenes get among themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.near_duplicates import find_duplicates, join_linked
from marsgen.quality.agreement import agreement_counts
from marsgen.quality.config import MeasureConfig
from marsgen.quality.crops import RareRegion, find_pasted, find_real, isolate
from marsgen.quality.distances import (
    MIN_PICTURES,
    compare_sets,
    draw_weights,
    neighbour_radii,
    pairwise_distances,
    principal_components,
    recentred_interval,
)
from marsgen.quality.features import FeatureNetwork, extract_features, shrink
from marsgen.quality.judges import Judge
from marsgen.quality.memorization import Nearest, copy_bound, find_nearest
from marsgen.quality.scored_set import Sample, ScoredSet, spaced
from marsgen.quality.variety import Variety, measure_variety
from marsgen.scenes.confusion import iou_per_class
from marsgen.scenes.scene import SceneSource, batches_of_one_shape


@dataclass(eq=False)
class Scores:
    """Everything that was measured: the source of printed lines, scores.jsonl, DONE and the page."""

    scored: ScoredSet
    summary: dict[str, Any]
    """content of DONE"""
    regions: dict[str, list[tuple[Sample, RareRegion]]] = field(default_factory=dict)
    """by class: the pasted regions of the samples"""
    training: dict[str, list[RareRegion]] = field(default_factory=dict)
    """by class: the regions of the train part"""


def measure_set(
    scored: ScoredSet, config: MeasureConfig, judge: Judge | None, network: FeatureNetwork, folder: Path
) -> Scores:
    """Measure a synthetic set; also sets the scores of each of its samples.

    Args:
        judge: for the agreement; None = not measured.
        network: what pictures are compared by.
        folder: keeps extracted features for a repeated run; see `extract_features`.
    """
    scores = Scores(scored, {"samples": len(scored.samples), "reference": _reference_words(scored)})
    _find_regions(scores, config)
    groups = _group_scenes(scored.dataset)
    scores.summary["crops"] = {name: _score_crops(scores, name, config, network, folder) for name in scores.regions}
    scores.summary["scenes"] = _score_scenes(scored, config, network, folder)
    scores.summary["copies"] = {name: _score_copies(scores, name, config, groups) for name in scores.regions}
    scores.summary["copied_samples"] = float(np.mean([sample.copy for sample in scored.samples]))
    scores.summary["agreement"] = None if judge is None else _score_agreement(scored, config, judge)
    return scores


def _reference_words(scored: ScoredSet) -> str:
    return scored.reference.location if scored.reference else f"train part of {scored.dataset.scenes.location}"


def _find_regions(scores: Scores, config: MeasureConfig) -> None:
    scored = scores.scored
    dataset, names = scored.dataset, scored.class_names
    scores.regions = {name: [] for name in names}
    for sample in scored.samples:
        scene = scored.synthetic[sample.index]
        for name in names:
            found = find_pasted(scene, sample.index, sample.patches, name, config.crop_px)
            scores.regions[name] += [(sample, region) for region in found]
    for name in names:
        train = _showing(dataset, name, dataset.split.train)
        scores.training[name] = find_real(dataset.scenes, train, name, config.min_region_px, config.crop_px)


def _showing(dataset: Dataset, class_name: str, indices: Sequence[int]) -> list[int]:
    return [i for i in indices if dataset.survey.shows[i, dataset.scenes.classes.index(class_name)]]


def _group_scenes(dataset: Dataset) -> np.ndarray:
    """(N,) int64: scenes with one number may show the same ground: same group, or similar in detail."""
    groups = np.arange(len(dataset.scenes))
    if dataset.scenes.groups is not None:
        return np.unique(np.array(dataset.scenes.groups), return_inverse=True)[1]
    pairs = find_duplicates(dataset.scenes, dataset.survey, 0.75)
    for cluster in join_linked(len(groups), [(pair.first, pair.second) for pair in pairs]):
        groups[list(cluster)] = cluster[0]
    return groups


def _score_crops(
    scores: Scores, name: str, config: MeasureConfig, network: FeatureNetwork, folder: Path
) -> dict[str, Any]:
    """Distances between the crops of a class; sets each sample's realism."""
    real = _real_regions(scores, name, config)
    pasted = scores.regions[name]
    found: dict[str, Any] = {"real": len(real), "synthetic": len(pasted)}
    if len(real) >= 2 and pasted:
        real_features = extract_features(network, [region.crop for region in real], folder, config.batch_size)
        features = extract_features(network, [region.crop for _, region in pasted], folder, config.batch_size)
        groups = np.array([region.scene for region in real]), np.array([region.scene for _, region in pasted])
        among_real = neighbour_radii(pairwise_distances(real_features, real_features), groups[0], 1)
        usual = float(np.median(among_real[np.isfinite(among_real)])) if np.isfinite(among_real).any() else np.nan
        nearest = pairwise_distances(features, real_features).min(1) / max(usual, 1e-12)
        for (sample, _), distance in zip(pasted, nearest, strict=True):
            sample.relative_feature_distances.append(float(distance))
        found["variety"] = asdict(_score_variety(scores, name, real, config, network, folder))
        found |= _compare((real_features, features), groups, config)
    return found


def _score_variety(
    scores: Scores, name: str, real: list[RareRegion], config: MeasureConfig, network: FeatureNetwork, folder: Path
) -> Variety:
    """By the regions alone: surroundings vary with every scene, whatever is pasted into it."""
    real_features, features = (
        extract_features(network, [isolate(region, config.crop_px) for region in some], folder, config.batch_size)
        for some in (real, [region for _, region in scores.regions[name]])
    )
    scenes = np.array([region.scene for region in real])
    nearest = neighbour_radii(pairwise_distances(real_features, real_features), scenes, 1)
    width = float(np.median(nearest[np.isfinite(nearest)])) if np.isfinite(nearest).any() else float("nan")
    donors = [
        (donor["key"], str(donor["donor_box"]))  # a text: a manifest may hold anything
        for sample in scores.scored.samples
        for donor in sample.donors
        if donor.get("class") == name and "donor_box" in donor
    ]
    return measure_variety(real_features, features, width, donors, seed=config.seed)


def _real_regions(scores: Scores, name: str, config: MeasureConfig) -> list[RareRegion]:
    scored = scores.scored
    if scored.reference is None:
        found = scores.training[name]
    else:
        found = find_real(scored.reference, scored.held_out, name, config.min_region_px, config.crop_px)
    return [found[i] for i in spaced(len(found), config.max_real)]


def _score_scenes(scored: ScoredSet, config: MeasureConfig, network: FeatureNetwork, folder: Path) -> dict[str, Any]:
    source = scored.reference or scored.dataset.scenes
    indices = scored.held_out if scored.reference else list(scored.dataset.split.train)
    real = [indices[i] for i in spaced(len(indices), config.max_real)]
    made = [sample.index for sample in scored.samples]
    pictures = _Shrunk(source, real, config.scene_px), _Shrunk(scored.synthetic, made, config.scene_px)
    first, second = (extract_features(network, some, folder, config.batch_size) for some in pictures)
    groups = np.arange(len(real)), np.arange(len(made))
    return {"real": len(real), "synthetic": len(made)} | _compare((first, second), groups, config)


@dataclass(frozen=True, eq=False)
class _Shrunk:
    """Images of some scenes, read and shrunk every time they are gone through."""

    source: SceneSource
    indices: list[int]
    longest_px: int

    def __iter__(self) -> Iterator[np.ndarray]:
        return (shrink(self.source.read(index)[0], self.longest_px) for index in self.indices)


def _compare(
    features: tuple[np.ndarray, np.ndarray], groups: tuple[np.ndarray, np.ndarray], config: MeasureConfig
) -> dict[str, Any]:
    """Measures of real and synthetic features; {} where either is from too few scenes."""
    if min(len(np.unique(some)) for some in groups) < MIN_PICTURES:
        return {}
    measures = compare_sets(
        *features,
        *groups,
        max_dimensions=config.max_dimensions,
        neighbours=config.neighbours,
        resamples=config.resamples,
        splits=config.splits,
        seed=config.seed,
    )
    dimensions = len(principal_components(features[0], config.max_dimensions)[1])
    return {
        "features": features[0].shape[1],
        "dimensions": dimensions,
        "measures": {name: asdict(measure) for name, measure in measures.items()},
    }


def _score_copies(scores: Scores, name: str, config: MeasureConfig, groups: np.ndarray) -> dict[str, Any]:
    """How many regions of a class are near-copies of training ones; sets each sample's nearest."""
    scored, pasted = scores.scored, scores.regions[name]
    training = [scores.training[name][i] for i in spaced(len(scores.training[name]), config.max_real)]
    of_training = groups[[region.scene for region in training]]
    among_real = find_nearest(training, training, of_training, of_training).distance
    bound = copy_bound(among_real, config.copy_fraction)
    found = find_nearest([region for _, region in pasted], training)
    copies = found.distance < bound
    keys, names = scored.dataset.survey.keys, scored.dataset.scenes.names
    from_donor = _set_nearest(pasted, training, found, copies, keys)
    fresh = find_real(scored.held_out_source, scored.held_out, name, config.min_region_px, config.crop_px)
    fresh = [fresh[i] for i in spaced(len(fresh), config.max_real)]
    of_fresh = find_nearest(fresh, training).distance
    fraction, low, high = _fraction_with_interval(copies, np.array([region.scene for _, region in pasted]), config)
    return {
        "bound": bound,
        "fraction": fraction,
        "low": low,
        "high": high,
        "nearest_is_donor": float(np.mean(from_donor)) if from_donor else float("nan"),
        "distance": _median(found.distance),
        "training": len(training),
        "training_names": len({names[region.scene] for region in training}),
        "real_fraction": _fraction_below(among_real, bound),
        "real_distance": _median(among_real),
        "held_out": len(fresh),
        "held_out_fraction": _fraction_below(of_fresh, bound),
        "held_out_distance": _median(of_fresh),
    }


def _set_nearest(
    pasted: Sequence[tuple[Sample, RareRegion]],
    training: Sequence[RareRegion],
    found: Nearest,
    copies: np.ndarray,
    keys: Sequence[str],
) -> list[bool]:
    """Give each sample its smallest distance; for every region with a nearest one, whether that is of its own donor."""
    from_donor = []
    for (sample, region), which, distance, copy in zip(pasted, found.which, found.distance, copies, strict=True):
        if which >= 0:
            from_donor.append(keys[training[which].scene] in {donor["key"] for donor in sample.donors})
            if not distance >= sample.distance:  # also when there is none yet
                sample.distance, sample.region, sample.nearest = float(distance), region, training[which]
            sample.copy |= bool(copy)
    return from_donor


def _fraction_with_interval(flags: np.ndarray, groups: np.ndarray, config: MeasureConfig) -> tuple[float, float, float]:
    """Fraction of (N,) bool flags that are set, and its 95 % interval with groups resampled; NaN for no flag."""
    if not len(flags):
        return float("nan"), float("nan"), float("nan")
    fraction = float(np.mean(flags))
    weights = draw_weights(groups, config.resamples, np.random.default_rng(config.seed))
    return fraction, *recentred_interval(fraction, weights @ flags / weights.sum(1), (0, 1))


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.any(~np.isnan(values)) else float("nan")


def _fraction_below(values: np.ndarray, bound: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known < bound)) if len(known) else float("nan")


def _score_agreement(scored: ScoredSet, config: MeasureConfig, judge: Judge) -> dict[str, Any]:
    """IoU of every class between label maps and the judge's predictions; sets each sample's agreement."""
    classes = scored.dataset.scenes.classes
    counts = _judge_scenes(judge, scored.synthetic, [sample.index for sample in scored.samples], config.batch_size)
    for sample, iou in zip(scored.samples, iou_per_class(counts), strict=True):
        sample.agreement = {name: float(iou[classes.index(name)]) for name in scored.class_names}
    total = iou_per_class(counts.sum(0))
    weights = draw_weights(np.arange(len(counts)), config.resamples, np.random.default_rng(config.seed))
    drawn = iou_per_class((weights @ counts.reshape(len(counts), -1)).reshape(-1, *counts.shape[1:]))
    fresh = [scored.held_out[i] for i in spaced(len(scored.held_out), config.max_real)]
    real = iou_per_class(_judge_scenes(judge, scored.held_out_source, fresh, config.batch_size).sum(0))
    found = {}
    for index, name in enumerate(classes.names):
        known = drawn[~np.isnan(drawn[:, index]), index]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        found[name] = {"iou": total[index], "low": low, "high": high, "real": real[index]}
    return {"held_out": len(fresh), "classes": found}


def _judge_scenes(judge: Judge, scenes: SceneSource, indices: Sequence[int], batch_size: int) -> np.ndarray:
    """(N, C, C) int64 counts of each scene; row = label map, column = what the judge sees."""
    found = [np.zeros((0, len(judge.classes), len(judge.classes)), np.int64)]
    for batch in batches_of_one_shape((scenes[index] for index in indices), batch_size):
        images, labels = np.stack([scene.image for scene in batch]), np.stack([scene.indices for scene in batch])
        found.append(agreement_counts(judge, images, labels))
    return np.concatenate(found)
