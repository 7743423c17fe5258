"""A study's raw counts in numbers: scores, gains, dose curves, failures and costs, as flat rows.

Only counts are read (study_counts.py); tables and files of the rows are made in study_tables.py, the page in
study_page.py. Shares lie in [0, 1]; NaN stands where there is nothing to score or too little for an interval.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from marsgen.scenes.classes import ClassSet
from segmenter.evaluation.regions import region_classes
from segmenter.evaluation.summary import CAUTION
from segmenter.results.bootstrap import SUMS, ArmScores, gain_intervals, resample_arms, score_intervals
from segmenter.results.counts import ArmCounts, DoseCurve, StudyCard, StudyCounts
from segmenter.results.gain_tables import explain_verdict, points, score_names, score_text, verdict
from segmenter.results.simultaneous import gains_of_family

Rows = list[dict[str, Any]]

OWN, COMMON = "own baseline", "study baseline"
"""what a gain is measured against"""
VERDICTS = {
    "helps": "the interval lies above 0, also after correction for all arms with the same baseline",
    "may help": "the interval lies above 0 only when taken alone; among so many, one such may be luck",
    "cannot tell": "the interval holds 0, or too few images show the class for an interval",
    "may hurt": "the interval lies below 0 only when taken alone",
    "hurts": "the interval lies below 0, also after correction",
}
"""What each verdict says, best first."""
_SIZE_BORDERS_PX = (64, 256, 1024)
_DISTANCES = ("far", "middle", "near")
_FEW_UNITS = 30  # see segmenter/compare.py


@dataclass(frozen=True, eq=False)
class StudyResults:
    """All that the tables and the page show."""

    card: StudyCard
    classes: ClassSet
    headline: str
    """the class that the study is about, see `headline_class`"""
    scores: Rows
    """arm, title, score, class, unit ("share" or "number"), value, low, high, seed_sd"""
    gains: Rows
    """arm, title, baseline, against (OWN or COMMON), score, class, baseline_value, value, gain, low, high, family_low,
    family_high, p, family_p, verdict, reading (what an open verdict leaves possible).
    The COMMON ones are left out where they are the same as the OWN ones."""
    curves: Rows
    """curve, x, arm, title, score, class, gain, low, high, family_low, family_high, verdict, recommended"""
    recommendations: Rows
    """curve, score, class, x and arm (None where no dose is recommended), words"""
    failures: Rows
    """arm, title, baseline, class, by ("size" or "distance"), bin, regions, found (mean over seeds), share, low, high,
    gain over the arm's own baseline, gain_low, gain_high"""
    costs: Rows
    """arm, title, seeds, train_minutes (mean per seed), generator_minutes, set_minutes, first_network_minutes (their
    sum), peak_memory_mb (of the machine, not of a GPU), interrupted (minutes are missing)"""
    notes: tuple[str, ...]
    """what a sceptic should know"""

    @cached_property
    def titles(self) -> dict[str, str]:
        """Arm name -> its title."""
        return {arm.name: arm.title for arm in self.card.arms}

    @cached_property
    def tables(self) -> dict[str, Rows]:
        """File name -> rows, of every csv file that has any."""
        names = ("scores", "gains", "curves", "failures", "costs")
        return {f"{name}.csv": getattr(self, name) for name in names if getattr(self, name)}

    def gains_in(self, score: str, class_name: str = "", against: str = OWN) -> Rows:
        """The gains of all arms in one score."""
        return [g for g in self.gains if (g["score"], g["class"], g["against"]) == (score, class_name, against)]


def summarise(study: StudyCounts) -> StudyResults:
    """Every number of a study from its raw counts; the same counts give the same numbers."""
    card = study.card
    sums = {a.card.name: a.unit_sums(card.scoring.found_fraction, study.images.groups) for a in study.arms}
    scores = _resample(sums, study)
    gains = _gains(study, scores)
    shares = [*_rare_shares(study), *_bins(study)]
    share_sums = {arm.card.name: _share_sums(arm, shares, study) for arm in study.arms}
    share_scores = _resample(share_sums, study)
    headline = headline_class(study)
    recommendations = [_recommend(curve, study, gains, scores, headline) for curve in card.curves]
    return StudyResults(
        card=card,
        classes=study.classes,
        headline=headline,
        scores=_score_rows(study, scores, shares, share_scores),
        gains=gains,
        curves=_curve_rows(study, gains, recommendations),
        recommendations=recommendations,
        failures=_failure_rows(study, shares, share_sums, share_scores),
        costs=[_cost_row(arm) for arm in study.arms],
        notes=tuple(_notes(study, sums[card.baseline][0], headline)),
    )


def headline_class(study: StudyCounts) -> str:
    """Name of the class the study is about: the rare one with most regions, else the one with fewest pixels."""
    first = study.arms[0]
    if study.classes.rare:
        of_seed = first.regions[first.regions["seed_index"] == 0]["class_index"]
        return max(study.classes.rare, key=lambda name: np.count_nonzero(of_seed == study.classes.index(name)))
    pixels = first.counts[0].sum((0, 2), dtype=np.int64)
    return study.classes.names[min(range(len(pixels)), key=lambda c: pixels[c] or np.inf)]


def _resample(sums: Mapping[str, np.ndarray], study: StudyCounts) -> dict[str, ArmScores]:
    settings = study.card.statistics
    return dict(zip(sums, resample_arms(list(sums.values()), settings.resamples, settings.seed), strict=True))


# scores


def _score_rows(
    study: StudyCounts,
    scores: Mapping[str, ArmScores],
    shares: Sequence["_Share"],
    share_scores: Mapping[str, ArmScores],
) -> Rows:
    rows: Rows = []
    named = [(k, score, name) for k, (score, name) in enumerate(score_names(study.classes)) if score]
    extra = [
        (len(shares) + 1 + b, share.by, study.classes.names[share.class_index])
        for b, share in enumerate(shares)
        if share.by in ("precision", "recall")
    ]
    for arm in study.arms:
        for of_arm, columns in ((scores[arm.card.name], named), (share_scores[arm.card.name], extra)):
            statistics = study.card.statistics
            intervals = score_intervals(of_arm, statistics.confidence, statistics.seed)
            for k, score, name in columns:
                interval = (intervals.estimate[k], intervals.low[k], intervals.high[k])
                if not np.isnan(interval[0]):
                    rows.append(_score_row(arm, score, name, "share", *interval, of_arm.per_seed[:, k]))
        for c in region_classes(study.classes):
            of_class = arm.false_alarms[arm.false_alarms["class_index"] == c]["seed_index"]
            number = np.bincount(of_class, minlength=len(arm.card.seeds)).astype(np.float64)
            interval = (number.mean(), np.nan, np.nan)
            rows.append(_score_row(arm, "false alarms", study.classes.names[c], "number", *interval, number))
    return rows


def _score_row(
    arm: ArmCounts, score: str, name: str, unit: str, value: float, low: float, high: float, per_seed: np.ndarray
) -> dict[str, Any]:
    spread = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else np.nan
    row = {"arm": arm.card.name, "title": arm.card.title, "score": score, "class": name, "unit": unit}
    return {**row, "value": float(value), "low": float(low), "high": float(high), "seed_sd": spread}


# gains


def _gains(study: StudyCounts, scores: Mapping[str, ArmScores]) -> Rows:
    """Arms that share a baseline are one family; then all arms against the study's baseline, where that is new."""
    common = study.card.baseline
    families: dict[str, list[str]] = {}
    for card in study.card.arms:
        if card.baseline is not None:
            families.setdefault(card.baseline, []).append(card.name)
    rows = [row for baseline, arms in families.items() for row in _family(study, scores, baseline, arms, OWN)]
    order = [card.name for card in study.card.arms]
    rows.sort(key=lambda row: order.index(row["arm"]))  # stable: scores keep their order
    others = [name for name in order if name != common]
    return rows if families == {common: others} else rows + _family(study, scores, common, others, COMMON)


def _family(
    study: StudyCounts,
    scores: Mapping[str, ArmScores],
    baseline: str,
    arms: Sequence[str],
    against: str,
) -> Rows:
    statistics, rows = study.card.statistics, []
    gains = gains_of_family(
        scores[baseline],
        [scores[name] for name in arms],
        paired=[_paired(study, baseline, name) for name in arms],
        confidence=statistics.confidence,
        seed=statistics.seed,
    )
    for name, gain in zip(arms, gains, strict=True):
        for k, (score, class_name) in enumerate(score_names(study.classes)):
            if score and not np.isnan(gain.estimate[k]):
                row: dict[str, Any] = {
                    "arm": name,
                    "title": study.arm(name).card.title,
                    "baseline": baseline,
                    "against": against,
                    "score": score,
                    "class": class_name,
                    "baseline_value": float(scores[baseline].estimate[k]),
                    "value": float(scores[name].estimate[k]),
                    "gain": float(gain.estimate[k]),
                    "low": float(gain.low[k]),
                    "high": float(gain.high[k]),
                    "family_low": float(gain.family_low[k]),
                    "family_high": float(gain.family_high[k]),
                    "p": float(gain.p[k]),
                    "family_p": float(gain.family_p[k]),
                }
                word = study_verdict(row)
                possible = explain_verdict(row["low"], row["high"], statistics.practical_gain)
                rows.append({**row, "verdict": word, "reading": possible if word == "cannot tell" else word})
    return rows


def _paired(study: StudyCounts, one: str, other: str) -> bool:
    seeds = study.arm(one).card.seeds
    return seeds == study.arm(other).card.seeds and len(set(seeds)) == len(seeds)


def study_verdict(row: Mapping[str, Any]) -> str:
    """One of VERDICTS, from a gain's interval (low, high) and its family-wise one (family_low, family_high)."""
    corrected = verdict(row["family_low"], row["family_high"])
    if corrected != "cannot tell":
        return corrected
    return {"helps": "may help", "hurts": "may hurt"}.get(verdict(row["low"], row["high"]), "cannot tell")


# dose curves


def _curve_rows(study: StudyCounts, gains: Rows, recommendations: Rows) -> Rows:
    by_arm: dict[str, Rows] = {}
    for row in gains:
        if row["against"] == OWN:
            by_arm.setdefault(row["arm"], []).append(row)
    kept = ("score", "class", "gain", "low", "high", "family_low", "family_high", "verdict")
    rows: Rows = []
    for curve, chosen in zip(study.card.curves, recommendations, strict=True):
        scored = next((by_arm[point.arm] for point in curve.points if point.arm in by_arm), [])
        for point in sorted(curve.points, key=lambda point: point.x):
            at = {"curve": curve.name, "x": point.x, "arm": point.arm, "title": study.arm(point.arm).card.title}
            mark = {"recommended": chosen["x"] == point.x}
            # a baseline gains exactly nothing over itself
            own = by_arm.get(point.arm) or [{**row, **_NOTHING_GAINED} for row in scored]
            rows += [{**at, **{key: row[key] for key in kept}, **mark} for row in own]
    return rows


_NOTHING_GAINED = {"gain": 0.0, "low": 0.0, "high": 0.0, "family_low": 0.0, "family_high": 0.0, "verdict": "baseline"}


def _recommend(
    curve: DoseCurve, study: StudyCounts, gains: Rows, scores: Mapping[str, ArmScores], headline: str
) -> dict[str, Any]:
    """The smallest dose whose gain in IoU of the headline class is not distinguishable from the best one."""
    k = study.classes.index(headline)
    row = {"curve": curve.name, "score": "IoU", "class": headline, "x": None, "arm": None}
    own = {g["arm"]: g for g in gains if (g["against"], g["score"], g["class"]) == (OWN, "IoU", headline)}
    doses = sorted(curve.points, key=lambda point: point.x)
    if len({study.arm(p.arm).card.baseline or p.arm for p in doses}) > 1:
        return {**row, "words": "No dose is recommended: the points have baselines of their own, so they do not rank."}
    if not any(p.arm in own for p in doses):
        return {**row, "words": f"No dose is recommended: nothing of {headline} was scored."}
    best = max((p for p in doses if p.arm in own), key=lambda point: own[point.arm]["gain"])
    peak = own[best.arm]
    if peak["verdict"] != "helps":
        return {
            **row,
            "words": f"No dose is recommended: even the best gain in IoU {headline}, {points(peak['gain'])} points at "
            f"{best.x:g}, is not clear of 0 after correction.",
        }
    statistics = study.card.statistics
    for point in doses:
        behind = gain_intervals(
            scores[point.arm],
            scores[best.arm],
            paired=_paired(study, point.arm, best.arm),
            confidence=statistics.confidence,
            seed=statistics.seed,
        )
        if point.arm == best.arm or not behind.low[k] > 0:
            break
    gain = own[point.arm]["gain"] if point.arm in own else 0.0
    if point.arm == best.arm:
        words = (
            f"{point.x:g}. Its gain in IoU {headline}, {points(gain)} points, is the best; smaller doses stay behind."
        )
    else:
        words = (
            f"{point.x:g}. It is the smallest dose whose gain in IoU {headline}, {points(gain)} points, cannot be told "
            f"from the best one, {points(peak['gain'])} points at {best.x:g}."
        )
    if own.get(point.arm, _NOTHING_GAINED)["verdict"] != "helps":
        words += " Taken by itself it is not clear of 0."
    return {**row, "x": point.x, "arm": point.arm, "words": words}


# shares of a whole that are no class score: precision, recall, and rocks found by size and distance


@dataclass(frozen=True)
class _Share:
    """Part of a whole, both summed over images."""

    class_index: int
    by: str
    """"precision", "recall", "size" or "distance" """
    bin: str = ""
    """in words"""
    start: int = 0
    """regions counted: area (size) or foot row (distance) from here"""
    stop: int = 0
    """to below here"""


def _rare_shares(study: StudyCounts) -> list[_Share]:
    return [_Share(c, by) for c in region_classes(study.classes) for by in ("precision", "recall")]


def _bins(study: StudyCounts) -> list[_Share]:
    """Fixed sizes, and thirds of the true regions by foot row: on flat ground, the lower in the picture the nearer."""
    first, shares = study.arms[0], []
    for c in region_classes(study.classes):
        rocks = first.regions[(first.regions["seed_index"] == 0) & (first.regions["class_index"] == c)]
        borders = [study.card.scoring.min_region_px, *_SIZE_BORDERS_PX, np.iinfo(np.int32).max]
        for start, stop in itertools.pairwise(borders):
            if np.any((rocks["area_px"] >= start) & (rocks["area_px"] < stop)):
                last = stop == borders[-1]
                words = f"{start} px and more" if last else f"{start} to {stop - 1} px"
                shares.append(_Share(c, "size", words, start, stop))
        thirds = np.quantile(rocks["foot_row"], [0, 1 / 3, 2 / 3, 1]).round().astype(int) if len(rocks) else [0] * 4
        thirds[-1] += 1
        for word, start, stop in zip(_DISTANCES, thirds, thirds[1:], strict=False):
            if np.any((rocks["foot_row"] >= start) & (rocks["foot_row"] < stop)):
                shares.append(
                    _Share(c, "distance", f"{word} (foot in rows {start} to {stop - 1})", int(start), int(stop))
                )
    return shares


def _share_sums(arm: ArmCounts, shares: Sequence[_Share], study: StudyCounts) -> np.ndarray:
    """(S, units, 5, B): each of B shares takes the place of a class whose "regions" are the whole and "found" the part.

    So `resample_arms` gives their intervals on the same resamples as all other scores.
    """
    whole, part = np.zeros((2, *arm.counts.shape[:2], len(shares)))
    found = arm.found(study.card.scoring.found_fraction)
    for b, share in enumerate(shares):
        c = share.class_index
        if share.by in ("precision", "recall"):
            hit = arm.counts[:, :, c, c]
            called = arm.counts[:, :, :, c] if share.by == "precision" else arm.counts[:, :, c, :]
            whole[..., b], part[..., b] = called.sum(2, dtype=np.int64), hit
        else:
            place = arm.regions["area_px" if share.by == "size" else "foot_row"]
            counted = (arm.regions["class_index"] == c) & (place >= share.start) & (place < share.stop)
            rows = arm.regions[counted]
            np.add.at(whole[..., b], (rows["seed_index"], rows["image"]), 1)
            np.add.at(part[..., b], (rows["seed_index"], rows["image"]), found[counted])
    sums = np.zeros((*arm.counts.shape[:2], len(SUMS), len(shares)))
    sums[:, :, SUMS.index("regions")], sums[:, :, SUMS.index("found")] = whole, part
    if study.images.groups is None:
        return sums
    names, unit = np.unique(np.asarray(study.images.groups), return_inverse=True)
    grouped = np.zeros((len(sums), len(names), *sums.shape[2:]))
    np.add.at(grouped.swapaxes(0, 1), unit, sums.swapaxes(0, 1))
    return grouped


def _failure_rows(
    study: StudyCounts,
    shares: Sequence[_Share],
    sums: Mapping[str, np.ndarray],
    scores: Mapping[str, ArmScores],
) -> Rows:
    statistics, rows = study.card.statistics, []
    for arm in study.arms:
        card = arm.card
        own = score_intervals(scores[card.name], statistics.confidence, statistics.seed)
        baseline = card.baseline or card.name
        gain = gain_intervals(
            scores[baseline],
            scores[card.name],
            paired=_paired(study, baseline, card.name),
            confidence=statistics.confidence,
            seed=statistics.seed,
        )
        for b, share in enumerate(shares):
            if share.by in ("size", "distance"):
                k, total = len(shares) + 1 + b, sums[card.name][..., b].sum(1).mean(0)
                rows.append(
                    {
                        "arm": card.name,
                        "title": card.title,
                        "baseline": card.baseline,
                        "class": study.classes.names[share.class_index],
                        "by": share.by,
                        "bin": share.bin,
                        "regions": int(total[SUMS.index("regions")]),
                        "found": float(total[SUMS.index("found")]),
                        "share": float(own.estimate[k]),
                        "low": float(own.low[k]),
                        "high": float(own.high[k]),
                        "gain": float(gain.estimate[k]) if card.baseline else np.nan,
                        "gain_low": float(gain.low[k]) if card.baseline else np.nan,
                        "gain_high": float(gain.high[k]) if card.baseline else np.nan,
                    }
                )
    return rows


# costs and notes


def _cost_row(arm: ArmCounts) -> dict[str, Any]:
    card = arm.card
    train = float(np.mean(card.train_minutes)) if card.train_minutes else np.nan
    made = [np.nan if minutes is None else minutes for minutes in (card.generator_minutes, card.set_minutes)]
    return {
        "arm": card.name,
        "title": card.title,
        "seeds": len(card.seeds),
        "train_minutes": train,
        "generator_minutes": made[0],
        "set_minutes": made[1],
        "first_network_minutes": train + float(np.nansum(made)),
        "peak_memory_mb": max(card.peak_memory_mb, default=np.nan),
        "interrupted": card.interrupted,
    }


def _notes(study: StudyCounts, sums: np.ndarray, headline: str) -> list[str]:
    card, groups, folds = study.card, study.images.groups, study.images.folds
    level = f"{card.statistics.confidence:.0%}"
    part = "all its images" if card.test.part == "all" else f"its {card.test.part} part"
    unit = f"{len(sums)} groups of the {card.test.images} images" if groups else f"the {len(sums)} images"
    notes = [
        f"Scored on {card.test.images} images of {card.test.location} ({part}, fingerprint {card.test.fingerprint})."
    ]
    if card.test.part in CAUTION:
        notes.append(f"Caution: {CAUTION[card.test.part]}.")
    if folds:
        notes.append(
            f"{len(set(folds))} folds: each image is scored by a network that did not train on it; counts of all folds "
            "are added up before scores are formed."
        )
    notes.append(
        f"{level} intervals: {unit} are resampled {card.statistics.resamples:,} times, the same for all arms"
        + ("." if groups else "; the data name no groups, and if several images show one place they are too narrow.")
    )
    notes.append(_seed_note(study))
    sizes = sorted({sum(a.baseline == b.baseline for a in card.arms) for b in card.arms if b.baseline})
    arms = " or ".join(str(size) for size in sizes) or "0"
    notes.append(
        "Corrected (thin) intervals hold together for all arms with one baseline, "
        f"{arms} {'arm' if arms == '1' else 'arms'} here, in one score. Looking at several scores, at rocks by size "
        "and distance, and the choice of a dose are not corrected for."
    )
    showing = np.count_nonzero(sums[:, SUMS.index("true_px")], axis=0)
    if few := [f"{n} ({k})" for n, k in zip(study.classes.names, showing, strict=True) if 0 < k < _FEW_UNITS]:
        notes.append(f"Few {'groups' if groups else 'images'} show {', '.join(few)}: those intervals are too narrow.")
    notes += _power_notes(card, headline)
    notes.append(
        f"A region counts as found when at least {card.scoring.found_fraction:.0%} of its pixels were called its class; "
        f"regions under {card.scoring.min_region_px} px are left out"
        + ("; predictions are averaged with those of mirrored images" if card.scoring.flip else "")
        + (
            f"; at {', '.join(f'{s:g}' for s in card.scoring.scales)} times the size"
            if card.scoring.scales != (1,)
            else ""
        )
        + "."
    )
    notes.append(
        "Distance is read off the lowest row of a rock in the picture, in thirds of all rocks: right for flat ground "
        "and one camera, rough otherwise."
    )
    notes.append(
        "All of this can be made again from the raw counts alone, without training, with segmenter study-report."
    )
    return notes


def _seed_note(study: StudyCounts) -> str:
    numbers = sorted({len(card.seeds) for card in study.card.arms})
    if numbers == [1]:
        return "One training seed per arm: the intervals do not know what training again would change."
    few = " With two seeds that makes them very wide." if 2 in numbers else ""
    alone = " Arms of one seed know nothing of that." if 1 in numbers else ""
    number = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{number} training seeds per arm: what another seed would change is part of every interval.{few}{alone}"


def _power_notes(card: StudyCard, headline: str) -> list[str]:
    if card.power is None:
        return ['How small a gain could have been detected was not computed: "cannot tell" is no proof of no gain.']
    power = card.power
    said = []
    for seeds, smallest in {power.seeds: power.smallest_gain, **power.with_other_seeds}.items():
        gains = [
            f"{100 * gain:.1f} points of {name}"
            for name in (score_text({"score": "IoU", "class": headline}), "mean IoU")
            if (gain := smallest.get(name)) is not None
        ]
        if gains:
            said.append(f"with {seeds} seeds {' and '.join(gains)}")
    if not said:
        return ["How small a gain could be detected cannot be said from this baseline."]
    return [
        f"Smallest gains that are detected in {power.power:.0%} of such studies, computed from the baseline's cells "
        f"alone: {', '.join(said)}, at {power.confidence:.0%} "
        + (f"corrected for {power.arms} arms." if power.arms > 1 else "and each arm taken alone.")
    ]
