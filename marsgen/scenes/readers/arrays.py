"""ArrayScenes: scenes that a program already holds in memory, as a data set."""

import colorsys
import hashlib
from collections.abc import Sequence

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.places import IN_MEMORY
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import Scene, SceneSource, check_image

# distinct hues for classes that come without colours: Okabe and Ito 2008, readable with colour vision deficiency
_PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (153, 153, 153),
)


def class_set(names: Sequence[str], rare: Sequence[str] = (), ids: Sequence[int] | None = None) -> ClassSet:
    """A ClassSet from names alone.

    Args:
        names: one per class, in the order of the ids.
        rare: the classes that are to be added and watched.
        ids: value of each class in the label maps, 0..254; default 0, 1, 2, ...
    Returns:
        Classes with distinct colours; 255 marks pixels without a label.
    Raises:
        DataError: names repeat, a rare class is not among them, or an id is out of range.
    """
    numbers = tuple(range(len(names))) if ids is None else tuple(int(i) for i in ids)
    colours = tuple(_colour(number) for number in range(len(names)))
    return ClassSet(tuple(names), numbers, colours, ignored=255, rare=tuple(rare))


def _colour(number: int) -> tuple[int, int, int]:
    """The palette first; then hues a golden angle apart, in three brightnesses."""
    if number < len(_PALETTE):
        return _PALETTE[number]
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.65, (0.95, 0.7, 0.45)[number % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


class ArrayScenes(SceneSource):
    """Images and label maps in memory; every pair is checked when the data set is made."""

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray] | None,
        classes: ClassSet,
        *,
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        parts: Sequence[str] | None = None,
        location: str = IN_MEMORY,
    ) -> None:
        """Hold arrays; they are not copied.

        Args:
            images: N arrays (H, W) or (H, W, channels) uint8, or one array of them; sizes may differ.
            labels: N arrays (H, W) uint8 ids of `classes`; None = no labels, all pixels are ignored.
            names: unique name of each scene; default scene-0, scene-1, ...
            groups: scenes of one group stay in one part of a split.
            parts: "train", "val" or "test" for each scene, where that is fixed.
            location: how messages name the data.
        Raises:
            DataError: numbers, types, shapes or ids do not fit.
        """
        self.location, self.classes = location, classes
        self._images = [image[..., None] if np.ndim(image) == 2 else np.asarray(image) for image in images]
        self._labels = None if labels is None else [np.asarray(one) for one in labels]
        count = len(self._images)
        if count == 0:
            raise DataError(f"{location}: no image; at least one is needed")
        for what, given in (("label maps", self._labels), ("names", names), ("groups", groups), ("parts", parts)):
            if given is not None and len(given) != count:
                raise DataError(f"{location}: {len(given)} {what} for {count} images; give one for each")
        self.names = tuple(names) if names is not None else tuple(f"scene-{number}" for number in range(count))
        if len(set(self.names)) != count:
            raise DataError(f"{location}: two scenes have the same name; names tell them apart")
        self.groups, self.parts = groups, parts
        self.channels = self._images[0].shape[-1]
        shapes = {image.shape[:2] for image in self._images}
        self.shape = next(iter(shapes)) if len(shapes) == 1 else None
        for index in range(count):
            image, ids = self.read(index)
            if labels is None:
                check_image(image, self.names[index])
            else:
                Scene(self.names[index], image, ids, classes)
            if image.shape[2] != self.channels:
                raise DataError(
                    f"{location}: {self.names[index]} has {image.shape[2]} channels and {self.names[0]} "
                    f"{self.channels}; all images need the same number"
                )

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        image = self._images[index]
        if self._labels is None:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        return image, self._labels[index]

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`."""
        digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
        for index in range(len(self)):
            for array in self.read(index):
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
