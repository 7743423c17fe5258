"""ProcessGroup: the processes that torchrun started for one command, or a single process."""

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["SINGLE_PROCESS", "ProcessGroup", "first_to_say", "join_process_group"]


class ProcessGroup(Protocol):
    """Processes that share one command; accelerate's PartialState has the same members."""

    process_index: int
    num_processes: int

    @property
    def is_main_process(self) -> bool: ...

    def wait_for_everyone(self) -> None: ...

    def main_process_first(self) -> AbstractContextManager: ...


class _SingleProcess:
    """One process without torchrun."""

    process_index, num_processes, is_main_process = 0, 1, True

    def wait_for_everyone(self) -> None:
        pass

    def main_process_first(self) -> AbstractContextManager:
        return nullcontext()


SINGLE_PROCESS: ProcessGroup = _SingleProcess()


def join_process_group() -> ProcessGroup:
    """The processes that torchrun started, or SINGLE_PROCESS.

    Without a GPU they communicate through gloo. (`accelerate launch --cpu --num_processes 2` starts only one process.)
    """
    if _count_started() == 1:
        return SINGLE_PROCESS
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def first_to_say(sentence: str) -> bool:
    """Whether this is the first process to report `sentence`; works before and after the process group is joined.

    True as well where the others cannot be reached: printing twice is better than not at all.
    """
    if _count_started() == 1:
        return True
    from datetime import timedelta

    from torch.distributed import TCPStore

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = hashlib.blake2b(sentence.encode(), digest_size=8, person=b"marsgen").hexdigest()
    try:  # the store at which torchrun lets its processes meet
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*where, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=5))
        return store.add(f"marsgen/said/{attempt}/{key}", 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return True


def _count_started() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
