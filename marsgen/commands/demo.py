"""`marsgen demo`: the whole flow on few simulated scenes, by the commands that a user would type.

The commands of a stage need nothing of each other and run side by side, in children of one process that has imported
torch once.
"""

import os
import re
import shlex
from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import closing
from pathlib import Path

from pydantic import Field

from marsgen.console import say
from marsgen.core.config import Config, configs_folder
from marsgen.core.errors import RunError
from marsgen.core.progress import ProgressBar
from marsgen.engines.local_pool import LocalPool
from marsgen.engines.task import PerJob, Task, outcome_of

_WORKERS = 3
"""commands side by side, at most: as many trainings of an arm"""

ARMS = ("real", "pix2pix")
"""trained on real scenes alone, and on the pairs of the generator too"""


class DemoConfig(Config):
    """Settings of `marsgen demo`. The networks are those of configs/tiny/."""

    scenes: int = Field(500, ge=60)
    """simulated scenes to train on, one in ten with a big rock"""
    test_scenes: int = Field(300, ge=30)
    """simulated scenes of another seed to test on, one in three with a big rock"""
    pairs: int = Field(400, ge=1)
    """synthetic pairs to make"""
    seeds: int = Field(3, ge=1)
    """trainings of each arm; with fewer than 3 the intervals say little"""


def demo_stages(config: DemoConfig, out: Path) -> list[list[list[str]]]:
    """The commands of the demo, stage by stage; all they write lies under `out`."""
    tiny = configs_folder() / "tiny"
    generator, synth = str(out / "generator"), str(out / "synth")
    data = ["--data", f"sim:{config.scenes},rocks=0.1"]
    test = ["--data", f"sim:{config.test_scenes},seed=1,rocks=0.3,outliers=0"]
    trainings: dict[str, list[list[str]]] = {}
    runs: list[str] = []
    for arm, extra in zip(ARMS, ([], ["--extra", synth]), strict=True):
        trainings[arm] = []
        for seed in range(config.seeds):
            runs.append(str(out / f"segmenter-{arm}-seed{seed}"))
            recipe = ["--config", str(tiny / "segmenter.yaml"), "--set", f"seed={seed}"]
            trainings[arm].append(["segmenter", "train", *data, *extra, *recipe, "--out", runs[-1]])
    pasted = ["marsgen", "synthesize", "--class", "big_rock", "--n", "24", "--generator", "copy-paste", *data]
    return [
        [
            [*pasted, "--out", str(out / "pasted")],  # pictures to look at while the generator is trained
            ["marsgen", "train-generator", *data, "--config", str(tiny / "train-generator.yaml"), "--out", generator],
            ["marsgen", "inspect", *data, "--config", str(tiny / "inspect.yaml"), "--out", str(out / "inspect")],
            *trainings[ARMS[0]],
        ],
        [
            ["marsgen", "synthesize", "--class", "big_rock", "--n", str(config.pairs), "--generator", generator]
            + ["--out", synth]
        ],
        trainings[ARMS[1]],
        [["segmenter", "evaluate", run, *test] for run in runs],
        [
            ["segmenter", "compare", *runs, "--out", str(out / "compare")],
            *(
                ["segmenter", "predict", trainings[arm][0][-1], *test, "--out", str(_predictions(out, arm))]
                for arm in ARMS
            ),
            ["segmenter", "report", *runs, "--out", str(out / "report")],
        ],
    ]


def _predictions(out: Path, arm: str) -> Path:
    return out / f"predictions-{arm}"


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
    stages = demo_stages(config, out)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    workers = min(_WORKERS, os.cpu_count() or 1)
    needs = PerJob(cpus=max(1, (os.cpu_count() or 1) // workers))
    bar = ProgressBar(total=sum(map(len, stages)), desc="demo", unit=" commands", leave=False)
    with closing(LocalPool(workers, needs)) as pool, bar:
        for number, stage in enumerate(stages):
            tasks = [
                Task(f"{number}-{place}", (tuple(command),), logs / f"{number}-{place}.log")
                for place, command in enumerate(stage)
            ]
            running = {pool.submit(task): task for task in tasks}
            for future in as_completed(running):
                task = running[future]
                bar.update()
                with ProgressBar.external_write_mode():
                    say(f"\n$ {shlex.join(task.commands[0])}")
                    if reason := outcome_of(future).reason:
                        raise RunError(
                            f"the demo stopped at `{shlex.join(task.commands[0][:2])}`: {reason} (see {task.log})"
                        )
                    for line in printed_lines(task.log):
                        say(line)
    return out / "report" / "report.html"


def printed_lines(log: Path) -> Sequence[str]:
    """What the last command that wrote into a log has printed, without its progress bars."""
    text = log.read_text(encoding="utf-8", errors="replace")
    last = re.split(r"^\$ .*\n", text, flags=re.M)[-1].splitlines()
    return [line for raw in last if (line := raw.rpartition("\r")[2]) and not re.search(r"\d+%\|", line)]
