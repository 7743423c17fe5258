"""Tasks on this machine: forked from one server, killed one by one, together with the server, or with the owner."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from in_process import call

from marsgen.core.errors import ConfigError
from marsgen.core.storage.lock import take_lock
from marsgen.engines import command_server
from marsgen.engines.choose import open_engine
from marsgen.engines.local_pool import LocalPool, _fitting_workers
from marsgen.engines.task import PerJob, Task

VERSION = ("marsgen", "--version")
PRELOADED = command_server._PRELOADED


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalPool]:
    """Two workers; their server imports nothing before it forks, so that it and the ones after it start quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_server, "_PRELOADED", ())
        pool = LocalPool(2, PerJob())
        yield pool
        pool.close()


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for nothing but that somebody asks for its exit code."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def server_of(pool: LocalPool) -> int:
    return pool._server._process.pid


def test_a_task_leaves_its_cost_and_what_it_said(pool, tmp_path):
    wrong = ("marsgen", "inspect", "--data", "nowhere.npz")
    good, bad = (pool.submit(Task(n, (VERSION, c), tmp_path / n)) for n, c in (("good", VERSION), ("bad", wrong)))
    outcome = good.result()
    assert (outcome.reason, outcome.resumed) == ("", False)
    assert 0 < outcome.cpu_seconds < 60
    assert 0 < outcome.seconds < 60
    assert 5 < outcome.peak_mb < 4000
    lines = (tmp_path / "good").read_text().splitlines()
    assert [line.rstrip("0123456789.") for line in lines] == ["$ marsgen --version", "marsgen "] * 2
    assert bad.result().reason.startswith("nowhere.npz: no such file")


@pytest.mark.slow
def test_a_task_has_the_bytes_of_a_command_started_by_hand(tmp_path, tiny_npz, monkeypatch):
    monkeypatch.setattr(command_server, "_PRELOADED", PRELOADED)
    words = ("marsgen", "synthesize", "--generator", "copy-paste", "--n", "20", "--data", str(tiny_npz), "--out")
    with contextlib.closing(LocalPool(2, PerJob())) as pool:
        assert pool.submit(Task("set", ((*words, str(tmp_path / "forked")),), tmp_path / "log")).result().reason == ""
    call((*words, str(tmp_path / "here")))
    forked, here = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "forked", tmp_path / "here")
    )
    assert len(here) > 40
    assert forked == here


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_task_outlives_its_server_but_not_its_own_kill(pool, tmp_path):
    pool.submit(Task("first", (VERSION,), tmp_path / "first")).result()
    with take_lock(tmp_path / "a.lock"):  # as the child of a worker that was killed would hold it: the task waits
        future = pool.submit(Task("a", (VERSION,), tmp_path / "a.log"))
        server = server_of(pool)
        until(lambda: children(server))
        (child,) = children(server)
        os.kill(server, signal.SIGKILL)
        until(lambda: has_ended(child))
        until(lambda: server_of(pool) != server)
        # while a server imports, its children may be those of a library that asks the system something
        pool.submit(Task("second", (VERSION,), tmp_path / "second")).result()
        until(lambda: children(server_of(pool)))
        (child,) = children(server_of(pool))
        os.kill(child, signal.SIGKILL)
        assert future.result().reason == "killed by signal 9"
    assert pool.submit(Task("a", (VERSION,), tmp_path / "a.log")).result().reason == ""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_task_ends_with_the_owner_of_the_pool(pool, tmp_path):
    with take_lock(tmp_path / "a.lock"):
        pool.submit(Task("a", (VERSION,), tmp_path / "a.log"))
        server = server_of(pool)
        until(lambda: children(server))
        (child,) = children(server)
        pool._server._closed = True  # as after a kill of the owner: nothing starts the task again
        pool._server._process.stdin.close()
        until(lambda: has_ended(child))


def test_as_many_tasks_as_cores_gpus_and_memory_hold():
    assert _fitting_workers(16, 0, PerJob(memory_gb=0.001)) == 16
    assert _fitting_workers(16, 2, PerJob(memory_gb=0.001)) == 2
    assert _fitting_workers(16, 2, PerJob(memory_gb=0.001, gpus=0.25)) == 8
    assert _fitting_workers(16, 2, PerJob(memory_gb=0.001, gpus=0, cpus=5)) == 3
    assert _fitting_workers(16, 0, PerJob(memory_gb=1e6)) == 1


@pytest.mark.parametrize(
    ("workers", "on", "per_job", "words"),
    [
        (None, None, "cpu=2", r"--per-job: unknown key 'cpu' \(did you mean 'cpus'\?\)"),
        (None, None, "2", "--per-job 2: expected a list such as"),
        (None, None, "cpus=0", "--per-job: .*cpus"),
        (2, "ray", None, "--workers is of this machine"),
        (None, "slurm", None, "--on slurm: expected ray"),
    ],
)
def test_options_that_no_engine_understands_are_refused(workers, on, per_job, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        open_engine(workers, on, per_job, tmp_path)
