"""A finished evaluation, read back from its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import RunError
from marsgen.core.reading import read_json
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.regions import found_regions, region_classes


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

    @property
    def scored_classes(self) -> list[int]:
        """Indices of the classes whose regions are counted."""
        return region_classes(self.classes)

    def found(self) -> np.ndarray:
        """(R,) bool: which true regions count as found."""
        return found_regions(self.regions, self.record["settings"]["found_fraction"])


def read_evaluation(folder: Path) -> Evaluation:
    """Read a finished evaluation.

    Raises:
        RunError: not there, not finished, or damaged.
    """
    Run.load(folder, "segmenter evaluate")
    remedy = "damaged evaluation; delete the folder and evaluate again"
    record = read_json(folder / "evaluation.json", fault=RunError, remedy=remedy)
    names = read_json(folder / "names.json", fault=RunError, remedy=remedy)
    try:
        return Evaluation(
            folder=folder,
            record=record,
            classes=ClassSet.from_dict(record["classes"], str(folder / "evaluation.json")),
            names=tuple(names["names"]),
            groups=None if names["groups"] is None else tuple(names["groups"]),
            keys=tuple(names["keys"]),
            counts=np.load(folder / "counts.npy", mmap_mode="r", allow_pickle=False),
            ignored=np.load(folder / "ignored.npy", allow_pickle=False),
            regions=np.load(folder / "regions.npy", allow_pickle=False),
            false_alarms=np.load(folder / "false_alarms.npy", allow_pickle=False),
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{folder}: damaged evaluation ({problem}); delete the folder and evaluate again") from None
