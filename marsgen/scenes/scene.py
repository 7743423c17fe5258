"""Scene: one picture of the ground and what every pixel of it shows."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.limits import MIN_SIDE_PX, MOST_BATCH_PX, MOST_CHANNELS, is_channels

if TYPE_CHECKING:
    from marsgen.scenes.adapters import TorchPairs


@dataclass(frozen=True)
class Origin:
    """Where a scene comes from. `ancestors`: keys (`scene_key`) of every real scene it grew from."""

    kind: Literal["real", "synthetic"] = "real"
    ancestors: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and its label map.

    Arrays at rest are numpy uint8; tensors exist only inside loops (scenes/tensors.py).
    """

    name: str
    image: np.ndarray
    """(H, W, channels) uint8; 1 channel = grey, 3 = RGB, 4 to 16 = bands of a multispectral camera"""
    labels: np.ndarray
    """(H, W) uint8 ids of `classes`, or classes.ignored"""
    classes: ClassSet
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        check_image(self.image, self.name)
        if self.labels.dtype != np.uint8 or self.labels.shape != self.image.shape[:2]:
            raise DataError(
                f"{self.name}: label map is {self.labels.dtype} of shape {self.labels.shape} beside an image of "
                f"{self.image.shape[:2]}; expected uint8 of the image's height and width"
            )
        if min(self.labels.shape) < MIN_SIDE_PX:
            raise DataError(
                f"{self.name}: {self.labels.shape[0]} x {self.labels.shape[1]} pixels; at least 32 x 32 are needed"
            )
        self.classes.check_labels(self.labels, self.name)

    def __iter__(self) -> Iterator[np.ndarray]:
        """So that `image, labels = scene` reads as in any other data set of pairs."""
        return iter((self.image, self.labels))

    @property
    def indices(self) -> np.ndarray:
        """(H, W) uint8 class indices 0..C-1; 255 where ignored."""
        return self.classes.to_indices(self.labels)


def check_image(image: np.ndarray, name: str) -> None:
    """Raise DataError for an array that is no picture: (H, W, channels) uint8, grey, RGB or 4 to 16 bands."""
    if image.dtype != np.uint8 or image.ndim != 3 or not is_channels(image.shape[2]):
        raise DataError(
            f"{name}: image is {image.dtype} of shape {image.shape}; expected uint8 (height, width, channels), with 1 "
            f"channel, 3, or 4 to {MOST_CHANNELS}"
        )


class SceneSource(ABC):
    """Scenes of one data set, read one at a time; what every data format becomes.

    `len(source)` scenes; `source[i]` reads scene i from disk, so memory does not grow with their number.
    """

    location: str
    """what the user typed to name the data"""
    classes: ClassSet
    classes_file: Path | None = None
    """file of the classes, where it was named beside the data and is not their own"""
    channels: int
    """1 = grey, 3 = RGB, 4 to 16 = bands; the same for all scenes"""
    shape: tuple[int, int] | None
    """(height, width) in pixels of every scene; None where they differ"""
    names: Sequence[str]
    """unique name of each scene"""
    groups: Sequence[str] | None = None
    """scenes of one group (a rover stop) show the same ground and stay in one part of a split; None = unknown"""
    parts: Sequence[str] | None = None
    """"train", "val" or "test" for each scene where the data set itself fixes it, else None"""
    reading: str = ""
    """settings that decide what `read` makes of the files, in any words; equal words, equal arrays"""
    notes: Sequence[str] = ()
    """what was decided or left out on opening, a sentence each; `open_scenes` says them"""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        image, labels = self.read(index)
        return Scene(self.names[index], image, labels, self.classes, self.origin(index))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, channels) uint8 and label map (H, W) uint8 of ids; all ignored where a scene has no labels."""

    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits that change when any image or label map does; the same on every machine."""

    def to_torch(self) -> "TorchPairs":
        """All scenes as a torch Dataset of (image, labels) tensors, see `TorchPairs`."""
        from marsgen.scenes.adapters import TorchPairs  # here: it imports torch

        return TorchPairs(self, range(len(self)))

    def to_huggingface(self) -> Any:
        """All scenes as a `datasets.Dataset`, see `huggingface_dataset`."""
        from marsgen.scenes.adapters import huggingface_dataset

        return huggingface_dataset(self, range(len(self)))

    def identity(self) -> dict[str, Any]:
        """What a run records of its data: where they are, their fingerprint, the file of their classes."""
        classes = None if self.classes_file is None else str(self.classes_file)
        return {"location": self.location, "fingerprint": self.fingerprint(), "classes": classes}

    def origin(self, index: int) -> Origin:
        return Origin()

    def raster(self, index: int) -> Path | None:
        """The file of picture i where it is a raster that says where on the ground it lies."""
        return None

    def record(self, index: int) -> dict[str, Any]:
        """What is known about scene i in json's types: its manifest line, else name and origin."""
        return {"name": self.names[index], "origin": self.origin(index).kind}


def scene_key(image: np.ndarray) -> str:
    """16 hex digits naming a picture by its content: equal pixels, equal key, whatever file they came from."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, person=b"marsgen")
    digest.update(repr(image.shape).encode())
    return digest.hexdigest()


def batches_of_one_shape(scenes: Iterable[Scene], batch_size: int) -> Iterator[list[Scene]]:
    """Neighbouring scenes of one height, width and number of channels.

    At most `batch_size` together, and no more than `MOST_BATCH_PX` pixels, or one scene: a number that suits small
    scenes would fill the memory with large ones.
    """
    batch: list[Scene] = []
    for scene in scenes:
        most = min(batch_size, max(1, MOST_BATCH_PX // scene.labels.size))
        if batch and (len(batch) >= most or scene.image.shape != batch[0].image.shape):
            yield batch
            batch = []
        batch.append(scene)
    if batch:
        yield batch
