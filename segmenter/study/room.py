"""What a study has still to write, and whether the disk holds it; asked before anything is trained."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from marsgen.core.storage.files import write_text
from marsgen.core.storage.places import Room, folder_bytes, on_disk, refuse_no_room
from marsgen.engines.ask import ask
from marsgen.scenes.readers.folder import pair_bytes
from segmenter.study.checks import StudyData
from segmenter.study.config import PAIRS
from segmenter.study.folder import Study, job_name, run_name
from segmenter.study.jobs import Job, config_path, read_cost
from segmenter.study.plan import plan_jobs, recipe_of_run

REPORT_BYTES = 1_000_000
"""counts, tables, and the page with its pictures"""
_NAME_BYTES = 120
"""a scene in an evaluation's names.json, and its line in the tables of regions"""
_PAIR_BYTES = 500
"""a scene in a set's manifest and list of what was seen"""
_PREVIEW_BYTES = 300_000
"""a set's preview.png"""
_FILES = 12
"""of a job beside its large ones, mostly of less than a block: settings, log, cost, summary, those of its evaluation"""


def refuse_full_disk(study: Study, data: StudyData, width: int) -> None:
    """Refuse a study whose folder lies on a disk that cannot hold what is left of it.

    Args:
        data: from `check_data`.
        width: jobs that run side by side.
    Raises:
        RunError: it says what is needed and what is free.
    """
    left = unfinished_jobs(study)
    if not left:
        return
    rooms = rooms_of(study, data, left)
    needed = most_bytes([_without_there(rooms[name], study.folder / name) for name in left], width) + REPORT_BYTES
    what = f"the {in_number(left)} that are left of this study"
    refuse_no_room(study.folder, needed, what, "free some there and repeat the command", left=True)


def unfinished_jobs(study: Study) -> list[str]:
    """Names of the jobs that write something and are not finished, in their order."""
    return [job.name for job in plan_jobs(study) if job.commands and read_cost(study.folder, job.name) is None]


def rooms_of(study: Study, data: StudyData, names: Sequence[str]) -> dict[str, Room]:
    """What some jobs of a study take; folds are taken for alike, as are seeds."""
    wanted = set(names)
    return {name: room for name, room in _rooms(study, data, wanted) if name in wanted}


def most_bytes(rooms: Sequence[Room], width: int) -> int:
    """What jobs take at most, one after the other, `width` of them at a time: what is kept and what they work with."""
    kept, most = sum(room.kept for room in rooms[:width]), 0
    for first in range(max(1, len(rooms) - width + 1)):
        at_work = rooms[first : first + width]
        kept += at_work[-1].kept if first and at_work else 0
        most = max(most, kept + sum(room.working for room in at_work))
    return most


def in_number(names: Sequence[str]) -> str:
    """How many generators, sets and trainings there are, in words."""
    words = {"generators": "generator", "sets": "set", "runs": "training"}
    counts = {word: sum(name.startswith(f"{kind}/") for name in names) for kind, word in words.items()}
    *first, last = [f"{count:,} {word}{'s' * (count > 1)}" for word, count in counts.items() if count]
    return f"{', '.join(first)} and {last}" if first else last


def _without_there(room: Room, folder: Path) -> Room:
    """What is left of a job that was begun."""
    there = folder_bytes(folder)
    return Room(max(0, room.kept - there), max(0, room.working - max(0, there - room.kept)))


def _rooms(study: Study, data: StudyData, wanted: set[str]) -> Iterator[tuple[str, Room]]:
    from segmenter.training.model import room_of  # here: torch takes seconds to import

    config, scenes = study.config, data.scenes
    files = _FILES * on_disk(1)
    generators, extra = dict[str, tuple[list[str], list[str]]](), dict[str, int]()
    for name in config.used_sets:
        made = config.sets[name]
        if made.teacher is None:
            extra[name] = int(made.settings.get("n", PAIRS))
            each = pair_bytes(scenes, unpacked=made.settings.get("format") == "shards") + _PAIR_BYTES
            room = Room(extra[name] * each + _PREVIEW_BYTES + files)
        else:  # class and confidence of every pixel lie there until the thresholds are known
            extra[name] = data.pictures
            predicted = extra[name] * 2 * pair_bytes(scenes, unpacked=True)
            room = Room(extra[name] * (pair_bytes(scenes) + _PAIR_BYTES) + files, predicted)
        yield from ((job_name("sets", name, fold), room) for fold in study.folds)
        line = config.with_teachers(made.generator)  # a distilled network is as large as its teacher
        for first, generator in zip(line[:1] * len(line), line, strict=True):
            teachers = [job_name("generators", first, fold) for fold in study.folds]
            generators[generator] = teachers, [job_name("generators", generator, fold) for fold in study.folds]
    generators = {name: line for name, line in generators.items() if wanted.intersection(line[1])}
    first_teachers = {teachers[0] for teachers, _ in generators.values()}
    asked = _ask_generators(study, [job for job in plan_jobs(study) if job.name in first_teachers])
    for teachers, names in generators.values():
        yield from ((name, asked[teachers[0]]) for name in names)
    classes = len(scenes.classes)
    counted = data.tested * (4 * classes**2 + 8 + _NAME_BYTES)
    for arm in config.arms:
        settings = recipe_of_run(study, arm, config.seeds_of(arm)[0], study.folds[0])[1]
        seen = len(scenes) + sum(extra[name] for name in config.arms[arm].extra)
        room = room_of(settings, scenes.channels, classes, seen)
        room = Room(room.kept + on_disk(counted) + files, room.working)
        yield from ((run_name(arm, seed, fold), room) for seed in config.seeds_of(arm) for fold in study.folds)


def _ask_generators(study: Study, jobs: Sequence[Job]) -> dict[str, Room]:
    """What generators take, by the names of their jobs."""
    commands = []
    with tempfile.TemporaryDirectory(prefix="marsgen-") as place:
        for job in jobs:
            there = config_path(Path(place), job.name)
            write_text(there, job.config)
            here = str(config_path(study.folder, job.name))
            commands.append([*(str(there) if word == here else word for word in job.commands[0]), "--disk-need"])
        return {job.name: Room(**said) for job, said in zip(jobs, ask(commands), strict=True)}
