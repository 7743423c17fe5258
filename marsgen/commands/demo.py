"""`marsgen demo`: the whole flow on few simulated scenes, by the commands that a user would type.

A command starts as soon as those are done whose results it reads: the generator is the longest, so it starts at once,
and all that does not need it runs beside it, in children of one process that has imported torch once.
"""

import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from marsgen.commands.config import DemoConfig
from marsgen.console import say
from marsgen.core.config import configs_folder
from marsgen.core.errors import RunError
from marsgen.core.progress import ProgressBar
from marsgen.engines.local_pool import LocalPool
from marsgen.engines.task import Outcome, PerJob, Task, outcome_of

_WORKERS = 3
"""commands side by side, at most: the generator, and what runs beside it"""

ARMS = ("real", "pix2pix")
"""trained on real scenes alone, and on the pairs of the generator too"""


@dataclass(frozen=True)
class Step:
    """One command of the demo."""

    words: Sequence[str]
    after: Sequence[str] = ()
    """names of the steps whose results it reads"""
    shows: Path | None = None
    """a picture to look at once it is done"""


def demo_steps(config: DemoConfig, out: Path) -> Mapping[str, Step]:
    """Name -> step, the first to be started first; all they write lies under `out`."""
    tiny = configs_folder() / "tiny"
    generator, synth, pasted = (out / name for name in ("generator", "synth", "pasted"))
    data = ["--data", f"sim:{config.scenes},size=64x64,rocks=0.15"]
    test = ["--data", f"sim:{config.test_scenes},size=64x64,seed=1,rocks=0.3,outliers=0"]
    paste = ["marsgen", "synthesize", "--class", "big_rock"]
    # after a training of a minute, a rock drawn from nothing has no facets yet: those of the pasted one show through
    draw = ["--strength", "0.6"]
    train_generator = ["marsgen", "train-generator", *data, "--config", str(tiny / "train-generator.yaml")]
    runs = {arm: [f"segmenter-{arm}-seed{seed}" for seed in range(config.seeds)] for arm in ARMS}
    every = [str(out / name) for names in runs.values() for name in names]

    def trainings(arm: str, extra: Sequence[str], after: Sequence[str]) -> dict[str, Step]:
        recipe = ["segmenter", "train", *data, *extra, "--config", str(tiny / "segmenter.yaml")]
        return {
            name: Step([*recipe, "--set", f"seed={seed}", "--out", str(out / name)], after)
            for seed, name in enumerate(runs[arm])
        }

    def scores(arm: str) -> dict[str, Step]:
        folders = [str(out / name) for name in runs[arm]]
        predictions = ["--out", str(_predictions(out, arm))]
        return {
            f"evaluate-{arm}": Step(["segmenter", "evaluate", *folders, *test], runs[arm]),
            f"predict-{arm}": Step(["segmenter", "predict", folders[0], *test, *predictions], runs[arm][:1]),
        }

    inspect = ["marsgen", "inspect", *data, "--config", str(tiny / "inspect.yaml"), "--out", str(out / "inspect")]
    evaluated = [f"evaluate-{arm}" for arm in ARMS]
    return {
        # pictures to look at while the generator is trained
        "paste": Step(
            [*paste, "--n", "24", "--generator", "copy-paste", *data, "--out", str(pasted)], (), _sheet(pasted)
        ),
        "generator": Step([*train_generator, "--out", str(generator)]),
        **trainings(ARMS[0], [], []),
        "inspect": Step(inspect),
        **scores(ARMS[0]),
        "synthesize": Step(
            [*paste, "--n", str(config.pairs), "--generator", str(generator), *draw, "--out", str(synth)],
            ["generator"],
            _sheet(synth),
        ),
        **trainings(ARMS[1], ["--extra", str(synth)], ["synthesize"]),
        **scores(ARMS[1]),
        "compare": Step(["segmenter", "compare", *every, "--out", str(out / "compare")], evaluated),
        "report": Step(["segmenter", "report", *every, "--out", str(out / "report")], evaluated),
    }


def _predictions(out: Path, arm: str) -> Path:
    return out / f"predictions-{arm}"


def _sheet(folder: Path) -> Path:
    return folder / "preview.png"


def playground_command(out: Path) -> list[str]:
    """The command that makes a page of what the demo wrote. It is not run: the packages that it needs are optional."""
    compared = [word for arm in ARMS for word in ("--compare", str(_predictions(out, arm)))]
    words = ["marsgen", "playground", str(out / "generator"), "--browse", str(out / "synth"), *compared]
    return [*words, "--ort", "package", "--out", str(out / "page")]


def run_demo(config: DemoConfig, out: Path) -> Path:
    """Run every command of the demo; finished ones are skipped by the commands themselves.

    Returns:
        the report to open.
    Raises:
        RunError: a command failed; its log is named.
    """
    steps = demo_steps(config, out)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    workers = min(_WORKERS, os.cpu_count() or 1)
    needs = PerJob(cpus=max(1, (os.cpu_count() or 1) // workers))
    began, waiting, done = time.monotonic(), dict(steps), set[str]()
    running: dict[Future[Outcome], tuple[str, Task]] = {}
    bar = ProgressBar(total=len(steps), desc="demo", unit=" commands", leave=False)
    with closing(LocalPool(workers, needs)) as pool, bar:
        while waiting or running:
            for name in [name for name, step in waiting.items() if done.issuperset(step.after)]:
                task = Task(name, (tuple(waiting.pop(name).words),), logs / f"{name}.log")
                running[pool.submit(task)] = name, task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, task = running.pop(future)
                bar.update()
                with ProgressBar.external_write_mode():
                    _say_outcome(steps[name], task, outcome_of(future), time.monotonic() - began)
                done.add(name)
    return out / "report" / "report.html"


def _say_outcome(step: Step, task: Task, outcome: Outcome, seconds: float) -> None:
    """Say what a finished command has said, and after how many seconds.

    Raises:
        RunError: it failed.
    """
    say(f"\n$ {shlex.join(step.words)}")
    if outcome.reason:
        raise RunError(f"the demo stopped at `{shlex.join(step.words[:2])}`: {outcome.reason} (see {task.log})")
    for line in printed_lines(task.log):
        say(line)
    if step.shows is not None:
        say(f"look at {step.shows}, {seconds:.0f} s after the start")


def printed_lines(log: Path) -> Sequence[str]:
    """What the last command that wrote into a log has printed, without its progress bars."""
    text = log.read_text(encoding="utf-8", errors="replace")
    last = re.split(r"^\$ .*\n", text, flags=re.M)[-1].splitlines()
    return [line for raw in last if (line := raw.rpartition("\r")[2]) and not re.search(r"\d+%\|", line)]
