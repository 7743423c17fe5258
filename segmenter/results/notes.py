"""Limitations: in sentences, how the intervals were made and what they do not cover."""

from collections.abc import Iterator

import numpy as np

from segmenter.evaluation.summary import CAUTION
from segmenter.results.counts import StudyCounts
from segmenter.results.labels import score_text
from segmenter.results.metadata import StudyMetadata
from segmenter.results.statistics.bootstrap import SUMS

_FEW_UNITS = 30
"""Where fewer images show a class, its intervals are too narrow: in simulated tests with 270, 27 and 9 rock images,
95 % intervals held the true gain in regions found in 93, 93 and 74 % of the tests, the true IoU in 94, 87 and 78 %."""


def limitations(study: StudyCounts, sums: np.ndarray) -> tuple[str, ...]:
    """What limits the results, a sentence or two each.

    Args:
        sums: (units, 5, C) `unit_sums` of any run: which images show which class.
    """
    metadata = study.metadata
    return (
        *_scored_on(study),
        _intervals(study, len(sums)),
        _seeds(study),
        _correction(metadata),
        *_few_images(study, sums),
        *_power(metadata, study.primary_class),
        _found(metadata),
        *_secondary(study),
        "Upper, middle and lower are thirds of all regions by their lowest row in the image: how far away they are "
        "where one camera sees flat ground, and otherwise no more than their place in the picture.",
    )


def _scored_on(study: StudyCounts) -> Iterator[str]:
    test, folds = study.metadata.test, study.images.folds
    part = "all its images" if test.part == "all" else f"its {test.part} part"
    yield f"Scored on {test.images} images of {test.location} ({part}, fingerprint {test.fingerprint})."
    if test.part in CAUTION:
        yield f"Caution: {CAUTION[test.part]}."
    if folds:
        yield (
            f"{len(set(folds))} folds: each image is scored by a network that did not train on it; counts of all folds "
            "are added up before scores are formed."
        )


def _intervals(study: StudyCounts, units: int) -> str:
    statistics, groups = study.metadata.statistics, study.images.groups
    unit = f"{units} groups of the {study.metadata.test.images} images" if groups else f"the {units} images"
    return (
        f"{statistics.confidence:.0%} intervals: {unit} are resampled {statistics.resamples:,} times, the same for all "
        "arms"
        + ("." if groups else "; the data name no groups, and if several images show one place they are too narrow.")
    )


def _seeds(study: StudyCounts) -> str:
    arms = study.metadata.arms
    numbers = sorted({len(arm.seeds) for arm in arms})
    if numbers == [1]:
        return (
            "One training seed per arm: the intervals do not cover what training again would change, so there is no "
            "verdict. Train each arm with at least two more seeds."
        )
    few = " With two seeds that makes them very wide." if 2 in numbers else ""
    alone = (
        " The intervals of arms with one seed do not cover that, and there is no verdict on them."
        if 1 in numbers
        else ""
    )
    number = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    paired = {study.is_paired(arm.baseline, arm.name) for arm in arms if arm.baseline}
    how = (
        "" if True not in paired else ", paired by seed" + (" where two arms have the same" if False in paired else "")
    )
    return (
        f"{number} training seeds per arm{how}: what another seed would change is part of every interval.{few}{alone}"
    )


def _correction(metadata: StudyMetadata) -> str:
    sizes = sorted({sum(a.baseline == b.baseline for a in metadata.arms) for b in metadata.arms if b.baseline})
    arms = " or ".join(str(size) for size in sizes) or "0"
    return (
        "Verdicts are about the corrected (thin) intervals, which hold together for all arms with one baseline, "
        f"{arms} {'arm' if arms == '1' else 'arms'} here, in one score. Looking at several scores, at regions by size "
        "and row, and the choice of a dose are not corrected for."
    )


def _few_images(study: StudyCounts, sums: np.ndarray) -> Iterator[str]:
    showing = np.count_nonzero(sums[:, SUMS.index("true_px")], axis=0)
    few = [f"{name} ({n})" for name, n in zip(study.classes.names, showing, strict=True) if 0 < n < _FEW_UNITS]
    if few:
        unit = "groups" if study.images.groups else "images"
        yield f"Few {unit} show {', '.join(few)}: those intervals are too narrow."


def _power(metadata: StudyMetadata, primary_class: str) -> Iterator[str]:
    power = metadata.power
    if power is None:
        yield 'How small a gain could have been detected was not computed: "cannot tell" is no proof of no gain.'
        return
    by_seeds = []
    for seeds, smallest in {power.seeds: power.smallest_gain, **power.with_other_seeds}.items():
        gains = [
            f"{100 * gain:.1f} points of {name}"
            for name in (score_text("IoU", primary_class), "mean IoU")
            if (gain := smallest.get(name)) is not None
        ]
        if gains:
            by_seeds.append(f"with {seeds} seeds {' and '.join(gains)}")
    if not by_seeds:
        yield "How small a gain could be detected cannot be said from this baseline."
        return
    yield (
        f"Smallest gains that are detected in {power.power:.0%} of such studies, computed from the baseline's runs "
        f"alone: {', '.join(by_seeds)}, at {power.confidence:.0%} "
        + (f"corrected for {power.arms} arms." if power.arms > 1 else "and each arm taken alone.")
    )


def _secondary(study: StudyCounts) -> Iterator[str]:
    if study.is_ranked:
        yield (
            "Secondary scores rank labelled pixels by the margin of the class over every other one, in bins, and count "
            "pixels of one rank as evenly mixed; as any further score, they are not corrected for."
        )
        return
    lacking = {arm.metadata.name: arm.unranked_seeds for arm in study.arms if arm.unranked_seeds}
    if any(len(lacking.get(arm.metadata.name, ())) < len(arm.metadata.seeds) for arm in study.arms):
        runs = ", ".join(f"{name} (seed {', '.join(map(str, seeds))})" for name, seeds in lacking.items())
        yield (
            f"No secondary scores: the evaluations of {runs} kept no margins, those of the other runs did; delete them "
            "and evaluate again."
        )


def _found(metadata: StudyMetadata) -> str:
    scoring = metadata.scoring
    mirrored = "; predictions are averaged with those of mirrored images" if scoring.flip else ""
    scales = ", ".join(f"{scale:g}" for scale in scoring.scales)
    scaled = f"; at {scales} times the size" if scoring.scales != (1,) else ""
    return (
        f"A region counts as found when at least {scoring.found_fraction:.0%} of its pixels were called its class; "
        f"regions under {scoring.min_region_px} px are left out{mirrored}{scaled}."
    )
