"""What fits the budget: the whole plan, or less of it, given up in a stated order.

All in seconds on one worker, divided by the workers; `MARGIN` is for what cannot run side by side.
"""

from collections.abc import Callable, Iterator, Sequence

from marsgen.core.config import Config
from segmenter.auto.config import AutoConfig
from segmenter.auto.studies import Effort, kind_of, plain_arm, set_sizes
from segmenter.study.config import StudyConfig

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
    """one training and its scoring on the scenes of the race, by steps"""
    score: float
    """scoring one run on the scenes of the confirmation"""
    generators: dict[str, float]
    """training each, whole"""
    sets: dict[str, Line]
    """making each, by its number of scenes; also pseudo-labelled ones (no scenes: fixed)"""

    def of_extra(self, recipes: StudyConfig, arms: Sequence[str], effort: Effort) -> float:
        """Generators and sets of arms, each made once; teachers and judges are runs of their own."""
        sets = list(dict.fromkeys(name for arm in arms for name in recipes.arms[arm].extra))
        generators = recipes.generators_of(sets)
        sizes = set_sizes(recipes, effort.pairs)
        runs = sum(recipes.sets[name].teacher is not None for name in sets)
        made = sum(self.sets[name].at(sizes.get(name, 0)) for name in sets)
        return sum(self.generators[name] for name in generators) + made + runs * self.run.at(effort.steps)

    def knows(self, recipes: StudyConfig, arm: str) -> bool:
        """Whether all that an arm needs was measured."""
        sets = recipes.arms[arm].extra
        return set(sets) <= set(self.sets) and set(recipes.generators_of(sets)) <= set(self.generators)


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
    extra = (plan.effort.folds or 1) * plan.costs.of_extra(recipes, plan.arms, plan.effort)
    return extra + race_runs(plan) * plan.costs.run.at(plan.effort.steps)


def race_runs(plan: Plan) -> int:
    """Trainings of the race."""
    runs = before = 0
    for arms, seeds in zip(in_race(plan), plan.rungs, strict=True):
        runs += arms * (seeds - before)
        before = seeds
    return (plan.effort.folds or 1) * runs


def confirmed_arms(plan: Plan, recipes: StudyConfig) -> int:
    """Arms of the confirmation, at most."""
    return 2 + any(recipes.arms[arm].extra for arm in plan.arms) + 2 * plan.curve + plan.fewer_pairs


def confirm_seconds(plan: Plan, recipes: StudyConfig) -> float:
    """Work of the confirmation, if the recipe wins that costs most."""
    extra = max((plan.costs.of_extra(recipes, [arm], plan.effort) for arm in plan.arms), default=0.0)
    run = plan.costs.run.at(plan.effort.steps) + plan.costs.score
    return extra * (1.5 if plan.fewer_pairs else 1) + confirmed_arms(plan, recipes) * plan.seeds * run


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
    """The plan without what does not fit: given up in the stated order until the rest fits; then what fits comes back.

    Args:
        plan: the whole one.
        width: jobs that run side by side.
        seconds: that are left.
    Returns:
        the plan, and whether it fits; if not, it is the smallest one.
    """

    def less(given_up: Sequence[GivenUp]) -> Plan:
        smaller = plan
        for _, give_up in given_up:
            smaller = give_up(smaller)
        return smaller.model_copy(update={"given_up": (*plan.given_up, *(words for words, _ in given_up))})

    def fits(given_up: Sequence[GivenUp]) -> bool:
        return total_seconds(less(given_up), recipes, width) <= seconds

    order = [one for part in _ORDER for one in part(plan, recipes, config)]
    needed = next((count for count in range(len(order) + 1) if fits(order[:count])), None)
    if needed is None:
        return less(order), False
    taken = order[:needed]
    for one in reversed(order[:needed]):  # halving the steps may leave room for what was given up before
        without = [other for other in taken if other is not one]
        if fits(without):
            taken = without
    return less(taken), True


# what is given up, in this order: the least first

GivenUp = tuple[str, Callable[[Plan], Plan]]
"""in words, and the plan without it"""


def _changed(**values: object) -> Callable[[Plan], Plan]:
    return lambda plan: plan.model_copy(update=values)


def _less_effort(**values: object) -> Callable[[Plan], Plan]:
    return lambda plan: plan.model_copy(update={"effort": plan.effort.model_copy(update=values)})


def _without_arm(arm: str) -> Callable[[Plan], Plan]:
    return lambda plan: plan.model_copy(update={"arms": tuple(name for name in plan.arms if name != arm)})


def _fewer_pairs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.fewer_pairs:
        yield "whether half the pairs are enough is not measured", _changed(fewer_pairs=False)


def _rungs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    for count in range(len(plan.rungs) - 1, 0, -1):
        rungs = plan.rungs[:count]
        words = f"the race has {count} rung{'s' * (count > 1)}, up to {rungs[-1]} seed{'s' * (rungs[-1] > 1)}"
        yield words, _changed(rungs=rungs)


def _folds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.effort.folds:
        yield "recipes race on one validation part instead of folds", _less_effort(folds=0)


def _seeds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.seeds > 3:
        yield "3 seeds in the confirmation", _changed(seeds=3)


def _alike(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    """The recipes of which another of their kind stays: the dearest first. The cheapest of each kind stay."""
    stay = {recipes.baseline, plain_arm(recipes), *_cheapest(plan, recipes).values()}
    for arm in _by_cost(plan, recipes):
        if arm not in stay:
            yield f"{recipes.title_of(arm)} is not tried", _without_arm(arm)


def _kinds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    """The last recipe of a kind, as long as one with extra scenes stays: trained generators first."""
    cheapest = _cheapest(plan, recipes)
    for kind in sorted(cheapest, reverse=True)[:-1]:
        arm = cheapest[kind]
        yield f"{recipes.title_of(arm)} is not tried", _without_arm(arm)


def _cheapest(plan: Plan, recipes: StudyConfig) -> dict[int, str]:
    """The cheapest arm of every kind that has extra scenes."""
    dear = [arm for arm in _by_cost(plan, recipes) if recipes.arms[arm].extra]
    return {kind_of(recipes, arm): arm for arm in dear}  # the cheapest comes last


def _by_cost(plan: Plan, recipes: StudyConfig) -> list[str]:
    """Arms, the dearest first; of equal ones the first named comes last."""
    return sorted(plan.arms, key=lambda arm: plan.costs.of_extra(recipes, [arm], plan.effort))[::-1]


def _steps(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    steps = plan.effort.steps
    while steps > config.fewest_steps:
        steps = max(steps // 2, config.fewest_steps)
        yield f"{steps} training steps", _less_effort(steps=steps)


def _pairs(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    used = [name for arm in plan.arms for name in recipes.arms[arm].extra]
    most = max((size for name, size in set_sizes(recipes).items() if name in used), default=0)
    share = plan.effort.pairs
    while round(most * share) > config.fewest_pairs:
        share = max(share / 2, config.fewest_pairs / most)
        yield f"{round(most * share)} generated scenes a set", _less_effort(pairs=share)


def _curve(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.curve:
        yield "what a gain is worth in labelled images is not measured", _changed(curve=False)


def _two_seeds(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.seeds > 2:
        yield "2 seeds in the confirmation: its intervals are very wide", _changed(seeds=2)


def _last(plan: Plan, recipes: StudyConfig, config: AutoConfig) -> Iterator[GivenUp]:
    if plan.last_training:
        yield "nothing is trained on all data at the end", _changed(last_training=False)


_ORDER: tuple[Callable[[Plan, StudyConfig, AutoConfig], Iterator[GivenUp]], ...] = (
    _fewer_pairs,
    _rungs,
    _folds,
    _seeds,
    _alike,
    _steps,
    _pairs,
    _curve,
    _kinds,
    _two_seeds,
    _last,
)
