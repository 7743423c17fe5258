"""Selection: the threshold, the tries, the best of them, and judges that are refused."""

from dataclasses import dataclass

import numpy as np
import pytest

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.config import DataConfig, load_config
from marsgen.core.errors import ConfigError, RunError
from marsgen.quality.select import (
    SelectConfig,
    SelectionCounts,
    Selector,
    build_selector,
    find_threshold,
    measure_agreement,
    open_fitting_judge,
)


@dataclass(eq=False)
class Picture:
    """A candidate of 8 x 8 pixels: a rock in the left half of the label map; the judge sees one where it is white."""

    image: np.ndarray
    indices: np.ndarray
    drawn: np.ndarray
    pasted: tuple[str, ...] = ("big_rock",)


def painted(seen: int, width: int = 8) -> Picture:
    image, indices = np.zeros((8, width, 1), np.uint8), np.zeros((8, width), np.uint8)
    image[:, :seen] = 255
    indices[:, :4] = 3
    return Picture(image, indices, np.ones((8, width), bool))


class GreyJudge:
    """Sees a big rock with a probability that grows with the grey value, and soil otherwise."""

    fingerprint, channels, trained_on, saw_synthetic = "a" * 16, 1, (), False

    def __init__(self, classes):
        self.classes = classes

    def probs(self, images):
        probs = np.zeros((len(images), 4, *images.shape[1:3]), np.float32)
        probs[:, 3] = images[..., 0] / np.float32(255)
        probs[:, 0] = 1 - probs[:, 3]
        return probs

    def features(self, images):
        return images.reshape(len(images), -1).astype(np.float32)


@pytest.fixture(scope="module")
def dataset(tiny_npz):
    return open_dataset(str(tiny_npz), DataConfig())


@pytest.fixture
def judge(dataset):
    return GreyJudge(dataset.scenes.classes)


def selector(judge, threshold, **settings) -> Selector:
    return Selector(SelectConfig(judge="x", min_agreement=0.5, **settings), judge, threshold)


class Draws:
    """Draws for slot s the candidates of rows[s], one attempt after the other, and records the calls."""

    def __init__(self, *rows: list[int]):
        self.rows, self.asked = rows, []

    def __call__(self, slots, attempt):
        self.asked.append((list(slots), attempt))
        return [painted(self.rows[slot][attempt]) for slot in slots]


# choosing


def test_agreement_is_the_iou_of_what_was_pasted(judge):
    found = measure_agreement(judge, [painted(4), painted(2), painted(8), painted(0)])
    assert found == [{"big_rock": 1.0}, {"big_rock": 0.5}, {"big_rock": 0.5}, {"big_rock": 0.0}]


def test_what_the_judge_sees_outside_the_drawn_windows_does_not_count(judge):
    picture = painted(4)
    picture.image[:, 6:] = 255  # an old mistake in the real parent
    picture.drawn[:, 6:] = False
    assert measure_agreement(judge, [picture]) == [{"big_rock": 1.0}]
    picture.drawn[:] = True
    assert measure_agreement(judge, [picture]) == [{"big_rock": 0.6667}]


def test_pictures_of_several_sizes_are_judged_in_their_order(judge):
    found = measure_agreement(judge, [painted(4), painted(2, width=16), painted(1), painted(8, width=16)])
    assert [share["big_rock"] for share in found] == [1.0, 0.5, 0.25, 0.5]


def test_soft_agreement_ranks_what_the_judge_never_calls_a_rock(judge):
    dark, darker = painted(4), painted(4)
    dark.image[dark.image > 0], darker.image[darker.image > 0] = 102, 51
    assert measure_agreement(judge, [dark, darker]) == [{"big_rock": 0.0}] * 2
    assert measure_agreement(judge, [dark, darker], soft=True) == [{"big_rock": 0.4}, {"big_rock": 0.2}]


def test_only_samples_that_failed_are_drawn_again(judge):
    draws = Draws([4], [0, 1, 3], [0, 2])
    choices = selector(judge, threshold=0.5).choose(3, draws)
    assert draws.asked == [([0, 1, 2], 0), ([1, 2], 1), ([1], 2)]
    assert [(c.attempt, c.tried, c.passed) for c in choices] == [(0, 1, True), (2, 3, True), (1, 2, True)]
    assert [c.agreement["big_rock"] for c in choices] == [1.0, 0.75, 0.5]
    assert choices[1].record() == {
        "agreement": {"big_rock": 0.75},
        "attempt": 2,
        "tried": 3,
        "kept": "passed",
    }


def test_the_best_is_kept_where_none_passes_and_the_first_of_two_equals(judge):
    choices = selector(judge, threshold=0.9, tries=4).choose(2, Draws([0, 2, 1, 2], [0, 0, 0, 3]))
    assert [(c.attempt, c.record()["kept"]) for c in choices] == [(1, "best of 4"), (3, "best of 4")]
    assert (choices[0].candidate.image[0, :, 0] == 255).sum() == 2


def test_every_pasted_class_has_to_reach_the_threshold(judge):
    picture = painted(4)
    picture.indices[:, 6:], picture.pasted = 2, ("big_rock", "sand")  # sand is asked for, and soil is seen there
    choices = selector(judge, threshold=0.1, tries=1).choose(1, lambda slots, attempt: [picture])
    assert choices[0].agreement == {"big_rock": 1.0, "sand": 0.0}
    assert not choices[0].passed


# the threshold


def test_the_threshold_is_what_the_fraction_to_keep_reaches():
    scores = [0.1, 0.5, 0.3, 0.9, 0.7]
    assert [find_threshold(scores, keep) for keep in (0.2, 0.4, 0.6, 0.8, 0.81)] == [0.9, 0.7, 0.5, 0.3, 0.1]
    assert find_threshold(list(range(30)), 0.1) == 27  # three of thirty, though 0.1 * 30 > 3


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.8, 0.95])
def test_at_least_the_share_to_keep_passes_and_ties_are_kept(keep):
    scores = np.random.default_rng(0).integers(1, 12, 128) / 12
    threshold = find_threshold(scores.tolist(), keep)
    assert (scores >= threshold).mean() >= keep
    assert (scores > threshold).mean() < keep


def test_keep_sets_the_threshold_by_a_pilot_and_min_agreement_needs_none(judge):
    pilot = [[painted(4), painted(3)], [painted(2), painted(1)]]
    assert build_selector(SelectConfig(judge="x", keep=0.5), judge, pilot).threshold == 0.75
    fixed = build_selector(SelectConfig(judge="x", min_agreement=0.3), judge, iter(refuse_to_draw, None))
    assert fixed.threshold == 0.3


def refuse_to_draw():
    raise AssertionError("a pilot was drawn that nobody needs")


def test_a_judge_that_sees_nothing_cannot_choose_the_best(judge):
    pilot = [[painted(seen) for seen in (0, 0, 0, 1, 4)]]
    with pytest.raises(RunError, match=r"finds nothing of what was pasted in 60% .*--keep 0\.4 or less, .*soft=true"):
        build_selector(SelectConfig(judge="x", keep=0.8), judge, pilot)
    assert build_selector(SelectConfig(judge="x", keep=0.4), judge, pilot).threshold == 0.25


# what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["keep=0.8", "min_agreement=0.3", "judge=x"], "both set the threshold; give one"),
        (["keep=0.8"], "name a run of `segmenter train` with --judge"),
        (["min_agreement=0.3"], "name a run of `segmenter train` with --judge"),
        (["judge=x"], "a judge without a threshold; add --keep 0.8 or --min-agreement 0.3"),
        (["judge=x", "keep=80"], "less than 1"),
    ],
)
def test_contradictions_are_refused_in_words(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(SelectConfig, overrides=settings)


def test_no_judge_is_opened_unless_one_is_named(dataset, tmp_path):
    assert open_fitting_judge(SelectConfig(), dataset) is None
    with pytest.raises(RunError, match="no segmenter here; expected a finished run of `segmenter train`"):
        open_fitting_judge(SelectConfig(judge=str(tmp_path), keep=0.5), dataset)


def test_the_recipe_names_the_judge_by_its_weights_and_the_rule_not_the_threshold(judge):
    here, there = (
        Selector(SelectConfig(judge=where, keep=0.8), judge, threshold) for where, threshold in (("a", 0.3), ("b", 0.4))
    )
    assert here.recipe() == there.recipe()
    assert here.recipe()["judge"] == "a" * 16
    assert here.recipe() != Selector(SelectConfig(judge="a", keep=0.7), judge, 0.3).recipe()


def test_the_summary_says_what_was_kept_and_dropped(judge):
    counts = SelectionCounts()
    for tried, kept in ((1, "passed"), (3, "passed"), (8, "best of 8")):
        counts.add({"tried": tried, "kept": kept})
    assert counts.describe(selector(judge, threshold=0.31)) == {
        "kept": "3 of 12 candidates",
        "dropped": "9 (agreement below 0.31)",
        "below the threshold": "1 (best of 8)",
    }
