"""Pictures and, apart from them, a mask of 0 and 255 for each kind of thing that a picture shows; most show none.

    images/a.png  masks/a_scratch.png  masks/a_hole.png            the kind ends the file's name, or
    images/a.png  masks/scratch/a.png                               is the folder that the mask is in
    test/scratch/000.png  ground_truth/scratch/000_mask.png         (MVTec AD)
    test/good/000.png                                               (no mask: shows no kind)

The last is the form of Bergmann et al. 2019, "MVTec AD".
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import read_values
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import PART_WORDS, Listing, composed, few, name_all
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

NAME = "kind masks"
_FOLDERS = {"mask", "masks", "ground_truth", "groundtruth", "gt"}
_LOSSLESS = {".png", ".bmp", ".tif", ".tiff"}
_MASK_WORDS = ("_mask", "-mask", "_gt")


@dataclass(frozen=True)
class _Found:
    """What the names of the files say."""

    masks: dict[PurePosixPath, list[tuple[str, PurePosixPath]]]
    """picture -> its kinds and their masks; pictures without any are there, too"""
    lost: list[PurePosixPath]
    """masks that belong to no picture"""

    @property
    def kinds(self) -> list[str]:
        return sorted({kind for masks in self.masks.values() for kind, _ in masks})


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    found = _pair(listing)
    count = sum(map(len, found.masks.values()))
    if not count or len(found.lost) > count:
        return None
    return f"{count} masks that are named after a picture and a kind ({few(found.kinds)})"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read the masks of each picture into one label map; where two meet, `overlap` decides.

    Raises:
        DataError: masks that belong to no picture.
    """
    found = _pair(listing)
    if found.lost:
        raise DataError(
            f"{listing.root}: {few(found.lost)}: masks that belong to no picture; expected NAME_KIND.png or "
            "KIND/NAME.png for a picture NAME"
        )
    known, ids, more = number_classes(found.kinds, classes, config)
    background = id_of(known, config.background)
    bare = [image for image, masks in found.masks.items() if not masks]
    notes = []
    if bare:
        notes.append(f"{len(bare)} of {len(found.masks)} pictures have no mask, so they show no class ({few(bare, 2)})")
    samples = []
    for name, (image, masks) in zip(name_all(list(found.masks)), found.masks.items(), strict=True):
        parts = [(ids[kind], listing.root / mask) for kind, mask in masks]
        files = tuple((str(file), listing.root / file) for file in (image, *(mask for _, mask in masks)))
        samples.append(Sample(name, listing.root / image, _labels(parts, background, config), files=files))
    return Reading(NAME, known, samples, [*notes, *more])


def _labels(
    masks: list[tuple[int, Path]], background: int, config: ReadingConfig
) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        labels, between, twice = np.full(size, background, np.uint8), 0, np.zeros(size, np.uint8)
        shapes = []
        for class_id, path in masks:
            values = read_values(path)
            if values.shape != size:
                raise DataError(f"{path}: {values.shape[0]} x {values.shape[1]} pixels, but its picture has "
                                f"{size[0]} x {size[1]}; give both the same size")  # fmt: skip
            top = int(values.max(initial=0))
            shown = values == 1 if top == 1 else values >= config.threshold
            between += int(np.count_nonzero((values > 0) & (values < 255))) if top > 1 else 0
            twice += shown
            shapes.append((class_id, shown))
        if config.overlap in ("smaller", "larger"):
            shapes.sort(key=lambda item: np.count_nonzero(item[1]), reverse=config.overlap == "smaller")
        elif config.overlap == "first":
            shapes.reverse()
        for class_id, shown in shapes:
            labels[shown] = class_id
        t = config.threshold
        return Labelling(labels, {
            f"mask pixels are neither 0 nor 255: from {t} on they belong to the class (threshold)": between,
            f"pixels lie in two masks: the {config.overlap} keeps them (overlap)": int(np.count_nonzero(twice > 1)),
        })  # fmt: skip

    return read


def _pair(listing: Listing) -> _Found:
    """Masks by picture, from names alone."""
    masks, pictures = [], []
    for file in listing.pictures:
        depth = next((n for n, part in enumerate(file.parts[:-1]) if part.lower() in _FOLDERS), None)
        if depth is None:
            pictures.append(file)
        elif file.suffix.lower() in _LOSSLESS:
            masks.append((file, file.parts[depth + 1 : -1]))
    by_stem: dict[str, list[PurePosixPath]] = {}
    for picture in pictures:
        by_stem.setdefault(composed(picture.stem), []).append(picture)
    found: dict[PurePosixPath, list[tuple[str, PurePosixPath]]] = {picture: [] for picture in pictures}
    lost = []
    for file, inner in masks:
        pair = _of_folder(file, inner, by_stem) or _of_name(file, by_stem)
        if pair is None:
            lost.append(file)
        else:
            found[pair[0]].append((pair[1], file))
    return _Found(found, lost)


def _of_folder(
    file: PurePosixPath, inner: tuple[str, ...], by_stem: dict[str, list[PurePosixPath]]
) -> tuple[PurePosixPath, str] | None:
    """(picture, kind) of a mask whose innermost folder is the kind; a part of a split is none."""
    if not inner or inner[-1].lower() in PART_WORDS:
        return None
    stem, kind = composed(file.stem), composed(inner[-1])
    marked = next((stem.removesuffix(word) for word in _MASK_WORDS if stem.endswith(word)), stem)
    for name in dict.fromkeys((marked, stem)):
        beside = [picture for picture in by_stem.get(name, []) if composed(picture.parent.name) == kind]
        # a folder of label maps has the same folders as its pictures and the same names: that is no kind
        if len(beside) == 1 and name != stem:
            return beside[0], kind
        if not beside and len(by_stem.get(name, [])) == 1:
            return by_stem[name][0], kind
    return None


def _of_name(file: PurePosixPath, by_stem: dict[str, list[PurePosixPath]]) -> tuple[PurePosixPath, str] | None:
    """(picture, kind) of a mask NAME_KIND."""
    stem = composed(file.stem)
    if stem in by_stem or any(stem.endswith(word) for word in _MASK_WORDS):
        return None
    words = stem.split("_")
    for n in range(len(words) - 1, 0, -1):
        named = by_stem.get("_".join(words[:n]), [])
        if len(named) == 1:
            return named[0], "_".join(words[n:])
    return None
