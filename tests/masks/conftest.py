"""A meadow with trees and boulders under an unlabelled sky: RGB, three classes, nothing to do with Mars."""

from collections.abc import Callable

import numpy as np
import pytest
from pasting import cut_regions, rock_settings

from marsgen.masks.regions import RegionLibrary
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource, scene_key

MEADOW, TREE, BOULDER, SKY = 7, 3, 200, 9
CLASSES = ClassSet(("meadow", "tree", "boulder"), (MEADOW, TREE, BOULDER), ((0, 90, 0), (0, 200, 0), (90, 90, 90)), SKY)


class Painted(SceneSource):
    """Scenes held in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: ClassSet = CLASSES) -> None:
        self.images, self.labels, self.classes = images, labels, classes
        self.location, self.channels, self.shape = "painted", images.shape[-1], labels.shape[1:]
        self.names = [f"field-{i}" for i in range(len(images))]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def fingerprint(self) -> str:
        return scene_key(self.images)


def paint_disc(labels: np.ndarray, row: float, column: float, radius: float, class_id: int) -> None:
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    labels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = class_id


def colour(labels: np.ndarray, rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """An image of a label map: one brightness per class, and noise."""
    level = np.zeros(256)
    level[[MEADOW, TREE, BOULDER, SKY]] = 90, 40, 150, 220
    noise = rng.normal(0, 6, (*labels.shape, channels))
    return np.clip(level[labels][..., None] + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def paint() -> Callable[..., Painted]:
    """Function (label maps (N, H, W), channels=3) -> Painted scenes that show them."""

    def make(labels: np.ndarray, channels: int = 3, seed: int = 0) -> Painted:
        return Painted(colour(labels, np.random.default_rng(seed), channels), labels)

    return make


@pytest.fixture(scope="session")
def fields() -> Painted:
    """24 scenes of 72 x 96: sky in the upper 18 rows, meadow below; the first 6 hold a boulder, the next 4 a tree."""
    labels = np.full((24, 72, 96), MEADOW, np.uint8)
    labels[:, :18] = SKY
    for i in range(6):
        paint_disc(labels[i], 40 + 3 * i, 25 + 8 * i, 5 + 0.7 * i, BOULDER)
    paint_disc(labels[5], 71, 20, 9, BOULDER)  # cut off below
    for i in range(6, 10):
        labels[i, 30 + i : 48 + i, 20 + i : 28 + i] = TREE
    return Painted(colour(labels, np.random.default_rng(1)), labels)


@pytest.fixture(scope="session")
def boulders(fields: Painted) -> RegionLibrary:
    """The boulders of `fields`, cut with the default config."""
    return cut_regions(fields, range(len(fields)), ["boulder"], rock_settings())
