"""The whole flow on simulated scenes, small: the same commands that a user would type, one after another."""

import shlex
import subprocess
import sys
from pathlib import Path

from marsgen.config import configs_folder
from marsgen.console import say
from marsgen.errors import RunError

TRAINING_DATA = "sim:400,rocks=0.1"
TEST_DATA = "sim:300,seed=1,rocks=0.3,outliers=0"
SEEDS = (0, 1)


def demo_commands(out: Path) -> list[list[str]]:
    """The commands of the demo, in order; all they write lies under `out`."""
    tiny = configs_folder() / "tiny"
    train, recipe = ["marsgen", "train-generator", "--data", TRAINING_DATA], ["--config", str(tiny / "segmenter.yaml")]
    generator, synth = str(out / "generator"), str(out / "synth")
    commands = [
        [
            "marsgen",
            "inspect",
            "--data",
            TRAINING_DATA,
            "--config",
            str(tiny / "inspect.yaml"),
            "--out",
            str(out / "inspect"),
        ],
        [*train, "--config", str(tiny / "train-generator.yaml"), "--out", generator],
        ["marsgen", "synthesize", "--class", "big_rock", "--n", "300", "--generator", generator, "--out", synth],
    ]
    runs = []
    for arm, extra in (("real", []), ("pix2pix", ["--extra", synth])):
        for seed in SEEDS:
            runs.append(str(out / f"segmenter-{arm}-seed{seed}"))
            commands.append(
                [
                    "segmenter",
                    "train",
                    "--data",
                    TRAINING_DATA,
                    *extra,
                    "--set",
                    f"seed={seed}",
                    *recipe,
                    "--out",
                    runs[-1],
                ]
            )
    commands += [
        ["segmenter", "evaluate", *runs, "--data", TEST_DATA],
        ["segmenter", "compare", *runs, "--out", str(out / "compare")],
        ["segmenter", "predict", runs[-1], "--data", "sim:8,seed=2", "--out", str(out / "predictions")],
        ["segmenter", "report", *runs, "--out", str(out / "report")],
    ]
    return commands


def run_demo(out: Path) -> None:
    """Run every command of the demo; one that is finished already is passed over in a moment.

    Raises:
        RunError: a command failed; its own message stands above.
    """
    for command in demo_commands(out):
        say(f"\n$ {shlex.join(command)}")
        # a process each, through `-m`, so that the demo takes the very path of a user's own commands
        done = subprocess.run([sys.executable, "-m", f"{command[0]}.cli", *command[1:]], check=False)
        if done.returncode != 0:
            raise RunError(f"the demo stopped at `{shlex.join(command[:2])}` (exit code {done.returncode}), see above")
    say(f"\nopen {out / 'report' / 'report.html'}")
