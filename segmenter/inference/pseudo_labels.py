"""`segmenter pseudo-label`: what trained networks are surest of in pictures without labels, as scenes to train on.

Each picture gets the likeliest class of the networks' mean probabilities. Of the pixels called a class, all over the
data set, the most confident share keeps its label and the others become ignored: each class has a threshold of its own,
so that a rare class is not swept away by one that suits the frequent ones. What networks trained with `void_weight`
take for a thing without a label (a rover, sky, far hills) gets none.
Source: class-balanced self-training, Zou et al. 2018, arXiv:1810.07911.

    images/ labels/    the pictures and their pseudo-labels, as PNG; classes.yaml
    synth.json         what the networks have seen: `segmenter train --extra` refuses what knows its held-out scenes
    answers/           while it runs: what the networks said, a file per batch
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from marsgen.core.errors import DataError, RunError
from marsgen.core.files import file_fingerprint, write_json, write_npy
from marsgen.core.runs import Run
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.folder import HEAD_FILE, write_classes, write_pair
from marsgen.scenes.scene import SceneSource
from segmenter.config import InferenceConfig, PseudoLabelConfig
from segmenter.inference.judge import read_trained_on
from segmenter.inference.predict import load_segmenter, predict_probs
from segmenter.training.batches import numbering, trained_on

BATCH = 16
"""pictures that go through a network together, the same neighbours whatever was killed when: a convolution may round
differently when the shape of its batch changes. Part of what a label is, so not a setting"""
LEVELS = 2**16
"""confidences are told apart in so many steps"""
ANSWERS = "answers"


@dataclass(frozen=True, eq=False)
class Teachers:
    """Finished runs of the same classes and channels that label together."""

    networks: tuple[nn.Module, ...]
    classes: ClassSet
    runs: tuple[dict[str, str], ...]
    """name and weights_fingerprint of each"""
    trained_on: tuple[str, ...]
    """keys of the scenes that any of them was trained on, or that its extras were grown from"""

    def ask(self, images: np.ndarray, how: InferenceConfig) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest class of the mean probabilities, the first of equally likely ones, and how likely it is.

        How likely it is that nothing there carries a label is the mean over the networks that have learned it
        (`void_weight`).


        Args:
            images: (B, H, W, channels) uint8.
            how: see `predict_probs`.
        Returns:
            (B, H, W) uint16 indices, C where no label is likeliest, and (B, H, W) uint16 confidences, in units of
            1/65535.
        """
        count = len(self.classes)
        known = np.zeros((len(images), count, *images.shape[1:3]), np.float32)
        no_label, knowing = np.zeros_like(known[:, 0]), 0
        for network in self.networks:
            probs = predict_probs(network, images, how)  # (B, C, H, W), or C + 1
            if probs.shape[1] > count:
                no_label, knowing = no_label + probs[:, count], knowing + 1
                probs = probs[:, :count] / probs[:, :count].sum(1, keepdims=True).clip(1e-12)
            known += probs
        known /= len(self.networks)
        if knowing:
            no_label /= knowing
            known *= 1 - no_label[:, None]
        mean = np.concatenate([known, no_label[:, None]], axis=1)
        confidence = np.rint(mean.max(1) * (LEVELS - 1)).clip(0, LEVELS - 1)
        return mean.argmax(1).astype(np.uint16), confidence.astype(np.uint16)


def open_teachers(folders: Sequence[Path], scenes: SceneSource) -> Teachers:
    """Load the runs that are to label `scenes`.

    Raises:
        RunError: no such run, not finished, damaged, or named twice.
        DataError: runs of other classes or channels than the first, or pictures of other channels.
    """
    networks: list[nn.Module] = []
    runs: list[dict[str, str]] = []
    known_scenes: set[str] = set()
    classes, channels = None, 0
    for number, folder in enumerate(folders):
        if folder.resolve() in {other.resolve() for other in folders[:number]}:
            raise RunError(f"{folder} is named twice; name each run once")
        network, known, record = load_segmenter(folder, keep_ignored=True)
        classes, channels = classes or known, channels or record["channels"]
        for what, there, here in (
            ("classes", numbering(known), numbering(classes)),
            ("channels", record["channels"], channels),
        ):
            if there != here:
                raise DataError(
                    f"{folder}: its {what} are {there}, those of {folders[0]} are {here}; "
                    "only runs of the same kind of data can label together"
                )
        networks.append(network)
        weights = file_fingerprint(folder / "best.safetensors")
        if twin := next((run["name"] for run in runs if run["weights_fingerprint"] == weights), None):
            raise RunError(f"{folder} has the weights of {twin}; a copy of a run would count twice, leave it out")
        runs.append({"name": folder.name, "weights_fingerprint": weights})
        known_scenes.update(read_trained_on(folder))
    assert classes is not None  # the command line asks for at least one
    if scenes.channels != channels:
        raise DataError(
            f"{scenes.location}: images of {scenes.channels} channels; {folders[0]} was trained on {channels}"
        )
    return Teachers(tuple(networks), classes, tuple(runs), tuple(sorted(known_scenes)))


def pseudo_label(config: PseudoLabelConfig, run: Run, teachers: Teachers, scenes: SceneSource) -> None:
    """Fill `run.folder` with pictures and pseudo-labels, going on where a killed run stopped, and finish the run.

    No picture is labelled twice, and memory does not grow with their number. A picture of which no pixel keeps its
    label is left out.

    Args:
        scenes: images, from `open_scenes(..., labelled=False)`; their label maps are not read.
    """
    answers = run.folder / ANSWERS
    if not run.finished:
        _write_head(config, run, teachers, scenes)
        with tqdm(desc="pseudo-label", unit=" images", total=len(scenes)) as bar:
            for batch, path in _batches(scenes, answers):
                if not path.exists():
                    images = np.stack([scenes.read(i)[0] for i in batch])
                    write_npy(path, np.stack(teachers.ask(images, config), axis=1))  # (B, 2, H, W) uint16
                bar.update(len(batch))
        called = count_levels(_read_answers(scenes, answers), len(teachers.classes) + 1)
        called, no_label = called[:-1], int(called[-1].sum())
        levels = choose_levels(called, config.keep)
        pairs = _write_pairs(run.folder, scenes, teachers.classes, levels)
        kept = [int(pixels[level:].sum()) for pixels, level in zip(called, levels, strict=True)]
        per_class = {
            name: {
                "called_px": int(pixels.sum()),
                "kept_px": px,
                "threshold": None if level == LEVELS else level / (LEVELS - 1),
            }
            for name, pixels, px, level in zip(teachers.classes.names, called, kept, levels.tolist(), strict=True)
        }
        summary = {"images": len(scenes), "pairs": pairs, "left_out": len(scenes) - pairs, "no_label_px": no_label}
        run.finish(summary | {"classes": per_class})
    shutil.rmtree(answers, ignore_errors=True)  # after DONE: a kill between the two asks nobody again


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What was kept, in words: a line for the pictures and one per class."""
    left_out = f", {summary['left_out']} left out: no pixel kept" if summary["left_out"] else ""
    lines = [f"{summary['pairs']} of {summary['images']} images{left_out}"]
    width = max(len(name) for name in summary["classes"])
    for name, of in summary["classes"].items():
        if not of["called_px"]:
            lines.append(f"{name:<{width}}  no pixel called it")
            continue
        share = of["kept_px"] / of["called_px"]
        lines.append(
            f"{name:<{width}}  kept {of['kept_px']:,} of {of['called_px']:,} px ({share:.1%}), "
            f"those of at least {of['threshold']:.3f}"
        )
    if summary.get("no_label_px"):
        lines.append(f"{summary['no_label_px']:,} px look as if they carried no label, and get none")
    return lines


# thresholds


def count_levels(answers: Iterator[tuple[range, np.ndarray]], num_classes: int) -> np.ndarray:
    """(C, LEVELS) int64: how many pixels were called each class with each confidence."""
    called = np.zeros(num_classes * LEVELS, np.int64)
    for _, answer in answers:
        places = answer[:, 0].astype(np.int64) * LEVELS + answer[:, 1]
        called += np.bincount(places.ravel(), minlength=len(called))
    return called.reshape(num_classes, LEVELS)


def choose_levels(called: np.ndarray, keep: float) -> np.ndarray:
    """The lowest confidence of each class that keeps its label.

    It is the highest that leaves at least `keep` of the pixels called the class, rounded up to a whole pixel. All
    pixels of just that confidence stay, so ties make the share larger, never smaller.

    Args:
        called: from `count_levels`.
        keep: in (0, 1].
    Returns:
        (C,) int64 in 0..65535; LEVELS where no pixel was called the class.
    """
    at_least = called[:, ::-1].cumsum(1)  # column i: pixels of confidence LEVELS - 1 - i and above
    # exact: as a float, 0.07 * 100 is more than 7
    wanted = [ceil(Fraction(str(keep)) * int(total)) for total in at_least[:, -1]]
    levels = [LEVELS - 1 - int(np.searchsorted(row, want)) for row, want in zip(at_least, wanted, strict=True)]
    return np.where(at_least[:, -1] > 0, levels, LEVELS)


# the folder


def _write_head(config: PseudoLabelConfig, run: Run, teachers: Teachers, scenes: SceneSource) -> None:
    write_classes(run.folder, teachers.classes)
    # synthetic pictures may be labelled too: then what they were grown from, and what drew them knew, counts as seen
    origins = [scenes.origin(index) for index in range(len(scenes))]
    behind = {*trained_on(Path(scenes.location)), *(key for origin in origins for key in origin.ancestors)}
    head = {
        "teachers": teachers.runs,
        "keep": config.keep,
        "data": {"fingerprint": scenes.fingerprint()},  # wherever it lies
        "synthetic": sum(origin.kind == "synthetic" for origin in origins),
        "shape": scenes.shape,
        "channels": scenes.channels,
        "trained_on": sorted({*teachers.trained_on, *behind}),
    }
    write_json(run.folder / HEAD_FILE, head)


def _batches(scenes: SceneSource, answers: Path) -> Iterator[tuple[range, Path]]:
    """Numbers of the pictures of each batch, and where its answer lies; one by one where sizes differ."""
    size = BATCH if scenes.shape is not None else 1
    for first in range(0, len(scenes), size):
        yield range(first, min(first + size, len(scenes))), answers / f"{first:08d}.npy"


def _read_answers(scenes: SceneSource, answers: Path) -> Iterator[tuple[range, np.ndarray]]:
    """Each batch with its (B, 2, H, W) uint16 answer: indices, confidences."""
    return ((batch, np.load(path, allow_pickle=False)) for batch, path in _batches(scenes, answers))


def _write_pairs(folder: Path, scenes: SceneSource, classes: ClassSet, levels: np.ndarray) -> int:
    """Write the pictures of which a pixel keeps its label; return how many."""
    written = 0
    for batch, answer in _read_answers(scenes, folder / ANSWERS):
        levels_of = np.append(levels, LEVELS)  # what looks as if it carried no label gets none
        indices = np.where(answer[:, 1] >= levels_of[answer[:, 0]], answer[:, 0], IGNORED_INDEX).astype(np.uint8)
        for number, labels in zip(batch, indices, strict=True):
            if (labels != IGNORED_INDEX).any():
                write_pair(folder, scenes.names[number], scenes.read(number)[0], classes.to_ids(labels), classes)
                written += 1
    return written
