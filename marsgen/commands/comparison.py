"""Predictions of several networks for the same labelled pictures: what the tab Compare of the playground shows.

data/
    compare.json                 names and scores of the networks, counts of every picture
    compare-pictures-000.jpg     the pictures, on sheets (marsgen/pages/sheets.py)
    compare-labels-000.png       class indices of their label maps, 255 = no label
    compare-run0-000.png         class indices that the first network predicts, ...
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.commands.places import refuse_lone_comparison
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import plain, write_text
from marsgen.core.storage.seen import SPLIT_FILE
from marsgen.pages.sheets import write_sheets
from marsgen.provenance import keys_of_pictures, read_split_keys, refuse_seen_copies
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet, read_classes
from marsgen.scenes.confusion import confusion_matrix, iou_per_class, mean_iou
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_pictures, open_scenes

STEM = "compare"


@dataclass(frozen=True)
class Predictions:
    """What one network predicts."""

    name: str
    """of the network's run; of the folder where two are of one name"""
    folder: Path
    """of a finished `segmenter predict` run"""
    run: Run
    classes: ClassSet

    def path(self, scenes: SceneSource, index: int) -> Path:
        """The label map for one of the scenes.

        Raises:
            DataError: there is none.
        """
        path = self.folder / "labels" / f"{scenes.names[index]}{'.tif' if scenes.raster(index) else '.png'}"
        if not path.is_file():
            raise DataError(
                f"--compare {self.folder}: no prediction for {scenes.names[index]} of {scenes.location} ({path} is "
                "missing); predict these data again into another folder"
            )
        return path

    def read(self, scenes: SceneSource, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """(H, W) uint8 class indices in the order of `scenes`, for one of its scenes; 255 = no label.

        Args:
            shape: (H, W) of the scene.
        Raises:
            DataError: see `path`; or a label map of another size.
        """
        path = self.path(scenes, index)
        labels = read_label_map(path, self.classes)
        if labels.shape != shape:
            raise DataError(
                f"{path}: {labels.shape[0]} x {labels.shape[1]} pixels; the label map of {scenes.location} has "
                f"{shape[0]} x {shape[1]}; predict these data again into another folder"
            )
        return self.classes.ordered_like(scenes.classes).to_indices(labels)


@dataclass(frozen=True)
class Comparison:
    """Predictions, and the scenes that they are compared on."""

    predictions: tuple[Predictions, ...]
    scenes: SceneSource
    chosen: tuple[int, ...]
    """scenes that no network has seen, as far as is known"""
    unknown: tuple[str, ...]
    """names of networks of which nobody knows what they have seen"""

    def identity(self) -> dict[str, Any]:
        """For the record of a run."""
        return {
            "data": self.scenes.identity(),
            "predictions": [
                {"location": str(p.folder), **p.run.inputs, "config": p.run.config} for p in self.predictions
            ],
        }


def open_comparison(folders: Sequence[Path], test: str | None, classes: ClassSet) -> Comparison | None:
    """Open predictions and the labelled scenes that they are for.

    Args:
        folders: of `segmenter predict`, two at least; none = no comparison.
        test: the labelled scenes; None = those that the predictions name.
        classes: of the page; the scenes have classes of the same names.
    Raises:
        ConfigError: one folder alone, or --test without any.
        DataError: other classes, other pictures than were predicted, or pictures that the networks have seen.
        RunError: a folder that is none of `segmenter predict`, or of a csv.
    """
    refuse_lone_comparison(folders, test)
    if not folders:
        return None
    runs = [Run.load(folder, "segmenter predict") for folder in folders]
    found = [run.stored("inputs.data.fingerprint", str) for run in runs]
    for folder, fingerprint in zip(folders, found, strict=True):
        if fingerprint != found[0]:
            raise RunError(
                f"--compare {folder} is for other pictures than {folders[0]}; predict the same data with both"
            )
    stated = runs[0].stored("inputs.data", dict).get("classes")
    known = None if stated is None else read_classes(Path(stated))
    place = test or runs[0].stored("inputs.data.location", str)
    config = runs[0].config
    reading = ReadingConfig(bands=config.get("bands"), range=config.get("range"))
    scenes = open_scenes(place, classes=known, reading=reading)
    # as `segmenter predict` opened them
    asked = open_pictures([place], _classes_of(folders[0], scenes), reading=reading, stated=known)
    if asked.fingerprint() != found[0]:
        raise DataError(
            f"{place}: not the pictures that {folders[0]} is for, or they changed since; predict them with "
            "`segmenter predict RUN --data`, or name those with --test"
        )
    if scenes.classes.order_of(classes) is None:
        raise DataError(
            f"{place} has the classes {', '.join(scenes.classes.names)}; the generator's are {', '.join(classes.names)}"
        )
    predictions = [
        Predictions(name, folder, run, _classes_of(folder, scenes))
        for name, folder, run in zip(_names(runs, folders), folders, runs, strict=True)
    ]
    chosen, unknown = _unseen(predictions, scenes)
    for each in predictions:
        for index in chosen:
            each.path(scenes, index)  # what is missing is said before anything is written
    return Comparison(tuple(predictions), scenes, chosen, unknown)


def _names(runs: Sequence[Run], folders: Sequence[Path]) -> list[str]:
    names = [Path(run.stored("inputs.run", str)).name for run in runs]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _classes_of(folder: Path, scenes: SceneSource) -> ClassSet:
    if not (folder / "labels").is_dir():
        raise RunError(
            f"--compare {folder}: no labels/ there, the predictions are a csv; predict with --set format=png"
        )
    known = read_classes(folder / "classes.yaml")
    if known.order_of(scenes.classes) is None:
        raise DataError(
            f"--compare {folder} has the classes {', '.join(known.names)}; {scenes.location} has "
            f"{', '.join(scenes.classes.names)}"
        )
    return known


def _unseen(predictions: Sequence[Predictions], scenes: SceneSource) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Scenes that no network was trained on or chosen by, and the networks of which that is not known."""
    keys = list(keys_of_pictures(scenes))
    seen: set[str] = set()
    unknown = []
    for each in predictions:
        folder = Path(each.run.stored("inputs.run", str))
        if not (folder / SPLIT_FILE).is_file():
            unknown.append(each.name)
            continue
        split = read_split_keys(folder)
        its_own = split.train | split.val | split.extra
        seen |= its_own
        if not any(key in its_own for key in keys):
            refuse_seen_copies(scenes, split, folder)
    chosen = tuple(index for index, key in enumerate(keys) if key not in seen)
    if not chosen:
        raise DataError(
            f"{scenes.location}: the networks of --compare were trained on all of its {len(scenes)} scenes, or chosen "
            "by them; predict scenes that they have not seen"
        )
    return chosen, tuple(unknown)


def write_comparison(data: Path, comparison: Comparison, classes: ClassSet, side: int) -> dict[str, Any]:
    """Write compare.json and its sheets.

    Args:
        data: folder to write into.
        classes: of the page, whose order indices follow.
        side: longer side of the pictures, in pixels.
    Returns:
        what the page has to know before the tab is opened.
    """
    scenes, runs = comparison.scenes, comparison.predictions
    scenes.classes = scenes.classes.ordered_like(classes)
    sums = np.zeros((len(runs), len(scenes.classes), len(scenes.classes)), np.int64)
    pictures: list[dict[str, Any]] = []

    def read() -> Iterator[tuple[np.ndarray, ...]]:
        for index in comparison.chosen:
            image, labels = scenes.read(index)
            truth = scenes.classes.to_indices(labels)
            found = np.stack([each.read(scenes, index, truth.shape) for each in runs])
            truth[(found == IGNORED_INDEX).any(0)] = IGNORED_INDEX  # where a raster holds no data
            counts = np.stack([confusion_matrix(truth, predicted, len(scenes.classes)) for predicted in found])
            sums[:] += counts
            pictures.append(
                {
                    "name": scenes.names[index],
                    "truth": counts[0].sum(1),
                    "right": np.diagonal(counts, axis1=1, axis2=2),
                    "called": counts.sum(1),
                }
            )
            yield scenes.classes.show(image), truth, *found

    kinds = {"pictures": True, "labels": False, **{f"run{number}": False for number in range(len(runs))}}
    sheets = write_sheets(data, STEM, kinds, read(), len(comparison.chosen), scenes.shape, side)
    content = {
        **sheets,
        "location": scenes.location,
        "left_out": len(scenes) - len(comparison.chosen),
        "unknown": comparison.unknown,
        "runs": [
            {"name": each.name, "iou": iou_per_class(counts), "mean": mean_iou(counts)}
            for each, counts in zip(runs, sums, strict=True)
        ],
        "pictures": pictures,
    }
    write_text(data / f"{STEM}.json", json.dumps(plain(content), ensure_ascii=False, allow_nan=False))
    return {"file": f"{STEM}.json", "pictures": len(pictures)}
