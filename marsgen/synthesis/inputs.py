"""What a synthetic set is made from, opened and checked before anything is written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsgen.cleaning.dataset import Data, Dataset, dataset_of, scenes_of, split_of
from marsgen.core.config import DataConfig, build_config
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.generators import Generator, load_generator
from marsgen.quality.judges import Judge
from marsgen.quality.select import open_fitting_judge
from marsgen.scenes.readers.shards import refuse_mixed_sizes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes
from marsgen.synthesis.config import BATCH_SIZE, SynthesizeConfig, class_names, refuse_unknown_classes
from marsgen.synthesis.maps import LabelMaps, open_maps
from marsgen.synthesis.names import COPY_PASTE, data_of, refuse_beside_maps, refuse_no_source, refuse_same_scenes

if TYPE_CHECKING:
    from marsgen.masks.regions import RegionLibrary


@dataclass(frozen=True, eq=False)
class Sources:
    """The generator's place, the real scenes, and how they are split."""

    generator: str
    """folder of a `marsgen train-generator` run, or copy-paste"""
    data: Data
    """the real scenes, split already or not"""
    scenes: SceneSource
    """the same, opened"""
    split: DataConfig

    @property
    def trained(self) -> bool:
        """Whether the generator is a trained one."""
        return self.generator != COPY_PASTE


@dataclass(frozen=True, eq=False)
class SynthesisInputs:
    """Everything that a set is made from."""

    config: SynthesizeConfig
    dataset: Dataset
    generator: Generator
    library: "RegionLibrary | None"
    """None where nothing is pasted: in mode variation, or with `maps`"""
    focus: Judge | None
    """segmenter whose loss says where to paste"""
    judge: Judge | None
    """segmenter that says which candidates are kept"""
    focus_location: str | None = None
    maps: LabelMaps | None = None
    """what is drawn as it is, instead of pasting"""

    def record(self) -> dict[str, Any]:
        """What identifies them, for the record of the run."""
        record: dict[str, Any] = {"generator": {"name": self.generator.name, "fingerprint": self.generator.fingerprint}}
        if self.focus is not None:
            record["focus"] = {"location": self.focus_location, "fingerprint": self.focus.fingerprint}
        if self.judge is not None:
            record["judge"] = {"fingerprint": self.judge.fingerprint}
        if self.maps is not None:
            record["maps"] = self.maps.identity()
        return record

    def log(self, log: logging.Logger) -> None:
        """Log how each class is pasted, and as warnings the classes that are not, and what is unknown of maps."""
        for caution in () if self.maps is None else self.maps.cautions():
            log.warning(caution)
        if self.library is not None:
            for why in self.library.unfit.values():
                log.warning("not pasted: %s", why)
            for line in self.library.notes:
                log.info(line)


def find_sources(config: SynthesizeConfig, generator: str, data: Data | None) -> Sources:
    """Find the generator, and open the real scenes; without `data`, those that the generator was trained on.

    Raises:
        RunError: no such generator run, or copy-paste without data.
        ConfigError, DataError: see `scenes_of` and `split_of`.
    """
    refuse_no_source(generator, data is not None)
    if generator == COPY_PASTE and data is not None:
        return Sources(generator, data, scenes_of(data), split_of(data, config.data))
    trained = Run.load(Path(generator), "marsgen train-generator")
    if data is None:
        location, classes = data_of(trained)
        data = open_scenes(location, classes=classes)
    if isinstance(data, Dataset):
        split = split_of(data, config.data)
    else:
        split = config.data or trained.stored_config("data", DataConfig)
    return Sources(generator, data, scenes_of(data), split)


def find_work(
    config: SynthesizeConfig,
    generator: str,
    data: Data | None,
    maps: SceneSource | str | Path | None,
    focus: str | None,
) -> tuple[SynthesizeConfig, Sources, SceneSource | None]:
    """Find what a set is to be made from, before the data are surveyed.

    Returns:
        the config with the split of the data, and with one pair of each map where it names no number; the sources; the
        opened maps.
    Raises:
        InputError: see `find_sources`, `refuse_beside_maps`, `open_maps` and `refuse_unknown_classes`.
    """
    if maps is not None:
        refuse_beside_maps(config, generator, focus)
    sources = find_sources(config, generator, data)
    config = config.model_copy(update={"data": sources.split})
    if maps is None:
        refuse_unknown_classes(config, sources.scenes.classes)
        return config, sources, None
    opened = open_maps(maps, sources.scenes)
    if "n" not in config.model_fields_set:
        config = config.model_copy(update={"n": len(opened)})
    return config, sources, opened


def open_inputs(
    config: SynthesizeConfig,
    dataset: Dataset,
    generator: str,
    focus: str | None,
    maps: SceneSource | None = None,
) -> SynthesisInputs:
    """Open the generator and the segmenters, and cut out the regions.

    Args:
        generator: see `load_generator`.
        focus: folder of the `segmenter train` run of --focus.
        maps: from `open_maps`.
    Raises:
        InputError: something is missing, does not fit the data, or has seen scenes outside the train part.
    """
    # here: they import scipy, and a generator or data that are not there are to be refused before
    from marsgen.masks.library import open_library
    from marsgen.masks.plan import edit_sample
    from marsgen.synthesis.focus import open_focus

    scenes = dataset.scenes
    opened = load_generator(generator, scenes.classes, scenes.channels, config.draw)
    if config.format == "shards":
        refuse_mixed_sizes(scenes if maps is None else maps)
    judge = open_fitting_judge(config.select, dataset)
    if maps is not None:
        drawn = LabelMaps(maps, dataset, whole=config.mode == "scene")
        return SynthesisInputs(config, dataset, opened, None, None, judge, maps=drawn)
    names = class_names(config, scenes.classes)
    library = None
    if config.mode == "variation":
        refuse_no_variation(config, dataset, names, opened)
    else:
        library = open_library(dataset, names, config.paste)
        # a paste that cannot succeed is refused now, before anything is written
        edit_sample(0, config.seed, scenes, library, dataset.split.train)
    focused_on = open_focus(focus, config.paste, dataset)
    return SynthesisInputs(config, dataset, opened, library, focused_on, judge, focus)


def reopen_inputs(folder: Path, generator: str, batch_size: int) -> SynthesisInputs:
    """What the set in `folder` is made from, as its record says.

    Raises:
        InputError: see `find_sources` and `open_inputs`; or not what the set was begun with.
    """
    run = Run.load(folder, "marsgen synthesize", finished=False)
    config = build_config(SynthesizeConfig, run.config | {BATCH_SIZE: batch_size}, f"{folder / 'config.yaml'}: config")
    location, classes = data_of(run)
    scenes = open_scenes(location, classes=classes)
    sources = find_sources(config, generator, scenes)
    dataset = dataset_of(sources.data, sources.scenes, sources.split)
    focus = run.stored("inputs.focus.location", str) if "focus" in run.inputs else None
    maps = open_maps(run.stored("inputs.maps.location", str), dataset.scenes) if "maps" in run.inputs else None
    config = config.model_copy(update={"data": sources.split})
    inputs = open_inputs(config, dataset, sources.generator, focus, maps)
    record = {"data": dataset.scenes.identity(), **inputs.record()}
    for name, there in run.inputs.items():
        if there["fingerprint"] != record[name]["fingerprint"]:
            raise RunError(f"{folder}: its {name} changed while it was made; delete it and repeat the command")
    return inputs


def refuse_no_variation(config: SynthesizeConfig, dataset: Dataset, names: Sequence[str], generator: Generator) -> None:
    """Raise before anything is written where mode variation would give the real scenes back, or has none to vary.

    Raises:
        ConfigError: a generator or strength that changes nothing, or settings of pasting.
        DataError: no training scene shows one of the classes.
    """
    refuse_same_scenes(config, generator.name, generator.drawing.get("strength"))
    if not dataset.train_scenes_with(names):
        raise DataError(f"{dataset.scenes.location}: no training scene shows {' or '.join(names)}; nothing to vary")
