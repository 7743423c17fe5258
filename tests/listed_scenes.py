"""A data set made of arrays that a test wrote down."""

from collections.abc import Sequence

import numpy as np

from marsgen.cleaning.fingerprints import fingerprint_picture
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource, scene_key

TERRAINS = ClassSet(
    names=("soil", "bedrock", "sand", "big_rock"),
    ids=(1, 2, 3, 4),
    colours=((170, 120, 70), (120, 150, 200), (230, 200, 120), (220, 40, 40)),
    ignored=0,
    rare=("big_rock",),
)


class ListedScenes(SceneSource):
    """Scenes in memory; images (H, W) or (H, W, channels) uint8, label maps (H, W) uint8 ids of TERRAINS."""

    location = "listed"
    classes = TERRAINS

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray] | None = None,
        groups: Sequence[str] | None = None,
        parts: Sequence[str] | None = None,
    ) -> None:
        self.images = [image if image.ndim == 3 else image[..., None] for image in images]
        self.labels = labels if labels is not None else [np.ones(i.shape[:2], np.uint8) for i in self.images]
        self.channels = self.images[0].shape[2]
        self.shape = self.images[0].shape[:2] if len({i.shape for i in self.images}) == 1 else None
        self.names = tuple(f"scene-{number}" for number in range(len(self.images)))
        self.groups, self.parts = groups, parts

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def fingerprint(self) -> str:
        return scene_key(np.concatenate([image.ravel() for image in self.images]))


def noise_images(count: int, shape: tuple[int, int] = (64, 128), seed: int = 0) -> list[np.ndarray]:
    """Pictures that have nothing to do with each other: random blobs of 4 x 4 pixels, values 40..200."""
    rng = np.random.default_rng(seed)
    blobs = rng.integers(40, 201, (count, -(-shape[0] // 4), -(-shape[1] // 4)), np.uint8)
    return [blob.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]] for blob in blobs]


def fingerprint_scenes(scenes: SceneSource) -> list[bytes]:
    """The fingerprint of every scene's picture, in order."""
    return [fingerprint_picture(scenes.read(index)[0]) for index in range(len(scenes))]
