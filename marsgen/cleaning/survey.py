"""One pass over a data set that notes what cleaning, splitting and weighting need to know about each scene."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marsgen.cleaning.details import block_means
from marsgen.cleaning.fingerprints import FINGERPRINT_BYTES, fingerprint_picture
from marsgen.cleaning.survey_cache import find_or_recall
from marsgen.core.progress import ProgressBar
from marsgen.scenes.scene import Scene, SceneSource, scene_key

THUMBNAIL_SHAPE = (8, 16)
_CHECKED = 5  # scenes that are read again where a survey was kept
_FLAT = 0.05  # grey levels: a picture that varies less than by rounding has nothing to compare


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over N scenes of C classes found; entry i of every field belongs to scene i."""

    keys: tuple[str, ...]
    """`scene_key` of each image: equal keys are exact copies"""
    label_keys: tuple[str, ...]
    """the same of each label map"""
    pixels: np.ndarray
    """(N, C + 1) int64 pixels per class index; the last column counts ignored pixels"""
    thumbnails: np.ndarray
    """(N, 128) float32 block means (8 x 16) of zero mean and unit norm; zeros for a flat picture"""
    fingerprints: np.ndarray
    """(N, 72) uint8, `fingerprint_picture` of each image: copies in other files have nearly the same"""

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def shows(self) -> np.ndarray:
        """(N, C) bool: scene i has at least one pixel of class c."""
        return self.pixels[:, :-1] > 0


def survey_scenes(scenes: SceneSource) -> Survey:
    """Read every scene once, or a few where an earlier command has read all (see survey_cache.py).

    Progress goes to stderr. Memory: about 800 bytes per scene.
    """
    shapes = {
        "keys": ("S16", (len(scenes),)),
        "label_keys": ("S16", (len(scenes),)),
        "pixels": ("<i8", (len(scenes), len(scenes.classes) + 1)),
        "thumbnails": ("<f4", (len(scenes), THUMBNAIL_SHAPE[0] * THUMBNAIL_SHAPE[1])),
        "fingerprints": ("u1", (len(scenes), FINGERPRINT_BYTES)),
    }

    def look() -> dict[str, np.ndarray]:
        bar = ProgressBar(scenes, total=len(scenes), desc="survey", unit=" scenes", leave=False)
        entries = [_survey_scene(scene) for scene in bar]
        return {
            name: np.array([entry[place] for entry in entries], dtype).reshape(shape)
            for place, (name, (dtype, shape)) in enumerate(shapes.items())
        }

    def fits(kept: Mapping[str, np.ndarray]) -> bool:
        if {name: (array.dtype.str.lstrip("|"), array.shape) for name, array in kept.items()} != shapes:
            return False
        # the fingerprint knows the files; a few scenes show that they are still read as they were then
        for index in np.unique(np.linspace(0, len(scenes) - 1, _CHECKED).astype(int)).tolist() if len(scenes) else ():
            now = dict(zip(shapes, _survey_scene(scenes[index]), strict=True))
            if any(not np.array_equal(np.array(now[name], shapes[name][0]), kept[name][index]) for name in shapes):
                return False
        return True

    found = find_or_recall("survey", identity_of(scenes), look, fits)
    keys, label_keys = (tuple(key.decode() for key in found[name].tolist()) for name in ("keys", "label_keys"))
    return Survey(keys, label_keys, found["pixels"], found["thumbnails"], found["fingerprints"])


def identity_of(scenes: SceneSource) -> list[str]:
    """What the pictures and label maps of a source depend on: its files, and how they are read."""
    classes = scenes.classes
    read = [scenes.reading, type(scenes).__name__, str(classes.to_dict()), str(classes.layout), str(scenes.channels)]
    return [scenes.fingerprint(), str(len(scenes)), *read]


def _survey_scene(scene: Scene) -> tuple[str, str, np.ndarray, np.ndarray, np.ndarray]:
    per_id = np.bincount(scene.labels.ravel(), minlength=256)
    pixels = per_id[[*scene.classes.ids, scene.classes.ignored]]
    fingerprint = np.frombuffer(fingerprint_picture(scene.image), np.uint8)
    return scene_key(scene.image), scene_key(scene.labels), pixels, thumbnail(scene.image), fingerprint


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, channels) uint8 -> (128,) float32 of zero mean and unit norm; zeros for a flat picture."""
    blocks = block_means(image, *THUMBNAIL_SHAPE).ravel()
    blocks -= blocks.mean()
    norm = float(np.linalg.norm(blocks))
    return blocks / norm if norm > _FLAT * len(blocks) ** 0.5 else np.zeros_like(blocks)


def all_of(keys: Iterable[str]) -> dict[str, list[int]]:
    """Key -> the positions at which it stands, in order."""
    places: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, []).append(position)
    return places
