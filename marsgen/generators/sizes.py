"""How large the windows of a GAN's training are and how many go into a step.

Both are settings; where they are left open they follow from the pictures and from the regions of the rare classes, so
that a step takes about the same time whatever the data: convolutions are nearly all of it, and they cost by the pixel.
"""

from dataclasses import dataclass

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.generators.config import TrainPix2PixConfig
from marsgen.generators.training import rare_indices, rare_scenes
from marsgen.scenes.geometry import connected_regions

STEP_PX = 16 * 64 * 128
"""pixels of a step, at most"""
BATCHES = (8, 32)
"""fewest and most windows of a step; a multiple of 4, so that several processes can share it"""
WHOLE_PX = 128
"""scenes with no longer side are learned from whole, larger windows are not cut"""
LEAST_PX, MULTIPLE_PX = 64, 16
CONTEXT_PX = 16
"""surroundings on each side of a region: what `marsgen synthesize` shows the generator"""
LEAST_REGION_PX = 16
"""smaller regions are crumbs of careless labels"""
COVERED = 0.9
"""share of the regions that fit into a window with their surroundings"""
MOST_SCENES = 64
"""scenes that are looked at, spread over all"""


@dataclass(frozen=True)
class Sizes:
    """What goes into a step."""

    crop_px: int
    batch_size: int
    why: str
    """in words; empty where both were set"""


def sizes_of(config: TrainPix2PixConfig, dataset: Dataset) -> Sizes:
    """The sizes that the config sets, and for those it leaves open the ones that suit the train part of the data."""
    if config.crop_px is not None and config.batch_size is not None:
        return Sizes(config.crop_px, config.batch_size, "")
    shapes, sides = _measure(dataset)
    height, width = (int(side) for side in np.median(shapes, axis=0))
    crop, reason = config.crop_px, "as set"
    if crop is None and shapes.max() <= WHOLE_PX:
        crop, reason = WHOLE_PX, "whole scenes"
    elif crop is None and not len(sides):
        crop, reason = WHOLE_PX, "no region of a rare class to go by"
    elif crop is None:
        wanted = float(np.quantile(sides, COVERED)) + 2 * CONTEXT_PX
        crop = int(np.clip(-(-wanted // MULTIPLE_PX) * MULTIPLE_PX, LEAST_PX, WHOLE_PX))
        names = " and ".join(dataset.scenes.classes.rare)
        fitting = np.mean(sides + 2 * CONTEXT_PX <= crop)
        reason = f"{fitting:.0%} of the regions of {names} fit with {CONTEXT_PX} px round them"
    high, wide = min(crop, height), min(crop, width)
    batch = config.batch_size
    if batch is None:
        batch = int(np.clip(STEP_PX // (high * wide) // 4 * 4, *BATCHES))
    return Sizes(crop, batch, f"windows of {high} x {wide} px ({reason}), {batch} a step")


def _measure(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) heights and widths of scenes, and the longer side of each region of a rare class in some that show one."""
    whole = dataset.scenes.shape
    if whole is not None and max(whole) <= WHOLE_PX:
        return np.array([whole]), np.empty(0)
    rare = rare_indices(dataset)
    sides: list[int] = []
    shapes: list[tuple[int, ...]] = []
    for chosen in (_spread(rare_scenes(dataset)), _spread(dataset.split.train) if whole is None else []):
        for index in chosen:
            indices = dataset.scenes[index].indices
            shapes.append(indices.shape)
            for name in rare:
                found = connected_regions(indices == name)
                sides += [max(box.shape) for pixels, box in found if pixels.sum() >= LEAST_REGION_PX]
    return np.array([whole] if whole is not None else shapes), np.array(sides)


def _spread(scenes: "list[int] | tuple[int, ...]") -> list[int]:
    return [scenes[int(place)] for place in np.linspace(0, len(scenes) - 1, min(len(scenes), MOST_SCENES))]
