"""YOLO-seg: a text file for each picture, a line for each object: class and outline in shares of width and height.

    data.yaml                  names: [crack, hole]          (or classes.txt)
    images/train/a.jpg         labels/train/a.txt   0 0.1 0.2 0.3 0.2 0.3 0.4
    train/images/a.jpg         train/labels/a.txt            (the same, folders the other way round)

Source: docs.ultralytics.com/datasets/segment.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_text, read_yaml, shorten
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.faults import Faults
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.labelme import label_objects
from marsgen.scenes.formats.listing import Listing, composed, few, name_all, part_of
from marsgen.scenes.formats.objects import LabelledObject, Outlines
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

NAME = "YOLO"
_NAME_FILES = ("classes.txt", "obj.names")
_PROBED = 20


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    texts = _label_files(listing)
    if not texts or not all(_is_yolo(listing, file) for file in texts[:_PROBED]):
        return None
    return f"{len(texts)} YOLO label files ({few(texts, 2)})"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read the label file of every picture; a picture without one shows no object.

    Raises:
        DataError: no names, a line that is no outline, label files without picture; all of them in one message.
    """
    faults, counts = Faults(), Counter[str]()
    names = _class_names(listing, classes)
    texts = {_key(file): file for file in _label_files(listing)}
    pictures = {_key(file): file for file in listing.pictures}
    for key in sorted(texts.keys() - pictures.keys()):
        faults.add(f"{listing.root / texts[key]}: no picture of this name in images/")
    lines = {key: _outlines(listing, file, names, faults, counts) for key, file in texts.items()}
    faults.raise_any(listing.root)
    if counts["boxes"] and not counts["drawn"]:
        raise DataError(
            f"{listing.root}: {counts['boxes']} objects are boxes without outlines; label maps need outlines"
        )
    shown = {name for found in lines.values() for name, _ in found}
    known, ids, notes = number_classes([n for n in names if n in shown or classes], classes, config)
    background = id_of(known, config.background)
    empty = [file for key, file in pictures.items() if key not in texts]
    if empty:
        notes.append(f"{len(empty)} pictures have no label file ({few(empty, 1)}): in YOLO that means no object")
    if unused := [name for name in names if name not in shown and not classes]:
        notes.append(f"{len(unused)} names without an object are left out ({few(unused)})")
    if counts["boxes"]:
        notes.append(f"{counts['boxes']} objects are boxes without outlines: left out")
    samples = []
    for key, name in zip(pictures, name_all(list(pictures.values())), strict=True):
        used = [pictures[key], *([texts[key]] if key in texts else [])]
        draw = _drawer([(ids[label], points) for label, points in lines.get(key, [])], background, config)
        files = tuple((str(file), listing.root / file) for file in used)
        samples.append(Sample(name, listing.root / pictures[key], draw, part_of(pictures[key]), None, files))
    return Reading(NAME, known, samples, notes)


def _drawer(lines: list[tuple[int, np.ndarray]], background: int, config: ReadingConfig) -> Any:
    def draw(size: tuple[int, int]) -> Labelling:
        scale = np.array([size[1], size[0]])
        objects = [LabelledObject(class_id, Outlines((points * scale,))) for class_id, points in lines]
        return label_objects(objects, size, background, config)

    return draw


def _label_files(listing: Listing) -> list[PurePosixPath]:
    return [file for file in listing.with_suffix(".txt") if "labels" in file.parts[:-1]]


def _key(file: PurePosixPath) -> str:
    """The same for a picture and its label file: the path without suffix, images/ and labels/ taken as one."""
    folders = list(file.parts[:-1])
    for place in reversed(range(len(folders))):
        if folders[place] in ("images", "labels"):
            folders[place] = "*"
            break
    return composed("/".join([*folders, file.stem]))


def _is_yolo(listing: Listing, file: PurePosixPath) -> bool:
    try:
        first = read_text(listing.root / file).split("\n", 1)[0].split()
        return not first or (first[0].isdecimal() and len(first) >= 5 and all(_is_number(word) for word in first))
    except DataError:
        return False


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _class_names(listing: Listing, classes: ClassSet | None) -> list[str]:
    for file in listing.with_suffix(".yaml", ".yml"):
        content = read_yaml(listing.root / file, as_texts=True)
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
        if isinstance(names, dict) and sorted(names) == sorted(str(n) for n in range(len(names))):
            return [str(names[str(number)]) for number in range(len(names))]
        if names is not None:
            raise DataError(
                f"{listing.root / file}: names is {shorten(repr(names))}; expected a list, or 0: ..., 1: ..."
            )
    for file in listing.files:
        if file.name in _NAME_FILES:
            return read_text(listing.root / file).splitlines()
    if classes is not None:
        return list(classes.names)
    raise DataError(
        f"{listing.root}: YOLO label files and no names; expected data.yaml with `names:`, classes.txt, or "
        "--classes FILE"
    )


def _outlines(
    listing: Listing, file: PurePosixPath, names: list[str], faults: Faults, counts: Counter[str]
) -> list[tuple[str, np.ndarray]]:
    found = []
    for number, line in enumerate(read_text(listing.root / file).splitlines(), start=1):
        words, where = line.split(), f"{listing.root / file}: line {number}"
        if not words:
            continue
        if not words[0].isdecimal() or not all(_is_number(word) for word in words[1:]):
            faults.add(f"{where} is no class and numbers")
        elif int(words[0]) >= len(names):
            faults.add(f"{where}: class {words[0]}, but there are {len(names)} names ({few(names)})")
        elif len(words) == 5:
            counts["boxes"] += 1
        elif len(words) < 7 or len(words) % 2 == 0:
            faults.add(f"{where}: {len(words) - 1} numbers; an outline has x and y of three points or more")
        else:
            points = np.array(words[1:], np.float64).reshape(-1, 2)
            if points.min() < -0.01 or points.max() > 1.01:
                faults.add(f"{where}: values in {points.min():g}..{points.max():g}; YOLO has shares of the side, 0..1")
                continue
            counts["drawn"] += 1
            found.append((names[int(words[0])], points))
    return found
