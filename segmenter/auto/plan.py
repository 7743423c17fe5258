"""What fits the budget: the whole plan, or less of it, given up in a stated order.

All in seconds on one worker, divided by the workers; `MARGIN` is for what cannot run side by side.
"""

from collections.abc import Callable, Iterator, Sequence

from marsgen.core.config import Config
from segmenter.auto.config import AutoConfig
from segmenter.auto.studies import Effort, on_real_scenes, plain_arm, set_sizes
from segmenter.study.config import COPY_PASTE, StudyConfig

MARGIN = 1.15


class Line(Config):
    """Seconds of a job as fixed + each * (steps or scenes)."""

    fixed: float
    each: float

    def at(self, size: float) -> float:
        return self.fixed + self.each * size


class Costs(Config):
    """What was measured here."""

    run: Line
    """one training and its scoring, by steps"""
    generators: dict[str, float]
    """training each, whole"""
    sets: dict[str, Line]
    """making each, by its number of scenes; also pseudo-labelled ones (no scenes: fixed)"""

    def of_extra(self, recipes: StudyConfig, arms: Sequence[str], effort: Effort) -> float:
        """Generators and sets of arms, each made once; teachers and judges are runs of their own."""
        sets = list(dict.fromkeys(name for arm in arms for name in recipes.arms[arm].extra))
        generators = {recipes.sets[name].generator for name in sets} - {COPY_PASTE}
        sizes = set_sizes(recipes, effort.pairs)
        runs = sum(recipes.sets[name].teacher is not None for name in sets)
        made = sum(self.sets[name].at(sizes.get(name, 0)) for name in sets)
        return sum(self.generators[name] for name in generators) + made + runs * self.run.at(effort.steps)

    def knows(self, recipes: StudyConfig, arm: str) -> bool:
        """Whether all that an arm needs was measured."""
        sets = recipes.arms[arm].extra
        drawn = {recipes.sets[name].generator for name in sets} - {COPY_PASTE}
        return set(sets) <= set(self.sets) and drawn <= set(self.generators)


class Plan(Config):
    """What will be done, recorded before it begins: a repeated command follows it."""

    effort: Effort
    arms: tuple[str, ...]
    """that race, the reference included"""
    rungs: tuple[int, ...]
    seeds: int
    """in the confirmation"""
    curve: bool
    """train on half and a quarter of the rare scenes too: what a gain is worth in real scenes"""
    fewer_pairs: bool
    """train on half the pairs too"""
    last_training: bool
    """train the recommended recipe on all data at the end"""
    costs: Costs
    given_up: tuple[str, ...] = ()
    """what does not fit the budget, a sentence each"""


def in_race(plan: Plan) -> list[int]:
    """Arms, the reference included, in each rung: after each the worse half of the others is dropped."""
    counts = [len(plan.arms)]
    for _ in plan.rungs[1:]:
        counts.append(1 + kept_of(counts[-1] - 1))
    return counts


def kept_of(arms: int) -> int:
    """How many of the arms beside the reference stay after a rung."""
    return (arms + 1) // 2


def race_seconds(plan: Plan, recipes: StudyConfig) -> float:
    """Work of the race."""
    folds, runs, before = plan.effort.folds or 1, 0, 0
    for arms, seeds in zip(in_race(plan), plan.rungs, strict=True):
        runs += arms * (seeds - before)
        before = seeds
    return folds * (plan.costs.of_extra(recipes, plan.arms, plan.effort) + runs * plan.costs.run.at(plan.effort.steps))


def confirm_seconds(plan: Plan, recipes: StudyConfig) -> float:
    """Work of the confirmation, if the recipe wins that costs most."""
    extra = max((plan.costs.of_extra(recipes, [arm], plan.effort) for arm in plan.arms), default=0.0)
    arms = 2 + any(recipes.arms[arm].extra for arm in plan.arms) + 2 * plan.curve + plan.fewer_pairs
    return extra * (1.5 if plan.fewer_pairs else 1) + arms * plan.seeds * plan.costs.run.at(plan.effort.steps)


def last_seconds(plan: Plan, recipes: StudyConfig) -> float:
    """Work of the last training, on all data."""
    if not plan.last_training:
        return 0.0
    extra = max((plan.costs.of_extra(recipes, [arm], plan.effort) for arm in plan.arms), default=0.0)
    return extra + plan.costs.run.at(plan.effort.steps)


def wall_seconds(work: float, width: int) -> float:
    return MARGIN * work / width


def total_seconds(plan: Plan, recipes: StudyConfig, width: int) -> float:
    """Wall clock of all stages; the last training cannot be shared out."""
    side_by_side = race_seconds(plan, recipes) + confirm_seconds(plan, recipes)
    return wall_seconds(side_by_side, width) + wall_seconds(last_seconds(plan, recipes), 1)


def fit(plan: Plan, recipes: StudyConfig, config: AutoConfig, width: int, seconds: float) -> tuple[Plan, bool]:
    """The plan, with what does not fit given up.

    Args:
        plan: the whole one.
        width: jobs that run side by side.
        seconds: that are left.
    Returns:
        the plan, and whether it fits; if not, it is the smallest one.
    """
    for give_up in _ORDER:
        for smaller, words in give_up(plan, recipes, config):
            if total_seconds(plan, recipes, width) <= seconds:
                return plan, True
            plan = smaller.model_copy(update={"given_up": (*plan.given_up, words)})
    return plan, total_seconds(plan, recipes, width) <= seconds


# what is given up, in this order; each yields ever smaller plans

GiveUp = Callable[[Plan, StudyConfig, AutoConfig], Iterator[tuple[Plan, str]]]


def _fewer_pairs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.fewer_pairs:
        yield plan.model_copy(update={"fewer_pairs": False}), "whether half the pairs are enough is not measured"


def _rungs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    for count in range(len(plan.rungs) - 1, 0, -1):
        rungs = plan.rungs[:count]
        plan = plan.model_copy(update={"rungs": rungs})
        yield plan, f"the race has {count} rung{'s' * (count > 1)}, up to {rungs[-1]} seed{'s' * (rungs[-1] > 1)}"


def _folds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.effort.folds:
        effort = plan.effort.model_copy(update={"folds": 0})
        yield plan.model_copy(update={"effort": effort}), "recipes race on one validation part instead of folds"


def _seeds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.seeds > 3:
        yield plan.model_copy(update={"seeds": 3}), "3 seeds in the confirmation"


def _recipes(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    """The dearest first; the reference, the plain arm and the cheapest arm with extra scenes stay."""
    cheapest = next((arm for arm in plan.arms if recipes.arms[arm].extra), None)
    stay = {recipes.baseline, plain_arm(recipes), cheapest}
    dear = sorted(
        (arm for arm in plan.arms if arm not in stay),
        key=lambda arm: (plan.costs.of_extra(recipes, [arm], plan.effort), arm not in on_real_scenes(recipes)),
        reverse=True,
    )
    for arm in dear:
        plan = plan.model_copy(update={"arms": tuple(name for name in plan.arms if name != arm)})
        yield plan, f"{recipes.title_of(arm)} is not tried"


def _steps(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    steps = plan.effort.steps
    while steps > config.fewest_steps:
        steps = max(steps // 2, config.fewest_steps)
        plan = plan.model_copy(update={"effort": plan.effort.model_copy(update={"steps": steps})})
        yield plan, f"{steps} training steps"


def _pairs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    used = [name for arm in plan.arms for name in recipes.arms[arm].extra]
    most = max((size for name, size in set_sizes(recipes).items() if name in used), default=0)
    share = plan.effort.pairs
    while round(most * share) > config.fewest_pairs:
        share = max(share / 2, config.fewest_pairs / most)
        plan = plan.model_copy(update={"effort": plan.effort.model_copy(update={"pairs": share})})
        yield plan, f"{round(most * share)} generated scenes a set"


def _curve(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.curve:
        yield plan.model_copy(update={"curve": False}), "what a gain is worth in labelled images is not measured"


def _two_seeds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.seeds > 2:
        yield plan.model_copy(update={"seeds": 2}), "2 seeds in the confirmation: its intervals are very wide"


def _last(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[tuple[Plan, str]]:
    if plan.last_training:
        yield plan.model_copy(update={"last_training": False}), "nothing is trained on all data at the end"


_ORDER: tuple[GiveUp, ...] = (
    _fewer_pairs,
    _rungs,
    _folds,
    _seeds,
    _recipes,
    _steps,
    _pairs,
    _curve,
    _two_seeds,
    _last,
)
