"""Picture files: read as exact 8-bit pixels or refused in a sentence, never rescaled, turned or guessed at."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
IGNORED_COLOURS = ((32, 32, 32), (0, 0, 0))
"""colours of "no label" in label maps saved as RGB, unless a class has that colour; the first one is written"""

FOLLOW_LINKS = "MARSGEN_FOLLOW_LINKS"
"""environment variable; 1 = links in data folders may lead anywhere"""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# 1: fastest; a synthetic pair is written once, and stronger compression saves 10 % of a photo at thrice the time
_PNG_LEVEL = 1

Item = TypeVar("Item")
Result = TypeVar("Result")


# finding files


def list_pictures(
    folder: Path,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
    beside: Sequence[str] = (),
    inside: Path | None = None,
) -> dict[str, Path]:
    """The pictures directly in `folder`: {name without suffix: path}, sorted by name.

    Args:
        suffixes: accepted endings, lower case.
        beside: names of other files that may lie there.
        inside: the data folder, which no link may lead out of (see FOLLOW_LINKS); default: `folder`.
    Raises:
        DataError: no picture there, something else lies there, a link that leads elsewhere, or two pictures share a
            name.
    """
    found: dict[str, Path] = {}
    inside = inside or folder
    if folder != inside and folder.is_symlink():
        _refuse_link(folder, inside)
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as problem:
        raise DataError(f"{folder}: cannot be listed ({problem.strerror}); check the folder") from None
    for entry in entries:
        path = folder / entry.name
        if path.name.startswith(".") or path.name in beside:
            continue
        if path.suffix.lower() not in suffixes or entry.is_dir():
            raise DataError(f"{path}: {_misplaced(path, suffixes)}; move it elsewhere")
        if entry.is_symlink():
            _refuse_link(path, inside)
        if not entry.is_file():
            raise DataError(f"{path}: a pipe, a device or a link to nothing, no picture; move it elsewhere")
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same name; keep one of the two")
        found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: no picture in this folder; expected {', '.join(suffixes)} files")
    return dict(sorted(found.items()))


def _refuse_link(path: Path, inside: Path) -> None:
    """Raise DataError for a link that leads out of a data folder: whoever made the data chose what would be read."""
    if os.environ.get(FOLLOW_LINKS) == "1":
        return
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(inside)):
        raise DataError(
            f"{path}: a link to {target}, which is outside of {inside}; copy the file, or set {FOLLOW_LINKS}=1 if "
            "the links are your own"
        )


def _misplaced(path: Path, suffixes: Sequence[str]) -> str:
    if path.is_dir():
        return "a folder among the pictures"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "JPEG changes the ids of a label map; save label maps as PNG or TIFF"
    return f"not a picture; only {', '.join(suffixes)} files may lie here"


def check_all(check: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """`check` of every item, several at a time; the first item's error comes first. A slow check shows its progress."""
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        bar = tqdm(total=len(items), desc=f"checking {what}", delay=2, leave=False)
        with bar:
            results = []
            try:
                for result in pool.map(check, items):
                    results.append(result)
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return results


# reading images


def probe_image(path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of an image file from its header; the pixels are not decoded.

    Raises:
        DataError: see `read_image`.
    """
    with _opened(path) as picture:
        return picture.height, picture.width, _channels(picture, path)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 1 or 3) uint8 pixels of a PNG, JPEG, TIFF or BMP file as stored; rotation tags are not followed.

    Raises:
        DataError: unreadable or cut short, not 8 bits a channel, neither grey nor RGB, or partly transparent.
    """
    with _opened(path) as picture:
        channels = _channels(picture, path)
        flat = _without_alpha(picture, path)
        pixels = np.array(flat.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def read_grey(path: Path) -> np.ndarray:
    """(H, W, 1) uint8 of a picture taken by a grey camera, also where its file repeats the grey in three channels."""
    with _opened(path) as picture:
        _channels(picture, path)
        return np.array(_without_alpha(picture, path).convert("L"))[..., None]


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool: True where a mask file is not 0."""
    with _opened(path) as picture:
        return np.array(picture.convert("L")) != 0


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            if picture.format == "TIFF" and getattr(picture, "n_frames", 1) > 1:
                raise DataError(f"{path}: several pages in one TIFF; save one picture per file")
            yield picture
    except FileNotFoundError:
        raise DataError(f"{path}: the file is gone; was the data set moved while it was read?") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: not a readable PNG, JPEG, TIFF or BMP picture; save it again as 8-bit PNG") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; cut it into tiles") from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{path}: damaged or cut short ({reason}); copy or download it again") from None


def _rawmode(picture: Image.Image) -> str:
    """How the file stores a pixel, which the mode hides: 16-bit RGB and 4-bit grey come out as plain RGB and L."""
    tiles = getattr(picture, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) or not arguments else arguments[0])


def _channels(picture: Image.Image, path: Path) -> int:
    mode = picture.mode
    if mode[0] in "IF" or ";16" in _rawmode(picture):
        kind = "float" if mode == "F" else "more than 8-bit"
        raise DataError(f"{path}: {kind} pixels without a stated range; scale them to 0..255 and save as 8-bit")
    if mode in ("1", "L", "LA"):
        return 1
    if mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return 1 if (palette == palette[:, :1]).all() else 3
    if mode in ("RGB", "RGBA"):
        return 3
    raise DataError(f"{path}: {mode} pixels; expected grey or RGB, save it again as one of those")


def _without_alpha(picture: Image.Image, path: Path) -> Image.Image:
    if "A" not in picture.mode and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    alpha = np.asarray(rgba)[..., 3]
    if (alpha < 255).any():
        row, column = np.argwhere(alpha < 255)[0]
        raise DataError(
            f"{path}: transparent pixel at row {row}, column {column}; expected an opaque picture, "
            "save it without an alpha channel"
        )
    return rgba.convert("RGB")


# reading label maps


def read_label_map(path: Path, classes: ClassSet) -> np.ndarray:
    """(H, W) uint8 ids of a label map file, each a class or the ignored id.

    Grey and indexed files hold ids (an indexed file's palette is only for the eye); RGB files hold class colours.

    Raises:
        DataError: unreadable, or a pixel (named) is no known id or colour.
    """
    ids = _read_ids(path, classes)
    classes.check_labels(ids, str(path))
    return ids


def _read_ids(path: Path, classes: ClassSet) -> np.ndarray:
    with _opened(path) as picture:
        mode, raw = picture.mode, _rawmode(picture)
        if mode == "F" or (";16" in raw and mode[0] != "I"):
            raise DataError(f"{path}: {mode} label map of more than 8 bits; expected 8-bit ids or class colours")
        if raw.startswith(("L;", "1;I")):
            raise DataError(f"{path}: ids stored as {raw} grey levels, which readers rescale; save it as 8-bit PNG")
        if mode[0] == "I":
            return _narrow(np.array(picture), path)
        if mode in ("1", "L", "P"):
            return np.array(picture).astype(np.uint8)
        if mode not in ("LA", "RGB", "RGBA"):
            raise DataError(f"{path}: {mode} label map; expected ids (grey or indexed) or class colours (RGB)")
        colours = np.array(_without_alpha(picture, path).convert("RGB"))
    return colours[..., 0].copy() if mode == "LA" else _ids_of_colours(colours, classes, path)


def _narrow(ids: np.ndarray, path: Path) -> np.ndarray:
    wrong = (ids < 0) | (ids > 255)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(f"{path}: label {ids[row, column]} at row {row}, column {column}; ids lie in 0..255")
    return ids.astype(np.uint8)


def _ids_of_colours(colours: np.ndarray, classes: ClassSet, path: Path) -> np.ndarray:
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


# writing


def encode_image(image: np.ndarray) -> bytes:
    """(H, W, 1 or 3) uint8 -> the bytes of a PNG file; the same pixels give the same bytes."""
    return _encode(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))


def encode_label_map(labels: np.ndarray, classes: ClassSet) -> bytes:
    """(H, W) uint8 ids -> the bytes of an indexed PNG: pixel value = id, palette = class colours."""
    picture = Image.fromarray(labels)
    shown = np.arange(max(*classes.ids, classes.ignored) + 1)
    picture.putpalette(classes.paint(shown).tobytes())
    return _encode(picture)


def _encode(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
