"""Which picture of a folder belongs to which label map, by their names, as the folder's layout says it."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.finding import IMAGE_SUFFIXES, LABEL_SUFFIXES, list_pictures
from marsgen.scenes.files.layout import Folders, Layout, read_names

_LOSSY = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Pair:
    """The files of one scene."""

    name: str
    image: Path
    labels: Path | None
    """None: unlabelled"""
    part: str = ""
    """train, val or test where the data set says it"""


def find_pairs(folder: Path, layout: Layout, notes: list[str]) -> list[Pair]:
    """Pairs and unlabelled pictures, sorted by name.

    Args:
        notes: what was left out is added here, a sentence each.
    Raises:
        DataError: folders that are missing, label maps without a picture, files that cannot belong there; all of them
            in one message.
    """
    faults = Faults()
    by_folder = {part: place for part, place in layout.splits.items() if isinstance(place, Folders)}
    found: dict[str, list[Pair]] = {}
    for part, place in by_folder.items() or (("", layout.folders),):
        for pair in _pairs_of(folder, place, layout.suffix, faults):
            found.setdefault(pair.name, []).append(replace(pair, part=part))
    faults.raise_any(folder)
    if any(len(pairs) > 1 for pairs in found.values()):  # the same name in two parts
        pairs = [replace(p, name=f"{p.part}-{p.name}") for same in found.values() for p in same]
    else:
        pairs = [pair for (pair,) in found.values()]
    pairs.sort(key=lambda pair: pair.name)
    if layout.splits and not by_folder:
        pairs = _in_listed_parts(folder, pairs, layout, faults, notes)
    faults.raise_any(folder)
    return pairs


def find_images(folder: Path, layout: Layout, beside: Iterable[str]) -> list[Pair]:
    """The pictures alone: those of the layout's folders, else those that lie directly in `folder`.

    Raises:
        DataError: no pictures, or something else among them.
    """
    faults = Faults()
    places = [place for place in layout.splits.values() if isinstance(place, Folders)] or [layout.folders]
    there = [folder / place.images for place in places if (folder / place.images).is_dir()]
    found: dict[str, Path] = {}
    for inner in there or [folder]:
        listed = list_pictures(inner, faults=faults, inside=folder, beside=() if there else tuple(beside))
        if layout.suffix:
            listed = {name: path for name, path in listed.items() if not name.endswith(layout.suffix)}
        if twins := sorted(found.keys() & listed.keys()):
            faults.add(f"{listed[twins[0]]}: {found[twins[0]]} has the same name; rename one of the two")
        found |= listed
    faults.raise_any(folder)
    return [Pair(name, found[name], None) for name in sorted(found)]


def _pairs_of(folder: Path, place: Folders, suffix: str, faults: Faults) -> Iterator[Pair]:
    missing = [part for part in (place.images, place.labels) if not (folder / part).is_dir()]
    if missing:
        expected = f"{place.images}/ and {place.labels}/"
        faults.add(
            f"{folder}: no {missing[0]}/ in this folder; expected {expected} with files of the same names, "
            "or name other folders in classes.yaml (images: ..., labels: ...)"
        )
        return
    if place.images == place.labels:
        images, labels = _sort_out(folder, place.images, suffix, faults)
    else:
        images = list_pictures(folder / place.images, faults=faults, inside=folder)
        labels = list_pictures(folder / place.labels, LABEL_SUFFIXES, faults=faults, inside=folder)
        if suffix and not faults:
            labels = _without_suffix(labels, suffix, faults)
    if faults:
        return
    alone = sorted(labels.keys() - images.keys())
    if alone and not labels.keys() & images.keys():
        faults.add(
            f"{folder}: no label map has the name of a picture ({next(iter(labels.values())).name} beside "
            f"{next(iter(images.values())).name}); name what label maps have more with 'suffix:' in classes.yaml"
        )
    elif alone:
        faults.add(
            f"{labels[alone[0]]}: no image {place.images}/{alone[0]}.png{and_more(alone)}; "
            "add it or remove the label map"
        )
    yield from (Pair(name, image, labels.get(name)) for name, image in images.items())


def _sort_out(root: Path, inner: str, suffix: str, faults: Faults) -> tuple[dict[str, Path], dict[str, Path]]:
    """Pictures and label maps that lie in one folder: told apart by the suffix, or as JPEG and PNG of one name."""
    folder = root / inner
    if suffix:
        everything = list_pictures(folder, faults=faults, inside=root)
        labels = {name: path for name, path in everything.items() if name.endswith(suffix)}
        images = {name: path for name, path in everything.items() if name not in labels}
        return images, _without_suffix(labels, suffix, faults)
    images = list_pictures(folder, _LOSSY, beside=LABEL_SUFFIXES, faults=faults, inside=root)
    labels = list_pictures(folder, LABEL_SUFFIXES, beside=_LOSSY, faults=faults, inside=root)
    return images, labels


def _without_suffix(labels: dict[str, Path], suffix: str, faults: Faults) -> dict[str, Path]:
    suffix = unicodedata.normalize("NFC", suffix)
    if other := next((path for name, path in labels.items() if not name.endswith(suffix)), None):
        faults.add(f"{other}: a label map whose name does not end in {suffix!r}, the suffix of classes.yaml")
    return {name.removesuffix(suffix): path for name, path in labels.items()}


def _in_listed_parts(folder: Path, pairs: list[Pair], layout: Layout, faults: Faults, notes: list[str]) -> list[Pair]:
    """The pairs that the lists of the layout name, with their parts."""
    part_of: dict[str, str] = {}
    known = {pair.name for pair in pairs}
    for part, listed in layout.splits.items():
        try:
            names = read_names(folder / listed) if isinstance(listed, str) else listed
        except DataError as problem:
            faults.add(problem)
            continue
        assert not isinstance(names, Folders)
        for text in names:
            name = plain_name(text)
            if name not in known:
                faults.add(f"splits.{part}: {text!r} is no picture of this folder; correct the list")
            elif part_of.setdefault(name, part) != part:
                faults.add(f"{text!r} is in {part_of[name]} and in {part}; keep it in one part")
    left = sum(pair.name not in part_of for pair in pairs)
    if left and not faults:
        notes.append(f"{left} pictures are in no part that 'splits' names; they are left out")
    return [replace(pair, part=part_of[pair.name]) for pair in pairs if pair.name in part_of]


def plain_name(text: str) -> str:
    """The name of a picture as lists write it: with or without folders and suffix, in any normal form."""
    name = unicodedata.normalize("NFC", text).replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def and_more(alone: list[str]) -> str:
    """Words for the rest of a list of which a message names the first."""
    return f" (the same for {len(alone) - 1} more)" if len(alone) > 1 else ""
