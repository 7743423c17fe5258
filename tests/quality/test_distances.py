"""Distances between sets of features: against torchmetrics, against counting by hand, and what an interval promises."""

import numpy as np
import pytest
import torch

from marsgen.quality.distances import (
    compare_sets,
    cubic_kernel,
    density_and_coverage,
    draw_weights,
    frechet,
    kid,
    neighbour_radii,
    pairwise_distances,
    principal_components,
    recentred_interval,
)


def ones(*features: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ones((1, len(some))) for some in features)


def alone(*features: np.ndarray) -> tuple[np.ndarray, ...]:
    """Groups of one."""
    return tuple(np.arange(len(some)) for some in features)


def kid_of(real: np.ndarray, synthetic: np.ndarray, weights=None, groups=None) -> np.ndarray:
    kernels = cubic_kernel(real, real), cubic_kernel(synthetic, synthetic), cubic_kernel(real, synthetic)
    return kid(*kernels, *(weights or ones(real, synthetic)), *(groups or alone(real, synthetic)))


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    return rng.normal(size=(40, 6)), rng.normal(0.4, 1.2, size=(40, 6))


def test_kid_is_that_of_torchmetrics(pair):
    from torchmetrics.image.kid import poly_mmd

    expected = poly_mmd(*(torch.from_numpy(some) for some in pair))
    np.testing.assert_allclose(kid_of(*pair), [float(expected)], rtol=1e-10)


def test_kid_counted_by_hand_with_sets_of_different_sizes():
    real, synthetic = np.array([[0.0], [1.0]]), np.array([[1.0], [1.0], [2.0]])
    # k(0, 1) = 1; pairs of 1, 1, 2: 8, 27, 27; between: 1, 1, 1, 8, 8, 27
    np.testing.assert_allclose(kid_of(real, synthetic), [1 + 62 / 3 - 2 * 46 / 6])


def test_weights_are_repetitions_less_the_pairs_of_a_picture_with_itself():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    repeated = np.array([0, 0, 2, 3, 4])
    weights = np.array([[2.0, 0, 1, 1, 1]]), np.ones((1, 4))
    kernel = cubic_kernel(real[repeated], real[repeated])
    different = repeated[:, None] != repeated[None]
    within = kernel[different].mean()
    others = cubic_kernel(synthetic, synthetic)[~np.eye(4, dtype=bool)].mean()
    between = cubic_kernel(real[repeated], synthetic).mean()
    np.testing.assert_allclose(kid_of(real, synthetic, weights), [within + others - 2 * between])


def test_kid_of_two_draws_from_one_source_is_nought_on_average_even_in_groups():
    rng = np.random.default_rng(1)
    values = []
    for _ in range(150):
        # two pictures of each scene, nearly the same
        real, synthetic = (np.repeat(rng.normal(size=(15, 4)), 2, 0) + rng.normal(0, 0.05, (30, 4)) for _ in range(2))
        groups = np.repeat(np.arange(15), 2)
        values.append([kid_of(real, synthetic, groups=(groups, groups))[0], kid_of(real, synthetic)[0]])
    means, errors = np.mean(values, 0), np.std(values, 0) / np.sqrt(150)
    assert abs(means[0]) < 3 * errors[0]
    assert means[1] > 3 * errors[1]  # without groups it is not


def test_frechet_is_that_of_torchmetrics(pair):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pixels(torch.nn.Module):
        num_features = 6

        def forward(self, images):
            return images.flatten(1)

    # mean(0,1)-normalised pictures of 2 x 3 x 1 pixels would be rounded: feed features through its own counters
    metric = FrechetInceptionDistance(feature=Pixels(), normalize=False, input_img_size=(3, 1, 2))
    metric.set_dtype(torch.float64)
    for some, real in zip(pair, (True, False), strict=True):
        metric.update(torch.from_numpy(some).reshape(-1, 3, 1, 2), real=real)
    np.testing.assert_allclose(frechet(*pair, *ones(*pair)), [float(metric.compute())], rtol=1e-5)


def test_frechet_between_gaussians_in_one_dimension_by_hand():
    real, synthetic = np.array([[-1.0], [1.0]]), np.array([[2.0], [6.0]])
    # means 0 and 4, variances 2 and 8: 16 + (sqrt 8 - sqrt 2) ** 2
    np.testing.assert_allclose(frechet(real, synthetic, *ones(real, synthetic)), [16 + 2])


def test_density_and_coverage_counted_by_hand():
    real, synthetic = np.array([[0.0], [1.0], [3.0], [10.0]]), np.array([[0.5], [0.6], [2.5]])
    radii = neighbour_radii(pairwise_distances(real, real), np.arange(4), 1)
    np.testing.assert_allclose(radii, [1, 1, 2, 7])
    inside = pairwise_distances(real, synthetic) < radii[:, None]
    # reals that hold 0.5: two; 0.6: two; 2.5: the third alone (10 - 7 = 3 is out of reach)
    density, coverage = density_and_coverage(inside, 1, *ones(real, synthetic))
    np.testing.assert_allclose((density[0], coverage[0]), (5 / 3, 3 / 4))


def test_pictures_of_one_scene_are_no_neighbours():
    real = np.array([[0.0], [0.1], [3.0], [5.0]])
    radii = neighbour_radii(pairwise_distances(real, real), np.array([0, 0, 1, 2]), 1)
    np.testing.assert_allclose(radii, [3, 2.9, 2, 2])


def test_half_of_the_real_pictures_still_span_the_components():
    features = np.random.default_rng(0).normal(size=(20, 50))
    assert principal_components(features, 32)[1].shape == (9, 50)
    assert principal_components(features, 4)[1].shape == (4, 50)


def test_groups_are_drawn_together():
    weights = draw_weights(np.array([7, 7, 3, 9]), 200, np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    assert set((weights[:, 1:].sum(1)).tolist()) == {3}


def test_an_interval_is_recentred_and_stays_in_its_limits():
    assert recentred_interval(0.9, np.linspace(0.5, 0.7, 201), (0, 1)) == pytest.approx((0.805, 0.995))
    assert recentred_interval(0.95, np.linspace(0.5, 0.7, 201), (0, 1)) == pytest.approx((0.855, 1))


@pytest.mark.parametrize(("name", "size", "truth"), [("kid", 8, 7 + 9 / 8 + 6 / 8**2), ("frechet", 1, 1.0)])
def test_95_percent_intervals_cover_the_truth_about_as_often(name, size, truth):
    """Gaussians whose means are 1 apart in each of `size` features; the kernel's mean follows from their moments."""
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(80):
        real, synthetic = rng.normal(size=(80, size)), rng.normal(1, 1, size=(80, size))
        found = compare_sets(real, synthetic, *alone(real, synthetic), resamples=150, splits=1, seed=seed)[name]
        covered += found.low <= truth <= found.high
    assert 70 <= covered <= 79


def test_two_draws_of_one_source_score_like_the_floor_and_another_source_does_not():
    rng = np.random.default_rng(2)
    real, same, other = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)), rng.normal(1.5, 0.3, size=(60, 5))
    options = {"resamples": 100, "splits": 10}
    alike, unlike = (compare_sets(real, some, *alone(real, some), **options) for some in (same, other))
    for name in ("kid", "frechet"):
        assert alike[name].floor_low * 0.5 - 0.5 < alike[name].same_size < alike[name].floor_high * 1.5 + 0.5
        assert unlike[name].same_size > 2 * unlike[name].floor_high
        assert unlike[name].low > alike[name].high
    assert unlike["coverage"].high < alike["coverage"].low


def test_the_same_seed_gives_the_same_numbers(pair):
    first, second = (compare_sets(*pair, *alone(*pair), resamples=50, splits=2, seed=4) for _ in range(2))
    assert first == second
