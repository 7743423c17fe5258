"""Scenes of any data set at a smaller size: images by area averages, label maps by the nearest pixel."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.geometry import cell_weights
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.scene import SceneSource, scene_key


def shrink(image: np.ndarray, labels: np.ndarray, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its label map with at most `longest_side` pixels on the longer side; smaller ones stay as they are.

    Args:
        image: (H, W, channels) uint8.
        labels: (H, W) uint8 ids.
    Returns:
        (h, w, channels) uint8, each pixel the mean of the area that it covers, and (h, w) uint8, the id at the middle
        of that area: no id arises that was not there.
    """
    size = labels.shape
    height, width = smaller_size((size[0], size[1]), longest_side)
    if (height, width) == size:
        return image, labels
    down, across = cell_weights(size[0], height), cell_weights(size[1], width)
    means = np.einsum("ah,hwc,bw->abc", down, image, across, optimize=True)
    rows, columns = (
        ((np.arange(cells) + 0.5) * length / cells).astype(np.intp)
        for cells, length in ((height, size[0]), (width, size[1]))
    )
    return means.round().clip(0, 255).astype(np.uint8), labels[rows[:, None], columns]


def smaller_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """(height, width) in proportion, with the longer one `longest_side` where it was more."""
    factor = min(1, longest_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


class ShrunkScenes(SceneSource):
    """The scenes of another source, made smaller as they are read; a note says what that cost."""

    def __init__(self, scenes: SceneSource, longest_side: int) -> None:
        """Read every scene once to say which classes vanish.

        Args:
            scenes: their names, groups and parts are kept.
            longest_side: in pixels.
        Raises:
            DataError: a scene would become narrower than any network takes.
        """
        self._scenes, self._side = scenes, longest_side
        self.location, self.classes, self.classes_file = scenes.location, scenes.classes, scenes.classes_file
        self.channels, self.names, self.groups, self.parts = scenes.channels, scenes.names, scenes.groups, scenes.parts
        self.reading = scenes.reading
        self.shape = None if scenes.shape is None else smaller_size(scenes.shape, longest_side)
        self.notes = (*scenes.notes, self._describe())

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        return shrink(*self._scenes.read(index), self._side)

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over that of the large scenes and the side."""
        return scene_key(np.frombuffer(f"{self._scenes.fingerprint()} {self._side}".encode(), np.uint8))

    def _describe(self) -> str:
        """What was made smaller and which classes vanish from how many scenes."""
        vanished: Counter[str] = Counter()
        changed = 0
        with ThreadPoolExecutor(2) as pool:
            for size, lost in pool.map(self._compare, range(len(self))):
                changed += max(size) > self._side
                vanished.update(lost)
        said = (
            f"{changed} of {len(self)} scenes are made smaller (longest side {self._side} px): images by area "
            "averages, label maps by the nearest pixel"
        )
        gone = ", ".join(f"{name} in {count}" for name, count in vanished.items())
        return f"{said}; too small to be left in the label map: {gone} scenes" if gone else said

    def _compare(self, index: int) -> tuple[tuple[int, int], list[str]]:
        """(height, width) as it was, and the classes that a scene loses."""
        image, labels = self._scenes.read(index)
        size = (labels.shape[0], labels.shape[1])
        height, width = smaller_size(size, self._side)
        if min(height, width) < MIN_SIDE_PX:
            raise DataError(
                f"{self.location}: {self.names[index]} of {size[0]} x {size[1]} pixels would become {height} x "
                f"{width}; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed, so choose a larger longest_side"
            )
        kept = set(np.unique(shrink(image, labels, self._side)[1]).tolist())
        there = set(np.unique(labels).tolist())
        named = zip(self.classes.names, self.classes.ids, strict=True)
        return size, [name for name, number in named if number in there - kept]
