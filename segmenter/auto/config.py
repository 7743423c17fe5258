"""Settings of `segmenter auto`, and a budget of time as people write it."""

import re
from collections.abc import Sequence

from pydantic import Field, model_validator

from marsgen.core.config import Config
from marsgen.core.errors import ConfigError
from marsgen.scenes.classes import ClassSet
from segmenter.study.config import StudyConfig

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class AutoConfig(Config):
    """How recipes are raced; less of it is done where the budget is too small, see segmenter/auto/plan.py."""

    listed_by = "`segmenter settings auto`"

    arms: tuple[str, ...] = ()
    """arms of the recipes that race; empty = all that the data allow"""
    rungs: tuple[int, ...] = Field((1, 2, 4), min_length=1)
    """seeds that every recipe still in the race has been trained with at the end of each rung"""
    race_folds: int = Field(3, ge=2)
    """folds of the race where one validation part would show fewer than `enough_scenes` scenes of the class"""
    enough_scenes: int = Field(30, ge=1)
    """scenes of the class in one validation part from which it is enough for the race"""
    validation_fraction: float = Field(0.25, gt=0, lt=1)
    """share of the race's scenes that recipes are ranked on, where there are no folds"""
    test_fraction: float = Field(0.25, gt=0, lt=1)
    """share of the scenes that is set aside for the confirmation, where there is neither --test nor a test part"""
    seeds: int = Field(5, ge=2)
    """new seeds of each recipe in the confirmation"""
    fewest_steps: int = Field(200, ge=1)
    """fewer training steps are not worth it"""
    fewest_pairs: int = Field(200, ge=1)
    """smaller sets of generated scenes are not worth it"""
    measuring: float = Field(0.1, gt=0, lt=1)
    """share of the budget after which no further recipe is measured"""

    @model_validator(mode="after")
    def _seeds_rise(self) -> "AutoConfig":
        if min(self.rungs) < 1 or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs is {list(self.rungs)}; numbers of seeds that rise, such as [1,2,4], were expected")
        return self


def read_budget(text: str) -> float:
    """A time such as 90s, 45m, 2h or 1h30m, in seconds.

    Raises:
        ConfigError: no such time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(f"{number}{unit}" for number, unit in parts) != text or not seconds:
        raise ConfigError(f"--budget {text}: expected a time such as 45m, 2h or 1h30m")
    return seconds


def refuse_unknown_arms(arms: Sequence[str], recipes: StudyConfig) -> None:
    """Raise ConfigError where an arm that is to race is not among the recipes."""
    if unknown := next((name for name in arms if name not in recipes.arms), None):
        raise ConfigError(f"arms: no arm '{unknown}' in the recipes; there are {', '.join(recipes.arms)}")


def choose_class(classes: ClassSet, name: str | None) -> str:
    """The class that recipes are to find: the named one, or the only rare one.

    Raises:
        ConfigError: no name, and not exactly one rare class.
        DataError: no such class.
    """
    if name is not None:
        return classes.spell(name)
    if len(classes.rare) != 1:
        there = f"the rare classes are {', '.join(classes.rare)}" if classes.rare else "the data name no rare class"
        raise ConfigError(f"which class is to be found? Name one with --class; {there}")
    return classes.rare[0]


def time_text(seconds: float) -> str:
    """Seconds as 40s, 5m or 2.5h."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 5400 else f"{seconds / 3600:.1f}h"
