"""Ray: tasks on the machines of a cluster (https://docs.ray.io).

Ray places each task by its cores, GPUs and memory, begins it again where its worker or machine is lost, and lists it
under its name. On a node, the worker's command server forks the commands (command_server.py). They write into a file
system that all machines share; where there is none, what a task reads and writes travels through Ray (parcels.py).
"""

import logging
import os
import signal
import threading
import time
from concurrent.futures import Future
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from marsgen.core.errors import ConfigError, RunError, how_to_install
from marsgen.core.storage.reading import first_line
from marsgen.engines.command_server import CommandServer
from marsgen.engines.task import RETRIES, Outcome, PerJob, Task, WorkerLost
from marsgen.engines.transfer import pack, paths_in, unpack

_server: CommandServer | None = None


class RayCluster:
    """An `Engine`."""

    slots = 10_000

    def __init__(self, address: str, per_job: PerJob, folder: Path) -> None:
        """See `open_engine`; the cluster is joined when the first task is submitted.

        Raises:
            ConfigError: Ray is not installed.
        """
        if find_spec("ray") is None:
            raise ConfigError(f"--on: Ray is not installed here; {how_to_install('cluster')}, or leave out --on")
        self._address, self._per_job, self._folder = address, per_job, folder
        self._refs: list[Any] = []
        self._parcels: dict[Path, Any] = {}

    @property
    def width(self) -> int:
        import ray

        _, there = self._run, ray.cluster_resources()
        return max(1, int(min(there.get(name, 0) // each for name, each in self._needs.items() if each)))

    def submit(self, task: Task) -> Future[Outcome]:
        run, here = self._run.options(name=task.name), Path.cwd()
        if self._shared:
            ref = run.remote(task, str(here), self._per_job.cpus or 1)
        else:
            reads = dict.fromkeys(path for command in task.commands for path in paths_in(command))
            ref = run.remote(task, None, self._per_job.cpus or 1, *(self._parcel(path) for path in reads))
        self._refs.append(ref)
        outcome: Future[Outcome] = Future()
        ref.future().add_done_callback(lambda ended: _hand_on(ended, outcome, here))
        return outcome

    def close(self) -> None:
        if not self._refs:
            return
        import ray

        if ray.is_initialized():
            _, running = ray.wait(self._refs, num_returns=len(self._refs), timeout=0)
            for ref in running:
                ray.cancel(ref)
            ray.wait(running, num_returns=len(running), timeout=20) if running else None
            ray.shutdown()

    @cached_property
    def _run(self) -> Any:
        """`_run_on_node` as a remote function of the cluster, which is joined."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        in_main_thread = threading.current_thread() is threading.main_thread()
        on_term = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                None if self._address == "ray" else self._address,
                namespace="marsgen",
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as problem:
            raise RunError(f"--on {self._address}: no cluster there ({first_line(problem)}); is it started?") from None
        if in_main_thread:
            signal.signal(signal.SIGTERM, on_term)  # Ray would exit without writing checkpoints
        self._claim = self._claim_folder()
        gpus = self._per_job.gpus
        if gpus is None:
            gpus = min(1, ray.cluster_resources().get("GPU", 0))
        cpus, memory = self._per_job.cpus or 1, int(self._per_job.memory_gb * 2**30)
        self._needs = {"CPU": cpus, "GPU": gpus, "memory": memory}
        needs: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory}
        needs |= {"max_retries": RETRIES, "retry_exceptions": [WorkerLost]}
        return ray.remote(**needs)(_run_on_node)

    @cached_property
    def _shared(self) -> bool:
        """Whether a node of the cluster sees the folder."""
        import ray

        assert self._run is not None  # the cluster is joined
        token = self._folder.absolute() / f".{uuid4().hex}.partial"
        token.touch()
        try:
            return ray.get(ray.remote(num_cpus=0)(os.path.exists).remote(str(token)))
        finally:
            token.unlink()

    def _parcel(self, path: Path) -> Any:
        """The contents of a path in Ray's object store, put there once: what is finished does not change."""
        import ray

        if path not in self._parcels:
            self._parcels[path] = ray.put(pack([path]))
        return self._parcels[path]

    def _claim_folder(self, seconds: float = 60) -> Any:
        """An actor of the folder's name. Where there is one, wait `seconds` for Ray to notice that its owner is gone.

        Raises:
            RunError: another command works in the folder.
        """
        import ray

        deadline = time.monotonic() + seconds
        while True:
            try:
                return ray.remote(num_cpus=0)(_Claim).options(name=f"{self._folder.resolve()}").remote()
            except ValueError:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"{self._folder}: another command on this cluster is writing into it; wait for it or choose "
                        "another --out"
                    ) from None
                time.sleep(0.5)


class _Claim:
    """An actor that lives as long as the command that fills a folder: network file systems keep no locks."""


def _run_on_node(task: Task, folder: str | None, threads: int, *parcels: bytes) -> tuple[Outcome, bytes]:
    """Run a task in the worker of a node.

    Args:
        folder: the working directory of the command that submitted it; None = it is not seen here.
        parcels: what it reads then.
    Returns:
        the outcome and, where no file system is shared, a parcel of what it wrote.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        try:
            os.chdir(folder or place)
            for parcel in parcels:
                unpack(parcel, Path(place))
            task.log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            return Outcome(f"node {os.uname().nodename}: {problem.filename or folder}: {problem.strerror}"), b""
        outs = [Path(command[command.index("--out") + 1]) for command in task.commands if "--out" in command]
        try:
            return _run_here(task, threads), pack([*outs, task.log]) if folder is None else b""
        finally:
            os.chdir("/")


def _run_here(task: Task, threads: int) -> Outcome:
    global _server
    _server = _server or CommandServer(threads)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        return _server.run(task, {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})
    except BaseException:  # cancelled: the child writes a checkpoint
        _server.close()
        _server = None
        raise


def _hand_on(ended: Any, outcome: Future[Outcome], here: Path) -> None:
    from ray import exceptions

    lost = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)
    try:
        result, parcel = ended.result()
        if parcel:
            unpack(parcel, here)
        outcome.set_result(result)
    except (WorkerLost, *lost):
        outcome.set_exception(WorkerLost())
    except Exception as problem:
        own = isinstance(problem, exceptions.RayTaskError | OSError) and not isinstance(problem, ConnectionError)
        words = f"the cluster was lost ({first_line(problem)}); repeat the command, finished jobs are kept"
        outcome.set_exception(problem if own else RunError(words))
