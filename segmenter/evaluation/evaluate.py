"""`segmenter evaluate`: score a network image by image; every score is computed from sums of the stored counts.

<run>/evaluations/<data>-<fingerprint>[-<part>]/
    counts.npy          (N, C, C) int32 pixels of each image; row = truth, column = prediction
    ignored.npy         (N,) int64 pixels of each image without a label
    regions.npy         one row (REGION) per true connected region of the rare classes, with its pixels hit
    false_alarms.npy    one row (REGION) per predicted region where there is nothing of the class
    margins.npy         (N, R, 2, BINS) pixels of each image and rare class by margin (inference/margins.py): labelled
                        with the class, other labelled pixels; uint16 where no image has 2**16 pixels, else uint32.
                        Only where a class is rare; evaluations of older versions have none
    names.json          name, group and content key of each image
    evaluation.json     the scores, the data's fingerprint, which part of it, the settings
    DONE                written last; without it the folder counts as unfinished
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.storage.files import filling_npy, write_json, write_npy
from marsgen.provenance import read_split_keys, refuse_seen_copies, refuse_seen_scene
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.confusion import confusion_matrices
from marsgen.scenes.scene import SceneSource, batches_of_one_shape, scene_key
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.margins import count_margins, ranked_classes
from segmenter.evaluation.reader import Evaluation, read_evaluation
from segmenter.evaluation.regions import REGION, false_alarms, region_classes, true_regions
from segmenter.evaluation.summary import summarise
from segmenter.inference.config import InferenceConfig
from segmenter.inference.margins import BINS
from segmenter.inference.picture_kind import check_kind
from segmenter.inference.prefetch import read_ahead

Predict = Callable[[np.ndarray], np.ndarray]
"""(B, H, W, channels) uint8 images -> (B, H, W) uint8 class indices"""
PredictWithMargins = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""the same, and (B, R, H, W) uint8 bins of the margins of the R rare classes"""


@dataclass(frozen=True)
class ChosenScenes:
    """Which scenes of a source are scored, and their content keys (see `scene_key`)."""

    part: str
    """"test", "val" or "train" of the run's own data, or "all" """
    indices: tuple[int, ...]
    keys: tuple[str, ...]


def choose_scenes(run: Run, source: SceneSource, part: str = "auto") -> ChosenScenes:
    """Choose the scenes to score, and refuse those that the run has seen, before any is predicted.

    Args:
        run: a finished `segmenter train` run; its split.json names what it has seen.
        part: see EvaluateConfig.part.
    Raises:
        DataError: the part does not exist, nothing in it has a label, or one of the scenes was seen (see
            `marsgen.provenance.refuse_seen_scene`).
    """
    split = read_split_keys(run.folder)
    own = source.fingerprint() == run.stored("inputs.data.fingerprint", str)
    if part == "auto":
        part = "test" if own else "all"
    if part != "all" and not own:
        raise DataError(
            f"{source.location} is not what {run.folder} was trained on, so it has no {part} part; use part=auto"
        )
    if part != "all" and not split.part(part):
        raise DataError(
            f"{run.folder} kept no {part} part of {source.location}; give labelled test data with --data, or name "
            "another part, for example --set part=val"
        )
    indices, keys, labelled_px = [], [], 0
    for index, scene in enumerate(ProgressBar(source, desc="checking scenes", unit="scene", leave=False)):
        key = scene_key(scene.image)
        if part == "all" or key in split.part(part):
            refuse_seen_scene(scene.name, key, part, split, run.folder)
            indices.append(index)
            keys.append(key)
            labelled_px += int((scene.labels != source.classes.ignored).sum())
    if part == "all" and not own:
        refuse_seen_copies(source, split, run.folder)
    if not labelled_px:
        raise DataError(f"{source.location}: {len(indices)} scenes to score and not one labelled pixel among them")
    return ChosenScenes(part, tuple(indices), tuple(keys))


def evaluation_folder(run: Run, source: SceneSource, part: str, inference: InferenceConfig | None = None) -> Path:
    """The folder of an evaluation; its name states data, part, and inference settings other than the default."""
    inference = inference or InferenceConfig()
    stem = source.location if source.location.startswith("sim:") else Path(source.location).stem
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in stem) or "data"
    name = f"{safe[:60]}-{source.fingerprint()[:8]}"
    name += f"-{part}" if part != "all" else ""
    name += "-flip" if inference.flip else ""
    name += f"-scales_{'_'.join(f'{scale:g}' for scale in inference.scales)}" if inference.scales != (1.0,) else ""
    name += f"-window_{inference.window[0]}x{inference.window[1]}_{inference.overlap:g}" if inference.window else ""
    return run.folder / "evaluations" / name


def evaluate_run(folder: Path, source: SceneSource, config: EvaluateConfig, out: Path | None = None) -> Evaluation:
    """Score the network of a finished `segmenter train` run on labelled scenes; see `choose_scenes` and `evaluate`."""
    run = Run.load(folder, "segmenter train")
    # here: torch takes seconds to import, and who reads evaluations does not need it
    from segmenter.inference.predict import load_segmenter, predict_with_margins

    network, classes, record = load_segmenter(folder)
    check_kind(source, folder, record["channels"], classes)
    chosen = choose_scenes(run, source, config.part)
    predict = partial(predict_with_margins, network, class_indices=ranked_classes(classes), inference=config)
    return evaluate(run, source, chosen, classes, predict, config, out)


def evaluate(
    run: Run,
    source: SceneSource,
    chosen: ChosenScenes,
    classes: ClassSet,
    predict: PredictWithMargins,
    config: EvaluateConfig,
    out: Path | None = None,
) -> Evaluation:
    """Score a network image by image; a killed evaluation starts again and ends with the same bytes.

    Args:
        run: the `segmenter train` run that `predict` belongs to.
        chosen: from `choose_scenes`.
        classes: the classes of the network's outputs.
        predict: images -> label maps of class indices, and bins of margins.
        out: folder to write; default: see `evaluation_folder`.
    Raises:
        DataError: the data have other classes than the network.
        RunError: the folder holds an evaluation with other settings.
    """
    # the same names may be listed in another order, with other ids
    source.classes = source.classes.ordered_like(classes)
    if source.classes.names != classes.names:
        raise DataError(
            f"{source.location} has the classes {', '.join(source.classes.names)}; {run.folder} was trained on "
            f"{', '.join(classes.names)}: give data of the same classes, or name them with --classes"
        )
    folder = out or evaluation_folder(run, source, chosen.part, config)
    inputs = {"fingerprint": source.fingerprint(), "part": chosen.part, "scenes": len(chosen.indices)}
    # part=auto and the part it stands for are the same run: the inputs say which part it is
    record = Run.start(folder, "segmenter evaluate", config, inputs, without_effect=("part",))
    if not record.finished:
        _score(source, chosen, classes, predict, config, folder)
        content = summarise(source, chosen.part, len(chosen.indices), classes, config, folder)
        write_json(folder / "evaluation.json", content)
        record.finish({"mean_iou": content["mean_iou"], "images": len(chosen.indices)})
    record.close()
    return read_evaluation(folder)


def _score(
    source: SceneSource,
    chosen: ChosenScenes,
    classes: ClassSet,
    predict: PredictWithMargins,
    config: EvaluateConfig,
    folder: Path,
) -> None:
    """Predict the scenes once and write everything that is counted per image."""
    number, ignored, found, alarms = 0, np.zeros(len(chosen.indices), np.int64), [], []
    shape, ranked = (len(chosen.indices), len(classes), len(classes)), ranked_classes(classes)
    with ExitStack() as files:
        counts = files.enter_context(filling_npy(folder / "counts.npy", shape, np.int32))
        if ranked:
            small = source.shape is not None and np.prod(source.shape) < 2**16
            shape_of_margins = (len(chosen.indices), len(ranked), 2, BINS)
            dtype = np.uint16 if small else np.uint32
            margins = files.enter_context(filling_npy(folder / "margins.npy", shape_of_margins, dtype))
        progress = files.enter_context(ProgressBar(total=len(chosen.indices), desc="evaluating", unit="img"))
        for scenes in read_ahead(batches_of_one_shape((source[index] for index in chosen.indices), config.batch_size)):
            predicted, bins = predict(np.stack([scene.image for scene in scenes]))  # (B, H, W), (B, R, H, W)
            truth = np.stack([scene.indices for scene in scenes])
            batch = slice(number, number + len(scenes))
            counts[batch] = confusion_matrices(truth, predicted, len(classes))
            if ranked:
                margins[batch] = count_margins(truth, bins, ranked)
            ignored[batch] = np.count_nonzero(truth == IGNORED_INDEX, axis=(1, 2))
            for position, pair in enumerate(zip(truth, predicted, strict=True), start=number):
                for c in region_classes(classes):
                    found.append(true_regions(*pair, c, image=position, min_region_px=config.min_region_px))
                    alarms.append(false_alarms(*pair, c, image=position, min_region_px=config.min_region_px))
            number += len(scenes)
            progress.update(len(scenes))
    write_npy(folder / "ignored.npy", ignored)
    write_npy(folder / "regions.npy", np.concatenate([np.zeros(0, REGION), *found]))
    write_npy(folder / "false_alarms.npy", np.concatenate([np.zeros(0, REGION), *alarms]))
    groups = None if source.groups is None else [source.groups[i] for i in chosen.indices]
    names = {"names": [source.names[i] for i in chosen.indices], "groups": groups, "keys": list(chosen.keys)}
    write_json(folder / "names.json", names)
