"""The oracle: how much of what more labels bring an arm reaches without them, and what a generator adds to the rest.

The oracle is the arm that trains on all real rare scenes, for the same steps. An arm's share of its gain is
(arm - baseline) / (oracle - baseline), both over the study's baseline: 0 is the baseline, 1 the oracle.

The bar is the best arm without a trained generator, the baseline included: what a generator has to beat. It is chosen
by the same test scores, which favours it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmenter.results.counts import StudyCounts
from segmenter.results.gains.gains import Gain, ScoreOfArm, gains_over
from segmenter.results.labels import points, score_names
from segmenter.results.statistics.bootstrap import ArmScores
from segmenter.results.statistics.ratio import ratio_of_gains

TOO_SMALL = "too small to divide by"
OVER_BAR = "best arm without a generator"
"""what such a gain is measured against; see Gain.against"""


@dataclass(frozen=True, kw_only=True)
class OracleShare(ScoreOfArm):
    """Which share of the oracle's gain an arm reaches in one score."""

    baseline: str
    oracle: str
    gain: float
    """of the arm over the baseline"""
    oracle_gain: float
    share: float
    """gain / oracle_gain, with its interval low..high; NaN where the oracle's gain is too small to divide by"""
    low: float
    high: float
    reading: str
    """in words"""


def compute_oracle_shares(study: StudyCounts, scores: Mapping[str, ArmScores]) -> list[OracleShare]:
    """Shares of all arms but the baseline and the oracle, in every score; none where the study has no oracle."""
    oracle, baseline = study.metadata.oracle, study.metadata.baseline
    if oracle is None:
        return []
    rows = []
    for arm in (arm.metadata for arm in study.arms if arm.metadata.name not in (oracle, baseline)):
        seeds = [study.arm(name).metadata.seeds for name in (arm.name, baseline, oracle)]
        for k, (score, class_name) in enumerate(score_names(study.classes)):
            values = [float(scores[name].estimate[k]) for name in (arm.name, baseline, oracle)]
            if not score or np.isnan(values).any():
                continue
            ratio = ratio_of_gains(
                scores[arm.name],
                scores[baseline],
                scores[oracle],
                k,
                seeds=seeds,
                confidence=study.metadata.statistics.confidence,
                seed=study.metadata.statistics.seed,
            )
            rows.append(
                OracleShare(
                    arm=arm.name,
                    title=arm.title,
                    score=score,
                    class_name=class_name,
                    baseline=baseline,
                    oracle=oracle,
                    gain=values[0] - values[1],
                    oracle_gain=values[2] - values[1],
                    share=ratio.value,
                    low=ratio.low,
                    high=ratio.high,
                    reading=_read_share(ratio.value, ratio.low, ratio.high, values[2] - values[1], seeds),
                )
            )
    return rows


def _read_share(share: float, low: float, high: float, oracle_gain: float, seeds: Sequence[Sequence[int]]) -> str:
    if share != share:
        return f"the oracle's own gain, {points(oracle_gain)} points, is {TOO_SMALL}"
    alone = "; one seed: what training again would change is not in the interval" if min(map(len, seeds)) < 2 else ""
    return f"{share_text(share)} of the oracle's gain {share_interval(low, high)}{alone}"


def share_text(share: float) -> str:
    """A share in whole percent; "-" for NaN."""
    return "-" if share != share else f"{100 * share:.0f} %"


def share_interval(low: float, high: float) -> str:
    """Its interval in whole percent; "" where there is none."""
    return "" if low != low else f"[{100 * low:.0f}, {100 * high:.0f}]"


# generators against the best arm without one


def compute_gains_over_bar(study: StudyCounts, scores: Mapping[str, ArmScores]) -> list[Gain]:
    """Gains of the arms with a generator over the bar, in the IoU of every rare class.

    All such arms are corrected together. None where no arm has a generator, or only one has none: the gains over the
    baseline say it then.
    """
    racing = [arm for arm in study.metadata.arms if arm.name != study.metadata.oracle]
    arms = [arm.name for arm in racing if arm.has_generator]
    if not arms or len(racing) - len(arms) < 2:
        return []
    rows: list[Gain] = []
    for name in study.classes.rare:
        bar = find_bar(study, scores, study.classes.index(name))
        if bar is not None:
            gains = gains_over(study, scores, bar, arms, OVER_BAR)
            rows += [row for row in gains if (row.score, row.class_name) == ("IoU", name)]
    return rows


def find_bar(study: StudyCounts, scores: Mapping[str, ArmScores], k: int) -> str | None:
    """The arm of the highest score k among those without a generator, the oracle left out; None = none has a score."""
    without = [
        arm.metadata.name
        for arm in study.arms
        if arm.metadata.name != study.metadata.oracle and not arm.metadata.has_generator
    ]
    scored = [name for name in without if not np.isnan(scores[name].estimate[k])]
    return max(scored, key=lambda name: scores[name].estimate[k], default=None)
