"""The raw counts of a study: small enough to commit, and every number of its page can be made again from them.

<folder>/study.json     title, test part, settings, arms, dose curves: a `StudyCard`
<folder>/images.json    name, group, fold and content key of each test image
<folder>/<arm>.npz      counts (S, N, C, C): pixels of each seed and image, row = truth, column = prediction, as the
                        smallest unsigned integers that hold them; regions and false_alarms: rows of SEED_REGION

Letters: S seeds of an arm, N test images, C classes. No weights and no pictures are in here.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from marsgen.core.config import Config
from marsgen.core.errors import DataError, nearest
from marsgen.core.files import write_bytes, write_json
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.reader import Evaluation
from segmenter.evaluation.regions import REGION, found_regions
from segmenter.inference.config import InferenceConfig
from segmenter.results.bootstrap import unit_sums
from segmenter.results.gain_tables import score_names, score_text

SEED_REGION = np.dtype([*((name, REGION[name]) for name in REGION.names or ()), ("seed_index", "<i4")])
"""REGION, and which of the arm's seeds (0..S-1) it belongs to"""


class TestPart(Config):
    """Which images were scored."""

    __test__ = False  # pytest: not a test

    location: str
    """where the data lie, as on the command line"""
    fingerprint: str
    """of the data's content"""
    part: str
    """"test", "val" or "train" of the data, or "all" """
    images: int = Field(ge=1)
    """N"""


class ScoringSettings(InferenceConfig):
    """How a network was asked, and how its prediction was scored; see EvaluateConfig."""

    found_fraction: float = Field(gt=0, le=1)
    """a rock counts as found when at least this share of its pixels was called rock"""
    min_region_px: int = Field(ge=1)
    """smaller connected regions are in no count of rocks"""


class StatisticsSettings(Config):
    """How intervals are made; see CompareConfig."""

    resamples: int = Field(10_000, ge=200)
    """bootstrap resamples of the test images"""
    seed: int = Field(0, ge=0)
    """seed of the resamples"""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """what share of such intervals should hold the true gain"""
    practical_gain: float = Field(0.02, gt=0, lt=1)
    """the smallest gain worth having; where nothing can be told, it is said whether the interval rules it out"""


class ArmCard(Config):
    """One arm: runs that differ by their seed alone. What is listed per seed sums over folds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """short and fit for a file name"""
    title: str
    """in words, for tables and figures"""
    baseline: str | None = None
    """name of the arm its gain is measured against; none = it is a baseline itself"""
    seeds: tuple[int, ...] = Field(min_length=1)
    """in the order of the first axis of its counts"""
    synthetic: bool = False
    """whether it was trained on synthetic scenes too"""
    pseudo_labels: bool = False
    """whether it was trained on pictures that other networks labelled too"""
    train_minutes: tuple[float, ...] = ()
    """per seed; none = not measured"""
    peak_memory_mb: tuple[float, ...] = ()
    """per seed, the most of all folds; none = not measured"""
    generator_minutes: float | None = None
    """spent on training the generator of its synthetic scenes; none = it has none, or not measured"""
    set_minutes: float | None = None
    """spent on making its extra scenes, the training of teachers that label some included; none = it has none, or not
    measured"""
    interrupted: bool = False
    """whether a part of that time was spent by processes that were stopped, and is in no number above"""
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """settings worth showing"""


class CurvePoint(Config):
    """One dose and the arm that got it."""

    x: float
    """the dose, in the unit that the curve's x_title names"""
    arm: str
    """name of an arm; one without a baseline stands at a gain of 0"""


class DoseCurve(Config):
    """What more of something does: arms in order of a dose, each with its gain over its own baseline."""

    name: str
    """short"""
    title: str
    """in words"""
    x_title: str
    """what the dose is, and its unit"""
    points: tuple[CurvePoint, ...] = Field(min_length=1)
    """at least one dose"""


class Power(Config):
    """The smallest gains that the study can detect, computed from its baseline's cells alone."""

    seeds: int = Field(ge=1)
    """training seeds per arm"""
    arms: int = Field(1, ge=1)
    """compared at once; 1 = each taken alone"""
    confidence: float = Field(gt=0.5, lt=1)
    """of the interval that has to lie clear of 0"""
    power: float = Field(gt=0, lt=1)
    """how often a gain of that size would be detected"""
    smallest_gain: dict[str, float | None]
    """share in [0, 1] by score, such as `IoU soil`; none = cannot be said"""
    with_other_seeds: dict[int, dict[str, float | None]] = Field(default_factory=dict)
    """the same for arms with another number of seeds than the baseline, by that number"""


class StudyCard(Config):
    """Everything of a study but its counts: what study.json holds."""

    title: str
    """what the study asks"""
    baseline: str
    """name of the arm that all others are measured against too"""
    classes: dict[str, Any]
    """ClassSet.to_dict"""
    test: TestPart
    """which images were scored"""
    scoring: ScoringSettings
    """how"""
    statistics: StatisticsSettings = StatisticsSettings()
    """how intervals are made"""
    arms: tuple[ArmCard, ...] = Field(min_length=2)
    """in the order of every table"""
    curves: tuple[DoseCurve, ...] = ()
    """gains by dose"""
    power: Power | None = None
    """smallest detectable gains; none = not computed"""


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

    card: ArmCard
    counts: np.ndarray
    """(S, N, C, C) unsigned pixels; row = truth, column = prediction"""
    regions: np.ndarray
    """(R,) SEED_REGION: true regions of the rare classes, once per seed"""
    false_alarms: np.ndarray
    """(F,) SEED_REGION: predicted regions where there is nothing of the class"""

    def found(self, found_fraction: float) -> np.ndarray:
        """(R,) bool: which rows of `regions` count as found."""
        return found_regions(self.regions, found_fraction)

    def unit_sums(self, found_fraction: float, groups: Sequence[str] | None) -> np.ndarray:
        """(S, units, 5, C) float64: `intervals.unit_sums` of each seed."""
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

    card: StudyCard
    images: ImageList
    arms: tuple[ArmCounts, ...]
    """as in card.arms"""

    @cached_property
    def classes(self) -> ClassSet:
        return ClassSet.from_dict(self.card.classes, "the study's classes")

    def arm(self, name: str) -> ArmCounts:
        """An arm by its name.

        Raises:
            DataError: no such arm; the message lists those there are.
        """
        return self.arms[self._place(name, "asked for")]

    def _place(self, name: str, wanted_by: str) -> int:
        names = [arm.name for arm in self.card.arms]
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
    cards = study.card.arms
    names = [card.name for card in cards]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two arms are named '{twice}'; each needs a name of its own")
    if tuple(arm.card for arm in study.arms) != cards:
        raise DataError(f"counts of {len(study.arms)} arms do not belong to the {len(cards)} arms of the study's card")
    study._place(study.card.baseline, "the study's baseline")
    for card in cards:
        if card.baseline is not None:
            study._place(card.baseline, f"baseline of {card.name}")
        if card.baseline == card.name:
            raise DataError(f"arm {card.name} is its own baseline; leave its baseline out")
        for what in ("train_minutes", "peak_memory_mb"):
            if len(getattr(card, what)) not in (0, len(card.seeds)):
                raise DataError(
                    f"arm {card.name}: {len(getattr(card, what))} {what} for {len(card.seeds)} seeds; give one per seed"
                )
    for curve in study.card.curves:
        for point in curve.points:
            study._place(point.arm, f"a point of the curve {curve.name}")


def _check_images(study: StudyCounts) -> None:
    wanted = study.card.test.images
    for what in ("names", "groups", "folds", "keys"):
        listed = getattr(study.images, what)
        if listed is not None and len(listed) != wanted:
            raise DataError(f"{len(listed)} {what} of test images; the study has {wanted} images")


def _check_arm(arm: ArmCounts, study: StudyCounts) -> None:
    name, seeds = arm.card.name, len(arm.card.seeds)
    wanted = (seeds, study.card.test.images, len(study.classes), len(study.classes))
    if arm.counts.shape != wanted or arm.counts.dtype.kind != "u":
        raise DataError(
            f"arm {name}: counts are {arm.counts.dtype} of shape {arm.counts.shape}; unsigned integers of shape "
            f"{wanted} (seeds, images, classes, classes) were expected"
        )
    for what, rows in (("regions", arm.regions), ("false_alarms", arm.false_alarms)):
        if rows.dtype != SEED_REGION or rows.ndim != 1:
            raise DataError(f"arm {name}: {what} have not the fields {', '.join(SEED_REGION.names or ())}")
        for field, stop in (("seed_index", wanted[0]), ("image", wanted[1]), ("class_index", wanted[2])):
            if len(rows) and not 0 <= rows[field].min() <= rows[field].max() < stop:
                raise DataError(f"arm {name}: {what} name a {field} outside 0..{stop - 1}")


def _check_same_truth(arms: Sequence[ArmCounts]) -> None:
    """Labels are part of the counts: two arms that were scored on the same images agree about them."""
    first = arms[0]
    pixels, regions = first.counts[0].sum(2, dtype=np.int64), _truth(first, 0)
    for arm in arms:
        for s, seed in enumerate(arm.card.seeds):
            differs = (arm.counts[s].sum(2, dtype=np.int64) != pixels).any(1)
            if differs.any() or not np.array_equal(_truth(arm, s), regions):
                where = f" (image {int(differs.argmax())})" if differs.any() else ""
                raise DataError(
                    f"arm {arm.card.name}, seed {seed}, was scored on other labels than arm {first.card.name}{where}; "
                    "evaluate all runs on the same test images"
                )


def _truth(arm: ArmCounts, seed_index: int) -> np.ndarray:
    rows = arm.regions[arm.regions["seed_index"] == seed_index]
    return np.stack([rows[field] for field in ("image", "class_index", "area_px", "foot_row")], 1)


# from evaluations


def arm_of_evaluations(card: ArmCard, evaluations: Sequence[Sequence[Evaluation]]) -> ArmCounts:
    """Join the evaluations of an arm.

    Args:
        card: says which seeds.
        evaluations: per seed, in the card's order, those of all folds (a single one where there are no folds); their
            images are joined in that order.
    Raises:
        DataError: not one entry per seed, or seeds were scored on different images.
    """
    if len(evaluations) != len(card.seeds):
        raise DataError(f"arm {card.name}: evaluations of {len(evaluations)} seeds; its card names {len(card.seeds)}")
    keys = images_of_evaluations(evaluations[0]).keys
    for seed, folds in zip(card.seeds, evaluations, strict=True):
        if images_of_evaluations(folds).keys != keys:
            raise DataError(
                f"arm {card.name}: seeds {card.seeds[0]} and {seed} were scored on different images; "
                "evaluate all seeds on the same test images"
            )
    counts = np.stack([np.concatenate([np.asarray(fold.counts) for fold in folds]) for folds in evaluations])
    return ArmCounts(
        card,
        counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
        np.concatenate([_seed_regions(s, folds, "regions") for s, folds in enumerate(evaluations)]),
        np.concatenate([_seed_regions(s, folds, "false_alarms") for s, folds in enumerate(evaluations)]),
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


def describe_power(
    classes: ClassSet,
    smallest_gain: dict[int, np.ndarray],
    *,
    arms: int = 1,
    confidence: float,
    power: float,
) -> Power:
    """A Power from (K,) results of `families.smallest_detectable_gain`; NaN = cannot be said.

    Args:
        smallest_gain: by number of seeds, that of the baseline first.
    """
    named = {
        seeds: {
            score_text({"score": score, "class": name}): None if np.isnan(gain) else float(gain)
            for (score, name), gain in zip(score_names(classes), gains, strict=True)
            if score
        }
        for seeds, gains in smallest_gain.items()
    }
    seeds = next(iter(named))
    first = named.pop(seeds)
    return Power(
        seeds=seeds, arms=arms, confidence=confidence, power=power, smallest_gain=first, with_other_seeds=named
    )


# on disk


def write_counts(folder: Path, study: StudyCounts) -> None:
    """Write a study's counts; study.json comes last. The same counts give the same bytes.

    Counts of arms that the study no longer has are removed.
    """
    for path in sorted(set(folder.glob("*.npz")) - {folder / f"{arm.card.name}.npz" for arm in study.arms}):
        path.unlink()
    for arm in study.arms:
        packed = io.BytesIO()
        np.savez_compressed(packed, counts=arm.counts, regions=arm.regions, false_alarms=arm.false_alarms)
        write_bytes(folder / f"{arm.card.name}.npz", packed.getvalue())
    images = study.images
    listed = {"names": images.names, "groups": images.groups, "folds": images.folds, "keys": images.keys}
    write_json(folder / "images.json", listed)
    write_json(folder / "study.json", study.card.model_dump(mode="json"))


def read_counts(folder: Path) -> StudyCounts:
    """Read what `write_counts` wrote.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit together; the message names the file.
    """
    try:
        card = StudyCard.model_validate(_read_json(folder / "study.json"))
        images = _image_list(_read_json(folder / "images.json"), folder / "images.json")
    except ValidationError as problem:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors()[:3])
        raise DataError(f"{folder / 'study.json'}: {wrong}") from None
    arms = tuple(_read_arm(folder / f"{arm.name}.npz", arm) for arm in card.arms)
    try:
        return StudyCounts(card, images, arms)
    except DataError as problem:
        raise DataError(f"{folder}: {problem}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{path}: missing; a folder of counts holds study.json, images.json and a file per arm"
        ) from None
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: not readable json ({str(problem).splitlines()[0]}); write the counts again") from None


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


def _read_arm(path: Path, card: ArmCard) -> ArmCounts:
    try:
        with np.load(path, allow_pickle=False) as content:
            return ArmCounts(card, content["counts"], content["regions"], content["false_alarms"])
    except FileNotFoundError:
        raise DataError(f"{path}: missing; study.json names the arm {card.name}, its counts belong here") from None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(f"{path}: damaged ({reason}); copy or write it again") from None
