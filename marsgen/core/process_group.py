"""ProcessGroup: the processes that torchrun started for one command, or a single process."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

__all__ = ["SINGLE_PROCESS", "ProcessGroup", "first_to_say", "join_controllers", "join_process_group"]


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


class _Controllers:
    """Processes that only start child commands, so there may be more of them than GPUs.

    They use torch.distributed directly: accelerate's barrier needs a GPU for every process, even through gloo.
    """

    def __init__(self) -> None:
        import torch.distributed as group

        if not group.is_initialized():
            group.init_process_group("gloo")
        self.process_index, self.num_processes = group.get_rank(), group.get_world_size()
        self.is_main_process = self.process_index == 0

    def wait_for_everyone(self) -> None:
        import torch.distributed as group

        group.barrier()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        if not self.is_main_process:
            self.wait_for_everyone()
        yield
        if self.is_main_process:
            self.wait_for_everyone()


def join_process_group() -> ProcessGroup:
    """The processes that torchrun started, or SINGLE_PROCESS.

    Without a GPU they communicate through gloo. (`accelerate launch --cpu --num_processes 2` starts only one process.)
    """
    if _count_started() == 1:
        return SINGLE_PROCESS
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def join_controllers() -> ProcessGroup:
    """The processes that torchrun started, any number of them on one GPU, or SINGLE_PROCESS; they compute nothing."""
    return SINGLE_PROCESS if _count_started() == 1 else _Controllers()


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
