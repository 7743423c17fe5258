"""Label maps that are drawn as they are, instead of pasting: `marsgen synthesize --maps WHERE`.

    labels/NAME.png     the label map that is wanted
    images/NAME.png     what is there now: the picture of its parent, with whatever was stamped into it
    classes.yaml        what the ids mean
    manifest.jsonl      which real scene each map grew from: {"name", "parent": {"name", "key", "box"}, "donors"}, as
                        `marsgen playground` saves it; box = the part of the parent, where it is not the whole

Any other data set will do: without a manifest, a map whose picture is one of the real scenes grew from that one. Where
the parent is among the real scenes, what differs from it is drawn; otherwise the whole picture. images/ may be missing.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.fingerprints import fingerprint_picture
from marsgen.core.errors import DataError
from marsgen.core.storage.places import find_path
from marsgen.core.storage.reading import shorten
from marsgen.provenance import caution_of_held_out, read_set_head, set_trained_on
from marsgen.scenes.geometry import Box, connected_regions
from marsgen.scenes.limits import name_channels
from marsgen.scenes.readers.map_files import MapFiles, holds_maps_only
from marsgen.scenes.scene import SceneSource, scene_key
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import classes_of
from marsgen.synthesis.names import refuse_other, refuse_other_classes

MOST_PATCHES = 8
"""largest patches of a class that a manifest line names"""


def open_maps(given: SceneSource | str | Path, scenes: SceneSource) -> SceneSource:
    """Open label maps, with or without pictures, to be drawn by a generator of `scenes`.

    Raises:
        DataError: they cannot be used, or their classes or channels are not those of `scenes`.
    """
    if isinstance(given, SceneSource):
        maps = copy.copy(given)
    else:
        folder = find_path(str(given))
        known = classes_of(folder) if folder.is_dir() else None
        if folder.is_dir() and holds_maps_only(folder, known):
            maps = MapFiles(folder, known or scenes.classes, scenes.channels, str(given))
        else:
            maps = open_scenes(str(given))
    where = maps.location
    maps.classes = maps.classes.ordered_like(scenes.classes)
    refuse_other_classes(where, maps.classes, scenes.location, scenes.classes)
    channels = (where, name_channels(maps.channels)), (scenes.location, name_channels(scenes.channels))
    refuse_other("pictures", *channels)
    return maps


@dataclass(frozen=True, eq=False)
class WantedMap:
    """A label map to draw, and what was changed in it."""

    name: str
    labels: np.ndarray
    """(H, W) uint8 ids of the real scenes' classes"""
    image: np.ndarray
    """(H, W, channels) uint8: what is there now"""
    changed: np.ndarray
    """(H, W) bool: pixels whose label or picture is not that of the parent; all of them where it is not at hand"""
    parent: dict[str, Any] | None
    """name and key of the real scene that it grew from; None = nothing is known"""
    donors: tuple[dict[str, Any], ...]
    """name, key and class of what was stamped into it"""

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Content keys of the parent and the donors."""
        return tuple(real["key"] for real in (*([self.parent] if self.parent else []), *self.donors))


@dataclass(frozen=True, eq=False)
class MapSample:
    """Sample `index` of a seed: one of the maps. Members that it shares with `PlannedSample` mean the same."""

    index: int
    seed: int
    edited: WantedMap
    patches: tuple[tuple[str, Box], ...]
    """class and box of each changed patch, at most MOST_PATCHES of a class"""

    def record(self) -> dict[str, Any]:
        """See `PlannedSample.record`; `map` names the map, `drawn` what was changed in it."""
        return {
            "index": self.index,
            "seed": self.seed,
            "parent": self.edited.parent,
            "donors": list(self.edited.donors),
            "map": self.edited.name,
            "drawn": [{"class": name, "box": list(box)} for name, box in self.patches],
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the changed patches, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.patches))


class LabelMaps:
    """Maps to draw, beside the real scenes that they may have grown from; sample i draws map i modulo their number."""

    def __init__(self, source: SceneSource, dataset: Dataset, *, whole: bool = False) -> None:
        """Args:
        source: from `open_maps`.
        whole: everything counts as changed.
        """
        self.source, self._dataset, self._whole = source, dataset, whole
        self._scene_of = {key: index for index, key in enumerate(dataset.survey.keys)}

    def __len__(self) -> int:
        return len(self.source)

    def identity(self) -> dict[str, Any]:
        """What a run records of them."""
        return {"location": self.source.location, "fingerprint": self.source.fingerprint()}

    def sample(self, index: int, seed: int) -> MapSample:
        """Sample `index`; the patches of its map are found for the manifest and for a judge."""
        wanted = self.read(index % len(self))
        return MapSample(index, seed, wanted, tuple(_patches(wanted, self._dataset.scenes)))

    def read(self, number: int) -> WantedMap:
        """One of the maps, beside its parent where that is one of the real scenes."""
        image, labels = self.source.read(number)
        scenes = self._dataset.scenes
        labels = scenes.classes.to_ids(self.source.classes.to_indices(labels))
        parent, donors = self._origin(number, image)
        changed = np.ones(labels.shape, bool)
        if not self._whole and parent is not None and (scene := self._scene_of.get(parent["key"])) is not None:
            real_image, real_labels = scenes.read(scene)
            box = _box_of(parent, real_labels.shape, f"{self.source.location}: map {self.source.names[number]}")
            if box.shape == labels.shape:
                changed = (real_labels[box.slices] != labels) | (real_image[box.slices] != image).any(2)
        return WantedMap(self.source.names[number], labels, image, changed, parent, donors)

    def _origin(self, number: int, image: np.ndarray) -> tuple[dict[str, Any] | None, tuple[dict[str, Any], ...]]:
        origin = self.source.origin(number)
        if origin.kind == "real":
            key = scene_key(image)
            scene = self._scene_of.get(key)
            name = self.source.names[number] if scene is None else self._dataset.scenes.names[scene]
            return {"name": name, "key": key}, ()
        if not origin.ancestors:
            return None, ()
        record = self.source.record(number)
        donors = ({key: donor[key] for key in ("name", "key", "class") if key in donor} for donor in record["donors"])
        return record["parent"], tuple(donors)

    # what can be said of all of them; reads each once

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Classes that any of the maps sets anew, in the order of the classes."""
        return self._survey.class_names

    @property
    def trained_on(self) -> list[str]:
        """Keys of the scenes that whatever made the maps has learned from."""
        return set_trained_on(Path(self.source.location))

    @property
    def pictures(self) -> dict[str, str]:
        """Key -> fingerprint of pictures behind the maps which the real scenes do not hold, as far as known."""
        return {**read_set_head(Path(self.source.location)).get("pictures", {}), **self._survey.pictures}

    def refuse_empty(self) -> None:
        """Raise DataError where a map is that of its parent, so that nothing would be drawn, or carries no label."""
        for names, words in (
            (self._survey.unchanged, "nothing differs from the real scene, and nothing would be drawn"),
            (self._survey.unlabelled, "no pixel carries a label"),
        ):
            if names:
                raise DataError(
                    f"--maps {self.source.location}: in {len(names)} of {len(self)} maps, such as "
                    f"{shorten(names[0], 60)}, {words}; take them out{'' if self._whole else ', or say --mode scene'}"
                )

    def cautions(self) -> list[str]:
        """What is to be said of where they come from, a sentence each."""
        found, where, total = self._survey, f"--maps {self.source.location}", len(self)
        said = []
        if found.absent:
            said.append(
                f"{where}: {len(found.absent)} of {total} maps, such as {shorten(found.absent[0], 60)}, grew from "
                f"pictures that {self._dataset.scenes.location} does not hold; they are drawn whole"
            )
        if found.unknown:
            said.append(
                f"{where}: nothing says what {len(found.unknown)} of {total} maps, such as "
                f"{shorten(found.unknown[0], 60)}, grew from; they are drawn whole, and `segmenter train --extra` will "
                "warn of them"
            )
        if leaking := caution_of_held_out(found.ancestors, self._dataset, "maps"):
            said.append(f"{where}: {leaking}")
        return said

    @cached_property
    def _survey(self) -> "_MapSurvey":
        names, changed = self._dataset.scenes.classes.names, np.zeros(256, bool)
        found = _MapSurvey()
        for number in range(len(self)):
            wanted = self.read(number)
            found.ancestors.append(wanted.ancestors)
            changed[self._dataset.scenes.classes.to_indices(wanted.labels[wanted.changed])] = True
            if not wanted.changed.any():
                found.unchanged.append(wanted.name)
            if (wanted.labels == self._dataset.scenes.classes.ignored).all():
                found.unlabelled.append(wanted.name)
            if wanted.parent is None:
                found.unknown.append(wanted.name)
            elif wanted.parent["key"] not in self._scene_of:
                found.absent.append(wanted.name)
                if self.source.origin(number).kind == "real":
                    found.pictures[wanted.parent["key"]] = fingerprint_picture(wanted.image).hex()
        found.class_names = tuple(name for name, there in zip(names, changed, strict=False) if there)
        return found


class _MapSurvey:
    """What reading all maps once has told: names of maps, where nothing else is said."""

    def __init__(self) -> None:
        self.ancestors: list[tuple[str, ...]] = []
        """keys of the real scenes behind each map"""
        self.unchanged: list[str] = []
        self.unlabelled: list[str] = []
        self.unknown: list[str] = []
        self.absent: list[str] = []
        """grown from a picture that is none of the real scenes"""
        self.class_names: tuple[str, ...] = ()
        self.pictures: dict[str, str] = {}


def _patches(wanted: WantedMap, scenes: SceneSource) -> Iterator[tuple[str, Box]]:
    """Class and box of the largest changed patches of each class."""
    indices = scenes.classes.to_indices(wanted.labels)
    for index, name in enumerate(scenes.classes.names):
        if not (inside := wanted.changed & (indices == index)).any():
            continue
        by_size = sorted(connected_regions(inside), key=lambda region: -np.count_nonzero(region[0]))
        yield from ((name, box) for _, box in by_size[:MOST_PATCHES])


def _box_of(parent: dict[str, Any], shape: Sequence[int], where: str) -> Box:
    """The part of the parent that a map shows.

    Raises:
        DataError: it is no window of the parent.
    """
    sides = parent.get("box")
    if sides is None:
        return Box(0, 0, shape[0], shape[1])
    if isinstance(sides, list) and len(sides) == 4 and all(type(side) is int for side in sides):
        box = Box(*sides)
        if 0 <= box.top < box.bottom <= shape[0] and 0 <= box.left < box.right <= shape[1]:
            return box
    raise DataError(
        f"{where}: its parent's box is {shorten(repr(sides), 60)} in the manifest; expected [top, left, bottom, right] "
        f"inside {shape[0]} x {shape[1]} pixels"
    )
