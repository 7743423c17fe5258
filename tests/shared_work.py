"""What tests/test_torchrun.py has two processes do together; torchrun starts this file once for several checks.

Arguments: npz of scenes, folder to work in. Each process leaves notes-RANK.json there. The last command is cut short by
a kill, so torchrun ends with an error.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from test_flow import call

from marsgen.core.process_group import join_process_group
from marsgen.core.runs import Run

SEGMENTER = ["steps=6", "validate_every=3", "log_every=1", "batch_size=4", "unet.width=4", "precision=fp32"]
SEGMENTER += [
    "unet.depth=2",
    "unet.blocks=plain",
    "warmup_steps=2",
    "loss.dice=0.5",
    "rare_fraction=0.25",
    "patience=1",
    "best_metric=loss",
]
GENERATOR = ["steps=3", "batch_size=4", "log_every=1", "sample_every=3", "checkpoint_every=2", "precision=fp32"]
GENERATOR += ["generator_width=8", "discriminator_width=8"]


def train_words(data: Path, out: Path) -> list[str]:
    """The command line of the segmenter that all checks train."""
    return ["segmenter", "train", "--data", str(data), "--out", str(out), *settings(SEGMENTER)]


def generator_words(data: Path, out: Path) -> list[str]:
    """The command line of the generator that all checks train."""
    return ["marsgen", "train-generator", "--data", str(data), "--out", str(out), *settings(GENERATOR)]


def pairs_words(data: Path, out: Path) -> list[str]:
    """The command line of the pairs that all checks make."""
    where = ["--generator", "copy-paste", "--data", str(data), "--out", str(out)]
    return ["marsgen", "synthesize", "--class", "big_rock", *where, *settings(["n=72"])]


def settings(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    process_group = join_process_group()
    states: list[str] = []
    save = Run.save_checkpoint

    def noting(run: Run, step: int, tensors: dict, **record: object) -> None:
        """Networks, running averages, batch norm and optimizer as this process knows them."""
        state = b"".join(name.encode() + value.detach().numpy().tobytes() for name, value in sorted(tensors.items()))
        states.append(hashlib.blake2b(state + repr((step, record)).encode()).hexdigest())
        save(run, step, tensors, **record)

    Run.save_checkpoint = noting  # type: ignore[method-assign, assignment]
    codes = [
        call(*train_words(data, folder / "segmenter")),
        call(*generator_words(data, folder / "generator")),
        call(*pairs_words(data, folder / "pairs")),
        call(*train_words(data, folder / "odd"), *settings(["batch_size=3"])),
    ]
    notes = {"processes": process_group.num_processes, "codes": codes, "states": states}
    (folder / f"notes-{process_group.process_index}.json").write_text(json.dumps(notes))
    process_group.wait_for_everyone()

    def dying(run: Run, step: int, tensors: dict, **record: object) -> None:
        save(run, step, tensors, **record)
        if process_group.is_main_process:
            os.kill(os.getpid(), signal.SIGKILL)

    Run.save_checkpoint = dying  # type: ignore[method-assign, assignment]
    call(*train_words(data, folder / "killed"))


if __name__ == "__main__":
    main()
