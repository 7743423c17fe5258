"""Secondary scores: held against direct computation, blind to a shift of the logit, resampled like all others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from painted_studies import bins_of, paint_margins, paint_study, rank_study
from torchmetrics.functional.classification import binary_average_precision

from segmenter.inference.margins import BIN_WIDTH, BINS
from segmenter.results.gains.gains import Gain
from segmenter.results.labels import AVERAGE_PRECISION, MATCHED_IOU
from segmenter.results.statistics import ranking
from segmenter.results.statistics.bootstrap import draw_weights
from segmenter.results.statistics.ranking import RANKS, rank_margins, ranking_scores, resample_rankings
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import markdown_lines, result_lines, write_results
from segmenter.results.verdict import Verdict


def draw_margins(share: float, apart: float, scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Margins of 400,000 pixels, and which are of the class: two humps, and a tenth of each far from its own."""
    rng = np.random.default_rng(3)
    of_class = rng.random(400_000) < share
    margins = rng.normal(0, 1.5, len(of_class)) - 3 + apart * of_class
    margins += np.where(rng.random(len(of_class)) < 0.1, rng.normal(0, 3, len(of_class)), 0)
    return scale * margins + shift, of_class


def histograms(margins: np.ndarray, of_class: np.ndarray) -> np.ndarray:
    """(1, 1, 2, BINS) counts of one image."""
    bins = bins_of(margins)
    return np.stack([np.bincount(bins[who], minlength=BINS) for who in (of_class, ~of_class)])[None, None]


def scores_of(margins: np.ndarray, of_class: np.ndarray) -> np.ndarray:
    return ranking_scores(rank_margins([histograms(margins, of_class)])[0].astype(np.float64))


def iou(called: np.ndarray, of_class: np.ndarray) -> float:
    return (called & of_class).sum() / (called | of_class).sum()


# values


@pytest.mark.parametrize("share", [0.01, 0.03, 0.3])
@pytest.mark.parametrize("apart", [1.5, 4.5, 7])
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1, 0), pytest.param(1, -5, marks=pytest.mark.slow), (0.6, 2), pytest.param(1.5, 0, marks=pytest.mark.slow)],
)
def test_scores_are_those_of_the_margins_themselves(share: float, apart: float, scale: float, shift: float):
    margins, of_class = draw_margins(share, apart, scale, shift)
    average_precision, matched = scores_of(margins, of_class)
    direct = binary_average_precision(torch.from_numpy(margins).sigmoid(), torch.from_numpy(of_class).long())
    assert average_precision == pytest.approx(float(direct), abs=0.002)
    called = np.zeros(len(margins), bool)
    called[np.argsort(-margins)[: of_class.sum()]] = True
    assert matched == pytest.approx(iou(called, of_class), abs=0.002)


def test_scores_counted_by_hand():
    # ranks of (class, other): 2 of each, then 1 and 3, then 1 and 20; 4 pixels are of the class
    sums = np.array([[[2, 1, 1], [2, 3, 20]]], np.float64)
    precisions = (1 / 2, 2.5 / 6, 3.5 / 18.5)  # half of each rank is called
    assert ranking_scores(sums)[0] == pytest.approx((2 * precisions[0] + precisions[1] + precisions[2]) / 4)
    assert ranking_scores(sums)[1] == pytest.approx(2 / 6)  # the first rank is called: 4 pixels, 2 of them right
    # a quarter of the second rank too, where 5 pixels are of the class
    more = np.array([[[2, 1, 2], [2, 3, 20]]], np.float64)
    assert ranking_scores(more)[1] == pytest.approx(2.25 / (2 * 5 - 2.25))
    two = ranking_scores(np.concatenate([sums, more]))
    np.testing.assert_allclose(two, np.concatenate([ranking_scores(sums), ranking_scores(more)])[[0, 2, 1, 3]])


def test_a_perfect_a_blind_and_an_absent_class():
    perfect, blind = np.array([[[5.0, 0], [0, 9]]]), np.array([[[0, 5.0], [95, 0]]])
    np.testing.assert_allclose(ranking_scores(perfect), [1, 1])
    np.testing.assert_allclose(ranking_scores(blind), [2.5 / 97.5, 0])
    assert np.isnan(ranking_scores(np.array([[[0.0, 0], [3, 9]]]))).all()


@pytest.mark.parametrize("shift", [4.0, -2.0, 1.3])
def test_a_shift_of_the_logit_changes_the_iou_alone(shift: float):
    margins, of_class = draw_margins(0.03, 4.5, 1, 0)
    moved = margins + shift
    assert abs(iou(moved > 0, of_class) - iou(margins > 0, of_class)) > 0.05
    whole_bins = (shift / BIN_WIDTH).is_integer()
    np.testing.assert_allclose(
        scores_of(moved, of_class), scores_of(margins, of_class), atol=1e-4 if whole_bins else 0.001
    )


# ranks


def test_ranks_keep_every_pixel_in_order():
    margins = paint_margins(np.array([0, 300, 40]), np.array([900, 2000, 0]), 1, seed=0)
    ranks = rank_margins([margins[:2], margins[2:]])
    assert (ranks.shape, ranks.dtype) == ((3, 1, 2, RANKS), np.uint32)
    np.testing.assert_array_equal(ranks, rank_margins([margins]))
    np.testing.assert_array_equal(ranks.sum(3), margins.sum(3))
    np.testing.assert_array_equal(
        ranks[:, 0, :, 0], margins[:, 0, :, np.flatnonzero(margins.any((0, 1, 2)))[-1] :].sum(2)
    )
    used = np.flatnonzero(ranks.any((0, 1, 2)))
    assert 30 < len(used) == used[-1] + 1  # no gaps
    for label in range(2):  # each rank is a number of neighbouring bins, from the highest margin down
        until_rank, until_bin = (np.cumsum(each[:, 0, label].sum(0)) for each in (ranks, margins[..., ::-1]))
        assert set(until_rank) <= {0, *until_bin}
    of_class, called = ranks[:, 0, 0].sum(0), ranks[:, 0].sum((0, 1))
    largest_bin = margins[:, 0].sum(0).max(1)
    assert (of_class[:-1] <= 340 / ranking.PARTS + largest_bin[0]).all()
    assert (called[1:] <= np.cumsum(called)[:-1] + 1 + margins[:, 0].sum((0, 1)).max()).all()  # at most doubled


def test_ranks_suffice_for_any_margins():
    """A pixel of the class in every second bin, others doubling from bin to bin: more steps than there are ranks."""
    margins = np.zeros((1, 1, 2, BINS), np.uint32)
    margins[0, 0, 0, ::2], margins[0, 0, 1] = 1, 2 ** np.clip(np.arange(BINS)[::-1] // 8, 0, 27)
    ranks = rank_margins([margins])
    np.testing.assert_array_equal(ranks.sum(3), margins.sum(3))
    assert not rank_margins([np.zeros((2, 1, 2, BINS), np.uint16)]).any()


# resamples


def direct(runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, S, K) scores of resamples, one by one."""
    return np.array([[ranking_scores(np.tensordot(w, run.astype(float), 1)) for run in runs] for w in weights])


@pytest.mark.parametrize("block", [10**9, 700])
def test_resamples_are_those_of_all_scores(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranking, "_BLOCK_SUMS", block)
    of_class = np.array([0, 60, 5, 0, 9, 0, 0, 200, 14, 0])
    arms = [
        np.stack([rank_margins([paint_margins(of_class, 300 - of_class, apart, s)]) for s in range(2)])
        for apart in (0.0, 2.0)
    ]
    scores = resample_rankings(arms, 250, seed=4)
    weights = np.concatenate([block for _, block in draw_weights(10, 250, 4)])
    for arm, found in zip(arms, scores, strict=True):
        assert (found.per_seed.shape, found.drawn.shape) == ((2, 2), (250, 2, 2))
        np.testing.assert_allclose(found.per_seed, direct(arm, np.ones((1, 10)))[0])
        np.testing.assert_allclose(found.drawn, direct(arm, weights))
    groups = [f"stop{i // 3}" for i in range(10)]
    grouped = resample_rankings(arms, 250, seed=4, groups=groups)
    weights = np.concatenate([block for _, block in draw_weights(4, 250, 4)])[:, np.arange(10) // 3]
    for arm, found in zip(arms, grouped, strict=True):
        np.testing.assert_allclose(found.drawn, direct(arm, weights))


def test_a_resample_without_the_class_has_no_score():
    of_class = np.array([40, 0, 0])
    arm = np.stack([rank_margins([paint_margins(of_class, 90 - of_class, 1, 0)])])
    (found,) = resample_rankings([arm], 400, seed=0)
    lacking = np.concatenate([block for _, block in draw_weights(3, 400, 0)])[:, 0] == 0
    assert 0.2 < lacking.mean() < 0.4
    np.testing.assert_array_equal(np.isnan(found.drawn[:, 0, 0]), lacking)


# a study


APART = {"real": 0.0, "better": 2.0, "readier": 0.0}


@pytest.fixture(scope="module")
def results() -> StudyResults:
    """Two arms that gain in IoU: one ranks pixels better, one only calls the class more readily."""
    skills = {"real": (None, 0.3), "better": ("real", 0.8), "readier": ("real", 0.7)}
    study = paint_study(skills, images=60, statistics={"resamples": 1000})
    return summarise(rank_study(study, APART, {"readier": 3.0}))


def gain_of(results: StudyResults, score: str, arm: str) -> Gain:
    return next(g for g in results.secondary_gains if (g.score, g.class_name, g.arm) == (score, "big_rock", arm))


@pytest.mark.parametrize("score", [AVERAGE_PRECISION, MATCHED_IOU])
def test_only_better_ranking_is_a_secondary_gain(score: str, results: StudyResults):
    assert {row.arm: row.verdict for row in results.gains_in("IoU", "big_rock")} == dict.fromkeys(
        ("better", "readier"), Verdict.HELPS
    )
    better, readier = gain_of(results, score, "better"), gain_of(results, score, "readier")
    assert better.verdict == Verdict.HELPS
    assert 0 < better.simultaneous_low <= better.low < better.gain < better.high <= better.simultaneous_high
    assert better.gain == pytest.approx(better.value - better.baseline_value)
    assert readier.verdict == Verdict.NO_DIFFERENCE
    assert abs(readier.gain) < 1e-3


def test_secondary_scores_lie_in_their_intervals(results: StudyResults):
    assert [(row.arm, row.score) for row in results.secondary_scores] == [
        (arm, score) for arm in APART for score in (AVERAGE_PRECISION, MATCHED_IOU)
    ]
    assert all(row.low < row.value < row.high and row.seed_sd > 0 for row in results.secondary_scores)


def test_secondary_scores_come_after_all_others_and_are_called_so(results: StudyResults, tmp_path: Path):
    text = "\n".join(markdown_lines(results))
    assert (
        text.index("Gains over real") < text.index("Secondary scores do not depend") < text.index("big_rock found by")
    )
    assert "| arm | average precision big_rock | IoU at matched fraction big_rock |" in text
    assert "**Secondary: gains over real, in percentage points**" in text
    for every_score in (True, False):
        lines = result_lines(results, every_score=every_score)
        start = lines.index("secondary, whatever the readiness to call the class:")
        heads = [n for n, line in enumerate(lines) if line.startswith(("average precision", "IoU at matched"))]
        assert heads == [start + 1, start + 4]
        assert lines.index(next(line for line in lines if line.startswith("IoU big_rock"))) < start
        shown = next(line for line in lines[start:] if line.startswith("  better"))
        gain = gain_of(results, AVERAGE_PRECISION, "better")
        assert f"{100 * gain.gain:+.1f}" in shown
        assert shown.endswith(gain.reading)
    write_results(results, tmp_path)
    assert (tmp_path / "secondary_gains.csv").read_text().count("\n") == 1 + 2 * 2
    assert "average precision" not in (tmp_path / "gains.csv").read_text() + (tmp_path / "scores.csv").read_text()
    assert any("Secondary scores rank labelled pixels" in sentence for sentence in results.limitations)


def test_without_margins_there_are_none_and_nothing_else_changes(results: StudyResults):
    skills = {"real": (None, 0.3), "better": ("real", 0.8), "readier": ("real", 0.7)}
    plain = summarise(paint_study(skills, images=60, statistics={"resamples": 1000}))
    assert (plain.gains, plain.scores) == (results.gains, results.scores)
    assert not plain.secondary_gains
    assert not plain.secondary_scores
    assert "secondary" not in "\n".join([*markdown_lines(plain), *result_lines(plain, every_score=True)]).lower()


def test_runs_with_and_without_margins_are_told():
    study = rank_study(paint_study({"real": (None, 0.3), "copy": ("real", 0.6)}, images=12, seeds=2), {"copy": 1.0})
    study.arms[1].ranks[1] = 0  # type: ignore[index]
    mixed = summarise(study)
    assert not mixed.secondary_gains
    assert [sentence for sentence in mixed.limitations if "secondary" in sentence.lower()] == [
        "No secondary scores: the evaluations of real (seed 0, 1), copy (seed 1) kept no margins, those of the other "
        "runs did; delete them and evaluate again."
    ]
