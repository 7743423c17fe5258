"""EVALUATION: one confusion matrix per image, kept on disk; every score is read off sums of them.

<run>/evaluations/<data>-<fingerprint>[-<part>]/
    counts.npy          (N, C, C) int32 pixels of each image; row = truth, column = prediction
    ignored.npy         (N,) int64 pixels of each image without a label
    regions.npy         one row (REGION) per true connected region of the rare classes, with its pixels hit
    false_alarms.npy    one row (REGION) per predicted region where there is nothing of the class
    names.json          name, group and content key of each image
    evaluation.json     the scores, the data's fingerprint, which part of it, the settings
    DONE                written last; without it the folder counts as not there
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from marsgen.core.errors import DataError, RunError
from marsgen.core.files import filling_npy, write_json, write_npy
from marsgen.core.runs import Run
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.confusion import (
    confusion_matrix,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
    precision_per_class,
    recall_per_class,
)
from marsgen.scenes.scene import Scene, SceneSource, batches_of_one_shape, scene_key
from segmenter.config import InferenceConfig
from segmenter.evaluation.regions import REGION, false_alarms, true_regions

Predict = Callable[[np.ndarray], np.ndarray]
"""(B, H, W, channels) uint8 images -> (B, H, W) uint8 class indices"""

CAUTION = {
    "train": "these scenes were trained on: the scores say what was memorised, not what is known",
    "val": "these scenes chose the checkpoint: the scores flatter a little",
}


class EvaluateConfig(InferenceConfig):
    """Settings of `segmenter evaluate`: how a trained network is scored."""

    part: Literal["auto", "test", "val", "train", "all"] = "auto"
    """which scenes: auto = the test part where the data are the run's own, else all of them"""
    batch_size: int = Field(64, ge=1)
    """images per call of the network"""
    found_fraction: float = Field(0.25, gt=0, le=1)
    """a rock counts as found when at least this share of its pixels was called rock"""
    min_region_px: int = Field(16, ge=1)
    """connected regions smaller than this are annotation crumbs: in no count of rocks, but in every IoU"""


@dataclass(frozen=True)
class ChosenScenes:
    """Which scenes of a source are scored, and their content keys (see `scene_key`)."""

    part: str
    """"test", "val" or "train" of the run's own data, or "all" """
    indices: tuple[int, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluation, read back from its folder."""

    folder: Path
    record: dict[str, Any]
    """evaluation.json"""
    classes: ClassSet
    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    keys: tuple[str, ...]
    counts: np.ndarray
    """(N, C, C) int32, left on disk and read as needed"""
    ignored: np.ndarray
    """(N,) int64"""
    regions: np.ndarray
    """(R,) REGION"""
    false_alarms: np.ndarray
    """(F,) REGION"""

    @property
    def scored_classes(self) -> list[int]:
        """Indices of the classes whose regions were looked for."""
        return region_classes(self.classes)

    def found(self) -> np.ndarray:
        """(R,) bool: which true regions count as found."""
        return found_regions(self.regions, self.record["settings"]["found_fraction"])


def region_classes(classes: ClassSet) -> list[int]:
    """Indices of the classes whose connected regions are counted: the rare ones, or all where none is named rare."""
    return [classes.index(name) for name in (classes.rare or classes.names)]


def found_regions(regions: np.ndarray, found_fraction: float) -> np.ndarray:
    """(R,) REGION -> (R,) bool: at least `found_fraction` of the region's pixels were called its class."""
    return regions["hit_px"] >= found_fraction * regions["area_px"]


def choose_scenes(run: Run, source: SceneSource, part: str = "auto") -> ChosenScenes:
    """Decide which scenes are scored, before the network sees one.

    Args:
        run: a finished `segmenter train` run; its split.json names what it saw.
        part: see EvaluateConfig.part.
    Raises:
        DataError: the part does not exist, nothing in it has a label, or one of the scenes (or a scene behind an
            extra one) was trained on.
    """
    split = read_split_keys(run)
    own = source.fingerprint() == run.inputs["data"]["fingerprint"]
    if part == "auto":
        part = "test" if own else "all"
    if part != "all" and not own:
        raise DataError(
            f"{source.location} is not what {run.folder} was trained on, so it has no {part} part; use part=auto"
        )
    if part != "all" and not split[part]:
        raise DataError(
            f"{run.folder} kept no {part} part of {source.location}; give labelled test data with --data, or name "
            "another part, for example --set part=val"
        )
    indices, keys, labelled_px = [], [], 0
    for index, scene in enumerate(tqdm(source, desc="checking scenes", unit="scene", leave=False)):
        key = scene_key(scene.image)
        if part == "all" or key in split[part]:
            _refuse_trained_on(scene, key, part, split, run)
            indices.append(index)
            keys.append(key)
            labelled_px += int((scene.labels != source.classes.ignored).sum())
    if not labelled_px:
        raise DataError(f"{source.location}: {len(indices)} scenes to score and not one labelled pixel among them")
    return ChosenScenes(part, tuple(indices), tuple(keys))


def read_split_keys(run: Run) -> dict[str, frozenset[str]]:
    """Content keys of the scenes in each part of a run's split; under "extra", those behind its extra scenes."""
    path = run.folder / "split.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: frozenset(content[part]) for part in ("train", "val", "test")}
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{path}: missing or damaged; `segmenter train` writes it, train this run again") from None
    return {**parts, "extra": frozenset(content.get("extra", ()))}


def _refuse_trained_on(scene: Scene, key: str, part: str, split: dict[str, frozenset[str]], run: Run) -> None:
    problem = ""
    if part != "train" and key in split["train"]:
        problem = "was trained on"
    elif part != "train" and key in split["extra"]:
        problem = "is one of the extra scenes that were trained on, or behind one,"
    elif part == "all" and key in split["val"]:
        problem = "chose the checkpoint"
    if problem:
        raise DataError(
            f"scene {scene.name} {problem} in {run.folder}; a score needs scenes it has not seen: give other data, "
            "or name a part of the run's own data, for example --set part=val"
        )


def evaluation_folder(run: Run, source: SceneSource, part: str, ask: InferenceConfig | None = None) -> Path:
    """Where the evaluation of `run` on this data is kept; its name says how the network was asked, where unusual."""
    ask = ask or InferenceConfig()
    stem = source.location if source.location.startswith("sim:") else Path(source.location).stem
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in stem) or "data"
    name = f"{safe[:60]}-{source.fingerprint()[:8]}"
    name += f"-{part}" if part != "all" else ""
    name += "-flip" if ask.flip else ""
    name += f"-scales_{'_'.join(f'{scale:g}' for scale in ask.scales)}" if ask.scales != (1.0,) else ""
    name += f"-window_{ask.window[0]}x{ask.window[1]}_{ask.overlap:g}" if ask.window else ""
    return run.folder / "evaluations" / name


def evaluate(
    run: Run,
    source: SceneSource,
    chosen: ChosenScenes,
    classes: ClassSet,
    predict: Predict,
    config: EvaluateConfig,
    out: Path | None = None,
    *,
    channels: int | None = None,
) -> Evaluation:
    """Score a network image by image; a killed evaluation is repeated from the start and ends with the same bytes.

    Args:
        run: the `segmenter train` run that `predict` belongs to.
        chosen: from `choose_scenes`.
        classes: what the network was trained to tell apart.
        predict: images -> label maps of class indices.
        out: folder to write; default: see `evaluation_folder`.
        channels: what the network takes, 1 or 3; None = whatever the data have.
    Raises:
        DataError: the data have other classes or channels than the network.
        RunError: the folder holds an evaluation with other settings.
    """
    # the same names may be listed in another order, with other ids
    source.classes = source.classes.ordered_like(classes)
    if source.classes.names != classes.names:
        raise DataError(
            f"{source.location} has the classes {', '.join(source.classes.names)}; {run.folder} was trained on "
            f"{', '.join(classes.names)}: give data of the same classes, or name them with --classes"
        )
    if channels not in (None, source.channels):
        raise DataError(
            f"{source.location}: images of {source.channels} channels; {run.folder} was trained on {channels}"
        )
    folder = out or evaluation_folder(run, source, chosen.part, config)
    inputs = {"fingerprint": source.fingerprint(), "part": chosen.part, "scenes": len(chosen.indices)}
    # part=auto and the part it stands for are the same run: the inputs say which part it is
    record = Run.start(folder, "segmenter evaluate", config, inputs, without_effect=("part",))
    if not record.finished:
        _score(source, chosen, classes, predict, config, folder)
        content = _summarise(source, chosen, classes, config, folder)
        write_json(folder / "evaluation.json", content)
        record.finish({"mean_iou": content["mean_iou"], "images": len(chosen.indices)})
    record.close()
    return read_evaluation(folder)


def _score(
    source: SceneSource, chosen: ChosenScenes, classes: ClassSet, predict: Predict, config: EvaluateConfig, folder: Path
) -> None:
    """Stream the scenes through the network once and write everything that is counted per image."""
    number, ignored, found, alarms = 0, np.zeros(len(chosen.indices), np.int64), [], []
    shape = (len(chosen.indices), len(classes), len(classes))
    with (
        filling_npy(folder / "counts.npy", shape, np.int32) as counts,
        tqdm(total=len(chosen.indices), desc="evaluating", unit="img") as progress,
    ):
        for scenes in batches_of_one_shape((source[index] for index in chosen.indices), config.batch_size):
            for scene, predicted in zip(scenes, predict(np.stack([s.image for s in scenes])), strict=True):
                truth = scene.indices
                counts[number] = confusion_matrix(truth, predicted, len(classes))
                ignored[number] = np.count_nonzero(truth == IGNORED_INDEX)
                for c in region_classes(classes):
                    found.append(true_regions(truth, predicted, c, image=number, min_region_px=config.min_region_px))
                    alarms.append(false_alarms(truth, predicted, c, image=number, min_region_px=config.min_region_px))
                number += 1
            progress.update(len(scenes))
    write_npy(folder / "ignored.npy", ignored)
    write_npy(folder / "regions.npy", np.concatenate([np.zeros(0, REGION), *found]))
    write_npy(folder / "false_alarms.npy", np.concatenate([np.zeros(0, REGION), *alarms]))
    groups = None if source.groups is None else [source.groups[i] for i in chosen.indices]
    names = {"names": [source.names[i] for i in chosen.indices], "groups": groups, "keys": list(chosen.keys)}
    write_json(folder / "names.json", names)


def _summarise(
    source: SceneSource, chosen: ChosenScenes, classes: ClassSet, config: EvaluateConfig, folder: Path
) -> dict[str, Any]:
    """The content of evaluation.json, from the files beside it."""
    confusion = sum_counts(np.load(folder / "counts.npy", mmap_mode="r"))
    ignored_px = int(np.load(folder / "ignored.npy").sum())
    regions, alarms = np.load(folder / "regions.npy"), np.load(folder / "false_alarms.npy")
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
        "part": chosen.part,
        "images": len(chosen.indices),
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


def read_evaluation(folder: Path) -> Evaluation:
    """Read a finished evaluation.

    Raises:
        RunError: not there, not finished, or damaged.
    """
    Run.load(folder, "segmenter evaluate")
    try:
        record = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        return Evaluation(
            folder=folder,
            record=record,
            classes=ClassSet.from_dict(record["classes"], str(folder / "evaluation.json")),
            names=tuple(names["names"]),
            groups=None if names["groups"] is None else tuple(names["groups"]),
            keys=tuple(names["keys"]),
            counts=np.load(folder / "counts.npy", mmap_mode="r", allow_pickle=False),
            ignored=np.load(folder / "ignored.npy", allow_pickle=False),
            regions=np.load(folder / "regions.npy", allow_pickle=False),
            false_alarms=np.load(folder / "false_alarms.npy", allow_pickle=False),
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{folder}: damaged evaluation ({problem}); delete the folder and evaluate again") from None


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The scores as lines of text: a table of the classes, then what is said once."""
    record = evaluation.record
    width = max(len("class"), *(len(s["class"]) for s in record["per_class"]))
    lines = [f"{'class':<{width}}    IoU %  precision %  recall %  regions found"]
    for s in record["per_class"]:
        regions = _regions_found(s) if "regions" in s else ""
        shares = f"{percent(s['iou']):>7}  {percent(s['precision']):>11}  {percent(s['recall']):>8}"
        row = f"{s['class']:<{width}}  {shares}  {regions}"
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
    """A share as a percentage with one decimal, without the sign; "-" where there is nothing to score."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _regions_found(scores: dict[str, Any]) -> str:
    if not scores["regions"]:
        return f"no region there, {scores['false_alarms']} false alarms"
    share = percent(scores["regions_found"] / scores["regions"])
    return (
        f"{scores['regions_found']} of {scores['regions']} ({share} %), "
        f"{scores['regions_touched']} touched, {scores['false_alarms']} false alarms"
    )
