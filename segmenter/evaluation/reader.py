"""A finished evaluation, read back from its folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from marsgen.core.config import Config, build_config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.arrays import read_npy
from marsgen.core.storage.reading import read_json
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.margins import disagreeing, ranked_classes
from segmenter.evaluation.regions import REGION, found_regions, region_classes
from segmenter.inference.margins import BINS

_REMEDY = "damaged evaluation; delete the folder and evaluate again"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluation; `evaluate.py` lists its files."""

    folder: Path
    record: dict[str, Any]
    """evaluation.json"""
    classes: ClassSet
    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    keys: tuple[str, ...]
    counts: np.ndarray
    """(N, C, C) int32, left on disk and read as needed"""
    ignored: np.ndarray
    """(N,) int64"""
    regions: np.ndarray
    """(R,) REGION"""
    false_alarms: np.ndarray
    """(F,) REGION"""
    margins: np.ndarray | None = None
    """(N, R, 2, BINS) unsigned, R as in `classes.rare`, left on disk; None = no class is rare, or an older version
    evaluated"""

    @property
    def scored_classes(self) -> list[int]:
        """Indices of the classes whose regions are counted."""
        return region_classes(self.classes)

    def ordered_like(self, classes: ClassSet) -> "Evaluation":
        """The same evaluation with its classes, counts and regions in the order of `classes`.

        Raises:
            ValueError: classes of other names.
        """
        order = self.classes.order_of(classes)
        if order is None:
            raise ValueError(f"{', '.join(self.classes.names)} are not {', '.join(classes.names)}")
        if self.classes.names == classes.names:
            return self
        position = np.argsort(order).astype(np.int32)  # of each of its classes among `classes`
        regions, false_alarms = self.regions.copy(), self.false_alarms.copy()
        for rows in (regions, false_alarms):
            rows["class_index"] = position[rows["class_index"]]
        ordered = self.classes.ordered_like(classes)
        return replace(
            self,
            record={**self.record, "classes": ordered.to_dict()},
            classes=ordered,
            counts=np.asarray(self.counts)[:, order][:, :, order],
            regions=regions,
            false_alarms=false_alarms,
        )

    def found(self) -> np.ndarray:
        """(R,) bool: which true regions count as found."""
        return found_regions(self.regions, self.record["settings"]["found_fraction"])


def read_evaluation(folder: Path) -> Evaluation:
    """Read a finished evaluation.

    Raises:
        RunError: not there, not finished, or damaged.
    """
    Run.load(folder, "segmenter evaluate")
    path = folder / "evaluation.json"
    record = build_config(_Record, read_json(path, fault=RunError, remedy=_REMEDY), f"{path}: damaged")
    listed = read_json(folder / "names.json", _Names, RunError, _REMEDY)
    classes = ClassSet.from_dict(record.classes, str(path))
    number, of_classes = len(listed.names), len(classes)
    if any(len(each) != number for each in (listed.keys, listed.groups or listed.keys)):
        raise RunError(f"{folder / 'names.json'}: {number} names and other numbers of groups or keys; {_REMEDY}")
    counts = _read_counts(folder / "counts.npy", (number, of_classes, of_classes))
    return Evaluation(
        folder=folder,
        record=record.model_dump(mode="json", exclude_unset=True, by_alias=True),
        classes=classes,
        names=listed.names,
        groups=listed.groups,
        keys=listed.keys,
        counts=counts,
        ignored=read_npy(folder / "ignored.npy", np.int64, (number,), RunError, _REMEDY),
        regions=_read_regions(folder / "regions.npy", number, of_classes),
        false_alarms=_read_regions(folder / "false_alarms.npy", number, of_classes),
        margins=_read_margins(folder / "margins.npy", counts, ranked_classes(classes)),
    )


class _ClassScores(Config):
    """The scores of one class; those of its regions where they are counted."""

    model_config = ConfigDict(populate_by_name=True)
    class_name: str = Field(alias="class")
    iou: float | None
    precision: float | None
    recall: float | None
    true_px: int
    predicted_px: int
    regions: int = 0
    regions_found: int = 0
    regions_touched: int = 0
    false_alarms: int = 0


class _Scored(Config):
    location: str
    fingerprint: str


class _Record(Config):
    """evaluation.json."""

    data: _Scored
    part: Literal["test", "val", "train", "all"]
    images: int
    settings: EvaluateConfig
    mean_iou: float | None
    pixel_accuracy: float | None
    pixel_accuracy_ignored_wrong: float | None
    ignored_px: int
    per_class: list[_ClassScores]
    classes: dict[str, Any]


class _Names(BaseModel):
    """names.json."""

    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    keys: tuple[str, ...]


def _read_counts(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    counts = read_npy(path, np.int32, shape, RunError, _REMEDY, mapped=True)
    if any((counts[start : start + 1024] < 0).any() for start in range(0, len(counts), 1024)):
        raise RunError(f"{path}: counts below 0; {_REMEDY}")
    return counts


def _read_margins(path: Path, counts: np.ndarray, class_indices: list[int]) -> np.ndarray | None:
    if not class_indices or not path.exists():
        return None
    shape = (len(counts), len(class_indices), 2, BINS)
    margins = read_npy(path, frozenset({np.uint16, np.uint32}), shape, RunError, _REMEDY, mapped=True)
    for start in range(0, len(counts), 1024):
        wrong = disagreeing(margins[start : start + 1024], counts[start : start + 1024], class_indices)
        if wrong.any():
            image = start + int(wrong.argmax())
            raise RunError(f"{path}: image {image}: not the pixels that counts.npy holds; {_REMEDY}")
    return margins


def _read_regions(path: Path, images: int, classes: int) -> np.ndarray:
    rows = read_npy(path, REGION, (None,), RunError, _REMEDY)
    for field, stop in (("image", images), ("class_index", classes)):
        if len(rows) and not 0 <= rows[field].min() <= rows[field].max() < stop:
            raise RunError(f"{path}: a {field} outside 0..{stop - 1}; {_REMEDY}")
    if (rows["area_px"] < 1).any() or (rows["hit_px"] < 0).any() or (rows["hit_px"] > rows["area_px"]).any():
        raise RunError(f"{path}: regions of impossible sizes; {_REMEDY}")
    return rows
