"""What `marsgen score` looks at: samples of a synthetic set, its real scenes, and held-out real scenes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.reading import read_json_lines
from marsgen.provenance import unseen_scenes
from marsgen.quality.crops import RareRegion
from marsgen.quality.places import read_scored_head, refuse_lost_parents
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes


@dataclass(eq=False)
class Sample:
    """One synthetic scene and its scores."""

    index: int
    """in the synthetic set"""
    name: str
    parent: dict[str, Any] | None
    donors: list[dict[str, Any]]
    patches: list[dict[str, Any]]
    """class and box of what was pasted, or drawn for a given label map"""
    agreement: dict[str, float] = field(default_factory=dict)
    """class -> the judge's IoU over the picture; NaN where neither of the two shows the class"""
    relative_feature_distances: list[float] = field(default_factory=list)
    """of each rare crop: feature distance to the nearest real crop / median of that distance among real crops"""
    distance: float = float("nan")
    """1 - correlation with the nearest training region, of the region that is nearest to one"""
    nearest: RareRegion | None = None
    region: RareRegion | None = None
    """the region that `distance` is about"""
    copy: bool = False

    @property
    def realism(self) -> float:
        """1 / mean relative feature distance: 1 = as near as real crops are to each other; NaN without a crop."""
        distances = self.relative_feature_distances
        return 1 / max(float(np.mean(distances)), 1e-6) if distances else float("nan")

    @property
    def mean_agreement(self) -> float:
        """Over the classes that can be scored; NaN where none can."""
        known = [iou for iou in self.agreement.values() if not np.isnan(iou)]
        return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """A synthetic set and the real scenes that it is compared with."""

    synthetic: SceneSource
    samples: list[Sample]
    class_names: tuple[str, ...]
    dataset: Dataset
    reference: SceneSource | None
    """other real scenes to compare with; None = the train part of `dataset`"""
    held_out: list[int]
    """indices of real scenes that no generator has seen: of `reference`, or of the validation part"""
    left_out: int = 0
    """scenes of `reference` that are also in `dataset`, outside of its test part, hence not in `held_out`"""

    @property
    def held_out_source(self) -> SceneSource:
        """Where the indices `held_out` point into."""
        return self.reference or self.dataset.scenes


def open_scored_set(
    folder: Path,
    max_samples: int,
    *,
    split: DataConfig | None = None,
    data: str | None = None,
    classes: ClassSet | None = None,
    reference: str | None = None,
) -> ScoredSet:
    """Open a synthetic set together with the real scenes that it is compared with.

    Args:
        folder: what `marsgen synthesize` wrote.
        max_samples: most samples, evenly spaced over the set.
        split: cleaning and split of the real scenes; None = as the set was made with.
        data: the real scenes that the set was made from, if they are no longer where they were.
        classes: what the ids of `data` mean, where the data set does not say it.
        reference: other real scenes to compare with instead of the train part; those that are also in `data`, but for
            its test part, are left out and counted in `ScoredSet.left_out`. So are those that the set's makers know.
    Raises:
        DataError, RunError: something named here cannot be used.
    """
    made = Run.load(folder, "marsgen synthesize")
    head = read_scored_head(folder)
    refuse_lost_parents(folder, head, data)
    split = split or (made.stored_config("data", DataConfig) if made.config.get("data") else DataConfig())
    dataset = _open_parents(folder, head, split, data, classes)
    synthetic = open_scenes(str(folder))
    samples = _read_samples(folder, synthetic, spaced(len(synthetic), max_samples))
    if reference is None:
        return ScoredSet(synthetic, samples, tuple(head["classes"]), dataset, None, list(dataset.split.val))
    others = open_scenes(reference, classes=classes or _own_classes(head, data))
    _check_reference(others, dataset)
    fresh = unseen_scenes(others, dataset, head["trained_on"])
    if not fresh:
        raise DataError(
            f"--reference {reference}: all its pictures are in {dataset.scenes.location} too, and none of them in a "
            "test part; name other real scenes, or make the set with a test part (--set data.test_fraction=0.2)"
        )
    left_out = len(others) - len(fresh)
    return ScoredSet(synthetic, samples, tuple(head["classes"]), dataset, others, fresh, left_out)


def _open_parents(
    folder: Path, head: dict[str, Any], split: DataConfig, data: str | None, classes: ClassSet | None
) -> Dataset:
    """The real scenes that a set was made from, cleaned and split."""
    location = data or head["data"]["location"]
    dataset = open_dataset(location, split, classes or _own_classes(head, data))
    if dataset.scenes.fingerprint() != head["data"]["fingerprint"]:
        raise DataError(
            f"{location} does not hold the scenes that {folder} was made from (fingerprint "
            f"{dataset.scenes.fingerprint()}, expected {head['data']['fingerprint']}); name those with --data"
        )
    return dataset


def _own_classes(head: dict[str, Any], data: str | None) -> ClassSet | None:
    """The classes that the set was made with, for its own data; None where others are named or there is no file."""
    path = head["data"].get("classes")
    return read_classes(Path(path)) if data is None and path else None


def _check_reference(others: SceneSource, dataset: Dataset) -> None:
    scenes = dataset.scenes
    others.classes = others.classes.ordered_like(scenes.classes)
    if (others.classes.names, others.channels) != (scenes.classes.names, scenes.channels):
        raise DataError(
            f"--reference {others.location}: classes {', '.join(others.classes.names)} on {others.channels} "
            f"channel(s); {scenes.location} has {', '.join(scenes.classes.names)} on {scenes.channels}; "
            "expected the same"
        )


def _read_samples(folder: Path, synthetic: SceneSource, chosen: Sequence[int]) -> list[Sample]:
    """The chosen samples with their manifest lines, of which only these are kept in memory."""
    index_of = {synthetic.names[index]: int(index) for index in chosen}
    samples = []
    for _, record in read_json_lines(folder / "manifest.jsonl", RunError, "make the set again"):
        if record["name"] in index_of:
            patches = record.get("drawn", record["donors"])
            samples.append(
                Sample(index_of[record["name"]], record["name"], record["parent"], record["donors"], patches)
            )
    return sorted(samples, key=lambda sample: sample.index)


def spaced(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 .. count-1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []
