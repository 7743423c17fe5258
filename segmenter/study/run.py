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
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.console import say, say_note
from marsgen.core.config import DataConfig, build_config
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.files import write_text
from marsgen.core.process_group import ProcessGroup
from marsgen.core.runs import Run
from marsgen.scenes.classes import read_classes
from marsgen.scenes.scene import SceneSource, scene_key
from marsgen.scenes.sources import open_scenes, open_test_set
from segmenter.results.arms import flatten_settings
from segmenter.results.counts import (
    write_counts,
)
from segmenter.results.study_gallery import write_gallery
from segmenter.results.study_page import report_study
from segmenter.study.collect import collect_counts, draw_gallery
from segmenter.study.config import Study, cell_name
from segmenter.study.jobs import Job, config_path, environment_of_child, is_finished, run_jobs
from segmenter.study.plan import as_yaml, data_settings, plan_jobs, recipe_of_cell

GROWING = ("title", "seeds", "baseline", "generators", "sets", "arms", "curves", "gallery", "statistics", "power")
"""what may change between two starts of one study: finished jobs guard their own settings"""


def open_study(study: Study, process_group: ProcessGroup) -> Run:
    """Open the study's folder, after everything was checked that can be checked without training.

    Raises:
        ConfigError, DataError: settings or data that cannot be used; nothing to score on.
        RunError: the folder holds something else, or jobs that were finished with other settings.
    """
    known = None if study.classes is None else read_classes(Path(study.classes))
    if study.test is not None and study.config.folds:
        raise ConfigError("folds test every scene of --data once; leave out --test, or the folds")
    data = build_config(DataConfig, data_settings(study, study.folds[0]), "train.data")
    dataset = open_dataset(study.data, data, known)
    inputs = {"data": {"location": study.data, "fingerprint": dataset.scenes.fingerprint(), "classes": study.classes}}
    pictures = open_test_set(study.data, dataset.scenes.classes)
    if pictures is not None:  # a generator may learn from them, whether anybody labels them or not
        inputs["test_set"] = {"fingerprint": pictures.fingerprint()}
    scored = None
    if study.test is not None:
        scored = open_scenes(study.test, classes=known)
        inputs["test"] = {"location": study.test, "fingerprint": scored.fingerprint()}
        _refuse_unfit(scored, dataset)
    elif not dataset.split.test:
        raise DataError(
            f"{study.data}: nothing to score on; give labelled scenes with --test, or keep some aside: --folds 5, or "
            "train.data.test_fraction=0.2"
        )
    jobs = plan_jobs(study)
    _refuse_untrainable(study, dataset, data)
    if study.config.uses_teachers:
        pictures = open_scenes(study.pictures, classes=known, labelled=False)
        _refuse_unfit_pictures(pictures, dataset, scored, folds=study.config.folds)
        inputs["unlabelled"] = {"location": study.pictures, "fingerprint": pictures.fingerprint()}
    elif study.unlabelled is not None:
        raise ConfigError("--unlabelled: no arm learns from a set with a teacher, so nobody would label these pictures")
    if study.config.unused:
        say_note(f"no arm learns from {', '.join(study.config.unused)}: not made")
    late = _take_late_inputs(study.folder, inputs)
    start = partial(
        Run.start,
        study.folder,
        "segmenter study",
        study.config,
        inputs,
        without_effect=GROWING,
        writes=process_group.is_main_process,
    )
    run = start()
    if process_group.is_main_process:
        if run.finished:  # arms may have been added; a finished run holds no lock, so it is opened again
            (study.folder / "DONE").unlink()
            run = start()
        write_text(study.folder / "study.yaml", as_yaml(study.config.model_dump(mode="json")))
        _check_settings(jobs, study.folder)
        _refuse_other_defaults(study)
        for name, value in late.items():  # not earlier: a start that was refused binds the folder to nothing
            _add_input(study.folder, name, value)
    process_group.wait_for_everyone()
    return run


def _take_late_inputs(folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Take out of `inputs` what the study's folder does not say yet: teachers may come and go like any arm, and folders
    of an earlier version do not know the data's pictures without labels.

    Returns:
        what has to be added to the folder.
    """
    if not (folder / "config.yaml").is_file():
        return {}
    stored = Run.load(folder, finished=False).inputs
    if "unlabelled" in stored:
        inputs.setdefault("unlabelled", stored["unlabelled"])
    return {name: inputs.pop(name) for name in ("unlabelled", "test_set") if name in inputs and name not in stored}


def _add_input(folder: Path, name: str, value: dict[str, Any]) -> None:
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["inputs"][name] = value
    write_text(path, as_yaml(content))


def _refuse_untrainable(study: Study, dataset: Dataset, data: DataConfig) -> None:
    """Refuse what `segmenter train` would refuse after the generators: of the arms that see all that the study sees."""
    from segmenter.training.batches import TrainingBatches
    from segmenter.training.train import check_best_metric

    for arm in study.config.arms:
        _, settings = recipe_of_cell(study, arm, study.config.seeds_of(arm)[0], study.folds[0])
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


def _refuse_other_defaults(study: Study) -> None:
    """What a study does not write down comes from the version that trains a cell: where that differs, stop."""
    for arm in study.config.arms:
        for seed, fold in itertools.product(study.config.seeds_of(arm), study.folds):
            folder = study.folder / cell_name(arm, seed, fold)
            if not (folder / "DONE").is_file():
                continue
            there = flatten_settings(Run.load(folder, "segmenter train").config)
            here = flatten_settings(recipe_of_cell(study, arm, seed, fold)[1].model_dump(mode="json"))
            if key := next((key for key in here if key in there and there[key] != here[key]), ""):
                raise RunError(
                    f"{folder} was trained with {key}={there[key]}, and now it would be {here[key]}; write down under "
                    "`train` what it was, or name another --out"
                )


def _dry_run(job: Job) -> str:
    """What marsgen finds wrong with the job's settings; "" for nothing."""
    command = [sys.executable, "-m", "marsgen.cli", *job.commands[0][1:], "--dry-run"]
    # of the process group alone the first would say what several find wrong
    environment = environment_of_child(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return said.removeprefix("error: ") if done.returncode else ""


def run_study(study: Study, run: Run, process_group: ProcessGroup) -> Path:
    """Do what is not done yet, then write tables and page; see the module's docstring.

    Args:
        run: from `open_study`.
        process_group: the processes that share the cells.
    Returns:
        the page.
    Raises:
        RunError: jobs failed; what is finished stays.
    """
    run_jobs(plan_jobs(study), study.folder, process_group, counted="cells/")
    page = study.folder / "results" / "study.html"
    if process_group.is_main_process:
        counts = collect_counts(study)
        write_counts(study.folder / "counts", counts)
        write_gallery(study.folder / "results" / "gallery.json", draw_gallery(study, counts))
        lines, page = report_study(study.folder)
        for line in lines:
            say(line)
        run.finish({"arms": len(study.config.arms), "seeds": len(study.config.seeds), "folds": len(study.folds)})
    process_group.wait_for_everyone()
    return page
