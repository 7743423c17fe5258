"""SceneFolder: pairs of image and label map on disk, read and written in one place.

images/NAME.png     grey or RGB, 8-bit (also JPEG, TIFF, BMP)
labels/NAME.png     indexed PNG: pixel value = class id, palette = class colours (also grey ids, or RGB colours)
classes.yaml        names, ids, colours, ignored id, rare classes (see configs/classes_mars.yaml)
manifest.jsonl      synthetic scenes only, one json per scene: name, parent {name, key}, donors [{name, key}, ...]
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from marsgen.errors import DataError
from marsgen.files import write_bytes, write_text
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.pictures import (
    LABEL_SUFFIXES,
    check_all,
    encode_image,
    encode_label_map,
    list_pictures,
    probe_image,
    read_image,
    read_label_map,
)
from marsgen.scenes.scene import MIN_SIDE_PX, Origin, Scene, SceneSource

CLASSES_FILE = "classes.yaml"
MANIFEST_FILE = "manifest.jsonl"


def write_pair(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> None:
    """Write images/NAME.png and labels/NAME.png, each whole or not at all.

    Args:
        name: file name without suffix.
        image: (H, W, 1 or 3) uint8.
        labels: (H, W) uint8 ids.
    Raises:
        DataError: the arrays are no possible scene of `classes`.
        ValueError: `name` is no plain file name.
    """
    if not _is_plain(name):
        raise ValueError(f"{name!r} is no plain file name")
    scene = Scene(name, image, labels, classes)
    write_bytes(folder / "labels" / f"{name}.png", encode_label_map(scene.labels, classes))
    write_bytes(folder / "images" / f"{name}.png", encode_image(scene.image))


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write classes.yaml."""
    write_text(folder / CLASSES_FILE, yaml.safe_dump(classes.to_dict(), sort_keys=False, allow_unicode=True))


class SceneFolder(SceneSource):
    """Scenes of a folder of pictures; sizes may differ between scenes, channels may not.

    Headers and label maps are checked when the folder is opened, images when they are read.
    """

    def __init__(
        self, folder: Path, classes: ClassSet | None = None, *, labelled: bool = True, location: str | None = None
    ) -> None:
        """Open `folder`.

        Args:
            classes: instead of the folder's classes.yaml.
            labelled: False reads the images alone, from images/ or directly from `folder`; all labels are ignored.
            location: what the user typed, if not the folder.
        Raises:
            DataError: a missing partner, mixed grey and RGB, a picture or label map that cannot be used, no classes,
                a malformed manifest.
        """
        self.location = location or str(folder)
        self._folder = folder
        own_classes = folder / CLASSES_FILE
        if classes is None and not own_classes.is_file():
            raise DataError(f"{folder}: no {CLASSES_FILE} in this folder; write one or give --classes")
        self._used_files = [own_classes] if classes is None else []
        self.classes = classes or read_classes(own_classes)
        self._images, self._labels = _find_pictures(folder, labelled)
        self.names = tuple(self._images)
        self.shape, self.channels = self._check_pictures()
        self._ancestors = self._read_manifest() if (folder / MANIFEST_FILE).exists() else {}
        self._fingerprint = ""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        name = self.names[index]
        image = read_image(self._images[name])
        if not self._labels:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        return image, read_label_map(self._labels[name], self.classes)

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the names and contents of the files in use."""
        if not self._fingerprint:
            files = [*self._images.values(), *self._labels.values(), *self._used_files]
            self._fingerprint = fingerprint_files(self._folder, files)
        return self._fingerprint

    def origin(self, index: int) -> Origin:
        """Synthetic with its ancestors where the folder has a manifest, else real."""
        if not self._ancestors:
            return Origin()
        return Origin("synthetic", self._ancestors[self.names[index]])

    def _check_pictures(self) -> tuple[tuple[int, int] | None, int]:
        found = check_all(self._check_pair, self.names, "label maps")
        shapes, channels = {f[:2] for f in found}, [f[2] for f in found]
        if len(set(channels)) > 1:
            grey, colour = self.names[channels.index(1)], self.names[channels.index(3)]
            raise DataError(
                f"{self._folder}: {self._images[grey].name} is grey and {self._images[colour].name} is RGB; "
                "convert all images of the folder to one of the two"
            )
        return (shapes.pop() if len(shapes) == 1 else None), channels[0]

    def _check_pair(self, name: str) -> tuple[int, int, int]:
        height, width, channels = probe_image(self._images[name])
        check_side(self._images[name], height, width)
        if self._labels:
            labels = read_label_map(self._labels[name], self.classes)
            check_same_size(self._images[name], (height, width), self._labels[name], labels.shape)
        return height, width, channels

    def _read_manifest(self) -> dict[str, tuple[str, ...]]:
        path = self._folder / MANIFEST_FILE
        self._used_files.append(path)
        ancestors = _read_ancestors(path)
        if absent := sorted(self._images.keys() - ancestors.keys()):
            raise DataError(
                f"{path}: no line for {self._images[absent[0]].name}; its parents are unknown, remove the picture"
            )
        if absent := sorted(ancestors.keys() - self._images.keys()):
            raise DataError(f"{path}: names {absent[0]!r}, which is not in {self._folder}/images; remove the line")
        return ancestors


def check_side(path: Path, height: int, width: int) -> None:
    """Raise DataError for a picture too small for any network here."""
    if min(height, width) < MIN_SIDE_PX:
        raise DataError(f"{path}: {height} x {width} pixels; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed")


def check_same_size(image: Path, size: tuple[int, int], other: Path, other_size: tuple[int, ...]) -> None:
    """Raise DataError when what belongs to an image has another (height, width)."""
    if size != tuple(other_size):
        raise DataError(
            f"{other}: {other_size[0]} x {other_size[1]} pixels beside {image.name} of {size[0]} x {size[1]}; "
            "expected the same size, make the label map again from that image"
        )


def fingerprint_files(folder: Path, files: Iterable[Path]) -> str:
    """16 hex digits over the names (relative to `folder`) and contents of files."""
    digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
    for name, path in sorted((p.relative_to(folder).as_posix(), p) for p in files):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _find_pictures(folder: Path, labelled: bool) -> tuple[dict[str, Path], dict[str, Path]]:
    if not labelled:
        inner = folder / "images"
        if inner.is_dir():
            return list_pictures(inner), {}
        return list_pictures(folder, beside=(CLASSES_FILE, MANIFEST_FILE)), {}
    for part in ("images", "labels"):
        if not (folder / part).is_dir():
            raise DataError(
                f"{folder}: no {part}/ in this folder; expected images/ and labels/ with files of the same names"
            )
    images = list_pictures(folder / "images")
    labels = list_pictures(folder / "labels", LABEL_SUFFIXES)
    if alone := sorted(images.keys() - labels.keys()):
        raise DataError(
            f"{images[alone[0]]}: no label map labels/{alone[0]}.png{and_more(alone)}; add it or remove the image"
        )
    if alone := sorted(labels.keys() - images.keys()):
        raise DataError(
            f"{labels[alone[0]]}: no image images/{alone[0]}.png{and_more(alone)}; add it or remove the label map"
        )
    return images, labels


def and_more(alone: list[str]) -> str:
    """Words for the rest of a list of which a message names the first."""
    return f" (the same for {len(alone) - 1} more)" if len(alone) > 1 else ""


def _read_ancestors(path: Path) -> dict[str, tuple[str, ...]]:
    """{scene name: content keys of the real scenes it was grown from}, from a manifest."""
    ancestors: dict[str, tuple[str, ...]] = {}
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not a readable text file ({problem}); make the synthetic scenes again") from None
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        name, keys = _parse_line(line, where)
        if name in ancestors:
            raise DataError(f"{where}: {name!r} has a line already; keep one of the two")
        ancestors[name] = keys
    return ancestors


def _parse_line(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    try:
        content = json.loads(line)
        name, keys = content["name"], [content["parent"]["key"], *(donor["key"] for donor in content["donors"])]
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{where}: not a json with name, parent {{name, key}} and donors [{{name, key}}, ...]; "
            "make the synthetic scenes again"
        ) from None
    if not _is_plain(name):
        raise DataError(f"{where}: name {name!r} is no plain file name; scenes lie in this folder's images/")
    if not all(isinstance(key, str) and key for key in keys):
        raise DataError(
            f"{where}: keys of parent and donors are {keys}; expected texts, make the synthetic scenes again"
        )
    return name, tuple(dict.fromkeys(keys))


def _is_plain(name: Any) -> bool:
    """A file name that cannot point elsewhere, and that `list_pictures` finds again."""
    return isinstance(name, str) and bool(name) and not name.startswith(".") and not set(name) & set("/\\:\0")
