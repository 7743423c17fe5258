"""What `segmenter study` refuses before anything is trained: unsuitable data, and settings that a command rejects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core.config import DataConfig, build_config
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.engines.task import Engine, outcome_of
from marsgen.provenance import refuse_held_out_pictures, refuse_seen_test_scenes
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes, open_test_set
from segmenter.study.folder import Study
from segmenter.study.jobs import Job, is_finished, task_of
from segmenter.study.plan import data_settings, recipe_of_run


@dataclass(frozen=True, eq=False)
class StudyData:
    """What a study is made with."""

    inputs: dict[str, Any]
    """what its folder records: data, test scenes and unlabelled test_set, with fingerprints"""
    scenes: SceneSource
    tested: int
    """scenes that a run is scored on"""
    pictures: int
    """that are pseudo-labelled"""


def check_data(study: Study) -> StudyData:
    """Open all data of a study, and refuse what a command would refuse after hours of training.

    Raises:
        ConfigError, DataError: settings or data that cannot be used, or nothing to score on.
        RunError: a finished set was pseudo-labelled from other pictures.
    """
    classes = None if study.classes is None else read_classes(Path(study.classes))
    study.config.refuse_test(study.test)
    data = build_config(DataConfig, data_settings(study, study.folds[0]), "train.data")
    dataset = open_dataset(study.data, data, classes)
    inputs = {"data": _identify(study.data, dataset.scenes) | {"classes": study.classes}}
    test_set = open_test_set(study.data, dataset.scenes.classes)
    if test_set is not None:  # a generator may be trained on these pictures, with or without a teacher in the study
        inputs["test_set"] = {"fingerprint": test_set.fingerprint()}
    test_scenes = None
    if study.test is not None:
        test_scenes = open_scenes(study.test, classes=classes)
        inputs["test"] = _identify(study.test, test_scenes)
        _refuse_unfit_test_scenes(test_scenes, dataset)
    elif not dataset.split.test:
        raise DataError(
            f"{study.data}: nothing to score on; give labelled scenes with --test, or set aside a part: --folds 5, or "
            "train.data.test_fraction=0.2"
        )
    _refuse_untrainable(study, dataset, data)
    pictures = _check_pictures(study, dataset, test_scenes, classes)
    tested = len(dataset.split.test if test_scenes is None else test_scenes)
    return StudyData(inputs, dataset.scenes, tested, pictures)


def check_settings(jobs: Sequence[Job], folder: Path, engine: Engine) -> None:
    """Let every command of marsgen that is still to run check its settings.

    The settings of segmenter's own commands are checked by `plan_jobs`.

    Raises:
        ConfigError: a command refuses its settings; the message names the job.
    """
    unfinished = [job for job in jobs if job.commands and not is_finished(folder, job)]
    different = {(job.commands[0][:2], job.config): job for job in unfinished if job.commands[0][0] == "marsgen"}
    tried = {job.name: engine.submit(task_of(job, folder, "--check-settings")) for job in different.values()}
    for name, future in tried.items():
        if reason := outcome_of(future).reason:
            raise ConfigError(f"{name}: {reason}")


def _identify(location: str, scenes: SceneSource) -> dict[str, Any]:
    return {"location": location, "fingerprint": scenes.fingerprint()}


def _refuse_untrainable(study: Study, dataset: Dataset, data: DataConfig) -> None:
    """Refuse what `segmenter train` would refuse; only for arms that use the same part of the data as the study."""
    from segmenter.training.batches import TrainingBatches
    from segmenter.training.start import check_best_metric

    for arm in study.config.arms:
        _, settings = recipe_of_run(study, arm, study.config.seeds_of(arm)[0], study.folds[0])
        if settings.data == data:
            check_best_metric(settings, dataset)
            TrainingBatches(settings, dataset)


def _refuse_unfit_test_scenes(test: SceneSource, dataset: Dataset) -> None:
    """Refuse test scenes of other classes, and test scenes that are trained on or validated with."""
    test.classes = test.classes.ordered_like(dataset.scenes.classes)
    if test.classes.names != dataset.scenes.classes.names:
        raise DataError(
            f"{test.location} has the classes {', '.join(test.classes.names)}; {dataset.scenes.location} has "
            f"{', '.join(dataset.scenes.classes.names)}: give test data of the same classes, or use --classes"
        )
    refuse_seen_test_scenes(test, dataset)


def _check_pictures(study: Study, dataset: Dataset, test: SceneSource | None, classes: ClassSet | None) -> int:
    """How many pictures are pseudo-labelled, after they were looked at."""
    if not study.config.uses_pseudo_labels:
        if study.unlabelled is not None:
            raise ConfigError("--unlabelled: no arm is trained on a set with a teacher; leave it out")
        return 0
    pictures = open_scenes(study.pictures, classes=classes, labelled=False)
    _refuse_unfit_pictures(pictures, dataset, test, folds=study.config.folds)
    _refuse_other_pictures(study, pictures)
    return len(pictures)


def _refuse_unfit_pictures(pictures: SceneSource, dataset: Dataset, test: SceneSource | None, *, folds: int) -> None:
    """Refuse pictures to pseudo-label that differ in channels or size, or that are validated with or tested.

    With folds every scene is tested in some fold.
    """
    real = dataset.scenes
    shapes = (pictures.shape, real.shape) if real.shape is not None else ()
    if pictures.channels != real.channels or len(set(shapes)) > 1:
        raise DataError(
            f"{pictures.location}: images of {pictures.channels} channels and height and width {pictures.shape}; those "
            f"of {real.location} have {real.channels} and {real.shape}: give unlabelled pictures of the same kind"
        )
    refuse_held_out_pictures(pictures, dataset, test, folds=folds > 0)


def _refuse_other_pictures(study: Study, pictures: SceneSource) -> None:
    """Refuse other unlabelled pictures than those that a set of this study was made from."""
    for name in study.config.used_sets:
        for fold in study.folds if study.config.sets[name].teacher is not None else ():
            folder = study.path("sets", name, fold)
            if not (folder / "config.yaml").is_file():
                continue
            there = Run.load(folder, "segmenter pseudo-label", finished=False)
            fingerprint = there.stored("inputs.data.fingerprint", str)
            if fingerprint != pictures.fingerprint():
                location = there.stored("inputs.data.location", str)
                raise RunError(
                    f"{folder} was labelled from {location} (fingerprint {fingerprint}), and "
                    f"{pictures.location} has fingerprint {pictures.fingerprint()}; give the same pictures with "
                    "--unlabelled, or the set another name"
                )
