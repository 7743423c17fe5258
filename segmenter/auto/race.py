"""The race: sequential halving (Karnin et al. 2013, proceedings.mlr.press/v28/karnin13).

After each rung the worse half of the recipes is dropped, and the rest gets as many seeds again. Recipes are ranked by
their gain over the reference in the IoU of the class on scenes of the race, mean over seeds. These gains choose and are
never reported as results: the best of many is better on the scenes that chose it than on others. What was chosen is
measured with other scenes and other seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from marsgen.core.config import Config
from segmenter.auto.plan import kept_of
from segmenter.results.counts import StudyCounts
from segmenter.results.statistics.bootstrap import score_sums


class Rung(Config):
    """What one rung found."""

    seeds: int
    gains: dict[str, float]
    """gain of each arm over the reference, a difference of shares"""
    kept: tuple[str, ...]
    """the arms, beside the reference, that go on; best first"""


def rank(counts: StudyCounts, class_name: str, arms: Sequence[str]) -> dict[str, float]:
    """Gain of arms over the study's baseline in the IoU of a class, mean over seeds; no score counts as 0."""
    k, part = counts.classes.index(class_name), counts.metadata.scoring.found_fraction
    score = {
        arm: float(np.nan_to_num(score_sums(counts.arm(arm).unit_sums(part, None).sum(1))[:, k]).mean())
        for arm in (counts.metadata.baseline, *arms)
    }
    return {arm: score[arm] - score[counts.metadata.baseline] for arm in arms}


def keep_better(gains: Mapping[str, float], with_extra: Sequence[str]) -> tuple[str, ...]:
    """The better half of the arms, best first; the best of those with extra scenes is among them.

    Of equal gains the arm that was named first, the cheaper one, is better.
    """
    order = sorted(gains, key=lambda arm: gains[arm], reverse=True)
    kept = order[: kept_of(len(order))]
    best = next((arm for arm in order if arm in with_extra), None)
    if best is not None and best not in kept:
        kept[-1] = best
    return tuple(kept)


def choose(rungs: Sequence[Rung], reference: str, with_extra: Sequence[str]) -> tuple[str, str | None]:
    """The best arm on real scenes, and the best with extra scenes (None = none raced), after the last rung.

    The reference has a gain of 0; an arm that was dropped is out.
    """
    last = rungs[-1]
    bar, winner = reference, None
    for arm in last.kept:  # best first
        if arm in with_extra:
            winner = winner or arm
        elif bar == reference and last.gains[arm] > 0:
            bar = arm
    return bar, winner
