"""Task: commands that run one after the other in one place, and what an engine says of them."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field

from marsgen.core.config import Config

RETRIES = 10
"""times that a task is begun again after its worker was lost; a task that fails for its own reason is not"""


class WorkerLost(Exception):
    """The process or the machine that ran a task is gone."""


class PerJob(Config):
    """What one task needs; --per-job cpus=2,gpus=0.25,memory_gb=4."""

    cpus: int | None = Field(None, ge=1)
    """threads of a task; null = the cores of this machine divided by the workers, 1 on a cluster"""
    gpus: float | None = Field(None, ge=0)
    """share of a GPU, or whole ones; null = one GPU where there are GPUs"""
    memory_gb: float = Field(2, gt=0)
    """main memory; so many tasks as fit are started side by side"""


@dataclass(frozen=True)
class Task:
    """Commands that run one after the other; the first that fails ends them."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    """each the words of a command line; the first word is marsgen or segmenter"""
    log: Path
    """takes what they print. A lock beside it is held while one of them runs, so that a child whose worker was killed
    is waited for"""


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    reason: str = ""
    """why it failed; "" = it did not"""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    """of its largest process. Both are 0 where the system does not say it"""
    resumed: bool = False
    """whether an earlier attempt did a part that is not counted"""


class Engine(Protocol):
    """Runs tasks side by side."""

    @property
    def slots(self) -> int:
        """Tasks that it is useful to submit at a time."""

    @property
    def width(self) -> int:
        """Tasks that run at a time, as far as is known."""

    def submit(self, task: Task) -> Future[Outcome]:
        """Run a task. The future raises WorkerLost where the task was begun `RETRIES` times again in vain."""

    def close(self) -> None:
        """Stop what still runs: as SIGTERM does, so that trainings write a checkpoint."""


def outcome_of(future: Future[Outcome]) -> Outcome:
    """What came of a task; that its worker was lost too often is a failure like others."""
    try:
        return future.result()
    except WorkerLost:
        return Outcome(f"its worker was lost {RETRIES + 1} times")
