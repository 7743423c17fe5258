"""Dataset: scenes that have been surveyed, with suspects named and the rest split into parts."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsgen.cleaning.near_duplicates import (
    DuplicateGroups,
    DuplicatePair,
    cluster_pairs,
    find_duplicates,
    group_near_duplicates,
)
from marsgen.cleaning.outliers import RepeatedMap, choose_left_out, explain_repeated_map, find_repeated_maps
from marsgen.cleaning.splits import Split, split_scenes
from marsgen.cleaning.survey import Survey, survey_scenes
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.layout import PARTS
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes

if TYPE_CHECKING:
    from marsgen.scenes.adapters import TorchPairs


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training command works on."""

    scenes: SceneSource
    survey: Survey
    suspects: dict[int, str]
    """index of a scene -> why it may be a mistake, in words; see `left_out`"""
    split: Split
    config: DataConfig = field(default_factory=DataConfig)
    """settings of the cleaning and the split"""
    copies: tuple[tuple[int, ...], ...] = ()
    """groups of near copies that the split keeps together; () where the data set names groups itself"""

    @property
    def groups(self) -> tuple[int, ...]:
        """Number of the group of each scene: scenes of one number show the same ground, those of two differ."""
        names: list[object] = list(range(len(self.scenes))) if self.scenes.groups is None else list(self.scenes.groups)
        for copies in self.copies:
            for scene in copies:
                names[scene] = copies[0]
        numbers: dict[object, int] = {}
        return tuple(numbers.setdefault(name, len(numbers)) for name in names)

    @property
    def left_out(self) -> tuple[int, ...]:
        """The suspects that are in no part of the split."""
        used = {*self.split.train, *self.split.val, *self.split.test}
        return tuple(scene for scene in self.suspects if scene not in used)

    def to_torch(self, part: str = "train") -> "TorchPairs":
        """The scenes of a part ("train", "val" or "test") as a torch Dataset, see `TorchPairs`.

        Raises:
            DataError: no such part, or nothing in it.
        """
        from marsgen.scenes.adapters import TorchPairs  # here: it imports torch

        indices = getattr(self.split, part) if part in PARTS else ()
        if not len(indices):
            there = ", ".join(name for name in PARTS if getattr(self.split, name))
            raise DataError(f"{self.scenes.location}: no scene in part {part!r}; there are {there}")
        return TorchPairs(self.scenes, tuple(indices))

    def to_huggingface(self) -> Any:
        """A `datasets.DatasetDict` of the parts train, validation and test that hold scenes."""
        from marsgen.scenes.adapters import huggingface_dataset

        parts = {"train": self.split.train, "validation": self.split.val, "test": self.split.test}
        made = {name: huggingface_dataset(self.scenes, indices) for name, indices in parts.items() if indices}
        import datasets

        return datasets.DatasetDict(made)

    def train_scenes_with(self, class_names: Sequence[str]) -> list[int]:
        """Scenes of the train part with a pixel of one of the named classes."""
        pixels = self.survey.pixels[:, [self.scenes.classes.index(name) for name in class_names]]
        return [scene for scene in self.split.train if pixels[scene].any()]

    def rare_train_scenes(self) -> dict[str, list[int]]:
        """Rare class -> the scenes of the train part that show it; a class that none shows is left out."""
        showing = {name: self.train_scenes_with([name]) for name in self.scenes.classes.rare}
        return {name: scenes for name, scenes in showing.items() if scenes}

    def val_scenes_to_show(self, most: int) -> list[int]:
        """A few validation scenes: half of them with the most pixels of a rare class, the others in order."""
        val, classes = self.split.val, self.scenes.classes
        rare_pixels = self.survey.pixels[:, [classes.index(name) for name in classes.rare]].sum(axis=1)
        rarest = sorted(val, key=lambda scene: -rare_pixels[scene])[: most // 2]
        return [*rarest, *(scene for scene in val if scene not in rarest)][:most]

    def describe(self) -> str:
        """What is used for what, in one line."""
        train, val, test = len(self.split.train), len(self.split.val), len(self.split.test)
        counts = f"{train} train, {val} val, {test} test"
        unused = len(self.scenes) - train - val - test
        left_out = self.left_out
        parts = []
        if left_out:
            parts.append(f"{len(left_out)} left out ({self._repetitions(left_out)})")
        if kept := [scene for scene in self.suspects if scene not in set(left_out)]:
            parts.append(f"{len(kept)} suspects kept ({self._repetitions(kept)})")
        if close := unused - len(left_out) - len(self.split.beyond_limit):
            parts.append(f"{close} left out (too close to the test part)")
        if self.split.beyond_limit:
            parts.append(f"{len(self.split.beyond_limit)} left out (beyond the limit on rare scenes)")
        return f"{len(self.scenes)} scenes: {', '.join([*parts, counts])}"

    def log(self, log: logging.Logger) -> None:
        """Log what is used for what, and as warnings what the split could not do."""
        log.info(self.describe())
        for warning in self.split.warnings:
            log.warning(warning)

    def _repetitions(self, suspects: Sequence[int]) -> str:
        maps = Counter(self.survey.label_keys[scene] for scene in suspects)
        return _name_maps(sorted(maps.values(), reverse=True))


def open_dataset(location: str, config: DataConfig, classes: ClassSet | Path | None = None) -> Dataset:
    """Open a data set, find suspects and near copies, and split what is left.

    Args:
        location: see `open_scenes`.
        classes: what the ids mean, or the file that says it, where the data set does not.
    Raises:
        DataError: the data set cannot be used, or nothing is left to train on.
    """
    return clean_scenes(open_scenes(location, classes=classes), config)


Data = Dataset | SceneSource | str | Path
"""what may be given as data: ready to train on, opened, or where they are"""


def scenes_of(data: Data) -> SceneSource:
    """The scenes of data, opened where only their place is given (see `open_scenes`), not yet cleaned."""
    if isinstance(data, Dataset):
        return data.scenes
    return data if isinstance(data, SceneSource) else open_scenes(str(data))


def split_of(data: Data, config: DataConfig | None) -> DataConfig:
    """The settings of cleaning and split: those with which `data` were split already, else those of a command.

    Args:
        config: of the command; None = it says nothing.
    Raises:
        ConfigError: the data are split already, and the command asks for another split.
    """
    if not isinstance(data, Dataset):
        return config or DataConfig()
    if config not in (None, DataConfig(), data.config):
        raise ConfigError(
            "the settings under data differ from those of the data given; these are split already: give val_fraction, "
            "folds and so on where the data are opened (from_folder, from_arrays), or give scenes that are not split"
        )
    return data.config


def dataset_of(data: Data, scenes: SceneSource, config: DataConfig) -> Dataset:
    """`data` as they are where they are split already, else their scenes, cleaned and split."""
    return data if isinstance(data, Dataset) else clean_scenes(scenes, config)


def clean_scenes(scenes: SceneSource, config: DataConfig) -> Dataset:
    """Find suspects and near copies among scenes, and split what is left.

    Raises:
        DataError: nothing is left to train on.
    """
    survey = survey_scenes(scenes)
    # groups already keep together what shows the same ground, so the search for copies need not look at details
    similarity = config.near_duplicate_similarity if scenes.groups is None else 1.0
    pairs = find_duplicates(scenes, survey, similarity)
    repeated = find_repeated_maps(scenes, survey, cluster_pairs(len(scenes), pairs))
    copies = group_copies(scenes, survey, config, pairs)
    split = divide(scenes, survey, config, copies, repeated)
    return Dataset(scenes, survey, name_suspects(repeated), split, config, copies.groups)


def name_suspects(repeated: Sequence[RepeatedMap]) -> dict[int, str]:
    """Scene index -> reason, for every scene that carries a repeated label map."""
    return {scene: explain_repeated_map(found) for found in repeated for scene in found.scenes}


def divide(
    scenes: SceneSource,
    survey: Survey,
    config: DataConfig,
    copies: DuplicateGroups,
    repeated: Sequence[RepeatedMap],
) -> Split:
    """The split that `config` asks for, without the suspects that are left out; see `split_scenes`.

    Args:
        copies: see `group_copies`.
        repeated: see `find_repeated_maps`.
    Raises:
        DataError: it cannot be had; the message names the data set.
    """
    refuse_no_label(scenes, survey)
    left_out, notes = choose_left_out(repeated, len(scenes), config.suspects)
    try:
        split = split_scenes(
            survey,
            config,
            scenes.classes.names,
            groups=scenes.groups,
            parts=scenes.parts,
            copies=copies.groups,
            left_out=left_out,
            rare=scenes.classes.rare,
        )
    except DataError as problem:
        hint = f"; {len(left_out)} suspects are left out, data.suspects=keep keeps them" if left_out else ""
        raise DataError(f"{scenes.location}: {problem}{hint}") from None
    remarks = (*notes, *filter(None, [copies.note]), *split.warnings, *_absent_rare(scenes, survey))
    return replace(split, warnings=remarks)


def group_copies(
    scenes: SceneSource, survey: Survey, config: DataConfig, pairs: Sequence[DuplicatePair]
) -> DuplicateGroups:
    """Groups of near copies, none larger than what the training part may hold.

    Args:
        pairs: see `find_duplicates`. Where the data set names groups itself, there are none beside exact copies,
            which a split keeps together anyway.
    """
    if scenes.groups is not None:
        return DuplicateGroups(())
    held_out = 0.5 if config.folds else config.val_fraction + config.test_fraction
    return group_near_duplicates(
        scenes,
        survey,
        pairs,
        config.near_duplicate_similarity,
        largest=len(scenes) - ceil(held_out * len(scenes)),
        fewest=config.folds or 2 + (config.test_fraction > 0),
    )


def refuse_no_label(scenes: SceneSource, survey: Survey) -> None:
    """Raise DataError where no pixel of any scene carries a label."""
    if len(survey) and not survey.pixels[:, :-1].any():
        raise DataError(
            f"{scenes.location}: no pixel carries a label: all {len(survey)} label maps hold the ignored id "
            f"{scenes.classes.ignored} only; correct `ignored` in the classes file, or label the pictures"
        )


def _absent_rare(scenes: SceneSource, survey: Survey) -> list[str]:
    absent = [name for name in scenes.classes.rare if not survey.shows[:, scenes.classes.index(name)].any()]
    return [f"rare class {name} is in no scene" for name in absent]


def _name_maps(repetitions: list[int]) -> str:
    if len(repetitions) == 1:
        return f"one label map repeated {repetitions[0]} times"
    shown = [str(count) for count in repetitions[:3]] + ["..."] * (len(repetitions) > 3)
    return f"{len(repetitions)} label maps repeated {', '.join(shown)} times"
