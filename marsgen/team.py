"""Team: the processes that torchrun started for one command, or this one alone."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["ALONE", "Team", "join_team"]


class Team(Protocol):
    """Processes that work together, as accelerate's PartialState tells it."""

    process_index: int
    num_processes: int

    @property
    def is_main_process(self) -> bool: ...

    def wait_for_everyone(self) -> None: ...

    def main_process_first(self) -> AbstractContextManager: ...


class _Alone:
    """A process of its own."""

    process_index, num_processes, is_main_process = 0, 1, True

    def wait_for_everyone(self) -> None:
        pass

    def main_process_first(self) -> AbstractContextManager:
        return nullcontext()


ALONE: Team = _Alone()


def join_team() -> Team:
    """The processes that torchrun started, or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
