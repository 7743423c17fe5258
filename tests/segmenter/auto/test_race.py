"""The race's logic without any training: halving, the plan under a budget, and how often a race without a true gain
ends with "helps".
"""

import numpy as np
import pytest

from marsgen.core.config import build_config, configs_folder, load_config
from marsgen.core.errors import ConfigError
from segmenter.auto.clock import BudgetSpent, Clock, TimedEngine
from segmenter.auto.config import AutoConfig, read_budget, time_text
from segmenter.auto.measure import line_through
from segmenter.auto.plan import Costs, Line, Plan, fit, in_race, total_seconds
from segmenter.auto.race import Rung, choose, keep_better
from segmenter.auto.studies import (
    FEWER,
    HALF,
    QUARTER,
    Effort,
    confirm_config,
    plain_arm,
    race_config,
    select_arms,
    set_sizes,
    with_titles_for_sentences,
)
from segmenter.results.statistics.bootstrap import ArmScores, resample_arms
from segmenter.results.statistics.simultaneous import simultaneous_gains
from segmenter.results.verdict import Verdict, decide
from segmenter.study.config import StudyConfig

RECIPES = load_config(StudyConfig, configs_folder() / "studies" / "auto.yaml")


# halving


def test_the_worse_half_is_dropped_and_the_best_with_extra_scenes_stays():
    gains = {"real": 0.01, "weighted": 0.03, "pasted": -0.02, "gan": -0.05, "lost": -1.0}
    assert keep_better(gains, ["pasted", "gan", "lost"]) == ("weighted", "real", "pasted")
    assert keep_better({"real": 0.02, "pasted": -0.1}, ["pasted"]) == ("pasted",)
    assert keep_better({"cheap": 0.0, "dear": 0.0}, []) == ("cheap",)


def test_the_last_rung_chooses_one_of_each_kind():
    rung = Rung(seeds=2, gains={"real": -0.1, "weighted": 0.02, "gan": 0.01}, kept=("weighted", "gan"))
    assert choose([rung], "oversampled", ["gan"]) == ("weighted", "gan")
    lost = Rung(seeds=2, gains={"real": -0.1, "gan": -0.3}, kept=("real", "gan"))
    assert choose([lost], "oversampled", ["gan"]) == ("oversampled", "gan")
    assert choose([Rung(seeds=1, gains={"real": -0.1}, kept=("real",))], "oversampled", []) == ("oversampled", None)


# the plan


def plan(**changes) -> Plan:
    arms = tuple(select_arms(RECIPES, (), with_pictures=False))
    costs = Costs(
        run=Line(fixed=10, each=0.05),
        score=20,
        generators={"gan": 300.0, "diffusion": 1200.0},
        sets={name: Line(fixed=5, each=0.1 if made.generator != "copy-paste" else 0.01) for name, made in SETS.items()},
    )
    given = {
        "effort": Effort(steps=1600, folds=3),
        "arms": arms,
        "rungs": (1, 2, 4),
        "seeds": 5,
        "curve": True,
        "fewer_pairs": True,
        "last_training": True,
        "costs": costs,
    }
    return Plan(**given | changes)


SETS = {name: made for name, made in RECIPES.sets.items() if made.teacher is None}


def test_titles_of_a_study_stand_alone_in_sentences():
    study = load_config(StudyConfig, configs_folder() / "studies" / "domains" / "mars.yaml")
    assert study.title_of("pasted") == "+ copy-paste"
    assert with_titles_for_sentences(study).title_of("pasted") == "copy-paste"
    assert with_titles_for_sentences(RECIPES) == RECIPES


def test_a_large_budget_leaves_the_plan_whole():
    assert fit(plan(), RECIPES, AutoConfig(), 2, 1e6) == (plan(), True)
    assert in_race(plan()) == [9, 5, 3]


def fitted(share: float, **changes) -> Plan:
    """The plan for a share of the time that the whole one takes."""
    seconds = share * total_seconds(plan(), RECIPES, 2)
    smaller, fits = fit(plan(**changes), RECIPES, AutoConfig(), 2, seconds)
    assert fits
    assert total_seconds(smaller, RECIPES, 2) <= seconds
    return smaller


def test_a_smaller_budget_gives_up_the_least_first():
    assert fitted(0.95).given_up == ("whether half the pairs are enough is not measured",)
    assert "the race has 1 rung, up to 1 seed" in fitted(0.5).given_up
    assert not any("is not tried" in words or "steps" in words for words in fitted(0.5).given_up)
    costs = [total_seconds(fitted(share), RECIPES, 2) for share in (0.9, 0.5, 0.2, 0.1, 0.05)]
    assert costs == sorted(costs, reverse=True)
    assert {"oversampled", "real", "pasted"} <= set(fitted(0.05).arms)


def test_a_trained_generator_stays_in_the_race_longer_than_recipes_like_others():
    tight = fitted(0.12)
    assert set(tight.arms) < set(plan().arms)
    assert {"real", "oversampled", "pasted", "gan"} <= set(tight.arms)
    assert "diffusion" not in tight.arms  # dearer than the GAN, and of its kind
    assert "GAN is not tried" in fitted(0.05).given_up


def test_what_fits_again_is_taken_back():
    for share in (0.5, 0.2, 0.1, 0.05):
        smaller = fitted(share)
        assert len(set(smaller.given_up)) == len(smaller.given_up)
        assert sum("rung" in words for words in smaller.given_up) <= 1  # 1 rung, and not 2 and then 1
        seconds = share * total_seconds(plan(), RECIPES, 2)
        for arm in set(plan().arms) - set(smaller.arms):
            more = smaller.model_copy(update={"arms": tuple(a for a in plan().arms if a in {*smaller.arms, arm})})
            assert total_seconds(more, RECIPES, 2) > seconds


def test_the_smallest_plan_still_has_two_seeds_and_may_not_fit():
    smallest, fits = fit(plan(), RECIPES, AutoConfig(), 2, 60)
    assert not fits
    assert (smallest.seeds, smallest.effort.steps, smallest.arms) == (2, 200, ("real", "oversampled", "pasted"))
    assert smallest.given_up[-1] == "nothing is trained on all data at the end"


def test_scoring_the_confirmation_is_part_of_the_plan():
    """Met on 3,000 test tiles: scoring took as long as training, and no plan knew of it."""
    dear = plan(costs=plan().costs.model_copy(update={"score": 620.0}))
    more = total_seconds(dear, RECIPES, 1) - total_seconds(plan(), RECIPES, 1)
    assert more == pytest.approx(1.15 * 600 * 6 * 5)  # 6 arms of the confirmation, 5 seeds


def test_costs_grow_with_steps_and_share_a_generator():
    one, both = (
        plan().costs.of_extra(RECIPES, arms, Effort(steps=1)) for arms in (["diffusion"], ["diffusion", "zoom_crops"])
    )
    assert (one, both) == (1305, 1410)
    assert line_through({4: 3.0, 16: 6.0}) == Line(fixed=2.0, each=0.25)
    noise = line_through({4: 6.0, 16: 5.0})  # few steps lost in the noise: a tenth grows all the same
    assert noise.each == pytest.approx(0.5 / 12)
    assert noise.at(1600) > 60


def test_a_budget_is_written_as_people_do():
    assert [read_budget(text) for text in ("90s", "45m", "2h", "1h30m", "1.5h")] == [90, 2700, 7200, 5400, 5400]
    for text in ("", "2", "h", "2 hours", "0m", "-3m"):
        with pytest.raises(ConfigError, match="expected a time such as 45m"):
            read_budget(text)
    assert [time_text(s) for s in (40, 300, 9000)] == ["40s", "5m", "2.5h"]


# the studies


def test_race_and_confirmation_are_studies_without_a_common_seed_or_test_part():
    arms = select_arms(RECIPES, (), with_pictures=True)
    race = race_config(RECIPES, Effort(steps=400, pairs=0.5, folds=3), arms, range(4), 0.25)
    assert (race.seeds, race.folds, race.train["steps"]) == ((0, 1, 2, 3), 3, 400)
    assert (race.train["warmup_steps"], race.sets["pasted"].settings["n"]) == (25, 500)
    # pseudo-labels do not change when a rung adds seeds
    assert race.sets["pseudo_labels"].teacher == "teacher-of-pseudo_labels"
    assert race.seeds_of("teacher-of-pseudo_labels") == (0,)
    confirm = confirm_config(RECIPES, Effort(steps=400), "oversampled", "gan", 3, (20, 10), True)
    assert not set(race.seeds) & set(confirm.seeds)
    assert confirm.recipe(HALF) == confirm.recipe("oversampled") | {"data": {"rare_scenes": 20}}
    assert confirm.recipe(QUARTER)["data"] == {"rare_scenes": 10}
    assert confirm.sets["gan-half"].settings["n"] == 500
    # corrected together: what is claimed, nothing else
    over_bar = [arm for arm in confirm.arms if arm != "oversampled" and confirm.baseline_of(arm) == "oversampled"]
    assert over_bar == ["real", "gan"]
    assert confirm.baseline_of(FEWER) == "gan"


def test_the_plain_arm_may_be_the_best_on_real_scenes():
    confirm = confirm_config(RECIPES, Effort(steps=400), "real", None, 3, (20, 10), True)
    assert list(confirm.arms) == ["real", HALF, QUARTER]
    assert plain_arm(RECIPES) == "real"
    # a study has two arms
    assert list(confirm_config(RECIPES, Effort(steps=400), "real", None, 3, (), False).arms) == ["real", "weighted"]


def test_arms_that_cannot_race_are_refused():
    assert "pseudo_labels" not in select_arms(RECIPES, (), with_pictures=False)
    assert select_arms(RECIPES, ("gan",), with_pictures=False) == ["oversampled", "gan"]
    with pytest.raises(ConfigError, match="no arm 'gann' in the recipes"):
        select_arms(RECIPES, ("gann",), with_pictures=False)
    with pytest.raises(ConfigError, match="races against nothing"):
        select_arms(RECIPES, ("oversampled",), with_pictures=False)
    with pytest.raises(ConfigError, match="numbers of seeds that rise"):
        build_config(AutoConfig, {"rungs": [2, 1]}, "config")
    assert set_sizes(RECIPES, 0.25)["gan"] == 250


# the clock


class Idle:
    slots = width = 1
    closed = 0

    def submit(self, task):
        return task

    def close(self):
        self.closed += 1


def test_nothing_is_started_after_the_deadline_and_time_is_kept(tmp_path):
    idle = Idle()
    (tmp_path / "clock.json").write_text('{"seconds": 100.0}')
    engine = TimedEngine(lambda: idle, Clock(tmp_path / "clock.json"))
    engine.deadline = 200.0
    assert engine.submit("task") == "task"
    engine.deadline = 99.0
    with pytest.raises(BudgetSpent):
        engine.submit("task")
    assert idle.closed == 1
    assert Clock(tmp_path / "clock.json").seconds >= 100


# selection: a race of recipes without a true gain


def simulate(rng: np.random.Generator, gains: np.ndarray, images: int, seeds: int) -> np.ndarray:
    """(arms, S, N, 5, 2) sums of arms on N images of 100 pixels of the class.

    Each arm has its own effect on each image (what would be taken for a gain on these images), each seed its own luck.
    """
    arms = len(gains)
    on_image = rng.normal(0, 0.15, (arms, 1, images)) + rng.normal(0, 0.2, (1, 1, images))
    luck = rng.normal(0, 0.03, (arms, seeds, 1)) + rng.normal(0, 0.1, (arms, seeds, images))
    share = np.clip(0.5 + gains[:, None, None] + on_image + luck, 0.02, 0.98)
    sums = np.zeros((arms, seeds, images, 5, 2))
    sums[..., 0, 1], sums[..., 1, 1], sums[..., 2, 1] = 100 * share, 100, 100
    return sums


def verdicts(rng: np.random.Generator, true: np.ndarray) -> tuple[list[Verdict], list[Verdict]]:
    """The verdicts of the two claims after a race (plain arm, reference, then arms with extra scenes), and those that
    the race's own scenes would have given.
    """
    names = ["real", "oversampled", *(f"extra{i}" for i in range(len(true) - 2))]
    raced = simulate(rng, true, 40, 5)
    hit = raced[..., 0, 1].sum(2)
    score = (hit / (2 * raced[..., 1, 1].sum(2) - hit)).mean(1)
    gains = {name: score[i] - score[1] for i, name in enumerate(names) if i != 1}
    rungs = [Rung(seeds=2, gains=gains, kept=keep_better(gains, names[2:]))]
    bar, winner = choose(rungs, "oversampled", names[2:])
    chosen = [names.index(bar), names.index("real"), names.index(winner)]
    tested = claim(resample_arms(list(simulate(rng, true, 40, 5)[chosen]), 200, 0), bar == "real")
    naive = claim(resample_arms(list(raced[chosen]), 200, 0), bar == "real")
    return tested, naive


def claim(scores: list[ArmScores], is_plain: bool) -> list[Verdict]:
    """The verdicts as `confirm_config` has them corrected: (bar over plain), winner over bar."""
    bar, plain, winner = scores
    others = [winner] if is_plain else [plain, winner]
    found = simultaneous_gains(bar, others, paired=[True] * len(others), confidence=0.95, seed=0)
    signs = [1] if is_plain else [-1, 1]
    return [
        decide(
            s * f.estimate[1],
            *sorted((s * f.simultaneous_low[1], s * f.simultaneous_high[1])),
            seeds=2,
            practical_gain=0.001,
        )
        for s, f in zip(signs, found, strict=True)
    ]


@pytest.mark.slow
def test_a_race_without_a_true_gain_says_helps_in_at_most_5_percent():
    rng, races = np.random.default_rng(7), 200
    found = [verdicts(rng, np.zeros(20)) for _ in range(races)]
    false = sum(Verdict.HELPS in tested for tested, _ in found) / races
    naive = sum(Verdict.HELPS in raced for _, raced in found) / races
    assert false <= 0.05
    assert naive > 0.1  # so the race does select: its own scenes would have claimed too much


def test_a_true_gain_is_found():
    rng = np.random.default_rng(8)
    true = np.array([-0.2, 0, 0.25, 0, 0, 0, -0.05, 0, 0, 0])
    found = [verdicts(rng, true)[0] for _ in range(20)]
    assert sum(tested == [Verdict.HELPS, Verdict.HELPS] for tested in found) >= 14
