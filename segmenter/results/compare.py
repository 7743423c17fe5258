"""COMPARE: do the extra scenes help? Runs of several arms on the same test images: gain, interval, verdict in words.

An arm is a recipe, its runs differ by their seed alone. The first run given belongs to the baseline.

    <out>/compare.json      everything: arms, scores, gains, how the intervals were made
    <out>/compare.csv       one row per gain
    <out>/compare.md        the tables, ready for a README
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.reader import Evaluation
from segmenter.evaluation.summary import CAUTION
from segmenter.results.arms import Arm, find_evaluations, group_arms, open_runs
from segmenter.results.bootstrap import ArmScores, Intervals, resample_arms, score_intervals, unit_sums
from segmenter.results.gain_tables import comparison_lines, gain_rows, write_comparison
from segmenter.results.simultaneous import FamilyGain, gains_of_family

_FEW_UNITS = 30
"""Where fewer images show a class, its intervals are too narrow: in simulated tests with 270, 27 and 9 rock images,
95 % intervals held the true gain in regions found in 93, 93 and 74 % of the tests, the true IoU in 94, 87 and 78 %."""


class CompareConfig(Config):
    """Settings of `segmenter compare`: how gains and their intervals are computed."""

    resamples: int = Field(10_000, ge=200)
    """bootstrap resamples of the test images"""
    seed: int = Field(0, ge=0)
    """seed of the resamples"""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """what share of such intervals should hold the true gain"""
    practical_gain: float = Field(0.02, gt=0, lt=1)
    """the smallest gain worth having (0.02 = 2 points); where the verdict is "cannot tell", it is said whether the
    interval rules such a gain out"""
    data: str = ""
    """which evaluation, where the runs share several: its data's location, or its folder name under evaluations/"""
    allow_different_steps: bool = False
    """compare runs although one was allowed more training steps than another"""


@dataclass(frozen=True, eq=False)
class Gain:
    """What an arm gained over the baseline, in the K scores of segmenter/intervals.py."""

    arm: Arm
    paired: bool
    """seeds of the two arms belong together one by one"""
    intervals: FamilyGain


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answer, before it is written."""

    config: CompareConfig
    classes: ClassSet
    arms: tuple[Arm, ...]
    scores: tuple[Intervals, ...]
    """of each arm"""
    gains: tuple[Gain, ...]
    """of each arm but the first"""
    notes: tuple[str, ...]
    """how the intervals were made and what they do not know, a sentence each"""


def compare(folders: Sequence[Path], config: CompareConfig, out: Path, *, replace: bool = False) -> list[str]:
    """Compare finished and evaluated runs, write the result, and return it as lines of text; see `compare_runs`.

    Args:
        replace: see `Run.start`.
    """
    comparison = compare_runs(folders, config)
    evaluation = comparison.arms[0].evaluations[0]
    inputs = {"runs": [str(f) for f in folders], "fingerprint": evaluation.record["data"]["fingerprint"]}
    run = Run.start(out, "segmenter compare", config, inputs, replace=replace)
    write_comparison(comparison, out)
    run.finish({"verdicts": Counter(row["verdict"] for row in gain_rows(comparison))})
    return comparison_lines(comparison)


def compare_runs(folders: Sequence[Path], config: CompareConfig) -> Comparison:
    """Group runs into arms and compute every gain over the first run's arm.

    Args:
        folders: finished runs of `segmenter train`, each evaluated on the same labelled data.
    Raises:
        RunError: a run is named twice, not finished or not evaluated; runs of different length; a single arm.
        DataError: the evaluations are of different scenes or classes.
    """
    runs = open_runs(folders, allow_different_steps=config.allow_different_steps)
    arms = group_arms(runs, find_evaluations(runs, config.data))
    if len(arms) < 2:
        raise RunError(
            f"all {len(runs)} runs are of one recipe ({arms[0].label}) and differ by their seed alone; "
            "add runs trained with other --extra folders or settings"
        )
    classes = arms[0].evaluations[0].classes
    sums = [np.stack([_unit_sums(e) for e in arm.evaluations]) for arm in arms]
    resampled = resample_arms(sums, config.resamples, config.seed)
    return Comparison(
        config=config,
        classes=classes,
        arms=tuple(arms),
        scores=tuple(score_intervals(a, config.confidence, config.seed) for a in resampled),
        gains=tuple(_gains(arms, resampled, config)),
        notes=tuple(_notes(arms, classes, sums[0][0], config)),
    )


def _unit_sums(evaluation: Evaluation) -> np.ndarray:
    return unit_sums(evaluation.counts, evaluation.regions, evaluation.found(), evaluation.groups)


def _gains(arms: Sequence[Arm], resampled: Sequence[ArmScores], config: CompareConfig) -> list[Gain]:
    baseline, *others = arms
    paired = [baseline.seeds == arm.seeds and len(set(arm.seeds)) == len(arm.seeds) for arm in others]
    found = gains_of_family(resampled[0], resampled[1:], paired=paired, confidence=config.confidence, seed=config.seed)
    return [Gain(*gain) for gain in zip(others, paired, found, strict=True)]


def _notes(arms: Sequence[Arm], classes: ClassSet, sums: np.ndarray, config: CompareConfig) -> list[str]:
    first = arms[0].evaluations[0]
    record, grouped = first.record, first.groups is not None
    unit = f"{len(sums)} groups of images" if grouped else f"{len(sums)} images"
    blind = "" if grouped else "; the data name no groups, and if several images show one place it is too narrow"
    notes = [
        f"{config.confidence:.0%} intervals: {unit} of {record['data']['location']} resampled "
        f"{config.resamples:,} times, the same for all arms{blind}.",
        _seed_note(arms),
        "Each interval stands alone: where nothing is gained or lost, about one verdict in "
        f"{round(1 / (1 - config.confidence))} will still say helps or hurts.",
    ]
    if len(arms) > 2:
        notes.append(
            f"Verdicts of all {len(arms) - 1} arms together (compare.csv, compare.md): per score, one false one in "
            f"{round(1 / (1 - config.confidence))} comparisons like this whole one."
        )
    showing = np.count_nonzero(sums[:, 1], axis=0)
    if few := [f"{name} ({n})" for name, n in zip(classes.names, showing, strict=True) if 0 < n < _FEW_UNITS]:
        what = "groups" if grouped else "images"
        notes.append(f"Few {what} show {', '.join(few)}: intervals of those scores are too narrow.")
    if stopped := [run.folder.name for arm in arms for run in arm.runs if run.summary.get("stopped_early")]:
        notes.append(f"Stopped early, so trained for fewer steps: {', '.join(stopped)}.")
    if record["part"] in CAUTION:
        notes.append(f"Scored on the {record['part']} part: {CAUTION[record['part']]}.")
    return notes


def _seed_note(arms: Sequence[Arm]) -> str:
    seeds = sorted({len(arm.runs) for arm in arms})
    if seeds[0] == 1:
        alone = [arm.label for arm in arms if len(arm.runs) == 1]
        whose = "One training seed per arm" if len(alone) == len(arms) else f"One training seed in {', '.join(alone)}"
        return f"{whose}: the intervals do not know what training again with another seed would change."
    few = " (with two seeds very wide)" if seeds[0] == 2 else ""
    paired = (
        "paired by seed" if len({arm.seeds for arm in arms}) == 1 else "paired by seed where two arms have the same"
    )
    number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{number} training seeds per arm, {paired}; what another seed would change is part of the interval, as "
        f"Student's t with one degree of freedom less than seeds{few}."
    )
