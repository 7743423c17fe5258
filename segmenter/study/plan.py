"""The jobs of a study: commands, settings and order."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from marsgen.core.config import DataConfig, build_config
from marsgen.provenance import refuse_other_split
from segmenter.inference.config import PseudoLabelConfig
from segmenter.study.collect import write_power
from segmenter.study.config import COPY_PASTE, StudyConfig, merge_settings
from segmenter.study.folder import Study, job_name, run_name
from segmenter.study.jobs import Job, config_path
from segmenter.training.config import TrainConfig
from segmenter.training.fork import FREE_KEYS


def plan_jobs(study: Study) -> list[Job]:
    """Every job of the study, needs before what needs them; all training settings are checked.

    The order: generators, which take longest; the runs of the baseline, then the smallest detectable gain; the runs
    that judge sets; the synthetic sets; the other runs seed by seed, so that a study that is stopped early has runs of
    every arm. A set with a teacher comes after the teacher's runs and before the first run that is trained on it.

    Raises:
        ConfigError: settings that a command would refuse, or an arm and its sets use different training scenes.
    """
    config = study.config
    seeds = config.seeds_of(config.baseline)
    baseline = [_run_job(study, config.baseline, seed, fold) for seed in seeds for fold in study.folds]
    needs = tuple(job.name for job in baseline)
    jobs = [
        *_generator_jobs(study),
        *baseline,
        Job(power_name(config), action=lambda: write_power(study), needs=needs),
    ]
    for arm in (name for name in config.arms if name in config.judges and name != config.baseline):
        jobs += [_run_job(study, arm, config.seeds_of(arm)[0], fold) for fold in study.folds]
    synthetic = [name for name in config.used_sets if config.sets[name].teacher is None]
    jobs += [_set_job(study, name, fold) for name in synthetic for fold in study.folds]
    planned = {job.name: job for job in jobs}
    for seed in dict.fromkeys(seed for arm in config.arms for seed in config.seeds_of(arm)):
        for arm in (name for name in config.arms if seed in config.seeds_of(name)):
            for job in _run_jobs_with_teachers(study, arm, seed):
                planned.setdefault(job.name, job)
    return list(planned.values())


def power_name(config: StudyConfig) -> str:
    """Name of the job that computes the smallest detectable gain, which depends on the numbers of seeds and arms."""
    return f"power/{'-'.join(map(str, config.seed_counts))}-seeds-{len(config.arms) - 1}-arms"


def as_yaml(settings: dict[str, Any]) -> str:
    """Settings as yaml text, keys in their order."""
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


# settings


def data_settings(study: Study, fold: int | None, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `data` block of a command: the study's `train.data`, what `own` changes in it, and the fold."""
    settings = merge_settings(study.config.train, own or {}).get("data") or {}
    return settings | ({} if fold is None else {"folds": study.config.folds, "fold": fold})


def recipe_of_run(study: Study, arm: str, seed: int, fold: int | None) -> tuple[dict[str, Any], TrainConfig]:
    """The settings of a run as they are written into its --config file, and as `segmenter train` reads them.

    Raises:
        ConfigError: `segmenter train` would refuse them.
    """
    own = study.config.recipe(arm)
    recipe = own | {"seed": seed, "data": data_settings(study, fold, own)}
    if arm == study.config.baseline and (forked := forked_arms(study.config)):
        recipe["fork_at"] = min(forked.values())
    return recipe, build_config(TrainConfig, recipe, f"arms.{arm}")


def forked_arms(config: StudyConfig) -> dict[str, float]:
    """Arms that share the baseline's first steps, since they differ in what comes later alone: arm -> where they part.

    Such an arm starts from the state that the baseline's run of the same seed has kept, which saves those steps and
    changes no byte (segmenter/training/fork.py).
    """
    if config.arms[config.baseline].extra:
        return {}
    wanted = _shared_settings(config, config.baseline)
    first = {
        name: build_config(TrainConfig, config.recipe(name), f"arms.{name}").extra_span[0]
        for name, arm in config.arms.items()
        if arm.extra
    }
    return {name: share for name, share in first.items() if 0 < share < 1 and _shared_settings(config, name) == wanted}


def _shared_settings(config: StudyConfig, arm: str) -> dict[str, Any]:
    recipe = build_config(TrainConfig, config.recipe(arm), f"arms.{arm}").model_dump(mode="json")
    return {key: value for key, value in recipe.items() if key not in FREE_KEYS}


def _refuse_other_split(study: Study, arm: str, data: DataConfig, name: str, fold: int | None) -> None:
    """Refuse a set whose regions, generator, judge, focus or teacher come from other training scenes than the arm's.

    The arm would profit from real scenes that it is said not to have.
    """
    made = study.config.sets[name]
    sources = {f"sets.{name}": made.settings} if made.teacher is None else {}
    if made.generator != COPY_PASTE:
        sources[f"generators.{made.generator}"] = _data_of_generator(study, made.generator)
    for role, other in (("judge", made.judge), ("focus", made.focus), ("teacher", made.teacher)):
        if other is not None:
            sources[f"sets.{name}.{role} ({other})"] = study.config.arms[other].train
    makers = {
        where: build_config(DataConfig, data_settings(study, fold, settings), f"data of {where}")
        for where, settings in sources.items()
    }
    refuse_other_split(f"arms.{arm}", data, makers)


# one job each


def _generator_jobs(study: Study) -> list[Job]:
    names = study.config.generators_of(study.config.used_sets)
    return [_generator_job(study, name, fold) for name in names for fold in study.folds]


def _generator_job(study: Study, name: str, fold: int | None) -> Job:
    job, own = job_name("generators", name, fold), dict(study.config.generators[name])
    teacher = own.pop("teacher", None)
    settings = own | {"data": data_settings(study, fold, _data_of_generator(study, name))}
    command = ["marsgen", "train-generator", *_options(study, job)]
    if teacher is not None:
        command += ["--kind", "distilled", "--teacher", str(study.path("generators", teacher, fold))]
    needs = () if teacher is None else (job_name("generators", teacher, fold),)
    return Job(job, (tuple(command),), as_yaml(settings), needs)


def _data_of_generator(study: Study, name: str) -> dict[str, Any]:
    """The settings whose `data` a generator is trained with: its own; a distilled one has those of its teacher."""
    return study.config.generators[study.config.with_teachers(name)[0]]


def _set_job(study: Study, name: str, fold: int | None) -> Job:
    if study.config.sets[name].teacher is not None:
        return _pseudo_label_job(study, name, fold)
    job, made = job_name("sets", name, fold), study.config.sets[name]
    trained = made.generator != COPY_PASTE
    data = build_config(DataConfig, data_settings(study, fold, made.settings), f"sets.{name}.settings.data")
    settings = {"data": {}} | made.settings | {"data": data.model_dump(mode="json")}
    generator = str(study.path("generators", made.generator, fold)) if trained else COPY_PASTE
    command = ["marsgen", "synthesize", "--generator", generator, *_options(study, job)]
    needs = [job_name("generators", made.generator, fold)] if trained else []
    for option, arm in (("--judge", made.judge), ("--focus", made.focus)):
        if arm is not None:
            seed = study.config.seeds_of(arm)[0]
            command += [option, str(study.run_path(arm, seed, fold))]
            needs.append(run_name(arm, seed, fold))
    return Job(job, (tuple(command),), as_yaml(settings), tuple(dict.fromkeys(needs)))


def _pseudo_label_job(study: Study, name: str, fold: int | None) -> Job:
    job, made = job_name("sets", name, fold), study.config.sets[name]
    build_config(PseudoLabelConfig, made.settings, f"sets.{name}.settings")
    assert made.teacher is not None
    teachers = [(made.teacher, seed, fold) for seed in study.config.seeds_of(made.teacher)]
    runs = [str(study.run_path(*teacher)) for teacher in teachers]
    options = ["--data", study.pictures, "--config", str(config_path(study.folder, job))]
    command = ("segmenter", "pseudo-label", *runs, *options, "--out", str(study.folder / job))
    return Job(job, (command,), as_yaml(made.settings), tuple(run_name(*teacher) for teacher in teachers))


def _run_jobs_with_teachers(study: Study, arm: str, seed: int) -> Iterator[Job]:
    """The runs of an arm and a seed, after its pseudo-labelled sets and the runs of their teachers."""
    config = study.config
    for name in config.arms[arm].extra:
        teacher = config.sets[name].teacher
        if teacher is not None:
            for seed_of_teacher in config.seeds_of(teacher):
                yield from _run_jobs_with_teachers(study, teacher, seed_of_teacher)
            yield from (_set_job(study, name, fold) for fold in study.folds)
    yield from (_run_job(study, arm, seed, fold) for fold in study.folds)


def _run_job(study: Study, arm: str, seed: int, fold: int | None) -> Job:
    config, job = study.config, run_name(arm, seed, fold)
    recipe, settings = recipe_of_run(study, arm, seed, fold)
    sets = config.arms[arm].extra
    for name in sets:
        _refuse_other_split(study, arm, settings.data, name, fold)
    extras = [word for name in sets for word in ("--extra", str(study.path("sets", name, fold)))]
    forks = arm in forked_arms(config) and seed in config.seeds_of(config.baseline)
    fork = ["--fork", str(study.run_path(config.baseline, seed, fold))] if forks else []
    train = ["segmenter", "train", *extras, *fork, *_options(study, job)]
    evaluate = ["segmenter", "evaluate", str(study.folder / job), "--data", study.test or study.data, *_classes(study)]
    changed = config.evaluate.model_dump(mode="json", exclude_defaults=True)
    evaluate += [word for key, value in changed.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    needs = [job_name("sets", name, fold) for name in sets]
    if forks:
        needs.append(run_name(config.baseline, seed, fold))
    if arm != config.baseline:
        needs.append(power_name(config))  # the smallest detectable gain is printed before any gain can be known
    return Job(job, (tuple(train), tuple(evaluate)), as_yaml(recipe), tuple(needs))


def _options(study: Study, job: str) -> list[str]:
    out: Path = study.folder / job
    return ["--data", study.data, *_classes(study), "--config", str(config_path(study.folder, job)), "--out", str(out)]


def _classes(study: Study) -> list[str]:
    return ["--classes", study.classes] if study.classes else []
