"""`marsgen score`: how good a synthetic set is, as a table, as scores per sample and as a page with pictures.

Realism and variety by distances to real scenes, label fidelity by a judge's agreement, novelty by the nearest training
region. Every number has an interval or a floor: what real scenes get when they are held against each other.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.cleaning.near_duplicates import find_duplicates, join_linked
from marsgen.core.config import Config, DataConfig
from marsgen.core.errors import DataError, RunError
from marsgen.core.files import plain, write_text
from marsgen.core.runs import Run
from marsgen.quality.crops import RareRegion, find_pasted, find_real
from marsgen.quality.judges import Judge, open_judge
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import iou_per_class
from marsgen.scenes.scene import SceneSource, batches_of_one_shape, scene_key
from marsgen.scenes.sources import open_scenes

if TYPE_CHECKING:
    from marsgen.quality.features import FeatureNetwork


class ScoreConfig(Config):
    """How `marsgen score` measures a synthetic set; configs/score.yaml."""

    data: DataConfig | None = None
    """cleaning and split of the real data; null = as the set was made with"""
    max_samples: int = Field(2000, ge=8)
    """most synthetic samples that are looked at, evenly spaced over the set"""
    max_real: int = Field(2000, ge=8)
    """most real scenes, and most real regions of each class, evenly spaced"""
    crop_px: int = Field(64, ge=32)
    """side of the square round a region that stands for it in the distances"""
    min_region_px: int = Field(64, ge=1)
    """real regions with fewer pixels are annotation crumbs"""
    scene_px: int = Field(256, ge=32)
    """whole scenes are shrunk to at most this many pixels on their longer side before features are taken"""
    neighbours: int = Field(5, ge=1)
    """k of density and coverage"""
    max_dimensions: int = Field(32, ge=1)
    """most principal components of the features in the Frechet distance"""
    resamples: int = Field(1000, ge=20)
    """bootstrap resamples behind the 95 % intervals"""
    splits: int = Field(20, ge=1)
    """random halvings of the real pictures behind the floor"""
    copy_fraction: float = Field(0.01, gt=0, lt=0.5)
    """a region is a copy when it is nearer to a training region than all but this share of different real ones"""
    batch_size: int = Field(64, ge=1)
    """pictures in a network at once"""
    pictures: int = Field(12, ge=1, le=200)
    """most pictures in each section of the page"""
    seed: int = Field(0, ge=0)
    """of resamples and halvings"""


@dataclass(eq=False)
class Sample:
    """One synthetic scene and its scores."""

    index: int
    """in the synthetic set"""
    name: str
    parent: dict[str, Any]
    donors: list[dict[str, Any]]
    agreement: dict[str, float] = field(default_factory=dict)
    """class -> the judge's IoU over the picture; NaN where neither of the two shows the class"""
    strangeness: list[float] = field(default_factory=list)
    """distance in features of each of its rare crops to the nearest real one, over the usual one between real crops"""
    distance: float = float("nan")
    """1 - correlation with the nearest training region, of the region that is nearest to one"""
    nearest: RareRegion | None = None
    region: RareRegion | None = None
    """the region that `distance` is about"""
    copy: bool = False

    @property
    def realism(self) -> float:
        """Nearness of its crops to real ones: 1 = as among real ones, less = farther; NaN without a crop."""
        return 1 / max(float(np.mean(self.strangeness)), 1e-6) if self.strangeness else float("nan")

    @property
    def mean_agreement(self) -> float:
        """Over the classes that can be scored; NaN where none can."""
        known = [iou for iou in self.agreement.values() if not np.isnan(iou)]
        return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True, eq=False)
class Material:
    """What is scored, and what it is held against."""

    synthetic: SceneSource
    samples: list[Sample]
    class_names: tuple[str, ...]
    dataset: Dataset
    reference: SceneSource | None
    """other real scenes that stand for reality in the distances; None = the train part"""
    held_out: list[int]
    """scenes of `reference` (else of the val part) that no generator has seen"""

    @property
    def held_out_source(self) -> SceneSource:
        return self.reference or self.dataset.scenes


@dataclass(eq=False)
class Scores:
    """Everything that was measured."""

    material: Material
    summary: dict[str, Any]
    regions: dict[str, list[tuple[Sample, RareRegion]]] = field(default_factory=dict)
    training: dict[str, list[RareRegion]] = field(default_factory=dict)


def score_set(
    folder: Path,
    config: ScoreConfig,
    out: Path,
    *,
    judge: Path | None = None,
    features: str | None = None,
    data: str | None = None,
    classes: ClassSet | None = None,
    reference: str | None = None,
    replace: bool = False,
) -> tuple[str, ...]:
    """Score a synthetic set and write out/scores.jsonl, out/gallery.html and out/DONE, in a run folder.

    Args:
        folder: what `marsgen synthesize` wrote.
        judge: a trained segmenter, for the agreement; see `open_judge`.
        features: see `open_features`; None = the judge if there is one, else imagenet.
        data: the real scenes that the set was grown from, if they are no longer where they were.
        classes: what the ids of `data` mean, where the data set does not say it.
        reference: other real scenes to stand for reality in the distances instead of the train part.
        replace: see `Run.start`.
    Returns:
        the lines that the command prints.
    Raises:
        DataError, RunError: something named here cannot be used.
    """
    from marsgen.pages.score_page import draw_page
    from marsgen.quality.features import open_features

    material = _gather(folder, config, data, classes, reference)
    scenes = material.dataset.scenes
    seer = None if judge is None else open_judge(judge, scenes.classes, scenes.channels)
    if seer is not None and seer.saw_synthetic:
        print(f"note: {judge} was trained on synthetic scenes; it may praise what it has learned from", file=sys.stderr)
    kind = features or ("judge" if seer else "imagenet")
    network = open_features(kind, seer)
    inputs = _inputs(folder, material, judge, seer, kind, network)
    run = Run.start(out, "marsgen score", config, inputs, replace=replace)
    if not run.finished:
        scores = _measure(material, config, seer, network, run.folder)
        records = [_record(sample, material.dataset) for sample in material.samples]
        write_text(out / "scores.jsonl", "".join(json.dumps(plain(record)) + "\n" for record in records))
        write_text(out / "gallery.html", draw_page(scores, config.pictures))
        run.finish(scores.summary)
    return describe(run.summary, str(folder))


def _inputs(
    folder: Path, material: Material, judge: Path | None, seer: Judge | None, kind: str, network: "FeatureNetwork"
) -> dict[str, Any]:
    scenes, reference = material.dataset.scenes, material.reference
    return {
        "set": {"location": str(folder), "fingerprint": material.synthetic.fingerprint()},
        "data": {"location": scenes.location, "fingerprint": scenes.fingerprint()},
        "reference": reference and {"location": reference.location, "fingerprint": reference.fingerprint()},
        "judge": seer and {"location": str(judge), "fingerprint": seer.fingerprint},
        "features": {"kind": kind, "fingerprint": network.fingerprint},
    }


# what is scored


def _gather(
    folder: Path, config: ScoreConfig, data: str | None, classes: ClassSet | None, reference: str | None
) -> Material:
    made = Run.load(folder, "marsgen synthesize")
    head = _read_head(folder)
    location = data or head["data"]["location"]
    if data is None and not location.startswith("sim:") and not Path(location).exists():
        raise DataError(
            f"{folder} was grown from {location}, which is not here; name those scenes with --data (paths count from "
            "the current folder)"
        )
    if classes is None and data is None and head["data"].get("classes"):
        from marsgen.scenes.classes import read_classes

        classes = read_classes(Path(head["data"]["classes"]))
    split = config.data or DataConfig.model_validate(made.config.get("data") or {})
    dataset = open_dataset(location, split, classes)
    if dataset.scenes.fingerprint() != head["data"]["fingerprint"]:
        raise DataError(
            f"{location} does not hold the scenes that {folder} was grown from (fingerprint "
            f"{dataset.scenes.fingerprint()}, expected {head['data']['fingerprint']}); name those with --data"
        )
    synthetic = open_scenes(str(folder))
    samples = _read_samples(folder, synthetic, spaced(len(synthetic), config.max_samples))
    if reference is None:
        return Material(synthetic, samples, tuple(head["classes"]), dataset, None, list(dataset.split.val))
    others = open_scenes(reference, classes=classes)
    _check_reference(others, dataset)
    known = set(dataset.survey.keys)
    fresh = [index for index in range(len(others)) if scene_key(others.read(index)[0]) not in known]
    if not fresh:
        raise DataError(f"--reference {reference}: all its pictures are in {location} too; name other real scenes")
    if len(fresh) < len(others):
        print(f"note: {len(others) - len(fresh)} pictures of {reference} are in {location} too", file=sys.stderr)
    return Material(synthetic, samples, tuple(head["classes"]), dataset, others, fresh)


def _check_reference(others: SceneSource, dataset: Dataset) -> None:
    scenes = dataset.scenes
    if (others.classes.names, others.channels) != (scenes.classes.names, scenes.channels):
        raise DataError(
            f"--reference {others.location}: classes {', '.join(others.classes.names)} on {others.channels} "
            f"channel(s); {scenes.location} has {', '.join(scenes.classes.names)} on {scenes.channels}; "
            "expected the same"
        )


def _read_head(folder: Path) -> dict[str, Any]:
    path = folder / "synth.json"
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(head["data"]["location"], str) and head["data"]["fingerprint"] and head["classes"]:
            return head
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{path}: does not say which data and classes the set was made from; make it again")


def _read_samples(folder: Path, synthetic: SceneSource, chosen: Sequence[int]) -> list[Sample]:
    """The chosen samples with their manifest lines, of which only these are kept in memory."""
    index_of = {synthetic.names[index]: int(index) for index in chosen}
    samples = []
    with (folder / "manifest.jsonl").open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if record["name"] in index_of:
                samples.append(Sample(index_of[record["name"]], record["name"], record["parent"], record["donors"]))
    return sorted(samples, key=lambda sample: sample.index)


def spaced(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 .. count-1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


# measuring


def _measure(
    material: Material, config: ScoreConfig, judge: Judge | None, network: "FeatureNetwork", folder: Path
) -> Scores:
    scores = Scores(material, {"samples": len(material.samples), "reference": _reference_words(material)})
    _find_regions(scores, config)
    families = _scene_families(material.dataset)
    scores.summary["crops"] = {name: _score_crops(scores, name, config, network, folder) for name in scores.regions}
    scores.summary["scenes"] = _score_scenes(material, config, network, folder)
    scores.summary["copies"] = {name: _score_copies(scores, name, config, families) for name in scores.regions}
    scores.summary["copied_samples"] = float(np.mean([sample.copy for sample in material.samples]))
    scores.summary["agreement"] = None if judge is None else _score_agreement(material, config, judge)
    return scores


def _reference_words(material: Material) -> str:
    return material.reference.location if material.reference else f"train part of {material.dataset.scenes.location}"


def _find_regions(scores: Scores, config: ScoreConfig) -> None:
    material = scores.material
    dataset, names = material.dataset, material.class_names
    scores.regions = {name: [] for name in names}
    for sample in material.samples:
        scene = material.synthetic[sample.index]
        for name in names:
            found = find_pasted(scene, sample.index, sample.donors, name, config.crop_px)
            scores.regions[name] += [(sample, region) for region in found]
    for name in names:
        train = _showing(dataset, name, dataset.split.train)
        scores.training[name] = find_real(dataset.scenes, train, name, config.min_region_px, config.crop_px)


def _showing(dataset: Dataset, class_name: str, indices: Sequence[int]) -> list[int]:
    return [i for i in indices if dataset.survey.shows[i, dataset.scenes.classes.index(class_name)]]


def _scene_families(dataset: Dataset) -> np.ndarray:
    """(N,) int64: scenes of one number may show the same ground, as they have a group or much detail in common."""
    families = np.arange(len(dataset.scenes))
    if dataset.scenes.groups is not None:
        return np.unique(np.array(dataset.scenes.groups), return_inverse=True)[1]
    pairs = find_duplicates(dataset.scenes, dataset.survey, 0.75)
    for cluster in join_linked(len(families), [(pair.first, pair.second) for pair in pairs]):
        families[list(cluster)] = cluster[0]
    return families


def _score_crops(
    scores: Scores, name: str, config: ScoreConfig, network: "FeatureNetwork", folder: Path
) -> dict[str, Any]:
    """Distances between the crops of a class; sets each sample's realism."""
    from marsgen.quality.distances import neighbour_radii, pairwise_distances
    from marsgen.quality.features import extract_features

    real = _real_regions(scores, name, config)
    pasted = scores.regions[name]
    found: dict[str, Any] = {"real": len(real), "synthetic": len(pasted)}
    if len(real) >= 2 and pasted:
        real_features = extract_features(network, [region.crop for region in real], folder, config.batch_size)
        features = extract_features(network, [region.crop for _, region in pasted], folder, config.batch_size)
        families = np.array([region.scene for region in real]), np.array([region.scene for _, region in pasted])
        among_real = neighbour_radii(pairwise_distances(real_features, real_features), families[0], 1)
        usual = float(np.median(among_real[np.isfinite(among_real)])) if np.isfinite(among_real).any() else np.nan
        nearest = pairwise_distances(features, real_features).min(1) / max(usual, 1e-12)
        for (sample, _), distance in zip(pasted, nearest, strict=True):
            sample.strangeness.append(float(distance))
        found |= _compare((real_features, features), families, config)
    return found


def _real_regions(scores: Scores, name: str, config: ScoreConfig) -> list[RareRegion]:
    material = scores.material
    if material.reference is None:
        found = scores.training[name]
    else:
        found = find_real(material.reference, material.held_out, name, config.min_region_px, config.crop_px)
    return [found[i] for i in spaced(len(found), config.max_real)]


def _score_scenes(material: Material, config: ScoreConfig, network: "FeatureNetwork", folder: Path) -> dict[str, Any]:
    from marsgen.quality.features import extract_features

    source = material.reference or material.dataset.scenes
    indices = material.held_out if material.reference else list(material.dataset.split.train)
    real = [indices[i] for i in spaced(len(indices), config.max_real)]
    made = [sample.index for sample in material.samples]
    pictures = _Shrunk(source, real, config.scene_px), _Shrunk(material.synthetic, made, config.scene_px)
    first, second = (extract_features(network, some, folder, config.batch_size) for some in pictures)
    families = np.arange(len(real)), np.arange(len(made))
    return {"real": len(real), "synthetic": len(made)} | _compare((first, second), families, config)


@dataclass(frozen=True, eq=False)
class _Shrunk:
    """Images of some scenes, read and shrunk every time they are gone through."""

    source: SceneSource
    indices: list[int]
    longest_px: int

    def __iter__(self) -> Iterator[np.ndarray]:
        from marsgen.quality.features import shrink

        return (shrink(self.source.read(index)[0], self.longest_px) for index in self.indices)


def _compare(
    features: tuple[np.ndarray, np.ndarray], families: tuple[np.ndarray, np.ndarray], config: ScoreConfig
) -> dict[str, Any]:
    """Measures of real and synthetic features; {} where either is from too few scenes."""
    from marsgen.quality.distances import MIN_PICTURES, compare_sets, principal_components

    if min(len(np.unique(some)) for some in families) < MIN_PICTURES:
        return {}
    measures = compare_sets(
        *features,
        *families,
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


def _score_copies(scores: Scores, name: str, config: ScoreConfig, families: np.ndarray) -> dict[str, Any]:
    """How many regions of a class are near-copies of training ones; sets each sample's nearest."""
    from marsgen.quality.distances import draw_weights, recentred_interval
    from marsgen.quality.duplicates import copy_bound, find_nearest

    material, pasted = scores.material, scores.regions[name]
    training = [scores.training[name][i] for i in spaced(len(scores.training[name]), config.max_real)]
    of_training = families[[region.scene for region in training]]
    among_real = find_nearest(training, training, of_training, of_training).distance
    bound = copy_bound(among_real, config.copy_fraction)
    found = find_nearest([region for _, region in pasted], training)
    copies = found.distance < bound
    keys, names = material.dataset.survey.keys, material.dataset.scenes.names
    from_donor = []
    for (sample, region), which, distance, copy in zip(pasted, found.which, found.distance, copies, strict=True):
        if which >= 0:
            from_donor.append(keys[training[which].scene] in {donor["key"] for donor in sample.donors})
            if not distance >= sample.distance:  # also when there is none yet
                sample.distance, sample.region, sample.nearest = float(distance), region, training[which]
            sample.copy |= bool(copy)
    fresh = find_real(material.held_out_source, material.held_out, name, config.min_region_px, config.crop_px)
    fresh = [fresh[i] for i in spaced(len(fresh), config.max_real)]
    of_fresh = find_nearest(fresh, training).distance
    share = float(np.mean(copies)) if len(copies) else float("nan")
    interval = float("nan"), float("nan")
    if len(copies):
        rng = np.random.default_rng(config.seed)
        weights = draw_weights(np.array([region.scene for _, region in pasted]), config.resamples, rng)
        interval = recentred_interval(share, weights @ copies / weights.sum(1), (0, 1))
    return {
        "bound": bound,
        "share": share,
        "low": interval[0],
        "high": interval[1],
        "nearest_is_donor": float(np.mean(from_donor)) if from_donor else float("nan"),
        "distance": _median(found.distance),
        "training": len(training),
        "training_names": len({names[region.scene] for region in training}),
        "real_fraction": _share_below(among_real, bound),
        "real_distance": _median(among_real),
        "held_out": len(fresh),
        "held_out_fraction": _share_below(of_fresh, bound),
        "held_out_distance": _median(of_fresh),
    }


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.any(~np.isnan(values)) else float("nan")


def _share_below(values: np.ndarray, bound: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known < bound)) if len(known) else float("nan")


def _score_agreement(material: Material, config: ScoreConfig, judge: Judge) -> dict[str, Any]:
    """IoU of every class between asked-for maps and the judge's; sets each sample's agreement."""
    from marsgen.quality.distances import draw_weights

    classes = material.dataset.scenes.classes
    counts = _judge_scenes(judge, material.synthetic, [sample.index for sample in material.samples], config.batch_size)
    for sample, iou in zip(material.samples, iou_per_class(counts), strict=True):
        sample.agreement = {name: float(iou[classes.index(name)]) for name in material.class_names}
    total = iou_per_class(counts.sum(0))
    weights = draw_weights(np.arange(len(counts)), config.resamples, np.random.default_rng(config.seed))
    drawn = iou_per_class((weights @ counts.reshape(len(counts), -1)).reshape(-1, *counts.shape[1:]))
    fresh = [material.held_out[i] for i in spaced(len(material.held_out), config.max_real)]
    real = iou_per_class(_judge_scenes(judge, material.held_out_source, fresh, config.batch_size).sum(0))
    found = {}
    for index, name in enumerate(classes.names):
        known = drawn[~np.isnan(drawn[:, index]), index]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        found[name] = {"iou": total[index], "low": low, "high": high, "real": real[index]}
    return {"held_out": len(fresh), "classes": found}


def _judge_scenes(judge: Judge, scenes: SceneSource, indices: Sequence[int], batch_size: int) -> np.ndarray:
    """(N, C, C) int64 counts of each scene; row = label map, column = what the judge sees."""
    from marsgen.quality.agreement import agreement_counts

    found = [np.zeros((0, len(judge.classes), len(judge.classes)), np.int64)]
    for batch in batches_of_one_shape((scenes[index] for index in indices), batch_size):
        images, labels = np.stack([scene.image for scene in batch]), np.stack([scene.indices for scene in batch])
        found.append(agreement_counts(judge, images, labels))
    return np.concatenate(found)


# what is said


def _record(sample: Sample, dataset: Dataset) -> dict[str, Any]:
    """A line of scores.jsonl."""
    record: dict[str, Any] = {
        "name": sample.name,
        "agreement": sample.agreement or None,
        "realism": sample.realism,
        "copy": sample.copy,
        "distance": sample.distance,
        "region": None,
        "nearest": None,
    }
    if sample.nearest is not None and sample.region is not None:
        name, key = dataset.scenes.names[sample.nearest.scene], dataset.survey.keys[sample.nearest.scene]
        record["region"] = {"class": sample.region.class_name, "box": list(sample.region.box)}
        record["nearest"] = {"name": name, "key": key, "box": list(sample.nearest.box)}
    return record


def describe(summary: dict[str, Any], location: str) -> tuple[str, ...]:
    """The lines that the command prints, from what DONE holds."""
    lines = [f"{location}: {summary['samples']} samples beside {summary['reference']}"]
    for name, found in summary["crops"].items():
        lines += _measure_lines(f"crops of {name}", found)
    lines += _measure_lines("whole scenes", summary["scenes"])
    return (*lines, *describe_fidelity(summary))


def describe_fidelity(summary: dict[str, Any]) -> tuple[str, ...]:
    """The lines about copies and agreement."""
    lines = []
    for name, found in summary["copies"].items():
        lines += _copy_lines(name, found)
    if summary["agreement"] is not None:
        lines += _agreement_lines(summary["agreement"])
    return tuple(lines)


def measure_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Of each measure its name, its value with interval, the floor with range, and the value at the floor's size."""
    rows = []
    for name, measure in found.get("measures", {}).items():
        value, floor = _spread(measure, "value", "low", "high"), _spread(measure, "floor", "floor_low", "floor_high")
        rows.append((name, value, floor, number(measure["same_size"])))
    return rows


def _measure_lines(title: str, found: dict[str, Any]) -> list[str]:
    counts = f"{title}: {found['synthetic']} synthetic, {found['real']} real"
    if "measures" not in found:
        return [f"{counts}; too few scenes to compare"]
    table = [
        (counts, "synthetic [95 % interval]", "real halves [range]", "synthetic, as few"),
        *((f"  {name}", *rest) for name, *rest in measure_rows(found)),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [*lines, f"  ({found['features']} features; frechet on {found['dimensions']} principal components)"]


def _copy_lines(name: str, found: dict[str, Any]) -> list[str]:
    share = _percent(found["share"])
    interval = f"[{_percent(found['low'])}, {_percent(found['high'])}]"
    lines = [f"copies of {name}: {share} {interval} of the regions show a training region again"]
    if found["bound"] is None:
        return [f"copies of {name}: {found['training']} training regions are too few to tell"]
    lines.append(
        f"  bound {number(found['bound'])}; below it: different training regions {_percent(found['real_fraction'])} of "
        f"{found['training']}, held-out ones {_percent(found['held_out_fraction'])} of {found['held_out']}"
    )
    lines.append(
        f"  median distance {number(found['distance'])}, training regions {number(found['real_distance'])}; the "
        f"nearest is the region's own donor in {_percent(found['nearest_is_donor'])}"
    )
    return lines


def _agreement_lines(found: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in found["classes"])
    lines = [f"agreement of the judge (IoU), beside {found['held_out']} real scenes that are held out"]
    for name, scores in found["classes"].items():
        lines.append(f"  {name:{width}}  {_spread(scores, 'iou', 'low', 'high'):22}  real {number(scores['real'])}")
    return lines


def _spread(found: dict[str, Any], value: str, low: str, high: str) -> str:
    return f"{number(found[value])} [{number(found[low])}, {number(found[high])}]"


def number(value: float | None) -> str:
    """Three significant digits; a dash for none."""
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.1%}"
