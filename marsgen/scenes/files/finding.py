"""Which files of a folder are pictures, by their names alone; nothing that opens one is imported."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.scenes.faults import Faults

BANDS_SUFFIX = ".npy"
"""of pictures of more than three bands, see band_files.py"""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", BANDS_SUFFIX)
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
FOLLOW_LINKS = "MARSGEN_FOLLOW_LINKS"
"""environment variable; 1 = links in data folders may lead anywhere"""
_PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""how folders of the parts of a split are usually called"""


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
