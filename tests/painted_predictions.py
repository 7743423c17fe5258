"""Predictions without a network: folders as `segmenter predict` leaves them, of label maps that a test chose."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import write_classes
from marsgen.scenes.sources import open_scenes
from segmenter.inference.config import PredictConfig
from segmenter.inference.predicted_files import write_labels


def paint_predictions(
    folder: Path,
    place: str,
    paint: Callable[[int, np.ndarray], np.ndarray],
    *,
    run: str = "absent",
    classes: ClassSet | None = None,
) -> Path:
    """Write a finished run of `segmenter predict`.

    Args:
        place: of the labelled scenes.
        paint: number of a scene, its (H, W) class indices with 255 for no label -> predicted class indices.
        run: of the network; where it is not there, nobody knows what it has seen.
        classes: of the network, in whatever order; default: those of the scenes.
    """
    scenes = open_scenes(place)
    known = classes or scenes.classes
    inputs = {"run": run, "weights_fingerprint": "0" * 16, "data": open_scenes(place, labelled=False).identity()}
    writing = Run.start(folder, "segmenter predict", PredictConfig(), inputs)
    write_classes(folder, known)
    order = np.array([known.index(name) for name in scenes.classes.names], np.uint8)
    for number, name in enumerate(scenes.names):
        predicted = order[paint(number, scenes[number].indices)]
        write_labels(folder / "labels", name, known.to_ids(predicted), known, None)
    writing.finish({"images": len(scenes), "format": "png", "wrote": "labels"})
    return folder
