"""SIGTERM and SIGINT: where a command stops, and what is written before."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from marsgen.core import stop
from marsgen.core.stop import Stopped, catching_signals, stoppable


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two steps of the interpreter


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_what_is_no_loop_at_once(number: int, code: int):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, catching_signals():
        send(number)
    assert (stopped.value.number, stopped.value.exit_code) == (number, code)
    assert signal.getsignal(number) is before


def run_loop(in_step: Callable[[int], None]) -> tuple[list[int], list[int], int]:
    """Steps done and checkpoints written by a loop that is stopped, and the signal that stopped it."""
    done: list[int] = []
    written: list[int] = []

    def loop() -> None:
        for step in stoppable(range(5), written.append):
            in_step(step)
            done.append(step)

    with pytest.raises(Stopped) as stopped, catching_signals():
        loop()
    return done, written, stopped.value.number


def test_a_loop_finishes_its_step_and_writes_a_checkpoint_of_it():
    assert run_loop(lambda step: send() if step == 2 else None) == ([0, 1, 2], [2], signal.SIGTERM)
    with catching_signals():  # the next command is not stopped by what an earlier one was asked
        assert list(stoppable(range(3), lambda step: None)) == [0, 1, 2]


def test_a_second_signal_does_not_wait_for_the_step():
    def send_two(step: int) -> None:
        send(signal.SIGTERM)
        send(signal.SIGINT)

    assert run_loop(send_two) == ([], [], signal.SIGTERM)


def test_a_long_step_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    def send_and_work_on(step: int) -> None:
        send()
        time.sleep(60)

    monkeypatch.setattr(stop, "PATIENCE_SECONDS", 1)
    started = time.monotonic()
    assert run_loop(send_and_work_on) == ([], [], signal.SIGTERM)
    assert time.monotonic() - started < 50


def test_another_thread_leaves_signals_alone():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with catching_signals():
            inside.append(signal.getsignal(signal.SIGTERM))
            inside.extend(stoppable(range(2), lambda step: None))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before, 0, 1]
