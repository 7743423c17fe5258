"""Settings of the simulator, ids of its classes, and its streams of random numbers."""

from dataclasses import dataclass

import numpy as np

from marsgen.scenes.limits import MIN_SIDE_PX

MARS_IDS = {"background": 0, "soil": 1, "bedrock": 2, "sand": 3, "big_rock": 4}
"""Name -> id in label maps. Background is "no label": sky, hills, rover, and whatever nobody marked."""

BACKGROUND, SOIL, BEDROCK, SAND, BIG_ROCK = MARS_IDS.values()
GROUNDS = (SOIL, BEDROCK, SAND)
# One stream of random numbers per purpose: whether a scene is an outlier must not depend on how it is drawn.
KIND_STREAM, STOP_STREAM, SCENE_STREAM, LABEL_STREAM = range(4)


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate; equal configs give equal scenes.

    Raises:
        ValueError: a value outside its range.
    """

    height: int = 64
    """pixels, at least 32"""
    width: int = 128
    """pixels, at least 32"""
    channels: int = 1
    """1 = grey, 3 = RGB"""
    seed: int = 0
    """at least 0"""
    rock_scene_fraction: float = 0.028
    """fraction (0..1) of the scenes that are no outliers with at least one pixel labelled big rock"""
    outlier_fraction: float = 0.04
    """fraction (0..1) of scenes with a foreign picture on the ground and the fixed label map of outliers"""
    label_noise: float = 1.0
    """0 = perfect labels .. 1 = as careless as a crowd"""
    scenes_per_stop: int = 4
    """at least 1; scenes of one rover stop are consecutive"""

    def __post_init__(self) -> None:
        for name, least in (("height", MIN_SIDE_PX), ("width", MIN_SIDE_PX), ("seed", 0), ("scenes_per_stop", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected an integer of at least {least}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; expected 1 (grey) or 3 (RGB)")
        for name in ("rock_scene_fraction", "outlier_fraction", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share in 0..1")


def check_index(index: int) -> int:
    """The number of a scene as an int. Raises ValueError: below 0."""
    if index < 0:
        raise ValueError(f"scene index is {index}; expected 0 or more")
    return int(index)


def random_stream(config: SimulationConfig, stream: int, number: int) -> np.random.Generator:
    """The random numbers of one purpose (such as SCENE_STREAM) for one scene or stop."""
    return np.random.default_rng((config.seed, stream, check_index(number)))
