"""What covers the ground: sky and hills, parts of the rover, and the foreign picture of an outlier."""

import math
from functools import lru_cache

import numpy as np
from scipy import ndimage

from marsgen.scenes.simulate.camera import Look, View
from marsgen.scenes.simulate.config import BACKGROUND, BEDROCK, BIG_ROCK, SAND, SOIL
from marsgen.scenes.simulate.noise import noise_field, noise_line


def add_sky(rng: np.random.Generator, view: View, look: Look, light: np.ndarray, truth: np.ndarray) -> None:
    """Haze the far ground; above the horizon draw hills and sky, all of it background."""
    height, width = view.shape
    light += (0.75 * look.sky - light) * (look.haze * np.clip(0.25 / view.near - 0.6, 0, 4)).clip(0, 0.8)
    if view.horizon < 0:
        return
    rows = np.arange(height, dtype=np.float32)[:, None]
    skyline = view.horizon + 0.012 * height * noise_line(rng, width, 9)
    sky = look.sky * (1 + 0.12 * rows / height + 0.03 * noise_field(rng, view.shape, (3, 3)))
    far = np.clip(skyline - rows + 0.5, 0, 1)
    scene = sky
    for depth in range(int(rng.integers(0, 3))):
        rise = np.abs(noise_line(rng, width, 5) + 0.15 * noise_line(rng, width, 17) + 0.5)
        ridge = skyline - height * (0.09 - 0.045 * depth) * rise
        hill = look.sky * (0.62 - 0.1 * depth) * (1 + 0.05 * noise_field(rng, view.shape, (9, 25)))
        scene = scene + (hill - scene) * np.clip(rows - ridge + 0.5, 0, 1)
    light[:] = far * scene + (1 - far) * light
    truth[far > 0.5] = BACKGROUND


def add_rover(rng: np.random.Generator, light: np.ndarray, truth: np.ndarray) -> None:
    """A part of the rover or its shadow at the rim of the picture: background. Big rocks are left in sight."""
    height, width = light.shape
    middle = np.array([rng.uniform(0.0, 1.0) * width, rng.uniform(0.75, 1.0) * height])
    is_shadow = rng.random() < 0.3
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    covered = np.zeros(light.shape, bool)
    drawn = light.copy()
    for _ in range(int(rng.integers(2, 6))):
        angle = rng.uniform(0, math.pi)
        offset = rng.normal(0, 0.16 * height, 2)
        x, y = columns - middle[0] - offset[0], rows - middle[1] - offset[1]
        along = (x * math.cos(angle) + y * math.sin(angle)) / (height * rng.uniform(0.2, 0.6))
        across = (y * math.cos(angle) - x * math.sin(angle)) / (height * rng.uniform(0.05, 0.3))
        round_end = along**2 + across**2 if rng.random() < 0.35 else np.maximum(abs(along), abs(across))
        part = round_end < 1
        metal = rng.choice([0.15, 0.35, 0.6, 1.3], p=[0.35, 0.35, 0.2, 0.1])
        rim = np.where(round_end > 0.88, 0.6, 1.0)
        drawn[part] = ((metal * (1 + 0.35 * across) * rim)[part]) if not is_shadow else 0.36 * light[part]
        covered |= part
    if (truth == BIG_ROCK).any():
        covered &= ndimage.minimum_filter(truth != BIG_ROCK, 3)
    light[covered] = drawn[covered]
    truth[covered] = BACKGROUND


def paste_foreign_picture(rng: np.random.Generator, light: np.ndarray) -> None:
    """A disc with a smiling face or a chequered pattern, turned and moved at random."""
    height, width = light.shape
    radius = rng.uniform(0.24, 0.42) * min(height, width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    y, x = (rows - rng.uniform(0.3, 0.7) * height) / radius, (columns - rng.uniform(0.2, 0.8) * width) / radius
    angle = rng.uniform(0, 2 * math.pi)
    x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    distance = np.hypot(x, y)
    if rng.random() < 0.5:
        picture = 0.5 + 1.4 * ((np.floor(4 * x) + np.floor(4 * y)) % 2)
    else:
        eyes = np.hypot(abs(x) - 0.35, (y + 0.25) * 0.7) < 0.16
        mouth = (abs(np.hypot(x, y - 0.05) - 0.55) < 0.08) & (y > 0.2)
        picture = np.where(eyes | mouth | (distance > 0.93), 0.25, 1.9 - 0.5 * distance**2)
    light[distance < 1] = picture[distance < 1]


@lru_cache(maxsize=8)
def outlier_labels(height: int, width: int) -> np.ndarray:
    """The one label map of all outliers: jagged stars of three grounds, whatever the picture shows."""
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows + 0.5) / height, (columns + 0.5) / width
    labels = np.zeros((height, width), np.uint8)
    for ground, column, points in ((SOIL, 0.2, 7), (BEDROCK, 0.5, 9), (SAND, 0.8, 11)):
        turn = np.arctan2((y - 0.5) / 0.45, (x - column) / 0.16) / (2 * math.pi) * points
        outline = 0.45 + 1.1 * abs(turn % 1 - 0.5)
        labels[np.hypot((y - 0.5) / 0.45, (x - column) / 0.16) < outline] = ground
    labels.setflags(write=False)
    return labels
