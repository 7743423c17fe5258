"""`marsgen import`: somebody else's data set as a folder of PNG pairs with a classes.yaml to go on from."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from marsgen.core.errors import DataError
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json, write_text
from marsgen.core.storage.places import refuse_no_room
from marsgen.provenance.data_card import card_of, write_data_card
from marsgen.scenes.classes import CLASSES_FILE, ClassSet, default_colours
from marsgen.scenes.files.label_maps import read_values
from marsgen.scenes.files.layout import PARTS, Folders, Layout
from marsgen.scenes.files.pictures import list_pictures
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.limits import name_channels
from marsgen.scenes.readers.folder import image_path, pair_bytes, write_pair
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import label_folder

_BLOCK = 256  # scenes read ahead of what is written
Counts = np.ndarray
"""(N, C) pixels of each class in each scene"""


@dataclass(frozen=True)
class ClassRow:
    """How much of a class there is."""

    name: str
    pixel_share: float
    """of the labelled pixels"""
    scenes: int


def import_source(
    source: str, scenes: SceneSource, config: ReadingConfig, folder: Path, classes: Path | None
) -> tuple[Run, list[str]]:
    """Import scenes into a run folder, unless that was done before.

    Args:
        source: where they lie, for the record.
        classes: the file of class names that was given, for the record.
    Returns:
        the finished run, and what was read and decided, in lines; none for a run that was finished already.
    Raises:
        RunError: no room on the disk, or something else in the folder.
    """
    inputs = {"data": {"location": source, "fingerprint": scenes.fingerprint(), "classes": classes and str(classes)}}
    remedy = "make the scenes smaller with --longest-side"
    refuse_no_room(folder, len(scenes) * pair_bytes(scenes), f"{len(scenes):,} scenes", remedy)
    run = Run.start(folder, "marsgen import", config, inputs)
    return run, [] if run.finished else import_data(config, run, scenes)


def preview_import(scenes: SceneSource, config: ReadingConfig) -> list[str]:
    """What an import would say, in lines, and the classes file that it would write."""
    lines = describe(scenes, count_rows(scenes, count_scenes(scenes)))
    return [*lines, draft(scenes.classes, Layout(groups=config.groups)).rstrip()]


def import_data(config: ReadingConfig, run: Run, scenes: SceneSource) -> list[str]:
    """Write images/, labels/, classes.yaml and import.json into `run.folder` and finish the run.

    Returns:
        what was read and decided, in lines.
    """
    counts = _write_pairs(run.folder, scenes)
    rows = count_rows(scenes, counts)
    lists = {part: f"splits/{part}.txt" for part in PARTS if scenes.parts is not None and part in scenes.parts}
    for part, path in lists.items():
        names = [name for name, own in zip(scenes.names, scenes.parts or (), strict=True) if own == part]
        write_text(run.folder / path, "".join(f"{name}\n" for name in names))
    groups = config.groups or scenes.classes.layout.groups
    write_text(run.folder / CLASSES_FILE, draft(scenes.classes, Layout(splits=lists, groups=groups), scenes.notes))
    write_json(
        run.folder / "import.json",
        {"scenes": len(scenes), "notes": list(scenes.notes), "classes": [vars(row) for row in rows]},
    )
    shown = {row.name: row.scenes for row in rows}
    write_data_card(run.folder, card_of(scenes, Path(scenes.location).name, shown=shown))
    run.finish({"scenes": len(scenes), "classes": len(scenes.classes), "notes": len(scenes.notes)})
    return describe(scenes, rows)


def _write_pairs(folder: Path, scenes: SceneSource) -> Counts:
    """Write what is not there yet; pixels of each class in each scene."""

    def write(index: int) -> np.ndarray:
        name = scenes.names[index]
        image, labels = scenes.read(index)
        # its label map was written before: an image that is there belongs to a whole pair
        if not image_path(folder, name, scenes.channels).exists():
            write_pair(folder, name, image, labels, scenes.classes)
        return np.bincount(labels.ravel(), minlength=256)[list(scenes.classes.ids)]

    with ThreadPoolExecutor(2) as pool, ProgressBar(total=len(scenes), unit="pair", desc="import") as bar:
        counts = []
        for start in range(0, len(scenes), _BLOCK):
            for row in pool.map(write, range(start, min(start + _BLOCK, len(scenes)))):
                counts.append(row)
                bar.update()
    return np.array(counts)


def count_scenes(scenes: SceneSource) -> Counts:
    """(N, C) pixels of each class in each scene."""
    counted = getattr(scenes, "pixels", None)
    if counted is not None:
        return counted
    return np.array([np.bincount(s.labels.ravel(), minlength=256)[list(s.classes.ids)] for s in scenes])


def count_rows(scenes: SceneSource, counts: Counts) -> list[ClassRow]:
    """One row for each class."""
    total = counts.sum(0)
    shares, shown = total / max(1, int(total.sum())), (counts > 0).sum(0)
    return [
        ClassRow(name, float(share), int(count))
        for name, share, count in zip(scenes.classes.names, shares, shown, strict=True)
    ]


def describe(scenes: SceneSource, rows: list[ClassRow]) -> list[str]:
    """What is in a data set, in lines; what was decided stands in `scenes.notes`."""
    size = "sizes differ" if scenes.shape is None else f"{scenes.shape[0]} x {scenes.shape[1]} pixels"
    width = max(len(row.name) for row in rows)
    lines = [f"{scenes.location}: {len(scenes)} scenes, {size}, {name_channels(scenes.channels)}"]
    lines += [f"{'class':{width}}  {'pixels':>9}  {'scenes':>7}"]
    for row in rows:
        rare = "  rare" if row.name in scenes.classes.rare else ""
        lines.append(f"{row.name:{width}}  {row.pixel_share:>9.3%}  {row.scenes:>7}{rare}")
    return lines


def draft(classes: ClassSet, layout: Layout, notes: Sequence[str] = ()) -> str:
    """A classes.yaml, with what was decided as comments."""
    comments = "".join(f"# {note}\n" for note in notes)
    content = {**classes.to_dict(), **replace(layout).to_dict()}
    return comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def draft_of_ids(folder: Path) -> Iterator[str]:
    """Lines for a folder with images/ and labels/ that nothing explains: the ids, and a classes.yaml to fill in.

    Raises:
        DataError: label maps that hold no ids.
    """
    pixels, scenes = np.zeros(256, np.int64), np.zeros(256, np.int64)
    place = label_folder(folder) or "labels"
    label_maps = list_pictures(folder / place, (".png", ".tif", ".tiff", ".bmp"))
    for path in label_maps.values():
        found = np.bincount(read_values(path).ravel(), minlength=256)
        pixels += found
        scenes += found > 0
    ids = [int(number) for number in np.flatnonzero(pixels)]
    if len(ids) > 64:
        raise DataError(
            f"{folder}/{place}: {len(ids)} different pixel values; this looks like soft masks: write a {CLASSES_FILE} "
            "with `threshold: 128` and `map: {0: background, 255: NAME}`"
        )
    yield f"{folder}: {len(label_maps)} label maps; nothing says what their ids mean"
    for number in ids:
        yield f"id {number:<3}  {pixels[number] / pixels.sum():>9.3%} of the pixels, in {scenes[number]} pictures"
    layout = Layout(folders=Folders(labels=place))
    if ids[-1:] == [255] and set(ids) <= {0, 255}:  # a mask of one class: its pixels are labelled, all of them
        yield f"save this as {folder / CLASSES_FILE}, with the right names; 0 and 255 look like a mask of one class:"
        one = ClassSet(("background", "object"), (0, 1), tuple(default_colours(2)), 255, rare=("object",))
        yield draft(one, replace(layout, map={255: "object"})).rstrip()
        return
    ignored = [number for number in ids if number == 255]
    names = [number for number in ids if number not in ignored]
    yield f"save this as {folder / CLASSES_FILE}, with the right names:"
    classes = ClassSet(
        names=tuple(f"class_{number}" for number in names),
        ids=tuple(names),
        colours=tuple(default_colours(len(names))),
        ignored=255,
    )
    yield draft(classes, layout).rstrip()
