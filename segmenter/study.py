"""STUDY: arms x seeds (x folds) as one resumable job, from generator to verdict.

<out>/generators/<name>/        `marsgen train-generator`
<out>/sets/<name>/              `marsgen synthesize`, or `segmenter pseudo-label` for a set with a teacher
<out>/cells/<arm>-seed<s>/      `segmenter train`, with its evaluation inside
<out>/jobs/                     what each of them was asked, said and cost (segmenter/jobs.py)
<out>/power.json                the smallest detectable gain, from the baseline's cells, before any other arm is trained
<out>/counts/                   what every cell counted in every image, small enough to commit (study_counts.py)
<out>/results/                  tables and the page, made from the counts alone (study_results.py, study_page.py)

With folds, each name ends in -fold<k>: generator, regions and segmenter never see the scenes that they are scored on.
The generators belong to marsgen and are reached through its command line alone.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from marsgen.config import Config, DataConfig, build_config
from marsgen.console import say
from marsgen.errors import ConfigError, DataError, RunError, nearest
from marsgen.files import write_json, write_text
from marsgen.runs import Run
from marsgen.scenes.classes import read_classes
from marsgen.scenes.dataset import Dataset, open_dataset
from marsgen.scenes.scene import SceneSource, scene_key
from marsgen.scenes.sources import open_scenes
from marsgen.team import Team
from segmenter.arms import find_evaluations, flatten_settings
from segmenter.config import PseudoLabelConfig, TrainConfig
from segmenter.evaluate import EvaluateConfig, Evaluation
from segmenter.families import smallest_detectable_gain
from segmenter.jobs import Job, config_path, environment_of_child, is_finished, read_cost, work_off
from segmenter.predict import is_course_file
from segmenter.study_counts import (
    ArmCard,
    DoseCurve,
    Power,
    ScoringSettings,
    StatisticsSettings,
    StudyCard,
    StudyCounts,
    TestPart,
    arm_of_evaluations,
    describe_power,
    images_of_evaluations,
    write_counts,
)
from segmenter.study_gallery import Gallery, study_gallery, write_gallery
from segmenter.study_page import report_study

GALLERY_ARMS = 3
"""columns of pictures beside the baseline's, where the study names none"""
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
    """what configs/synthesize.yaml holds; with a teacher, what configs/pseudo-label.yaml holds"""

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
    """0 = there are test data (--test, or data.test_share); otherwise each scene is tested once, in one of the folds"""
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
    def uses_teachers(self) -> bool:
        """Whether an arm learns from pseudo-labels."""
        return any(self.sets[name].teacher for arm in self.arms.values() for name in arm.extra)

    @property
    def critics(self) -> set[str]:
        """Arms that judge sets, or say where they should paste."""
        return {critic for made in self.sets.values() for critic in (made.judge, made.focus) if critic}

    def recipe(self, arm: str) -> dict[str, Any]:
        """The training settings of an arm, without seed and fold."""
        return _merge(self.train, self.arms[arm].train)

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The seeds that an arm is trained with."""
        return self.arms[arm].seeds or self.seeds

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


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
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
        return self.folder / _job_name(kind, name, fold)


def _job_name(kind: str, name: str, fold: int | None) -> str:
    return f"{kind}/{name}" + ("" if fold is None else f"-fold{fold}")


def _cell_name(arm: str, seed: int, fold: int | None) -> str:
    return _job_name("cells", f"{arm}-seed{seed}", fold)


def _power_name(config: StudyConfig) -> str:
    """Another number of seeds or arms can show another gain."""
    return f"power/{len(config.seeds_of(config.baseline))}-seeds-{len(config.arms) - 1}-arms"


# what has to be done


def plan_jobs(study: Study) -> list[Job]:
    """Every job of the study, needs first; checked against the configs of `segmenter train`.

    Generators come first, since they take longest; then the baseline, which says what this study can detect; then the
    arms that judge synthetic sets, the sets, and the other cells, seed by seed, so that a study that is stopped early
    has looked at every arm. A set with a teacher comes before the first cell that learns from it, after its teacher's.
    """
    config = study.config
    used = dict.fromkeys(name for arm in config.arms.values() for name in arm.extra)
    seeds = config.seeds_of(config.baseline)
    baseline = [_cell_job(study, config.baseline, seed, fold) for seed in seeds for fold in study.folds]
    power = Job(_power_name(config), action=lambda: _write_power(study), needs=tuple(job.name for job in baseline))
    jobs = []
    for name in dict.fromkeys(config.sets[name].generator for name in used):
        if name != COPY_PASTE:
            jobs += [_generator_job(study, name, fold) for fold in study.folds]
    jobs += [*baseline, power]
    for arm in (name for name in config.arms if name in config.critics and name != config.baseline):
        jobs += [_cell_job(study, arm, config.seeds_of(arm)[0], fold) for fold in study.folds]
    drawn = [name for name in used if config.sets[name].teacher is None]
    jobs += [_set_job(study, name, fold) for name in drawn for fold in study.folds]
    planned = {job.name: job for job in jobs}
    for seed in dict.fromkeys(seed for arm in config.arms for seed in config.seeds_of(arm)):
        for arm in (name for name in config.arms if seed in config.seeds_of(name)):
            for job in _cell_jobs(study, arm, seed):
                planned.setdefault(job.name, job)
    return list(planned.values())


def _cell_jobs(study: Study, arm: str, seed: int) -> Iterator[Job]:
    """The cells of an arm and a seed, after the sets with a teacher that they learn from and those teachers' cells."""
    config = study.config
    for name in config.arms[arm].extra:
        teacher = config.sets[name].teacher
        if teacher is not None:
            for its_seed in config.seeds_of(teacher):
                yield from _cell_jobs(study, teacher, its_seed)
            yield from (_set_job(study, name, fold) for fold in study.folds)
    yield from (_cell_job(study, arm, seed, fold) for fold in study.folds)


def _data_settings(study: Study, fold: int | None, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `data` block of a command: one split for generators, regions and segmenters, and what `own` changes in it."""
    settings = _merge(study.config.train, own or {}).get("data") or {}
    return settings | ({} if fold is None else {"folds": study.config.folds, "fold": fold})


def _words(study: Study, job_name: str, out: Path, data: str | None = None) -> list[str]:
    classes = ["--classes", study.classes] if study.classes else []
    return [
        "--data",
        data or study.data,
        *classes,
        "--config",
        str(config_path(study.folder, job_name)),
        "--out",
        str(out),
    ]


def _generator_job(study: Study, name: str, fold: int | None) -> Job:
    job = _job_name("generators", name, fold)
    own = study.config.generators[name]
    settings = own | {"data": _data_settings(study, fold, own)}
    command = ("marsgen", "train-generator", *_words(study, job, study.folder / job))
    return Job(job, (command,), _yaml(settings))


def _set_job(study: Study, name: str, fold: int | None) -> Job:
    job, made = _job_name("sets", name, fold), study.config.sets[name]
    if made.teacher is not None:
        build_config(PseudoLabelConfig, made.settings, f"sets.{name}.settings")
        cells = [_cell_name(made.teacher, seed, fold) for seed in study.config.seeds_of(made.teacher)]
        runs = [str(study.folder / cell) for cell in cells]
        words = _words(study, job, study.folder / job, study.pictures)
        return Job(job, (("segmenter", "pseudo-label", *runs, *words),), _yaml(made.settings), tuple(cells))
    trained = made.generator != COPY_PASTE
    data = build_config(DataConfig, _data_settings(study, fold, made.settings), f"sets.{name}.settings.data")
    settings = {"data": {}} | made.settings | {"data": data.model_dump(mode="json")}
    generator = str(study.path("generators", made.generator, fold)) if trained else COPY_PASTE
    command = ["marsgen", "synthesize", "--generator", generator, *_words(study, job, study.folder / job)]
    needs = [_job_name("generators", made.generator, fold)] if trained else []
    for option, arm in (("--judge", made.judge), ("--focus", made.focus)):
        if arm is not None:
            cell = _cell_name(arm, study.config.seeds_of(arm)[0], fold)
            command += [option, str(study.folder / cell)]
            needs.append(cell)
    return Job(job, (tuple(command),), _yaml(settings), tuple(dict.fromkeys(needs)))


def _recipe(study: Study, arm: str, seed: int, fold: int | None) -> tuple[dict[str, Any], TrainConfig]:
    """The settings of a cell as written, and as `segmenter train` will read them."""
    own = study.config.recipe(arm)
    recipe = own | {"seed": seed, "data": _data_settings(study, fold, own)}
    return recipe, build_config(TrainConfig, recipe, f"arms.{arm}")


def _cell_job(study: Study, arm: str, seed: int, fold: int | None) -> Job:
    config, job = study.config, _cell_name(arm, seed, fold)
    recipe, settings = _recipe(study, arm, seed, fold)
    for name in config.arms[arm].extra:
        _refuse_other_split(study, arm, settings.data, name, fold)
    extras = [part for name in config.arms[arm].extra for part in ("--extra", str(study.path("sets", name, fold)))]
    out = study.folder / job
    train = ["segmenter", "train", *extras, *_words(study, job, out)]
    evaluate = ["segmenter", "evaluate", str(out), "--data", study.test or study.data]
    evaluate += ["--classes", study.classes] if study.classes else []
    changed = config.evaluate.model_dump(mode="json", exclude_defaults=True)
    evaluate += [word for key, value in changed.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    needs = [_job_name("sets", name, fold) for name in config.arms[arm].extra]
    if arm != config.baseline:
        needs.append(_power_name(config))  # what can be detected is said before anybody knows what was
    return Job(job, (tuple(train), tuple(evaluate)), _yaml(recipe), tuple(needs))


def _refuse_other_split(study: Study, arm: str, data: DataConfig, name: str, fold: int | None) -> None:
    """A set whose regions, generator, judge, focus or teacher know more real scenes than the arm would flatter it."""
    made = study.config.sets[name]
    sources = {f"sets.{name}": made.settings} if made.teacher is None else {}
    if made.generator != COPY_PASTE:
        sources[f"generators.{made.generator}"] = study.config.generators[made.generator]
    for what, critic in (("judge", made.judge), ("focus", made.focus), ("teacher", made.teacher)):
        if critic is not None:
            sources[f"sets.{name}.{what} ({critic})"] = study.config.arms[critic].train
    for where, settings in sources.items():
        theirs = build_config(DataConfig, _data_settings(study, fold, settings), f"data of {where}")
        if theirs != data:
            raise ConfigError(
                f"arms.{arm} and {where} use other parts of the data ({data.model_dump()} and {theirs.model_dump()}); "
                "give both the same `data`, or the arm learns from scenes that it should not know"
            )


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


# doing it

GROWING = ("title", "seeds", "baseline", "generators", "sets", "arms", "curves", "gallery", "statistics", "power")
"""what may change between two starts of one study: finished jobs guard their own settings"""


def open_study(study: Study, team: Team) -> Run:
    """Open the study's folder, after everything was checked that can be checked without training.

    Raises:
        ConfigError, DataError: settings or data that cannot be used; nothing to score on.
        RunError: the folder holds something else, or jobs that were finished with other settings.
    """
    known = None if study.classes is None else read_classes(Path(study.classes))
    if study.test is not None and study.config.folds:
        raise ConfigError("folds test every scene of --data once; leave out --test, or the folds")
    data = build_config(DataConfig, _data_settings(study, study.folds[0]), "train.data")
    dataset = open_dataset(study.data, data, known)
    inputs = {"data": {"location": study.data, "fingerprint": dataset.scenes.fingerprint(), "classes": study.classes}}
    scored = None
    if study.test is not None:
        scored = open_scenes(study.test, classes=known)
        inputs["test"] = {"location": study.test, "fingerprint": scored.fingerprint()}
        _refuse_unfit(scored, dataset)
    elif not dataset.split.test:
        raise DataError(
            f"{study.data}: nothing to score on; give labelled scenes with --test, or keep some aside: --folds 5, or "
            "train.data.test_share=0.2"
        )
    jobs = plan_jobs(study)
    _refuse_untrainable(study, dataset, data)
    if study.config.uses_teachers:
        pictures = open_scenes(study.pictures, classes=known, labelled=False)
        _refuse_unfit_pictures(pictures, dataset, scored, folds=study.config.folds)
        inputs["unlabelled"] = {"location": study.pictures, "fingerprint": pictures.fingerprint()}
    elif study.unlabelled is not None:
        raise ConfigError("--unlabelled: no arm learns from a set with a teacher, so nobody would label these pictures")
    late = _unlabelled_as_stored(study.folder, inputs)
    start = partial(
        Run.start,
        study.folder,
        "segmenter study",
        study.config,
        inputs,
        without_effect=GROWING,
        writes=team.is_main_process,
    )
    run = start()
    if team.is_main_process:
        if run.finished:  # arms may have been added; a finished run holds no lock, so it is opened again
            (study.folder / "DONE").unlink()
            run = start()
        if late is not None:
            _add_input(study.folder, "unlabelled", late)
        write_text(study.folder / "study.yaml", _yaml(study.config.model_dump(mode="json")))
        _check_settings(jobs, study.folder)
    team.wait_for_everyone()
    return run


def _unlabelled_as_stored(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Let `inputs` say of the unlabelled pictures what the study's folder says: teachers may come and go like any arm.

    Returns:
        what has to be added to a folder that was started without teachers, else None.
    """
    if not (folder / "config.yaml").is_file():
        return None
    stored = Run.load(folder, finished=False).inputs
    if "unlabelled" not in stored:
        return inputs.pop("unlabelled", None)
    inputs.setdefault("unlabelled", stored["unlabelled"])
    return None


def _add_input(folder: Path, name: str, value: dict[str, Any]) -> None:
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["inputs"][name] = value
    write_text(path, _yaml(content))


def _refuse_untrainable(study: Study, dataset: Dataset, data: DataConfig) -> None:
    """Refuse what `segmenter train` would refuse after the generators: of the arms that see all that the study sees."""
    from segmenter.mixing import TrainingBatches
    from segmenter.train import check_best_metric

    for arm in study.config.arms:
        _, settings = _recipe(study, arm, study.config.seeds_of(arm)[0], study.folds[0])
        if settings.data == data:
            check_best_metric(settings, dataset)
            TrainingBatches(settings, dataset)


def _refuse_unfit(scored: SceneSource, dataset: Dataset) -> None:
    """Refuse what `segmenter evaluate` would refuse after the first training: other classes, scenes that are seen."""
    if scored.classes.names != dataset.scenes.classes.names:
        raise DataError(
            f"{scored.location} has the classes {', '.join(scored.classes.names)}; {dataset.scenes.location} has "
            f"{', '.join(dataset.scenes.classes.names)}: give test data of the same classes, or use --classes"
        )
    if scored.fingerprint() == dataset.scenes.fingerprint() and dataset.split.test:
        return  # the same data, which keep a test part
    seen = {dataset.survey.keys[i] for i in (*dataset.split.train, *dataset.split.val)}
    for index, name in enumerate(scored.names):
        if scene_key(scored.read(index)[0]) in seen:
            raise DataError(
                f"{scored.location}: scene {name} is in {dataset.scenes.location} too, where networks learn from it; "
                "give --test scenes of their own, or leave it out and say --folds 5"
            )


def _refuse_unfit_pictures(pictures: SceneSource, dataset: Dataset, scored: SceneSource | None, *, folds: int) -> None:
    """Refuse what would be refused after the teachers' training: pictures of another kind, or that score or validate.

    With folds each scene does so in turn.
    """
    real, split = dataset.scenes, dataset.split
    shapes = (pictures.shape, real.shape) if real.shape is not None else ()
    if pictures.channels != real.channels or len(set(shapes)) > 1:
        raise DataError(
            f"{pictures.location}: images of {pictures.channels} channels and height and width {pictures.shape}; those "
            f"of {real.location} have {real.channels} and {real.shape}: give unlabelled pictures of the same kind"
        )
    held_out = range(len(real)) if folds else (*split.val, *split.test, *split.beyond_limit)
    keys = {dataset.survey.keys[i]: real.location for i in held_out}
    if scored is not None:
        keys |= {scene_key(scored.read(i)[0]): scored.location for i in range(len(scored))}
    for index, name in enumerate(pictures.names):
        if where := keys.get(scene_key(pictures.read(index)[0])):
            raise DataError(
                f"{pictures.location}: picture {name} is a held-out scene of {where} too, which no arm may learn from; "
                "give --unlabelled pictures of their own"
            )


def _check_settings(jobs: Sequence[Job], folder: Path) -> None:
    """Ask marsgen whether it understands what it will be told, before hours of training."""
    todo = [job for job in jobs if job.commands and not is_finished(folder, job)]
    for job in todo:
        write_text(config_path(folder, job.name), job.config)
    asked = {(job.commands[0][:2], job.config): job for job in todo if job.commands[0][0] == "marsgen"}
    with ThreadPoolExecutor() as pool:  # each of them imports torch first
        for job, problem in zip(asked.values(), pool.map(_dry_run, asked.values()), strict=True):
            if problem:
                raise ConfigError(f"{job.name}: {problem}")


def _dry_run(job: Job) -> str:
    """What marsgen finds wrong with the job's settings; "" for nothing."""
    command = [sys.executable, "-m", "marsgen.cli", *job.commands[0][1:], "--dry-run"]
    # of the team alone the first would say what several find wrong
    environment = environment_of_child(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return said.removeprefix("error: ") if done.returncode else ""


def run_study(study: Study, run: Run, team: Team) -> Path:
    """Do what is not done yet, then write tables and page; see the module's docstring.

    Args:
        run: from `open_study`.
        team: the processes that share the cells.
    Returns:
        the page.
    Raises:
        RunError: jobs failed; what is finished stays.
    """
    work_off(plan_jobs(study), study.folder, team, counted="cells/")
    page = study.folder / "results" / "study.html"
    if team.is_main_process:
        counts = collect_counts(study)
        write_counts(study.folder / "counts", counts)
        write_gallery(study.folder / "results" / "gallery.json", _draw_gallery(study, counts))
        lines, page = report_study(study.folder)
        for line in lines:
            say(line)
        run.finish({"arms": len(study.config.arms), "seeds": len(study.config.seeds), "folds": len(study.folds)})
    team.wait_for_everyone()
    return page


# what came out


def read_cells(study: Study, arm: str) -> list[list[Evaluation]]:
    """The evaluations of an arm: per seed, those of all folds. What else its cells were scored on is left alone."""
    inputs = Run.load(study.folder, "segmenter study", finished=False).inputs
    scored = inputs.get("test", inputs["data"])["fingerprint"]
    seeds = study.config.seeds_of(arm)
    found: list[list[Evaluation]] = [[] for _ in seeds]
    for fold in study.folds:
        runs = [Run.load(study.folder / _cell_name(arm, seed, fold), "segmenter train") for seed in seeds]
        for evaluations, evaluation in zip(found, find_evaluations(runs, scored, study.config.evaluate), strict=True):
            evaluations.append(evaluation)
    return found


def collect_counts(study: Study) -> StudyCounts:
    """What the finished cells counted, and what they cost."""
    config = study.config
    cells = {arm: read_cells(study, arm) for arm in config.arms}
    first = cells[config.baseline][0][0].record
    card = StudyCard(
        title=config.title,
        baseline=config.baseline,
        classes=first["classes"],
        test=TestPart(
            location=first["data"]["location"],
            fingerprint=first["data"]["fingerprint"],
            part=first["part"],
            images=sum(len(evaluation.names) for evaluation in cells[config.baseline][0]),
        ),
        scoring=ScoringSettings.model_validate(
            {key: first["settings"][key] for key in ScoringSettings.model_fields if key in first["settings"]}
        ),
        statistics=config.statistics,
        arms=tuple(_card(study, arm) for arm in config.arms),
        curves=config.curves,
        power=Power.model_validate(json.loads((study.folder / "power.json").read_text(encoding="utf-8"))),
    )
    arms = tuple(arm_of_evaluations(c, cells[c.name]) for c in card.arms)
    return StudyCounts(card, images_of_evaluations(cells[config.baseline][0]), arms)


def _card(study: Study, arm: str) -> ArmCard:
    config = study.config
    costs = [[_cost(study, _cell_name(arm, s, fold)) for fold in study.folds] for s in config.seeds_of(arm)]
    sets, teachers = config.behind(arm)
    taught = [_cell_name(name, seed, k) for name in teachers for seed in config.seeds_of(name) for k in study.folds]
    generators = {config.sets[name].generator for name in sets} - {COPY_PASTE}
    drawn_by, set_jobs = _jobs_of("generators", generators, study), _jobs_of("sets", sets, study) + taught
    made = [_cost(study, job) for job in drawn_by + set_jobs]
    own = [config.sets[name].teacher is not None for name in config.arms[arm].extra]
    return ArmCard(
        name=arm,
        title=config.title_of(arm),
        baseline=None if arm == config.baseline else config.baseline_of(arm),
        seeds=config.seeds_of(arm),
        synthetic=not all(own),
        pseudo_labels=any(own),
        train_minutes=tuple(sum(cost["seconds"] for cost in folds) / 60 for folds in costs),
        peak_memory_mb=tuple(max(cost["peak_mb"] for cost in folds) for folds in costs),
        generator_minutes=_minutes(study, drawn_by),
        set_minutes=_minutes(study, set_jobs),
        interrupted=any(cost["went_on"] for cost in (*made, *itertools.chain(*costs))),
        settings=flatten_settings(config.arms[arm].train),
    )


def _minutes(study: Study, jobs: Sequence[str]) -> float | None:
    return sum(_cost(study, job)["seconds"] for job in jobs) / 60 if jobs else None


def _jobs_of(kind: str, names: Collection[str], study: Study) -> list[str]:
    return [_job_name(kind, name, fold) for name in names for fold in study.folds]


def _cost(study: Study, job: str) -> dict[str, Any]:
    cost = read_cost(study.folder, job)
    if cost is None:
        raise RunError(f"{study.folder}/jobs/{job}.json is gone; repeat the command, and the job is gone through again")
    return cost


def _draw_gallery(study: Study, counts: StudyCounts) -> Gallery:
    config = study.config
    shown = config.gallery or [name for name, arm in config.arms.items() if arm.extra][:GALLERY_ARMS]
    runs = {
        arm: [study.folder / _cell_name(arm, config.seeds_of(arm)[0], fold) for fold in study.folds]
        for arm in dict.fromkeys([config.baseline, *shown])
    }
    known = None if study.classes is None else read_classes(Path(study.classes))
    return study_gallery(counts, runs, open_scenes(study.test or study.data, classes=known))


def _write_power(study: Study) -> None:
    """power.json, and in words: what this test set and this number of seeds can show, before anything else is known."""
    config = study.config
    evaluations = read_cells(study, config.baseline)
    card = _card(study, config.baseline)
    arm = arm_of_evaluations(card, evaluations)
    first = evaluations[0][0]
    sums = arm.unit_sums(first.record["settings"]["found_share"], images_of_evaluations(evaluations[0]).groups)
    terms = {
        "seeds": len(config.seeds_of(config.baseline)),
        "arms": len(config.arms) - 1,
        "confidence": config.statistics.confidence,
        "power": config.power,
    }
    gains = smallest_detectable_gain(sums, **terms)  # type: ignore[arg-type]
    power = describe_power(first.classes, gains, **terms)  # type: ignore[arg-type]
    write_json(study.folder / "power.json", power.model_dump(mode="json"))
    for score, gain in power.smallest_gain.items():
        if gain is not None:
            say(f"smallest gain found with {config.power:.0%} certainty: {score} {100 * gain:.1f} points")
