"""Generators: label map -> picture. Their protocol, the table of all of them, and how a trained one is opened.

A new generator is one file with a class that has the members of `Generator`, and a line in `GENERATORS`. If it is
trained, it has a folder with that file and another one with `train` and `build_networks`, a config in config.py, and
lines in `TRAININGS` and `TRAINING_CONFIGS`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ConfigDict, Field

from marsgen.core.config import Config, load_config, make_config
from marsgen.core.errors import ConfigError, DataError, RunError, nearest
from marsgen.core.storage.reading import read_json, shorten
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.limits import name_channels

if TYPE_CHECKING:
    import numpy as np

    from marsgen.scenes.scene import SceneSource

__all__ = [
    "DEFAULT_SAMPLING",
    "GENERATORS",
    "RECORD",
    "DrawConfig",
    "DrawRequest",
    "Generator",
    "find_generator",
    "find_networks",
    "find_training",
    "kind_of",
    "load_generator",
    "load_training_config",
    "make_training_config",
    "refuse_other_channels",
    "refuse_other_drawing",
    "refuse_other_teacher",
    "refuse_unfit",
]

RECORD = "generator.json"
"""File of a training run that names the generator: what `load_generator` looks for."""


class DrawConfig(Config):
    """How a trained generator draws; the `draw` block of configs/synthesize.yaml. null = the generator's default."""

    strength: float | None = Field(None, ge=0, le=1)
    """0 = the pasted pixels stay as they are; 1 = the generator draws them from noise"""
    guidance: float | None = Field(None, ge=0, le=20)
    """diffusion: weight of the label map (classifier-free guidance); 1 = no guidance, and twice as fast"""
    sampling_steps: int | None = Field(None, ge=1, le=1000)
    """diffusion: steps from pure noise to a picture; a smaller strength takes proportionally fewer"""


DEFAULT_SAMPLING = DrawConfig()
"""the generator's own settings"""


@dataclass(frozen=True, eq=False)
class DrawRequest:
    """A batch of B equal-sized windows to draw; windows are h x w pixels, each side at least 32."""

    composites: "np.ndarray"
    """(B, h, w, channels) uint8: real pixels with the pasted region blended in"""
    indices: "np.ndarray"
    """(B, h, w) uint8 class indices of the edited label map, 255 = ignored"""
    inpainting_mask: "np.ndarray"
    """(B, h, w) float32 in [0, 1]: 1 = the generator draws this pixel and does not see the composite there, 0 = real
    pixel that stays. All ones = draw the whole picture from the label map."""
    seeds: "np.ndarray"
    """(B,) uint64: the noise of sample b comes from seeds[b] alone"""

    def __post_init__(self) -> None:
        batch = self.indices.shape
        assert self.composites.shape[:3] == batch, f"composites {self.composites.shape} do not match indices {batch}"
        assert self.inpainting_mask.shape == batch, (
            f"inpainting mask {self.inpainting_mask.shape} do not match indices {batch}"
        )
        assert self.seeds.shape == batch[:1], f"{self.seeds.shape} seeds for {batch[0]} windows"


class Generator(Protocol):
    """What synthesis needs of a generator. `draw` is a pure function of the request: no state, no clock."""

    @property
    def name(self) -> str:
        """Its name in `GENERATORS`."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights or the kind of generator."""

    @property
    def channels(self) -> int:
        """1 = grey, 3 = RGB."""

    @property
    def classes(self) -> ClassSet:
        """The classes of the label maps that it takes."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Scene keys of every picture that it was trained on; empty when it is not trained."""

    @property
    def drawing(self) -> dict[str, Any]:
        """The settings that it draws with, defaults filled in: keys of `DrawConfig`."""

    def draw(self, request: DrawRequest) -> "np.ndarray":
        """(B, h, w, channels) uint8: drawn where the inpainting mask is 1, composite where it is 0, mixed between."""


# written as text, so that naming the generators on a command line does not import torch
GENERATORS = {
    "copy-paste": "marsgen.generators.copy_paste:CopyPaste",
    "pix2pix": "marsgen.generators.pix2pix.pix2pix:Pix2Pix",
    "diffusion": "marsgen.generators.diffusion.diffusion:Diffusion",
}

TRAINING_CONFIGS = {
    "pix2pix": "marsgen.generators.config:TrainPix2PixConfig",
    "diffusion": "marsgen.generators.config:TrainDiffusionConfig",
    "distilled": "marsgen.generators.config:TrainDistilledConfig",
}
TRAININGS = {
    "pix2pix": "marsgen.generators.pix2pix.train:train",
    "diffusion": "marsgen.generators.diffusion.train:train",
    "distilled": "marsgen.generators.diffusion.train:train",
}


class _Kind(Config):
    """The one key of a training config that says which model reads the others."""

    model_config = ConfigDict(extra="ignore")
    kind: str = "pix2pix"


def load_training_config(path: Path | None, overrides: Sequence[str]) -> Any:
    """The config of a training, of the kind that it names itself.

    Raises:
        ConfigError: see `load_config`; or no such kind.
    """
    return load_config(_training_model(load_config(_Kind, path, overrides).kind), path, overrides)


def make_training_config(base: Config | str | Path | None, settings: Mapping[str, Any]) -> Any:
    """`load_training_config` for settings that are Python values; see `make_config`."""
    given = {"kind": base.model_dump()["kind"], **settings} if isinstance(base, Config) else settings
    file = None if isinstance(base, Config) else base
    model = _training_model(make_config(_Kind, file, given).kind)  # type: ignore[arg-type]
    return make_config(model, base, settings)  # type: ignore[arg-type]


def _training_model(kind: str) -> type[Config]:
    if kind not in TRAININGS:
        raise ConfigError(f"kind is '{kind}'{nearest(kind, TRAININGS)}; there are {', '.join(TRAININGS)}")
    return _find(TRAINING_CONFIGS[kind])


def refuse_unfit(kind: str, *, teacher: bool, unlabelled: bool) -> None:
    """Raise ConfigError where a teacher is missing or without use, or pictures without labels are.

    Args:
        teacher, unlabelled: whether they are given.
    """
    if (kind == "distilled") != teacher:
        raise ConfigError("--kind distilled and --teacher, the generator that it learns from, belong together")
    if unlabelled and kind != "diffusion":
        raise ConfigError(f"--unlabelled: {kind} needs labelled pictures; use --kind diffusion")


def find_training(kind: str) -> Callable[..., dict[str, Any]]:
    """The function that trains a generator of a kind: (config, run, dataset) -> summary."""
    return _find(TRAININGS[kind])


def find_networks(kind: str) -> Callable[..., Sequence[Any]]:
    """The function that builds what is trained: (config, number of classes, channels) -> networks.

    Beside them, the running mean of the first is kept, and it alone is left of them in the end.
    """
    return _find(f"{TRAININGS[kind].partition(':')[0]}:build_networks")


def _find(place: str) -> Any:
    """The object that "module:name" stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def refuse_other_channels(unlabelled: Sequence["SceneSource"], scenes: "SceneSource") -> None:
    """Raise DataError where pictures without labels are RGB beside grey data, or the reverse."""
    for source in unlabelled:
        if source.channels != scenes.channels:
            there, here = (name_channels(s.channels) for s in (source, scenes))
            raise DataError(
                f"--unlabelled {source.location}: {there} pictures beside {here} data; convert them, or leave them out"
            )


def find_generator(name: str) -> type:
    """The class of a generator by its name in `GENERATORS`.

    Raises:
        RunError: no such generator; the message lists those there are.
    """
    if name not in GENERATORS:
        raise RunError(f"no generator '{name}'{nearest(name, GENERATORS)}; there are {', '.join(GENERATORS)}")
    return _find(GENERATORS[name])


def load_generator(
    where: str, classes: ClassSet | None = None, channels: int | None = None, draw: DrawConfig = DEFAULT_SAMPLING
) -> Generator:
    """Open a generator: "copy-paste", or the folder of a finished `marsgen train-generator` run.

    Args:
        classes, channels: of the data to draw for. copy-paste needs both; for a trained generator, None = those it
            was trained on. Classes may come in another order and with other ids.
        draw: sampling settings.
    Raises:
        RunError: no run there, an unfinished one, one of another command, a generator that this version does not know,
            or one that was trained on classes of other names or other channels, or that does not support `draw`.
    """
    if where == "copy-paste":
        return find_generator(where)(classes, channels, draw)
    from marsgen.core.runs import Run

    folder = Path(where)
    run = Run.load(folder)
    if not (folder / RECORD).is_file() and run.command != "marsgen train-generator":
        raise RunError(f"{folder} was made by `{run.command}`; expected a run of `marsgen train-generator`")
    generator: Generator = find_generator(kind_of(folder)).load(folder, draw)  # type: ignore[attr-defined]
    return _fit(generator, folder, classes, channels)


def kind_of(folder: Path) -> str:
    """Which generator a run has trained, as its generator.json says it.

    Raises:
        RunError: the file is missing or damaged.
    """
    remedy = "repeat `marsgen train-generator` into another --out"
    kind = read_json(folder / RECORD, fault=RunError, remedy=remedy).get("generator")
    if not isinstance(kind, str):
        raise RunError(f"{folder / RECORD}: no text under 'generator'; {remedy}")
    return kind


def refuse_other_drawing(kind: str, draw: DrawConfig) -> None:
    """Raise RunError for settings of drawing that a kind of generator does not know."""
    given = [key for key, value in draw if value is not None]
    if kind == "copy-paste" and given:
        raise RunError(f"copy-paste draws nothing: draw.{given[0]} is for trained generators; leave it out")
    if kind == "pix2pix" and (unknown := [key for key in given if key != "strength"]):
        raise RunError(f"pix2pix draws in one pass: draw.{unknown[0]} is for a diffusion generator; leave it out")


def refuse_other_teacher(where: str, kind: str) -> None:
    """Raise ConfigError where the generator of --teacher is of a kind that cannot be distilled."""
    if kind != "diffusion":
        raise ConfigError(f"--teacher {where}: a {kind} generator; only a diffusion generator can be distilled")


def read_maker(record: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """Keys of the scenes that a generator was trained on, and its number format, from its generator.json.

    Raises:
        ValueError: they are not of those types.
    """
    trained_on, precision = record.get("trained_on"), record.get("precision")
    if not isinstance(trained_on, list) or not all(isinstance(key, str) for key in trained_on):
        raise ValueError("'trained_on' is no list of scene keys")
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"'precision' is {shorten(repr(precision), 60)}")
    return tuple(trained_on), precision


class ReorderedGenerator:
    """A generator that takes the indices of the same classes in another order."""

    def __init__(self, generator: Generator, classes: ClassSet, order: list[int]) -> None:
        self._generator, self.classes = generator, classes
        self.name, self.fingerprint, self.channels = generator.name, generator.fingerprint, generator.channels
        self.trained_on, self.drawing = generator.trained_on, generator.drawing
        import numpy as np

        self._table = np.full(256, IGNORED_INDEX, np.uint8)
        self._table[: len(order)] = order

    def draw(self, request: DrawRequest) -> "np.ndarray":
        """See `Generator.draw`."""
        return self._generator.draw(replace(request, indices=self._table[request.indices]))


def _fit(generator: Generator, folder: Path, classes: ClassSet | None, channels: int | None) -> Generator:
    if channels is not None and generator.channels != channels:
        kinds = {1: "grey (1 channel)", 3: "RGB (3 channels)"}
        draws, given = (kinds.get(count, f"{count}-band") for count in (generator.channels, channels))
        raise RunError(f"{folder} draws {draws} images; the data are {given}; train a generator on these data")
    if classes is None or generator.classes.names == classes.names:
        return generator
    order = generator.classes.order_of(classes)
    if order is None:
        raise RunError(
            f"{folder} was trained on the classes {', '.join(generator.classes.names)}; the data have "
            f"{', '.join(classes.names)}; train a generator on these data"
        )
    return ReorderedGenerator(generator, classes, order)
