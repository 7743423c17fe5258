"""What is in a data set and what is wrong with it: class counts, suspects, duplicates, split, reconstruction errors."""

from dataclasses import dataclass

import numpy as np

from marsgen.cleaning.counts import ClassCount, count_classes, count_regions
from marsgen.cleaning.dataset import Dataset, divide, group_copies, name_suspects
from marsgen.cleaning.near_duplicates import DuplicatePair, cluster_pairs, find_duplicates, find_duplicates_between
from marsgen.cleaning.outliers import RepeatedMap, find_repeated_maps
from marsgen.cleaning.splits import PARTS, Split
from marsgen.cleaning.survey import survey_scenes
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.scenes.scene import SceneSource


@dataclass(frozen=True, eq=False)
class Autoencoding:
    """Reconstruction errors of an autoencoder, and how well they agree with the repeated label maps."""

    errors: np.ndarray
    """(N,) float32 mean squared error"""
    unusual: np.ndarray
    """(N,) bool"""
    precision: float
    """fraction of the unusual scenes that carry a repeated label map; NaN where none is unusual"""
    recall: float
    """fraction of the scenes with a repeated label map that are unusual; NaN where there is none"""


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that an inspection found: the source of its printed lines, its json file and its page."""

    dataset: Dataset
    no_split: str
    """why the data cannot be divided; "" where they can"""
    repeated: list[RepeatedMap]
    pairs: list[DuplicatePair]
    classes: list[ClassCount]
    """over the scenes that are not left out as suspects; "no label" last"""
    regions: list[np.ndarray]
    """sizes in pixels of the connected regions of each class, over the same scenes"""
    autoencoding: Autoencoding | None
    others: SceneSource | None
    overlap: list[DuplicatePair]

    @property
    def good(self) -> list[int]:
        """Indices of the scenes that are not left out as suspects."""
        left_out = set(self.dataset.left_out)
        return [scene for scene in range(len(self.dataset.scenes)) if scene not in left_out]

    @property
    def rare(self) -> list[int]:
        """Indices of the rare classes that the data set names, else of the one with the fewest pixels that occurs."""
        classes = self.dataset.scenes.classes
        if classes.rare:
            return [classes.index(name) for name in classes.rare]
        present = [(count.pixels, index) for index, count in enumerate(self.classes[:-1]) if count.pixels]
        return [min(present)[1]] if present else []

    def part_of(self, scene: int) -> str:
        """The part of the split that a scene is in."""
        return next((part for part in PARTS if scene in getattr(self.dataset.split, part)), "left out")

    @property
    def crossing(self) -> list[DuplicatePair]:
        """Pairs that are in different parts of the split."""
        parts = {scene: part for part in PARTS for scene in getattr(self.dataset.split, part)}
        both = [pair for pair in self.pairs if pair.first in parts and pair.second in parts]
        return [pair for pair in both if parts[pair.first] != parts[pair.second]]


def collect_findings(
    scenes: SceneSource,
    data: DataConfig,
    *,
    others: SceneSource | None = None,
    autoencoder_steps: int = 0,
    autoencoder_spreads: float = 1.5,
    seed: int = 0,
) -> Findings:
    """Find out what is in a data set and what is wrong with it. Nothing is written.

    Args:
        data: cleaning and split, as a training command would use them.
        others: another data set; pictures that both hold are found.
        autoencoder_steps: training steps of the autoencoder; 0 = none is trained.
        autoencoder_spreads: see `flag_errors`.
        seed: of the autoencoder.
    """
    survey = survey_scenes(scenes)
    pairs = find_duplicates(scenes, survey, data.near_duplicate_similarity)
    linked = [pair for pair in pairs if pair.exact or scenes.groups is None]
    repeated = find_repeated_maps(scenes, survey, cluster_pairs(len(scenes), linked))
    copies = group_copies(scenes, survey, data, pairs)
    suspects = name_suspects(repeated)
    split, no_split = Split((), (), ()), ""
    try:
        split = divide(scenes, survey, data, copies, repeated)
    except DataError as problem:  # a training command would stop here; an inspection has more to say
        no_split = str(problem)
    dataset = Dataset(scenes, survey, suspects, split, data, copies.groups)
    left_out = set(dataset.left_out)
    good = [scene for scene in range(len(scenes)) if scene not in left_out]
    autoencoding = None
    if autoencoder_steps:
        autoencoding = _autoencode(scenes, suspects, autoencoder_steps, autoencoder_spreads, seed)
    overlap = []
    if others is not None:
        overlap = find_duplicates_between(scenes, survey, others, survey_scenes(others), data.near_duplicate_similarity)
    return Findings(
        dataset=dataset,
        no_split=no_split,
        repeated=repeated,
        pairs=pairs,
        classes=count_classes(survey, scenes.classes.names, good),
        regions=count_regions(scenes, survey, good),
        autoencoding=autoencoding,
        others=others,
        overlap=overlap,
    )


def _autoencode(scenes: SceneSource, suspects: dict[int, str], steps: int, spreads: float, seed: int) -> Autoencoding:
    # here: torch takes seconds to import, and without autoencoder it is not needed
    from marsgen.cleaning.autoencoder import flag_errors, precision_and_recall, reconstruction_errors, shrink_scenes

    errors = reconstruction_errors(shrink_scenes(scenes), steps, seed)
    unusual = flag_errors(errors, spreads)
    repeated = np.zeros(len(scenes), bool)
    repeated[list(suspects)] = True
    return Autoencoding(errors, unusual, *precision_and_recall(unusual, repeated))
