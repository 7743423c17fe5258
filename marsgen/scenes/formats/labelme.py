"""LabelMe: one json beside each picture, with outlines of objects.

    a.jpg  a.json   {"shapes": [{"label", "points", "shape_type", "mask"}], "imagePath", "imageHeight", ...}

Source: github.com/wkentaro/labelme, labelme/_label_file.py and labelme/utils/shape.py.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_json
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.pictures import decode_image
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import Listing, few, name_all, part_of
from marsgen.scenes.formats.objects import LabelledObject, Outlines, Window, draw_objects
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

NAME = "LabelMe"
_CIRCLE_CORNERS = 128
_PROBED = 3  # files looked into before a folder is called LabelMe


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    files = _files(listing)
    kinds = [_is_labelme(listing.root / file) for file in files[:_PROBED]]
    if not any(kinds) or False in kinds:
        return None
    return f"{len(files)} LabelMe files ({few(files, 2)})"


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read every json of the folder.

    Raises:
        DataError: json that cannot be read, or pictures that are not there; all of them in one message.
    """
    faults, contents, ignored_files = Faults(), {}, []
    for file in _files(listing):
        try:
            content: Any = read_json(listing.root / file, object, remedy="mend or remove it")
            if _has_shapes(content):
                contents[file] = content
            else:
                ignored_files.append(file)
        except DataError as problem:
            faults.add(problem)
    faults.raise_any(listing.root)
    found = sorted({str(shape.get("label")) for content in contents.values() for shape in content["shapes"]})
    known, ids, notes = number_classes(found, classes, config)
    background = id_of(known, config.background)
    without_area: Counter[str] = Counter()
    samples, used = [], set()
    for file, name in zip(contents, name_all(list(contents)), strict=True):
        content = contents[file]
        try:
            objects = [each for shape in content["shapes"] if (each := _object(shape, ids, without_area)) is not None]
            picture, image = _picture(content, listing, file)
        except DataError as problem:
            faults.add(problem if str(file) in str(problem) else f"{listing.root / file}: {problem}")
            continue
        used.add(picture)
        stated = (content.get("imageHeight"), content.get("imageWidth"))
        samples.append(
            Sample(
                name=name,
                image=image,
                label=_drawer(objects, background, config),
                part=part_of(file),
                size=stated if all(isinstance(side, int) for side in stated) else None,
                files=tuple((str(f), listing.root / f) for f in (file, picture) if f is not None),
            )
        )
    faults.raise_any(listing.root)
    if ignored_files:
        notes.append(f"{len(ignored_files)} json files without shapes are passed over ({few(ignored_files, 2)})")
    if without_area:
        kinds = ", ".join(f"{count} {kind}" for kind, count in without_area.items())
        notes.append(f"shapes without an area are left out: {kinds}")
    alone = [file for file in listing.pictures if file not in used]
    samples += [
        Sample(file.stem, listing.root / file, None, files=((str(file), listing.root / file),)) for file in alone
    ]
    return Reading(NAME, known, samples, notes)


def _files(listing: Listing) -> list[PurePosixPath]:
    return listing.with_suffix(".json")


def _has_shapes(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("shapes"), list)
        and all(isinstance(shape, dict) for shape in content["shapes"])
    )


def _is_labelme(path: Path) -> bool | None:
    """None for a file that is no json at all: damaged, and named when the folder is read."""
    try:
        content: Any = read_json(path, object, remedy="mend or remove it")
    except DataError:
        return None
    return _has_shapes(content) and "imagePath" in content


def _picture(content: dict, listing: Listing, file: PurePosixPath) -> tuple[PurePosixPath | None, Any]:
    """(relative path or None, the picture's path or what decodes it)."""
    try:
        found = listing.find_picture(str(content.get("imagePath", "")), file)
    except DataError:
        embedded = content.get("imageData")
        if not isinstance(embedded, str):
            raise
        where = listing.root / file

        def decode() -> np.ndarray:
            try:
                return decode_image(base64.b64decode(embedded), where)
            except binascii.Error:
                raise DataError(f"{where}: imageData is no base64 text") from None

        return None, decode
    return found, listing.root / found


def _drawer(
    objects: list[LabelledObject], background: int, config: ReadingConfig
) -> Callable[[tuple[int, int]], Labelling]:
    def draw(size: tuple[int, int]) -> Labelling:
        return label_objects(objects, size, background, config)

    return draw


def label_objects(
    objects: list[LabelledObject], size: tuple[int, int], background: int, config: ReadingConfig
) -> Labelling:
    """`draw_objects`, with its decisions in words."""
    drawn = draw_objects(objects, size, background, config.overlap)
    decided = {
        f"pixels under objects of two classes: the {config.overlap} object keeps them": drawn.contested,
        "objects of which no pixel is left": drawn.lost,
    }
    return Labelling(drawn.labels, {what: count for what, count in decided.items() if count})


def _object(shape: dict, ids: dict[str, int], without_area: Counter[str]) -> LabelledObject | None:
    kind = str(shape.get("shape_type") or "polygon")
    if kind in ("point", "points", "line", "linestrip"):
        without_area[kind] += 1
        return None
    class_id = ids[str(shape.get("label"))]
    try:
        points = np.array(shape["points"], np.float64).reshape(-1, 2)
        if not np.isfinite(points).all() or not len(points):
            raise ValueError("points that are no numbers")
        if kind == "mask":
            return LabelledObject(class_id, _window(shape, points))
        return LabelledObject(class_id, Outlines((_corners(kind, points),)))
    except (KeyError, ValueError, TypeError, binascii.Error, OSError, Image.DecompressionBombError) as problem:
        raise DataError(f"a {kind} of {shape.get('label')!r} cannot be read ({problem})") from None


def _corners(kind: str, points: np.ndarray) -> np.ndarray:
    """The outline of a shape as a polygon, (N, 2) float x, y."""
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if kind == "circle" and len(points) == 2:
        angles = np.arange(_CIRCLE_CORNERS) * 2 * np.pi / _CIRCLE_CORNERS
        radius = np.linalg.norm(points[1] - points[0])
        return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    if kind in ("polygon", "rotation", "rectangle") and len(points) > 2:
        return points
    raise ValueError(f"{len(points)} points")


def _window(shape: dict, points: np.ndarray) -> Window:
    with Image.open(BytesIO(base64.b64decode(shape["mask"])), formats=("PNG",)) as picture:
        inside = np.array(picture.convert("L")) != 0
    left, top = points.min(0)
    return Window(round(top), round(left), inside)
