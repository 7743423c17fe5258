"""Jobs: each runs once, after the jobs that it needs; any number of workers share them through one folder.

    <folder>/jobs/<name>.json    written when a job is finished: its commands and their cost; it is never run again
    <folder>/jobs/<name>.yaml    the --config file of its commands
    <folder>/jobs/<name>.log     what its commands printed
    <folder>/jobs/<name>.failed  the error message of a job that failed; the next start runs it again
    <folder>/jobs/<name>.lock    held by worker and child while it runs, so that a child whose worker was killed is
                                 waited for and not run twice

Workers communicate through the folder alone: they may be processes of one torchrun, or machines that share the folder.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from tqdm import tqdm

from marsgen.core.errors import RunError
from marsgen.core.files import is_written, write_json, write_text
from marsgen.core.lock import Lock, take_lock
from marsgen.core.process_group import ProcessGroup
from marsgen.core.reading import read_json, read_text
from segmenter.study.child_process import run_command

_POLL_SECONDS = 1.0


class Cost(TypedDict):
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
        action: called in the worker; for jobs without commands.
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
    return dict(read_json(path, Cost, RunError, "delete it and repeat the command: the job runs again"))


def run_jobs(jobs: Sequence[Job], folder: Path, process_group: ProcessGroup, counted: str = "") -> None:
    """Run every job that is not finished; each process of `process_group` takes the next job that is ready.

    A failed job stops only the jobs that need it.

    Args:
        jobs: in the order in which they should run; needs before what needs them.
        counted: prefix of the names that the progress bar counts.
    Raises:
        RunError: jobs failed, or were finished with other settings.
    """
    done = {job.name for job in jobs if is_finished(folder, job)}
    if process_group.is_main_process:
        for mark in (folder / "jobs").rglob("*.failed"):
            mark.unlink()
    process_group.wait_for_everyone()
    shown = {job.name for job in jobs if job.name.startswith(counted)}
    quiet = not process_group.is_main_process
    with tqdm(desc="study", unit="run", total=len(shown), initial=len(shown & done), disable=quiet) as bar:
        while len(done) < len(jobs):
            worked = _run_next(jobs, folder, done, bar)
            done |= {job.name for job in jobs if job.name not in done and is_finished(folder, job)}
            bar.update(len(shown & done) - bar.n)
            if not worked:
                if not _may_continue(jobs, folder, done):
                    break
                time.sleep(_POLL_SECONDS)
    _refuse_failures(jobs, folder)


def _run_next(jobs: Sequence[Job], folder: Path, done: set[str], bar: tqdm) -> bool:
    """Run the first job that is ready and that no other worker runs; False if there is none."""
    for job in jobs:
        if job.name in done or not done.issuperset(job.needs) or _failure(folder, job.name):
            continue
        with _claim(folder, job.name) as lock:
            if lock is None:
                continue
            # another worker may have finished it between the look above and the lock
            if not is_finished(folder, job) and not _failure(folder, job.name):
                bar.set_postfix_str(job.name)
                _run(job, folder, lock)
            return True
    return False


def _may_continue(jobs: Sequence[Job], folder: Path, done: set[str]) -> bool:
    """Whether a job is running or may still become ready: it neither failed nor needs one that did."""
    lost: set[str] = set()
    for job in jobs:  # needs come before what needs them
        if job.name not in done and (_failure(folder, job.name) or not lost.isdisjoint(job.needs)):
            lost.add(job.name)
    return any(job.name not in done | lost for job in jobs)


def _refuse_failures(jobs: Sequence[Job], folder: Path) -> None:
    if failed := [job.name for job in jobs if _failure(folder, job.name)]:
        first = failed[0]
        raise RunError(
            f"{len(failed)} of {len(jobs)} jobs failed, first {first}: {_failure(folder, first)} (full output: "
            f"{folder}/jobs/{first}.log); correct that and repeat the command, finished jobs are kept"
        )


def _failure(folder: Path, name: str) -> str:
    path = folder / "jobs" / f"{name}.failed"
    return read_text(path, RunError).strip() if path.exists() else ""


@contextmanager
def _claim(folder: Path, name: str) -> Iterator[Lock | None]:
    """The job's lock, or None where another worker, or a child that outlived its worker, holds it."""
    path = folder / "jobs" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = take_lock(path)
    try:
        yield lock
    finally:
        if lock is not None:
            lock.release()


def _run(job: Job, folder: Path, lock: Lock) -> None:
    """Run a job to its end; writes .json or .failed."""
    started = time.monotonic()
    cost: dict[str, Any] = {"cpu_seconds": 0.0, "peak_mb": 0.0, "resumed": False}
    if job.action is not None:
        job.action()
    else:
        write_text(config_path(folder, job.name), job.config)
    log_path = folder / "jobs" / f"{job.name}.log"
    for command in job.commands:
        out = _out_folder(command)
        cost["resumed"] |= out is not None and (out / "config.yaml").exists()
        with log_path.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            code, usage = run_command(command, log, lock)
        cost["cpu_seconds"] += usage.cpu_seconds
        cost["peak_mb"] = max(cost["peak_mb"], usage.peak_mb)
        if code != 0:
            reason = f"killed by signal {-code}" if code < 0 else _last_line(log_path) or f"exit code {code}"
            write_text(folder / "jobs" / f"{job.name}.failed", reason)
            return
    cost["seconds"] = time.monotonic() - started
    write_json(folder / "jobs" / f"{job.name}.json", {"job": job.identity(folder), **cost})


def _out_folder(command: Sequence[str]) -> Path | None:
    return Path(command[command.index("--out") + 1]) if "--out" in command else None


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "").removeprefix("error: ")
