"""Python processes that need not import torch anew: forks of one server that has imported it, and all modules here.

python tests/warm_python.py serve [all]  says where it listens, imports, then forks a process for each request
python tests/warm_python.py -c ...       does what `python -c ...` (or `-m ...`) does, in a fork of that server

forked_commands.py, the workers of pytest-xdist and the kernels of notebooks share one server.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

ADDRESS = "WARM_PYTHON"
"""variable with the path of the server's socket"""
_servers: list[subprocess.Popen[bytes]] = []


def ensure_server(*more: str) -> None:
    """Start a server for this process and all that it starts, unless one is known; it ends with this process.

    Args:
        more: "all" = it imports all modules and what notebooks need, which takes 14 s of CPU time instead of 6.
    """
    if ADDRESS not in os.environ:
        words = [sys.executable, __file__, "serve", *more]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # another look for GPUs would keep forks from using them
        _servers.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment))
        output = _servers[-1].stdout
        assert output is not None
        os.environ[ADDRESS] = output.readline().decode().strip()


class Child:
    """A process that the server has forked, as seen by who asked for it; it ends when nobody holds this any more."""

    def __init__(self, request: dict[str, Any], descriptors: Sequence[int] = (0, 1, 2)) -> None:
        """`request`: `python` (arguments), or `call` (module, function), `arguments` and `path` (sys.path)."""
        self._exitcode: int | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ[ADDRESS])
        place = {"folder": os.getcwd(), "environment": dict(os.environ)}
        line = json.dumps(request | place).encode() + b"\n"
        socket.send_fds(self._socket, [line[:1]], descriptors)
        self._socket.sendall(line[1:])
        self._answers = self._socket.makefile("rb")
        self.pid = int(self._answers.readline())

    def join(self) -> int:
        """Wait for its exit code; -N where signal N ended it."""
        if self._exitcode is None:
            self._exitcode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._socket.close()
        return self._exitcode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        if self._exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


# the server's side


def _serve() -> dict[str, Any] | None:
    """Fork a process for each request; returns in each of them what it is to do, and None at the end."""
    import shutil
    import tempfile

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches pytest and its workers, which end
    owner, place = os.dup(0), tempfile.mkdtemp(prefix="warm-")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(place, "socket"))
    listener.listen(64)
    print(listener.getsockname(), flush=True)
    _import(everything="all" in sys.argv)
    signalled, on_signal = os.pipe()
    os.set_blocking(on_signal, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(on_signal)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([owner, listener, signalled, *children.values()], [], [])
        if owner in ready:  # who started the server is gone
            break
        if signalled in ready:
            os.read(signalled, 4096)
            while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                asker = children.pop(ended[0])
                with contextlib.suppress(OSError):
                    asker.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))
                asker.close()
        for pid, asker in children.items():
            if asker in ready:  # who asked is gone
                os.kill(pid, signal.SIGKILL)
        if listener in ready:
            asker, _ = listener.accept()
            text, descriptors, _, _ = socket.recv_fds(asker, 1, 3)
            while not text.endswith(b"\n"):
                text += asker.recv(1 << 16)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
                for one in (listener, asker, *children.values()):
                    one.close()
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                for descriptor in (owner, signalled, on_signal, *descriptors):
                    os.close(descriptor)
                return json.loads(text)
            for descriptor in descriptors:
                os.close(descriptor)
            children[pid] = asker
            with contextlib.suppress(OSError):
                asker.sendall(b"%d\n" % pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place)
    return None


def _import(*, everything: bool) -> None:
    """What commands import, or all modules of marsgen and segmenter and what they and pytest's workers import late."""
    import importlib
    import pkgutil

    late = ["torch._dynamo", "accelerate", "scipy.ndimage", "skimage.measure", "segmenter.api", "marsgen.api"]
    if everything:
        for package in ("marsgen", "segmenter"):
            path = importlib.import_module(package).__path__
            late += [found.name for found in pkgutil.walk_packages(path, f"{package}.") if "__main__" not in found.name]
        late += ["diffusers.models.unets.unet_2d", "matplotlib.backends.backend_svg", "matplotlib.pyplot"]
        late += ["ipykernel.kernelapp"]
    for name in late:
        with contextlib.suppress(ImportError):  # extras
            importlib.import_module(name)

    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    simulate_scene(0, SimulationConfig())  # its textures are kept
    gc.collect()
    gc.freeze()


def _become(request: dict[str, Any]) -> None:
    """Do what a request says in this process."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = open(number, mode, buffering=1, encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if "call" in request:
        sys.path[:] = request["path"]
        module, function = request["call"]
        getattr(__import__(module), function)(*request["arguments"])
    else:
        gc.unfreeze()  # as in a new process; hypothesis asks who refers to what
        words = [word for word in request["python"] if word not in ("-u", "-B")]
        sys.argv = ["-c", *words[2:]]
        if words[0] == "-c":
            exec(words[1], {"__name__": "__main__", "__builtins__": __builtins__})
        else:
            import runpy

            runpy.run_module(words[1], run_name="__main__", alter_sys=True)


def _ask() -> int:
    """Do in a fork of the server what `python` does with this process's arguments; returns the exit code."""
    child = Child({"python": sys.argv[1:]})
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send_signal(number))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # its ends are the child's alone: who reads them notices when it ends
        os.dup2(nowhere, number)
    code = child.join()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if sys.argv[1:2] != ["serve"]:
        sys.exit(_ask())
    from marsgen.engines.command_server import _End

    end = _End()
    if (request := _serve()) is not None:
        end.after(partial(_become, request))
