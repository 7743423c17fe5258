"""Dataset: scenes that have been looked through, with the doubtful ones named and the rest divided."""

from collections import Counter
from dataclasses import dataclass, replace

from marsgen.cleaning.lookalikes import cluster_pairs, find_lookalikes
from marsgen.cleaning.outliers import RepeatedMap, explain_repeated_map, find_repeated_maps
from marsgen.cleaning.splits import Split, split_scenes
from marsgen.cleaning.survey import Survey, survey_scenes
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training command works on."""

    scenes: SceneSource
    survey: Survey
    suspects: dict[int, str]
    """index of a scene -> why it looks like a mistake, in words; in no part of the split unless kept on purpose"""
    split: Split

    def describe(self) -> str:
        """What is used for what, in one line."""
        train, val, test = len(self.split.train), len(self.split.val), len(self.split.test)
        counts = f"{train} train, {val} val, {test} test"
        left_out = len(self.scenes) - train - val - test
        used = {*self.split.train, *self.split.val, *self.split.test}
        doubtful = [scene for scene in self.suspects if scene not in used]
        maps = Counter(self.survey.label_keys[scene] for scene in self.suspects)
        why = _name_maps(sorted(maps.values(), reverse=True))
        parts = []
        if doubtful:
            parts.append(f"{len(doubtful)} left out ({why})")
        elif self.suspects:
            parts.append(f"{len(self.suspects)} suspects kept ({why})")
        if close := left_out - len(doubtful) - len(self.split.beyond_limit):
            parts.append(f"{close} left out (too close to the test part)")
        if self.split.beyond_limit:
            parts.append(f"{len(self.split.beyond_limit)} left out (beyond the limit on rare scenes)")
        return f"{len(self.scenes)} scenes: {', '.join([*parts, counts])}"


def open_dataset(location: str, config: DataConfig, classes: ClassSet | None = None) -> Dataset:
    """Open a data set, find what does not belong, and divide the rest.

    Args:
        location: see `open_scenes`.
        classes: what the ids mean, where the data set does not say it.
    Raises:
        DataError: the data set cannot be used, or nothing is left to train on.
    """
    scenes = open_scenes(location, classes=classes)
    survey = survey_scenes(scenes)
    # groups already keep together what shows the same ground, so the search for copies need not look at details
    similarity = config.near_duplicate_similarity if scenes.groups is None else 1.0
    copies = cluster_pairs(len(scenes), find_lookalikes(scenes, survey, similarity))
    suspects = name_suspects(find_repeated_maps(survey, copies))
    return Dataset(scenes, survey, suspects, divide(scenes, survey, config, copies, suspects))


def name_suspects(repeated: list[RepeatedMap]) -> dict[int, str]:
    """Scene index -> reason, for every scene that carries a repeated label map."""
    return {scene: explain_repeated_map(found) for found in repeated for scene in found.scenes}


def divide(
    scenes: SceneSource, survey: Survey, config: DataConfig, copies: list[tuple[int, ...]], suspects: dict[int, str]
) -> Split:
    """The split that `config` asks for; see `split_scenes`.

    Raises:
        DataError: it cannot be had; the message names the data set.
    """
    refuse_no_label(scenes, survey)
    left_out = () if config.keep_suspects else tuple(suspects)
    try:
        split = split_scenes(
            survey,
            config,
            scenes.classes.names,
            groups=scenes.groups,
            parts=scenes.parts,
            copies=copies if scenes.groups is None else (),
            left_out=left_out,
            rare=scenes.classes.rare,
        )
        return replace(split, warnings=(*split.warnings, *_absent_rare(scenes, survey)))
    except DataError as problem:
        hint = f"; {len(left_out)} suspects are left out, data.keep_suspects=true keeps them" if left_out else ""
        raise DataError(f"{scenes.location}: {problem}{hint}") from None


def refuse_no_label(scenes: SceneSource, survey: Survey) -> None:
    """Raise DataError where no pixel of any scene carries a label."""
    if len(survey) and not survey.pixels[:, :-1].any():
        raise DataError(
            f"{scenes.location}: no pixel carries a label: all {len(survey)} label maps hold the ignored id "
            f"{scenes.classes.ignored} only; correct `ignored` in the classes file, or label the pictures"
        )


def _absent_rare(scenes: SceneSource, survey: Survey) -> list[str]:
    absent = [name for name in scenes.classes.rare if not survey.shows[:, scenes.classes.index(name)].any()]
    return [f"rare class {name} is in no scene" for name in absent]


def _name_maps(repetitions: list[int]) -> str:
    if len(repetitions) == 1:
        return f"one label map repeated {repetitions[0]} times"
    shown = [str(count) for count in repetitions[:3]] + ["..."] * (len(repetitions) > 3)
    return f"{len(repetitions)} label maps repeated {', '.join(shown)} times"
