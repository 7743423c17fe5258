"""The time that is used, over all starts of one command, and an engine that starts nothing more when it is used up."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from marsgen.core.errors import RunError
from marsgen.core.storage.files import is_written, write_json
from marsgen.core.storage.reading import read_json
from marsgen.engines.task import Engine, Outcome, Task


class BudgetSpent(Exception):
    """The time of this stage is used up."""


class Clock:
    """Seconds that were used, kept in a file: an interrupted command goes on with what is left."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, time.monotonic()
        there = read_json(path, fault=RunError, remedy="delete it and repeat the command") if is_written(path) else {}
        self._before = float(there.get("seconds", 0.0))

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def save(self) -> None:
        write_json(self._path, {"seconds": round(self.seconds, 1)})


class TimedEngine:
    """An `Engine` that raises BudgetSpent instead of starting a task after `deadline`."""

    def __init__(self, open_engine: Callable[[], Engine], clock: Clock) -> None:
        self._open, self._clock, self._engine = open_engine, clock, open_engine()
        self.deadline = float("inf")

    @property
    def slots(self) -> int:
        return self._engine.slots

    @property
    def width(self) -> int:
        return self._engine.width

    def submit(self, task: Task) -> Future[Outcome]:
        self._clock.save()
        if self._clock.seconds > self.deadline:
            # what runs is stopped: trainings write a checkpoint, and the same command goes on from there
            self._engine.close()
            self._engine = self._open()
            raise BudgetSpent
        return self._engine.submit(task)

    def close(self) -> None:
        self._clock.save()
        self._engine.close()
