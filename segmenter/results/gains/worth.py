"""What a gain is worth in real images: how many more labelled scenes of the class would bring as much.

A study that trains its baseline on several numbers of rare scenes (`data.rare_scenes`, all else equal) has a learning
curve: score by number of scenes, straight between its points on a logarithmic axis; only `scenes_beyond` draws it on.
An arm's score lies on that curve at some number of scenes; what the baseline had is taken away.

The interval holds every number N at which the arm cannot be told from the curve: like Fieller's set (ratio.py), by the
interval of arm - curve(N), a weighted sum of three arms whose images and seeds are resampled together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmenter.results.counts import StudyCounts
from segmenter.results.gains.gains import ScoreOfArm
from segmenter.results.labels import score_names
from segmenter.results.metadata import ArmMetadata, StudyMetadata
from segmenter.results.statistics.bootstrap import ArmScores
from segmenter.results.statistics.ratio import WeightedSum

_LIMIT = "data.rare_scenes"
_PLACES = 33
"""numbers of scenes that are compared with an arm"""
MOST_TIMES = 4
"""times the present number of scenes: `scenes_beyond` draws the curve no further than that"""


@dataclass(frozen=True, kw_only=True)
class Worth(ScoreOfArm):
    """What an arm's gain is worth in labelled scenes of the rare classes."""

    scenes: float
    """more labelled scenes that would bring as much; below 0 = fewer would do; NaN = beyond the curve"""
    low: float
    high: float
    """its interval; NaN for an end beyond the curve"""
    fewest: int
    most: int
    """scenes less and more than the baseline's that the curve reaches"""
    reading: str
    """in words"""


def learning_curve(metadata: StudyMetadata) -> list[ArmMetadata]:
    """The arms that differ from the baseline in their number of rare scenes alone, itself included, by that number.

    Fewer than two where there is no curve.
    """
    baseline = next(arm for arm in metadata.arms if arm.name == metadata.baseline)
    curve = {}
    for arm in metadata.arms:
        alike = _without_limit(arm) == _without_limit(baseline) and _inputs(arm) == _inputs(baseline)
        if alike and arm.rare_scenes:
            curve[arm.rare_scenes] = arm
    if baseline.rare_scenes:
        curve[baseline.rare_scenes] = baseline
    return [curve[number] for number in sorted(curve)] if baseline.rare_scenes else []


def _without_limit(arm: ArmMetadata) -> dict[str, object]:
    return {key: value for key, value in arm.settings.items() if key != _LIMIT}


def _inputs(arm: ArmMetadata) -> tuple[bool, ...]:
    return arm.synthetic, arm.pseudo_labels, arm.generator_minutes is None


def compute_worth(study: StudyCounts, scores: Mapping[str, ArmScores]) -> list[Worth]:
    """Worth of every arm that has as many rare scenes as the baseline, in the IoU of each rare class.

    None where the study has no learning curve.
    """
    metadata, curve = study.metadata, learning_curve(study.metadata)
    if len(curve) < 2:
        return []
    baseline = next(arm for arm in metadata.arms if arm.name == metadata.baseline)
    on_curve = {arm.name for arm in curve}
    rows = []
    for arm in metadata.arms:
        if arm.name in on_curve or arm.rare_scenes != baseline.rare_scenes:
            continue
        for k, (score, class_name) in enumerate(score_names(study.classes)):
            involved = [arm, *curve]
            if score != "IoU" or class_name not in study.classes.rare:
                continue
            if any(np.isnan(scores[a.name].estimate[k]) for a in involved):
                continue
            sums = WeightedSum.of([scores[a.name] for a in involved], k, [a.seeds for a in involved])
            numbers = [float(a.rare_scenes or 0) for a in curve]
            known = float(baseline.rare_scenes or 0)
            confidence, seed = metadata.statistics.confidence, metadata.statistics.seed
            rise = [0.0, -1.0, *[0.0] * (len(curve) - 2), 1.0]
            at = low = high = float("nan")
            if sums.estimate(*rise) > 0 and sums.interval(*rise, confidence=confidence, seed=seed)[0] > 0:
                at, low, high = scenes_of(sums, numbers, confidence=confidence, seed=seed)
            fewest, most = round(numbers[0] - known), round(numbers[-1] - known)
            rows.append(
                Worth(
                    arm=arm.name,
                    title=arm.title,
                    score=score,
                    class_name=class_name,
                    scenes=_finite(at - known),
                    low=_finite(low - known),
                    high=_finite(high - known),
                    fewest=fewest,
                    most=most,
                    reading=read_worth(at - known, low - known, high - known, most),
                )
            )
    return rows


def _finite(number: float) -> float:
    return number if np.isfinite(number) else float("nan")


def scenes_of(
    sums: WeightedSum, numbers: Sequence[float], *, confidence: float, seed: int
) -> tuple[float, float, float]:
    """At how many scenes a learning curve reaches an arm, with the interval.

    Args:
        sums: the arm, then the arms of the curve.
        numbers: scenes of each point of the curve, rising, at least two.
        confidence, seed: of the interval and its draws.
    Returns:
        (number, low, high); -inf and inf beyond the ends of the curve. The first number at which the curve is as high
        as the arm, where it does not rise all the way.
    """
    places = np.geomspace(numbers[0], numbers[-1], _PLACES)
    gaps, fits = [], []
    for place in places:
        weights = _on_curve(place, numbers)
        gaps.append(sums.estimate(1, *(-w for w in weights)))
        low, high = sums.interval(1, *(-w for w in weights), confidence=confidence, seed=seed)
        fits.append(not (low > 0 or high < 0))  # no interval at all says nothing: it fits
    reached = np.flatnonzero(np.array(gaps) <= 0)
    if not len(reached):
        number = np.inf
    elif reached[0] == 0:
        number = -np.inf if gaps[0] < 0 else float(places[0])
    else:
        after = int(reached[0])
        share = gaps[after - 1] / (gaps[after - 1] - gaps[after])
        number = float(np.exp(np.interp(share, [0, 1], np.log(places[after - 1 : after + 1]))))
    fitting = places[np.array(fits)]
    if not len(fitting):
        return number, number, number
    low = -np.inf if fits[0] else float(fitting[0])
    high = np.inf if fits[-1] else float(fitting[-1])
    return number, min(low, number), max(high, number)


def scenes_beyond(there: int, gain_of_doubling: float, gain: float) -> int | None:
    """More scenes that would bring a gain, if further ones go on to gain as the last doubling of them did.

    Args:
        there: scenes that there are.
        gain_of_doubling: what they gained over half of them, in the unit of `gain`.
    Returns:
        None where the doubling gained nothing, or more than `MOST_TIMES` the present number would be needed.
    """
    if gain_of_doubling <= 0:
        return None
    doublings = gain / gain_of_doubling
    return round(there * (2**doublings - 1)) if 2**doublings <= MOST_TIMES else None


def _on_curve(place: float, numbers: Sequence[float]) -> list[float]:
    """Weights of the points of the curve, straight between two neighbours on a logarithmic axis."""
    weights = [0.0] * len(numbers)
    after = min(max(int(np.searchsorted(numbers, place)), 1), len(numbers) - 1)
    ends = np.log([numbers[after - 1], numbers[after]])
    share = float(np.clip((np.log(place) - ends[0]) / (ends[1] - ends[0]), 0, 1))
    weights[after - 1], weights[after] = 1 - share, share
    return weights


def read_worth(scenes: float, low: float, high: float, most: int) -> str:
    """A worth in words.

    Args:
        scenes, low, high: more scenes than the baseline has; infinite beyond the curve, NaN where it does not rise.
        most: the most that the curve knows.
    """
    if scenes != scenes:
        return "worth in labelled scenes cannot be told: more of them alone do not surely raise the score"
    ends = dict.fromkeys(_end(value, most) for value in (low, high))
    interval = f"[{', '.join(ends)}]"
    if scenes == np.inf:
        return f"worth more than {most} more labelled rare scenes {interval}"
    if scenes == -np.inf or round(scenes) < 0:
        fewer = "of the curve's fewest scenes" if scenes == -np.inf else f"with {-scenes:.0f} fewer"
        return f"worth no labelled rare scene: at or below the score {fewer} {interval}"
    return f"worth about {scenes:.0f} more labelled rare scenes {interval}"


def _end(value: float, most: int) -> str:
    return "fewer" if value == -np.inf else f"more than {most}" if value == np.inf else f"{value:.0f}"
