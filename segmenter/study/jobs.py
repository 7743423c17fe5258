"""Jobs: each runs once, after the jobs that it needs, on an engine (marsgen/engines): this machine, or a cluster.

    <folder>/jobs/<name>.json    written when a job is finished: its commands and their cost; it is never run again
    <folder>/jobs/<name>.yaml    the --config file of its commands
    <folder>/jobs/<name>.log     what its commands printed
    <folder>/jobs/<name>.lock    held while one of its commands runs, see marsgen/engines/task.py

One process decides what runs; the lock of the study's folder says that it is alone.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from marsgen.core.errors import RunError
from marsgen.core.progress import ProgressBar
from marsgen.core.storage.files import is_written, write_json, write_text
from marsgen.core.storage.reading import read_json
from marsgen.engines.task import Engine, Outcome, Task, outcome_of

_SHOWN_LINES = 10


class Cost(BaseModel):
    """Content of a finished job's json."""

    job: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_mb: float
    resumed: bool


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique, a relative path such as runs/oversampled-seed0.
        commands: run one after the other; the first word is marsgen or segmenter.
        config: content of the commands' `--config` file, yaml text; it is written to `config_path(folder, name)`.
        needs: names of jobs that have to be finished before.
        action: called in this process; for jobs without commands.
    """

    name: str
    commands: tuple[tuple[str, ...], ...] = ()
    config: str = ""
    needs: tuple[str, ...] = ()
    action: Callable[[], None] | None = None

    def identity(self, folder: Path) -> dict[str, Any]:
        """Commands and settings, independent of where `folder` and the data lie: both may be moved.

        Whether moved data are the same data is checked by fingerprint, in the study and in every run.
        """
        words = [
            [
                _relative(folder, word)
                for before, word in zip(["", *command], command, strict=False)
                if before != "--data"
            ]
            for command in self.commands
        ]
        return {"commands": words, "config": self.config}


def _relative(folder: Path, word: str) -> str:
    """A path inside the folder as ./...; any other word as it is (data.npz is not inside a folder named data)."""
    return "." + word.removeprefix(str(folder)) if f"{word}/".startswith(f"{folder}/") else word


def config_path(folder: Path, name: str) -> Path:
    """The --config file of a job's commands."""
    return folder / "jobs" / f"{name}.yaml"


def is_finished(folder: Path, job: Job) -> bool:
    """Whether the job need not run.

    Raises:
        RunError: a job of this name was finished with other commands or settings.
    """
    cost = read_cost(folder, job.name)
    if cost is not None and cost["job"] != job.identity(folder):
        raise RunError(
            f"{folder}/jobs/{job.name}.json: finished with other settings than it has now; give what has changed "
            "another name, or choose another --out"
        )
    return cost is not None


def read_cost(folder: Path, name: str) -> dict[str, Any] | None:
    """The cost of a finished job, or None if it is not finished.

    Returns:
        seconds (wall clock), cpu_seconds, peak_mb (of the largest process), resumed (an earlier, interrupted attempt
        did a part that is not counted), job (its identity).
    Raises:
        RunError: damaged.
    """
    path = folder / "jobs" / f"{name}.json"
    if not is_written(path):
        return None
    return read_json(path, Cost, RunError, "delete it and repeat the command: the job runs again").model_dump()


def task_of(job: Job, folder: Path, *words: str) -> Task:
    """The job's commands with `words` at the end of each, ready to submit."""
    path = config_path(folder, job.name)
    write_text(path, job.config)
    return Task(job.name, tuple((*command, *words) for command in job.commands), path.with_suffix(".log"))


def run_jobs(jobs: Sequence[Job], folder: Path, engine: Engine, counted: str = "") -> None:
    """Run every job that is not finished, each as soon as what it needs is.

    A failed job stops only the jobs that need it; the end of its log is shown, and the others go on.

    Args:
        jobs: in the order in which they should run; needs before what needs them.
        counted: prefix of the names that the progress bar counts.
    Raises:
        RunError: jobs failed, or were finished with other settings.
    """
    done = {job.name for job in jobs if is_finished(folder, job)}
    failed: dict[str, str] = {}
    running: dict[Future[Outcome], Job] = {}
    shown = {job.name for job in jobs if job.name.startswith(counted)}
    with ProgressBar(desc="study", unit="run", total=len(shown), initial=len(shown & done)) as bar:
        while True:
            begun = {*done, *failed, *(job.name for job in running.values())}
            ready = (job for job in jobs if job.name not in begun and done.issuperset(job.needs))
            if len(running) < engine.slots and (job := next(ready, None)) is not None:
                if job.action is None:
                    running[engine.submit(task_of(job, folder))] = job
                else:
                    job.action()
                    _record(job, folder, Outcome())
                    done.add(job.name)
            elif running:
                bar.set_postfix_str(", ".join(job.name for job in list(running.values())[:3]))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, outcome = running.pop(future), outcome_of(future)
                    if outcome.reason:
                        failed[job.name] = outcome.reason
                        bar.write(_failure(job, folder, outcome), file=sys.stderr)
                    else:
                        _record(job, folder, outcome)
                        done.add(job.name)
            else:
                break
            bar.update(len(shown & done) - bar.n)
    if failed:
        first = next(iter(failed))
        raise RunError(
            f"{len(failed)} of {len(jobs)} jobs failed, first {first}: {failed[first]} (full output: "
            f"{folder}/jobs/{first}.log); correct that and repeat the command, finished jobs are kept"
        )


def _record(job: Job, folder: Path, outcome: Outcome) -> None:
    cost = asdict(outcome)
    del cost["reason"]
    write_json(folder / "jobs" / f"{job.name}.json", {"job": job.identity(folder), **cost})


def _failure(job: Job, folder: Path, outcome: Outcome) -> str:
    """What failed, and the end of its log."""
    log = config_path(folder, job.name).with_suffix(".log")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    end = "".join(f"\n    {line}" for line in lines[-_SHOWN_LINES:])
    return f"failed: {job.name}: {outcome.reason} (full output: {log}){end}"
