"""The refusals: what must not be trained on, judged by, scored or labelled, as a scene behind it is held out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.resaved import find_copies, more_than_chance
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.storage.seen import read_set_head
from marsgen.provenance.records import (
    SplitKeys,
    fingerprints_of_part,
    keys_of_part,
    keys_of_pictures,
    pictures_of,
    real_keys,
)
from marsgen.scenes.scene import SceneSource, scene_key

_SAME_SPLIT = "the same data settings (val_fraction, folds, split_seed and so on)"


# extra scenes


def refuse_leaking_extra(extra: SceneSource, dataset: Dataset) -> str:
    """Refuse extra scenes that know a held-out scene of `dataset`.

    Held out are the validation and test part, and the training scenes beyond `data.rare_scenes`.

    Returns:
        a caution where some scenes do not say what they were made from, else "".
    Raises:
        DataError: a scene is one of them or was made from one, or something that made it has learned from one.
    """
    where, head, held_out = f"--extra {extra.location}", read_set_head(Path(extra.location)), _held_out(dataset)
    again = "train its teachers again on" if "teachers" in head else "make it again from"
    remedy = f"{again} this data with {_SAME_SPLIT}"
    for key in head.get("trained_on", ()):
        if key in held_out:
            raise DataError(f"{where}: what made it has learned from {held_out[key]}; {remedy}")
    unknown = 0
    for index, name in enumerate(extra.names):
        synthetic = bool(extra.origin(index).ancestors)  # a synthetic one may not know what it was made from
        unknown += not synthetic
        for key in real_keys(extra, index):
            if key in held_out:
                relation = "was made from" if synthetic else "is the same picture as"
                raise DataError(f"{where}: scene {name} {relation} {held_out[key]}; {remedy}")
    cautions = filter(
        None, [_check_foreign_pictures(extra, head, dataset, where, remedy), _origin_caution(extra, head, unknown)]
    )
    return "; ".join(cautions)


def _check_foreign_pictures(
    extra: SceneSource, head: Mapping[str, Any], dataset: Dataset, where: str, remedy: str
) -> str:
    """Refuse extra scenes that are, or whose makers have seen, held-out pictures saved again.

    Returns:
        a caution that names the ancestors which these data do not hold, else "".
    Raises:
        DataError: more pictures are copies than chance explains.
    """
    own = set(dataset.survey.keys)
    origins = [extra.origin(index) for index in range(len(extra))]
    behind = {key for origin in origins for key in origin.ancestors} - own
    pictures = pictures_of(head)
    if pictures is None:
        raise DataError(f"{where}: the 'pictures' of its synth.json are damaged; make the folder again")
    foreign = {key: fingerprint for key, fingerprint in pictures.items() if key not in own}
    held_out = sorted({*dataset.split.val, *dataset.split.test, *dataset.split.beyond_limit})
    copies = find_copies(list(foreign.values()), dataset.scenes, held_out) if foreign else []
    if more_than_chance(len(copies), len(held_out)):
        example = dataset.scenes.names[copies[0].asked]
        raise DataError(
            f"{where}: {len(copies)} of {len(held_out)} held-out scenes of this run, such as {example}, are pictures "
            f"that its makers have seen, saved again; {remedy}"
        )
    real = [i for i, origin in enumerate(origins) if not origin.ancestors and scene_key(extra.read(i)[0]) not in own]
    if real:
        known = fingerprints_of_part(dataset, held_out)
        copies = find_copies([bytes.fromhex(text) for text in known.values()], extra, real)
        if more_than_chance(len(copies), len(real)):
            raise DataError(
                f"{where}: {len(copies)} of its {len(real)} real pictures, such as {extra.names[copies[0].asked]}, are "
                f"held-out scenes of this run, saved again; {remedy}"
            )
    if not behind:
        return ""
    unknown = sorted(behind - set(foreign))
    compared = (
        "" if not unknown else f", {len(unknown)} of them (such as {unknown[0]}) without a fingerprint to compare"
    )
    return f"{where}: it was made from {len(behind)} scenes that these data do not hold{compared}"


def _origin_caution(extra: SceneSource, head: Mapping[str, Any], unknown: int) -> str:
    """What cannot be known of `unknown` scenes that name no ancestors; "" where there are none."""
    where = f"--extra {extra.location}"
    if not unknown:
        return ""
    pseudo_labelled = "teachers" in head and not head.get("synthetic")
    what = (
        f"its {unknown} pictures are real ones that networks have labelled"
        if pseudo_labelled
        else f"nothing says what {unknown} of its {len(extra)} scenes were made from"
    )
    return f"{where}: {what}; none of them is a held-out scene, but an altered copy of one would not be noticed"


def caution_of_held_out(ancestors: Sequence[Iterable[str]], dataset: Dataset, what: str) -> str:
    """What is to be said of things to draw that grew from held-out scenes; "" where none did.

    Args:
        ancestors: keys of the real scenes behind each of them.
        what: they are, in the plural.
    """
    held_out = _held_out(dataset)
    found = [next((held_out[key] for key in keys if key in held_out), "") for keys in ancestors]
    if not (leaking := list(filter(None, found))):
        return ""
    return (
        f"{len(leaking)} of {len(found)} {what} grew from held-out scenes, such as {leaking[0]}: what is drawn of them "
        f"cannot join training under {_SAME_SPLIT}, and `segmenter train --extra` refuses it"
    )


def _held_out(dataset: Dataset) -> dict[str, str]:
    """Key of each held-out scene -> its name and part, in words."""
    split, names, keys = dataset.split, dataset.scenes.names, dataset.survey.keys
    train = set(keys_of_part(dataset, split.train))
    held_out = {
        keys[index]: f"{names[index]}, a {part} scene of this run"
        for part, indices in (("validation", split.val), ("test", split.test))
        for index in indices
    }
    # an exact copy of a scene beyond the limit may be a training scene
    return held_out | {
        keys[index]: f"{names[index]}, a scene beyond data.rare_scenes of this run"
        for index in split.beyond_limit
        if keys[index] not in train
    }


# judges


def refuse_leaking_judge(trained_on: Iterable[str], where: str, dataset: Dataset) -> None:
    """Refuse a judge that has seen a scene outside the train part: its choices would carry that scene into training.

    Args:
        trained_on: keys of the scenes that the judge has seen.
        where: its folder, for the message.
    Raises:
        RunError: it has seen another scene.
    """
    train = set(keys_of_part(dataset, dataset.split.train))
    outside = [key for key in trained_on if key not in train]
    if not outside:
        return
    names = dict(zip(dataset.survey.keys, dataset.scenes.names, strict=True))
    example = next((f", such as {names[key]}" for key in outside if key in names), "")
    raise RunError(
        f"{where} was trained on {len(outside)} scenes outside the train part of these data{example}; train it on "
        f"the same data with {_SAME_SPLIT}"
    )


# evaluation


def refuse_seen_scene(name: str, key: str, part: str, split: SplitKeys, folder: Path) -> None:
    """Refuse to score a run on a scene that it was trained on, or that chose its weights.

    Args:
        name, key: of the scene.
        part: what is scored: "train", "val" or "test" of the run's own data, or "all" of other data. Asking for a
            seen part by name is allowed.
        split: from `read_split_keys`.
        folder: of the run, for the message.
    Raises:
        DataError: it was seen.
    """
    problem = ""
    if part != "train" and key in split.train:
        problem = "was trained on"
    elif part != "train" and key in split.extra:
        problem = "is one of the extra scenes that were trained on, or behind one,"
    elif part == "all" and key in split.val:
        problem = "chose the checkpoint"
    if problem:
        raise DataError(
            f"scene {name} {problem} in {folder}; a score needs scenes it has not seen: give other data, "
            "or name a part of the run's own data, for example --set part=val"
        )


def refuse_seen_copies(source: SceneSource, split: SplitKeys, folder: Path) -> None:
    """Refuse to score a run on pictures that it has learned from, saved again, resized or cropped.

    Args:
        source: other data than the run's own.
        split: from `read_split_keys`.
        folder: of the run, for the message.
    Raises:
        DataError: more pictures are copies than chance explains.
    """
    known = list(split.pictures.values())
    copies = find_copies(known, source) if known else []
    if more_than_chance(len(copies), len(source)):
        raise DataError(
            f"{len(copies)} of {len(source)} scenes of {source.location}, such as {source.names[copies[0].asked]}, are "
            f"pictures that {folder} has learned from, saved again; a score needs scenes it has not seen: give other "
            "data"
        )


def unseen_scenes(source: SceneSource, dataset: Dataset, seen: Iterable[str]) -> list[int]:
    """Indices of the scenes of `source` whose pictures are not in `dataset`, or in its test part alone.

    Args:
        dataset: the real scenes that a set was made from.
        seen: keys of the scenes that the set's makers have learned from.
    """
    test = set(dataset.split.test)
    known = {*seen, *(key for index, key in enumerate(dataset.survey.keys) if index not in test)}
    return [index for index, key in enumerate(keys_of_pictures(source)) if key not in known]


# studies


def refuse_seen_test_scenes(test: SceneSource, dataset: Dataset) -> None:
    """Refuse test scenes of their own that networks would learn from or be selected by.

    The data themselves are accepted as test scenes where they keep a test part.

    Raises:
        DataError: one of the test scenes is in the train or validation part of `dataset`.
    """
    if test.fingerprint() == dataset.scenes.fingerprint() and dataset.split.test:
        return
    seen = set(keys_of_part(dataset, (*dataset.split.train, *dataset.split.val)))
    for name, key in zip(test.names, keys_of_pictures(test), strict=True):
        if key in seen:
            raise DataError(
                f"{test.location}: scene {name} is in {dataset.scenes.location} too, where networks learn from it; "
                "give --test scenes of their own, or leave it out and say --folds 5"
            )


def refuse_held_out_pictures(
    pictures: SceneSource, dataset: Dataset, test: SceneSource | None, *, folds: bool = False
) -> None:
    """Refuse unlabelled pictures that are held-out scenes under another name.

    Args:
        pictures: what a teacher is to label and arms to learn from.
        test: test scenes of their own, if there are any.
        folds: every scene of `dataset` is tested in some fold.
    Raises:
        DataError: one of the pictures is a validation or test scene, or one beyond `data.rare_scenes`.
    """
    split = dataset.split
    held_out = range(len(dataset.scenes)) if folds else (*split.val, *split.test, *split.beyond_limit)
    where_held_out = dict.fromkeys(keys_of_part(dataset, held_out), dataset.scenes.location)
    if test is not None:
        where_held_out |= dict.fromkeys(keys_of_pictures(test), test.location)
    for name, key in zip(pictures.names, keys_of_pictures(pictures), strict=True):
        if where := where_held_out.get(key):
            raise DataError(
                f"{pictures.location}: picture {name} is a held-out scene of {where} too, which no arm may learn from; "
                "give --unlabelled pictures of their own"
            )


def refuse_other_split(arm: str, data: DataConfig, makers: Mapping[str, DataConfig]) -> None:
    """Refuse a study in which something that makes an arm's extra scenes would know other real scenes than the arm.

    Args:
        arm: its key in the study, for the message.
        data: the arm's data settings.
        makers: the data settings of regions, generator, judge, focus and teacher, by where they stand in the study.
    Raises:
        ConfigError: the settings differ by more than a lower `rare_scenes`: the fewer rare scenes are among the more.
    """
    for where, theirs in makers.items():
        known, most = (math.inf if it.rare_scenes is None else it.rare_scenes for it in (theirs, data))
        if theirs.model_copy(update={"rare_scenes": data.rare_scenes}) != data or known > most:
            raise ConfigError(
                f"{arm} and {where} use other parts of the data ({data.model_dump()} and {theirs.model_dump()}); "
                "give both the same `data` (rare_scenes may be lower there), or the arm learns from scenes that it "
                "should not know"
            )


# void_weight


def labelled_by_people(dataset: Dataset) -> bool:
    """Whether the label maps of the train part were drawn by people: neither synthetic nor pseudo-labels."""
    synthetic = any(dataset.scenes.origin(index).kind == "synthetic" for index in dataset.split.train)
    return not synthetic and "teachers" not in read_set_head(Path(dataset.scenes.location))
