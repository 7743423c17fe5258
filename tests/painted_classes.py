"""Scenes with regions of a class whose truth is known: discs, cracks, and the profile of what was painted."""

import math

import numpy as np
from listed_scenes import ListedScenes
from skimage.draw import disk, line

from marsgen.masks.profiles.measure_classes import profile_classes
from marsgen.masks.profiles.profile import ClassProfile

SHAPE = (96, 96)
ROCK = 4


def profile(maps: list[np.ndarray], name: str = "big_rock") -> ClassProfile:
    scenes = ListedScenes([np.zeros(m.shape, np.uint8) for m in maps], maps)
    return profile_classes(scenes, range(len(maps)), [name])[name]


def ground(top: int = 1, bottom: int = 1) -> np.ndarray:
    labels = np.full(SHAPE, top, np.uint8)
    labels[48:] = bottom
    return labels


def discs(count: int, radius, row, seed: int = 0, **given) -> list[np.ndarray]:
    """One disc a scene; `radius` and `row` are functions of a random number in 0..1."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        labels, u = ground(**given), rng.random()
        labels[disk((row(u), rng.integers(22, 74)), radius(u), shape=SHAPE)] = ROCK
        maps.append(labels)
    return maps


def cracks(count: int, angles) -> list[np.ndarray]:
    """One line of 3 px width and 60 px length a scene."""
    rng = np.random.default_rng(1)
    maps = []
    for _ in range(count):
        labels, angle = ground(), math.radians(angles(rng))
        down, right = 30 * math.sin(angle), 30 * math.cos(angle)
        centre = rng.integers(40, 56, 2)
        for shift in (-1, 0, 1):
            across = (shift, 0) if abs(right) > abs(down) else (0, shift)
            rows, columns = line(
                round(centre[0] + down) + across[0], round(centre[1] - right) + across[1],
                round(centre[0] - down) + across[0], round(centre[1] + right) + across[1],
            )  # fmt: skip
            labels[rows, columns] = ROCK
        maps.append(labels)
    return maps
