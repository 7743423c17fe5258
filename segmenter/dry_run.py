"""What the long commands of segmenter will take, from their first steps (--dry-run)."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Data
from marsgen.core.config import build_config
from marsgen.core.rehearsal import Estimate, duration, estimate, rehearse
from marsgen.core.storage.files import write_text
from marsgen.engines.ask import ask
from marsgen.scenes.readers.folder import pair_bytes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes
from segmenter import api
from segmenter.evaluation.config import EvaluateConfig
from segmenter.inference.config import PredictConfig, PseudoLabelConfig
from segmenter.study.checks import check_data
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study
from segmenter.study.jobs import config_path
from segmenter.study.plan import plan_jobs, recipe_of_run
from segmenter.study.room import REPORT_BYTES, most_bytes, rooms_of, unfinished_jobs
from segmenter.training.config import TrainConfig

_VALIDATED_STEP = 4


def train(data: Data, config: TrainConfig, extra: Sequence[Data] = (), fork: Path | None = None) -> Estimate:
    """`segmenter train`: its steps and validations. With `fork`, as if it had to train the first steps too."""
    few = {"validate_every": _VALIDATED_STEP, "log_every": 1, "track": None, "patience": 0}
    quick = config.model_copy(update=few)
    done = rehearse(lambda out: api.train(data, extra=extra, fork=fork, out=out, config=quick), "train")
    # the bar counts a step before it is validated; network and best weights are kept, and once more at a fork
    validations = -(-config.steps // config.validate_every)
    disk = sum(done.files.values()) * (2 if config.fork_at else 1)
    return estimate(done, "images", {_VALIDATED_STEP - 1: validations}, disk)


def predict(run: Path, data: Any, config: PredictConfig, classes: Path | None = None) -> Estimate:
    """`segmenter predict`: its pictures."""
    done = rehearse(lambda out: api.predict_data(run, data, classes=classes, out=out, config=config), "predict")
    return estimate(done, "images")


def pseudo_label(runs: Sequence[Path], data: Data, config: PseudoLabelConfig) -> Estimate:
    """`segmenter pseudo-label`: its pictures, which are then written beside the predictions."""
    scenes = api.open_images(data)
    done = rehearse(lambda out: api.pseudo_label(runs, scenes, out=out, config=config), "pseudo-label")
    written = sum(done.files.values()) * (1 if done.whole else len(scenes) / max(done.done, 1))
    return estimate(done, "images", disk=round(written) + len(scenes) * pair_bytes(scenes))


def study(asked: Study) -> Estimate:
    """`segmenter study`, all of it anew and one job after the other; what arms share by --fork is counted for each.

    A training and its evaluation are timed on the baseline's recipe, a generator on its first steps, and a set on its
    first pairs, drawn by a generator of one step. Sets with a judge, a focus or a teacher need trained runs, and their
    time is left out.
    """
    data = check_data(asked)
    config, fold = asked.config, asked.folds[0]
    _, settings = recipe_of_run(asked, config.baseline, config.seeds_of(config.baseline)[0], fold)
    classes = None if asked.classes is None else Path(asked.classes)
    real = open_scenes(asked.data, classes=classes)
    one = train(real, settings)
    tested = real if asked.test is None else open_scenes(asked.test, classes=classes)
    scored = _evaluate(real, settings, tested, config.evaluate)
    jobs = {job.name: job for job in plan_jobs(asked)}
    runs = sum(name.startswith("runs/") for name in jobs)
    seconds, left_out = runs * (one.seconds + scored.seconds), []
    with tempfile.TemporaryDirectory(prefix="marsgen-") as place:
        elsewhere = replace(asked, folder=Path(place))
        names = unfinished_jobs(elsewhere)
        rooms = rooms_of(elsewhere, data, names)
        for job in plan_jobs(elsewhere):
            kind, _, name = job.name.partition("/")
            if kind not in ("generators", "sets") or (fold is not None and not name.endswith(f"-fold{fold}")):
                continue
            if job.commands[0][0] != "marsgen" or any(need.startswith("runs/") for need in job.needs):
                left_out.append(name)
                continue
            write_text(config_path(elsewhere.folder, job.name), job.config)
            seconds += len(asked.folds) * ask([[*job.commands[0], "--dry-run"]])[0]["seconds"]
            if kind == "generators":  # for the sets that it draws
                ask([[*job.commands[0], "--set", "steps=1"]])
    how = f"{runs} trainings of {duration(one.seconds)}, each scored in {duration(scored.seconds)}, one after the other"
    how += f"; without the time of {', '.join(left_out)}" if left_out else ""
    return Estimate(seconds, one.memory, most_bytes([rooms[name] for name in names], 1) + REPORT_BYTES, how)


def _evaluate(real: SceneSource, settings: TrainConfig, tested: SceneSource, config: EvaluateConfig) -> Estimate:
    """`segmenter evaluate` of a network of one step: what it has learned makes no difference to the time."""
    quick = settings.model_copy(update={"steps": 1, "track": None, "fork_at": None})
    with tempfile.TemporaryDirectory(prefix="marsgen-") as place:
        run = api.train(real, out=Path(place) / "run", config=quick)
        done = rehearse(lambda out: api.evaluate(run, tested, out=out, config=config), "evaluating")
    return estimate(done, "images")


def auto(scenes: SceneSource, recipes: StudyConfig, seconds: float) -> Estimate:
    """`segmenter auto`: the budget, and what one training needs."""
    settings = build_config(TrainConfig, recipes.recipe(recipes.baseline), f"arms.{recipes.baseline}")
    one = train(scenes, settings)
    return replace(one, seconds=seconds, how=f"--budget; memory and disk of one training, {duration(one.seconds)}")
