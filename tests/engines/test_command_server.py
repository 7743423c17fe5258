"""The server that forks commands: ends that no pool and no cluster brings about on purpose."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marsgen.core.storage.lock import take_lock
from marsgen.engines import command_server
from marsgen.engines.command_server import CommandServer
from marsgen.engines.task import Outcome, Task, WorkerLost

VERSION = ("marsgen", "--version")
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandServer]:
    monkeypatch.setattr(command_server, "_PRELOADED", ())  # a quick start
    server = CommandServer(1)
    yield server
    server.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(server: CommandServer, task: Task) -> tuple[threading.Thread, list[Outcome | Exception]]:
    found: list[Outcome | Exception] = []

    def run() -> None:
        try:
            found.append(server.run(task, {}))
        except WorkerLost as lost:
            found.append(lost)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_server_that_is_closed_ends_its_children_as_sigterm_does(server, tmp_path):
    task = Task("a", (VERSION,), tmp_path / "a.log")
    with take_lock(tmp_path / "a.lock"):  # as a killed worker's child would hold it: the command waits
        thread, found = start(server, task)
        until(lambda: server._process is not None and children(server._process.pid))
        server.close()
        thread.join(60)
    assert [outcome.reason for outcome in found] == [f"killed by signal {signal.SIGTERM.value}"]
    assert server._process.returncode == 0
    with pytest.raises(WorkerLost):  # and nothing starts another one
        server.run(task, {})


def test_a_server_that_does_not_answer_is_killed(server, tmp_path, monkeypatch):
    assert server.run(Task("a", (VERSION,), tmp_path / "a.log"), {}).reason == ""
    os.kill(server._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(command_server, "PATIENCE_SECONDS", -9.9)
    server.close()
    assert server._process.returncode == -signal.SIGKILL


def test_a_server_that_reads_no_more_is_lost(server, tmp_path, monkeypatch):
    deaf = subprocess.Popen(
        ["sh", "-c", "exec <&-; echo closed; exec sleep 60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert deaf.stdout.readline() == b"closed\n"
    monkeypatch.setattr(server, "_process", deaf)
    with pytest.raises(WorkerLost):
        server.run(Task("a", (VERSION,), tmp_path / "a.log"), {})
    deaf.kill()
    deaf.wait()
    # the next task gets a server of its own
    assert server.run(Task("a", (VERSION,), tmp_path / "a.log"), {}).reason == ""
    assert server._process is not deaf


def test_a_link_in_place_of_the_lock_is_said_in_the_log(server, tmp_path):
    (tmp_path / "a.lock").symlink_to("elsewhere")
    outcome = server.run(Task("a", (VERSION,), tmp_path / "a.log"), {})
    assert outcome.reason == f"{tmp_path / 'a.lock'}: a link or no plain file where a lock file belongs; remove it"
    assert not (tmp_path / "elsewhere").exists()


def test_where_nothing_is_forked_each_command_is_a_process(server, tmp_path, monkeypatch):
    monkeypatch.setattr(command_server, "_FORKS", False)  # as on macOS and Windows
    wrong = ("marsgen", "inspect", "--data", "nowhere.npz")
    outcome = server.run(Task("a", (VERSION, wrong), tmp_path / "a.log"), {"COLUMNS": "80"})
    assert outcome.reason.startswith("nowhere.npz: no such file or folder")
    assert (outcome.cpu_seconds, outcome.peak_mb, outcome.resumed) == (0, 0, False)
    first, version, second, *_ = (tmp_path / "a.log").read_text().splitlines()
    assert (first, second) == ("$ marsgen --version", "$ marsgen inspect --data nowhere.npz")
    assert version.startswith("marsgen ")
    assert server._process is None
