"""All results of a study, from its raw counts alone: what the tables, the files and the page show."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from marsgen.scenes.classes import ClassSet
from segmenter.results.counts import StudyCounts
from segmenter.results.gains.gains import (
    OWN,
    DosePoint,
    Gain,
    Recommendation,
    Score,
    compute_dose_points,
    compute_gains,
    compute_scores,
    compute_secondary_scores,
    recommend_dose,
)
from segmenter.results.gains.oracle import OracleShare, compute_gains_over_bar, compute_oracle_shares
from segmenter.results.gains.subgroups import Subgroup, compute_subgroups, list_shares, sum_shares
from segmenter.results.gains.worth import Worth, compute_worth
from segmenter.results.labels import secondary_names
from segmenter.results.metadata import ArmMetadata, StudyMetadata
from segmenter.results.notes import limitations
from segmenter.results.statistics.bootstrap import ArmScores, resample_together, score_intervals, score_sums, share_sums
from segmenter.results.statistics.ranking import resample_rankings


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Minutes and memory of one arm; NaN = not measured, or there is nothing to make."""

    arm: str
    title: str
    seeds: int
    train_minutes: float
    """mean per seed"""
    generator_minutes: float
    set_minutes: float
    first_network_minutes: float
    """sum of the three"""
    peak_memory_mb: float
    """of the machine, not of a GPU"""
    interrupted: bool
    """minutes are missing"""


@dataclass(frozen=True, eq=False)
class StudyResults:
    """All that the tables and the page show."""

    metadata: StudyMetadata
    classes: ClassSet
    primary_class: str
    """the class that the study is about; see `StudyCounts.primary_class`"""
    scores: Sequence[Score]
    gains: Sequence[Gain]
    """over each arm's own baseline, then over the study's where that is another"""
    oracle_shares: Sequence[OracleShare]
    """of the oracle's gain over the study's baseline; empty where the study has no oracle"""
    over_bar: Sequence[Gain]
    """of the arms with a generator over the best one without, in the IoU of rare classes; empty without an oracle"""
    worth: Sequence[Worth]
    """of gains in labelled rare scenes; empty where the baseline was trained on one number of them alone"""
    curves: Sequence[DosePoint]
    recommendations: Sequence[Recommendation]
    """of each curve"""
    subgroups: Sequence[Subgroup]
    secondary_scores: Sequence[Score]
    """that do not depend on how readily a class is called (statistics/ranking.py); empty where a run kept no margins"""
    secondary_gains: Sequence[Gain]
    """in those, as `gains`"""
    costs: Sequence[Cost]
    """of arms of which any was measured"""
    limitations: tuple[str, ...]
    """sentences"""

    @cached_property
    def titles(self) -> dict[str, str]:
        """Arm name -> its title."""
        return {arm.name: arm.title for arm in self.metadata.arms}

    @cached_property
    def tables(self) -> dict[str, Sequence[Any]]:
        """File name -> rows, of every csv file that has any."""
        names = (
            *("scores", "gains", "oracle_shares", "over_bar", "worth", "curves", "subgroups"),
            *("secondary_scores", "secondary_gains", "costs"),
        )
        return {f"{name}.csv": getattr(self, name) for name in names if getattr(self, name)}

    def gains_in(self, score: str, class_name: str = "", against: str = OWN) -> list[Gain]:
        """The gains of all arms in one score."""
        return [g for g in self.gains if (g.score, g.class_name, g.against) == (score, class_name, against)]


def summarise(study: StudyCounts, *more_limitations: str) -> StudyResults:
    """Every number of a study; the same counts give the same numbers.

    Args:
        more_limitations: sentences on what is known of the runs and is not in the counts.
    """
    metadata = study.metadata
    sums = {
        arm.metadata.name: arm.unit_sums(metadata.scoring.found_fraction, study.images.groups) for arm in study.arms
    }
    shares = list_shares(study)
    part_sums = {arm.metadata.name: sum_shares(arm, shares, study) for arm in study.arms}
    statistics = study.metadata.statistics
    kinds = [(list(sums.values()), score_sums), (list(part_sums.values()), share_sums)]
    scores, share_scores = (
        dict(zip(sums, found, strict=True)) for found in resample_together(kinds, statistics.resamples, statistics.seed)
    )
    share_intervals = {
        arm: score_intervals(found, statistics.confidence, statistics.seed) for arm, found in share_scores.items()
    }
    ranked = _resample_rankings(study) if study.is_ranked else {}
    gains = compute_gains(study, scores)
    recommendations = [recommend_dose(curve, study, gains, scores) for curve in metadata.curves]
    return StudyResults(
        metadata=metadata,
        classes=study.classes,
        primary_class=study.primary_class,
        scores=compute_scores(study, scores, shares, share_scores, share_intervals),
        gains=gains,
        oracle_shares=compute_oracle_shares(study, scores),
        over_bar=compute_gains_over_bar(study, scores),
        worth=compute_worth(study, scores),
        curves=compute_dose_points(study, gains, recommendations),
        recommendations=recommendations,
        subgroups=compute_subgroups(study, shares, part_sums, share_scores, share_intervals),
        secondary_scores=compute_secondary_scores(study, ranked) if ranked else [],
        secondary_gains=compute_gains(study, ranked, secondary_names(study.classes)) if ranked else [],
        costs=[_cost(arm) for arm in metadata.arms if _is_measured(arm)],
        limitations=(*limitations(study, sums[metadata.baseline][0]), *more_limitations),
    )


def _resample_rankings(study: StudyCounts) -> dict[str, ArmScores]:
    settings, ranks = study.metadata.statistics, [arm.ranks for arm in study.arms if arm.ranks is not None]
    scores = resample_rankings(ranks, settings.resamples, settings.seed, study.images.groups)
    return dict(zip((arm.metadata.name for arm in study.arms), scores, strict=True))


def _is_measured(arm: ArmMetadata) -> bool:
    made = (arm.generator_minutes, arm.set_minutes)
    return bool(arm.train_minutes or arm.peak_memory_mb or any(minutes is not None for minutes in made))


def _cost(arm: ArmMetadata) -> Cost:
    train = float(np.mean(arm.train_minutes)) if arm.train_minutes else np.nan
    made = [np.nan if minutes is None else minutes for minutes in (arm.generator_minutes, arm.set_minutes)]
    return Cost(
        arm=arm.name,
        title=arm.title,
        seeds=len(arm.seeds),
        train_minutes=train,
        generator_minutes=made[0],
        set_minutes=made[1],
        first_network_minutes=train + float(np.nansum(made)),
        peak_memory_mb=max(arm.peak_memory_mb, default=np.nan),
        interrupted=arm.interrupted,
    )
