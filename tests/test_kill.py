"""kill -9 in the middle of a training command, then the same command: the files of an undisturbed run, bit for bit."""

import time
from pathlib import Path

import forked_commands
import pytest

ROOT = Path(__file__).parent.parent

COMMANDS = {
    "marsgen train-generator": [
        "steps=9",
        "checkpoint_every=3",
        "sample_every=9",
        "batch_size=4",
        "generator_width=8",
        "discriminator_width=8",
    ],
    "segmenter train": ["steps=18", "validate_every=6", "batch_size=4", "unet.width=4"],
}


def arguments(command: str, data: Path, out: Path) -> list[str]:
    program, verb = command.split()
    config = ROOT / "configs" / "tiny" / ("segmenter.yaml" if program == "segmenter" else "train-generator.yaml")
    words = [program, verb, "--data", str(data), "--config", str(config), "--out", str(out)]
    return words + [word for setting in COMMANDS[command] for word in ("--set", setting)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_training_command_goes_on_to_the_same_bytes(command, tiny_npz, tmp_path):
    victim = forked_commands.start(*arguments(command, tiny_npz, tmp_path / "killed"))
    checkpoint, deadline = tmp_path / "killed" / "last.safetensors", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)  # some steps into what will have to be done again
    victim.kill()
    victim.join()
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "DONE").exists()

    for folder in ("killed", "whole"):
        words = arguments(command, tiny_npz, tmp_path / folder)
        assert forked_commands.run(*words, stderr=tmp_path / "said") == 0, (tmp_path / "said").read_text()
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
