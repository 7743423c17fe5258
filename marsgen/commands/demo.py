"""`marsgen demo`: the whole flow on few simulated scenes, by the commands that a user would type."""

import shlex
import subprocess
import sys
from pathlib import Path

from pydantic import Field

from marsgen.console import say
from marsgen.core.config import Config, configs_folder
from marsgen.core.errors import RunError

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


def demo_commands(config: DemoConfig, out: Path) -> list[list[str]]:
    """The commands of the demo, in order; all they write lies under `out`."""
    tiny = configs_folder() / "tiny"
    generator, synth = str(out / "generator"), str(out / "synth")
    data = ["--data", f"sim:{config.scenes},rocks=0.1"]
    test = ["--data", f"sim:{config.test_scenes},seed=1,rocks=0.3,outliers=0"]
    commands = [
        ["marsgen", "inspect", *data, "--config", str(tiny / "inspect.yaml"), "--out", str(out / "inspect")],
        ["marsgen", "train-generator", *data, "--config", str(tiny / "train-generator.yaml"), "--out", generator],
        ["marsgen", "synthesize", "--class", "big_rock", "--n", str(config.pairs), "--generator", generator]
        + ["--out", synth],
    ]
    runs = []
    for arm, extra in zip(ARMS, ([], ["--extra", synth]), strict=True):
        for seed in range(config.seeds):
            runs.append(str(out / f"segmenter-{arm}-seed{seed}"))
            recipe = ["--config", str(tiny / "segmenter.yaml"), "--set", f"seed={seed}"]
            commands.append(["segmenter", "train", *data, *extra, *recipe, "--out", runs[-1]])
    commands += [
        ["segmenter", "evaluate", *runs, *test],
        ["segmenter", "compare", *runs, "--out", str(out / "compare")],
        *(
            [
                "segmenter",
                "predict",
                str(out / f"segmenter-{arm}-seed0"),
                *test,
                "--out",
                str(out / f"predictions-{arm}"),
            ]
            for arm in ARMS
        ),
        ["segmenter", "report", *runs, "--out", str(out / "report")],
    ]
    return commands


def playground_command(out: Path) -> list[str]:
    """The command that makes a page of what the demo wrote. It is not run: the packages that it needs are optional."""
    compared = [word for arm in ARMS for word in ("--compare", str(out / f"predictions-{arm}"))]
    words = ["marsgen", "playground", str(out / "generator"), "--browse", str(out / "synth"), *compared]
    return [*words, "--ort", "package", "--out", str(out / "page")]


def run_demo(config: DemoConfig, out: Path) -> Path:
    """Run every command of the demo; finished ones are skipped by the commands themselves.

    Returns:
        the report to open.
    Raises:
        RunError: a command failed; its own message stands above.
    """
    for command in demo_commands(config, out):
        say(f"\n$ {shlex.join(command)}")
        # one process each, as if a user had typed the command
        done = subprocess.run([sys.executable, "-m", f"{command[0]}.cli", *command[1:]], check=False)
        if done.returncode != 0:
            raise RunError(f"the demo stopped at `{shlex.join(command[:2])}` (exit code {done.returncode}), see above")
    return out / "report" / "report.html"
