"""Whether the disk holds what `segmenter auto` writes: at first the least that it can do, then all that is planned."""

import math
from pathlib import Path

from marsgen.core.config import build_config
from marsgen.core.storage.places import folder_bytes, refuse_no_room
from marsgen.scenes.readers.folder import pair_bytes
from marsgen.scenes.scene import SceneSource
from segmenter.auto.plan import Plan, confirmed_arms, race_runs
from segmenter.study.checks import StudyData
from segmenter.study.config import COPY_PASTE, StudyConfig
from segmenter.study.folder import Study, job_name
from segmenter.study.room import REPORT_BYTES, rooms_of, unfinished_jobs
from segmenter.training.config import TrainConfig

_LEAST_RUNS = 8
"""two to measure with, two in a race, two recipes with two seeds in a confirmation"""
_REMEDY = "free some there and repeat the command"


def refuse_no_room_to_begin(folder: Path, scenes: SceneSource, test: SceneSource | None, recipes: StudyConfig) -> None:
    """Refuse, before anything is written, what cannot be answered in the room that is there, whatever the budget."""
    from segmenter.training.model import room_of  # here: torch takes seconds to import

    copied = sum(len(source) * pair_bytes(source) for source in (scenes, test) if source is not None)
    settings = build_config(TrainConfig, recipes.recipe(recipes.baseline), f"arms.{recipes.baseline}")
    run = room_of(settings, scenes.channels, len(scenes.classes), len(scenes))
    needed = copied + _LEAST_RUNS * run.kept + run.working + REPORT_BYTES
    refuse_no_room(folder, needed, "a copy of the scenes and the smallest race", "free some there")


def refuse_full_disk(
    folder: Path, plan: Plan, race: Study, scenes: SceneSource, tested: int, pictures: int, width: int
) -> None:
    """Refuse a plan of which the disk cannot hold what is left to do.

    Args:
        folder: <out>.
        race: study of all arms of the plan with one seed.
        scenes: the data.
        tested: scenes that are scored at a time, at most.
        pictures: that are pseudo-labelled.
        width: jobs that run side by side.
    """
    recipes = race.config
    nowhere = Study(recipes, folder / "nothing", race.data, race.test, race.classes, race.unlabelled)
    data = StudyData({}, scenes, tested, pictures)
    rooms = rooms_of(nowhere, data, unfinished_jobs(nowhere))
    runs = [room for name, room in rooms.items() if name.startswith("runs/")]
    run, working = min(room.kept for room in runs), max(room.working for room in rooms.values())
    state = max(room.kept for room in runs) - run  # what runs that others fork from keep, one of each seed
    made = sum(room.kept for name, room in rooms.items() if not name.startswith("runs/"))

    def extra_of(arm: str) -> int:
        sets, teachers = recipes.prerequisites(arm)
        drawn = {recipes.sets[name].generator for name in sets} - {COPY_PASTE}
        names = [("sets", name) for name in sets] + [("generators", name) for name in drawn]
        return sum(rooms[job_name(kind, name, race.folds[0])].kept for kind, name in names) + len(teachers) * run

    extra = max(extra_of(arm) for arm in plan.arms)
    confirmed = (confirmed_arms(plan, recipes) * run + state) * plan.seeds + round(
        extra * (1.5 if plan.fewer_pairs else 1)
    )
    stages = {
        "race": made + race_runs(plan) * run + math.ceil(race_runs(plan) / len(plan.arms)) * state,
        "confirm": confirmed + REPORT_BYTES,
        "final": extra + run if plan.last_training else 0,
    }
    left = sum(max(0, size - folder_bytes(folder / name)) for name, size in stages.items())
    if left:
        what = "what is left of race, confirmation and last training"
        refuse_no_room(folder, left + width * working, what, _REMEDY, left=True)
