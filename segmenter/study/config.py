"""The yaml of a study: which arms, generators and sets of extra scenes there are, and what may not be combined."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from marsgen.core.config import Config
from marsgen.core.errors import ConfigError, nearest
from segmenter.evaluation.config import EvaluateConfig
from segmenter.results.metadata import DoseCurve, StatisticsSettings

COPY_PASTE = "copy-paste"
"""the generator that needs no training"""
PAIRS = 1000
"""of a set whose settings do not say how many"""


class SetConfig(Config):
    """A set of extra scenes: synthetic ones or, with a teacher, pseudo-labelled pictures."""

    generator: str = COPY_PASTE
    """copy-paste, or one of the study's generators"""
    judge: str | None = None
    """arm whose first run judges the drawn scenes (`marsgen synthesize --judge`); it has no extra scenes"""
    focus: str | None = None
    """arm whose errors say where to paste (`marsgen synthesize --focus`, its first run); it has no extra scenes"""
    teacher: str | None = None
    """arm whose runs (all seeds; with folds, of the same fold) pseudo-label the study's unlabelled pictures"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """keys of configs/synthesize.yaml; with a teacher, settings of `segmenter pseudo-label`"""

    @property
    def judges(self) -> list[str]:
        """The arms that the set's scenes are judged or placed by."""
        return [arm for arm in (self.judge, self.focus) if arm is not None]

    @model_validator(mode="after")
    def _made_in_one_way(self) -> "SetConfig":
        if self.teacher is not None and (self.judges or self.generator != COPY_PASTE):
            raise ValueError(
                "a set with a teacher holds real pictures, and nothing is drawn; leave out generator, judge and focus, "
                "or leave out teacher"
            )
        return self


class ArmConfig(Config):
    """A recipe that is trained once per seed (and fold)."""

    title: str = ""
    """name in tables and figures; empty = its key"""
    extra: tuple[str, ...] = ()
    """sets of the study that are added to the real training scenes"""
    train: dict[str, Any] = Field(default_factory=dict)
    """changes to the study's `train`"""
    baseline: str | None = None
    """arm that its gain is measured against; null = the study's baseline"""
    seeds: tuple[int, ...] | None = Field(None, min_length=1)
    """seeds of this arm; null = the study's. An arm with other seeds than its baseline is not compared seed by seed,
    which widens its intervals"""


class StudyConfig(Config):
    """Settings of `segmenter study`: which arms are trained, how often, and what they are compared with."""

    listed_by = "docs/studies.md"

    title: str
    """heading of the report"""
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    """each arm is trained once per seed; arms are compared seed by seed"""
    baseline: str
    """the arm that the others are compared with"""
    oracle: str | None = None
    """the arm that trains on all real rare scenes and on no set: the report says which share of its gain others reach.
    null = none"""
    folds: int = Field(0, ge=0)
    """0 = score on test data (--test, or data.test_fraction); K >= 2 = cross-validation, each scene is tested in one of
    K folds"""
    train: dict[str, Any] = Field(default_factory=dict)
    """keys of configs/segmenter.yaml, for all arms; steps can be set here only"""
    evaluate: EvaluateConfig = EvaluateConfig()
    """how a trained network is scored"""
    generators: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """name -> keys of configs/train-generator.yaml, configs/diffusion.yaml or configs/distilled.yaml; the last with
    `teacher`, the generator that it learns from"""
    sets: dict[str, SetConfig] = Field(default_factory=dict)
    """name -> a set of extra scenes"""
    arms: dict[str, ArmConfig] = Field(min_length=2)
    """name -> a recipe"""
    curves: tuple[DoseCurve, ...] = ()
    """gains against a dose, such as the number of synthetic scenes"""
    statistics: StatisticsSettings = StatisticsSettings()
    """how intervals are computed"""
    gallery: tuple[str, ...] = ()
    """arms whose predictions are shown beside the baseline's; empty = the first three that have extra scenes"""
    power: float = Field(0.8, gt=0.5, lt=1)
    """statistical power of the smallest detectable gain, which is computed when the baseline is finished, and again
    when seeds or arms are added"""

    @model_validator(mode="after")
    def _fits_together(self) -> "StudyConfig":
        _check_keys(self)
        _check_generators(self)
        _check_sets(self)
        _check_arms(self)
        _check_folds(self)
        _check_oracle(self)
        _check_references(self)
        return self

    def refuse_test(self, test: str | None) -> None:
        """Raise ConfigError for test scenes of their own beside folds."""
        if test is not None and self.folds:
            raise ConfigError("with folds every scene of --data is tested once; leave out --test, or the folds")

    def settings_of_commands(self) -> dict[str, dict[str, Any]]:
        """Every block of settings of other commands, by its dotted key."""
        return {
            "train": self.train,
            **{f"arms.{name}.train": arm.train for name, arm in self.arms.items()},
            **{f"sets.{name}.settings": made.settings for name, made in self.sets.items()},
            **{f"generators.{name}": settings for name, settings in self.generators.items()},
        }

    def prerequisites(self, arm: str) -> tuple[list[str], list[str]]:
        """Sets and teacher arms that have to be finished before an arm is trained, those of its teachers included."""
        sets: dict[str, None] = {}
        teachers: dict[str, None] = {}
        for name in self.arms[arm].extra:
            teacher = self.sets[name].teacher
            if teacher is not None:
                sets_of_teacher, teachers_of_teacher = self.prerequisites(teacher)
                sets |= dict.fromkeys(sets_of_teacher)
                teachers |= dict.fromkeys([*teachers_of_teacher, teacher])
            sets[name] = None
        return list(sets), list(teachers)

    def generators_of(self, sets: Iterable[str]) -> list[str]:
        """The generators that have to be trained for sets, each after its teacher."""
        names: dict[str, None] = {}
        for name in sets:
            names |= dict.fromkeys(self.with_teachers(self.sets[name].generator))
        return list(names)

    def with_teachers(self, generator: str) -> list[str]:
        """The generators that have to be trained for one to draw, itself last; none for copy-paste."""
        line = [] if generator == COPY_PASTE else [generator]
        while line and (teacher := self.generators[line[0]].get("teacher")) is not None:
            line.insert(0, teacher)
        return line

    @property
    def used_sets(self) -> list[str]:
        """Sets that an arm is trained on, in the order of the arms."""
        return list(dict.fromkeys(name for arm in self.arms.values() for name in arm.extra))

    @property
    def unused(self) -> list[str]:
        """Dotted keys of the sets that no arm is trained on and of the generators of none but such sets."""
        drawn_by = self.generators_of(self.used_sets)
        sets = [f"sets.{name}" for name in self.sets if name not in self.used_sets]
        return [*sets, *(f"generators.{name}" for name in self.generators if name not in drawn_by)]

    @property
    def uses_pseudo_labels(self) -> bool:
        """Whether an arm is trained on a set with a teacher."""
        return any(self.sets[name].teacher for name in self.used_sets)

    @property
    def judges(self) -> set[str]:
        """Arms that judge sets, or say where to paste."""
        return {arm for made in self.sets.values() for arm in made.judges}

    def recipe(self, arm: str) -> dict[str, Any]:
        """The training settings of an arm, without seed and fold."""
        return merge_settings(self.train, self.arms[arm].train)

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The seeds that an arm is trained with."""
        return self.arms[arm].seeds or self.seeds

    @property
    def seed_counts(self) -> list[int]:
        """The different numbers of seeds of the arms: the baseline's, then the others in falling order."""
        first = len(self.seeds_of(self.baseline))
        return [first, *sorted({len(self.seeds_of(arm)) for arm in self.arms} - {first}, reverse=True)]

    def baseline_of(self, arm: str) -> str:
        """The arm that `arm` is compared with."""
        return self.arms[arm].baseline or self.baseline

    def title_of(self, arm: str) -> str:
        """The name of an arm in tables."""
        return self.arms[arm].title or arm


def merge_settings(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `change`; blocks that both have are merged key by key."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_settings(merged[key], value) if both else value
    return merged


# what a study refuses; a ValueError becomes a ConfigError that says where the settings stand


def _check_keys(config: StudyConfig) -> None:
    for name in [*config.generators, *config.sets, *config.arms]:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ValueError(
                f"'{name}' becomes the name of a folder; use letters, digits, - and _, and begin with a letter or digit"
            )
    if COPY_PASTE in config.generators:
        raise ValueError("generators.copy-paste: copy-paste needs no training; choose another name")
    for seeds in (config.seeds, *(arm.seeds for arm in config.arms.values() if arm.seeds)):
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds {list(seeds)} has a seed twice; give each once")


def _check_generators(config: StudyConfig) -> None:
    for name, settings in config.generators.items():
        kind, teacher = settings.get("kind", "pix2pix"), settings.get("teacher")
        if kind != "distilled" and "teacher" in settings:
            raise ValueError(f"generators.{name}.teacher: a generator of kind {kind} learns from scenes; leave it out")
        if kind == "distilled" and not isinstance(teacher, str):
            raise ValueError(
                f"generators.{name}: kind is distilled, and no teacher is named; set generators.{name}.teacher to the "
                "generator of this study that it learns from"
            )
        if kind == "distilled" and "data" in settings:
            raise ValueError(
                f"generators.{name}.data: a distilled generator learns from the scenes of its teacher, {teacher}; "
                "leave it out"
            )
    for name in config.generators:
        line = [name]
        while (teacher := config.generators[line[-1]].get("teacher")) is not None:
            where = f"generators.{line[-1]}.teacher"
            _refuse_unknown(where, [teacher], config.generators, "generator")
            if teacher in line:
                raise ValueError(f"{where}: {teacher} would learn from itself; name a generator of kind diffusion")
            line.append(teacher)
        kind = config.generators[line[-1]].get("kind", "pix2pix")
        if len(line) > 1 and kind != "diffusion":
            raise ValueError(
                f"generators.{line[-2]}.teacher: {line[-1]} is of kind {kind}; only a diffusion generator can be "
                "distilled"
            )


def _check_sets(config: StudyConfig) -> None:
    for name, made in config.sets.items():
        _refuse_unknown(f"sets.{name}.generator", [made.generator], [COPY_PASTE, *config.generators], "generator")
        _refuse_unknown(f"sets.{name}", made.judges, config.arms, "arm")
        for judge in made.judges:
            if config.arms[judge].extra:
                raise ValueError(f"sets.{name}: arm '{judge}' is trained on extra scenes; name an arm without")
        if made.teacher is not None:
            _refuse_unknown(f"sets.{name}.teacher", [made.teacher], config.arms, "arm")


def _check_arms(config: StudyConfig) -> None:
    _refuse_unknown("baseline", [config.baseline], config.arms, "arm")
    for name, arm in config.arms.items():
        _refuse_unknown(f"arms.{name}.extra", arm.extra, config.sets, "set")
        _refuse_unknown(f"arms.{name}.baseline", [arm.baseline or config.baseline], config.arms, "arm")
        if arm.baseline and name in (arm.baseline, config.baseline):
            raise ValueError(f"arms.{name}.baseline is {arm.baseline}, but {name} is a baseline itself; leave it out")
        if "seed" in arm.train:
            raise ValueError(f"arms.{name}.train.seed: set `seeds` instead")
        if "steps" in arm.train:
            raise ValueError(f"arms.{name}.train.steps: all arms train for the same steps; set `train.steps`")
    for name in config.arms:
        _refuse_teacher_cycle(config, (name,), "")
    with_teacher = [name for name in config.prerequisites(config.baseline)[0] if config.sets[name].teacher]
    if with_teacher:
        raise ValueError(
            f"baseline: {config.baseline} is trained on sets.{with_teacher[0]}, whose teacher is trained after the "
            "baseline; name a baseline that needs no teacher"
        )


def _refuse_teacher_cycle(config: StudyConfig, arms: tuple[str, ...], path: str) -> None:
    """Refuse an arm that is a teacher of its own teachers; `arms` leads from the first one to its teachers."""
    for name in config.arms[arms[-1]].extra:
        teacher = config.sets[name].teacher
        if teacher is not None:
            longer = f"{path}{arms[-1]} is trained on {name}, which {teacher} labels"
            if teacher in arms:
                raise ValueError(f"arms.{teacher}: {longer}: a cycle; give one of these sets another teacher")
            _refuse_teacher_cycle(config, (*arms, teacher), f"{longer}, and ")


def _check_folds(config: StudyConfig) -> None:
    if config.folds == 1:
        raise ValueError("folds is 1; it has to be 0 or at least 2")
    if not config.folds:
        return
    for where, settings in config.settings_of_commands().items():
        data = settings.get("data")
        if isinstance(data, dict) and (twice := {"folds", "fold"} & set(data)):
            raise ValueError(f"{where}.data.{min(twice)}: the study's `folds` sets it; leave it out here")


def _check_oracle(config: StudyConfig) -> None:
    name = config.oracle
    if name is None:
        return
    _refuse_unknown("oracle", [name], config.arms, "arm")
    if name == config.baseline:
        raise ValueError(f"oracle and baseline are both {name}; an arm has no share of a gain over itself")
    if config.baseline_of(name) != config.baseline:
        raise ValueError(
            f"arms.{name}.baseline is {config.baseline_of(name)}, but {name} is the oracle, whose gain is measured "
            f"over the study's baseline {config.baseline}; leave it out"
        )
    if config.arms[name].extra:
        raise ValueError(f"oracle: arm '{name}' trains on {config.arms[name].extra[0]}; name an arm without sets")
    limit = (config.recipe(name).get("data") or {}).get("rare_scenes")
    if limit is not None:
        raise ValueError(
            f"oracle: arm '{name}' is limited to {limit} rare scenes; set arms.{name}.train.data.rare_scenes to null"
        )


def _check_references(config: StudyConfig) -> None:
    _refuse_unknown("gallery", config.gallery, config.arms, "arm")
    for curve in config.curves:
        _refuse_unknown(f"curve {curve.name}", [point.arm for point in curve.points], config.arms, "arm")


def _refuse_unknown(where: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: no {what} '{name}'{nearest(name, known)}; there are {', '.join(known)}")
