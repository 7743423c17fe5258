"""What a gain is worth in labelled scenes: read off a learning curve, with an interval that holds the truth."""

from dataclasses import replace

import numpy as np
import pytest
from painted_studies import paint_study

from segmenter.results.gains.worth import learning_curve, read_worth, scenes_beyond, scenes_of
from segmenter.results.page.page import render
from segmenter.results.statistics.bootstrap import ArmScores
from segmenter.results.statistics.ratio import WeightedSum
from segmenter.results.summary import summarise
from segmenter.results.tables import csv_files, markdown_lines, result_lines

SEEDS = (0, 1, 2)


def arm(value: float, spread: float = 0.0, seed: int = 0) -> ArmScores:
    rng = np.random.default_rng(seed)
    per_seed = np.full((3, 1), value)
    return ArmScores(per_seed, per_seed[None] + spread * rng.standard_normal((2000, 1, 1)))


def worth(value: float, curve: list[tuple[float, float]], spread: float = 0.0) -> tuple[float, float, float]:
    """Number of scenes at which a curve of (scenes, score) reaches a score; all arms vary alone."""
    arms = [arm(value, spread), *(arm(score, spread, n + 1) for n, (_, score) in enumerate(curve))]
    sums = WeightedSum.of(arms, 0, [SEEDS] * len(arms))
    return scenes_of(sums, [scenes for scenes, _ in curve], confidence=0.95, seed=0)


def test_a_score_is_read_off_the_curve_on_a_logarithmic_axis():
    curve = [(10, 0.1), (40, 0.3)]
    assert worth(0.2, curve)[0] == pytest.approx(20, rel=1e-6)
    assert worth(0.25, [(10, 0.1), (20, 0.2), (80, 0.3)])[0] == pytest.approx(40, rel=1e-6)
    assert worth(0.1, curve)[0] == pytest.approx(10)
    assert worth(0.31, curve)[0] == np.inf
    assert worth(0.05, curve)[0] == -np.inf


def test_the_interval_holds_what_cannot_be_told_from_the_curve():
    curve = [(10, 0.1), (160, 0.5)]
    number, low, high = worth(0.3, curve, spread=0.02)
    assert number == pytest.approx(40, rel=1e-6)
    # the deviation of arm - curve is between 0.024 (in the middle) and 0.028 (at its ends); 0.1 is a doubling
    half = 2 ** (1.96 * 0.0245 / 0.1)
    assert low == pytest.approx(40 / half, rel=0.12)
    assert high == pytest.approx(40 * half, rel=0.12)
    assert worth(0.11, curve, spread=0.1)[1] == -np.inf
    assert worth(0.49, curve, spread=0.1)[2] == np.inf


def with_scenes(study, numbers: dict[str, int], limits: tuple[str, ...]):
    arms = tuple(
        replace(a, metadata=a.metadata.model_copy(update={
            "rare_scenes": numbers.get(a.metadata.name, 15),
            "synthetic": a.metadata.name == "drawn",
            "set_minutes": None,
            "settings": {"data.rare_scenes": 1} if a.metadata.name in limits else {},
        }))
        for a in study.arms
    )  # fmt: skip
    return replace(
        study, metadata=study.metadata.model_copy(update={"arms": tuple(a.metadata for a in arms)}), arms=arms
    )


@pytest.fixture(scope="module")
def study():
    skills = {
        "few": (None, 0.2),
        "some": ("few", 0.5),
        "all": ("few", 0.8),
        "drawn": ("few", 0.5),
        "other": ("few", 0.6),
    }
    painted = paint_study(skills, images=120)
    made = with_scenes(painted, {"some": 30, "all": 60, "other": 60}, ("some", "all"))
    other = replace(made.arms[-1], metadata=made.arms[-1].metadata.model_copy(update={"settings": {"lr": 1.0}}))
    arms = (*made.arms[:-1], other)
    return replace(made, metadata=made.metadata.model_copy(update={"arms": tuple(a.metadata for a in arms)}), arms=arms)


def test_only_arms_that_differ_in_rare_scenes_alone_are_on_the_curve(study):
    assert [a.name for a in learning_curve(study.metadata)] == ["few", "some", "all"]


@pytest.mark.usefixtures("plain_figures")
def test_a_study_says_what_its_arms_are_worth(study):
    results = summarise(study)
    (row,) = results.worth  # `other` has more rare scenes than the baseline: no comparison with equal labels
    assert (row.arm, row.fewest, row.most) == ("drawn", 0, 45)
    assert row.scenes == pytest.approx(15, abs=4)  # as good as `some`
    assert row.low <= row.scenes <= row.high
    assert f"IoU big_rock, drawn: {row.reading}" in result_lines(results)
    assert any(row.reading in line for line in markdown_lines(results))
    assert "worth.csv" in csv_files(results)
    assert "Worth in labelled scenes" in render(results)


def test_a_curve_that_does_not_rise_is_no_measure():
    skills = {"few": (None, 0.5), "all": ("few", 0.5), "drawn": ("few", 0.6)}
    flat = with_scenes(paint_study(skills), {"all": 60}, ("all",))
    (row,) = summarise(flat).worth
    assert np.isnan(row.scenes)
    assert "cannot be told" in row.reading


@pytest.mark.usefixtures("plain_figures")
def test_a_study_without_a_curve_says_nothing(study):
    alone = with_scenes(study, {}, ())
    assert summarise(alone).worth == []
    assert "Worth in labelled scenes" not in render(summarise(alone))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((12.2, 3, 28, 45), "worth about 12 more labelled rare scenes [3, 28]"),
        ((12.2, -np.inf, np.inf, 45), "worth about 12 more labelled rare scenes [fewer, more than 45]"),
        ((np.inf, 3, np.inf, 45), "worth more than 45 more labelled rare scenes [3, more than 45]"),
        ((-7, -np.inf, 2, 45), "worth no labelled rare scene: at or below the score with 7 fewer [fewer, 2]"),
        ((np.inf, np.inf, np.inf, 45), "worth more than 45 more labelled rare scenes [more than 45]"),
    ],
)
def test_words(given, words):
    assert read_worth(*given) == words


@pytest.mark.parametrize(
    ("doubling", "gain", "more"),
    [(5.0, 5.0, 40), (5.0, 2.5, 17), (5.0, 10.0, 120), (5.0, 10.1, None), (0.0, 1.0, None), (-1.0, 1.0, None)],
)
def test_the_curve_is_drawn_on_for_two_doublings_at_most(doubling, gain, more):
    assert scenes_beyond(40, doubling, gain) == more
