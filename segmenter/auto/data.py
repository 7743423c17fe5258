"""What the data hold, and the part that the race never sees, split off as a folder of its own.

<out>/data/race/    scenes that recipes are raced on, and trained on in the confirmation
<out>/data/test/    scenes of the confirmation: --test, the data's own test part, or a part set aside
<out>/data/all/     both, for the last training; only where the test part was set aside here

Scenes of one group (a rover stop, near copies) keep it: their names begin with its number.
"""

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from marsgen.cleaning.dataset import Dataset, clean_scenes, open_dataset
from marsgen.cleaning.resaved import find_copies, more_than_chance
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.core.storage.files import is_written, sync_file_system, write_text
from marsgen.scenes.classes import CLASSES_FILE, ClassSet
from marsgen.scenes.files.layout import Layout
from marsgen.scenes.readers.folder import image_path, write_pair
from marsgen.scenes.scene import SceneSource

_GROUPS = r"^g(\d+)-"


@dataclass(frozen=True)
class Look:
    """What is known of the data before anything is trained."""

    scenes: int
    rare: int
    """scenes that show the class, of those that may be used"""
    race: int
    race_rare: int
    test: int
    test_rare: int
    test_from: str
    """where the test scenes come from, in words"""
    set_aside: bool
    """whether the test part was split off here: the last training then uses it too"""
    lines: tuple[str, ...]
    """what was seen, in words"""


def prepare(
    scenes: SceneSource,
    test: SceneSource | None,
    class_name: str,
    folder: Path,
    config: DataConfig,
    test_fraction: float,
) -> Look:
    """Look at the data and write the folders of the race and of the confirmation.

    Args:
        scenes: the data; its own split into train and val has no effect.
        test: labelled scenes that were given to test on; None = the data's own test part, else one set aside.
        class_name: the rare class, one of the data's.
        folder: <out>/data; what is there already is kept.
        config: cleaning and split of the data.
        test_fraction: share to set aside.
    Raises:
        DataError: too few scenes show the class.
    """
    own = test is None and scenes.parts is not None and "test" in scenes.parts
    set_aside = test is None and not own
    split = config.model_copy(update={"test_fraction": test_fraction if set_aside else 0.0})
    classes = replace(scenes.classes, rare=(class_name,))
    dataset = clean_scenes(scenes, split)
    shows = dataset.survey.shows[:, classes.index(class_name)]
    race = sorted([*dataset.split.train, *dataset.split.val])
    tested = list(dataset.split.test)
    groups = dataset.groups
    if set_aside:
        race, tested = _keep_copies_together(dataset, race, tested)
    _copy(scenes, race, folder / "race", classes, groups)
    if test is None:
        test_rare = int(shows[tested].sum())
        _copy(scenes, tested, folder / "test", classes, groups)
    else:
        test_rare = _count(test, class_name)
        tested = list(range(len(test)))
        _copy(test, tested, folder / "test", replace(test.classes, rare=(class_name,)), _named_groups(test))
    if set_aside:
        _join([folder / "race", folder / "test"], folder / "all")
    race_rare = int(shows[race].sum())
    if race_rare < 6 or test_rare < 2:
        raise DataError(
            f"{scenes.location}: {race_rare} scenes to train on and {test_rare} to test on show {class_name}; a race "
            "needs 6 and 2 of them, so label more"
        )
    origin = "--test" if test is not None else "the data's test part" if own else "set aside before the race"
    return Look(
        scenes=len(scenes),
        rare=race_rare + (test_rare if test is None else 0),
        race=len(race),
        race_rare=race_rare,
        test=len(tested),
        test_rare=test_rare,
        test_from=origin,
        set_aside=set_aside,
        lines=tuple(_describe(dataset, class_name)),
    )


def _keep_copies_together(dataset: Dataset, race: list[int], tested: list[int]) -> tuple[list[int], list[int]]:
    """Move to the race what shows the same as one of its pictures and was not grouped with it, such as a crop of it.

    Scoring a run refuses such test scenes (`marsgen.provenance.refuse_seen_copies`).
    """
    scenes, groups = dataset.scenes, dataset.groups
    while True:
        known = [dataset.survey.fingerprints[index].tobytes() for index in race]
        copies = find_copies(known, scenes, tested)
        if not more_than_chance(len(copies), len(tested)):
            return race, tested
        again = {groups[copy.asked] for copy in copies}
        race = sorted([*race, *(index for index in tested if groups[index] in again)])
        tested = [index for index in tested if groups[index] not in again]
        if not tested:
            raise DataError(
                f"{scenes.location}: every scene that could be set aside agrees with one of the race as a copy does, "
                "as scenes of one fixed view do; give scenes of another time or place with --test"
            )


def smallest_gain(test_rare: int, seeds: int) -> float:
    """The smallest gain in IoU that is likely to be detected, a share; before anything is trained, so roughly.

    In the studies under docs/results, 1.1 (5 seeds), 1.6 (3) divided by the root of the test scenes with the class was
    detected with 80 % power. With 2 seeds the interval is three times as wide as with 3.
    """
    return (1.1 if seeds >= 5 else 1.6 if seeds >= 3 else 4.8) / float(np.sqrt(test_rare))


def count_rare_training(folder: Path, config: DataConfig) -> int:
    """Scenes that show a rare class in the training part of a folder that `prepare` wrote."""
    dataset = open_dataset(str(folder), config)
    return len(dataset.train_scenes_with(dataset.scenes.classes.rare))


def _describe(dataset: Dataset, class_name: str) -> Iterable[str]:
    """Size, number and place of the class, in lines."""
    scenes = dataset.scenes
    k, survey = scenes.classes.index(class_name), dataset.survey
    size = "sizes differ" if scenes.shape is None else f"{scenes.shape[0]} x {scenes.shape[1]} pixels"
    yield f"{scenes.location}: {len(scenes)} scenes, {size}"
    showing = np.flatnonzero(survey.shows[:, k])
    labelled = survey.pixels[:, :-1].sum(1)
    share = survey.pixels[showing, k] / np.maximum(labelled[showing], 1)
    heights = []
    for scene in showing[:200]:
        shown = (scenes.read(int(scene))[1] == scenes.classes.ids[k]).any(1)
        heights.append((np.flatnonzero(shown).mean() + 0.5) / len(shown))
    third = ["upper", "middle", "lower"][min(2, int(3 * float(np.median(heights))))]
    where = f"mostly in the {third} third" if np.std(heights) < 0.2 else "at all heights"
    yield (
        f"{class_name}: in {len(showing)} scenes; of such a scene it covers {100 * np.median(share):.1f} % (median), "
        f"{where} of the picture"
    )


def _count(scenes: SceneSource, class_name: str) -> int:
    number = scenes.classes.ids[scenes.classes.index(class_name)]
    return sum(bool((scenes.read(index)[1] == number).any()) for index in range(len(scenes)))


def _named_groups(scenes: SceneSource) -> tuple[int, ...]:
    if scenes.groups is None:
        return tuple(range(len(scenes)))
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in scenes.groups)


def _copy(
    scenes: SceneSource, indices: Iterable[int], folder: Path, classes: ClassSet, groups: tuple[int, ...]
) -> None:
    """Write scenes as PNG pairs; classes.yaml comes last and says that all are there."""
    if is_written(folder / CLASSES_FILE):
        return

    def write(index: int) -> None:
        name = f"g{groups[index]:05d}-{scenes.names[index]}"
        if not image_path(folder, name, scenes.channels).exists():
            write_pair(folder, name, *scenes.read(index), classes)

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(write, indices):
            pass
    sync_file_system(folder)
    content = {**classes.to_dict(), **Layout(groups=_GROUPS).to_dict()}
    write_text(folder / CLASSES_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _join(folders: Iterable[Path], into: Path) -> None:
    """One folder with the files of several."""
    if is_written(into / CLASSES_FILE):
        return
    for folder in folders:
        for path in [*(folder / "labels").iterdir(), *(folder / "images").iterdir()]:
            _link(path, into)
        text = (folder / CLASSES_FILE).read_text(encoding="utf-8")
    write_text(into / CLASSES_FILE, text)


def link_some(folder: Path, into: Path, number: int) -> int:
    """A folder with so many of the scenes of a folder that `prepare` wrote, spread over all of them.

    Returns:
        how many: all, where there are not that many.
    """
    labels = sorted((folder / "labels").iterdir())
    chosen = {labels[k].stem for k in np.linspace(0, len(labels) - 1, min(number, len(labels))).round().astype(int)}
    for path in [*labels, *sorted((folder / "images").iterdir())]:
        if path.stem in chosen:
            _link(path, into)
    write_text(into / CLASSES_FILE, (folder / CLASSES_FILE).read_text(encoding="utf-8"))
    return len(chosen)


def _link(path: Path, into: Path) -> None:
    """The file in the folder of the same name: a hard link, or a copy where the file system has none."""
    place = into / path.parent.name / path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        try:
            os.link(path, place)
        except OSError:
            shutil.copyfile(path, place)
