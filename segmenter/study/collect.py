"""What a study's finished cells counted and cost, and the gain that its baseline says could be detected."""

import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from marsgen.console import say
from marsgen.core.errors import RunError
from marsgen.core.files import write_json
from marsgen.core.runs import Run
from marsgen.scenes.classes import read_classes
from marsgen.scenes.sources import open_scenes
from segmenter.evaluation.reader import Evaluation
from segmenter.results.arms import find_evaluations, flatten_settings
from segmenter.results.counts import (
    ArmCard,
    Power,
    ScoringSettings,
    StudyCard,
    StudyCounts,
    TestPart,
    arm_of_evaluations,
    describe_power,
    images_of_evaluations,
)
from segmenter.results.simultaneous import smallest_detectable_gain
from segmenter.results.study_gallery import Gallery, study_gallery
from segmenter.study.config import COPY_PASTE, Study, cell_name, job_name
from segmenter.study.jobs import read_cost

GALLERY_ARMS = 3
"""columns of pictures beside the baseline's, where the study names none"""


def read_cells(study: Study, arm: str) -> list[list[Evaluation]]:
    """The evaluations of an arm: per seed, those of all folds. What else its cells were scored on is left alone."""
    inputs = Run.load(study.folder, "segmenter study", finished=False).inputs
    scored = inputs.get("test", inputs["data"])["fingerprint"]
    seeds = study.config.seeds_of(arm)
    found: list[list[Evaluation]] = [[] for _ in seeds]
    for fold in study.folds:
        runs = [Run.load(study.folder / cell_name(arm, seed, fold), "segmenter train") for seed in seeds]
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
    costs = [[read_cost_of(study, cell_name(arm, s, fold)) for fold in study.folds] for s in config.seeds_of(arm)]
    sets, teachers = config.behind(arm)
    taught = [cell_name(name, seed, k) for name in teachers for seed in config.seeds_of(name) for k in study.folds]
    generators = {config.sets[name].generator for name in sets} - {COPY_PASTE}
    drawn_by, set_jobs = _jobs_of("generators", generators, study), _jobs_of("sets", sets, study) + taught
    made = [read_cost_of(study, job) for job in drawn_by + set_jobs]
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
        interrupted=any(cost["resumed"] for cost in (*made, *itertools.chain(*costs))),
        settings=flatten_settings(config.arms[arm].train),
    )


def _minutes(study: Study, jobs: Sequence[str]) -> float | None:
    return sum(read_cost_of(study, job)["seconds"] for job in jobs) / 60 if jobs else None


def _jobs_of(kind: str, names: Collection[str], study: Study) -> list[str]:
    return [job_name(kind, name, fold) for name in names for fold in study.folds]


def read_cost_of(study: Study, job: str) -> dict[str, Any]:
    cost = read_cost(study.folder, job)
    if cost is None:
        raise RunError(f"{study.folder}/jobs/{job}.json is gone; repeat the command, and the job is gone through again")
    return cost


def draw_gallery(study: Study, counts: StudyCounts) -> Gallery:
    config = study.config
    shown = config.gallery or [name for name, arm in config.arms.items() if arm.extra][:GALLERY_ARMS]
    runs = {
        arm: [study.folder / cell_name(arm, config.seeds_of(arm)[0], fold) for fold in study.folds]
        for arm in dict.fromkeys([config.baseline, *shown])
    }
    known = None if study.classes is None else read_classes(Path(study.classes))
    return study_gallery(counts, runs, open_scenes(study.test or study.data, classes=known))


def write_power(study: Study) -> None:
    """power.json, and in words: what this test set and this number of seeds can show, before anything else is known."""
    config = study.config
    evaluations = read_cells(study, config.baseline)
    card = _card(study, config.baseline)
    arm = arm_of_evaluations(card, evaluations)
    first = evaluations[0][0]
    sums = arm.unit_sums(first.record["settings"]["found_fraction"], images_of_evaluations(evaluations[0]).groups)
    terms = {"arms": len(config.arms) - 1, "confidence": config.statistics.confidence, "power": config.power}
    gains = {n: smallest_detectable_gain(sums, seeds=n, **terms) for n in config.seed_counts}  # type: ignore[arg-type]
    power = describe_power(first.classes, gains, **terms)  # type: ignore[arg-type]
    write_json(study.folder / "power.json", power.model_dump(mode="json"))
    for seeds, by_score in {power.seeds: power.smallest_gain, **power.with_other_seeds}.items():
        for score, gain in by_score.items():
            if gain is not None:
                say(f"found with {config.power:.0%} certainty by {seeds} seeds: {score} {100 * gain:.1f} points")
