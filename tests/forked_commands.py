"""Commands in processes of their own that need not import torch anew: forked from one server that has imported it.

A forked process has its own memory and can be killed like any other. What has to be true of a fresh interpreter
(start-up imports, torchrun, console encodings) is tested with `subprocess` instead.
"""

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "accelerate", "scipy.ndimage", "skimage.measure", "segmenter.api", "marsgen.api"]
)


def start(*words: str, stderr: Path | str = os.devnull) -> BaseProcess:
    """Start `marsgen ...` or `segmenter ...`; its exit code is that of the command.

    Args:
        stderr: file that gets what it says on standard error.
    """
    child = _CONTEXT.Process(target=_run, args=(words, os.getcwd(), str(stderr)))
    child.start()
    return child


def run(*words: str, stderr: Path | str = os.devnull) -> int:
    """Run a command to its end; returns its exit code."""
    child = start(*words, stderr=stderr)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _run(words: tuple[str, ...], folder: str, stderr: str) -> None:
    os.chdir(folder)
    for descriptor, path in ((1, os.devnull), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv = list(words)
    if words[0] == "marsgen":
        from marsgen.cli import main
    else:
        from segmenter.cli import main
    main()
