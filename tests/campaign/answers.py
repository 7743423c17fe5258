"""Run a command line in a forked child under limits, and judge its answer."""

import contextlib
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY_BYTES = 3 * 2**30
"""that a child may take beyond what it is forked with"""
FILE_BYTES = 2 * 2**30
ORDINARY = 65534
"""number of the user that is usually called nobody"""
SECONDS = 120


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    """exit code; -N where signal N ended it"""
    out: str
    err: str
    seconds: float
    peak_mb: float


def import_everything() -> None:
    """Import what the commands need, once, so that every fork has it."""
    import torch
    import torch._dynamo  # every optimizer imports it, for seconds
    from PIL import Image

    import marsgen.cli
    import marsgen.commands.export.scenes
    import marsgen.commands.inspect
    import marsgen.commands.preview
    import marsgen.commands.score
    import marsgen.generators.diffusion.train
    import marsgen.generators.pix2pix.train
    import marsgen.synthesis.synthesize  # noqa: F401
    import segmenter.cli
    import segmenter.evaluation.evaluate
    import segmenter.inference.predict
    import segmenter.inference.pseudo_labels
    import segmenter.results.report
    import segmenter.study.run
    import segmenter.training.train  # noqa: F401
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    Image.init()
    torch.set_num_threads(1)
    simulate_scene(0, SimulationConfig())  # its textures are kept


def list_modules(path: Path) -> None:
    """Add the names of all that this process has imported to a file."""
    with path.open("a") as file:
        file.writelines(f"{name}\n" for name in sys.modules)


def import_listed(path: Path) -> None:
    """Import what commands were seen to import late: an ordinary user may not be able to, and it takes seconds."""
    for name in dict.fromkeys(path.read_text().split("\n")):
        if name and name not in sys.modules and name.isascii():
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def start(
    words: Sequence[str],
    folder: Path,
    *,
    seconds: int = SECONDS,
    ordinary: bool = False,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> int:
    """Fork a child that runs `words` in `folder`, with its output in folder/.out and .err; its process id.

    Args:
        ordinary: the child runs as an ordinary user, to whom all that lies in `folder` is given.
        before, after: called in the child, at its begin and its end.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.chdir(folder)
        for number, name in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        if ordinary:
            become_ordinary()
        if before is not None:
            before()
        code = _call(words)
        if after is not None:
            after()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def give_away(folder: Path) -> None:
    """Let everything in `folder` belong to the ordinary user."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)


def become_ordinary() -> None:
    """Run on as an ordinary user, whom file permissions hold back; who is no root is one already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(ORDINARY)
        os.setuid(ORDINARY)


def _call(words: Sequence[str]) -> int:
    from marsgen.cli import main as marsgen
    from segmenter.cli import main as segmenter

    sys.argv = list(words)
    try:
        {"marsgen": marsgen, "segmenter": segmenter}[words[0]]()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def wait(child: int, folder: Path, started: float) -> Answer:
    """Wait for a child of `start`."""
    _, status, usage = os.wait4(child, 0)
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in (".out", ".err"))
    code = os.waitstatus_to_exitcode(status)
    return Answer(code, out, err, time.monotonic() - started, usage.ru_maxrss / 1024)


def run(words: Sequence[str], folder: Path, **limits: object) -> Answer:
    """`start` and `wait`."""
    for name in (".out", ".err"):
        (folder / name).unlink(missing_ok=True)
    if limits.get("ordinary"):
        give_away(folder)
    started = time.monotonic()
    return wait(start(words, folder, **limits), folder, started)  # type: ignore[arg-type]


def find_fault(answer: Answer, folder: Path, *, may_pass: bool) -> str:
    """What is wrong with the answer to a bad input; "" where it is one error line and exit code 2, and nothing is left
    half-written, or, with `may_pass`, where the command found the input good after all."""
    if (folder.parent / "canary").exists() or (folder / "canary").exists():
        return "ran code out of a data file"
    if answer.code == -signal.SIGALRM:
        return f"no answer in {SECONDS} s"
    if answer.code < 0:
        return f"killed by signal {-answer.code}"
    if "Traceback" in answer.err:
        return f"traceback: {answer.err.strip().splitlines()[-1][:200]}"
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    if left:
        return f"left {left[0]}"
    if answer.code == 0:
        return "" if may_pass else "took it for good"
    if answer.code != 2:
        return f"exit code {answer.code}"
    lines = [line for line in answer.err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    if len(lines) != 1 or answer.err.count("error: ") > 1 + lines[0].removeprefix("error: ").count("error: "):
        return f"{len(lines)} error lines"
    if len(lines[0]) < 20 or len(lines[0]) > 1500:
        return f"an error line of {len(lines[0])} characters"
    if not lines[0].isprintable():
        return "an error line with unprintable characters"
    return ""
