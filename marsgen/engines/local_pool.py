"""Local pool: tasks side by side on this machine, in children of one server that has imported torch."""

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from queue import SimpleQueue

from marsgen.engines.command_server import CommandServer
from marsgen.engines.task import RETRIES, Outcome, PerJob, Task, WorkerLost


class LocalPool:
    """An `Engine`."""

    def __init__(self, workers: int | None, per_job: PerJob) -> None:
        """`workers`: tasks side by side; None = as many as cores, GPUs and memory hold."""
        self._workers, self._per_job = workers, per_job
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._server: CommandServer | None = None
        self._places: SimpleQueue[dict[str, str]] = SimpleQueue()
        """what each worker sets for its tasks"""

    @cached_property
    def slots(self) -> int:
        return self._workers or _fitting_workers(self._cores, len(self._gpus), self._per_job)

    @property
    def width(self) -> int:
        return self.slots

    def submit(self, task: Task) -> Future[Outcome]:
        return self._threads.submit(self._run, task)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._threads.shutdown(cancel_futures=True)

    @cached_property
    def _gpus(self) -> list[str]:
        import torch  # here, so not before the data were checked: it takes seconds

        every = ",".join(map(str, range(torch.cuda.device_count())))
        return os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",") if every else []

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        self._server = CommandServer(self._per_job.cpus or max(1, self._cores // self.slots))
        # a worker keeps its GPU; where there are more workers than GPUs, they share them
        for number in range(self.slots):
            self._places.put({"CUDA_VISIBLE_DEVICES": self._gpus[number % len(self._gpus)]} if self._gpus else {})
        return ThreadPoolExecutor(self.slots)

    def _run(self, task: Task) -> Outcome:
        assert self._server is not None
        place = self._places.get()
        try:
            for _ in range(RETRIES):
                with contextlib.suppress(WorkerLost):
                    return self._server.run(task, place)
            return self._server.run(task, place)
        finally:
            self._places.put(place)


def _fitting_workers(cores: int, gpus: int, per_job: PerJob) -> int:
    """Tasks that fit this machine side by side; at least 1."""
    fitting = [cores // (per_job.cpus or 1)]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        fitting.append(int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 / per_job.memory_gb))
    if gpus and per_job.gpus != 0:
        fitting.append(int(gpus / (per_job.gpus or 1)))
    return max(1, min(fitting))
