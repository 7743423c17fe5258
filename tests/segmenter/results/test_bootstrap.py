"""Intervals: against scipy's bootstrap, against the formula of the seed term, and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from marsgen.scenes.confusion import iou_per_class, mean_iou
from segmenter.results.statistics.bootstrap import gain_intervals, resample_arms, score_intervals, score_sums, unit_sums

ROCK = 1
MEAN = 2


def table(rows: list[tuple[int, int]]) -> np.ndarray:
    """(R,) rows of image and class_index."""
    return np.array(rows, [("image", "<i4"), ("class_index", "<i4")])


def random_counts(images: int, num_classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (images, num_classes, num_classes)).astype(np.int32)


def draw_rocks(rng: np.random.Generator, images: int) -> np.ndarray:
    """Area of the rock in each image; every second image has none."""
    return rng.integers(20, 200, images) * (rng.random(images) < 0.5)


def draw_rock_images(rng: np.random.Generator, images: int, skill: float, area: np.ndarray | None = None) -> np.ndarray:
    """(images, 5, 2) sums of one seed's evaluation.

    A rock of `area` pixels is hit in area * p of them, p uniform in skill +- 0.3; as many pixels as a tenth of it are
    false. So IoU tends to skill / 1.1 as the images become many.
    """
    area = draw_rocks(rng, images) if area is None else area
    share = np.clip(skill + rng.uniform(-0.3, 0.3, images), 0, 1)
    hit, false = area * share, area * 0.1
    ground = 1000 - area
    sums = np.zeros((images, 5, 2))
    sums[:, 0, ROCK], sums[:, 1, ROCK], sums[:, 2, ROCK] = hit, area, hit + false
    sums[:, 0, 0], sums[:, 1, 0], sums[:, 2, 0] = ground - false, ground, ground - false + area - hit
    sums[:, 3, ROCK], sums[:, 4, ROCK] = area > 0, (area > 0) & (share >= 0.5)
    return sums


def coverage(seeds: int, seed_sd: float, studies: int = 250, images: int = 120) -> dict[str, float]:
    """How often 95 % intervals of an IoU gain hold the true gain of 0.1, with and without the seed term.

    Each class is a study of its own: classes share nothing but which images are resampled.
    """
    rng, arms = np.random.default_rng(3), []
    area = rng.integers(20, 200, (images, studies)) * (rng.random((images, studies)) < 0.5)  # the same for all runs
    for mean in (0.45, 0.55):
        skill = mean + seed_sd * rng.standard_normal((seeds, 1, studies))
        sums = np.zeros((seeds, images, 5, studies))
        sums[:, :, 1] = area
        sums[:, :, 0] = sums[:, :, 2] = area * (skill + rng.uniform(-0.3, 0.3, (seeds, images, studies)))
        arms.append(sums)
    baseline, other = resample_arms(arms, 1000, seed=0)
    found = gain_intervals(baseline, other, paired=True, confidence=0.95, seed=0)
    images_only = np.quantile((other.resampled - baseline.resampled)[:, :studies], [0.025, 0.975], axis=0)
    return {
        "interval": np.mean((found.low <= 0.1) & (found.high >= 0.1), where=np.arange(len(found.low)) < studies),
        "images only": np.mean((images_only[0] <= 0.1) & (images_only[1] >= 0.1)),
    }


def independent_coverage(experiments: int = 250, images: int = 120) -> float:
    """How often the 95 % interval of an IoU holds the truth 0.5 / 1.1 when only the images are drawn anew."""
    rng, held = np.random.default_rng(4), 0
    for experiment in range(experiments):
        arm = resample_arms([draw_rock_images(rng, images, 0.5)[None]], 300, experiment)[0]
        found = score_intervals(arm, 0.95, experiment)
        held += found.low[ROCK] <= 0.5 / 1.1 <= found.high[ROCK]
    return held / experiments


# sums and scores


def test_scores_of_sums_are_those_of_the_summed_confusion():
    counts = random_counts(7)
    regions, found = table([(0, 2), (0, 2), (3, 1), (6, 2)]), np.array([True, False, False, True])
    scores = score_sums(unit_sums(counts, regions, found).sum(0))
    np.testing.assert_allclose(scores[:3], iou_per_class(counts.sum(0)))
    np.testing.assert_allclose(scores[3], mean_iou(counts.sum(0)))
    np.testing.assert_allclose(scores[4:], [np.nan, 0 / 1, 2 / 3])


def test_images_of_a_group_are_one_unit():
    counts = random_counts(4)
    regions, found = table([(0, 1), (2, 1), (3, 1)]), np.array([True, True, False])
    single = unit_sums(counts, regions, found)
    grouped = unit_sums(counts, regions, found, groups=["b", "a", "b", "a"])
    np.testing.assert_array_equal(grouped, [single[1] + single[3], single[0] + single[2]])


def test_a_class_absent_everywhere_is_left_out_of_the_mean():
    sums = np.zeros((5, 3))
    sums[:3, 0], sums[:3, 1] = [4, 5, 6], [2, 4, 4]  # IoU 4/7, 2/6
    np.testing.assert_allclose(score_sums(sums)[:4], [4 / 7, 2 / 6, np.nan, (4 / 7 + 2 / 6) / 2])


# intervals


def test_scipys_bootstrap_agrees():
    rng = np.random.default_rng(0)
    arms = [draw_rock_images(rng, 150, skill)[None] for skill in (0.4, 0.5)]
    baseline, other = resample_arms(arms, 4000, seed=0)
    ours = gain_intervals(baseline, other, paired=True, confidence=0.9, seed=0)

    def rock_gain(*columns: np.ndarray, axis: int) -> np.ndarray:
        hit, true, predicted, hit_b, true_b, predicted_b = (c.sum(axis) for c in columns)
        return hit_b / (true_b + predicted_b - hit_b) - hit / (true + predicted - hit)

    columns = [arm[0, :, i, ROCK] for arm in arms for i in range(3)]
    theirs = stats.bootstrap(
        columns, rock_gain, paired=True, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    width = theirs.high - theirs.low
    np.testing.assert_allclose([ours.low[ROCK], ours.high[ROCK]], theirs, atol=0.06 * width)


def test_the_seed_term_is_students_t_when_images_are_all_alike():
    # identical images: nothing left to vary but the three seeds, and the interval must be the textbook one
    def arm(hits: list[float]) -> np.ndarray:
        sums = np.zeros((len(hits), 20, 5, 2))
        sums[:, :, 1], sums[:, :, 2] = 100, 100
        sums[:, :, 0] = np.array(hits)[:, None, None]
        return sums

    baseline, other = resample_arms([arm([40, 42, 50]), arm([50, 51, 58])], 40_000, seed=0)
    gains = other.per_seed[:, ROCK] - baseline.per_seed[:, ROCK]
    half = stats.t.ppf(0.975, 2) * gains.std(ddof=1) / np.sqrt(3)
    found = gain_intervals(baseline, other, paired=True, confidence=0.95, seed=0)
    np.testing.assert_allclose(found.estimate[ROCK], gains.mean())
    sides = [gains.mean() - found.low[ROCK], found.high[ROCK] - gains.mean()]
    np.testing.assert_allclose(sides, half, rtol=0.06)  # 40,000 draws of a wide distribution
    unpaired = gain_intervals(baseline, other, paired=False, confidence=0.95, seed=0)
    assert unpaired.high[ROCK] - unpaired.low[ROCK] > 4 * half  # what both arms owe to a seed no longer cancels


def test_one_seed_adds_nothing_to_the_images():
    arms = [draw_rock_images(np.random.default_rng(i), 60, 0.5)[None] for i in range(2)]
    baseline, other = resample_arms(arms, 1000, seed=0)
    found = gain_intervals(baseline, other, paired=True, confidence=0.95, seed=0)
    expected = np.quantile(other.resampled[:, ROCK] - baseline.resampled[:, ROCK], [0.025, 0.975])
    np.testing.assert_allclose([found.low[ROCK], found.high[ROCK]], expected)


def test_copies_within_a_group_do_not_narrow_the_interval():
    images = draw_rock_images(np.random.default_rng(0), 50, 0.5)
    copied = np.repeat(images, 4, axis=0)[None]
    grouped = copied.reshape(1, 50, 4, 5, 2).sum(2)
    naive, fair, plain = (
        score_intervals(resample_arms([sums], 2000, 0)[0], 0.95, 0) for sums in (copied, grouped, images[None])
    )
    np.testing.assert_allclose(fair.high - fair.low, plain.high - plain.low)
    assert naive.high[ROCK] - naive.low[ROCK] < 0.6 * (fair.high[ROCK] - fair.low[ROCK])


def test_a_class_in_two_images_has_an_estimate_and_no_interval():
    sums = draw_rock_images(np.random.default_rng(0), 100, 0.5)
    sums[:, :, ROCK] = 0
    sums[:2, 0, ROCK], sums[:2, 1:3, ROCK] = 5, 10
    found = score_intervals(resample_arms([sums[None]], 2000, 0)[0], 0.95, 0)
    assert found.estimate[ROCK] == pytest.approx(10 / 30)
    assert np.isnan([found.low[ROCK], found.high[ROCK]]).all()
    assert found.undefined[ROCK] == pytest.approx(np.exp(-2), abs=0.03)
    assert np.isnan(found.low[MEAN])  # a mean over one class fewer would be another quantity
    assert found.low[0] < found.estimate[0] < found.high[0]


def test_the_same_seed_gives_the_same_interval_and_leaves_global_randomness_alone():
    arms = [draw_rock_images(np.random.default_rng(i), 80, 0.5)[None] for i in range(2)]
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the point of the test
    first, again, other = (resample_arms(arms, 500, seed)[1].resampled for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_resamples_do_not_depend_on_the_other_arms():
    arms = [draw_rock_images(np.random.default_rng(i), 80, 0.5)[None] for i in range(3)]
    alone, among = resample_arms(arms[:1], 500, 0)[0], resample_arms(arms, 500, 0)[0]
    np.testing.assert_allclose(alone.resampled, among.resampled)


# coverage: slow to break, easy to see


def test_intervals_hold_the_truth_when_only_images_vary():
    assert 0.91 <= independent_coverage() <= 0.98


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.05), (5, 0.05), (3, 0.15)])
def test_intervals_hold_the_truth_when_seeds_vary_too(seeds: int, seed_sd: float):
    held = coverage(seeds, seed_sd)
    assert 0.91 <= held["interval"] <= 0.985
    assert held["images only"] < 0.75  # what the interval would be worth without the seed term


def test_what_seed_and_image_vary_together_is_counted_once():
    # seeds alike: counted twice, intervals of three seeds would hold the truth in 99 % or more
    assert 0.91 <= coverage(seeds=3, seed_sd=0.0)["interval"] <= 0.985


def test_intervals_of_one_seed_hold_the_truth_when_seeds_change_nothing():
    assert 0.91 <= coverage(seeds=1, seed_sd=0.0)["interval"] <= 0.98
