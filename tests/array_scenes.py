"""Scenes held in memory, with a split chosen by hand."""

from collections.abc import Sequence

import numpy as np
from listed_scenes import fingerprint_scenes

from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import Origin, SceneSource, scene_key
from marsgen.scenes.stated import mars_classes


class ArrayScenes(SceneSource):
    """(N, H, W, channels) images and (N, H, W) label ids as a data set; lists of arrays where sizes differ."""

    location = "arrays"

    def __init__(self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], classes: ClassSet | None = None):
        self.images, self.labels, self.classes = images, labels, classes or mars_classes()
        shapes = {image.shape for image in images}
        self.shape = next(iter(shapes))[:2] if len(shapes) == 1 else None
        self.channels = images[0].shape[2]
        self.names = [f"scene{i}" for i in range(len(images))]
        self.ancestors: dict[int, tuple[str, ...]] = {}

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def fingerprint(self) -> str:
        return scene_key(np.concatenate([image.ravel() for image in self.images]))

    def origin(self, index: int) -> Origin:
        return Origin("synthetic", self.ancestors[index]) if index in self.ancestors else Origin()


def dataset_of(scenes: SceneSource, train: Sequence[int], val: Sequence[int], test: Sequence[int] = ()):
    """A Dataset with this very split; only what training reads of a survey is filled in."""
    from marsgen.cleaning.dataset import Dataset
    from marsgen.cleaning.splits import Split
    from marsgen.cleaning.survey import Survey

    num_classes = len(scenes.classes)
    counts = [np.bincount(np.minimum(s.indices, num_classes).ravel(), minlength=num_classes + 1) for s in scenes]
    survey = Survey(
        keys=tuple(scene_key(scene.image) for scene in scenes),
        label_keys=tuple(scene_key(scene.labels) for scene in scenes),
        pixels=np.stack(counts).astype(np.int64),
        thumbnails=np.zeros((len(scenes), 4), np.float32),
        fingerprints=np.frombuffer(b"".join(fingerprint_scenes(scenes)), np.uint8).reshape(len(scenes), -1),
    )
    return Dataset(scenes=scenes, survey=survey, suspects={}, split=Split(tuple(train), tuple(val), tuple(test)))
