"""Crumbs: regions of a rare class so small that they teach noise, left without a label in training scenes.

Crowds leave single pixels, slivers along an outline and strips between two drawn areas under a rare class's id. In a
class of some 60 scenes every other scene can hold nothing else; drawn as often as the rest, or enlarged, they are half
of what a network sees of the class. What a test part or a validation part says is never touched.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from marsgen.scenes.scene import Origin, SceneSource
from marsgen.scenes.survey import Survey

_TOUCHING = np.ones((3, 3))  # pixels that meet at a corner belong together, as where regions are cut out


class ScenesWithoutCrumbs(SceneSource):
    """The same scenes; in some of them, regions of a rare class below a size carry no label."""

    def __init__(self, scenes: SceneSource, indices: Sequence[int], min_px: int) -> None:
        """Wrap a source.

        Args:
            indices: scenes that lose their crumbs: the train part, nothing else.
            min_px: regions of a rare class with fewer pixels become ignored.
        """
        self.location, self.classes, self.channels, self.shape = (
            scenes.location,
            scenes.classes,
            scenes.channels,
            scenes.shape,
        )
        self.names, self.groups, self.parts = scenes.names, scenes.groups, scenes.parts
        self._scenes, self._indices, self._min_px = scenes, frozenset(indices), min_px
        self._rare = [scenes.classes.ids[scenes.classes.index(name)] for name in scenes.classes.rare]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        image, labels = self._scenes.read(index)
        if index in self._indices:
            for class_id in self._rare:
                labels = drop_crumbs(labels, class_id, self.classes.ignored, self._min_px)
        return image, labels

    def fingerprint(self) -> str:
        """Of the data as they are: what is left out is part of a run's settings."""
        return self._scenes.fingerprint()

    def origin(self, index: int) -> Origin:
        """See `SceneSource.origin`."""
        return self._scenes.origin(index)

    def record(self, index: int) -> dict[str, Any]:
        """See `SceneSource.record`."""
        return self._scenes.record(index)


def drop_crumbs(labels: np.ndarray, class_id: int, ignored: int, min_px: int) -> np.ndarray:
    """(H, W) uint8 ids -> the same with connected regions of `class_id` of fewer than `min_px` pixels set to `ignored`.

    Pixels that touch at a corner are connected. The input is not changed.
    """
    mask = labels == class_id
    if not mask.any():
        return labels
    numbered, _ = ndimage.label(mask, _TOUCHING)
    small = np.bincount(numbered.ravel()) < min_px
    small[0] = False
    return np.where(small[numbered], np.uint8(ignored), labels)


def survey_without_crumbs(survey: Survey, scenes: ScenesWithoutCrumbs, indices: Sequence[int]) -> Survey:
    """The survey with the pixels that are left in the scenes of `indices`; reads those that show a rare class."""
    rare = [scenes.classes.index(name) for name in scenes.classes.rare]
    ids = [*scenes.classes.ids, scenes.classes.ignored]
    pixels = survey.pixels.copy()
    for index in indices:
        if pixels[index, rare].any():
            pixels[index] = np.bincount(scenes.read(index)[1].ravel(), minlength=256)[ids]
    return replace(survey, pixels=pixels)
