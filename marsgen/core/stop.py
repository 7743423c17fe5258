"""Stop: SIGTERM and SIGINT end a command in the same way, after the step at hand where that is soon done.

Slurm and containers send SIGTERM and wait some seconds before they kill. A training loop that goes through `stoppable`
finishes its step and writes a checkpoint; anything else is stopped where it is, since the same command goes on from
there.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

Step = TypeVar("Step")

PATIENCE_SECONDS = 10
"""a step that takes longer is not waited for"""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that a signal ended."""
        return 128 + self.number


_waiting_for_step = False
_wanted: int | None = None


@contextlib.contextmanager
def catching_signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGINT raise `Stopped`; without effect outside the main thread."""
    global _wanted
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        _wanted = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def finishing_steps() -> Iterator[None]:
    """Within it, a first signal waits for `stoppable`, for at most `PATIENCE_SECONDS`."""
    global _waiting_for_step
    _waiting_for_step = True
    try:
        yield
    finally:
        _waiting_for_step = False
        _set_alarm(0)


def stoppable(steps: Iterable[Step], checkpoint: Callable[[Step], None]) -> Iterator[Step]:
    """The steps of a training loop; where a signal came in one of them, `checkpoint` of it and `Stopped`."""
    with finishing_steps():
        for step in steps:
            yield step
            if _wanted is not None:
                checkpoint(step)
                raise Stopped(_wanted)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _wanted
    if _waiting_for_step and _wanted is None:
        _wanted = number
        _set_alarm(PATIENCE_SECONDS)
        return
    raise Stopped(number if _wanted is None else _wanted)


def _set_alarm(seconds: int) -> None:
    alarm: Any = getattr(signal, "alarm", None)  # not on Windows, where a step is waited for however long it takes
    if alarm is not None and threading.current_thread() is threading.main_thread():
        if seconds:
            signal.signal(signal.SIGALRM, _on_signal)
        alarm(seconds)
