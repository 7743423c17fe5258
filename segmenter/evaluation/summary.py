"""The scores of an evaluation, computed from its counts: as json and as lines of text."""

from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.storage.arrays import read_npy
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import (
    iou_per_class,
    mean_iou,
    pixel_accuracy,
    precision_per_class,
    recall_per_class,
)
from marsgen.scenes.scene import SceneSource
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.reader import Evaluation
from segmenter.evaluation.regions import REGION, found_regions, region_classes

CAUTION = {
    "train": "these scenes were trained on: the scores say what was memorised, not what is known",
    "val": "these scenes chose the checkpoint: the scores flatter a little",
}


def summarise(
    source: SceneSource, part: str, images: int, classes: ClassSet, config: EvaluateConfig, folder: Path
) -> dict[str, Any]:
    """The content of evaluation.json, computed from the files beside it."""
    counts = read_npy(folder / "counts.npy", np.int32, (images, len(classes), len(classes)), mapped=True)
    confusion = sum_counts(counts)
    ignored_px = int(read_npy(folder / "ignored.npy", np.int64, (images,)).sum())
    regions, alarms = (read_npy(folder / f"{name}.npy", REGION, (None,)) for name in ("regions", "false_alarms"))
    iou, precision, recall = iou_per_class(confusion), precision_per_class(confusion), recall_per_class(confusion)
    found = found_regions(regions, config.found_fraction)
    per_class = []
    for c, name in enumerate(classes.names):
        scores: dict[str, Any] = {"class": name, "iou": iou[c], "precision": precision[c], "recall": recall[c]}
        scores |= {"true_px": confusion[c].sum(), "predicted_px": confusion[:, c].sum()}
        if c in region_classes(classes):
            of_class = regions["class_index"] == c
            scores |= {
                "regions": np.count_nonzero(of_class),
                "regions_found": np.count_nonzero(of_class & found),
                "regions_touched": np.count_nonzero(of_class & (regions["hit_px"] > 0)),
                "false_alarms": np.count_nonzero(alarms["class_index"] == c),
            }
        per_class.append(scores)
    return {
        "data": {"location": source.location, "fingerprint": source.fingerprint()},
        "part": part,
        "images": images,
        "settings": config.model_dump(mode="json"),
        "mean_iou": mean_iou(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "pixel_accuracy_ignored_wrong": pixel_accuracy(confusion, ignored_px),
        "ignored_px": ignored_px,
        "per_class": per_class,
        "classes": classes.to_dict(),
    }


def sum_counts(counts: np.ndarray) -> np.ndarray:
    """(N, C, C) counts on disk -> (C, C) int64, read in blocks."""
    total = np.zeros(counts.shape[1:], np.int64)
    for start in range(0, len(counts), 1024):
        total += counts[start : start + 1024].sum(0, dtype=np.int64)
    return total


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The scores as lines of text: a table of the classes, then what concerns all of them."""
    record = evaluation.record
    width = max(len("class"), *(len(s["class"]) for s in record["per_class"]))
    lines = [f"{'class':<{width}}    IoU %  precision %  recall %  regions found"]
    for s in record["per_class"]:
        regions = _regions_found(s) if "regions" in s else ""
        scores = f"{percent(s['iou']):>7}  {percent(s['precision']):>11}  {percent(s['recall']):>8}"
        row = f"{s['class']:<{width}}  {scores}  {regions}"
        lines.append(row.rstrip())
    lines.append(
        f"mean IoU {percent(record['mean_iou'])} %   "
        f"pixel accuracy {percent(record['pixel_accuracy'])} % of labelled pixels, "
        f"{percent(record['pixel_accuracy_ignored_wrong'])} % where unlabelled pixels count as wrong"
    )
    settings = record["settings"]
    lines.append(
        f"found: at least {settings['found_fraction']:.0%} of a region's pixels; "
        f"regions under {settings['min_region_px']} px are left out"
    )
    part = "all scenes" if record["part"] == "all" else f"its {record['part']} part"
    lines.append(f"{record['images']} images of {record['data']['location']} ({part})")
    if record["part"] in CAUTION:
        lines.append(f"note: {CAUTION[record['part']]}")
    return lines


def percent(value: float | None) -> str:
    """A fraction as a percentage with one decimal, without the sign; "-" where there is nothing to score."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _regions_found(scores: dict[str, Any]) -> str:
    if not scores["regions"]:
        return f"no region there, {scores['false_alarms']} false alarms"
    fraction = percent(scores["regions_found"] / scores["regions"])
    return (
        f"{scores['regions_found']} of {scores['regions']} ({fraction} %), "
        f"{scores['regions_touched']} touched, {scores['false_alarms']} false alarms"
    )
