"""A process that has imported torch once and forks a child for each command.

A child has its own memory: no state leaks from one command into the next, the bytes are those of a command started by
hand, and a child that crashes or is killed takes nothing with it. A child whose server is gone, and a server whose
owner is gone, end at once. Where forking is not safe (macOS, Windows), each command is a new process instead.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from marsgen.core.errors import RunError
from marsgen.core.stop import PATIENCE_SECONDS
from marsgen.core.storage.lock import take_lock
from marsgen.engines.task import Outcome, Task, WorkerLost

_FORKS = sys.platform == "linux"
_PRELOADED = ("torch._dynamo", "accelerate", "scipy.ndimage", "skimage.measure", "segmenter.api", "marsgen.api")


class CommandServer:
    """The owner's side; its methods may be called by several threads."""

    def __init__(self, threads: int) -> None:
        """`threads`: of each command (OMP_NUM_THREADS), unless the environment says it."""
        # glibc gives large blocks back at once and gets them again as zeroed pages: a tenth of the time of a step on
        # a CPU. Progress bars go into a log. A module that is not yet installed is found where this process found it.
        self._environment = {
            "OMP_NUM_THREADS": str(threads),
            **os.environ,
            "MALLOC_MMAP_THRESHOLD_": "1000000000",
            "MALLOC_TRIM_THRESHOLD_": "4000000000",
            "TQDM_MININTERVAL": "10",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._starting, self._numbers, self._closed = threading.Lock(), count(), False
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, Future[list[float]]] = {}

    def run(self, task: Task, environment: Mapping[str, str]) -> Outcome:
        """Run a task to its end.

        Args:
            environment: variables of its commands that differ from this process's.
        Raises:
            WorkerLost: the server was killed.
        """
        started, cpu_seconds, peak_mb, resumed = time.monotonic(), 0.0, 0.0, False
        for command in task.commands:
            out = Path(command[command.index("--out") + 1]) if "--out" in command else None
            resumed |= out is not None and (out / "config.yaml").exists()
            with task.log.open("a", encoding="utf-8") as log:
                log.write(f"$ {shlex.join(command)}\n")
            code, seconds, megabytes = (self._fork if _FORKS else _start)(command, task.log, environment)
            cpu_seconds, peak_mb = cpu_seconds + seconds, max(peak_mb, megabytes)
            if code != 0:
                reason = f"killed by signal {-code:.0f}" if code < 0 else _last_line(task.log) or f"exit code {code}"
                break
        else:
            reason = ""
        return Outcome(reason, time.monotonic() - started, cpu_seconds, peak_mb, resumed)

    def close(self) -> None:
        """End the server and, as SIGTERM does, its children."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                self._process.terminate()
                try:
                    self._process.wait(PATIENCE_SECONDS + 10)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()

    def _fork(self, command: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> list[float]:
        request = {"words": command, "log": str(log), "folder": os.getcwd(), "environment": dict(environment)}
        answer: Future[list[float]] = Future()
        with self._starting:
            if self._closed:
                raise WorkerLost
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            number = next(self._numbers)
            self._waiting[number] = answer
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"number": number, **request}).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise WorkerLost from None
        return answer.result()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "marsgen.engines.command_server", *_PRELOADED]
        server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment)
        self._waiting = {}
        threading.Thread(target=_listen, args=(server, self._waiting), daemon=True).start()
        return server


def _listen(server: subprocess.Popen[bytes], waiting: dict[int, Future[list[float]]]) -> None:
    """Hand the server's answers on, until it ends."""
    assert server.stdout is not None
    for line in server.stdout:
        number, *answer = json.loads(line)
        waiting.pop(int(number)).set_result(answer)
    server.wait()
    for answer_to_nobody in list(waiting.values()):
        answer_to_nobody.set_exception(WorkerLost())


def _start(command: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> list[float]:
    words = [sys.executable, "-m", f"{command[0]}.cli", *command[1:]]
    with log.open("ab") as file:
        there = {**os.environ, **environment}
        done = subprocess.run(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=there, check=False)
    return [done.returncode, 0.0, 0.0]


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "").removeprefix("error: ")


# the server's side


def _serve() -> dict[str, Any] | None:
    """Fork a child for each line of standard input; returns in each child what it is to do, and None at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the owner too, which says what is to end
    requests, answers, nowhere = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    for module in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # a command that needs it will say so
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signalled, on_signal = os.pipe()
    os.set_blocking(on_signal, False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(on_signal)
    server_is_gone, open_while_alive = os.pipe()
    children: dict[int, int] = {}
    stopping, text = False, b""
    while children or not stopping:
        ready, _, _ = select.select([requests, signalled], [], [])
        if signalled in ready:
            if signal.SIGTERM in os.read(signalled, 4096):
                stopping = True
                for pid in children:
                    os.kill(pid, signal.SIGTERM)
            while children and (ended := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, used = ended
                code = os.waitstatus_to_exitcode(status)
                answer = [children.pop(pid), code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
                os.write(answers, json.dumps(answer).encode() + b"\n")
        if requests in ready:
            read = os.read(requests, 1 << 16)
            if not read:  # the owner is gone: its tasks will be begun again
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return None
            *lines, text = (text + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
                pid = os.fork()
                if not pid:
                    _leave_server((requests, answers, nowhere, signalled, on_signal, open_while_alive), server_is_gone)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGCHLD))
                if not pid:
                    return request
                children[pid] = request["number"]
    return None


def _leave_server(descriptors: Sequence[int], server_is_gone: int) -> None:
    """In a child: signals act as in any process, the server's descriptors are closed, and its end is waited for."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    for descriptor in descriptors:
        os.close(descriptor)
    threading.Thread(target=_end_with, args=(server_is_gone,), daemon=True).start()


def _end_with(server_is_gone: int) -> None:
    os.read(server_is_gone, 1)  # returns when the last process that could write is gone
    os.kill(os.getpid(), signal.SIGKILL)


def _become(request: dict[str, Any]) -> None:
    """Run the command of a request in this process, and exit as it does."""
    os.environ |= request["environment"]
    os.chdir(request["folder"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        while (lock := take_lock(Path(request["log"]).with_suffix(".lock"))) is None:
            time.sleep(0.05)  # the child of a worker that was killed is about to end
    except RunError as problem:
        sys.exit(f"error: {problem}")
    sys.argv = list(request["words"])
    with lock:
        importlib.import_module(f"{sys.argv[0]}.cli").main()


class _End:
    """Ends a process as Python does, but without freeing what was imported, which takes most of a second."""

    def __init__(self) -> None:
        self.code = 1
        """what follows an exception"""
        atexit.register(self._leave)  # before all others, which so come before it

    def after(self, work: Callable[[], None]) -> None:
        """Do `work`, and keep the exit code that it asks for."""
        try:
            work()
            self.code = 0
        except SystemExit as end:
            self.code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise

    def _leave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)


if __name__ == "__main__":
    end = _End()
    if (request := _serve()) is not None:
        end.after(partial(_become, request))
    else:
        end.code = 0
