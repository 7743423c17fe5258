"""Shares of the oracle's gain: by hand, against Fieller's formula and the percentile of the ratio, and by coverage."""

from dataclasses import replace

import numpy as np
import pytest
from painted_studies import ROCK, paint_study
from scipy import stats

from marsgen.core.errors import DataError
from segmenter.results.counts import StudyCounts
from segmenter.results.gains.oracle import OVER_BAR
from segmenter.results.page.page import render
from segmenter.results.statistics.bootstrap import ArmScores
from segmenter.results.statistics.ratio import ratio_of_gains
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import csv_files, markdown_lines, oracle_table, over_bar_table, result_lines

SKILLS = {
    "few": (None, 0.2),
    "weighted": ("few", 0.22),
    "augmented": ("few", 0.4),
    "drawn": ("few", 0.6),
    "all": ("few", 0.8),
}


def with_generator(study: StudyCounts, *names: str) -> StudyCounts:
    """The same study with a trained generator behind these arms."""
    arms = tuple(
        replace(arm, metadata=arm.metadata.model_copy(update={"generator_minutes": 5.0}))
        if arm.metadata.name in names
        else arm
        for arm in study.arms
    )
    metadata = study.metadata.model_copy(update={"arms": tuple(arm.metadata for arm in arms)})
    return replace(study, metadata=metadata, arms=arms)


@pytest.fixture(scope="module")
def study() -> StudyCounts:
    return with_generator(paint_study(SKILLS, images=120, oracle="all"), "drawn")


@pytest.fixture(scope="module")
def results(study: StudyCounts) -> StudyResults:
    return summarise(study)


def iou(study: StudyCounts, arm: str) -> float:
    """IoU of the rocks, mean over seeds, from the counts themselves."""
    tables = study.arm(arm).counts.astype(np.int64).sum(1)
    return float(np.mean([t[ROCK, ROCK] / (t[ROCK].sum() + t[:, ROCK].sum() - t[ROCK, ROCK]) for t in tables]))


def scores_of(images: np.ndarray) -> list[ArmScores]:
    """Arms of (arms, S, N) values of images, each resample's score the mean over the images drawn."""
    weights = np.random.default_rng(1).multinomial(images.shape[2], np.full(images.shape[2], 1 / images.shape[2]), 4000)
    drawn = np.einsum("rn,asn->ars", weights / images.shape[2], images)
    return [ArmScores(own.mean(1)[:, None], d[..., None]) for own, d in zip(images, drawn, strict=True)]


def fieller(numerator: np.ndarray, denominator: np.ndarray, quantile: float) -> tuple[float, float]:
    """Fieller's limits of mean(numerator) / mean(denominator) for paired normal observations."""
    n, d, count = numerator.mean(), denominator.mean(), len(numerator)
    vn, vd = numerator.var(ddof=1) / count, denominator.var(ddof=1) / count
    both = np.cov(numerator, denominator)[0, 1] / count
    a, b, c = d**2 - quantile**2 * vd, n * d - quantile**2 * both, n**2 - quantile**2 * vn
    root = np.sqrt(b**2 - a * c)
    return (b - root) / a, (b + root) / a


def share_of(arms: list[ArmScores], seeds: tuple[int, ...] = (0,), confidence: float = 0.95):
    return ratio_of_gains(*arms, 0, seeds=[seeds] * 3, confidence=confidence, seed=0)


def test_the_share_is_that_of_a_hand_count(study: StudyCounts, results: StudyResults):
    (row,) = (r for r in results.oracle_shares if (r.arm, r.name) == ("drawn", "IoU big_rock"))
    few, drawn, everything = (iou(study, name) for name in ("few", "drawn", "all"))
    assert row.share == pytest.approx((drawn - few) / (everything - few))
    assert (row.gain, row.oracle_gain) == pytest.approx((drawn - few, everything - few))
    assert row.low < row.share < row.high
    assert f"{100 * row.share:.0f} % of the oracle's gain [{100 * row.low:.0f}, {100 * row.high:.0f}]" == row.reading


def test_with_images_alone_it_is_fiellers_interval_and_the_percentile_of_the_ratio():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.3, 400)
    images = np.stack([0.4 + shared, 0.2 + shared, 0.6 + shared])[:, None] + rng.normal(0, 0.5, (3, 1, 400))
    arm, baseline, oracle = arms = scores_of(images)
    found = share_of([arm, baseline, oracle])
    expected = fieller(images[0, 0] - images[1, 0], images[2, 0] - images[1, 0], 1.96)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.03)
    below, above = arms[0].resampled - arms[1].resampled, arms[2].resampled - arms[1].resampled
    assert (above > 0).all()
    assert (found.low, found.high) == pytest.approx(np.quantile(below / above, [0.025, 0.975]), abs=1e-4)


def test_with_seeds_alone_it_is_fiellers_interval_with_students_quantile():
    own = np.random.default_rng(2).normal([[0.45], [0.3], [0.7]], 0.02, (3, 5))
    arms = [ArmScores(values[:, None], np.broadcast_to(values[None, :, None], (40_000, 5, 1))) for values in own]
    found = share_of(arms, tuple(range(5)))
    expected = fieller(own[0] - own[1], own[2] - own[1], stats.t.ppf(0.975, 4))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)


def test_what_a_seed_does_to_all_three_arms_is_no_part_of_the_interval():
    rng = np.random.default_rng(3)
    own = np.array([[0.5], [0.3], [0.7]]) + rng.normal(0, 0.05, 6) + rng.normal(0, 1e-3, (3, 6))
    arms = [ArmScores(values[:, None], np.broadcast_to(values[None, :, None], (4000, 6, 1))) for values in own]
    paired = share_of(arms, tuple(range(6)))
    apart = ratio_of_gains(*arms, 0, seeds=[(0, 1), (2, 3), (4, 5)], confidence=0.95, seed=0)
    assert 0.49 < paired.low < paired.value < paired.high < 0.51
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > 10 * (paired.high - paired.low)


def test_the_interval_holds_the_true_share():
    """95 % intervals of a share of one half, three seeds, noise of images and of seeds that the arms partly share."""
    rng, held, answered = np.random.default_rng(4), 0, 0
    for _ in range(60):
        truth = np.array([0.4, 0.2, 0.6])[:, None, None]
        of_seed, of_image = rng.normal(0, 0.03, (3, 3, 1)), rng.normal(0, 0.4, (3, 1, 200))
        images = truth + of_seed + of_image + rng.normal(0, 0.2, (1, 1, 200))
        weights = rng.multinomial(200, np.full(200, 1 / 200), 200) / 200
        arms = [ArmScores(own.mean(1)[:, None], (weights @ own.T)[..., None]) for own in images]
        found = share_of(arms, (0, 1, 2))
        if found.low == found.low:
            answered += 1
            held += found.low <= 0.5 <= found.high
    assert answered > 30
    assert held / answered > 0.88


def test_a_gain_that_cannot_be_told_from_nothing_is_too_small_to_divide_by():
    skills = {"few": (None, 0.3), "weighted": ("few", 0.5), "all": ("few", 0.3005)}
    results = summarise(paint_study(skills, images=60, oracle="all"))
    (row,) = (r for r in results.oracle_shares if r.name == "IoU big_rock")
    assert np.isnan([row.share, row.low, row.high]).all()
    assert row.reading.startswith("the oracle's own gain, ")
    assert row.reading.endswith(" points, is too small to divide by")
    table = oracle_table(results)
    assert table is not None
    assert table.rows[0][1 + ROCK][:2] == ("-", "too small to divide by")


def test_an_oracle_that_loses_is_no_measure_either():
    skills = {"few": (None, 0.5), "weighted": ("few", 0.6), "all": ("few", 0.1)}
    rows = summarise(paint_study(skills, images=120, oracle="all")).oracle_shares
    assert all(np.isnan(row.share) for row in rows if row.name == "IoU big_rock")


def test_generators_are_held_against_the_best_arm_without_one(study: StudyCounts, results: StudyResults):
    (row,) = results.over_bar
    assert (row.arm, row.baseline, row.against, row.class_name) == ("drawn", "augmented", OVER_BAR, "big_rock")
    assert row.gain == pytest.approx(iou(study, "drawn") - iou(study, "augmented"))


@pytest.mark.usefixtures("plain_figures")
def test_every_form_of_the_results_says_it(results: StudyResults):
    (share,) = (r for r in results.oracle_shares if (r.arm, r.name) == ("drawn", "IoU big_rock"))
    assert f"IoU big_rock, drawn: {share.reading}" in result_lines(results)
    text = "\n".join(markdown_lines(results))
    assert "**Share of the oracle's gain in %: 0 = few, 100 = all**" in text
    assert "| big_rock | drawn | augmented |" in text
    assert {"oracle_shares.csv", "over_bar.csv"} < csv_files(results).keys()
    page = render(results)
    assert 'id="oracle"' in page
    assert share.reading.replace("'", "&#39;") in page


@pytest.mark.usefixtures("plain_figures")
def test_a_study_without_an_oracle_says_nothing_of_it():
    study = with_generator(paint_study(SKILLS, images=40), "drawn")
    results = summarise(study)
    assert results.oracle_shares == []
    assert oracle_table(results) is None
    assert "oracle" not in render(results)
    assert "oracle_shares.csv" not in csv_files(results)
    (row,) = results.over_bar
    assert (row.arm, row.baseline) == ("drawn", "all")
    assert 'id="generators"' in render(results)


def test_an_arm_without_a_generator_alone_is_the_baseline_and_needs_no_table_of_its_own():
    skills = {name: SKILLS[name] for name in ("few", "drawn")}
    results = summarise(with_generator(paint_study(skills, images=40), "drawn"))
    assert (results.over_bar, over_bar_table(results)) == ([], None)


def test_an_oracle_that_is_no_arm_is_refused():
    with pytest.raises(DataError, match="the study's oracle"):
        paint_study({"few": (None, 0.2), "all": ("few", 0.5)}, images=20, oracle="al")
