"""How much of each class a data set holds: pixels, scenes, connected regions; and the class weights that follow."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from marsgen.cleaning.survey import Survey
from marsgen.core.errors import DataError
from marsgen.core.progress import ProgressBar
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import SceneSource


def class_weights(pixels: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Weights that make rare classes count: inverse class frequency to the given power.

    Args:
        pixels: (N, C + 1) pixels per training scene and class index; the last column, ignored, has no say.
        power: 1 gives every class the same total weight, 0 weights all classes alike.
    Returns:
        (C,) float32, mean 1 over the classes that occur; 0 for a class without a pixel, of which nothing can be learnt.
    Raises:
        DataError: no scene, or none with a labelled pixel.
    """
    counts = pixels[:, :-1].sum(0).astype(np.float64)
    present = counts > 0
    if not present.any():
        raise DataError(
            f"none of the {len(pixels)} training scenes has a labelled pixel; "
            "check that the class ids in the classes file are those of the label maps"
        )
    weights = np.zeros(len(counts))
    weights[present] = (counts[present] / counts.sum()) ** -power
    return (weights / weights[present].mean()).astype(np.float32)


@dataclass(frozen=True)
class ClassCount:
    """One row of the table of classes."""

    name: str
    pixels: int
    pixel_fraction: float
    """of all pixels, those without a label included; in 0..1"""
    scenes: int
    """scenes with at least one pixel of it"""


def count_classes(survey: Survey, names: Iterable[str], indices: Iterable[int]) -> list[ClassCount]:
    """Pixels and scenes of every class, and of "no label" in the last row.

    Args:
        names: of the C classes, in order of index.
        indices: the scenes to count.
    """
    pixels = survey.pixels[list(indices)]
    totals, scenes = pixels.sum(0), (pixels > 0).sum(0)
    whole = max(int(totals.sum()), 1)
    return [
        ClassCount(name, int(total), int(total) / whole, int(count))
        for name, total, count in zip([*names, "no label"], totals, scenes, strict=True)
    ]


def region_sizes(indices: np.ndarray, class_index: int) -> np.ndarray:
    """Sizes in pixels of the connected regions of one class in a (H, W) map of class indices: (R,) int64.

    Pixels that touch at a side or a corner are connected.
    """
    return label_regions(indices == class_index)[1][1:]


def count_regions(scenes: SceneSource, survey: Survey, indices: Iterable[int]) -> list[np.ndarray]:
    """Sizes in pixels of all connected regions of each class in the scenes named; progress goes to stderr.

    Returns:
        for each class index, (R,) int64 sizes in order of scene.
    """
    sizes: list[list[np.ndarray]] = [[] for _ in scenes.classes.names]
    for scene_index in ProgressBar(list(indices), desc="regions", unit=" scenes", leave=False):
        shown = np.flatnonzero(survey.shows[scene_index])
        class_map = scenes[scene_index].indices
        for class_index in shown:
            sizes[class_index].append(region_sizes(class_map, int(class_index)))
    return [np.concatenate([np.zeros(0, np.int64), *found]) for found in sizes]
