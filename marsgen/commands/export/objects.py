"""Scenes as objects for detectors: COCO with run-length masks, which is exact, and YOLO outlines, which are not quite.

A label map knows no objects: each connected region of a class (pixels that touch, corners too) becomes one. The class
named `background` is left out: it is what no object covers. Neither format has pixels without a label; they become
background, and their number is said.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from marsgen.core.storage.files import filling_text, write_bytes, write_text
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.pictures import encode_image
from marsgen.scenes.geometry import connected_regions
from marsgen.scenes.scene import Scene, SceneSource


def write_coco(folder: Path, scenes: SceneSource, background: str, done: Callable[[], object]) -> dict[str, int]:
    """Write images/NAME.png and annotations.json; masks are run lengths, so they hold every pixel.

    Returns:
        numbers of pairs and objects, and of pixels without a label.
    """
    kept = _categories(scenes.classes, background)
    objects = unlabelled = 0
    with filling_text(folder / "annotations.json") as file:
        images = []
        file.write('{"categories": ' + json.dumps([{"id": i, "name": n} for i, n in kept.items()], ensure_ascii=False))
        file.write(', "annotations": [')
        for number, scene in enumerate(scenes):
            height, width = scene.labels.shape
            _write_image(folder / "images" / f"{scene.name}.png", scene)
            images.append({"id": number, "file_name": f"{scene.name}.png", "height": height, "width": width})
            for class_id, mask, box in regions_of(scene, kept):
                entry = {
                    "id": objects,
                    "image_id": number,
                    "category_id": class_id,
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                    "area": int(mask.sum()),
                    "bbox": box,
                    "iscrowd": 0,
                }
                file.write((", " if objects else "") + json.dumps(entry))
                objects += 1
            unlabelled += int((scene.labels == scenes.classes.ignored).sum())
            done()
        file.write('], "images": ' + json.dumps(images, ensure_ascii=False) + "}\n")
    return {"pairs": len(scenes), "objects": objects, "unlabelled_pixels": unlabelled}


def write_yolo(folder: Path, scenes: SceneSource, background: str, done: Callable[[], object]) -> dict[str, int]:
    """Write images/NAME.png, labels/NAME.txt and data.yaml; holes are filled, as YOLO outlines have none.

    Returns:
        numbers of pairs and objects, and of pixels without a label or in filled holes.
    """
    kept = _categories(scenes.classes, background)
    number_of = {class_id: number for number, class_id in enumerate(kept)}
    objects = filled = unlabelled = 0
    for scene in scenes:
        size = np.array(scene.labels.shape[::-1])
        lines = []
        for class_id, mask, _ in regions_of(scene, kept):
            points, holes = outline(mask)
            filled += holes
            lines.append(f"{number_of[class_id]} " + " ".join(f"{value:.7f}" for value in (points / size).ravel()))
        write_text(folder / "labels" / f"{scene.name}.txt", "".join(f"{line}\n" for line in lines))
        _write_image(folder / "images" / f"{scene.name}.png", scene)
        objects += len(lines)
        unlabelled += int((scene.labels == scenes.classes.ignored).sum())
        done()
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(kept.values()))}
    write_text(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return {"pairs": len(scenes), "objects": objects, "unlabelled_pixels": unlabelled, "filled_pixels": filled}


def _categories(classes: ClassSet, background: str) -> dict[int, str]:
    return {i: name for i, name in zip(classes.ids, classes.names, strict=True) if name != background}


def _write_image(path: Path, scene: Scene) -> None:
    if not path.exists():
        write_bytes(path, encode_image(scene.image))


def regions_of(scene: Scene, kept: dict[int, str]) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """(class id, (H, W) bool mask, [left, top, width, height]) of each connected region of the kept classes."""
    for class_id in kept:
        for region, box in connected_regions(scene.labels == class_id):
            mask = np.zeros(scene.labels.shape, bool)
            mask[box.slices] = region
            height, width = box.shape
            yield class_id, mask, [box.left, box.top, width, height]


def run_lengths(mask: np.ndarray) -> list[int]:
    """(H, W) bool -> numbers of pixels outside, inside, outside, ... column by column (COCO's RLE)."""
    flat = mask.ravel("F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def outline(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The outline of a connected region along the edges of its pixels, and how many pixels of holes it encloses.

    Args:
        mask: (H, W) bool, one region; parts may touch at corners only.
    Returns:
        (points, 2) float x, y in pixels, corners only; the even-odd rule fills it.
    """
    from scipy.ndimage import binary_fill_holes

    solid = np.pad(binary_fill_holes(mask), 1)
    follow: dict[tuple[int, int], list[tuple[int, int]]] = {}
    edges: Any = (
        (solid[1:] & ~solid[:-1], (1, 0), (1, 1)),  # top edge of a pixel, walked to the right
        (~solid[1:] & solid[:-1], (1, 1), (1, 0)),  # bottom edge, to the left
        (solid[:, 1:] & ~solid[:, :-1], (1, 1), (0, 1)),  # left edge, upwards
        (~solid[:, 1:] & solid[:, :-1], (0, 1), (1, 1)),  # right edge, downwards
    )
    for found, start, stop in edges:
        for row, column in np.argwhere(found).tolist():
            follow.setdefault((row + start[0], column + start[1]), []).append((row + stop[0], column + stop[1]))
    # one closed walk over all edges (Hierholzer 1873), also where parts touch at a corner only
    stack, path = [min(follow)], []
    while stack:
        ahead = follow.get(stack[-1])
        if ahead:
            stack.append(ahead.pop())
        else:
            path.append(stack.pop())
    points = np.array(path[:-1], float)[:, ::-1] - 1
    after, before = np.roll(points, -1, 0) - points, points - np.roll(points, 1, 0)
    return points[(after != before).any(1)], int(solid.sum() - mask.sum())
