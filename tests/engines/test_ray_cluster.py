"""Tasks on a Ray cluster of two nodes with a core each, on this machine."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marsgen.core.errors import RunError
from marsgen.core.storage.lock import take_lock
from marsgen.engines.ray_cluster import RayCluster
from marsgen.engines.task import PerJob, Task

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.update(RAY_worker_niceness="0")  # else its workers wait for the other tests
cluster_utils = pytest.importorskip("ray.cluster_utils")
VERSION = ("marsgen", "--version")
NEEDS = PerJob(memory_gb=0.1)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes.address
    nodes.shutdown()


@pytest.fixture
def engine(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    def with_a_quick_start(*arguments: object) -> object:
        # in the worker of a node; what a server imports early is tested in test_local_pool.py
        from marsgen.engines import command_server, ray_cluster

        command_server._PRELOADED = ()
        return ray_cluster._run_on_node(*arguments)

    monkeypatch.setattr("marsgen.engines.ray_cluster._run_on_node", with_a_quick_start)
    engine = RayCluster("ray", NEEDS, tmp_path)
    yield engine
    engine.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.25)  # a look at all processes takes milliseconds, and those that are waited for need them


def waiting_at(log: Path) -> list[int]:
    """The processes that write into a log: the child of a task, as long as its lock is held elsewhere."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "fd/1") == str(log):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_tasks_share_the_nodes_a_failure_is_its_own_and_a_lost_worker_loses_nothing(engine, tmp_path):
    assert engine.width == 2
    wrong = ("marsgen", "inspect", "--data", "nowhere.npz")
    tasks = [Task(n, (command,), tmp_path / f"{n}.log") for n, command in (("a", VERSION), ("bad", wrong))]
    with take_lock(tmp_path / "a.lock"), take_lock(tmp_path / "bad.lock"):
        a, bad = map(engine.submit, tasks)
        until(lambda: all(waiting_at(task.log) for task in tasks))  # both at once, though a node has one core
        (child,) = waiting_at(tmp_path / "a.log")
        os.kill(parent(parent(child)), signal.SIGKILL)  # the worker, whose command server forked the child
        until(lambda: waiting_at(tmp_path / "a.log") not in ([child], []))
    assert bad.result().reason.startswith("nowhere.npz: no such file")
    assert a.result().reason == ""
    assert (tmp_path / "a.log").read_text().count("$ marsgen --version") == 2
    with pytest.raises(RunError, match="another command on this cluster is writing into it"):
        RayCluster("ray", NEEDS, tmp_path)._claim_folder(seconds=0)


def test_without_a_shared_file_system_files_travel_through_ray(engine, tmp_path, monkeypatch, tiny_npz):
    monkeypatch.chdir(tmp_path)
    Path("data.npz").write_bytes(tiny_npz.read_bytes())  # a relative path: no node has it in its working directory
    assert engine._shared
    engine._shared = False
    words = ("marsgen", "synthesize", "--generator", "copy-paste", "--n", "5", "--data", "data.npz", "--out", "a/set")
    (tmp_path / "a").mkdir()
    again = ("marsgen", "inspect", "--data", "a/set", "--out", "a/page")
    for task in (Task("set", (words,), Path("a/set.log")), Task("page", (again,), Path("a/page.log"))):
        assert engine.submit(task).result().reason == ""
        assert task.log.read_text().startswith("$ marsgen ")
    assert len(list(Path("a/set/images").iterdir())) == 5
    assert list(Path("a/page").glob("*.html"))
