"""`marsgen import --dry-run` of a folder that nothing explains: what its label maps hold, a classes.yaml to fill in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from marsgen.commands.import_data import draft
from marsgen.core.errors import DataError
from marsgen.scenes.classes import CLASSES_FILE, ClassSet, default_colours
from marsgen.scenes.files.finding import LABEL_SUFFIXES, list_pictures
from marsgen.scenes.files.label_maps import Colour, read_colours, read_numbers
from marsgen.scenes.files.layout import Folders, Layout
from marsgen.scenes.proposals import propose_rare, rare_rule
from marsgen.scenes.sources import label_folder

_IGNORED = 255
_MOST_CLASSES = 64
_TELLABLE = 24
"""two colours are told apart where they differ by as much in one of red, green and blue"""


def draft_classes(folder: Path) -> Iterator[str]:
    """Lines about what the label maps beside images/ hold, and a classes.yaml with names to fill in.

    Raises:
        DataError: label maps that hold neither ids nor a few colours.
    """
    place = label_folder(folder) or "labels"
    layout = Layout(folders=Folders(labels=place))
    paths = list(list_pictures(folder / place, LABEL_SUFFIXES).values())
    numbered = [read_numbers(path) for path in paths]
    if any(each is None for each in numbered):
        yield from _draft_of_colours(folder, layout, paths)
        return
    found = [each for each in numbered if each is not None]
    counts = np.array([each.counts for each in found])
    ids = [int(number) for number in np.flatnonzero(counts.sum(0))]
    if len(ids) > _MOST_CLASSES:
        raise DataError(
            f"{folder}/{place}: {len(ids)} different pixel values; this looks like soft masks or numbers of objects: "
            f"write a {CLASSES_FILE} with `map: {{0: background, 255: NAME}}`, and `threshold: 128`, for objects "
            "`threshold: 1`"
        )
    yield f"{folder}: {len(paths)} label maps; nothing says what their ids mean"
    for number in ids:
        yield f"id {number:<3}  {_share(counts, number)}"
    if ids[-1:] == [255] and set(ids) <= {0, 255}:  # a mask of one class: its pixels are labelled, all of them
        yield f"save this as {folder / CLASSES_FILE}, with the right names; 0 and 255 look like a mask of one class:"
        one = ClassSet(("background", "object"), (0, 1), tuple(default_colours(2)), _IGNORED, rare=("object",))
        yield draft(one, replace(layout, map={255: "object"})).rstrip()
        return
    names = [number for number in ids if number != _IGNORED]
    yield from _draft(
        folder, layout, names, _colours_of(ids, names, [each.palette for each in found]), counts[:, names]
    )


def _draft_of_colours(folder: Path, layout: Layout, paths: Sequence[Path]) -> Iterator[str]:
    codes: dict[int, int] = {}
    rows = []
    for path in paths:
        values, pixels = np.unique(read_colours(path).astype(np.int32) @ (65536, 256, 1), return_counts=True)
        rows.append(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
        codes |= dict.fromkeys(rows[-1], 0)
        if len(codes) > _MOST_CLASSES:
            raise DataError(
                f"{path}: with this label map there are more than {_MOST_CLASSES} colours in {path.parent}; expected "
                "one for each class, without soft edges"
            )
    order = sorted(codes)
    counts = np.array([[row.get(code, 0) for code in order] for row in rows])
    colours = [(code >> 16, code >> 8 & 255, code & 255) for code in order]
    yield f"{folder}: {len(paths)} label maps in colours; nothing says what they mean"
    for number, colour in enumerate(colours):
        yield f"id {number:<3} {list(colour)!s:<15}  {_share(counts, number)}"
    yield from _draft(folder, layout, range(len(order)), colours, counts)


def _share(counts: np.ndarray, column: int) -> str:
    share, pictures = counts[:, column].sum() / counts.sum(), np.count_nonzero(counts[:, column])
    return f"{share:>9.3%} of the pixels, in {pictures} pictures"


def _draft(
    folder: Path, layout: Layout, ids: Sequence[int], colours: Sequence[Colour], counts: np.ndarray
) -> Iterator[str]:
    """The file's lines. `counts`: (N, classes) pixels in each label map."""
    classes = ClassSet(tuple(f"class_{number}" for number in ids), tuple(ids), tuple(colours), _IGNORED)
    rare = propose_rare(classes, counts)
    if rare:
        yield f"proposed as rare: {', '.join(rare)} ({rare_rule()})"
    yield f"save this as {folder / CLASSES_FILE}, with the right names:"
    yield draft(replace(classes, rare=rare), layout).rstrip()


def _colours_of(used: Sequence[int], ids: Sequence[int], palettes: Sequence[Mapping[int, Colour]]) -> list[Colour]:
    """The colours that the palettes give to `ids`, where they agree and can be told apart; else others.

    A palette is taken at its word where it has a class's colour under another number, so a draft must not give a class
    the colour that a palette has for another one.
    """
    shown: dict[int, set[Colour]] = {number: set() for number in used}
    for palette in palettes:
        for number in shown.keys() & palette.keys():
            shown[number].add(palette[number])
    if all(len(colours) == 1 for colours in shown.values()):
        own = {number: next(iter(colours)) for number, colours in shown.items()}
        if all(_differ(own[a], own[b]) for a, b in combinations(used, 2)):
            return [own[number] for number in ids]
    taken = {colour for palette in palettes for colour in palette.values()}
    free = (colour for colour in default_colours(511) if colour not in taken)
    return [next(free) for _ in ids]


def _differ(one: Colour, other: Colour) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) >= _TELLABLE
