"""Picture files: read as exact 8-bit pixels or refused in a sentence, never rescaled or guessed at.

A picture with a rotation tag is turned only where its label map says so, see `follows_rotation`.
"""

import os
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from marsgen.core.errors import DataError
from marsgen.core.progress import ProgressBar
from marsgen.scenes.faults import Faults
from marsgen.scenes.files import band_files

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", band_files.SUFFIX)
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
FOLLOW_LINKS = "MARSGEN_FOLLOW_LINKS"
"""environment variable; 1 = links in data folders may lead anywhere"""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# 1: fastest; a synthetic pair is written once, and stronger compression saves 10 % of a photo at thrice the time
_PNG_LEVEL = 1

_PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""how folders of the parts of a split are usually called"""

Item = TypeVar("Item")
Result = TypeVar("Result")


# finding files


def list_pictures(
    folder: Path,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
    beside: Sequence[str] = (),
    faults: Faults | None = None,
    inside: Path | None = None,
) -> dict[str, Path]:
    """The pictures directly in `folder`: {name without suffix: path}, sorted by name.

    Names are in the composed normal form (NFC): an é is one letter, whichever system wrote the file. What file
    managers leave (Thumbs.db, .DS_Store, ._x) is passed over.

    Args:
        suffixes: accepted endings, lower case.
        beside: names and endings of other files that may lie there.
        faults: what is wrong is added here instead of raised.
        inside: the data folder, which no link may lead out of (see FOLLOW_LINKS); default: `folder`.
    Raises:
        DataError: no picture there, something else lies there, a link to nothing or out of the data folder, or two
            pictures share a name.
    """
    wrong = Faults() if faults is None else faults
    found: dict[str, Path] = {}
    inside = inside or folder
    before = len(wrong.sentences)
    if folder != inside and (reason := leaves(folder, inside)):
        wrong.add(reason)
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as problem:
        raise DataError(f"{folder}: cannot be listed ({problem.strerror}); check the folder") from None
    for entry in entries:
        path = folder / entry.name
        if is_clutter(path.name) or path.name in beside or path.suffix.lower() in beside:
            continue
        name = unicodedata.normalize("NFC", path.stem)
        if path.is_symlink() and not path.exists():
            wrong.add(f"{path}: a link to {os.readlink(path)}, which does not exist; mend or remove it")
        elif path.suffix.lower() not in suffixes or entry.is_dir():
            remedy = "move it elsewhere"
            if entry.is_dir() and (part := _PART_NAMES.get(name.lower())):
                remedy += (
                    f", or say in classes.yaml that it is a part of the split, as in `splits: {{{part}: {name}, ...}}`"
                )
            wrong.add(f"{path}: {_misplaced(path, suffixes)}; {remedy}")
        elif entry.is_symlink() and (reason := leaves(path, inside)):
            wrong.add(reason)
        elif not entry.is_file():
            wrong.add(f"{path}: a pipe or a device, no picture; move it elsewhere")
        elif name in found:
            wrong.add(f"{path}: {found[name].name} has the same name; keep one of the two")
        else:
            found[name] = path
    if not found and len(wrong.sentences) == before:
        wrong.add(f"{folder}: no picture in this folder; expected {', '.join(suffixes)} files")
    if faults is None:
        wrong.raise_any(folder)
    return dict(sorted(found.items()))


def leaves(path: Path, inside: Path) -> str:
    """What is wrong with a link that leads out of a data folder, or "": whoever made the data chose what is read."""
    if os.environ.get(FOLLOW_LINKS) == "1":
        return ""
    target = Path(os.path.realpath(path))
    if target.is_relative_to(os.path.realpath(inside)):
        return ""
    return (
        f"{path}: a link to {target}, which is outside of {inside}; copy the file, or set {FOLLOW_LINKS}=1 if the "
        "links are your own"
    )


def is_picture(path: Path) -> bool:
    """Whether a path ends as pictures do and is no hidden file."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(path.name)


def is_clutter(name: str) -> bool:
    """Files that file managers leave, and hidden ones; never data."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def _misplaced(path: Path, suffixes: Sequence[str]) -> str:
    if path.is_dir():
        return "a folder among the pictures"
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return "JPEG changes the ids of a label map; save label maps as PNG or TIFF"
    return f"not a picture; only {', '.join(suffixes)} files may lie here"


def check_all(
    check: Callable[[Item], Result], items: Sequence[Item], what: str, where: object = "the data set"
) -> list[Result]:
    """`check` of every item, several at a time; a slow check shows its progress.

    Raises:
        DataError: what was wrong with any of the items, all in one message that begins with `where`.
    """
    threads = min(8, os.cpu_count() or 1)
    faults = Faults()

    def attempt(item: Item) -> Result | None:
        try:
            return check(item)
        except DataError as problem:
            faults.add(problem)
            return None

    with ThreadPoolExecutor(threads) as pool:
        bar = ProgressBar(total=len(items), desc=f"checking {what}", delay=2, leave=False)
        with bar:
            results = []
            try:
                for result in pool.map(attempt, items):
                    results.append(result)
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    faults.sentences.sort()  # threads finish in any order
    faults.raise_any(where)
    return results  # type: ignore[return-value]  # None only where a fault was raised


# reading images


class Header(NamedTuple):
    """What an image file says of itself, its pixels as they are stored."""

    height: int
    width: int
    channels: int
    orientation: int
    """Exif tag 0x0112: 1 = upright, 2..8 = to be mirrored or turned for display (CIPA DC-008, 4.6.4)"""

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the tag has been followed."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def probe_image(path: Path) -> Header:
    """Size, channels and orientation of an image file from its header; the pixels are not decoded.

    Raises:
        DataError: see `read_image`.
    """
    if path.suffix.lower() == band_files.SUFFIX:
        height, width, channels = band_files.read_bands(path).shape
        return Header(height, width, channels, 1)
    with open_picture(path) as picture:
        return Header(picture.height, picture.width, _channels(picture, path), orientation_of(picture))


def follows_rotation(path: Path, header: Header, fits: tuple[int, int] | None, wanted: str = "") -> bool:
    """Whether a picture is to be turned as its rotation tag says.

    Viewers turn pictures; some labelling tools do and some do not. The (height, width) of what was drawn on the picture
    tells which it was.

    Args:
        fits: (height, width) of its label map; None = it has none, and is turned as every viewer would.
        wanted: "follow" or "ignore" decides for all pictures; "" = by size.
    Raises:
        DataError: the label map fits both ways.
    """
    if header.orientation == 1 or wanted == "ignore":
        return False
    if fits is None or wanted == "follow":
        return True
    if header.upright == header[:2]:
        raise DataError(
            f"{path}: rotation tag {header.orientation}, and its label map fits turned and unturned; say "
            "'orientation: follow' (label maps lie on the picture as viewers show it) or 'ignore' in classes.yaml"
        )
    return tuple(fits) == header.upright


def read_image(path: Path, *, turned: bool = False) -> np.ndarray:
    """(H, W, 1 or 3) uint8 pixels of a PNG, JPEG, TIFF or BMP file as stored; (H, W, bands) of a .npy file.

    Args:
        turned: follow the rotation tag.
    Raises:
        DataError: unreadable or cut short, not 8 bits a channel, neither grey nor RGB, or partly transparent.
    """
    if path.suffix.lower() == band_files.SUFFIX:
        return np.array(band_files.read_bands(path))
    with open_picture(path) as picture:
        return pixels_of(picture, path, turned=turned)


def decode_image(content: bytes, where: Path) -> np.ndarray:
    """`read_image` of a file's content, the rotation tag followed; `where` stands in messages."""
    with open_picture(where, BytesIO(content)) as picture:
        return pixels_of(picture, where, turned=True)


def pixels_of(picture: Image.Image, path: Path, *, turned: bool = False) -> np.ndarray:
    """(H, W, 1 or 3) uint8 pixels of an opened picture; see `read_image`."""
    channels = _channels(picture, path)
    flat = without_alpha(picture, path)
    if turned and (how := _TURNS.get(orientation_of(picture))) is not None:
        flat = flat.transpose(how)
    pixels = np.array(flat.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""orientation -> what makes the picture upright"""


def orientation_of(picture: Image.Image) -> int:
    # Pillow turns a TIFF by itself; of a PNG it would decode all pixels to look for a late tag
    if picture.format == "TIFF" or "exif" not in picture.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(picture.info["exif"])
        value = exif.get(0x0112, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1
    return value if value in _TURNS else 1


def read_grey(path: Path) -> np.ndarray:
    """(H, W, 1) uint8 of a picture taken by a grey camera, also where its file repeats the grey in three channels."""
    with open_picture(path) as picture:
        _channels(picture, path)
        return np.array(without_alpha(picture, path).convert("L"))[..., None]


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool: True where a mask file is not 0."""
    with open_picture(path) as picture:
        return np.array(picture.convert("L")) != 0


@contextmanager
def open_picture(path: Path, content: BytesIO | None = None) -> Iterator[Image.Image]:
    try:
        with Image.open(content or path, formats=_FORMATS) as picture:
            if picture.format == "TIFF":
                _check_bands(picture, path)
            yield picture
    except FileNotFoundError:
        raise DataError(f"{path}: the file is gone; was the data set moved while it was read?") from None
    except Image.UnidentifiedImageError:
        if content is None and (tags := tiff_tags(path)) is not None:
            raise DataError(f"{path}: {_other_bands(tags.bands, tags.bits)}") from None
        raise DataError(f"{path}: not a readable PNG, JPEG, TIFF or BMP picture; save it again as 8-bit PNG") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; cut it into tiles") from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{path}: damaged or cut short ({reason}); copy or download it again") from None


_SAMPLES, _BITS, _EXTRA = 277, 258, 338
"""TIFF tags: bands, bits of each, what the bands beyond grey or RGB are (1 and 2: transparency)"""


def _check_bands(picture: Image.Image, path: Path) -> None:
    if getattr(picture, "n_frames", 1) > 1:
        raise DataError(f"{path}: several pages in one TIFF; save one picture per file")
    tags = picture.tag_v2  # type: ignore[attr-defined]
    bands, extra = int(tags.get(_SAMPLES, 1)), tuple(tags.get(_EXTRA, ()))
    # Pillow opens other bands as RGB or grey and leaves the rest of them out
    if bands not in (1, 3) and not (bands in (2, 4) and extra and extra[0] in (1, 2)) and picture.mode != "CMYK":
        raise DataError(f"{path}: {_other_bands(bands, 8)}")


class TiffTags(NamedTuple):
    """What the header of a TIFF says."""

    bands: int
    bits: int
    """of each band, the widest"""
    numbers: frozenset[int]
    """of the tags that are there"""


def tiff_tags(path: Path) -> TiffTags | None:
    """The header of any TIFF, also of one that Pillow does not read; None for other files."""
    try:
        with path.open("rb") as file:
            tags = ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
        bits = int(max(np.atleast_1d(tags.get(_BITS, 1))))
        return TiffTags(int(tags.get(_SAMPLES, 1)), bits, frozenset(int(number) for number in tags))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error):
        return None


def _other_bands(bands: int, bits: int) -> str:
    return (
        f"a TIFF of {bands} bands of {bits} bits; expected 8-bit grey or RGB; say which bands to read, as in "
        "`marsgen import SOURCE --out my_data --set bands=[1,2,3]`"
    )


def rawmode(picture: Image.Image) -> str:
    """How the file stores a pixel, which the mode hides: 16-bit RGB and 4-bit grey come out as plain RGB and L."""
    tiles = getattr(picture, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) or not arguments else arguments[0])


def _channels(picture: Image.Image, path: Path) -> int:
    mode = picture.mode
    if mode[0] in "IF" or ";16" in rawmode(picture):
        kind = "float" if mode == "F" else "more than 8-bit"
        raise DataError(
            f"{path}: {kind} pixels without a stated range; scale them to 0..255 and save as 8-bit, or for a TIFF say "
            "what becomes 0 and 255: `marsgen import SOURCE --out my_data --set range=[LOW,HIGH]`"
        )
    if mode in ("1", "L", "LA"):
        return 1
    if mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return 1 if (palette == palette[:, :1]).all() else 3
    if mode in ("RGB", "RGBA"):
        return 3
    raise DataError(f"{path}: {mode} pixels; expected grey or RGB, save it again as one of those")


def without_alpha(picture: Image.Image, path: Path) -> Image.Image:
    if "A" not in picture.mode and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    alpha = np.asarray(rgba)[..., 3]
    if (alpha < 255).any():
        row, column = np.argwhere(alpha < 255)[0]
        if picture.format == "TIFF":
            raise DataError(
                f"{path}: {len(picture.getbands())} bands, the last one marked as transparency and not opaque at row "
                f"{row}, column {column}; if it is a measured band such as near infrared, say which bands to read: "
                "`marsgen import SOURCE --out my_data --set bands=[1,2,3]`; else save it without transparency"
            )
        raise DataError(
            f"{path}: transparent pixel at row {row}, column {column}; expected an opaque picture, "
            "save it without an alpha channel"
        )
    return rgba.convert("RGB")


# writing


def encode_image(image: np.ndarray) -> bytes:
    """(H, W, 1 or 3) uint8 -> the bytes of a PNG file; the same pixels give the same bytes. More bands: of .npy."""
    if image.shape[2] not in (1, 3):
        return band_files.encode_bands(image)
    return encode_png(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))


def encode_png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
