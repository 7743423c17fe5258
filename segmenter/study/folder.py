"""A study on its data: where the data lie, and which folders of the study its generators, sets and runs have."""

import os
from dataclasses import dataclass
from pathlib import Path

from marsgen.core.errors import ConfigError
from marsgen.core.storage.places import SIMULATED
from marsgen.scenes.sources import has_test_set
from segmenter.study.config import StudyConfig


@dataclass(frozen=True)
class Study:
    """What is studied, on which data."""

    config: StudyConfig
    folder: Path
    data: str
    """real scenes to train on, as --data takes them"""
    test: str | None
    """labelled scenes to score on; None = the test part, or the folds, of `data`"""
    classes: str | None
    """yaml of the classes, where the data do not name them"""
    unlabelled: str | None = None
    """pictures to pseudo-label, as --unlabelled takes them; None = the unlabelled pictures of `data`, if it has any"""

    @property
    def pictures(self) -> str:
        """Where the pictures to pseudo-label lie.

        Raises:
            ConfigError: --unlabelled was not given, and the data have no unlabelled pictures.
        """
        if self.unlabelled is None and not has_test_set(self.data):
            raise ConfigError(
                f"a set has a teacher, and {self.data} has no pictures without labels (an npz with test_set has); "
                "name some with --unlabelled"
            )
        return self.unlabelled or self.data

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The numbers of the folds; (None,) = there are no folds."""
        return tuple(range(self.config.folds)) or (None,)

    def path(self, kind: str, name: str, fold: int | None) -> Path:
        """Folder of a generator or a set."""
        return self.folder / job_name(kind, name, fold)

    def run_path(self, arm: str, seed: int, fold: int | None) -> Path:
        """Folder of a training run."""
        return self.folder / run_name(arm, seed, fold)


def name_of_data(location: str) -> str:
    """What data are called where nobody needs to know in which folder of a machine they lie."""
    return location if location.startswith(SIMULATED) else os.path.basename(os.path.abspath(location))


def job_name(kind: str, name: str, fold: int | None) -> str:
    """Name of the job that makes a generator or a set; also its folder in the study."""
    return f"{kind}/{name}" + ("" if fold is None else f"-fold{fold}")


def run_name(arm: str, seed: int, fold: int | None) -> str:
    """Name of the job that trains and scores one run of an arm; also its folder in the study."""
    return job_name("runs", f"{arm}-seed{seed}", fold)
