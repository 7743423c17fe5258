"""One command of a study as a child process, with a log, a lock that it inherits, and one GPU."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from marsgen.core.lock import Lock

_SET_BY_TORCHRUN = (
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
"""prefixes of the environment variables that a child must not see: it is no member of the worker's process group"""


@dataclass(frozen=True)
class Usage:
    """What a child took; 0 where the system does not say it (Windows)."""

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


def run_command(command: Sequence[str], log: IO[str], lock: Lock) -> tuple[int, Usage]:
    """Run one command to its end.

    Args:
        command: words; the first is marsgen or segmenter.
        log: takes what it prints.
        lock: stays locked until the child has ended, even if this process is killed (on Windows, where a child cannot
            inherit a lock, only until this process has ended).
    Returns:
        exit code (-N: killed by signal N), what the child took.
    """
    # a process each, through `-m`, so that a job takes the very path of a user's own command
    child = subprocess.Popen(
        [sys.executable, "-m", f"{command[0]}.cli", *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment_of_child(os.environ),
        pass_fds=(lock.descriptor,) if os.name == "posix" else (),
    )
    try:
        return _wait(child)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, Usage]:
    if not hasattr(os, "wait4"):
        return child.wait(), Usage()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # Popen has not waited itself
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return child.returncode, Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * bytes_per_unit / 2**20)


def check_command(command: Sequence[str]) -> str:
    """Run a command with --dry-run; return its error message, or "" if it accepts its settings."""
    done = subprocess.run(
        [sys.executable, "-m", f"{command[0]}.cli", *command[1:], "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of_child(os.environ),  # in a process group, only the first process would print the error
    )
    printed = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return printed.removeprefix("error: ") if done.returncode else ""


def environment_of_child(environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment without torchrun's variables and with one GPU, if there is one; workers may share it."""
    kept = {key: value for key, value in environment.items() if not key.startswith(_SET_BY_TORCHRUN)}
    kept["TQDM_MININTERVAL"] = "10"  # its bars go into a log
    # glibc gives large blocks back at once and gets them again as zeroed pages: a tenth of the time of a step on a CPU
    kept |= {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    if "LOCAL_RANK" in environment:
        import torch

        if count := torch.cuda.device_count():
            visible = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
            kept["CUDA_VISIBLE_DEVICES"] = visible[int(environment["LOCAL_RANK"]) % count]
    return kept
