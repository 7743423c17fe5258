"""What study.json holds: everything of a study but its counts (counts.py)."""

from pathlib import Path
from typing import Any

from pydantic import Field

from marsgen.core.config import Config, Seed, build_config
from marsgen.core.errors import ConfigError, DataError
from marsgen.core.storage.reading import read_json
from segmenter.inference.config import InferenceConfig

COUNTS_REMEDY = "a folder of counts holds study.json, images.json and a file per arm; write the counts again"


class ScoredPart(Config):
    """Which images were scored."""

    location: str
    """where the data lie, as on the command line; in the counts of a study, which are published, their name alone"""
    fingerprint: str
    """of the data's content"""
    part: str
    """"test", "val" or "train" of the data, or "all" """
    images: int = Field(ge=1)
    """N"""


class ScoringSettings(InferenceConfig):
    """How predictions were made and scored; see EvaluateConfig."""

    found_fraction: float = Field(gt=0, le=1)
    """a rock counts as found when at least this share of its pixels was called rock"""
    min_region_px: int = Field(ge=1)
    """smaller connected regions are in no count of rocks"""


class StatisticsSettings(Config):
    """How intervals and verdicts are made: what a study writes under `statistics`, and part of CompareConfig."""

    resamples: int = Field(10_000, ge=200)
    """bootstrap resamples of the test images"""
    seed: Seed = 0
    """seed of the resamples"""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """what share of such intervals should hold the true gain"""
    practical_gain: float = Field(0.02, gt=0, lt=1)
    """the smallest gain worth having (0.02 = 2 points): gains that are surely smaller are "no practical difference",
    and where the verdict is "cannot tell", it is said whether such a gain is ruled out; see results/verdict.py"""


class ArmMetadata(Config):
    """One arm: runs that differ by their seed alone. What is listed per seed sums over folds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """short and fit for a file name"""
    title: str
    """in words, for tables and figures"""
    baseline: str | None = None
    """name of the arm its gain is measured against; none = it is a baseline itself"""
    seeds: tuple[int, ...] = Field(min_length=1)
    """in the order of the first axis of its counts"""
    synthetic: bool = False
    """whether it was trained on synthetic scenes too"""
    rare_scenes: int | None = Field(None, ge=0)
    """real training scenes that show a rare class, mean over seeds and folds; none = not known"""
    pseudo_labels: bool = False
    """whether it was trained on images that other networks labelled too"""
    train_minutes: tuple[float, ...] = ()
    """per seed; none = not measured"""
    peak_memory_mb: tuple[float, ...] = ()
    """per seed, the most of all folds; none = not measured"""
    generator_minutes: float | None = None
    """spent on training the generator of its synthetic scenes; none = it has none, or not measured"""
    set_minutes: float | None = None
    """spent on making its extra scenes, the training of teachers that label some included; none = it has none, or not
    measured"""
    interrupted: bool = False
    """whether a part of that time was spent by processes that were stopped, and is in no number above"""
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """settings worth showing"""

    @property
    def has_generator(self) -> bool:
        """Whether a trained generator drew some of its scenes."""
        return self.generator_minutes is not None


class CurvePoint(Config):
    """One dose and the arm that got it."""

    x: float
    """the dose, in the unit that the curve's x_title names"""
    arm: str
    """name of an arm; one without a baseline stands at a gain of 0"""


class DoseCurve(Config):
    """What more of something does: arms in order of a dose, each with its gain over its own baseline."""

    name: str
    """short"""
    title: str
    """in words"""
    x_title: str
    """what the dose is, and its unit"""
    points: tuple[CurvePoint, ...] = Field(min_length=1)
    """at least one dose"""


class Power(Config):
    """The smallest gains that the study can detect, computed from its baseline's runs alone."""

    seeds: int = Field(ge=1)
    """training seeds per arm"""
    arms: int = Field(1, ge=1)
    """compared at once; 1 = each taken alone"""
    confidence: float = Field(gt=0.5, lt=1)
    """of the interval that has to lie clear of 0"""
    power: float = Field(gt=0, lt=1)
    """how often a gain of that size would be detected"""
    smallest_gain: dict[str, float | None]
    """share in [0, 1] by score, such as `IoU soil`; none = cannot be said"""
    with_other_seeds: dict[int, dict[str, float | None]] = Field(default_factory=dict)
    """the same for arms with another number of seeds than the baseline, by that number"""


class StudyMetadata(Config):
    """Everything of a study but its counts: what study.json holds."""

    title: str
    """the question that the study answers"""
    baseline: str
    """name of the arm that all others are measured against too"""
    oracle: str | None = None
    """name of the arm that trains on all real rare scenes: others are said to reach a share of its gain; none = no arm
    does"""
    classes: dict[str, Any]
    """ClassSet.to_dict"""
    test: ScoredPart
    """which images were scored"""
    scoring: ScoringSettings
    """how"""
    statistics: StatisticsSettings = StatisticsSettings()
    """how intervals are made"""
    arms: tuple[ArmMetadata, ...] = Field(min_length=2)
    """in the order of every table"""
    curves: tuple[DoseCurve, ...] = ()
    """gains by dose"""
    power: Power | None = None
    """smallest detectable gains; none = not computed"""


def read_metadata(folder: Path) -> StudyMetadata:
    """What study.json in a folder of counts says.

    Raises:
        DataError: missing or damaged.
    """
    content = read_json(folder / "study.json", dict, DataError, COUNTS_REMEDY)
    try:
        return build_config(StudyMetadata, content, str(folder / "study.json"))
    except ConfigError as problem:
        raise DataError(str(problem)) from None
