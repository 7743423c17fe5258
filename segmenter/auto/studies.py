"""The studies that `segmenter auto` runs, made from the recipes: a study whose arms race.

Arms of the recipes are of two kinds: trained on real scenes alone, or on extra scenes too. The recipes' baseline is the
reference of the race; the arm without any change is what everything is finally measured against.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marsgen.core.config import Config, build_config
from marsgen.core.errors import ConfigError
from segmenter.auto.config import refuse_unknown_arms
from segmenter.study.config import COPY_PASTE, PAIRS, StudyConfig, merge_settings
from segmenter.study.folder import Study
from segmenter.study.jobs import Job
from segmenter.study.plan import plan_jobs, power_name
from segmenter.training.config import TrainConfig

FIRST_CONFIRMED = 100
"""first seed of the confirmation: none of its seeds was in the race"""
HALF, QUARTER, FEWER = "half_the_scenes", "quarter_of_the_scenes", "half_the_pairs"
"""arms of the confirmation: the best recipe on real scenes with fewer rare scenes, the winner with fewer pairs"""


class Effort(Config):
    """How much is done for each recipe: the part of a plan that the studies' settings depend on."""

    steps: int
    """of each training"""
    pairs: float = 1.0
    """factor on the number of scenes of each set"""
    folds: int = 0
    """of the race; 0 = one validation part"""


def with_titles_for_sentences(recipes: StudyConfig) -> StudyConfig:
    """The recipes with titles that stand alone: without the "+ " by which tables say what an arm is added to."""
    arms = {name: arm.model_copy(update={"title": arm.title.removeprefix("+ ")}) for name, arm in recipes.arms.items()}
    return recipes.model_copy(update={"arms": arms})


def plain_arm(recipes: StudyConfig) -> str:
    """The arm of real scenes as they come, else one that changes nothing, else the baseline."""
    real = on_real_scenes(recipes)
    plain = (name for train in ({"rare_fraction": 0}, {}) for name in real if recipes.arms[name].train == train)
    return next(plain, recipes.baseline)


def on_real_scenes(recipes: StudyConfig) -> list[str]:
    """The arms without extra scenes."""
    return [name for name, arm in recipes.arms.items() if not arm.extra]


def set_sizes(recipes: StudyConfig, pairs: float = 1.0) -> dict[str, int]:
    """Scenes of every set that is drawn."""
    drawn = {name: made for name, made in recipes.sets.items() if made.teacher is None}
    return {name: max(1, round(pairs * int(made.settings.get("n", PAIRS)))) for name, made in drawn.items()}


def race_config(
    recipes: StudyConfig, effort: Effort, arms: Sequence[str], seeds: Iterable[int], validation_fraction: float
) -> StudyConfig:
    """The study of one rung: the reference and the arms that are still in the race."""
    wanted = dict.fromkeys([recipes.baseline, *arms])
    part = {"test_fraction": 0.0 if effort.folds else validation_fraction}
    return _study(
        recipes,
        effort,
        title="Race",
        baseline=recipes.baseline,
        seeds=tuple(seeds),
        folds=effort.folds,
        data=part,
        arms={name: _arm(recipes, name) for name in wanted},
    )


def confirm_config(
    recipes: StudyConfig, effort: Effort, bar: str, winner: str | None, seeds: int, curve: Sequence[int], fewer: bool
) -> StudyConfig:
    """The study that measures what the race chose, with seeds and scenes that the race never saw.

    Only two gains are corrected together, those that are claimed: of the bar over the plain arm, and of the winner over
    the bar.

    Args:
        bar: best arm on real scenes.
        winner: best arm with extra scenes; None = none raced.
        curve: numbers of rare scenes, half and quarter of what there is, that the bar is trained on too; () = it is
            not.
        fewer: train the winner on half its pairs too.
    """
    arms = {bar: _arm(recipes, bar), plain_arm(recipes): _arm(recipes, plain_arm(recipes))}
    sets: dict[str, Any] = {}
    if winner is not None:
        arms[winner] = _arm(recipes, winner)
    if winner is not None and fewer:
        arms[FEWER] = _arm(recipes, winner) | {"title": f"{recipes.title_of(winner)}, half the pairs"}
        halves = {name: f"{name}-half" for name in recipes.arms[winner].extra if name in set_sizes(recipes)}
        arms[FEWER]["extra"] = [halves.get(name, name) for name in recipes.arms[winner].extra]
        for name, half in halves.items():
            made = recipes.sets[name].model_dump(mode="json")
            sets[half] = made | {"settings": made["settings"] | {"n": max(1, set_sizes(recipes)[name] // 2)}}
    for name, scenes in zip((HALF, QUARTER), curve, strict=False):
        fewer_scenes = {"data": {"rare_scenes": scenes}}
        arms[name] = _arm(recipes, bar) | {"title": f"{recipes.title_of(bar)}, {scenes} scenes of the class"}
        arms[name]["train"] = merge_settings(recipes.arms[bar].train, fewer_scenes)
    for name in (FEWER, HALF, QUARTER):
        if name in arms and winner is not None:
            arms[name]["baseline"] = winner  # a family of their own: they make the claimed intervals no wider
    if len(arms) == 1:  # the plain arm won: over what is all the same
        other = next(name for name in [*on_real_scenes(recipes), *recipes.arms] if name not in arms)
        arms[other] = _arm(recipes, other)
    return _study(
        recipes,
        effort,
        title="Confirmation",
        baseline=bar,
        seeds=tuple(range(FIRST_CONFIRMED, FIRST_CONFIRMED + seeds)),
        folds=0,
        data={},
        arms=arms,
        sets=sets,
    )


def _arm(recipes: StudyConfig, name: str) -> dict[str, Any]:
    return recipes.arms[name].model_dump(mode="json", include={"title", "extra", "train"})


def _study(
    recipes: StudyConfig,
    effort: Effort,
    *,
    title: str,
    baseline: str,
    seeds: tuple[int, ...],
    folds: int,
    data: dict[str, Any],
    arms: dict[str, dict[str, Any]],
    sets: dict[str, Any] | None = None,
) -> StudyConfig:
    made = {name: one.model_dump(mode="json") for name, one in recipes.sets.items()} | (sets or {})
    used = {name: made[name] for name in dict.fromkeys(name for arm in arms.values() for name in arm["extra"])}
    for name in list(used):
        one = used[name]
        if one["teacher"] is not None:
            # a teacher of its own, with one seed: those of the arm become more, and the set must not change with them
            arms[f"teacher-of-{name}"] = _arm(recipes, one["teacher"]) | {"seeds": seeds[:1], "baseline": None}
            used[name] = one | {"teacher": f"teacher-of-{name}"}
            used |= {extra: made[extra] for extra in recipes.arms[one["teacher"]].extra}
        else:
            n = max(1, round(effort.pairs * int(one["settings"].get("n", PAIRS))))
            used[name] = one | {"settings": one["settings"] | {"n": n}}
        for judge in filter(None, (one["judge"], one["focus"])):
            arms.setdefault(judge, _arm(recipes, judge))
    train = merge_settings(recipes.train, {"data": data} if data else {}) | training_settings(recipes, effort.steps)
    generators = {name for one in used.values() for name in recipes.with_teachers(one["generator"])}
    return build_config(
        StudyConfig,
        {
            "title": f"{recipes.title} ({title})",
            "seeds": seeds,
            "baseline": baseline,
            "folds": folds,
            "train": train,
            "evaluate": recipes.evaluate.model_dump(mode="json"),
            "generators": {name: recipes.generators[name] for name in recipes.generators if name in generators},
            "sets": used,
            "arms": arms,
            "statistics": recipes.statistics.model_dump(mode="json"),
            "power": recipes.power,
        },
        title,
    )


def full_steps(recipes: StudyConfig) -> int:
    """Training steps where the budget allows them."""
    return int(recipes.train.get("steps", TrainConfig().steps))


def training_settings(recipes: StudyConfig, steps: int) -> dict[str, Any]:
    """Steps, and the settings that count in steps, shortened with them."""
    share = steps / full_steps(recipes)
    return {
        "steps": steps,
        "warmup_steps": int(share * int(recipes.train.get("warmup_steps", TrainConfig().warmup_steps))),
        "validate_every": max(1, int(share * int(recipes.train.get("validate_every", TrainConfig().validate_every)))),
    }


def jobs_for(study: Study, name: str) -> list[Job]:
    """A job of a study and all that it needs, in order; nothing waits for the smallest detectable gain."""
    power = power_name(study.config)
    jobs = {
        job.name: replace(job, needs=tuple(need for need in job.needs if need != power)) for job in plan_jobs(study)
    }
    wanted: dict[str, None] = {}

    def add(name: str) -> None:
        for need in jobs[name].needs:
            add(need)
        wanted.setdefault(name)

    add(name)
    return [jobs[name] for name in wanted]


def without_scoring(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs with trainings that are not scored: there is no test part."""
    return [replace(job, commands=job.commands[:1]) for job in jobs]


def recipe_lines(study: StudyConfig, arm: str) -> dict[str, Any]:
    """The settings of one arm: generators, sets and training, each as the --config file of its command."""
    used, _ = study.prerequisites(arm)
    return {
        "generators": {name: study.generators[name] for name in study.generators_of(used)},
        "sets": {name: study.sets[name].model_dump(mode="json", exclude_defaults=True) for name in used},
        "train": study.recipe(arm),
        "extra": list(study.arms[arm].extra),
    }


def select_arms(recipes: StudyConfig, arms: Sequence[str], with_pictures: bool) -> list[str]:
    """The arms that race, cheapest kind first: real scenes alone, pasting, pseudo-labels, trained generators.

    Args:
        arms: those asked for; empty = all.
        with_pictures: whether there are pictures to pseudo-label.
    Raises:
        ConfigError: no such arm, or none left to choose from.
    """
    refuse_unknown_arms(arms, recipes)
    wanted = [name for name in recipes.arms if not arms or name in arms or name == recipes.baseline]
    if not with_pictures:
        wanted = [name for name in wanted if not any(recipes.sets[s].teacher for s in recipes.arms[name].extra)]
    if len(wanted) < 2:
        raise ConfigError(f"arms: {', '.join(wanted)} races against nothing; name more arms")
    return sorted(wanted, key=lambda name: kind_of(recipes, name))


def kind_of(recipes: StudyConfig, arm: str) -> int:
    """What an arm needs beside real scenes: nothing 0, pasted scenes 1, pseudo-labels 2, a trained generator 3."""
    sets = [recipes.sets[name] for name in recipes.arms[arm].extra]
    if any(made.generator != COPY_PASTE for made in sets):
        return 3
    return 2 if any(made.teacher for made in sets) else 1 if sets else 0


def study_at(config: StudyConfig, folder: Path, data: Path, test: Path | None, pictures: str | None) -> Study:
    """A study on folders that `prepare` wrote; pictures only where a set has a teacher."""
    places = (str(data), None if test is None else str(test))
    return Study(config, folder, *places, None, pictures if config.uses_pseudo_labels else None)
