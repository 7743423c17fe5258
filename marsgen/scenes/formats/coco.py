"""COCO: one json for many pictures, with polygons, run-length masks and crowds.

    annotations/instances_train.json   {"images": [{id, file_name, height, width}], "categories": [{id, name}],
                                        "annotations": [{image_id, category_id, segmentation, iscrowd}]}

Source: cocodataset.org/#format-data.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_json
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.faults import Faults
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.labelme import label_objects
from marsgen.scenes.formats.listing import Listing, few, name_all, part_of
from marsgen.scenes.formats.objects import LabelledObject, Outlines, RunLengths, unpack_counts
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

NAME = "COCO"
_HEAD_BYTES = 2**20
_KEYS = ("images", "annotations", "categories")


def recognise(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    files = _files(listing)
    return f"{len(files)} COCO file{'s' * (len(files) != 1)} ({few(files)})" if files else None


def read(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read every COCO json of the folder; several are parts of one data set.

    Raises:
        DataError: json that cannot be read, entries that lack something, pictures that are not there, boxes only.
    """
    faults, counts = Faults(), Counter[str]()
    files = {}
    for file in _files(listing):
        try:
            content = read_json(listing.root / file, object, remedy="mend or remove it")
            files[file] = _checked(content, f"{listing.root / file}")
        except DataError as problem:
            faults.add(problem)
    faults.raise_any(listing.root)
    names = list(dict.fromkeys(c["name"] for content in files.values() for c in content["categories"]))
    shown = {c for content in files.values() for c in _names_of_annotations(content)}
    unused = [name for name in names if name not in shown]
    known, ids, notes = number_classes([name for name in names if name in shown or classes], classes, config)
    if unused and classes is None:
        notes.append(f"{len(unused)} categories without an object are left out ({few(unused)})")
    ids = {name: ids.get(name, 0) for name in names}
    background = id_of(known, config.background)

    entries: list[tuple[PurePosixPath, PurePosixPath, dict, list[LabelledObject]]] = []
    for file, content in files.items():
        by_image = _objects_by_image(content, ids, f"{listing.root / file}", faults, counts)
        for image in content["images"]:
            try:
                picture = listing.find_picture(image["file_name"], file)
            except DataError as problem:
                faults.add(problem)
                continue
            entries.append((picture, file, image, by_image.get(image["id"], [])))
    faults.raise_any(listing.root)
    if counts["boxes"] and not counts["drawn"]:
        raise DataError(
            f"{listing.root}: {counts['boxes']} objects are boxes without outlines; label maps need outlines"
        )
    if twice := [picture for picture, count in Counter(e[0] for e in entries).items() if count > 1]:
        raise DataError(
            f"{listing.root / twice[0]}: in two COCO files (or twice in one), so in two parts; keep one entry"
        )
    samples = [
        _sample(name, listing, *entry, background, config)
        for name, entry in zip(name_all([entry[0] for entry in entries]), entries, strict=True)
    ]
    used = {entry[0] for entry in entries}
    alone = [file for file in listing.pictures if file not in used]
    samples += [
        Sample(
            f"{'-'.join(file.with_suffix('').parts)}",
            listing.root / file,
            None,
            files=((str(file), listing.root / file),),
        )
        for file in alone
    ]
    for key, words in (
        ("boxes", "objects are boxes without outlines: left out"),
        ("crowds", "objects are crowds (iscrowd): drawn as their class, under all others"),
        ("thin", "outlines of fewer than three points are left out"),
    ):
        if counts[key]:
            notes.append(f"{counts[key]} {words}")
    return Reading(NAME, known, samples, notes)


def _sample(
    name: str,
    listing: Listing,
    picture: PurePosixPath,
    file: PurePosixPath,
    image: dict,
    objects: list[LabelledObject],
    background: int,
    config: ReadingConfig,
) -> Sample:
    def draw(size: tuple[int, int]) -> Labelling:
        return label_objects(objects, size, background, config)

    used = tuple((str(f), listing.root / f) for f in (file, picture))
    part = part_of(file) or part_of(picture)
    return Sample(name, listing.root / picture, draw, part, (image["height"], image["width"]), used)


def _files(listing: Listing) -> list[PurePosixPath]:
    return [file for file in listing.with_suffix(".json") if _looks_like_coco(listing, file)]


def _looks_like_coco(listing: Listing, file: PurePosixPath) -> bool:
    """Whether the keys stand at the begin or end of a file; large files are not read whole for that."""
    if file.name.startswith(("person_keypoints", "captions", "stuff_", "panoptic")):
        return False
    path = listing.root / file
    try:
        with path.open("rb") as opened:
            text = opened.read(_HEAD_BYTES)
            size = opened.seek(0, 2)
            opened.seek(max(0, size - _HEAD_BYTES))
            text += opened.read()
    except OSError:
        return False
    found = [f'"{key}"'.encode() in text for key in _KEYS]
    return all(found) and b'"shapes"' not in text


def _checked(content: Any, where: str) -> dict:
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _KEYS):
        raise DataError(f"{where}: expected lists under the keys images, annotations and categories")
    wanted: dict[str, dict[str, Any]] = {
        "images": {"id": (int, str), "file_name": str, "height": int, "width": int},
        "annotations": {"image_id": (int, str), "category_id": int},
        "categories": {"id": int, "name": str},
    }
    for key, fields in wanted.items():
        for number, entry in enumerate(content[key]):
            for name, kind in fields.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):  # type: ignore[arg-type]
                    raise DataError(f"{where}: entry {number} of {key} has no {name}, or not of the kind that COCO has")
    return content


def _names_of_annotations(content: dict) -> set[str]:
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    return {name_of[a["category_id"]] for a in content["annotations"] if a["category_id"] in name_of}


def _objects_by_image(
    content: dict, ids: dict[str, int], where: str, faults: Faults, counts: Counter[str]
) -> dict[Any, list[LabelledObject]]:
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    found: dict[Any, list[LabelledObject]] = {}
    for number, annotation in enumerate(content["annotations"]):
        name, image = name_of.get(annotation["category_id"]), images.get(annotation["image_id"])
        if name is None or image is None:
            faults.add(f"{where}: annotation {number} names a category or image that is not in the file")
            continue
        try:
            shape = _shape(annotation.get("segmentation"), (image["height"], image["width"]), counts)
        except (DataError, ValueError, TypeError, KeyError) as problem:
            faults.add(f"{where}: annotation {number} of {image['file_name']} cannot be read ({problem})")
            continue
        if shape is None:
            continue
        crowd = bool(annotation.get("iscrowd"))
        counts["crowds"] += crowd
        counts["drawn"] += 1
        found.setdefault(image["id"], []).append(LabelledObject(ids[name], shape, below=crowd))
    return found


def _shape(segmentation: Any, size: tuple[int, int], counts: Counter[str]) -> Outlines | RunLengths | None:
    if not segmentation:
        counts["boxes"] += 1
        return None
    if isinstance(segmentation, dict):
        stated = (int(segmentation["size"][0]), int(segmentation["size"][1]))
        runs = segmentation["counts"]
        runs = unpack_counts(runs) if isinstance(runs, str) else tuple(int(run) for run in runs)
        if stated != size or sum(runs) != size[0] * size[1] or min(runs) < 0:
            raise DataError(f"a run-length mask for {stated[0]} x {stated[1]} with {sum(runs)} pixels")
        return RunLengths(runs, size)
    polygons = [np.array(flat, np.float64).reshape(-1, 2) for flat in segmentation]
    if not all(np.isfinite(points).all() for points in polygons):
        raise ValueError("points that are no numbers")
    counts["thin"] += sum(len(points) < 3 for points in polygons)
    polygons = [points for points in polygons if len(points) >= 3]
    return Outlines(tuple(polygons)) if polygons else None
