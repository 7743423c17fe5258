"""marsgen from Python: `import marsgen as mg`. The command line calls these functions too.

Each takes the settings of its command as keywords (`steps=3000`), as a mapping of dotted keys
(`settings={"draw.strength": 0.6}`), or as a config or yaml file (`config=`). Mistakes are raised as
`marsgen.core.errors.InputError`. A call that is repeated with the same arguments resumes where it was interrupted. What
the command line prints is logged by the logger "marsgen".
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Data, Dataset, clean_scenes, dataset_of, scenes_of, split_of
from marsgen.core.config import Config, DataConfig, make_config
from marsgen.core.errors import ConfigError, nearest
from marsgen.core.process_group import join_process_group
from marsgen.core.runs import Run, latest_run
from marsgen.core.storage.places import refuse_no_room
from marsgen.core.tracking import refuse_no_tracker
from marsgen.engines.task import Engine
from marsgen.generators import find_training, make_training_config, refuse_other_channels, refuse_unfit
from marsgen.quality.places import refuse_no_judge
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.readers.arrays import ArrayScenes, class_set
from marsgen.scenes.readers.folder import pair_bytes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_loaded, open_scenes, open_source, open_test_set
from marsgen.synthesis.config import BATCH_SIZE, SynthesizeConfig
from marsgen.synthesis.inputs import find_work, open_inputs

__all__ = [
    "from_arrays",
    "from_coco",
    "from_folder",
    "from_huggingface",
    "from_labelme",
    "synthesize",
    "train_generator",
]

OUTPUTS = Path("outputs")

_log = logging.getLogger(__name__)


def from_arrays(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    names: Sequence[str],
    rare: Sequence[str] = (),
    *,
    ids: Sequence[int] | None = None,
    scene_names: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    **split: Any,
) -> Dataset:
    """A data set of arrays: checked, cleaned and split.

    Args:
        images: N arrays (H, W), (H, W, 1) or (H, W, 3) uint8, or one array of them; sizes may differ.
        labels: N arrays (H, W) uint8 of ids; 255 = no label.
        names: of the classes, in the order of their ids.
        rare: names of the classes that are rare.
        ids: value of each class in the label maps; default 0, 1, 2, ...
        scene_names: unique name of each scene.
        groups: scenes of one group stay in one part of the split.
        parts: "train", "val" or "test" for each scene, where that is fixed.
        split: settings of `DataConfig`, such as val_fraction=0.2 or folds=5.
    Raises:
        ConfigError, DataError: an unknown setting; arrays that do not fit; nothing left to train on.
    """
    config = make_config(DataConfig, None, split)
    classes = class_set(names, rare, ids)
    return clean_scenes(ArrayScenes(images, labels, classes, names=scene_names, groups=groups, parts=parts), config)


def from_folder(where: str | Path, *, classes: str | Path | None = None, **split: Any) -> Dataset:
    """A data set of files, as `--data` takes it: checked, cleaned and split.

    Args:
        where: an .npz, a folder, a Parquet file, or sim:N; see `open_scenes`.
        classes: yaml of class names, ids and colours; default: the data's own, else Mars.
        split: settings of `DataConfig`, such as val_fraction=0.2 or folds=5.
    Raises:
        ConfigError, DataError: an unknown setting; data that cannot be used.
    """
    config = make_config(DataConfig, None, split)
    return clean_scenes(open_scenes(str(where), classes=None if classes is None else Path(classes)), config)


def from_coco(where: str | Path, *, classes: str | Path | None = None, **more: Any) -> Dataset:
    """A data set of COCO json files beside their pictures, as `marsgen import --format coco` reads it.

    Args:
        where: the folder, or a json file in it.
        classes: yaml of class names, ids and colours; default: the categories of the data.
        more: settings of `marsgen import` (rename={"pit": "hole"}, overlap="last") and of `DataConfig`
            (val_fraction=0.2).
    Raises:
        ConfigError, DataError: an unknown setting; data that cannot be used.
    """
    return _from_format("coco", where, classes, more)


def from_labelme(where: str | Path, *, classes: str | Path | None = None, **more: Any) -> Dataset:
    """A data set of LabelMe json files beside their pictures; the arguments are those of `from_coco`."""
    return _from_format("labelme", where, classes, more)


def from_huggingface(
    dataset: Any,
    names: Sequence[str] = (),
    rare: Sequence[str] = (),
    *,
    ids: Sequence[int] | None = None,
    classes: str | Path | None = None,
    **more: Any,
) -> Dataset:
    """A data set of the library `datasets`: a column of pictures and one of label maps.

    Args:
        dataset: what `load_dataset` gave (a Dataset, or a DatasetDict, whose splits are kept), or the folder that
            `save_to_disk` wrote.
        names, rare, ids: the classes, as in `from_arrays`; or
        classes: yaml of class names, ids and colours.
        more: as in `from_coco`; image_column and label_column where there are several.
    Raises:
        ConfigError, DataError: an unknown setting; no classes; data that cannot be used.
    """
    if bool(names) == (classes is not None):
        raise ConfigError("from_huggingface needs the classes: give names=[...], or classes='classes.yaml'")
    known = class_set(names, rare, ids) if classes is None else read_classes(Path(classes))
    if isinstance(dataset, (str, Path)):
        return _from_format("huggingface", dataset, known, more)
    reading, split = _sort_settings(more)
    return clean_scenes(open_loaded(dataset, reading, known), split)


def _from_format(key: str, where: str | Path, classes: str | Path | ClassSet | None, more: dict[str, Any]) -> Dataset:
    reading, split = _sort_settings({**more, "format": key})
    known = classes if classes is None or isinstance(classes, ClassSet) else read_classes(Path(classes))
    return clean_scenes(open_source(str(where), reading, known), split)


def _sort_settings(given: dict[str, Any]) -> tuple[ReadingConfig, DataConfig]:
    """Settings of reading and of the split, which have no name in common."""
    known = [*ReadingConfig.model_fields, *DataConfig.model_fields]
    if strange := next((key for key in given if key not in known), None):
        raise ConfigError(f"unknown setting '{strange}'{nearest(strange, known)}; there are {', '.join(known)}")
    reading = {key: value for key, value in given.items() if key in ReadingConfig.model_fields}
    split = {key: value for key, value in given.items() if key not in reading}
    return make_config(ReadingConfig, None, reading), make_config(DataConfig, None, split)


def train_generator(
    data: Data,
    *,
    kind: str | None = None,
    teacher: Run | str | Path | None = None,
    unlabelled: Sequence[SceneSource | str | Path] = (),
    out: str | Path | None = None,
    config: Config | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Train a generator (`marsgen train-generator`) on the train part of the data.

    Args:
        data: from `from_arrays` or `from_folder`; or scenes, or their place.
        kind: pix2pix (the default), diffusion or distilled.
        teacher: for distilled: the diffusion generator whose drawings it learns to make in one or two steps.
        unlabelled: pictures without labels to train on too (diffusion). An .npz has its own test_set.
        out: folder of the run; default outputs/generator.
        config, settings, more: settings of the command, see the head of this file.
    Returns:
        the finished run: pass it on to `synthesize`.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    given = {**(settings or {}), **more, **({"kind": kind} if kind else {})}
    training: Any = make_training_config(config, given)
    refuse_no_tracker(training.track)
    refuse_unfit(training.kind, teacher=teacher is not None, unlabelled=bool(unlabelled))

    # everything that is given is opened before the data are surveyed
    scenes = scenes_of(data)
    split = training.data
    inputs: dict[str, Any] = {"data": scenes.identity()}
    more_to_see: dict[str, Any] = {}
    if teacher is not None:
        # here: torch takes seconds to import
        from marsgen.generators.diffusion.distil import open_teacher

        place = place_of(teacher)
        more_to_see["teacher"] = open_teacher(place, training, scenes)
        inputs["teacher"] = {"location": place, "fingerprint": more_to_see["teacher"].distilled.teacher}
        if split is None and not isinstance(data, Dataset):
            split = Run.load(Path(place)).stored_config("data", DataConfig)
    training = training.model_copy(update={"data": split_of(data, split)})
    if training.kind == "diffusion":
        more_to_see["unlabelled"] = opened = open_unlabelled(unlabelled, scenes)
        inputs["unlabelled"] = [{"location": s.location, "fingerprint": s.fingerprint()} for s in opened]
    dataset = dataset_of(data, scenes, training.data)

    # here: torch takes seconds to import
    from marsgen.generators.room import room_of

    folder, alike = Path(out or OUTPUTS / "generator"), ("track",)
    teachers = {key: value for key, value in more_to_see.items() if key == "teacher"}
    room = room_of(training, scenes, **teachers).most
    refuse_no_room(folder, room, "weights, checkpoints and image grids", "make the generator smaller")
    process_group = join_process_group()
    writes = process_group.is_main_process
    with process_group.main_process_first():
        run = Run.start(folder, "marsgen train-generator", training, inputs, without_effect=alike, writes=writes)
    with closing(run):
        run.track(training.track)
        dataset.log(_log)
        if not run.finished:
            find_training(training.kind)(training, run, dataset, **more_to_see)
        process_group.wait_for_everyone()
    return run


def open_unlabelled(given: Sequence[SceneSource | str | Path], scenes: SceneSource) -> list[SceneSource]:
    """The pictures without labels that come with the data, and those that are given.

    Raises:
        DataError: they cannot be opened, or have other channels than `scenes`.
    """
    classes, own = scenes.classes, open_test_set(scenes.location, scenes.classes)
    opened = [
        source if isinstance(source, SceneSource) else open_scenes(str(source), classes=classes, labelled=False)
        for source in given
    ]
    pictures = [*([own] if own else []), *opened]
    refuse_other_channels(pictures, scenes)
    return pictures


def synthesize(
    data: Data | None = None,
    generator: Run | str | Path | None = None,
    *,
    classes: Sequence[str] = (),
    n: int | None = None,
    focus: Run | str | Path | None = None,
    maps: SceneSource | str | Path | None = None,
    out: str | Path | None = None,
    config: SynthesizeConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    **more: Any,
) -> SceneSource:
    """Paste regions of a class into real scenes and draw the pictures of the new label maps (`marsgen synthesize`).

    Args:
        data: the real scenes; default: what the generator was trained on.
        generator: from `train_generator`, or its folder, or "copy-paste"; default: the run that finished last.
        classes: the classes to paste; default: the rare ones of the data.
        n: pairs to make; default 1000; with maps, one of each. More than there are maps: with other noise.
        focus: run of `segmenter train`: paste where its loss is high.
        maps: label maps to draw as they are, instead of pasting, see marsgen/synthesis/maps.py.
        out: folder of the set; default outputs/synth.
        config, settings, more: settings of the command, see the head of this file.
        engine: makes the pairs in parts; from marsgen.engines. Data in memory cannot be sent to it.
    Returns:
        the synthetic scenes, read one at a time: `image, labels = scenes[0]`.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    given = {**(settings or {}), **more, **({"n": n} if n is not None else {})}
    given |= {"classes": tuple(classes)} if classes else {}
    given |= {"paste.placement": "focus"} if focus else {}
    config = make_config(SynthesizeConfig, config, given)

    # everything that is named is looked for before the data are surveyed
    place = place_of(generator or latest_run(OUTPUTS, "marsgen train-generator"))
    focus = None if focus is None else place_of(focus)
    config, sources, opened = find_work(config, place, data, maps, focus)
    folder = Path(out or OUTPUTS / "synth")
    each = pair_bytes(sources.scenes if opened is None else opened, unpacked=config.format == "shards")
    refuse_no_room(folder, config.n * each, f"{config.n:,} pairs", "make fewer with --n")
    for judge in filter(None, (focus, config.select.judge)):
        refuse_no_judge(Path(judge))
    dataset = dataset_of(sources.data, sources.scenes, sources.split)
    inputs = open_inputs(config, dataset, sources.generator, focus, opened)
    if inputs.judge is not None and inputs.judge.saw_synthetic:
        _log.warning("%s was trained on synthetic scenes too; it prefers samples like them", config.select.judge)

    # here: torch takes seconds to import
    from marsgen.synthesis.compare_regions import describe_comparison, read_comparison
    from marsgen.synthesis.parts import make_parts
    from marsgen.synthesis.synthesize import prepare_maker
    from marsgen.synthesis.synthesize import synthesize as fill

    process_group = join_process_group()
    if inputs.maps is not None:
        inputs.maps.refuse_empty()
    maker = None if (folder / "DONE").exists() else prepare_maker(inputs, process_group)
    record = {"data": dataset.scenes.identity(), **inputs.record()}
    writes = process_group.is_main_process
    with process_group.main_process_first():
        run = Run.start(folder, "marsgen synthesize", config, record, without_effect=(BATCH_SIZE,), writes=writes)
    with closing(run):
        where = sources.generator if sources.trained else dataset.scenes.location
        _log.info("%s: %s" if sources.trained else "%s of %s", inputs.generator.name, where)
        dataset.log(_log)
        inputs.log(_log)
        if maker is not None and not run.finished:
            make = None
            if engine is not None:
                make = partial(make_parts, folder=folder, generator=sources.generator, config=config, engine=engine)
            fill(run, maker, process_group, make)
        process_group.wait_for_everyone()
        for name, found in read_comparison(folder).items():
            _log.info(describe_comparison(name, found))
    return open_scenes(str(folder))


def place_of(run: Run | str | Path) -> str:
    """The folder of a run that is given itself or by its folder."""
    return str(run.folder if isinstance(run, Run) else run)
