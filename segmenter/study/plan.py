"""The jobs of a study: which commands with which settings, and which of them need which others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from marsgen.core.config import DataConfig, build_config
from marsgen.provenance import refuse_other_split
from segmenter.inference.config import PseudoLabelConfig
from segmenter.study.collect import write_power
from segmenter.study.config import COPY_PASTE, Study, cell_name, job_name, merge_settings, power_name
from segmenter.study.jobs import Job, config_path
from segmenter.training.config import TrainConfig


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
    power = Job(power_name(config), action=lambda: write_power(study), needs=tuple(job.name for job in baseline))
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


def data_settings(study: Study, fold: int | None, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `data` block of a command: one split for generators, regions and segmenters, and what `own` changes in it."""
    settings = merge_settings(study.config.train, own or {}).get("data") or {}
    return settings | ({} if fold is None else {"folds": study.config.folds, "fold": fold})


def _words(study: Study, job: str, out: Path) -> list[str]:
    classes = ["--classes", study.classes] if study.classes else []
    return ["--data", study.data, *classes, "--config", str(config_path(study.folder, job)), "--out", str(out)]


def _generator_job(study: Study, name: str, fold: int | None) -> Job:
    job = job_name("generators", name, fold)
    own = study.config.generators[name]
    settings = own | {"data": data_settings(study, fold, own)}
    command = ("marsgen", "train-generator", *_words(study, job, study.folder / job))
    return Job(job, (command,), as_yaml(settings))


def _set_job(study: Study, name: str, fold: int | None) -> Job:
    job, made = job_name("sets", name, fold), study.config.sets[name]
    if made.teacher is not None:
        build_config(PseudoLabelConfig, made.settings, f"sets.{name}.settings")
        cells = [cell_name(made.teacher, seed, fold) for seed in study.config.seeds_of(made.teacher)]
        runs = [str(study.folder / cell) for cell in cells]
        config = str(config_path(study.folder, job))
        words = ["--data", study.pictures, "--config", config, "--out", str(study.folder / job)]
        return Job(job, (("segmenter", "pseudo-label", *runs, *words),), as_yaml(made.settings), tuple(cells))
    trained = made.generator != COPY_PASTE
    data = build_config(DataConfig, data_settings(study, fold, made.settings), f"sets.{name}.settings.data")
    settings = {"data": {}} | made.settings | {"data": data.model_dump(mode="json")}
    generator = str(study.path("generators", made.generator, fold)) if trained else COPY_PASTE
    command = ["marsgen", "synthesize", "--generator", generator, *_words(study, job, study.folder / job)]
    needs = [job_name("generators", made.generator, fold)] if trained else []
    for option, arm in (("--judge", made.judge), ("--focus", made.focus)):
        if arm is not None:
            cell = cell_name(arm, study.config.seeds_of(arm)[0], fold)
            command += [option, str(study.folder / cell)]
            needs.append(cell)
    return Job(job, (tuple(command),), as_yaml(settings), tuple(dict.fromkeys(needs)))


def recipe_of_cell(study: Study, arm: str, seed: int, fold: int | None) -> tuple[dict[str, Any], TrainConfig]:
    """The settings of a cell as written, and as `segmenter train` will read them."""
    own = study.config.recipe(arm)
    recipe = own | {"seed": seed, "data": data_settings(study, fold, own)}
    return recipe, build_config(TrainConfig, recipe, f"arms.{arm}")


def _cell_job(study: Study, arm: str, seed: int, fold: int | None) -> Job:
    config, job = study.config, cell_name(arm, seed, fold)
    recipe, settings = recipe_of_cell(study, arm, seed, fold)
    for name in config.arms[arm].extra:
        _check_makers(study, arm, settings.data, name, fold)
    extras = [part for name in config.arms[arm].extra for part in ("--extra", str(study.path("sets", name, fold)))]
    out = study.folder / job
    train = ["segmenter", "train", *extras, *_words(study, job, out)]
    evaluate = ["segmenter", "evaluate", str(out), "--data", study.test or study.data]
    evaluate += ["--classes", study.classes] if study.classes else []
    changed = config.evaluate.model_dump(mode="json", exclude_defaults=True)
    evaluate += [word for key, value in changed.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    needs = [job_name("sets", name, fold) for name in config.arms[arm].extra]
    if arm != config.baseline:
        needs.append(power_name(config))  # what can be detected is said before anybody knows what was
    return Job(job, (tuple(train), tuple(evaluate)), as_yaml(recipe), tuple(needs))


def _check_makers(study: Study, arm: str, data: DataConfig, name: str, fold: int | None) -> None:
    """A set whose regions, generator, judge, focus or teacher know more real scenes than the arm would flatter it."""
    made = study.config.sets[name]
    sources = {f"sets.{name}": made.settings} if made.teacher is None else {}
    if made.generator != COPY_PASTE:
        sources[f"generators.{made.generator}"] = study.config.generators[made.generator]
    for what, critic in (("judge", made.judge), ("focus", made.focus), ("teacher", made.teacher)):
        if critic is not None:
            sources[f"sets.{name}.{what} ({critic})"] = study.config.arms[critic].train
    makers = {
        where: build_config(DataConfig, data_settings(study, fold, settings), f"data of {where}")
        for where, settings in sources.items()
    }
    refuse_other_split(f"arms.{arm}", data, makers)


def as_yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
