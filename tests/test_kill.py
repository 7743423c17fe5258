"""kill -9 in the middle of a training command, then the same command: the files of an undisturbed run, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

COMMANDS = {
    "marsgen train-generator": ["steps=16", "checkpoint_every=4", "sample_every=8", "log_every=2"],
    "segmenter train": ["steps=24", "validate_every=6", "log_every=2"],
}


def arguments(command: str, data: Path, out: Path) -> list[str]:
    program, verb = command.split()
    config = ROOT / "configs" / "tiny" / ("segmenter.yaml" if program == "segmenter" else "train-generator.yaml")
    words = [
        sys.executable,
        "-m",
        f"{program}.cli",
        verb,
        "--data",
        str(data),
        "--config",
        str(config),
        "--out",
        str(out),
    ]
    return words + [word for setting in COMMANDS[command] for word in ("--set", setting)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_training_command_goes_on_to_the_same_bytes(command, tiny_npz, tmp_path):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    victim = subprocess.Popen(arguments(command, tiny_npz, tmp_path / "killed"), **quiet)  # type: ignore[call-overload]
    checkpoint, deadline = tmp_path / "killed" / "last.safetensors", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)  # some steps into what will have to be done again
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "DONE").exists()

    for folder in ("killed", "whole"):
        done = subprocess.run(
            arguments(command, tiny_npz, tmp_path / folder), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
