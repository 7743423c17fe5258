"""Commands and scripts in processes of their own that need not import torch anew: forked from one server that has.

A forked process has its own memory and can be killed like any other. What has to be true of a fresh interpreter
(start-up imports, console encodings, `torchrun -m`) is tested with `subprocess` instead.
"""

import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import warm_python
from warm_python import Child

_TWO = ("--standalone", "--nproc_per_node", "2")


def start(*words: str, stderr: Path | str = os.devnull) -> Child:
    """Start `marsgen ...` or `segmenter ...`; its exit code is that of the command.

    Args:
        stderr: file that gets what it says on standard error.
    """
    return _start(_command, words, os.devnull, stderr)


def run(*words: str, stderr: Path | str = os.devnull) -> int:
    """Run a command to its end; returns its exit code."""
    return _end(start(*words, stderr=stderr))


def say(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder; its exit code and what it said."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(cwd):
        out, err = Path(place) / "stdout", Path(place) / "stderr"
        code = _end(_start(_command, words, out, err))
        return subprocess.CompletedProcess(words, code, *(path.read_text(encoding="utf-8") for path in (out, err)))


def run_script(path: Path, *words: str, stdout: Path | str = os.devnull, stderr: Path | str = os.devnull) -> int:
    """Run `python path words...` to its end; returns its exit code."""
    return _end(_start(_script, (str(path), *words), stdout, stderr))


def torchrun(path: Path, *words: str, stdout: Path | str, stderr: Path | str) -> int:
    """`torchrun --standalone --nproc_per_node 2 path words...`, whose two processes are forks as well."""
    return _end(_start(_torchrun, (str(path), *words), stdout, stderr))


def torchrun_module(module: str, *words: str, stdout: Path | str, stderr: Path | str) -> int:
    """`torchrun --standalone --nproc_per_node 2 -m module words...`: torchrun is forked, its two processes are new."""
    return _end(_start(_torchrun_module, (module, *words), stdout, stderr))


def _start(work: Callable[..., None], words: tuple[str, ...], stdout: Path | str, stderr: Path | str) -> Child:
    warm_python.ensure_server()
    with contextlib.ExitStack() as stack:
        opened = [os.open(os.devnull, os.O_RDONLY)]
        opened += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in (stdout, stderr)]
        for descriptor in opened:
            stack.callback(os.close, descriptor)
        call = {"call": ("forked_commands", work.__name__), "arguments": words, "path": sys.path}
        return Child(call, opened)


def _end(child: Child) -> int:
    try:
        return child.join()
    finally:
        child.kill()  # of one that has ended nothing; where the test is cut short, nothing goes on running


def _command(*words: str) -> None:
    sys.argv = list(words)
    if words[0] == "marsgen":
        from marsgen.cli import main
    else:
        from segmenter.cli import main
    main()


def _script(*words: str) -> None:
    sys.argv = list(words)
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")


def _torchrun(*words: str) -> None:
    import torch.distributed.run as launcher

    launch = launcher.elastic_launch

    def forking(config: launcher.LaunchConfig, entrypoint: str) -> Callable[..., object]:
        config.start_method = "fork"
        return lambda *_: launch(config, _script)(*words)

    launcher.elastic_launch = forking
    launcher.main([*_TWO, *words])


def _torchrun_module(*words: str) -> None:
    from torch.distributed.run import main

    main([*_TWO, "-m", *words])
