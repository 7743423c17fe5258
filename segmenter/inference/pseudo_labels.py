"""`segmenter pseudo-label`: the most confident predictions of trained networks, as scenes to train on.

Each picture gets the likeliest class of the networks' mean probabilities. Of the pixels predicted as a class, over the
whole data set, the most confident fraction keeps its label and the others become ignored. Each class has its own
threshold, since one that suits frequent classes would remove a rare one. Pixels that networks trained with
`void_weight` predict to have no label (a rover, sky, far hills) get none.
Source: class-balanced self-training, Zou et al. 2018, arXiv:1810.07911.

    images/ labels/    the pictures and their pseudo-labels, as PNG; classes.yaml
    synth.json         the teachers and every scene that they have seen (see marsgen/provenance/)
    predictions/       while it runs: a file per batch
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

from marsgen.core.errors import DataError, RunError
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.storage.arrays import read_npy
from marsgen.core.storage.files import file_fingerprint, write_npy
from marsgen.provenance import read_set_head, read_split_keys, set_trained_on, write_set_head
from marsgen.provenance.data_card import DataCard, write_data_card
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.readers.folder import write_classes, write_pair
from marsgen.scenes.scene import SceneSource
from segmenter.inference.config import InferenceConfig, PseudoLabelConfig
from segmenter.inference.picture_kind import check_kind
from segmenter.inference.predict import load_segmenter, predict_probs
from segmenter.networks.wrappers import Reordered

BATCH = 16
"""pictures per forward pass. Not a setting, and the same batches after a kill: convolutions may round differently for
another batch size, which would change the labels"""
LEVELS = 2**16
"""number of confidence levels: confidences are stored as uint16"""
PREDICTIONS = "predictions"


@dataclass(frozen=True, eq=False)
class Teachers:
    """Finished runs of the same classes and channels whose probabilities are averaged."""

    networks: tuple[nn.Module, ...]
    classes: ClassSet
    runs: tuple[dict[str, str], ...]
    """name and weights_fingerprint of each"""
    trained_on: tuple[str, ...]
    """keys of the scenes that any of them has seen; see `SplitKeys.trained_on`"""

    def predict(self, images: np.ndarray, inference: InferenceConfig) -> tuple[np.ndarray, np.ndarray]:
        """The class of the highest mean probability, the first of equal ones, and that probability.

        The probability of "no label" is the mean over the networks that were trained with `void_weight`.

        Args:
            images: (B, H, W, channels) uint8.
            inference: see `predict_probs`.
        Returns:
            (B, H, W) uint16 indices, C where "no label" is likeliest, and (B, H, W) uint16 confidences in units of
            1/65535.
        """
        count = len(self.classes)
        known = np.zeros((len(images), count, *images.shape[1:3]), np.float32)
        no_label, with_void = np.zeros_like(known[:, 0]), 0
        for network in self.networks:
            probs = predict_probs(network, images, inference)  # (B, C, H, W), or C + 1
            if probs.shape[1] > count:
                no_label, with_void = no_label + probs[:, count], with_void + 1
                probs = probs[:, :count] / probs[:, :count].sum(1, keepdims=True).clip(1e-12)
            known += probs
        known /= len(self.networks)
        if with_void:
            no_label /= with_void
            known *= 1 - no_label[:, None]
        mean = np.concatenate([known, no_label[:, None]], axis=1)
        confidence = np.rint(mean.max(1) * (LEVELS - 1)).clip(0, LEVELS - 1)
        return mean.argmax(1).astype(np.uint16), confidence.astype(np.uint16)


def open_teachers(folders: Sequence[Path], scenes: SceneSource) -> Teachers:
    """Load the runs that will label `scenes`.

    Raises:
        RunError: no such run, not finished, damaged, or named twice.
        DataError: runs of classes of other names or of other channels than the first, or pictures of other channels.
    """
    networks: list[nn.Module] = []
    runs: list[dict[str, str]] = []
    seen: set[str] = set()
    classes, channels = None, 0
    for number, folder in enumerate(folders):
        if folder.resolve() in {other.resolve() for other in folders[:number]}:
            raise RunError(f"{folder} is named twice; name each run once")
        network, known, record = load_segmenter(folder, keep_void=True)
        classes, channels = classes or known, channels or record["channels"]
        order = known.order_of(classes)
        for what, there, here in (
            ("classes", ", ".join(known.names), ", ".join(classes.names if order is None else known.names)),
            ("channels", record["channels"], channels),
        ):
            if there != here:
                raise DataError(
                    f"{folder}: its {what} are {there}, those of {folders[0]} are {here}; "
                    "only runs of the same kind of data can label together"
                )
        assert order is not None
        networks.append(network if known.names == classes.names else Reordered(network, order))
        weights = file_fingerprint(folder / "best.safetensors")
        if twin := next((run["name"] for run in runs if run["weights_fingerprint"] == weights), None):
            raise RunError(f"{folder} has the weights of {twin}; a copy of a run would count twice, leave it out")
        runs.append({"name": folder.name, "weights_fingerprint": weights})
        seen.update(read_split_keys(folder).trained_on)
    assert classes is not None  # the command line asks for at least one
    check_kind(scenes, folders[0], channels, classes)
    return Teachers(tuple(networks), classes, tuple(runs), tuple(sorted(seen)))


def pseudo_label(config: PseudoLabelConfig, run: Run, teachers: Teachers, scenes: SceneSource) -> None:
    """Fill `run.folder` with pictures and pseudo-labels and finish the run; a killed run is resumed.

    No picture is predicted twice, and memory does not grow with their number. A picture in which no pixel keeps its
    label is left out.

    Args:
        scenes: images, from `open_scenes(..., labelled=False)`; their label maps are not read.
    """
    predictions = run.folder / PREDICTIONS
    if not run.finished:
        _write_head(config, run, teachers, scenes)
        with ProgressBar(desc="pseudo-label", unit=" images", total=len(scenes)) as bar:
            for batch, path in _batches(scenes, predictions):
                if not path.exists():
                    images = np.stack([scenes.read(i)[0] for i in batch])
                    write_npy(path, np.stack(teachers.predict(images, config), axis=1))  # (B, 2, H, W) uint16
                bar.update(len(batch))
        *predicted, no_label = count_confidences(
            _read_predictions(scenes, predictions, len(teachers.classes)), len(teachers.classes) + 1
        )
        thresholds = choose_thresholds(np.array(predicted), config.keep)
        pairs = _write_pairs(run.folder, scenes, teachers.classes, thresholds)
        per_class = {
            name: {
                "called_px": int(pixels.sum()),
                "kept_px": int(pixels[threshold:].sum()),
                "threshold": None if threshold == LEVELS else threshold / (LEVELS - 1),
            }
            for name, pixels, threshold in zip(teachers.classes.names, predicted, thresholds.tolist(), strict=True)
        }
        counts = {"images": len(scenes), "pairs": pairs, "left_out": len(scenes) - pairs}
        write_data_card(run.folder, _card(run.folder, teachers, scenes, pairs))
        run.finish(counts | {"no_label_px": int(no_label.sum()), "classes": per_class})
    shutil.rmtree(predictions, ignore_errors=True)  # after DONE: a kill between the two repeats no prediction


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What was kept, in words: a line for the pictures and one for each class."""
    left_out = f", {summary['left_out']} left out: no pixel kept" if summary["left_out"] else ""
    lines = [f"{summary['pairs']} of {summary['images']} images{left_out}"]
    width = max(len(name) for name in summary["classes"])
    for name, of in summary["classes"].items():
        if not of["called_px"]:
            lines.append(f"{name:<{width}}  no pixel predicted")
            continue
        fraction = of["kept_px"] / of["called_px"]
        lines.append(
            f"{name:<{width}}  kept {of['kept_px']:,} of {of['called_px']:,} px ({fraction:.1%}), "
            f"confidence {of['threshold']:.3f} and above"
        )
    if summary["no_label_px"]:
        lines.append(f"{summary['no_label_px']:,} px predicted to have no label, left without one")
    return lines


# thresholds


def count_confidences(predictions: Iterator[tuple[range, np.ndarray]], num_classes: int) -> np.ndarray:
    """(C, LEVELS) int64: how many pixels were predicted as each class with each confidence."""
    counts = np.zeros(num_classes * LEVELS, np.int64)
    for _, prediction in predictions:
        bins = prediction[:, 0].astype(np.int64) * LEVELS + prediction[:, 1]
        counts += np.bincount(bins.ravel(), minlength=len(counts))
    return counts.reshape(num_classes, LEVELS)


def choose_thresholds(counts: np.ndarray, keep: float) -> np.ndarray:
    """The lowest confidence of each class that keeps its label.

    It is the highest that leaves at least the fraction `keep` of the pixels, rounded up to a whole pixel. All pixels of
    just that confidence stay, so ties make the fraction larger, never smaller.

    Args:
        counts: (C, LEVELS), from `count_confidences`.
        keep: in (0, 1].
    Returns:
        (C,) int64 in 0..65535; LEVELS for a class without a pixel.
    """
    at_least = counts[:, ::-1].cumsum(1)  # column i: pixels of confidence LEVELS - 1 - i and above
    # exact: as a float, 0.07 * 100 is more than 7
    wanted = [ceil(Fraction(str(keep)) * int(total)) for total in at_least[:, -1]]
    thresholds = [LEVELS - 1 - int(np.searchsorted(row, want)) for row, want in zip(at_least, wanted, strict=True)]
    return np.where(at_least[:, -1] > 0, thresholds, LEVELS)


# the folder


def _card(folder: Path, teachers: Teachers, scenes: SceneSource, pairs: int) -> DataCard:
    return DataCard(
        "Pictures with predicted labels",
        teachers.classes,
        pairs,
        scenes.shape,
        scenes.channels,
        source=scenes.identity(),
        head=read_set_head(folder),
    )


def _write_head(config: PseudoLabelConfig, run: Run, teachers: Teachers, scenes: SceneSource) -> None:
    write_classes(run.folder, teachers.classes)
    # synthetic pictures may be labelled too: what they were made from, and what their makers have seen, counts as seen
    origins = [scenes.origin(index) for index in range(len(scenes))]
    ancestors = {key for origin in origins for key in origin.ancestors}
    head = {
        "teachers": teachers.runs,
        "keep": config.keep,
        "data": {"fingerprint": scenes.fingerprint()},  # wherever it lies
        "synthetic": sum(origin.kind == "synthetic" for origin in origins),
        "shape": scenes.shape,
        "channels": scenes.channels,
    }
    write_set_head(run.folder, head, teachers.trained_on, set_trained_on(Path(scenes.location)), ancestors)


def _batches(scenes: SceneSource, predictions: Path) -> Iterator[tuple[range, Path]]:
    """Numbers of the pictures of each batch, and its prediction file; one by one where sizes differ."""
    size = BATCH if scenes.shape is not None else 1
    for first in range(0, len(scenes), size):
        yield range(first, min(first + size, len(scenes))), predictions / f"{first:08d}.npy"


def _read_predictions(scenes: SceneSource, predictions: Path, num_classes: int) -> Iterator[tuple[range, np.ndarray]]:
    """Each batch with its (B, 2, H, W) uint16 prediction: indices, `num_classes` = no label; confidences."""
    for batch, path in _batches(scenes, predictions):
        found = read_npy(path, np.uint16, (len(batch), 2, None, None), RunError)
        if found[:, 0].max(initial=0) > num_classes:
            raise RunError(f"{path}: a class that is none; delete it and repeat the command")
        yield batch, found


def _write_pairs(folder: Path, scenes: SceneSource, classes: ClassSet, thresholds: np.ndarray) -> int:
    """Write the pictures in which a pixel keeps its label; return how many."""
    written = 0
    threshold_of = np.append(thresholds, LEVELS)  # pixels predicted to have no label get none
    for batch, prediction in _read_predictions(scenes, folder / PREDICTIONS, len(classes)):
        found, confidence = prediction[:, 0], prediction[:, 1]
        indices = np.where(confidence >= threshold_of[found], found, IGNORED_INDEX).astype(np.uint8)
        for number, labels in zip(batch, indices, strict=True):
            if (labels != IGNORED_INDEX).any():
                write_pair(folder, scenes.names[number], scenes.read(number)[0], classes.to_ids(labels), classes)
                written += 1
    return written
