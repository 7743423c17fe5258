"""Jobs: commands that run in child processes, once each, in an order that their needs allow, by any number of workers.

    <folder>/jobs/<name>.json    written when a job is finished: its commands, what they cost; it is never run again
    <folder>/jobs/<name>.log     what its commands printed
    <folder>/jobs/<name>.failed  its last line, where it failed; the next start tries it again
    <folder>/jobs/<name>.lock    held while it runs, by worker and child: an orphan is waited for, not doubled

Workers meet in the folder alone, so they may be the processes of one torchrun, or of several machines that share it.
"""

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from marsgen.core.errors import RunError
from marsgen.core.files import write_json, write_text
from marsgen.core.process_group import ProcessGroup

_POLL_SECONDS = 1.0
_OF_TORCHRUN = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "MASTER_",
    "TORCHELASTIC_",
    "TORCH_NCCL",
    "NCCL_ASYNC",
)


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique, a relative path such as cells/oversampled-seed0.
        commands: run one after the other; the first word is marsgen or segmenter.
        config: what the commands' `--config` file holds, as yaml text; it is written to `config_path(folder, name)`.
        needs: names of jobs that have to be finished before.
        action: called in the worker instead of commands, where there are none.
    """

    name: str
    commands: tuple[tuple[str, ...], ...] = ()
    config: str = ""
    needs: tuple[str, ...] = ()
    action: Callable[[], None] | None = None

    def identity(self, folder: Path) -> dict[str, Any]:
        """What makes it this job and no other, wherever `folder` lies and however it is written."""
        words = [[_seen_from(folder, word) for word in command] for command in self.commands]
        return {"commands": words, "config": self.config}


def _seen_from(folder: Path, word: str) -> str:
    """A path inside the folder as ./..., any other word as it is: data.npz does not lie in a folder named data."""
    return "." + word.removeprefix(str(folder)) if f"{word}/".startswith(f"{folder}/") else word


def config_path(folder: Path, name: str) -> Path:
    """Where the config of a job's commands lies."""
    return folder / "jobs" / f"{name}.yaml"


def is_finished(folder: Path, job: Job) -> bool:
    """Whether the job need not run.

    Raises:
        RunError: a job of this name was finished with other commands or settings. Data may have been moved: whether
            they are the same is for the fingerprints to say that the study and every run keep.
    """
    cost = read_cost(folder, job.name)
    if cost is None:
        return False
    if _without_places(cost["job"]) != _without_places(job.identity(folder)):
        raise RunError(
            f"{folder}/jobs/{job.name}.json: finished with other settings than it has now; give what has changed "
            "another name, or choose another --out"
        )
    return True


def _without_places(identity: dict[str, Any]) -> dict[str, Any]:
    """`Job.identity` without what stands behind --data."""
    commands = [
        [word for before, word in zip(["", *command], command, strict=False) if before != "--data"]
        for command in identity["commands"]
    ]
    return identity | {"commands": commands}


def read_cost(folder: Path, name: str) -> dict[str, Any] | None:
    """What a finished job took: seconds (wall clock), cpu_seconds, peak_mb (largest process), resumed (part of it was
    done before and is not counted); None if it is not finished.

    Raises:
        RunError: damaged.
    """
    path = folder / "jobs" / f"{name}.json"
    try:
        cost = json.loads(path.read_text(encoding="utf-8"))
        return {key: cost[key] for key in ("job", "seconds", "cpu_seconds", "peak_mb", "resumed")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{path}: damaged ({problem}); delete it, and the job is gone through again") from None


def run_jobs(jobs: Sequence[Job], folder: Path, process_group: ProcessGroup, counted: str = "") -> None:
    """Run every job that is not finished; the processes of `process_group` take the next one that is ready.

    A failed job does not stop those that do not need it.

    Args:
        jobs: the more urgent first.
        counted: prefix of the names that the progress bar counts.
    Raises:
        RunError: jobs failed, or were finished with other settings.
    """
    by_name = {job.name: job for job in jobs}
    done = {job.name for job in jobs if is_finished(folder, job)}
    if process_group.is_main_process:
        for mark in (folder / "jobs").rglob("*.failed"):
            mark.unlink()
    process_group.wait_for_everyone()
    cells = [job.name for job in jobs if job.name.startswith(counted)]
    bar = tqdm(
        desc="study",
        unit="cell",
        total=len(cells),
        initial=sum(name in done for name in cells),
        disable=not process_group.is_main_process,
    )
    while len(done) < len(jobs):
        bar.update(sum(name in done for name in cells) - bar.n)
        ran = False
        for job in jobs:
            if job.name in done or not all(need in done for need in job.needs) or _failure(folder, job.name):
                continue
            with _claim(folder, job.name) as lock:
                if lock is None:
                    continue
                if not is_finished(folder, job) and not _failure(
                    folder, job.name
                ):  # another worker may have been faster
                    bar.set_postfix_str(job.name)
                    _run(job, folder, lock)
                ran = True
            break
        done |= {job.name for job in jobs if job.name not in done and is_finished(folder, job)}
        if not ran:
            if not _can_go_on(by_name, folder, done):
                break
            time.sleep(_POLL_SECONDS)
    bar.update(sum(name in done for name in cells) - bar.n)
    bar.close()
    if failed := [job.name for job in jobs if _failure(folder, job.name)]:
        first = failed[0]
        raise RunError(
            f"{len(failed)} of {len(jobs)} jobs failed, first {first}: {_failure(folder, first)} (all it said: "
            f"{folder}/jobs/{first}.log); mend that and repeat the command, what is finished stays"
        )


def _can_go_on(jobs: Mapping[str, Job], folder: Path, done: set[str]) -> bool:
    """Whether a job is running or may still become ready: one that neither failed nor needs one that did."""
    lost: set[str] = set()
    for job in jobs.values():  # needs come before what needs them
        if job.name not in done and (_failure(folder, job.name) or any(need in lost for need in job.needs)):
            lost.add(job.name)
    return any(name not in done and name not in lost for name in jobs)


def _failure(folder: Path, name: str) -> str:
    path = folder / "jobs" / f"{name}.failed"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


@contextmanager
def _claim(folder: Path, name: str) -> Iterator[IO[str] | None]:
    """The job's lock, or None where somebody else, or a child that outlived its worker, holds it."""
    path = folder / "jobs" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        yield lock


def _run(job: Job, folder: Path, lock: IO[str]) -> None:
    """Run a job to its end; leaves .json or .failed behind."""
    started = time.monotonic()
    cost = {"cpu_seconds": 0.0, "peak_mb": 0.0, "resumed": False}
    if job.action is not None:
        job.action()
    else:
        write_text(config_path(folder, job.name), job.config)
    log_path = folder / "jobs" / f"{job.name}.log"
    for command in job.commands:
        out = _out_folder(command)
        cost["resumed"] = bool(cost["resumed"] or (out is not None and (out / "config.yaml").exists()))
        with log_path.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            code, usage = _run_command(command, log, lock)
        cost["cpu_seconds"] += usage.ru_utime + usage.ru_stime
        cost["peak_mb"] = max(cost["peak_mb"], usage.ru_maxrss / 1024)
        if code != 0:
            reason = f"killed by signal {-code}" if code < 0 else _last_line(log_path) or f"exit code {code}"
            write_text(folder / "jobs" / f"{job.name}.failed", reason)
            return
    cost["seconds"] = time.monotonic() - started
    write_json(folder / "jobs" / f"{job.name}.json", {"job": job.identity(folder), **cost})


def _run_command(command: Sequence[str], log: IO[str], lock: IO[str]) -> tuple[int, Any]:
    # a process each, through `-m`, so that a job takes the very path of a user's own command
    child = subprocess.Popen(
        [sys.executable, "-m", f"{command[0]}.cli", *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment_of_child(os.environ),
        pass_fds=(lock.fileno(),),
    )
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    child.returncode = os.waitstatus_to_exitcode(status)  # Popen has not waited itself
    return child.returncode, usage


def environment_of_child(environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment without torchrun's part; one GPU where there are some, shared if workers are more."""
    kept = {key: value for key, value in environment.items() if not key.startswith(_OF_TORCHRUN)}
    kept["TQDM_MININTERVAL"] = "10"  # its bars go into a log
    # glibc gives large blocks back at once and gets them again as zeroed pages: a tenth of the time of a step on a CPU
    kept |= {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    if "LOCAL_RANK" in environment:
        import torch

        if count := torch.cuda.device_count():
            visible = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
            kept["CUDA_VISIBLE_DEVICES"] = visible[int(environment["LOCAL_RANK"]) % count]
    return kept


def _out_folder(command: Sequence[str]) -> Path | None:
    return Path(command[command.index("--out") + 1]) if "--out" in command else None


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "").removeprefix("error: ")
