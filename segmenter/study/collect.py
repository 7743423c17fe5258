"""Counts and costs of a study's finished runs, and the smallest gain that its baseline says can be detected."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from marsgen.console import say
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json
from marsgen.core.storage.reading import read_json
from marsgen.scenes.classes import read_classes
from marsgen.scenes.sources import open_scenes
from segmenter.evaluation.reader import Evaluation
from segmenter.results.arms import find_evaluations, flatten_settings
from segmenter.results.counts import StudyCounts, arm_of_evaluations, count_evaluations, images_of_evaluations
from segmenter.results.metadata import ArmMetadata, Power
from segmenter.results.page.gallery import Gallery, make_gallery
from segmenter.results.statistics.power import describe_power, smallest_detectable_gain
from segmenter.study.folder import Study, job_name, name_of_data, run_name
from segmenter.study.jobs import read_cost

GALLERY_ARMS = 3
"""arms in the gallery beside the baseline, where the study names none"""


def read_evaluations(study: Study, arm: str) -> list[list[Evaluation]]:
    """The evaluations of an arm's runs on the study's test scenes: per seed, one per fold.

    Evaluations of the same runs on other data or with other settings are ignored.
    """
    run = Run.load(study.folder, "segmenter study", finished=False)
    test_data = run.stored(f"inputs.{'test' if 'test' in run.inputs else 'data'}.fingerprint", str)
    seeds = study.config.seeds_of(arm)
    by_fold = []
    for fold in study.folds:
        runs = [Run.load(study.run_path(arm, seed, fold), "segmenter train") for seed in seeds]
        by_fold.append(find_evaluations(runs, test_data, study.config.evaluate))
    return [list(of_seed) for of_seed in zip(*by_fold, strict=True)]


def collect_counts(study: Study) -> StudyCounts:
    """The raw counts of all finished runs, and their costs."""
    config = study.config
    evaluations = {arm: read_evaluations(study, arm) for arm in config.arms}
    return count_evaluations(
        [(_describe_arm(study, arm), evaluations[arm]) for arm in config.arms],
        title=config.title,
        baseline=config.baseline,
        oracle=config.oracle,
        statistics=config.statistics,
        curves=config.curves,
        power=read_json(study.folder / "power.json", Power, RunError, "delete it and repeat the command"),
        scored_on=name_of_data(study.test or study.data),
    )


def _describe_arm(study: Study, arm: str) -> ArmMetadata:
    config, seeds = study.config, study.config.seeds_of(arm)
    runs = [[_read_cost(study, run_name(arm, seed, fold)) for fold in study.folds] for seed in seeds]
    generator_jobs, set_jobs = _jobs_behind(study, arm)
    made = [_read_cost(study, job) for job in (*generator_jobs, *set_jobs)]
    pseudo_labelled = [config.sets[name].teacher is not None for name in config.arms[arm].extra]
    return ArmMetadata(
        name=arm,
        title=config.title_of(arm),
        baseline=None if arm == config.baseline else config.baseline_of(arm),
        seeds=seeds,
        synthetic=not all(pseudo_labelled),
        pseudo_labels=any(pseudo_labelled),
        rare_scenes=_rare_scenes(study, arm),
        train_minutes=tuple(sum(cost["seconds"] for cost in folds) / 60 for folds in runs),
        peak_memory_mb=tuple(max(cost["peak_mb"] for cost in folds) for folds in runs),
        generator_minutes=_minutes(study, generator_jobs),
        set_minutes=_minutes(study, set_jobs),
        interrupted=any(cost["resumed"] for cost in (*made, *itertools.chain(*runs))),
        settings=flatten_settings(config.arms[arm].train),
    )


def _rare_scenes(study: Study, arm: str) -> int:
    """Real training scenes that show a rare class, mean over the arm's runs."""
    found = [
        Run.load(study.run_path(arm, seed, fold), "segmenter train").said("rare_scenes", int)
        for seed in study.config.seeds_of(arm)
        for fold in study.folds
    ]
    return round(sum(found) / len(found))


def _jobs_behind(study: Study, arm: str) -> tuple[list[str], list[str]]:
    """The jobs that train the generators of an arm's sets, and those that make the sets, runs of teachers included."""
    config = study.config
    sets, teachers = config.prerequisites(arm)
    runs = [run_name(name, seed, fold) for name in teachers for seed in config.seeds_of(name) for fold in study.folds]
    return _job_names(study, "generators", config.generators_of(sets)), [*_job_names(study, "sets", sets), *runs]


def _job_names(study: Study, kind: str, names: Iterable[str]) -> list[str]:
    return [job_name(kind, name, fold) for name in names for fold in study.folds]


def _minutes(study: Study, jobs: Sequence[str]) -> float | None:
    return sum(_read_cost(study, job)["seconds"] for job in jobs) / 60 if jobs else None


def _read_cost(study: Study, job: str) -> dict[str, Any]:
    cost = read_cost(study.folder, job)
    if cost is None:
        raise RunError(f"{study.folder}/jobs/{job}.json is missing; repeat the command, and the job runs again")
    return cost


def draw_gallery(study: Study, counts: StudyCounts) -> Gallery:
    """Example predictions of the baseline and of the arms that the study shows, from the first seed of each."""
    config = study.config
    shown = config.gallery or [name for name, arm in config.arms.items() if arm.extra][:GALLERY_ARMS]
    runs = {
        arm: [study.run_path(arm, config.seeds_of(arm)[0], fold) for fold in study.folds]
        for arm in dict.fromkeys([config.baseline, *shown])
    }
    classes = None if study.classes is None else read_classes(Path(study.classes))
    return make_gallery(counts, runs, open_scenes(study.test or study.data, classes=classes))


def write_power(study: Study) -> None:
    """Write power.json and print it: the smallest gains that this test set and these numbers of seeds can detect.

    Computed from the runs of the baseline alone.
    """
    config = study.config
    evaluations = read_evaluations(study, config.baseline)
    arm = arm_of_evaluations(_describe_arm(study, config.baseline), evaluations)
    first = evaluations[0][0]
    sums = arm.unit_sums(first.record["settings"]["found_fraction"], images_of_evaluations(evaluations[0]).groups)
    others, confidence = len(config.arms) - 1, config.statistics.confidence
    gains = {
        seeds: smallest_detectable_gain(sums, seeds=seeds, arms=others, confidence=confidence, power=config.power)
        for seeds in config.seed_counts
    }
    power = describe_power(first.classes, gains, arms=others, confidence=confidence, power=config.power)
    write_json(study.folder / "power.json", power.model_dump(mode="json"))
    for seeds, by_score in {power.seeds: power.smallest_gain, **power.with_other_seeds}.items():
        for score, gain in by_score.items():
            if gain is not None:
                say(f"detected with {config.power:.0%} power by {seeds} seeds: {score} {100 * gain:.1f} points")
