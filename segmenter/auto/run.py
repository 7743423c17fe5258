"""AUTO: look at the data, measure costs, race, confirm, train on all data, answer; a repeated command goes on.

<out>/data/           the scenes of the race, of the confirmation and of the last training
<out>/pilot/          a few steps of each kind of job, to know what it costs
<out>/plan.json       what will be done; made once
<out>/race/           one study, grown rung by rung; rung<k>.yaml is the study of each rung, race.json what it found
<out>/confirm/        the study of what the race chose: report in results/study.html
<out>/final/          generator, set and segmenter of the recommended recipe, from all data
<out>/recipe.yaml     the recommended recipe
<out>/answer.md       the answer; answer.json its numbers
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from marsgen.console import say
from marsgen.core.config import DataConfig, build_config
from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.core.stop import Stopped
from marsgen.core.storage.files import filling_text, is_written, write_json, write_text
from marsgen.core.storage.reading import read_json
from marsgen.engines.task import Engine
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import has_test_set, open_scenes
from segmenter.auto.answer import Answer, answer_of, answer_so_far, paragraph
from segmenter.auto.clock import BudgetSpent, Clock, TimedEngine
from segmenter.auto.config import AutoConfig, time_text
from segmenter.auto.data import Look, count_rare_training, prepare, smallest_gain
from segmenter.auto.measure import measure
from segmenter.auto.plan import (
    Plan,
    fit,
    in_race,
    last_seconds,
    race_seconds,
    total_seconds,
    wall_seconds,
)
from segmenter.auto.race import Rung, choose, keep_better, rank
from segmenter.auto.room import refuse_full_disk, refuse_no_room_to_begin
from segmenter.auto.studies import (
    FIRST_CONFIRMED,
    Effort,
    confirm_config,
    full_steps,
    jobs_for,
    plain_arm,
    race_config,
    recipe_lines,
    select_arms,
    set_sizes,
    study_at,
    without_scoring,
)
from segmenter.results.counts import read_counts, write_counts
from segmenter.results.summary import summarise
from segmenter.study.checks import check_data
from segmenter.study.collect import collect_counts
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study, run_name
from segmenter.study.jobs import is_finished, read_cost, run_jobs
from segmenter.study.plan import as_yaml, plan_jobs
from segmenter.study.run import open_study, run_study, train_and_count


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked."""

    data: SceneSource
    test: SceneSource | None
    class_name: str
    pictures: str | None
    """to pseudo-label, as --unlabelled takes them"""
    seconds: float
    """the budget"""
    recipes: StudyConfig
    config: AutoConfig
    folder: Path

    @cached_property
    def unlabelled(self) -> str | None:
        return self.pictures or (self.data.location if has_test_set(self.data.location) else None)

    @cached_property
    def arms(self) -> list[str]:
        return select_arms(self.recipes, self.config.arms, self.unlabelled is not None)

    @cached_property
    def with_extra(self) -> list[str]:
        return [arm for arm in self.arms if self.recipes.arms[arm].extra]

    @cached_property
    def split(self) -> DataConfig:
        """Cleaning and split of the recipes."""
        return build_config(DataConfig, self.recipes.train.get("data") or {}, "train.data")

    @cached_property
    def rare_training(self) -> int:
        """Scenes of the class that the confirmation trains on."""
        return count_rare_training(self.folder / "data" / "race", self.split)

    def study(self, config: StudyConfig, name: str) -> Study:
        """A study of the race, or of the confirmation."""
        data = self.folder / "data"
        test = data / "test" if name == "confirm" else None
        return study_at(config, self.folder / name, data / "race", test, self.unlabelled)


def run_auto(question: Question, open_engine: Callable[[], Engine]) -> Path:
    """Answer a question within its budget.

    Returns:
        the file of the answer.
    Raises:
        ConfigError, DataError: the data cannot be raced on, or the budget is too small: it says how much is needed.
        RunError: the folder holds something else, the disk has too little room, or jobs failed.
        Stopped: asked to stop; the answer so far is written and said.
    """
    folder, _ = question.folder, question.arms
    inputs: dict[str, Any] = {"data": question.data.identity(), "class": question.class_name}
    if question.test is not None:
        inputs["test"] = question.test.identity()
    inputs["recipes"] = question.recipes.model_dump(mode="json")
    refuse_no_room_to_begin(folder, question.data, question.test, question.recipes)
    run = Run.start(folder, "segmenter auto", question.config, inputs)
    with contextlib.closing(run):
        if not run.finished:
            _answer(question, open_engine, run)
    say((folder / "answer.md").read_text(encoding="utf-8").rstrip())
    return folder / "answer.md"


def _answer(question: Question, open_engine: Callable[[], Engine], run: Run) -> None:
    folder, config, clock = question.folder, question.config, Clock(question.folder / "clock.json")
    split, places = question.split, folder / "data"
    look = prepare(question.data, question.test, question.class_name, places, split, config.test_fraction)
    engine = TimedEngine(open_engine, clock)
    with contextlib.closing(engine):
        try:
            plan = _plan(question, look, engine, clock)
            _refuse_full_disk(question, look, plan, engine.width)
            engine.deadline = question.seconds
            _race(question, plan, engine)
            whole = _confirm(question, plan, engine)
            if look.set_aside and plan.last_training:
                _train_on_all(question, plan, engine)
        except BudgetSpent:
            say("the budget is used up; the same command with a larger --budget goes on")
            _write_answer(question, look)
            return
        except (Stopped, KeyboardInterrupt):
            _count_what_is_there(question)
            _write_answer(question, look)
            say((folder / "answer.md").read_text(encoding="utf-8").rstrip())
            raise
    _write_answer(question, look)
    if whole:  # else a larger budget trains what is missing
        run.finish({"seconds": round(clock.seconds), "answer": "answer.md"})


# what will be done


def _plan(question: Question, look: Look, engine: TimedEngine, clock: Clock) -> Plan:
    """The plan: the recorded one, else what fits the budget after a few steps of everything."""
    path, config, recipes = question.folder / "plan.json", question.config, question.recipes
    for line in look.lines:
        say(line)
    say(
        f"race: {look.race} scenes, {look.race_rare} with {question.class_name}; confirmation: {look.test} scenes, "
        f"{look.test_rare} with it ({look.test_from})"
    )
    say(
        "smallest gain that is likely to be seen: about "
        f"{100 * smallest_gain(look.test_rare, config.seeds):.0f} points of IoU with {config.seeds} seeds"
    )
    if is_written(path):
        return read_plan(question.folder)
    _refuse_unfit(question)
    costs = measure(
        recipes,
        question.arms,
        engine,
        clock,
        question.folder,
        question.unlabelled,
        validation_fraction=config.validation_fraction,
        until=config.measuring * question.seconds,
    )
    known = tuple(arm for arm in question.arms if costs.knows(recipes, arm))
    unknown = [recipes.title_of(arm) for arm in question.arms if arm not in known]
    validated = config.validation_fraction * look.race_rare
    whole = Plan(
        effort=Effort(steps=full_steps(recipes), folds=0 if validated >= config.enough_scenes else config.race_folds),
        arms=known,
        rungs=config.rungs,
        seeds=config.seeds,
        curve=True,
        fewer_pairs=any(set(recipes.arms[arm].extra) & set(set_sizes(recipes)) for arm in known),
        last_training=look.set_aside,
        costs=costs,
        given_up=tuple(f"{title} is not tried: too little time to measure it" for title in unknown),
    )
    for line in _cost_lines(whole, recipes):
        say(line)
    left = question.seconds - clock.seconds
    plan, fits = fit(whole, recipes, config, engine.width, left)
    if not fits:
        needed = clock.seconds + total_seconds(plan, recipes, engine.width)
        raise ConfigError(
            f"--budget: {time_text(question.seconds)} is too little here; the smallest race that says anything needs "
            f"about {time_text(1.1 * needed)} (all of it {time_text(total_seconds(whole, recipes, engine.width))})"
        )
    write_json(path, plan.model_dump(mode="json"))
    for words in plan.given_up:
        say(f"to fit the budget: {words}")
    planned = clock.seconds + total_seconds(plan, recipes, engine.width)
    rungs = ", ".join(f"{arms} x {seeds}" for arms, seeds in zip(in_race(plan), plan.rungs, strict=True))
    say(
        f"plan: race of {len(plan.arms)} recipes (recipes x seeds: {rungs}), confirmation with {plan.seeds} new seeds; "
        f"about {time_text(planned)} of {time_text(question.seconds)}"
    )
    return plan


def _refuse_full_disk(question: Question, look: Look, plan: Plan, width: int) -> None:
    """Refuse before the race a plan that the disk cannot hold."""
    race = question.study(_race_config(question, plan.effort, plan.arms, [0]), "race")
    pictures = 0
    if race.config.uses_pseudo_labels:
        pictures = len(open_scenes(race.pictures, classes=question.data.classes, labelled=False))
    refuse_full_disk(question.folder, plan, race, question.data, max(look.race, look.test), pictures, width)


def read_plan(folder: Path) -> Plan:
    """The plan of a folder of `segmenter auto`."""
    content = read_json(folder / "plan.json", fault=RunError, remedy="delete it and repeat the command")
    return build_config(Plan, content, str(folder / "plan.json"))


def _refuse_unfit(question: Question) -> None:
    """Refuse before anything is trained what a study would: settings, classes, test scenes that are trained on."""
    config = _confirm_config(
        question, Effort(steps=full_steps(question.recipes)), question.recipes.baseline, None, 2, (), False
    )
    check_data(question.study(config, "confirm"))
    plan_jobs(question.study(_race_config(question, Effort(steps=1), question.arms, [0]), "race"))


def _cost_lines(plan: Plan, recipes: StudyConfig) -> list[str]:
    run = plan.costs.run.at(plan.effort.steps)
    lines = [f"one training: {time_text(run)} ({plan.effort.steps} steps)"]
    for arm in plan.arms:
        extra = plan.costs.of_extra(recipes, [arm], plan.effort)
        if extra:
            lines.append(f"{recipes.title_of(arm)}: {time_text(extra)} for its scenes, then {time_text(run)} a seed")
    return lines


# race


def _race_config(question: Question, effort: Effort, arms: Sequence[str], seeds: Sequence[int]) -> StudyConfig:
    return race_config(question.recipes, effort, arms, seeds, question.config.validation_fraction)


def _race(question: Question, plan: Plan, engine: TimedEngine) -> None:
    """Run the rungs that are not finished, and write what they chose.

    Rungs after the first stop where the time of what comes after them begins.
    """
    rungs = read_rungs(question.folder)
    recipes, reference = question.recipes, question.recipes.baseline
    race = wall_seconds(race_seconds(plan, recipes), engine.width)
    after = total_seconds(plan, recipes, engine.width) - race
    for number, seeds in enumerate(plan.rungs[len(rungs) :], start=len(rungs)):
        if rungs and is_written(question.folder / "race" / "chosen.json"):
            break
        arms = rungs[-1].kept if rungs else tuple(arm for arm in plan.arms if arm != reference)
        config = _race_config(question, plan.effort, arms, range(seeds))
        study = question.study(config, "race")
        engine.deadline = question.seconds - after if rungs else question.seconds
        try:
            gains = _run_rung(question, study, arms, engine, number + 1)
        except BudgetSpent:
            if not rungs:
                raise
            say(f"rung {number + 1} of the race does not fit; the choice is that of rung {number}")
            break
        rungs.append(Rung(seeds=seeds, gains=gains, kept=keep_better(gains, question.with_extra)))
        write_json(question.folder / "race" / "race.json", {"rungs": [rung.model_dump(mode="json") for rung in rungs]})
        kept = ", ".join(recipes.title_of(arm) for arm in rungs[-1].kept)
        say(f"rung {number + 1}, {seeds} seed{'s' * (seeds > 1)}: kept {kept} beside {recipes.title_of(reference)}")
    bar, winner = choose(rungs, reference, question.with_extra)
    write_json(question.folder / "race" / "chosen.json", {"bar": bar, "winner": winner})


def _run_rung(
    question: Question, study: Study, arms: Sequence[str], engine: TimedEngine, number: int
) -> dict[str, float]:
    """Train what a rung lacks; its tables go into a log, for they choose and are no result."""
    run = open_study(study, engine)
    with contextlib.closing(run):
        write_text(study.folder / f"rung{number}.yaml", as_yaml(study.config.model_dump(mode="json")))
        with filling_text(study.folder / f"rung{number}.log") as log, contextlib.redirect_stdout(log):
            counts = train_and_count(study, engine)
    return rank(counts, question.class_name, arms)


def read_rungs(folder: Path) -> list[Rung]:
    """The finished rungs of a race."""
    path = folder / "race" / "race.json"
    if not is_written(path):
        return []
    content = read_json(path, fault=RunError, remedy="delete it and repeat the command: finished runs are kept")
    return [build_config(Rung, rung, str(path)) for rung in content["rungs"]]


def read_chosen(folder: Path) -> tuple[str, str | None]:
    """What a race chose: the best arm on real scenes, and the best with extra scenes."""
    path = folder / "race" / "chosen.json"
    content = read_json(path, fault=RunError, remedy="delete it and repeat the command: finished runs are kept")
    return content["bar"], content["winner"]


# confirmation


def _confirm_config(
    question: Question, effort: Effort, bar: str, winner: str | None, seeds: int, curve: Sequence[int], fewer: bool
) -> StudyConfig:
    return confirm_config(question.recipes, effort, bar, winner, seeds, curve, fewer)


def _confirm(question: Question, plan: Plan, engine: TimedEngine) -> bool:
    """Measure what the race chose; whether all of it. Else it is reported with the seeds that every claimed arm has."""
    config = _planned_confirmation(question, plan)
    study = question.study(config, "confirm")
    write_text(question.folder / "confirm.yaml", as_yaml(config.model_dump(mode="json")))
    engine.deadline = question.seconds - wall_seconds(last_seconds(plan, question.recipes), 1)
    whole = True
    try:
        _run_confirmation(study, engine)
    except BudgetSpent:
        less = finished_part(study)
        if less is None:
            raise
        whole = False
        say(f"the confirmation does not fit; it is reported with {len(less.seeds)} seeds")
        engine.deadline = float("inf")  # nothing is left to train in it
        _run_confirmation(question.study(less, "confirm"), engine)
    engine.deadline = question.seconds
    return whole


def _count_what_is_there(question: Question) -> None:
    """Count the finished seeds of a confirmation that was stopped, where they are enough; nothing is trained."""
    if is_written(question.folder / "race" / "chosen.json"):
        study = question.study(_planned_confirmation(question, read_plan(question.folder)), "confirm")
        less = finished_part(study)
        if less is not None:
            write_counts(study.folder / "counts", collect_counts(question.study(less, "confirm")))


def _planned_confirmation(question: Question, plan: Plan) -> StudyConfig:
    bar, winner = read_chosen(question.folder)
    effort = plan.effort.model_copy(update={"folds": 0})
    there = question.rare_training
    curve = (there // 2, there // 4) if plan.curve and there >= 8 else ()
    fewer = plan.fewer_pairs and winner is not None and bool(set(question.recipes.arms[winner].extra))
    return _confirm_config(question, effort, bar, winner, plan.seeds, curve, fewer)


def _run_confirmation(study: Study, engine: TimedEngine) -> None:
    run = open_study(study, engine)
    with contextlib.closing(run):
        run_study(study, run, engine)


def finished_part(study: Study) -> StudyConfig | None:
    """The study with the seeds and arms that are finished; None where that is fewer than two seeds of what is claimed.

    Arms that are not claimed (fewer scenes, fewer pairs) are left out where they lack a seed.
    """
    config = study.config
    jobs = {job.name: job for job in plan_jobs(study)}
    claimed = [name for name in config.arms if config.baseline_of(name) == config.baseline]
    for count in range(len(config.seeds), 1, -1):
        seeds = config.seeds[:count]
        ready = {
            name
            for name in config.arms
            if all(
                read_cost(study.folder, run_name(name, seed, None)) is not None
                and is_finished(study.folder, jobs[run_name(name, seed, None)])
                for seed in (config.arms[name].seeds or seeds)
            )
        }
        if ready.issuperset(claimed):
            arms = {name: arm for name, arm in config.arms.items() if name in ready}
            content = config.model_dump(mode="json") | {"seeds": seeds}
            content["arms"] = {name: arm.model_dump(mode="json") for name, arm in arms.items()}
            return build_config(StudyConfig, content, "confirmation")
    return None


# the end


def _train_on_all(question: Question, plan: Plan, engine: TimedEngine) -> None:
    """Train the recommended recipe on all scenes, those of the confirmation included."""
    answer = _current_answer(question, None)
    config = _planned_confirmation(question, plan)
    data = question.folder / "data" / "all"
    study = study_at(config, question.folder / "final", data, None, question.unlabelled)
    jobs = without_scoring(jobs_for(study, run_name(answer.recommended, FIRST_CONFIRMED, None)))
    say(f"training {answer.recommended_title} on all {len(list((data / 'images').iterdir()))} scenes")
    run_jobs(jobs, study.folder, engine, counted="runs/")


def _current_answer(question: Question, look: Look | None) -> Answer:
    """The answer from what is finished."""
    folder, recipes = question.folder, question.recipes
    test = look.test_rare if look is not None else 0
    if is_written(folder / "confirm" / "counts" / "study.json"):
        bar, winner = read_chosen(folder)
        plan = read_plan(folder)
        results = summarise(read_counts(folder / "confirm" / "counts"))
        sizes = set_sizes(recipes, plan.effort.pairs)
        pairs = sum(sizes.get(name, 0) for name in (recipes.arms[winner].extra if winner is not None else ()))
        return answer_of(
            results,
            question.class_name,
            bar=bar,
            plain=plain_arm(recipes),
            winner=winner,
            pairs=pairs,
            rare=question.rare_training,
            test=test,
        )
    titles = {arm: recipes.title_of(arm) for arm in recipes.arms}
    rungs = read_rungs(folder)
    return answer_so_far(rungs, question.class_name, titles, recipes.baseline, plain_arm(recipes), test)


def _write_answer(question: Question, look: Look) -> None:
    """Write answer.json, recipe.yaml and answer.md from what is finished."""
    folder = question.folder
    answer = _current_answer(question, look)
    write_json(folder / "answer.json", answer.model_dump(mode="json"))
    text = [paragraph(answer)]
    if answer.seeds:
        config = _planned_confirmation(question, read_plan(folder))
        content = as_yaml(recipe_lines(config, answer.recommended))
        write_text(folder / "recipe.yaml", f"# {answer.recommended_title}: settings of each command\n{content}")
        final = folder / "final" / run_name(answer.recommended, FIRST_CONFIRMED, None)
        tested = folder / "confirm" / run_name(answer.recommended, FIRST_CONFIRMED, None)
        text += [
            "",
            f"- recipe: {folder / 'recipe.yaml'}",
            *(f"- set: {place}" for place in _sets(question, config, answer.recommended)),
            f"- segmenter: {final if is_written(final / 'DONE') else tested}",
            f"- report: {folder / 'confirm' / 'results' / 'study.html'}",
        ]
    write_text(folder / "answer.md", "\n".join(text) + "\n")


def _sets(question: Question, config: StudyConfig, arm: str) -> list[Path]:
    places = [
        [question.folder / stage / "sets" / name for stage in ("final", "confirm")] for name in config.arms[arm].extra
    ]
    return [final if is_written(final / "DONE") else tested for final, tested in places]
