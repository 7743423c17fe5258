"""The pairs of a set that were kept when it was looked through: kept.json of `marsgen playground`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_json, value_at
from marsgen.scenes.scene import Origin, SceneSource, scene_key


class KeptScenes(SceneSource):
    """Some scenes of another source, in its order."""

    def __init__(self, scenes: SceneSource, names: set[str]) -> None:
        """Args:
        scenes: of which they are; what belongs to the whole set is still found at its location.
        names: of the scenes to keep; each is there.
        """
        self._scenes = scenes
        self._indices = [index for index, name in enumerate(scenes.names) if name in names]
        self.location, self.classes, self.classes_file = scenes.location, scenes.classes, scenes.classes_file
        self.channels, self.shape = scenes.channels, scenes.shape
        self.names = [scenes.names[index] for index in self._indices]
        self.groups, self.parts = (
            None if of_all is None else [of_all[index] for index in self._indices]
            for of_all in (scenes.groups, scenes.parts)
        )

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        return self._scenes.read(self._indices[index])

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over that of the whole set and the names that are kept."""
        text = "\n".join([self._scenes.fingerprint(), *self.names])
        return scene_key(np.frombuffer(text.encode(), np.uint8))

    def origin(self, index: int) -> Origin:
        """See `SceneSource.origin`."""
        return self._scenes.origin(self._indices[index])

    def raster(self, index: int) -> Path | None:
        """See `SceneSource.raster`."""
        return self._scenes.raster(self._indices[index])

    def record(self, index: int) -> dict[str, Any]:
        """See `SceneSource.record`."""
        return self._scenes.record(self._indices[index])


def open_kept(path: Path, open_set: Callable[[str], SceneSource]) -> KeptScenes:
    """Open the set that a kept.json names, and keep what it keeps.

    Args:
        open_set: the set's folder -> its scenes. The folder stands in the file as it was given to the playground; where
            it is not there, it is looked for beside the file.
    Raises:
        DataError: not such a file, no such set, another set than the one that was looked through, or nothing kept.
    """
    remedy = "save the list again in the playground"
    content = read_json(path, remedy=remedy)
    location, fingerprint = (value_at(content, key, str, path, DataError, remedy) for key in ("set", "fingerprint"))
    names = value_at(content, "kept", list, path, DataError, remedy)
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: 'kept' is no list of names, or an empty one; {remedy}")
    beside = path.parent / location
    if not Path(location).exists() and not beside.exists():
        raise DataError(
            f"{path}: keeps pairs of {location}, and no such folder is here or beside the file; move it there"
        )
    scenes = open_set(location if Path(location).exists() else str(beside))
    if scenes.fingerprint() != fingerprint:
        raise DataError(
            f"{path}: {location} is another set than the one that was looked through (fingerprint "
            f"{scenes.fingerprint()}, not {fingerprint}); make the playground again from this set"
        )
    if unknown := sorted(set(names) - set(scenes.names)):
        raise DataError(f"{path}: {location} has no pair {unknown[0]}; {remedy}")
    return KeptScenes(scenes, set(names))
