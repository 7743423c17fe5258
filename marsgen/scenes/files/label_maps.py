"""Label map files: exact ids, read by numbers or by class colours, or refused in a sentence."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.pictures import encode_png, open_picture, orientation_of, rawmode, without_alpha

Colour = tuple[int, int, int]
IGNORED_COLOURS = ((32, 32, 32), (0, 0, 0))
"""colours of "no label" in label maps saved as RGB, unless a class has that colour; the first one is written"""


def read_label_map(path: Path, classes: ClassSet) -> np.ndarray:
    """(H, W) uint8 ids of a label map file, each a class or the ignored id.

    Grey and indexed files hold ids, or what `classes.layout` maps to ids; RGB files hold class colours. An indexed file
    whose palette is made of the class colours, but numbers them otherwise, is read by its colours.

    Raises:
        DataError: unreadable, or a pixel (named) is no known id or colour.
    """
    return read_label_map_and_way(path, classes)[0]


def read_label_map_and_way(path: Path, classes: ClassSet, content: bytes | None = None) -> tuple[np.ndarray, str]:
    """`read_label_map`, and "palette" where the colours of a palette were followed against its numbers, else "".

    Args:
        content: of the file, where it lies in a table; `path` then stands in messages only.
    """
    with open_picture(path, None if content is None else BytesIO(content)) as picture:
        _refuse_unfit(picture, path)
        by_palette = _ids_by_palette(picture, path, classes)
        if by_palette is not None:
            return by_palette, "palette"
        mode = picture.mode
        if mode in ("RGB", "RGBA"):
            return ids_of_colours(np.array(without_alpha(picture, path).convert("RGB")), classes, path), ""
        values = _grey_values(picture, path, classes.layout.threshold)
    layout = classes.layout
    cut = values if layout.threshold is None else np.where(values >= layout.threshold, 255, 0).astype(np.uint8)
    ids = classes.id_of_value[cut] if layout.map else cut
    if not classes.knows(ids):
        _refuse_soft_mask(values, classes, path)
        classes.check_labels(ids, str(path))
    return ids, ""


def read_values(path: Path) -> np.ndarray:
    """(H, W) uint8 of a grey or indexed file as its pixels are numbered, whatever they mean.

    Raises:
        DataError: unreadable, in colours, or of more than 8 bits.
    """
    with open_picture(path) as picture:
        _refuse_unfit(picture, path)
        if picture.mode in ("RGB", "RGBA"):
            raise DataError(f"{path}: {picture.mode} label map; expected grey or indexed pixels")
        return _grey_values(picture, path)


class Numbered(NamedTuple):
    """What a label map of ids holds."""

    counts: np.ndarray
    """(256,) pixels of each number"""
    palette: Mapping[int, Colour]
    """colours of the numbers that are there; empty without a palette"""


def read_numbers(path: Path) -> Numbered | None:
    """Counts and palette of a grey or indexed file; None for a file in colours.

    Raises:
        DataError: unreadable, or of more than 8 bits.
    """
    with open_picture(path) as picture:
        _refuse_unfit(picture, path)
        if picture.mode in ("RGB", "RGBA"):
            return None
        counts = np.bincount(_grey_values(picture, path).ravel(), minlength=256)
        palette = _palette(picture)
        return Numbered(counts, {n: palette[n] for n in np.flatnonzero(counts).tolist() if n in palette})


def _palette(picture: Image.Image) -> dict[int, Colour]:
    if picture.mode != "P":
        return {}
    colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3).tolist()
    return {number: (red, green, blue) for number, (red, green, blue) in enumerate(colours)}


def read_colours(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of a label map in colours, indexed or RGB.

    Raises:
        DataError: unreadable, or partly transparent.
    """
    with open_picture(path) as picture:
        _refuse_unfit(picture, path)
        return np.array(without_alpha(picture, path).convert("RGB"))


def _refuse_unfit(picture: Image.Image, path: Path) -> None:
    if picture.format == "JPEG":
        raise DataError(
            f"{path}: JPEG data in a file named {path.suffix}; JPEG changes the ids of a label map, save it as PNG"
        )
    if orientation_of(picture) != 1:
        raise DataError(f"{path}: a label map with a rotation tag; save it upright and without the tag")
    if picture.mode == "F" or (";16" in rawmode(picture) and picture.mode[0] != "I"):
        raise DataError(f"{path}: {picture.mode} label map of more than 8 bits; expected 8-bit ids or class colours")


def _grey_values(picture: Image.Image, path: Path, threshold: int | None = None) -> np.ndarray:
    """(H, W) uint8; of wider pixels, which number objects, 255 from `threshold` on and 0 below it."""
    mode, raw = picture.mode, rawmode(picture)
    if raw.startswith(("L;", "1;I")):
        raise DataError(f"{path}: ids stored as {raw} grey levels, which readers rescale; save it as 8-bit PNG")
    if mode[0] == "I":
        wide = np.array(picture)
        return _narrow(wide, path) if threshold is None else np.where(wide >= threshold, 255, 0).astype(np.uint8)
    if mode in ("1", "L", "P"):
        return np.array(picture).astype(np.uint8)
    if mode == "LA":
        return np.array(without_alpha(picture, path).convert("RGB"))[..., 0].copy()
    raise DataError(f"{path}: {mode} label map; expected ids (grey or indexed) or class colours (RGB)")


def _ids_by_palette(picture: Image.Image, path: Path, classes: ClassSet) -> np.ndarray | None:
    """Ids by the colours of an indexed file that numbers the class colours in its own way; None = go by its numbers."""
    layout = classes.layout
    if picture.mode != "P" or not classes.own_colours or layout.map or layout.threshold is not None:
        return None
    numbers = np.array(picture)
    palette = _palette(picture)
    used = np.unique(numbers).tolist()
    if used[-1] >= len(palette):
        return None
    shown = [(number, palette[number]) for number in used]
    id_of = dict(zip(classes.colours, classes.ids, strict=True))
    if len(id_of) < len(classes):
        return None
    contradicting = [(number, colour) for number, colour in shown if id_of.get(colour, number) != number]
    if not contradicting:
        return None
    number, colour = contradicting[0]
    names = dict(zip(classes.ids, classes.names, strict=True))
    unknown = [c for _, c in shown if c not in id_of and c not in IGNORED_COLOURS]
    if unknown:
        raise DataError(
            f"{path}: number {number} of its palette has the colour of {names[id_of[colour]]} {colour}, whose id is "
            f"{id_of[colour]}, and {unknown[0]} is no class's colour; correct the colours in classes.yaml, or leave "
            "them out to go by the numbers"
        )
    return ids_of_colours(np.array(list(palette.values()), np.uint8)[numbers], classes, path)


_SOFT_LEVELS = 8
"""that many pixel values of no class are no slip of a labelling tool"""


def _refuse_soft_mask(values: np.ndarray, classes: ClassSet, path: Path) -> None:
    """Words for masks that are no label maps of ids: grey levels between 0 and 255, or 0 and 255 only."""
    levels = np.unique(values)
    known = {*classes.ids, classes.ignored, *classes.layout.map}
    unknown = [int(level) for level in levels if int(level) not in known]
    example = f"map: {{0: {classes.names[0]}, 255: {classes.names[-1]}}}"
    if len(unknown) >= _SOFT_LEVELS and levels[-1] > 127:
        raise DataError(
            f"{path}: {len(levels)} grey levels in {levels[0]}..{levels[-1]}, this looks like a soft mask; say in "
            f"classes.yaml where to cut and what the two sides are, as in `threshold: 128` and `{example}`"
        )
    if unknown == [255]:
        row, column = np.argwhere(values == 255)[0]
        raise DataError(
            f"{path}: pixel value 255 at row {row}, column {column} is no class; this looks like a mask of 0 and 255, "
            f"say in classes.yaml what they mean, as in `{example}`"
        )


def _narrow(ids: np.ndarray, path: Path) -> np.ndarray:
    wrong = (ids < 0) | (ids > 255)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: label {ids[row, column]} at row {row}, column {column}; ids lie in 0..255. Where each number is "
            "an object, say in classes.yaml what objects are: `threshold: 1` and `map: {0: background, 255: NAME}`"
        )
    return ids.astype(np.uint8)


def ids_of_colours(colours: np.ndarray, classes: ClassSet, path: Path) -> np.ndarray:
    """(H, W, 3) uint8 class colours -> (H, W) uint8 ids; `IGNORED_COLOURS` that are no class's become the ignored id.

    Raises:
        DataError: a colour of no class, or two classes of one colour.
    """
    if len(set(classes.colours)) != len(classes):
        raise DataError(f"{path}: label map in colours, but two classes have the same colour; give each its own")
    id_of = dict.fromkeys(IGNORED_COLOURS, classes.ignored) | dict(zip(classes.colours, classes.ids, strict=True))
    codes = _codes(colours)
    known = _codes(np.array(list(id_of), np.uint8))
    order = np.argsort(known)
    place = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    unknown = known[place] != codes
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        palette = ", ".join(f"{name} {colour}" for name, colour in zip(classes.names, classes.colours, strict=True))
        raise DataError(
            f"{path}: colour {tuple(colours[row, column].tolist())} at row {row}, column {column} is no class's; "
            f"expected {palette}, or {IGNORED_COLOURS[0]} for no label; paint the pixel anew or add a class"
        )
    return np.array(list(id_of.values()), np.uint8)[place]


def _codes(colours: np.ndarray) -> np.ndarray:
    return colours.astype(np.int32) @ np.array([65536, 256, 1], np.int32)


def encode_label_map(labels: np.ndarray, classes: ClassSet) -> bytes:
    """(H, W) uint8 ids -> the bytes of an indexed PNG: pixel value = id, palette = class colours."""
    picture = Image.fromarray(labels)
    shown = np.arange(max(*classes.ids, classes.ignored) + 1)
    picture.putpalette(classes.paint(shown).tobytes())
    return encode_png(picture)
