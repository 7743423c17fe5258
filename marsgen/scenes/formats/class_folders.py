"""One folder a class, with a mask of 0 and 255 beside each picture; a folder of empty masks shows no class.

    MT_Crack/Imgs/a.jpg  MT_Crack/Imgs/a.png      (a folder in between is passed through)
    MT_Free/Imgs/b.jpg   MT_Free/Imgs/b.png       (all 0)

The form of, among others, Huang et al. 2018, "Surface defect saliency of magnetic tile".
"""

from collections.abc import Callable
from os.path import commonprefix
from pathlib import Path, PurePosixPath

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.label_maps import read_values
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import Listing, composed, few, name_all
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

NAME = "class folders"
_LOSSY, _LOSSLESS = (".jpg", ".jpeg"), (".png", ".bmp", ".tif", ".tiff")


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    folders = _pairs(listing)
    if len(folders) < 2 or any(len(file.parts) < 2 for pairs in folders.values() for file, _ in pairs):
        return None
    count = sum(map(len, folders.values()))
    return f"{len(folders)} folders of pictures with masks beside them ({count} pairs in {few(folders)})"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read each folder's masks as the class of its name.

    Raises:
        DataError: masks that cannot be read, or that hold no value from the threshold on in any folder.
    """
    faults, notes = Faults(), []
    folders = _pairs(listing)
    shared = commonprefix(list(folders))  # noqa: RUF071 - letters are meant, not folders
    shared = shared[: shared.rfind("_") + 1]
    empty: list[str] = []
    shown: list[str] = []
    for folder, pairs in folders.items():
        try:
            full = any(bool((read_values(listing.root / mask) >= config.threshold).any()) for _, mask in pairs)
            (shown if full else empty).append(folder)
        except DataError as problem:
            faults.add(problem)
    faults.raise_any(listing.root)
    if not shown:
        raise DataError(f"{listing.root}: no mask has a pixel of {config.threshold} or more; see --set threshold=N")
    name_of = {folder: folder.removeprefix(shared) for folder in folders}
    known, ids, more = number_classes([name_of[folder] for folder in shown], classes, config)
    background = id_of(known, config.background)
    if shared:
        notes.append(
            f"classes are named after their folders, without {shared!r}: {', '.join(name_of[f] for f in shown)}"
        )
    if empty:
        notes.append(
            f"{few(empty)}: all masks are empty, so its {sum(len(folders[f]) for f in empty)} pictures show no class"
        )
    used = {file for pairs in folders.values() for pair in pairs for file in pair}
    entries = [(folder, *pair) for folder, pairs in folders.items() for pair in pairs]
    alone = [file for file in listing.pictures if file not in used]
    names = name_all([image for _, image, _ in entries] + alone)
    samples = []
    for name, (folder, image, mask) in zip(names, entries, strict=False):
        class_id = background if folder in empty else ids[name_of[folder]]
        label = _mask_reader(listing.root / mask, class_id, background, config.threshold)
        files = tuple((str(file), listing.root / file) for file in (image, mask))
        samples.append(Sample(name, listing.root / image, label, files=files))
    for name, file in zip(names[len(entries) :], alone, strict=True):
        samples.append(Sample(name, listing.root / file, None, files=((str(file), listing.root / file),)))
    return Reading(NAME, known, samples, [*notes, *more])


def _mask_reader(path: Path, class_id: int, background: int, threshold: int) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        values = read_values(path)
        if values.max() == 1:
            raise DataError(f"{path}: values 0 and 1 only; expected a mask of 0 and 255")
        between = int(np.count_nonzero((values > 0) & (values < 255)))
        words = f"mask pixels are neither 0 nor 255: from {threshold} on they belong to the class (threshold)"
        return Labelling(np.where(values >= threshold, class_id, background).astype(np.uint8), {words: between})

    return read


def _pairs(listing: Listing) -> dict[str, list[tuple[PurePosixPath, PurePosixPath]]]:
    """Top folder -> (JPEG picture, mask of the same place and name) of each pair in it."""
    masks = {_key(file): file for file in listing.with_suffix(*_LOSSLESS)}
    folders: dict[str, list[tuple[PurePosixPath, PurePosixPath]]] = {}
    for image in listing.with_suffix(*_LOSSY):
        if _key(image) in masks and len(image.parts) > 1:
            folders.setdefault(image.parts[0], []).append((image, masks[_key(image)]))
    return folders


def _key(file: PurePosixPath) -> str:
    return composed(str(file.with_suffix("")))
