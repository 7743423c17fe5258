"""Settings of `marsgen synthesize`; configs/synthesize.yaml has the same shape."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from marsgen.core.config import BatchSize, Config, DataConfig, Seed
from marsgen.core.errors import DataError
from marsgen.generators import DrawConfig
from marsgen.masks.config import PasteConfig
from marsgen.quality.config import SelectConfig
from marsgen.scenes.classes import ClassSet

CHUNK = 16
"""samples that go through the network together; part of what a sample is, so not a setting"""
BATCH_SIZE = "batch_size"
"""the one setting that changes no byte of the result, hence not part of what identifies a run"""


class SynthesizeConfig(Config):
    """How synthetic scenes are made; configs/synthesize.yaml has the same shape."""

    listed_by = "`marsgen settings synthesize`"

    n: int = Field(1000, ge=1, le=10_000_000)
    """image/label pairs to make"""
    classes: tuple[str, ...] = ()
    """classes whose regions are pasted; empty = the rare classes of the data"""
    mode: Literal["region", "scene", "variation"] = "region"
    """region: the generator draws the pasted regions, real pixels stay elsewhere; scene: it draws the whole picture;
    variation: nothing is pasted, real scenes that show the classes are redrawn under their own label maps"""
    zoom: tuple[float, float] = (1.0, 1.0)
    """mode variation: smallest and largest factor by which a window with the class in it is enlarged to the scene's
    size before it is redrawn; 1 = the whole scene"""
    format: Literal["png", "shards"] = "png"
    """png: two files per pair; shards: large .npy files, from which sets of millions are read several times faster"""
    seed: Seed = 0
    """seed of plans and noise"""
    batch_size: BatchSize = 64
    """samples held in memory at once, rounded up to a multiple of 16; the result is the same whatever it is"""
    context_px: int = Field(16, ge=4)
    """region mode: surroundings that the generator sees on each side of a pasted region"""
    soft_edge_px: float = Field(3.0, ge=0)
    """region mode: width of the border in which drawn pixels fade into real ones"""
    draw: DrawConfig = DrawConfig()
    paste: PasteConfig = PasteConfig()
    select: SelectConfig = SelectConfig()
    data: DataConfig | None = None
    """cleaning and split of the data; null = as the generator was trained"""

    @model_validator(mode="after")
    def _check_zoom(self) -> SynthesizeConfig:
        if not 1 <= self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom {list(self.zoom)}: expected 1 <= smallest <= largest")
        if self.zoom != (1, 1) and self.mode != "variation":
            raise ValueError(f"zoom is set, but mode is {self.mode}; only mode variation enlarges scenes")
        return self


def class_names(config: SynthesizeConfig, classes: ClassSet) -> tuple[str, ...]:
    """The classes to paste as the data spell them: those of the config, else the rare ones of the data.

    Raises:
        DataError: a name is no class, or the config names none and the data have no rare class.
    """
    names = config.classes or classes.rare
    if not names:
        raise DataError(f"no class to paste: give --class; the classes are {', '.join(classes.names)}")
    return tuple(dict.fromkeys(classes.spell(name) for name in names))


def refuse_unknown_classes(config: SynthesizeConfig, classes: ClassSet) -> None:
    """Raise DataError for a name of the config that is no class; see `class_names`."""
    class_names(config, classes)
    for name in (*(config.paste.ground_classes or ()), *(config.paste.avoid_classes or ())):
        classes.index(name)
