"""Scores of each arm, gains over its baseline, and gains by dose: from resampled scores to rows.

Shares lie in [0, 1]; NaN stands where there is nothing to score or too little for an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmenter.evaluation.regions import region_classes
from segmenter.results.counts import ArmCounts, StudyCounts
from segmenter.results.gains.subgroups import Share
from segmenter.results.labels import points, score_names, score_text, secondary_names
from segmenter.results.metadata import DoseCurve
from segmenter.results.statistics.bootstrap import ArmScores, Intervals, gain_intervals, score_intervals
from segmenter.results.statistics.simultaneous import simultaneous_gains
from segmenter.results.verdict import Verdict, decide, explain

OWN, COMMON = "own baseline", "study baseline"
"""what a gain is measured against"""
BASELINE = "baseline"
"""in place of a verdict: a baseline gains nothing over itself"""


@dataclass(frozen=True, kw_only=True)
class ScoreOfArm:
    """Which score of which arm a row is about."""

    arm: str
    title: str
    """of the arm"""
    score: str
    """"IoU", "mean IoU", "regions found", "precision", "recall" or "false alarms"; "average precision" or "IoU at
    matched fraction" in secondary rows"""
    class_name: str
    """"" for the mean"""

    @property
    def name(self) -> str:
        """Score and class in words."""
        return score_text(self.score, self.class_name)


@dataclass(frozen=True, kw_only=True)
class Score(ScoreOfArm):
    """One score of one arm, mean over its seeds."""

    unit: str
    """"share", or "number" (of false alarms) """
    value: float
    low: float
    """interval of the value"""
    high: float
    seed_sd: float
    """standard deviation over seeds; NaN for one"""


@dataclass(frozen=True, kw_only=True)
class Gain(ScoreOfArm):
    """What an arm gained over a baseline in one score."""

    baseline: str
    against: str
    """OWN or COMMON"""
    baseline_value: float
    value: float
    gain: float
    low: float
    """interval of this arm alone"""
    high: float
    simultaneous_low: float
    """interval corrected for all arms with the same baseline: the one that the verdict is about"""
    simultaneous_high: float
    p: float
    adjusted_p: float
    verdict: Verdict
    reading: str
    """the verdict with its reason"""

    @property
    def only_alone(self) -> bool:
        """Whether the interval of this arm alone leaves out 0 and the verdict is still "cannot tell"."""
        return self.verdict == Verdict.CANNOT_TELL and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class DosePoint(ScoreOfArm):
    """The gain at one dose of a curve over the arm's own baseline; see Gain."""

    curve: str
    x: float
    """dose"""
    gain: float
    low: float
    high: float
    simultaneous_low: float
    simultaneous_high: float
    verdict: str
    """a Verdict, or BASELINE"""
    only_alone: bool
    recommended: bool
    """this dose is the recommended one"""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The dose of a curve that is recommended, if any."""

    curve: str
    score: str
    class_name: str
    x: float | None = None
    """dose; None = none is recommended"""
    arm: str | None = None
    words: str


# scores


def compute_scores(
    study: StudyCounts,
    scores: Mapping[str, ArmScores],
    shares: Sequence[Share],
    share_scores: Mapping[str, ArmScores],
    share_intervals: Mapping[str, Intervals],
) -> list[Score]:
    """Every score of every arm: IoU, mean IoU, regions found, precision, recall, false alarms."""
    statistics, rows = study.metadata.statistics, []
    named = [(k, score, name) for k, (score, name) in enumerate(score_names(study.classes)) if score]
    extra = [
        (b, share.by, study.classes.names[share.class_index])
        for b, share in enumerate(shares)
        if share.by in ("precision", "recall")
    ]
    for arm in study.arms:
        own, shared = scores[arm.metadata.name], share_scores[arm.metadata.name]
        of_own = score_intervals(own, statistics.confidence, statistics.seed)
        for found, intervals, columns in (
            (own, of_own, named),
            (shared, share_intervals[arm.metadata.name], extra),
        ):
            for k, score, name in columns:
                if not np.isnan(intervals.estimate[k]):
                    interval = (intervals.estimate[k], intervals.low[k], intervals.high[k])
                    rows.append(_score(arm, score, name, "share", *interval, found.per_seed[:, k]))
        for c in region_classes(study.classes):
            of_class = arm.false_alarms[arm.false_alarms["class_index"] == c]["seed_index"]
            number = np.bincount(of_class, minlength=len(arm.metadata.seeds)).astype(np.float64)
            interval = (number.mean(), np.nan, np.nan)
            rows.append(_score(arm, "false alarms", study.classes.names[c], "number", *interval, number))
    return rows


def compute_secondary_scores(study: StudyCounts, ranked: Mapping[str, ArmScores]) -> list[Score]:
    """The scores of `statistics/ranking.py` of every arm."""
    statistics, rows = study.metadata.statistics, []
    for arm in study.arms:
        own = ranked[arm.metadata.name]
        intervals = score_intervals(own, statistics.confidence, statistics.seed)
        for k, (score, name) in enumerate(secondary_names(study.classes)):
            if not np.isnan(intervals.estimate[k]):
                interval = (intervals.estimate[k], intervals.low[k], intervals.high[k])
                rows.append(_score(arm, score, name, "share", *interval, own.per_seed[:, k]))
    return rows


def _score(
    arm: ArmCounts, score: str, name: str, unit: str, value: float, low: float, high: float, per_seed: np.ndarray
) -> Score:
    return Score(
        arm=arm.metadata.name,
        title=arm.metadata.title,
        score=score,
        class_name=name,
        unit=unit,
        value=float(value),
        low=float(low),
        high=float(high),
        seed_sd=float(per_seed.std(ddof=1)) if len(per_seed) > 1 else np.nan,
    )


# gains


def compute_gains(
    study: StudyCounts, scores: Mapping[str, ArmScores], names: Sequence[tuple[str, str]] | None = None
) -> list[Gain]:
    """Gains over each arm's own baseline; then those over the study's baseline, where that is another.

    Arms with the same baseline are corrected together.

    Args:
        names: (score, class) of the columns of `scores`; None = `score_names`.
    """
    common = study.metadata.baseline
    arms_of: dict[str, list[str]] = {}
    for arm in study.metadata.arms:
        if arm.baseline is not None:
            arms_of.setdefault(arm.baseline, []).append(arm.name)
    rows = [row for baseline, arms in arms_of.items() for row in gains_over(study, scores, baseline, arms, OWN, names)]
    order = [arm.name for arm in study.metadata.arms]
    rows.sort(key=lambda row: order.index(row.arm))  # stable: scores keep their order
    others = [name for name in order if name != common]
    return rows if arms_of == {common: others} else rows + gains_over(study, scores, common, others, COMMON, names)


def gains_over(
    study: StudyCounts,
    scores: Mapping[str, ArmScores],
    baseline: str,
    arms: Sequence[str],
    against: str,
    names: Sequence[tuple[str, str]] | None = None,
) -> list[Gain]:
    """Gains of arms over one baseline in every score, corrected together; `names` as for `compute_gains`."""
    statistics, rows = study.metadata.statistics, []
    intervals = simultaneous_gains(
        scores[baseline],
        [scores[name] for name in arms],
        paired=[study.is_paired(baseline, name) for name in arms],
        confidence=statistics.confidence,
        seed=statistics.seed,
    )
    for name, found in zip(arms, intervals, strict=True):
        seeds = min(len(study.arm(arm).metadata.seeds) for arm in (name, baseline))
        for k, (score, class_name) in enumerate(names or score_names(study.classes)):
            if score and not np.isnan(found.estimate[k]):
                gain, low, high = (
                    float(x[k]) for x in (found.estimate, found.simultaneous_low, found.simultaneous_high)
                )
                word = decide(gain, low, high, seeds=seeds, practical_gain=statistics.practical_gain)
                rows.append(
                    Gain(
                        arm=name,
                        title=study.arm(name).metadata.title,
                        score=score,
                        class_name=class_name,
                        baseline=baseline,
                        against=against,
                        baseline_value=float(scores[baseline].estimate[k]),
                        value=float(scores[name].estimate[k]),
                        gain=gain,
                        low=float(found.low[k]),
                        high=float(found.high[k]),
                        simultaneous_low=low,
                        simultaneous_high=high,
                        p=float(found.p[k]),
                        adjusted_p=float(found.adjusted_p[k]),
                        verdict=word,
                        reading=explain(word, low, high, statistics.practical_gain),
                    )
                )
    return rows


# gains by dose


def compute_dose_points(
    study: StudyCounts, gains: Sequence[Gain], recommendations: Sequence[Recommendation]
) -> list[DosePoint]:
    """Every curve's points in order of their dose, in every score.

    Args:
        recommendations: of each curve, in the study's order.
    """
    by_arm: dict[str, list[Gain]] = {}
    for row in gains:
        if row.against == OWN:
            by_arm.setdefault(row.arm, []).append(row)
    rows = []
    for curve, chosen in zip(study.metadata.curves, recommendations, strict=True):
        scored = next((by_arm[point.arm] for point in curve.points if point.arm in by_arm), [])
        for point in sorted(curve.points, key=lambda point: point.x):
            measured = point.arm in by_arm
            for row in by_arm.get(point.arm, scored):
                rows.append(
                    DosePoint(
                        arm=point.arm,
                        title=study.arm(point.arm).metadata.title,
                        score=row.score,
                        class_name=row.class_name,
                        curve=curve.name,
                        x=point.x,
                        recommended=chosen.x == point.x,
                        **(_measured(row) if measured else _NOTHING_GAINED),
                    )
                )
    return rows


_NOTHING_GAINED: dict[str, Any] = {
    **dict.fromkeys(("gain", "low", "high", "simultaneous_low", "simultaneous_high"), 0.0),
    "verdict": BASELINE,
    "only_alone": False,
}


def _measured(row: Gain) -> dict[str, Any]:
    return {key: getattr(row, key) for key in _NOTHING_GAINED}


def recommend_dose(
    curve: DoseCurve, study: StudyCounts, gains: Sequence[Gain], scores: Mapping[str, ArmScores]
) -> Recommendation:
    """The smallest dose whose gain in IoU of the primary class is not distinguishable from the best one."""
    name = study.primary_class
    k = study.classes.index(name)
    about: dict[str, Any] = {"curve": curve.name, "score": "IoU", "class_name": name}
    own = {g.arm: g for g in gains if (g.against, g.score, g.class_name) == (OWN, "IoU", name)}
    doses = sorted(curve.points, key=lambda point: point.x)
    if len({study.arm(p.arm).metadata.baseline or p.arm for p in doses}) > 1:
        words = "No dose is recommended: the points have baselines of their own, so they do not rank."
        return Recommendation(**about, words=words)
    if not any(p.arm in own for p in doses):
        return Recommendation(**about, words=f"No dose is recommended: nothing of {name} was scored.")
    best = max((p for p in doses if p.arm in own), key=lambda point: own[point.arm].gain)
    peak = own[best.arm]
    if peak.verdict != Verdict.HELPS:
        words = (
            f"No dose is recommended: the verdict on the best gain in IoU {name}, {points(peak.gain)} points at "
            f"{best.x:g}, is: {peak.reading}."
        )
        return Recommendation(**about, words=words)
    statistics = study.metadata.statistics
    for point in doses:
        behind = gain_intervals(
            scores[point.arm],
            scores[best.arm],
            paired=study.is_paired(point.arm, best.arm),
            confidence=statistics.confidence,
            seed=statistics.seed,
        )
        if point.arm == best.arm or not behind.low[k] > 0:
            break
    gain = own[point.arm].gain if point.arm in own else 0.0
    if point.arm == best.arm:
        words = f"{point.x:g}. Its gain in IoU {name}, {points(gain)} points, is the best; smaller doses gain less."
    else:
        words = (
            f"{point.x:g}. It is the smallest dose whose gain in IoU {name}, {points(gain)} points, cannot be told "
            f"from the best one, {points(peak.gain)} points at {best.x:g}."
        )
    if point.arm not in own or own[point.arm].verdict != Verdict.HELPS:
        words += " Its own verdict is not helps."
    return Recommendation(**about, x=point.x, arm=point.arm, words=words)
