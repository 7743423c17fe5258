"""What a Ray worker does, and what its owner makes of it, in this process: no cluster is started."""

from concurrent.futures import Future
from pathlib import Path

import pytest

from marsgen.core.errors import ConfigError, RunError
from marsgen.engines import command_server, ray_cluster
from marsgen.engines.choose import open_engine, open_engine_if_named
from marsgen.engines.ray_cluster import RayCluster
from marsgen.engines.task import RETRIES, Outcome, PerJob, Task, WorkerLost, outcome_of
from marsgen.engines.transfer import pack, unpack

VERSION = ("marsgen", "--version")


class Server:
    """Stands for a `CommandServer`; its commands write a file, or are cancelled."""

    def __init__(self, cancelled: bool = False) -> None:
        self.cancelled, self.environments, self.closed = cancelled, [], False

    def run(self, task: Task, environment: dict[str, str]) -> Outcome:
        self.environments.append(environment)
        if self.cancelled:
            raise KeyboardInterrupt
        for command in task.commands:
            out = Path(command[command.index("--out") + 1])
            out.mkdir(parents=True)
            (out / "made").write_text(Path("given").read_text())
        task.log.write_text("said")
        return Outcome()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.chdir(tmp_path)  # a node's worker changes its directory; the test's is restored
    monkeypatch.setattr(ray_cluster, "_server", server := Server())
    return server


def test_a_node_without_the_file_system_unpacks_what_it_reads_and_packs_what_it_wrote(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    Path("given").write_text("content")
    parcel = pack([Path("given")])
    task = Task("set", (("marsgen", "inspect", "--out", "a/page"),), Path("a/set.log"))
    outcome, made = ray_cluster._run_on_node(task, None, 1, parcel)
    assert (outcome.reason, Path.cwd()) == ("", Path("/"))
    assert server.environments == [{"CUDA_VISIBLE_DEVICES": "3"}]
    assert not (tmp_path / "a").exists()  # nothing but the parcel comes back
    unpack(made, tmp_path / "back")
    assert (tmp_path / "back/a/page/made").read_text() == "content"
    assert (tmp_path / "back/a/set.log").read_text() == "said"


def test_a_node_with_the_file_system_works_in_the_folder_of_the_command(server, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    Path("given").write_text("content")
    task = Task("set", (("marsgen", "inspect", "--out", "page"),), Path("logs/set.log"))
    assert ray_cluster._run_on_node(task, str(tmp_path), 1) == (Outcome(), b"")
    assert (tmp_path / "page/made").read_text() == "content"
    assert server.environments == [{}]


def test_a_folder_that_the_node_cannot_use_is_named(server, tmp_path):
    outcome, parcel = ray_cluster._run_on_node(Task("a", (VERSION,), Path("a.log")), str(tmp_path / "gone"), 1)
    assert outcome.reason.endswith(f": {tmp_path / 'gone'}: No such file or directory")
    assert outcome.reason.startswith("node ")
    assert (parcel, server.environments) == (b"", [])


def test_a_task_that_is_cancelled_closes_the_server(server, tmp_path):
    server.cancelled = True
    with pytest.raises(KeyboardInterrupt):
        ray_cluster._run_on_node(Task("a", (VERSION,), Path("a.log")), str(tmp_path), 1)
    assert server.closed
    assert ray_cluster._server is None  # the next task starts another one


def test_a_worker_starts_a_server_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_cluster, "_server", None)
    monkeypatch.setattr(command_server, "_PRELOADED", ())
    outcome, _ = ray_cluster._run_on_node(Task("a", (VERSION,), Path("a.log")), str(tmp_path), 1)
    ray_cluster._server.close()
    assert outcome.reason == ""
    assert (tmp_path / "a.log").read_text().startswith("$ marsgen --version\nmarsgen ")


def test_what_the_owner_hears_of_a_task(tmp_path):
    exceptions = pytest.importorskip("ray.exceptions")

    def heard(problem: BaseException | None, result: object = None) -> Future[Outcome]:
        ended, outcome = Future(), Future()
        ended.set_exception(problem) if problem else ended.set_result(result)
        ray_cluster._hand_on(ended, outcome, tmp_path)
        return outcome

    (tmp_path / "a").write_text("made")
    assert heard(None, (Outcome(seconds=2.0), b"")).result() == Outcome(seconds=2.0)
    for lost in (WorkerLost(), exceptions.WorkerCrashedError(), exceptions.OutOfMemoryError("no memory")):
        assert outcome_of(heard(lost)) == Outcome(f"its worker was lost {RETRIES + 1} times")
    assert isinstance(heard(PermissionError("/data")).exception(), PermissionError)
    gone = heard(ConnectionError("the head node\nis gone")).exception()
    assert isinstance(gone, RunError)
    assert str(gone) == "the cluster was lost (the head node); repeat the command, finished jobs are kept"


def test_what_a_node_wrote_is_unpacked_where_the_command_runs(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    Path("made").write_text("content")
    ended, outcome = Future(), Future()
    ended.set_result((Outcome(), pack([Path("made")])))
    ray_cluster._hand_on(ended, outcome, tmp_path / "there")
    assert outcome.result() == Outcome()
    assert (tmp_path / "there/made").read_text() == "content"


def test_without_ray_the_option_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--on: Ray is not installed here; pip install '\.\[cluster\]'"):
        open_engine(None, "ray", None, tmp_path)


def test_no_cluster_at_an_address_is_said(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("could not connect\nmore")

    monkeypatch.setattr(ray, "init", refuse)
    engine = RayCluster("ray://there:10001", PerJob(), tmp_path)
    words = r"--on ray://there:10001: no cluster there \(could not connect\); is it started\?"
    with pytest.raises(RunError, match=words):
        engine.submit(Task("a", (VERSION,), tmp_path / "a.log"))
    engine.close()  # nothing was started, so nothing ends


@pytest.mark.parametrize(
    ("workers", "on", "per_job", "world", "words"),
    [
        (None, None, "cpus=2", "1", "--per-job: nothing is started without --workers or --on"),
        (2, None, None, "2", "this command starts its own processes; leave out torchrun"),
        (2, None, "cpus=[", "1", r"--per-job cpus=\[: expected a list such as cpus=1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(workers, on, per_job, world, words, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ConfigError, match=words), open_engine_if_named(workers, on, per_job, tmp_path):
        pass


def test_no_option_names_no_engine(tmp_path):
    with open_engine_if_named(None, None, None, tmp_path) as engine:
        assert engine is None
    with open_engine_if_named(2, None, None, tmp_path) as engine:
        assert (engine.slots, engine.width) == (2, 2)
