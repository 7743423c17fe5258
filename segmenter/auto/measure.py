"""What each recipe costs on this machine and these data: every kind of job is run twice, with few steps and fewer.

The two durations give the fixed part and the part that grows. Cheap kinds come first, and measuring ends when its share
of the budget is used: what was not measured is not tried.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from marsgen.core.errors import ConfigError
from marsgen.core.storage.files import write_text
from marsgen.engines.task import Task, outcome_of
from segmenter.auto.clock import Clock, TimedEngine
from segmenter.auto.data import link_some
from segmenter.auto.plan import Costs, Line
from segmenter.auto.studies import Effort, full_steps, jobs_for, race_config, set_sizes, study_at
from segmenter.study.config import COPY_PASTE, StudyConfig
from segmenter.study.folder import Study, run_name
from segmenter.study.jobs import Job, read_cost, run_jobs

FEW = 16
"""steps and scenes of the longer of the two runs of each kind; the shorter has a quarter of them"""
FEW_SCORED = 64
"""scenes of the longer of the two scorings"""


def measure(
    recipes: StudyConfig,
    arms: Sequence[str],
    engine: TimedEngine,
    clock: Clock,
    folder: Path,
    pictures: str | None,
    *,
    validation_fraction: float,
    until: float,
) -> Costs:
    """Costs of what was measured until the clock says `until`; of the reference and the cheapest set in any case.

    Args:
        folder: <out>, which holds data/race and data/test; the runs are kept under pilot/.
        pictures: to pseudo-label.
    """
    longer = min(FEW, full_steps(recipes))
    sizes = sorted({max(1, longer // 4), longer})
    pilots = {size: _pilot(recipes, arms, folder, size, pictures, validation_fraction) for size in sizes}
    # the engine's first task waits for its imports, and would be measured with them
    log = folder / "pilot" / "start.log"
    write_text(log, "")
    outcome_of(engine.submit(Task("start", (("segmenter", "--version"),), log)))
    run, score, generators, sets = None, 0.0, dict[str, float](), dict[str, Line]()
    for kind, name in _kinds(recipes, arms):
        if sets and clock.seconds > until:
            break
        job = run_name(recipes.baseline, 0, None) if kind == "runs" else f"{kind}/{name}"
        for pilot in pilots.values():
            run_jobs(jobs_for(pilot, job), pilot.folder, engine)
        seconds = {size: (read_cost(pilot.folder, job) or {})["seconds"] for size, pilot in pilots.items()}
        line = line_through(seconds)
        if kind == "runs":
            run, score = line, _measure_scoring(pilots[longer], job, folder, engine)
        elif kind == "generators":
            generators[name] = line.at(_generator_steps(recipes, name))
        else:
            sets[name] = line
    assert run is not None
    for arm in arms:
        for name in recipes.arms[arm].extra:
            if recipes.sets[name].teacher is not None:
                sets[name] = Line(fixed=run.fixed, each=0.0)  # a pass over pictures, as scoring is
    return Costs(run=run, score=score, generators=generators, sets=sets)


def _measure_scoring(pilot: Study, run: str, folder: Path, engine: TimedEngine) -> float:
    """Seconds of scoring one run on the scenes of the confirmation, from scorings of a few of them."""
    (trained,) = (job for job in jobs_for(pilot, run) if job.name == run)
    command = trained.commands[1]
    at = command.index("--data") + 1
    seconds = {}
    for number in (FEW_SCORED // 4, FEW_SCORED):
        few = folder / "pilot" / f"test-{number}"
        scenes = link_some(folder / "data" / "test", few, number)
        job = Job(f"scores/{number}", ((*command[:at], str(few), *command[at + 1 :]),), trained.config, (run,))
        run_jobs([*jobs_for(pilot, run), job], pilot.folder, engine)
        seconds[scenes] = (read_cost(pilot.folder, job.name) or {})["seconds"]
    return line_through(seconds).at(len(list((folder / "data" / "test" / "labels").iterdir())))


def line_through(seconds: dict[int, float]) -> Line:
    """Fixed and growing part from the durations at two sizes (or one, all of which then grows).

    A tenth of the longer duration grows at least: few steps can be lost in the noise.
    """
    small, large = min(seconds), max(seconds)
    if small == large:
        return Line(fixed=0.0, each=seconds[large] / large)
    each = max(seconds[large] - seconds[small], 0.1 * seconds[large]) / (large - small)
    return Line(fixed=max(seconds[large] - each * large, 0.0), each=each)


def _kinds(recipes: StudyConfig, arms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is measured, in its order: a training, pasted sets, each generator with its sets."""
    yield "runs", recipes.baseline
    used = dict.fromkeys(name for arm in arms for name in recipes.arms[arm].extra)
    drawn = {name: recipes.sets[name].generator for name in used if recipes.sets[name].teacher is None}
    for generator in [COPY_PASTE, *recipes.generators_of(drawn)]:
        if generator != COPY_PASTE:
            yield "generators", generator
        yield from (("sets", name) for name, by in drawn.items() if by == generator)


def _generator_steps(recipes: StudyConfig, name: str) -> int:
    steps = recipes.generators[name].get("steps")
    if type(steps) is not int:
        raise ConfigError(f"generators.{name}: steps is missing in the recipes; say how long it is to be trained")
    return steps


def _pilot(
    recipes: StudyConfig,
    arms: Sequence[str],
    folder: Path,
    size: int,
    pictures: str | None,
    validation_fraction: float,
) -> Study:
    most = max(set_sizes(recipes).values(), default=1)
    drawn = [arm for arm in arms if all(recipes.sets[name].teacher is None for name in recipes.arms[arm].extra)]
    config = race_config(recipes, Effort(steps=size, pairs=size / most), drawn, [0], validation_fraction)
    few = {name: settings | {"steps": size} for name, settings in config.generators.items()}
    config = config.model_copy(update={"generators": few})
    return study_at(config, folder / "pilot" / f"{size}", folder / "data" / "race", None, pictures)
