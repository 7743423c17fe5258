"""SceneFolder: pairs of image and label map on disk, read and written in one place.

images/NAME.png     grey or RGB, 8-bit (also JPEG, TIFF, BMP); images/NAME.npy for 4 to 16 bands
labels/NAME.png     indexed PNG: pixel value = class id, palette = class colours (also grey ids, or RGB colours)
classes.yaml        names, ids, colours, ignored id, rare classes (see configs/classes_mars.yaml); other folders, splits
                    and more (see scenes/files/layout.py)
manifest.jsonl      synthetic scenes only, one json per scene: name, parent {name, key} or null (unknown), donors
                    [{name, key}, ...]
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from marsgen.core.errors import DataError
from marsgen.core.storage.files import write_bytes, write_text
from marsgen.core.storage.places import on_disk
from marsgen.core.storage.reading import read_json
from marsgen.core.storage.seen import HEAD_FILE
from marsgen.scenes.classes import CLASSES_FILE, ClassSet, read_classes
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.band_files import suffix_of
from marsgen.scenes.files.finding import list_pictures
from marsgen.scenes.files.label_maps import encode_label_map, read_label_map, read_label_map_and_way
from marsgen.scenes.files.layout import Layout
from marsgen.scenes.files.manifest import MANIFEST_FILE, Manifest
from marsgen.scenes.files.names import is_plain, plain_names
from marsgen.scenes.files.pairs import Pair, find_images, find_pairs
from marsgen.scenes.files.pictures import (
    check_all,
    encode_image,
    follows_rotation,
    probe_image,
    read_image,
)
from marsgen.scenes.files.rasters import is_georeferenced
from marsgen.scenes.limits import MIN_SIDE_PX, name_channels
from marsgen.scenes.scene import Origin, Scene, SceneSource

_PIECE_BYTES = 4 * 2**20
_MEASURED_SCENES = 8


def write_pair(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> None:
    """Write labels/NAME.png and images/NAME.png (.npy for more than three bands), each whole or not at all.

    Args:
        name: file name without suffix.
        image: (H, W, channels) uint8.
        labels: (H, W) uint8 ids.
    Raises:
        DataError: the arrays are no possible scene of `classes`.
        ValueError: `name` is no plain file name.
    """
    if not is_plain(name):
        raise ValueError(f"{name!r} is no plain file name")
    scene = Scene(name, image, labels, classes)
    write_bytes(folder / "labels" / f"{name}.png", encode_label_map(scene.labels, classes), sync=False)
    write_bytes(image_path(folder, name, image.shape[2]), encode_image(scene.image), sync=False)


def pair_bytes(scenes: SceneSource, *, unpacked: bool = False) -> int:
    """What `write_pair` takes on the disk for one of these scenes, about: the mean of a few that are spread over all.

    Args:
        unpacked: as in files that hold many scenes, pixel by pixel.
    """
    sizes = []
    for index in np.linspace(0, len(scenes) - 1, min(len(scenes), _MEASURED_SCENES)).astype(int):
        image, labels = scenes.read(int(index))
        if unpacked:
            sizes.append(image.nbytes + labels.nbytes)
        else:
            sizes.append(on_disk(len(encode_image(image))) + on_disk(len(encode_label_map(labels, scenes.classes))))
    return round(sum(sizes) / max(len(sizes), 1))


def image_path(folder: Path, name: str, channels: int) -> Path:
    """The file in images/ that `write_pair` writes last: where it is, the pair is whole."""
    return folder / "images" / f"{name}{suffix_of(channels)}"


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write classes.yaml."""
    write_text(folder / CLASSES_FILE, yaml.safe_dump(classes.to_dict(), sort_keys=False, allow_unicode=True))


class SceneFolder(SceneSource):
    """Scenes of a folder of pictures; sizes may differ between scenes, channels may not.

    Headers and label maps are checked when the folder is opened, images when they are read. Pictures without a label
    map are no scenes; `notes` counts them.
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
            DataError: a label map without image, mixed grey and RGB, pictures or label maps that cannot be used (all of
                them are named), no classes, a malformed manifest.
        """
        self.location = location or str(folder)
        self._folder = folder
        own_classes = folder / CLASSES_FILE
        if classes is None and not own_classes.is_file():
            raise DataError(f"{folder}: no {CLASSES_FILE} in this folder; write one or give --classes")
        self._used_files = [own_classes] if classes is None else []
        self.classes = classes or read_classes(own_classes)
        notes: list[str] = []
        self._pairs = _labelled_pairs(folder, self.classes.layout, notes) if labelled else self._find_images(folder)
        self.groups, self.parts = _groups_and_parts(folder, self._pairs, self.classes.layout)
        names, renamed = plain_names([pair.name for pair in self._pairs])
        self.names = tuple(names)
        notes += [renamed] if renamed else []
        self.shape, self.channels = self._check_pictures(notes)
        self.notes = tuple(notes)
        self._rows: dict[str, int] = {}
        self._manifest = self._read_manifest() if (folder / MANIFEST_FILE).exists() else None
        self._fingerprint = ""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        pair = self._pairs[index]
        image = read_image(pair.image, turned=index in self._turned)
        if pair.labels is None:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        return image, read_label_map(pair.labels, self.classes)

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the names and contents of the files in use."""
        if not self._fingerprint:
            pictures = [path for pair in self._pairs for path in (pair.image, pair.labels) if path is not None]
            self._fingerprint = fingerprint_files(self._folder, [*pictures, *self._used_files])
        return self._fingerprint

    def origin(self, index: int) -> Origin:
        """Synthetic with its ancestors where the folder has a manifest, else real."""
        if self._manifest is None:
            return Origin()
        return Origin("synthetic", self._manifest.ancestors(self._rows[self.names[index]]))

    def record(self, index: int) -> dict[str, Any]:
        """See `SceneSource.record`; the manifest's line where the folder has one."""
        if self._manifest is None:
            return super().record(index)
        return self._manifest.record(self._rows[self.names[index]])

    def raster(self, index: int) -> Path | None:
        """See `SceneSource.raster`."""
        path = self._pairs[index].image
        return path if is_georeferenced(path) else None

    def _find_images(self, folder: Path) -> list[Pair]:
        return find_images(folder, self.classes.layout, (CLASSES_FILE, MANIFEST_FILE))

    def _check_pictures(self, notes: list[str]) -> tuple[tuple[int, int] | None, int]:
        found = check_all(self._check_pair, self._pairs, "label maps", self._folder)
        shapes, channels = {f.size for f in found}, [f.channels for f in found]
        if len(set(channels)) > 1:
            few, many = min(channels), max(channels)
            first, second = (self._pairs[channels.index(number)].image.name for number in (few, many))
            raise DataError(
                f"{self._folder}: {first} is {name_channels(few)} and {second} is {name_channels(many)} "
                f"({channels.count(few)} and {channels.count(many)} pictures); convert all images of the folder to one "
                "of the two"
            )
        self._turned = {index for index, f in enumerate(found) if f.turned}
        notes += _reading_notes(found)
        return (shapes.pop() if len(shapes) == 1 else None), channels[0]

    def _check_pair(self, pair: Pair) -> "_Checked":
        header = probe_image(pair.image)
        check_side(pair.image, header.height, header.width)
        wanted = self.classes.layout.orientation
        if pair.labels is None:
            turned = follows_rotation(pair.image, header, None, wanted)
            return _Checked(header.upright if turned else header[:2], header.channels, turned, header.orientation != 1)
        labels, way = read_label_map_and_way(pair.labels, self.classes)
        height, width = labels.shape
        turned = follows_rotation(pair.image, header, (height, width), wanted)
        size = header.upright if turned else header[:2]
        check_same_size(pair.image, size, pair.labels, labels.shape)
        return _Checked(size, header.channels, turned, header.orientation != 1, way == "palette")

    def _read_manifest(self) -> Manifest:
        path = self._folder / MANIFEST_FILE
        self._used_files.append(path)
        manifest = Manifest(path)
        self._rows = {name: row for row, name in enumerate(manifest.names)}
        images = {pair.name: pair.image for pair in self._pairs}
        if absent := sorted(images.keys() - self._rows.keys()):
            raise DataError(
                f"{path}: no line for {images[absent[0]].name}; its parents are unknown, remove the picture"
            )
        if absent := sorted(self._rows.keys() - images.keys()):
            raise DataError(f"{path}: names {absent[0]!r}, which is not in {self._folder}/images; remove the line")
        return manifest


class _Checked(NamedTuple):
    """What checking a pair told."""

    size: tuple[int, int]
    channels: int
    turned: bool
    tagged: bool = False
    by_palette: bool = False


def _labelled_pairs(folder: Path, layout: Layout, notes: list[str]) -> list[Pair]:
    pairs = find_pairs(folder, layout, notes)
    alone = [pair for pair in pairs if pair.labels is None]
    if len(alone) == len(pairs):
        raise DataError(f"{folder}: {len(pairs)} pictures and no label map; expected {layout.folders.labels}/NAME.png")
    if alone:
        notes.append(
            f"{len(alone)} of {len(pairs)} pictures have no label map ({alone[0].image.name}): unlabelled, not used"
        )
    return [pair for pair in pairs if pair.labels is not None]


def _groups_and_parts(
    folder: Path, pairs: list[Pair], layout: Layout
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    parts = tuple(pair.part for pair in pairs)
    kept_parts = parts if any(parts) else None
    if not layout.groups:
        return None, kept_parts
    groups, faults = layout.find_groups([pair.name for pair in pairs]), Faults()
    for pair, group in zip(pairs, groups, strict=True):
        if group is None:
            faults.add(DataError(layout.no_group(pair.name)))
    faults.raise_any(folder)
    return tuple(group or "" for group in groups), kept_parts


def _reading_notes(found: list[_Checked]) -> list[str]:
    tagged, turned = sum(f.tagged for f in found), sum(f.turned for f in found)
    by_palette = sum(f.by_palette for f in found)
    notes = []
    if turned:
        notes.append(f"{turned} pictures are turned as their rotation tag says")
    if tagged > turned:
        notes.append(f"{tagged - turned} pictures are not turned as their rotation tag says: their label maps are not")
    if by_palette:
        notes.append(
            f"{by_palette} label maps are read by the colours of their palette, which numbers the classes otherwise "
            f"than {CLASSES_FILE}"
        )
    return notes


class MadeScenes(SceneSource):
    """Scenes as a finished run of `marsgen synthesize` left them, in about 40 bytes of memory each.

    What the run wrote about them (manifest.jsonl, synth.json) is believed; a scene is checked when it is read.
    """

    def __init__(
        self, folder: Path, classes: ClassSet | None = None, *, labelled: bool = True, location: str | None = None
    ) -> None:
        """Open `folder`; arguments as for `SceneFolder`.

        Raises:
            DataError: no classes, or a malformed manifest.
        """
        self.location = location or str(folder)
        self._folder, self._labelled = folder, labelled
        self._own_classes = classes is None
        self.classes = classes or read_classes(folder / CLASSES_FILE)
        self._manifest = Manifest(folder / MANIFEST_FILE)
        self.names = self._manifest.names
        self._fingerprint = ""

    def origin(self, index: int) -> Origin:
        """Synthetic, with its ancestors."""
        return Origin("synthetic", self._manifest.ancestors(range(len(self))[index]))

    def record(self, index: int) -> dict[str, Any]:
        """See `SceneSource.record`; the manifest's line."""
        return self._manifest.record(range(len(self))[index])


class MadeFolder(MadeScenes):
    """The pictures of a finished run, one PNG pair per scene.

    No picture is read on opening; those added or taken away since are noticed by their number.
    """

    def __init__(
        self, folder: Path, classes: ClassSet | None = None, *, labelled: bool = True, location: str | None = None
    ) -> None:
        """Open `folder`; arguments as for `SceneFolder`.

        Raises:
            DataError: see `MadeScenes`; more or fewer pictures than lines in the manifest, or lines out of order.
        """
        super().__init__(folder, classes, labelled=labelled, location=location)
        if not len(self) or not self._manifest.in_order:
            raise DataError(f"{folder}/{MANIFEST_FILE}: no lines, or lines that are not in the order of their names")
        self.shape, self.channels = _read_format(folder, self.names)
        for part in ("images", "labels") if labelled else ("images",):
            suffix = suffix_of(self.channels) if part == "images" else ".png"
            if (there := _count_files(folder / part, suffix)) != len(self):
                raise DataError(f"{folder}/{part}: {there} pictures for {len(self)} lines in {MANIFEST_FILE}")

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`.

        Raises:
            DataError: a picture that is gone or damaged, or that is not of the size and kind that synth.json states.
        """
        name = self.names[index]
        path = image_path(self._folder, name, self.channels)
        image = read_image(path)
        stated = (*(self.shape or image.shape[:2]), self.channels)
        if image.shape != stated:
            raise DataError(f"{path}: {_size(image.shape)}; the others are {_size(stated)}, make the set again")
        if not self._labelled:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        label_path = self._folder / "labels" / f"{name}.png"
        labels = read_label_map(label_path, self.classes)
        check_same_size(path, stated[:2], label_path, labels.shape)
        return image, labels

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; that of the same files in a `SceneFolder`."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_sorted((name, self._folder / name) for name in self._used_files())
        return self._fingerprint

    def _used_files(self) -> Iterator[str]:
        """Relative to the folder, sorted."""
        if self._own_classes:
            yield CLASSES_FILE
        yield from (f"images/{name}{suffix_of(self.channels)}" for name in self.names)
        if self._labelled:
            yield from (f"labels/{name}.png" for name in self.names)
        yield MANIFEST_FILE


def open_folder(folder: Path, classes: ClassSet | None, *, labelled: bool, location: str) -> SceneSource:
    """Scenes of a folder of pictures; what a finished run left is not looked through first.

    Raises:
        DataError: see `SceneFolder`.
    """
    if all((folder / name).is_file() for name in ("DONE", "config.yaml", MANIFEST_FILE)):
        # a set that somebody changed since is looked through like any other, which finds words for what is wrong
        with suppress(DataError):
            return MadeFolder(folder, classes, labelled=labelled, location=location)
    return SceneFolder(folder, classes, labelled=labelled, location=location)


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
    return fingerprint_sorted(sorted((p.relative_to(folder).as_posix(), p) for p in files))


def fingerprint_sorted(files: Iterable[tuple[str, Path]]) -> str:
    """`fingerprint_files` of (name, path) pairs that come sorted by name, so that no list of them is needed.

    Raises:
        DataError: a file is gone.
    """
    digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
    for name, path in files:
        try:
            with path.open("rb") as file:
                digest.update(os.fsencode(f"{name}\0{os.fstat(file.fileno()).st_size}\0"))
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
        except FileNotFoundError:
            raise DataError(f"{path}: the file is gone; was the data set moved while it was read?") from None
    return digest.hexdigest()


def _count_files(folder: Path, suffix: str) -> int:
    """How many files of that ending lie in a folder, leftovers of a killed writer not counted; 0 for no folder."""
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        return sum(entry.name.endswith(suffix) and not entry.name.startswith(".") for entry in entries)


def _read_format(folder: Path, names: Sequence[str]) -> tuple[tuple[int, int] | None, int]:
    """Shape and channels of the images: as synth.json states them, else from every header."""
    try:
        head = read_json(folder / HEAD_FILE)
        shape, channels = head["shape"], int(head["channels"])
        return (None if shape is None else (int(shape[0]), int(shape[1]))), channels
    except (DataError, ValueError, KeyError, TypeError, IndexError):
        files = list_pictures(folder / "images")
        sizes = {probe_image(files[name]) for name in names}
    shapes, kinds = {size[:2] for size in sizes}, {size[2] for size in sizes}
    if len(kinds) > 1:
        raise DataError(f"{folder}: images of different channels")
    return (shapes.pop() if len(shapes) == 1 else None), kinds.pop()


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels in {name_channels(shape[2])}"
