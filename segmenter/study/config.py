"""What a study is: its yaml, where its data lie, and the names of its parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from marsgen.core.config import Config
from marsgen.core.errors import ConfigError, nearest
from segmenter.evaluation.evaluate import EvaluateConfig
from segmenter.inference.predict import is_course_file
from segmenter.results.counts import (
    DoseCurve,
    StatisticsSettings,
)

COPY_PASTE = "copy-paste"
"""the generator that needs no training"""


class SetConfig(Config):
    """A set of extra scenes: synthetic ones, or with a teacher pictures without labels that networks have labelled."""

    generator: str = COPY_PASTE
    """copy-paste, or one of the study's generators"""
    judge: str | None = None
    """an arm without extra scenes whose first run says what is kept (`marsgen synthesize --judge`)"""
    focus: str | None = None
    """an arm without extra scenes whose first run says where it errs (`marsgen synthesize --focus`)"""
    teacher: str | None = None
    """an arm whose runs of all seeds (in each fold those of that fold) label the study's unlabelled pictures"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """what configs/synthesize.yaml holds; with a teacher, settings of `segmenter pseudo-label`"""

    @model_validator(mode="after")
    def _made_in_one_way(self) -> "SetConfig":
        if self.teacher is not None and (self.judge or self.focus or self.generator != COPY_PASTE):
            raise ValueError(
                "teacher labels real pictures, and nothing is drawn; leave out generator, judge and focus, or teacher"
            )
        return self


class ArmConfig(Config):
    """A recipe that is trained once per seed (and fold)."""

    title: str = ""
    """its name in tables and figures; empty = its key"""
    extra: tuple[str, ...] = ()
    """the study's sets that join training"""
    train: dict[str, Any] = Field(default_factory=dict)
    """what it changes in the study's `train`"""
    baseline: str | None = None
    """arm that its gain is measured against; null = the study's baseline"""
    seeds: tuple[int, ...] | None = Field(None, min_length=1)
    """seeds of this arm alone; null = the study's. An arm with other seeds than its baseline is not compared seed by
    seed, which widens its intervals"""


class StudyConfig(Config):
    """`segmenter study`: which recipes, how often, measured against which."""

    title: str
    """heading of the page"""
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    """each arm is trained once with each; arms are compared seed by seed"""
    baseline: str
    """the arm that the others are measured against"""
    folds: int = Field(0, ge=0)
    """0 = there are test data (--test, or data.test_fraction); otherwise each scene is tested once, in one of the folds"""
    train: dict[str, Any] = Field(default_factory=dict)
    """what all arms change in configs/segmenter.yaml; the same steps for all"""
    evaluate: EvaluateConfig = EvaluateConfig()
    """how a trained network is scored"""
    generators: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """name -> what configs/train-generator.yaml or configs/diffusion.yaml holds"""
    sets: dict[str, SetConfig] = Field(default_factory=dict)
    """name -> a set of extra scenes"""
    arms: dict[str, ArmConfig] = Field(min_length=2)
    """name -> a recipe"""
    curves: tuple[DoseCurve, ...] = ()
    """gains against a dose, such as the number of synthetic pairs"""
    statistics: StatisticsSettings = StatisticsSettings()
    """how intervals are made"""
    gallery: tuple[str, ...] = ()
    """arms whose pictures are shown beside the baseline's; empty = the first three that learn from extra scenes"""
    power: float = Field(0.8, gt=0.5, lt=1)
    """how often the smallest detectable gain would be found; read when the baseline is done, and again where
    seeds or arms are added"""

    @model_validator(mode="after")
    def _names_exist(self) -> "StudyConfig":
        for name in [*self.generators, *self.sets, *self.arms]:
            if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(
                    f"'{name}' is to be a folder's name; use letters, digits, - and _, a letter or digit first"
                )
        for seeds in (self.seeds, *(arm.seeds for arm in self.arms.values() if arm.seeds)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds {list(seeds)}: each may stand there once")
        if self.folds == 1:
            raise ValueError("folds is 1; it has to be 0 or at least 2")
        if COPY_PASTE in self.generators:
            raise ValueError("a generator cannot be called copy-paste: that one needs no training")
        _refuse_unknown("baseline", [self.baseline], self.arms, "arm")
        for name, made in self.sets.items():
            _refuse_unknown(f"sets.{name}.generator", [made.generator], [COPY_PASTE, *self.generators], "generator")
            critics = [critic for critic in (made.judge, made.focus) if critic is not None]
            _refuse_unknown(f"sets.{name}", critics, self.arms, "arm")
            for critic in critics:
                if self.arms[critic].extra:
                    raise ValueError(f"sets.{name}: arm '{critic}' learns from synthetic scenes; name a real one")
            if made.teacher is not None:
                _refuse_unknown(f"sets.{name}.teacher", [made.teacher], self.arms, "arm")
        for name, arm in self.arms.items():
            _refuse_unknown(f"arms.{name}.extra", arm.extra, self.sets, "set")
            _refuse_unknown(f"arms.{name}.baseline", [arm.baseline or self.baseline], self.arms, "arm")
            if arm.baseline and name in (arm.baseline, self.baseline):
                raise ValueError(
                    f"arms.{name}.baseline is {arm.baseline}, but {name} is a baseline itself; leave it out"
                )
            if {"seed"} & set(arm.train):
                raise ValueError(f"arms.{name}.train.seed: the study's `seeds` say it")
            if "steps" in arm.train:
                raise ValueError(f"arms.{name}.train.steps: every arm gets the same; set `train.steps`")
        if self.folds:
            for where, settings in self._all_settings().items():
                data = settings.get("data")
                if isinstance(data, dict) and (doubled := {"folds", "fold"} & set(data)):
                    raise ValueError(f"{where}.data.{min(doubled)}: the study's `folds` say it")
        _refuse_unknown("gallery", self.gallery, self.arms, "arm")
        for curve in self.curves:
            _refuse_unknown(f"curve {curve.name}", [point.arm for point in curve.points], self.arms, "arm")
        for name in self.arms:
            self._refuse_circle((name,), "")
        if taught := [name for name in self.behind(self.baseline)[0] if self.sets[name].teacher]:
            raise ValueError(
                f"baseline: {self.baseline} learns from sets.{taught[0]}, whose teacher is trained after the baseline; "
                "name a baseline that needs no teacher"
            )
        return self

    def _all_settings(self) -> dict[str, dict[str, Any]]:
        """Every block of settings of other commands, by where it stands."""
        return {
            "train": self.train,
            **{f"arms.{name}.train": arm.train for name, arm in self.arms.items()},
            **{f"sets.{name}.settings": made.settings for name, made in self.sets.items()},
            **{f"generators.{name}": settings for name, settings in self.generators.items()},
        }

    def _refuse_circle(self, arms: tuple[str, ...], story: str) -> None:
        """Refuse an arm that comes back as its own teacher's teacher; `arms` leads from the first to its teachers."""
        for name in self.arms[arms[-1]].extra:
            teacher = self.sets[name].teacher
            if teacher is not None:
                told = f"{story}{arms[-1]} learns from {name}, which {teacher} labels"
                if teacher in arms:
                    raise ValueError(f"arms.{teacher}: {told}: a circle; give one of these sets another teacher")
                self._refuse_circle((*arms, teacher), f"{told}, and ")

    def behind(self, arm: str) -> tuple[list[str], list[str]]:
        """The sets and the teachers that have to be there before an arm is trained, its teachers' own among them."""
        sets: dict[str, None] = {}
        teachers: dict[str, None] = {}
        for name in self.arms[arm].extra:
            teacher = self.sets[name].teacher
            if teacher is not None:
                theirs = self.behind(teacher)
                sets |= dict.fromkeys(theirs[0])
                teachers |= dict.fromkeys([*theirs[1], teacher])
            sets[name] = None
        return list(sets), list(teachers)

    @property
    def unused(self) -> list[str]:
        """Sets that no arm learns from and generators that no such set asks; the study does not make them."""
        used = {name for arm in self.arms.values() for name in arm.extra}
        drawn_by = {self.sets[name].generator for name in used}
        sets = [f"sets.{name}" for name in self.sets if name not in used]
        return [*sets, *(f"generators.{name}" for name in self.generators if name not in drawn_by)]

    @property
    def uses_teachers(self) -> bool:
        """Whether an arm learns from pseudo-labels."""
        return any(self.sets[name].teacher for arm in self.arms.values() for name in arm.extra)

    @property
    def critics(self) -> set[str]:
        """Arms that judge sets, or say where they should paste."""
        return {critic for made in self.sets.values() for critic in (made.judge, made.focus) if critic}

    def recipe(self, arm: str) -> dict[str, Any]:
        """The training settings of an arm, without seed and fold."""
        return merge_settings(self.train, self.arms[arm].train)

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The seeds that an arm is trained with."""
        return self.arms[arm].seeds or self.seeds

    @property
    def seed_counts(self) -> list[int]:
        """How many seeds arms have: first the baseline, then every other number that occurs, falling."""
        first = len(self.seeds_of(self.baseline))
        return [first, *sorted({len(self.seeds_of(arm)) for arm in self.arms} - {first}, reverse=True)]

    def baseline_of(self, arm: str) -> str:
        """The arm that `arm` is measured against."""
        return self.arms[arm].baseline or self.baseline

    def title_of(self, arm: str) -> str:
        """The name of an arm in tables."""
        return self.arms[arm].title or arm


def _refuse_unknown(where: str, names: Sequence[str], known: Any, what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: no {what} '{name}'{nearest(name, known)}; there are {', '.join(known)}")


def merge_settings(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_settings(merged[key], value) if both else value
    return merged


@dataclass(frozen=True)
class Study:
    """What is studied, on which data."""

    config: StudyConfig
    folder: Path
    data: str
    """real scenes to train on, as --data takes them"""
    test: str | None
    """labelled scenes to score on; None = the test part, or the folds, of `data`"""
    classes: str | None
    """yaml of the classes, where the data do not say it"""
    unlabelled: str | None = None
    """pictures that teachers label, as --unlabelled takes them; None = those that `data` bring along, if any"""

    @property
    def pictures(self) -> str:
        """Where the pictures are that teachers label.

        Raises:
            ConfigError: nobody said it, and the data bring none.
        """
        if self.unlabelled is None and not is_course_file(self.data):
            raise ConfigError(
                f"a set has a teacher, and {self.data} brings no pictures without labels (an npz with test_set does); "
                "name some with --unlabelled"
            )
        return self.unlabelled or self.data

    @property
    def folds(self) -> tuple[int | None, ...]:
        return tuple(range(self.config.folds)) or (None,)

    def path(self, kind: str, name: str, fold: int | None) -> Path:
        """Folder of a generator, set or cell."""
        return self.folder / job_name(kind, name, fold)


def job_name(kind: str, name: str, fold: int | None) -> str:
    return f"{kind}/{name}" + ("" if fold is None else f"-fold{fold}")


def cell_name(arm: str, seed: int, fold: int | None) -> str:
    return job_name("cells", f"{arm}-seed{seed}", fold)


def power_name(config: StudyConfig) -> str:
    """Another number of seeds or arms can show another gain."""
    return f"power/{'-'.join(map(str, config.seed_counts))}-seeds-{len(config.arms) - 1}-arms"
