"""The effective number of different regions."""

import numpy as np
import pytest

from marsgen.quality.distances import pairwise_distances
from marsgen.quality.variety import measure_variety, vendi_score


def far_apart(count: int) -> np.ndarray:
    return 100.0 * np.eye(count)


def test_members_that_are_alike_count_as_one():
    for copies in (1, 7):
        points = np.repeat(far_apart(5), copies, axis=0)
        assert vendi_score(pairwise_distances(points, points), 1.0) == pytest.approx(5)
    # two members of similarity s: eigenvalues (1 + s) / 2 and (1 - s) / 2
    s = np.exp(-0.5)
    expected = np.exp(-sum(v * np.log(v) for v in ((1 + s) / 2, (1 - s) / 2)))
    assert vendi_score(np.array([[0.0, 2.0], [2.0, 0.0]]), 2.0) == pytest.approx(expected)
    # 9 of one kind and 1 of another are fewer than two kinds
    points = far_apart(2)[[0] * 9 + [1]]
    assert vendi_score(pairwise_distances(points, points), 1.0) == pytest.approx(
        np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))
    )


@pytest.mark.parametrize(
    ("distances", "width"), [(np.zeros((0, 0)), 1.0), (np.zeros((2, 2)), 0.0), (np.zeros((2, 2)), np.nan)]
)
def test_nothing_to_tell(distances, width):
    assert np.isnan(vendi_score(distances, width))


def test_many_pictures_of_few_donors_are_told_from_many_donors():
    rng = np.random.default_rng(0)
    real, few = rng.normal(0, 10, (20, 6)), rng.normal(0, 10, (4, 6))
    made = np.repeat(few, 25, axis=0) + rng.normal(0, 0.02, (100, 6))
    found = measure_variety(real, made, 2.0, np.repeat(np.arange(4), 25).tolist())
    assert found.effective == pytest.approx(4, abs=0.1)
    assert found.same_number < 4.1 < 15 < found.real
    assert (found.of, found.donors, found.per_donor) == (100, 4, 25)
    varied = measure_variety(real, rng.normal(0, 10, (100, 6)), 2.0, list(range(100)))
    assert varied.effective > 60
    assert varied.same_number == pytest.approx(found.real, rel=0.15)


def test_fewer_synthetic_than_real_regions_are_not_compared():
    found = measure_variety(far_apart(5), far_apart(5)[:3], 1.0, [])
    assert np.isnan(found.same_number)
    assert (found.donors, np.isnan(found.per_donor)) == (0, True)
