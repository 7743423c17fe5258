"""A tiny world painted for tests of generators: sand, slab, and a bright rock in every third scene."""

from collections.abc import Callable

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.splits import Split
from marsgen.cleaning.survey import survey_scenes
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource

CLASSES = ClassSet(
    ("sand", "slab", "rock"), (3, 5, 8), ((9, 9, 9), (99, 99, 99), (200, 0, 0)), ignored=0, rare=("rock",)
)


class Painted(SceneSource):
    """Sand above slab (dark above bright, both noisy), a very bright rock in every third scene; left rim ignored."""

    location, classes = "painted", CLASSES

    def __init__(self, count: int, shapes: tuple[tuple[int, int], ...] = ((32, 48),), channels: int = 1) -> None:
        self.names = [f"scene {i}" for i in range(count)]
        self.shapes, self.channels = shapes, channels
        self.shape = shapes[0] if len(shapes) == 1 else None
        self.before_read: Callable[[int], None] = lambda index: None

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.before_read(index)
        rng = np.random.default_rng(index)
        shape = self.shapes[index % len(self.shapes)]
        labels = np.full(shape, 3, np.uint8)
        labels[int(rng.integers(10, 22)) :] = 5
        if index % 3 == 0:
            labels[14:24, 20:34] = 8
        light = np.select([labels == 3, labels == 5], [60.0, 140.0], 230.0)
        labels[:, :3] = 0
        image = (light + rng.normal(0, 6, shape)).clip(0, 255).astype(np.uint8)
        return np.repeat(image[..., None], self.channels, 2), labels

    def fingerprint(self) -> str:
        return "0" * 16


def painted_dataset(scenes: Painted, train_count: int) -> Dataset:
    split = Split(train=tuple(range(train_count)), val=tuple(range(train_count, len(scenes))), test=())
    return Dataset(scenes, survey_scenes(scenes), {}, split)


class Killed(BaseException):
    pass
