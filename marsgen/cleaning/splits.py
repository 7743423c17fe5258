"""Train, validation and test parts that share no ground, each with its portion of every class.

Scenes are assigned in units that stay whole: the data set's own groups (a rover stop), or groups of near copies; exact
copies always. The assignment is iterative stratification (Sechidis et al. 2011,
doi:10.1007/978-3-642-23808-6_10): the rarest class first, each unit to the part that lacks most of it. Before that,
every part is given one unit with each class, since the plain method leaves a class of three scenes to the largest part.
Folds are assigned in the same way, as parts of equal share; the scenes outside the test fold then become train and val.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from marsgen.cleaning.near_duplicates import join_linked
from marsgen.cleaning.survey import Survey, all_of
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError

PARTS = ("train", "val", "test")
_ATTEMPTS = 20  # assignments tried before a class is reported missing from a part


@dataclass(frozen=True)
class Split:
    """Scene indices of each part, in order. Scenes in no part are left out."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    """what could not be had, one sentence each, for the caller to print"""
    beyond_limit: tuple[int, ...] = ()
    """training scenes that show a rare class and are in no part, because `rare_scenes` are enough"""


def split_scenes(
    survey: Survey,
    config: DataConfig,
    class_names: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    copies: Iterable[Sequence[int]] = (),
    left_out: Iterable[int] = (),
    rare: Sequence[str] = (),
) -> Split:
    """Divide scenes; a pure function of its arguments.

    Args:
        groups: name of the group of each scene; None = unknown.
        parts: "train", "val" or "test" for each scene where the data set fixes it. Then nothing else becomes test, and
            training scenes that share a group or a picture with a test scene are left out. With "val", all of the split
            is as shipped, unless folds are asked for.
        copies: lists of scenes that have to stay together beside groups and exact copies.
        left_out: scenes that go to no part.
        rare: names of the classes that `config.rare_scenes` counts.
    Raises:
        DataError: fewer units than parts or folds; folds of data whose test part is fixed; a limit on rare scenes of
            data without a rare class.
    """
    kept = sorted(set(range(len(survey))) - set(left_out))
    warnings: list[str] = []
    shipped = parts is not None and "val" in parts
    if shipped and config.folds and "test" not in (parts or ()):
        warnings.append("folds are made of all scenes; the split that the data set ships has no effect")
    elif shipped and not config.folds:
        assert parts is not None
        return _shipped_split(survey, config, class_names, groups, parts, kept, rare, warnings)
    units = _join_units(survey, groups, copies, kept)
    test: tuple[int, ...] = ()
    shares = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    if config.folds or (parts is not None and "test" in parts):
        if config.folds:
            test, units = _take_fold(survey, units, config, class_names, parts, warnings)
        else:
            assert parts is not None
            test = tuple(scene for scene in kept if parts[scene] == "test")
            units, lost = _without_test(units, parts)
            if lost:
                warnings.append(
                    f"{lost} training scene{'s' * (lost != 1)} left out: of the same group or picture as a test scene"
                )
        shares = {"train": 1 - config.val_fraction, "val": config.val_fraction}
    shares = {part: share for part, share in shares.items() if share > 0}
    if len(units) < len(shares):
        raise DataError(
            f"{sum(map(len, units))} scenes to split, in {_groups(len(units))} of the same ground; "
            f"{' and '.join(shares)} need one group each, so give more scenes"
        )
    shown, sizes = _count_units(survey, units)
    units_with = (shown > 0).sum(0)
    scarce = (units_with > 0) & (units_with < len(shares))
    part_of = _assign_units(shown, sizes, np.array(list(shares.values())), scarce, config.split_seed)
    warnings += _sentences(part_of, shown, sizes, shares, scarce, class_names)
    chosen = {part: _scenes_of(units, part_of, number) for number, part in enumerate(shares)}
    train = chosen["train"]
    beyond: tuple[int, ...] = ()
    if config.rare_scenes is not None:
        train, beyond = _limit_rare(survey, train, config, [class_names.index(name) for name in rare], warnings)
    split = Split(train, chosen["val"], test or chosen.get("test", ()), tuple(warnings), beyond)
    check_disjoint(split, survey.keys, groups)
    return split


def _shipped_split(
    survey: Survey,
    config: DataConfig,
    class_names: Sequence[str],
    groups: Sequence[str] | None,
    parts: Sequence[str],
    kept: Sequence[int],
    rare: Sequence[str],
    warnings: list[str],
) -> Split:
    """The split that a data set ships, as it is: train, val and, where it has one, test.

    Training scenes of the same group or picture as a val or test scene are left out, and said; so are val scenes of the
    same picture as a test scene.

    Raises:
        DataError: nothing is left to train on.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    taken: set[object] = set()
    for part in ("test", "val", "train"):
        there = [scene for scene in kept if parts[scene] == part]
        own = [scene for scene in there if not _marks(scene, survey, groups) & taken]
        if lost := len(there) - len(own):
            warnings.append(f"{lost} {part} scenes left out: of the same group or picture as a scene of another part")
        taken |= {mark for scene in own for mark in _marks(scene, survey, groups)}
        chosen[part] = tuple(own)
    warnings.append("the split is the one that the data set ships; val_fraction and test_fraction have no effect")
    if not chosen["train"] or not chosen["val"]:
        raise DataError("the split that the data set ships leaves no scene to train on, or none to validate on")
    for index in np.flatnonzero(survey.shows[list(kept)].any(0)):
        lacking = [part for part in ("train", "val") if not survey.shows[list(chosen[part]), index].any()]
        if lacking:
            warnings.append(f"{class_names[int(index)]} is not in {' and '.join(lacking)} of the split that is shipped")
    train = chosen["train"]
    beyond: tuple[int, ...] = ()
    if config.rare_scenes is not None:
        train, beyond = _limit_rare(survey, train, config, [class_names.index(name) for name in rare], warnings)
    split = Split(train, chosen["val"], chosen["test"], tuple(warnings), beyond)
    check_disjoint(split, survey.keys, groups)
    return split


def _marks(scene: int, survey: Survey, groups: Sequence[str] | None) -> set[object]:
    """What a scene shares with others that must not stand in another part: its picture, and its group."""
    return {("picture", survey.keys[scene])} | ({("group", groups[scene])} if groups is not None else set())


def check_disjoint(split: Split, keys: Sequence[str], groups: Sequence[str] | None = None) -> None:
    """Make sure that no scene, picture or group is in two parts.

    Args:
        keys: `scene_key` of each scene.
        groups: name of the group of each scene; None = unknown.
    Raises:
        DataError: one is; the message names the two scenes.
    """
    for what, names in (("scene", range(len(keys))), ("picture", keys), ("group", groups)):
        owner: dict[object, tuple[str, int]] = {}
        for part in PARTS:
            for scene in getattr(split, part) if names is not None else ():
                first_part, first = owner.setdefault(names[scene], (part, scene))  # type: ignore[index]
                if first_part != part:
                    raise DataError(
                        f"split: scene {first} ({first_part}) and scene {scene} ({part}) are the same {what} "
                        f"{names[scene]}; a {what} belongs in one part only"  # type: ignore[index]
                    )


def _join_units(
    survey: Survey, groups: Sequence[str] | None, copies: Iterable[Sequence[int]], kept: Sequence[int]
) -> list[tuple[int, ...]]:
    """The kept scenes in units that stay together, in order of their first scene."""
    used = set(kept)
    links = [*all_of(survey.keys).values(), *(all_of(groups).values() if groups is not None else ()), *copies]
    links = [[scene for scene in linked if scene in used] for linked in links]
    joined = join_linked(len(survey), [linked for linked in links if len(linked) > 1])
    alone = used.difference(*joined)
    return sorted([*joined, *((scene,) for scene in alone)])


def _without_test(units: list[tuple[int, ...]], parts: Sequence[str]) -> tuple[list[tuple[int, ...]], int]:
    """Units without any fixed test scene, and how many other scenes went with those that have one."""
    mixed = [unit for unit in units if any(parts[scene] == "test" for scene in unit)]
    lost = sum(parts[scene] != "test" for unit in mixed for scene in unit)
    gone = set(mixed)
    return [unit for unit in units if unit not in gone], lost


def _take_fold(
    survey: Survey,
    units: list[tuple[int, ...]],
    config: DataConfig,
    class_names: Sequence[str],
    parts: Sequence[str] | None,
    warnings: list[str],
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The scenes of the test fold and the units of the other folds; what could not be had is added to `warnings`.

    The assignment does not depend on which fold is asked for, so the folds are disjoint and together hold every scene.
    """
    folds, fold = config.folds, config.fold
    if parts is not None and "test" in parts:
        raise DataError(
            f"the data set itself says which scenes are for testing, so {folds} folds cannot be made; leave folds out"
        )
    if len(units) < folds:
        raise DataError(
            f"{sum(map(len, units))} scenes to divide into {folds} folds, in {_groups(len(units))} of the same ground; "
            "every fold needs one group, so ask for fewer folds or give more scenes"
        )
    shown, sizes = _count_units(survey, units)
    # no class is scarce here: one of fewer groups than folds still has to be tested, each group in a fold of its own
    part_of = _assign_units(shown, sizes, np.full(folds, 1 / folds), np.zeros(shown.shape[1], bool), config.split_seed)
    missing = _missing(part_of, shown, folds)
    for class_index in np.flatnonzero((shown > 0).any(0)):
        name, with_class = class_names[int(class_index)], _groups(int((shown[:, class_index] > 0).sum()))
        lacking = [str(number) for number in np.flatnonzero(missing[:, class_index])]
        if lacking:
            which = f"fold{'s' * (len(lacking) != 1)} {' and '.join(lacking)}"
            warnings.append(f"{name} is in {with_class} of scenes only: none is in the test part of {which}")
        if len(lacking) == folds - 1 and not missing[fold, class_index]:
            warnings.append(f"all scenes of {name} are in the test part of fold {fold}: nothing of it to train on")
    warnings += _share_sentence(f"the test part of fold {fold}", sizes[part_of == fold].sum(), sizes.sum(), 1 / folds)
    rest = [unit for unit, place in zip(units, part_of, strict=True) if place != fold]
    return _scenes_of(units, part_of, fold), rest


def _limit_rare(
    survey: Survey, train: tuple[int, ...], config: DataConfig, rare: list[int], warnings: list[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(training scenes with at most `rare_scenes` that show a rare class, those left out for it)."""
    limit = config.rare_scenes
    if not rare:
        raise DataError(
            f"rare_scenes is {limit}, but the class set names no rare class; name one there, or leave "
            "data.rare_scenes at null"
        )
    # a rank for every scene, in a part or not: the same for every limit, so that smaller choices lie within larger ones
    rank = np.random.default_rng([config.split_seed, _ATTEMPTS]).permutation(len(survey))
    showing = [scene for scene in train if survey.shows[scene, rare].any()]
    beyond = tuple(sorted(sorted(showing, key=lambda scene: rank[scene])[limit:]))
    if not beyond and len(showing) != limit:
        warnings.append(
            f"rare_scenes is {limit}, but only {len(showing)} training scenes show a rare class: all are used"
        )
    return tuple(sorted(set(train) - set(beyond))), beyond


def _count_units(survey: Survey, units: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """(U, C) scenes of each unit that show each class, and (U,) scenes of each unit."""
    return np.array([survey.shows[list(unit)].sum(0) for unit in units]), np.array([len(unit) for unit in units])


def _scenes_of(units: Sequence[tuple[int, ...]], part_of: np.ndarray, number: int) -> tuple[int, ...]:
    return tuple(sorted(scene for unit, place in zip(units, part_of, strict=True) if place == number for scene in unit))


def _assign_units(
    shown: np.ndarray, sizes: np.ndarray, shares: np.ndarray, scarce: np.ndarray, seed: int
) -> np.ndarray:
    """Choose a part for every unit.

    Args:
        shown: (U, C) scenes of each unit that show each class.
        sizes: (U,) scenes of each unit.
        shares: (parts,) share of the scenes; the sum is 1.
        scarce: (C,) bool, classes that go to the first part as a whole.
    Returns:
        (U,) int, position in `shares`.
    """
    units_with = (shown > 0).sum(0)
    counted = (units_with > 0) & ~scarce
    fewest = np.maximum(len(shares) - units_with, 0)[counted].sum()  # parts that have to go without a class
    best: tuple[int, np.ndarray] | None = None
    for attempt in range(_ATTEMPTS):
        part_of = _assign_once(shown, sizes, shares, scarce, np.random.default_rng([seed, attempt]))
        missing = _missing(part_of, shown, len(shares))[:, counted].sum() - fewest
        empty = len(shares) - len(np.unique(part_of))
        if best is None or missing + 1000 * empty < best[0]:
            best = int(missing + 1000 * empty), part_of
        if best[0] == 0:
            break
    assert best is not None
    return best[1]


def _groups(count: int) -> str:
    return f"{count} group{'s' * (count != 1)}"


def _missing(part_of: np.ndarray, shown: np.ndarray, num_parts: int) -> np.ndarray:
    """(parts, C) bool: no unit of the part shows the class."""
    return np.array([~(shown[part_of == part] > 0).any(0) for part in range(num_parts)])


def _assign_once(
    shown: np.ndarray, sizes: np.ndarray, shares: np.ndarray, scarce: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    part_of = np.full(len(sizes), -1)
    want = np.outer(shares, shown.sum(0)).astype(np.float64)  # (parts, C) scenes still lacking of each class
    want_any = shares * sizes.sum()
    shuffled = rng.permutation(len(sizes))

    def give(unit: int, part: int) -> None:
        part_of[unit] = part
        want[part] -= shown[unit]
        want_any[part] -= sizes[unit]

    def open_units(class_index: "np.integer | None") -> np.ndarray:
        free = shuffled[part_of[shuffled] < 0]
        return free if class_index is None else free[shown[free, class_index] > 0]

    # a class in fewer units than parts: all of it where something can be learnt from it, but no part stays empty
    for class_index in np.flatnonzero(scarce):
        for unit in open_units(class_index):
            if np.count_nonzero(part_of < 0) >= len(shares):
                give(unit, 0)
    rarest_first = np.argsort((shown > 0).sum(0), kind="stable")
    # one unit of every class for every part, the smallest part first, and small units so that shares stay as asked
    for class_index in [*rarest_first[~scarce[rarest_first]], None]:
        for part in np.argsort(shares, kind="stable"):
            has = part_of == part if class_index is None else (part_of == part) & (shown[:, class_index] > 0)
            free = open_units(class_index)
            if not has.any() and len(free):
                give(free[np.argmin(sizes[free])], part)
    # the rest: rarest class first, large units first, each to the part that lacks most
    for class_index in rarest_first:
        free = open_units(class_index)
        for unit in free[np.argsort(-shown[free, class_index], kind="stable")]:
            lacking = want[:, class_index]
            most = np.flatnonzero(lacking == lacking.max())
            give(unit, int(most[np.argmax(want_any[most])]))
    free = open_units(None)
    for unit in free[np.argsort(-sizes[free], kind="stable")]:
        give(unit, int(np.argmax(want_any)))
    return part_of


def _sentences(
    part_of: np.ndarray,
    shown: np.ndarray,
    sizes: np.ndarray,
    shares: dict[str, float],
    scarce: np.ndarray,
    class_names: Sequence[str],
) -> list[str]:
    said = []
    missing = _missing(part_of, shown, len(shares))
    for class_index in np.flatnonzero((shown > 0).any(0)):
        lacking = [part for number, part in enumerate(shares) if missing[number, class_index]]
        if not lacking:
            continue
        units = int((shown[:, class_index] > 0).sum())
        where = "all of it goes to train, " if len(lacking) == len(shares) - 1 and "train" not in lacking else ""
        said.append(
            f"{class_names[int(class_index)]} is in {_groups(units)} of scenes only: {where}"
            f"none is in {' and '.join(lacking)}"
        )
    for number, (part, share) in enumerate(shares.items()):
        if part != "train":
            said += _share_sentence(part, sizes[part_of == number].sum(), sizes.sum(), share)
    return said


def _share_sentence(part: str, got: int, scenes: int, share: float) -> list[str]:
    if abs(got / scenes - share) <= max(0.5 * share, 1 / scenes):
        return []
    return [f"{part} holds {got / scenes:.0%} of the scenes instead of {share:.0%}: groups stay whole"]
