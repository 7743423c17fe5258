"""What the scenes of a rover stop share, where the camera of a scene points, and how light becomes a picture."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from marsgen.scenes.simulate.config import GROUNDS, STOP_STREAM, SimulationConfig, check_index, random_stream
from marsgen.scenes.simulate.tiles import TILE_PX, TILES_OF_GROUND

_GROUND_SHARES = (0.48, 0.29, 0.23)

_TINTS = np.array(  # red, green, blue of each id, background (sky and rover) first
    [[1.24, 0.98, 0.70], [1.42, 0.92, 0.55], [1.30, 0.94, 0.70], [1.34, 0.93, 0.60], [1.18, 0.95, 0.84]], np.float32
)


@dataclass(frozen=True)
class Look:
    """What the scenes of one rover stop share."""

    grounds: tuple[int, ...]
    """the three ground ids, the commonest of the stop first"""
    tiles: dict[int, int]
    """ground id -> tile of the atlas"""
    albedo: np.ndarray
    """(5,) reflectance by id, soil about 1"""
    span: float
    """texels across the nearest row: how close the camera looks"""
    turn: float
    """radians between the tile's axes and the camera's"""
    sun: tuple[float, float, float]
    """unit vector to the sun: right, toward the camera, up"""
    relief: float
    exposure: float
    """grey level of flat sunlit soil"""
    haze: float
    sky: float
    """brightness of the sky, sunlit soil = 1"""
    tint: np.ndarray
    """(3,) colour cast of the stop's dust"""


@lru_cache(maxsize=64)
def _draw_look(config: SimulationConfig, stop: int) -> Look:
    rng = random_stream(config, STOP_STREAM, stop)
    azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 1.0)
    flat = math.cos(elevation)
    albedo = np.array([1.0, 1.0, rng.uniform(0.85, 1.25), rng.uniform(0.65, 0.95), rng.uniform(0.65, 1.3)], np.float32)
    return Look(
        grounds=tuple(rng.choice(GROUNDS, 3, replace=False, p=_GROUND_SHARES).tolist()),
        tiles={ground: int(rng.choice(tiles)) for ground, tiles in TILES_OF_GROUND.items()},
        albedo=albedo,
        span=rng.uniform(110, 280),
        turn=rng.uniform(-0.6, 0.6) + math.pi * int(rng.integers(2)),
        sun=(flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)),
        relief=rng.uniform(0.5, 1.1),
        exposure=float(np.clip(rng.normal(69, 17), 30, 105)),
        haze=rng.uniform(0.02, 0.2),
        sky=rng.uniform(1.3, 2.4),
        tint=rng.normal(1, 0.03, 3).astype(np.float32),
    )


def look_of_stop(config: SimulationConfig, index: int) -> Look:
    """The look of the rover stop that scene `index` belongs to."""
    return _draw_look(config, check_index(index) // config.scenes_per_stop)


@dataclass(frozen=True)
class View:
    """Where the camera of one scene points; rows count down from 0 at the top, pixels."""

    shape: tuple[int, int]
    horizon: float
    """row of the horizon; negative = above the picture"""
    near: np.ndarray
    """(H, 1) nearness of each row, 1 at the bottom, falling to 0 at the horizon"""
    x: np.ndarray
    """(H, W) texels along the ground"""
    y: np.ndarray
    """(H, W) texels along the ground"""
    texels_per_px: np.ndarray
    """(H, 1)"""


def choose_view(rng: np.random.Generator, config: SimulationConfig, look: Look) -> View:
    """Draw where the camera of a scene points."""
    height, width = config.height, config.width
    horizon = height * (rng.uniform(0.05, 0.42) if rng.random() < 0.2 else -(0.06 + rng.exponential(0.9)))
    rows = np.arange(height, dtype=np.float32)[:, None]
    near = np.maximum(rows + 1 - horizon, 1) / (height - horizon)
    per_px = look.span / width / near
    across = (np.arange(width, dtype=np.float32) - width / 2) * per_px
    # Stones stand up while a tile lies flat; shortening depth by the root of the nearness only, not by the
    # nearness, keeps far stones from turning into lines.
    depth = -2.3 * look.span / width * (height - horizon) * near**-0.5
    cos, sin = np.float32(math.cos(look.turn)), np.float32(math.sin(look.turn))
    shift_x, shift_y = rng.uniform(0, TILE_PX, 2).astype(np.float32)
    x = across * cos - depth * sin + shift_x
    y = across * sin + depth * cos + shift_y
    return View((height, width), float(horizon), near, x, y, per_px)


def photograph(
    rng: np.random.Generator, view: View, look: Look, light: np.ndarray, truth: np.ndarray, channels: int
) -> np.ndarray:
    """(H, W, channels) uint8: lens blur, vignetting, exposure, noise, and in RGB the colours of the materials."""
    height, width = view.shape
    light = ndimage.gaussian_filter(light, 0.45 * max(1.0, height / 128), truncate=2.5)
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light *= (look.exposure * rng.uniform(0.93, 1.07)) * (1 - rng.uniform(0.03, 0.12) * (x * x + y * y))
    picture = light[..., None]
    if channels == 3:
        picture = picture * (_TINTS * look.tint)[truth]
    noise = rng.standard_normal((*view.shape, channels), np.float32) * np.float32(rng.uniform(0.6, 1.6))
    return np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)
