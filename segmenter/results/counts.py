"""The raw counts of a study: small enough to commit, and every number of its page can be made again from them.

<folder>/study.json     title, test part, settings, arms, dose curves: a `StudyMetadata`
<folder>/images.json    name, group, fold and content key of each test image
<folder>/<arm>.npz      counts (S, N, C, C): pixels of each seed and image, row = truth, column = prediction, as the
                        smallest unsigned integers that hold them; regions and false_alarms: rows of SEED_REGION;
                        where evaluations kept margins, ranks (S, N, Q, 2, RANKS): pixels by rank of each rare class,
                        labelled with it and other (statistics/ranking.py), nothing but 0 for a seed without margins

Letters: S seeds of an arm, N test images, C classes, Q of them rare. Weights and pictures are not part of the counts.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import DataError, nearest
from marsgen.core.storage.arrays import read_npz
from marsgen.core.storage.files import write_bytes, write_json
from marsgen.core.storage.reading import read_json
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.margins import ranked_classes
from segmenter.evaluation.reader import Evaluation
from segmenter.evaluation.regions import REGION, found_regions
from segmenter.results.metadata import (
    COUNTS_REMEDY,
    ArmMetadata,
    DoseCurve,
    Power,
    ScoredPart,
    ScoringSettings,
    StatisticsSettings,
    StudyMetadata,
    read_metadata,
)
from segmenter.results.statistics.bootstrap import unit_sums
from segmenter.results.statistics.ranking import RANKS, rank_margins

SEED_REGION = np.dtype([*((name, REGION[name]) for name in REGION.names or ()), ("seed_index", "<i4")])
"""REGION, and which of the arm's seeds (0..S-1) it belongs to"""


@dataclass(frozen=True)
class ImageList:
    """The test images, in the order of the second axis of all counts."""

    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    """of each image; None = each is a unit of its own"""
    folds: tuple[int, ...] | None
    """which fold scored each image; None = there are no folds"""
    keys: tuple[str, ...]
    """content keys (see `scene_key`)"""


@dataclass(frozen=True, eq=False)
class ArmCounts:
    """What one arm got right and wrong."""

    metadata: ArmMetadata
    counts: np.ndarray
    """(S, N, C, C) unsigned pixels; row = truth, column = prediction"""
    regions: np.ndarray
    """(R,) SEED_REGION: true regions of the rare classes, once per seed"""
    false_alarms: np.ndarray
    """(F,) SEED_REGION: predicted regions where there is nothing of the class"""
    ranks: np.ndarray | None = None
    """(S, N, Q, 2, RANKS) unsigned pixels, Q as in the study's `classes.rare`; 0 for seeds whose evaluations kept no
    margins, None = no seed's did"""

    @property
    def unranked_seeds(self) -> list[int]:
        """Seeds whose evaluations kept no margins."""
        seeds = self.metadata.seeds
        return list(seeds) if self.ranks is None else [n for n, r in zip(seeds, self.ranks, strict=True) if not r.any()]

    def found(self, found_fraction: float) -> np.ndarray:
        """(R,) bool: which rows of `regions` count as found."""
        return found_regions(self.regions, found_fraction)

    def unit_sums(self, found_fraction: float, groups: Sequence[str] | None) -> np.ndarray:
        """(S, units, 5, C) float64: `bootstrap.unit_sums` of each seed."""
        found, of_seed = self.found(found_fraction), self.regions["seed_index"]
        return np.stack(
            [
                unit_sums(counts, self.regions[of_seed == s], found[of_seed == s], groups)
                for s, counts in enumerate(self.counts)
            ]
        )


@dataclass(frozen=True, eq=False)
class StudyCounts:
    """A study's raw counts; what does not fit together is refused.

    Raises:
        DataError: an arm is named that is not there, shapes disagree, or arms were scored on different labels.
    """

    metadata: StudyMetadata
    images: ImageList
    arms: tuple[ArmCounts, ...]
    """as in metadata.arms"""

    @cached_property
    def classes(self) -> ClassSet:
        return ClassSet.from_dict(self.metadata.classes, "the study's classes")

    @cached_property
    def primary_class(self) -> str:
        """Name of the class the study is about: the rare one with most regions, else the one with fewest pixels."""
        first = self.arms[0]
        if self.classes.rare:
            of_seed = first.regions[first.regions["seed_index"] == 0]["class_index"]
            return max(self.classes.rare, key=lambda name: np.count_nonzero(of_seed == self.classes.index(name)))
        pixels = first.counts[0].sum((0, 2), dtype=np.int64)
        return self.classes.names[min(range(len(pixels)), key=lambda c: pixels[c] or np.inf)]

    @cached_property
    def is_ranked(self) -> bool:
        """Whether the evaluations of all runs kept margins, so that there are secondary scores."""
        return not any(arm.unranked_seeds for arm in self.arms)

    def is_paired(self, one: str, other: str) -> bool:
        """Whether the seeds of two arms belong together one by one."""
        seeds = self.arm(one).metadata.seeds
        return seeds == self.arm(other).metadata.seeds and len(set(seeds)) == len(seeds)

    def arm(self, name: str) -> ArmCounts:
        """An arm by its name.

        Raises:
            DataError: no such arm; the message lists those there are.
        """
        return self.arms[self._place(name, "wanted")]

    def _place(self, name: str, wanted_by: str) -> int:
        names = [arm.name for arm in self.metadata.arms]
        if name not in names:
            raise DataError(f"no arm '{name}' ({wanted_by}){nearest(name, names)}; the arms are {', '.join(names)}")
        return names.index(name)

    def __post_init__(self) -> None:
        _check_names(self)
        _check_images(self)
        for arm in self.arms:
            _check_arm(arm, self)
        _check_same_truth(self.arms)


def _check_names(study: StudyCounts) -> None:
    listed = study.metadata.arms
    names = [arm.name for arm in listed]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two arms are named '{twice}'; each needs a name of its own")
    if tuple(arm.metadata for arm in study.arms) != listed:
        raise DataError(f"counts of {len(study.arms)} arms do not belong to the {len(listed)} arms of the study")
    study._place(study.metadata.baseline, "the study's baseline")
    if study.metadata.oracle is not None:
        study._place(study.metadata.oracle, "the study's oracle")
    for arm in listed:
        if arm.baseline is not None:
            study._place(arm.baseline, f"baseline of {arm.name}")
        if arm.baseline == arm.name:
            raise DataError(f"arm {arm.name} is its own baseline; leave its baseline out")
        for what in ("train_minutes", "peak_memory_mb"):
            if len(getattr(arm, what)) not in (0, len(arm.seeds)):
                raise DataError(
                    f"arm {arm.name}: {len(getattr(arm, what))} {what} for {len(arm.seeds)} seeds; give one per seed"
                )
    for curve in study.metadata.curves:
        for point in curve.points:
            study._place(point.arm, f"a point of the curve {curve.name}")


def _check_images(study: StudyCounts) -> None:
    wanted = study.metadata.test.images
    for what in ("names", "groups", "folds", "keys"):
        listed = getattr(study.images, what)
        if listed is not None and len(listed) != wanted:
            raise DataError(f"{len(listed)} {what} of test images; the study has {wanted} images")


def _check_arm(arm: ArmCounts, study: StudyCounts) -> None:
    name, seeds = arm.metadata.name, len(arm.metadata.seeds)
    wanted = (seeds, study.metadata.test.images, len(study.classes), len(study.classes))
    if arm.counts.shape != wanted or arm.counts.dtype.kind != "u":
        raise DataError(
            f"arm {name}: counts are {arm.counts.dtype} of shape {arm.counts.shape}; unsigned integers of shape "
            f"{wanted} (seeds, images, classes, classes) were expected"
        )
    _check_ranks(arm, study)
    for what, rows in (("regions", arm.regions), ("false_alarms", arm.false_alarms)):
        if rows.dtype != SEED_REGION or rows.ndim != 1:
            raise DataError(f"arm {name}: {what} have not the fields {', '.join(SEED_REGION.names or ())}")
        for field, stop in (("seed_index", wanted[0]), ("image", wanted[1]), ("class_index", wanted[2])):
            if len(rows) and not 0 <= rows[field].min() <= rows[field].max() < stop:
                raise DataError(f"arm {name}: {what} name a {field} outside 0..{stop - 1}")


def _check_ranks(arm: ArmCounts, study: StudyCounts) -> None:
    if arm.ranks is None:
        return
    ranked = ranked_classes(study.classes)
    wanted = (*arm.counts.shape[:2], len(ranked), 2, RANKS)
    if arm.ranks.shape != wanted or arm.ranks.dtype.kind != "u":
        raise DataError(
            f"arm {arm.metadata.name}: ranks are {arm.ranks.dtype} of shape {arm.ranks.shape}; unsigned integers of "
            f"shape {wanted} (seeds, images, rare classes, 2, ranks) were expected"
        )
    for s, seed in enumerate(arm.metadata.seeds):
        true = arm.counts[s].sum(2, dtype=np.int64)
        expected = np.stack([true[:, ranked], true.sum(1, keepdims=True) - true[:, ranked]], axis=2)
        if seed not in arm.unranked_seeds and not np.array_equal(arm.ranks[s].sum(3, dtype=np.int64), expected):
            raise DataError(
                f"arm {arm.metadata.name}, seed {seed}: ranks hold other pixels than counts; write the counts again"
            )


def _check_same_truth(arms: Sequence[ArmCounts]) -> None:
    """Labels are part of the counts: two arms that were scored on the same images agree about them."""
    first = arms[0]
    pixels, regions = first.counts[0].sum(2, dtype=np.int64), _truth(first, 0)
    for arm in arms:
        for s, seed in enumerate(arm.metadata.seeds):
            differs = (arm.counts[s].sum(2, dtype=np.int64) != pixels).any(1)
            if differs.any() or not np.array_equal(_truth(arm, s), regions):
                where = f" (image {int(differs.argmax())})" if differs.any() else ""
                raise DataError(
                    f"arm {arm.metadata.name}, seed {seed}, was scored on other labels than arm "
                    f"{first.metadata.name}{where}; evaluate all runs on the same test images"
                )


def _truth(arm: ArmCounts, seed_index: int) -> np.ndarray:
    rows = arm.regions[arm.regions["seed_index"] == seed_index]
    return np.stack([rows[field] for field in ("image", "class_index", "area_px", "foot_row")], 1)


# from evaluations


def count_evaluations(
    arms: Sequence[tuple[ArmMetadata, Sequence[Sequence[Evaluation]]]],
    *,
    title: str,
    baseline: str,
    oracle: str | None = None,
    statistics: StatisticsSettings,
    curves: tuple[DoseCurve, ...] = (),
    power: Power | None = None,
    scored_on: str | None = None,
) -> StudyCounts:
    """The counts of a study from the evaluations of its runs.

    Args:
        arms: what is known of each arm, and its evaluations as in `arm_of_evaluations`.
        title, baseline, oracle, statistics, curves, power: see StudyMetadata.
        scored_on: what the scored data are called; None = where they lie.
    Raises:
        DataError: the evaluations do not fit together.
    """
    folds = arms[0][1][0]
    record = folds[0].record
    settings = record["settings"]
    metadata = StudyMetadata(
        title=title,
        baseline=baseline,
        oracle=oracle,
        classes=record["classes"],
        test=ScoredPart(
            location=scored_on or record["data"]["location"],
            fingerprint=record["data"]["fingerprint"],
            part=record["part"],
            images=sum(len(fold.names) for fold in folds),
        ),
        scoring=ScoringSettings.model_validate(
            {key: settings[key] for key in ScoringSettings.model_fields if key in settings}
        ),
        statistics=statistics,
        arms=tuple(arm for arm, _ in arms),
        curves=curves,
        power=power,
    )
    rare = folds[0].classes.rare
    return StudyCounts(metadata, images_of_evaluations(folds), tuple(arm_of_evaluations(*arm, rare) for arm in arms))


def arm_of_evaluations(
    metadata: ArmMetadata, evaluations: Sequence[Sequence[Evaluation]], rare: Sequence[str] = ()
) -> ArmCounts:
    """Join the evaluations of an arm.

    Args:
        metadata: says which seeds.
        evaluations: per seed, in their order, those of all folds (a single one where there are no folds); their
            images are joined in that order.
        rare: the rare classes whose margins are kept, in their order.
    Raises:
        DataError: not one entry per seed, or seeds were scored on different images.
    """
    if len(evaluations) != len(metadata.seeds):
        raise DataError(
            f"arm {metadata.name}: evaluations of {len(evaluations)} seeds; its metadata name {len(metadata.seeds)}"
        )
    keys = images_of_evaluations(evaluations[0]).keys
    for seed, folds in zip(metadata.seeds, evaluations, strict=True):
        if images_of_evaluations(folds).keys != keys:
            raise DataError(
                f"arm {metadata.name}: seeds {metadata.seeds[0]} and {seed} were scored on different images; "
                "evaluate all seeds on the same test images"
            )
    counts = np.stack([np.concatenate([np.asarray(fold.counts) for fold in folds]) for folds in evaluations])
    return ArmCounts(
        metadata,
        counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
        np.concatenate([_seed_regions(s, folds, "regions") for s, folds in enumerate(evaluations)]),
        np.concatenate([_seed_regions(s, folds, "false_alarms") for s, folds in enumerate(evaluations)]),
        _ranks_of_seeds(evaluations, rare),
    )


def _ranks_of_seeds(evaluations: Sequence[Sequence[Evaluation]], rare: Sequence[str]) -> np.ndarray | None:
    """See ArmCounts.ranks."""
    if not rare:
        return None
    of_seeds: list[np.ndarray | None] = []
    for folds in evaluations:
        margins = [
            fold.margins[:, [fold.classes.rare.index(name) for name in rare]]
            for fold in folds
            if fold.margins is not None and set(rare) <= set(fold.classes.rare)
        ]
        of_seeds.append(rank_margins(margins) if len(margins) == len(folds) else None)
    known = [ranks for ranks in of_seeds if ranks is not None]
    if not known:
        return None
    smallest = np.min_scalar_type(max(int(ranks.max()) for ranks in known))
    return np.stack(
        [np.zeros_like(known[0]) if ranks is None else ranks for ranks in of_seeds], dtype=smallest, casting="unsafe"
    )


def images_of_evaluations(folds: Sequence[Evaluation]) -> ImageList:
    """The images of one seed's evaluations, one after the other."""
    grouped = all(fold.groups is not None for fold in folds)
    return ImageList(
        names=tuple(name for fold in folds for name in fold.names),
        groups=tuple(group for fold in folds for group in fold.groups or ()) if grouped else None,
        folds=tuple(f for f, fold in enumerate(folds) for _ in fold.names) if len(folds) > 1 else None,
        keys=tuple(key for fold in folds for key in fold.keys),
    )


def _seed_regions(seed_index: int, folds: Sequence[Evaluation], what: str) -> np.ndarray:
    start, parts = 0, [np.zeros(0, SEED_REGION)]
    for fold in folds:
        rows = getattr(fold, what)
        part = np.zeros(len(rows), SEED_REGION)
        for field in REGION.names or ():
            part[field] = rows[field]
        part["image"] += start
        part["seed_index"] = seed_index
        parts.append(part)
        start += len(fold.names)
    return np.concatenate(parts)


# on disk


def write_counts(folder: Path, study: StudyCounts) -> None:
    """Write a study's counts; study.json comes last. The same counts give the same bytes.

    Counts of arms that the study no longer has are removed.
    """
    for path in sorted(set(folder.glob("*.npz")) - {folder / f"{arm.metadata.name}.npz" for arm in study.arms}):
        path.unlink()
    for arm in study.arms:
        packed = io.BytesIO()
        kept: dict[str, Any] = {} if arm.ranks is None else {"ranks": arm.ranks}
        np.savez_compressed(packed, counts=arm.counts, regions=arm.regions, false_alarms=arm.false_alarms, **kept)
        write_bytes(folder / f"{arm.metadata.name}.npz", packed.getvalue())
    images = study.images
    listed = {"names": images.names, "groups": images.groups, "folds": images.folds, "keys": images.keys}
    write_json(folder / "images.json", listed)
    write_json(folder / "study.json", study.metadata.model_dump(mode="json"))


def read_counts(folder: Path) -> StudyCounts:
    """Read what `write_counts` wrote.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit together; the message names the file.
    """
    metadata = read_metadata(folder)
    images = _image_list(read_json(folder / "images.json", dict, DataError, COUNTS_REMEDY), folder / "images.json")
    arms = tuple(_read_arm(folder / f"{arm.name}.npz", arm) for arm in metadata.arms)
    try:
        return StudyCounts(metadata, images, arms)
    except DataError as problem:
        raise DataError(f"{folder}: {problem}") from None


def _image_list(content: Any, path: Path) -> ImageList:
    try:
        return ImageList(
            names=tuple(content["names"]),
            groups=None if content["groups"] is None else tuple(content["groups"]),
            folds=None if content["folds"] is None else tuple(content["folds"]),
            keys=tuple(content["keys"]),
        )
    except (KeyError, TypeError):
        raise DataError(f"{path}: lists names, groups, folds and keys were expected; write the counts again") from None


def _read_arm(path: Path, metadata: ArmMetadata) -> ArmCounts:
    unsigned = frozenset({np.uint8, np.uint16, np.uint32, np.uint64})
    rows = (SEED_REGION, (None,))
    if not path.exists():
        raise DataError(f"{path}: missing; study.json names the arm {metadata.name}, its counts belong here")
    expected = {"counts": (unsigned, (None, None, None, None)), "regions": rows, "false_alarms": rows}
    optional = {"ranks": (unsigned, (None, None, None, None, RANKS))}
    return ArmCounts(metadata, **read_npz(path, expected, DataError, "damaged, copy or write it again", optional))
