"""Good inputs of every kind, made once by the commands themselves; every bad input is a copy of one, changed."""

import os
import shutil
from functools import partial
from pathlib import Path

import answers
import numpy as np

from marsgen.core.runs import Run

ROOT = Path(__file__).parent.parent.parent
TINY_SEGMENTER = ("--set", "unet={width: 4, depth: 1}", "--set", "batch_size=4", "--set", "warmup_steps=1")
TINY_SEGMENTER += ("--set", "precision=fp32", "--set", "validate_every=2")
TINY_GENERATOR = ("--config", str(ROOT / "configs/tiny/train-generator.yaml"), "--set", "batch_size=2")
TINY_GENERATOR += ("--set", "generator_width=8", "--set", "discriminator_width=8", "--set", "crop_px=32")
TINY_DIFFUSION = ("--config", str(ROOT / "configs/tiny/diffusion.yaml"), "--set", "checkpoint_every=2")


def make(folder: Path) -> None:
    """Fill `folder`: train.npz, test.npz, png/, shards/, plain/ (a folder of pictures), generator/, diffusion/, runs,
    their evaluations, counts/ (of a study)."""
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    folder.mkdir(parents=True, exist_ok=True)
    for name, seed, count in (("train.npz", 5, 40), ("test.npz", 77, 10)):
        config = SimulationConfig(height=32, width=48, seed=seed, rock_scene_fraction=0.6, outlier_fraction=0)
        pairs = [simulate_scene(i, config) for i in range(count)]
        images, labels = (np.stack([pair[k] for pair in pairs]) for k in (0, 1))
        if name == "train.npz":
            content = {"training_set": np.stack([images[..., 0], labels], 1), "test_set": images[:4, ..., 0] // 2}
        else:
            content = {"images": images[..., 0], "labels": labels}
        np.savez_compressed(folder / name, **content)
    data, test = ("--data", "train.npz"), ("--data", "test.npz")
    paste = ("--generator", "copy-paste", *data, "--n", "20", "--set", "paste.min_region_px=4", "--set")
    paste += ("paste.min_visible_px=4", "--set", "paste.min_solidity=0.2", "--set", "paste.min_thickness=0.1")
    commands = [
        ("marsgen", "synthesize", *paste, "--out", "png"),
        ("marsgen", "synthesize", *paste, "--format", "shards", "--out", "shards"),
        ("marsgen", "train-generator", *data, *TINY_GENERATOR, "--set", "steps=2", "--out", "generator"),
        ("marsgen", "train-generator", *data, *TINY_DIFFUSION, "--set", "steps=2", "--out", "diffusion"),
        ("segmenter", "train", *data, *TINY_SEGMENTER, "--set", "steps=4", "--out", "run"),
        ("segmenter", "train", *data, *TINY_SEGMENTER, "--set", "steps=4", "--set", "seed=1", "--out", "run1"),
        ("segmenter", "train", *data, "--extra", "png", *TINY_SEGMENTER, "--set", "steps=4", "--out", "extra"),
        ("segmenter", "evaluate", "run", "run1", "extra", *test, "--set", "min_region_px=2"),
        ("marsgen", "export", "test.npz", "--out", "plain"),
    ]
    for words in commands:
        answer = answers.run(words, folder, after=partial(answers.list_modules, folder / ".modules"))
        assert answer.code == 0, f"{' '.join(words)}: {answer.err}"
    answers.import_listed(folder / ".modules")
    stopped = ("segmenter", "train", *data, *TINY_SEGMENTER, "--set", "steps=4", "--out", "stopped")
    answer = answers.run(stopped, folder, before=_stop_at_the_end)
    assert (folder / "stopped" / "last.safetensors").exists(), answer.err
    for name in ("DONE", "config.yaml", "environment.json", ".lock"):
        (folder / "plain" / name).unlink(missing_ok=True)
    shutil.copytree(ROOT / "docs" / "results" / "rocks_cpu" / "counts", folder / "counts")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.chmod(folder, 0o755)


def _stop_at_the_end() -> None:
    def stop(*_: object) -> None:
        os._exit(0)

    Run.finish = stop  # type: ignore[method-assign]


def copy(folder: Path, *names: str, into: Path) -> None:
    """Put materials where a case may change them."""
    for name in names:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, into / name, symlinks=True)
        else:
            shutil.copy2(folder / name, into / name)
