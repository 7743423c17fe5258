"""Stop: SIGTERM and SIGINT end a command in the same way, after the step at hand where that is soon done.

Slurm and containers send SIGTERM and wait some seconds before they kill. A training loop asks `stop_wanted` after each
step, writes a checkpoint and stops; anything else is stopped where it is, since the same command goes on from there.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

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
    """Within it, a first signal only makes `stop_wanted` true, for `PATIENCE_SECONDS`."""
    global _waiting_for_step
    _waiting_for_step = True
    try:
        yield
    finally:
        _waiting_for_step = False
        _set_alarm(0)


def stop_wanted() -> bool:
    """Whether to write a checkpoint and call `stop_now`."""
    return _wanted is not None


def stop_now() -> None:
    """Raise `Stopped` for the signal that came."""
    assert _wanted is not None
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
