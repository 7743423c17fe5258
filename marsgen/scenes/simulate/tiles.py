"""The atlas of ground tiles: pebbles, cracked plates, ledges, veins and ripples, each with reduced copies."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from marsgen.scenes.simulate.config import BEDROCK, SAND, SOIL

TILE_PX = 512
_TILE_LEVELS = 7
TILES_OF_GROUND = {SOIL: (0, 1, 2), BEDROCK: (3, 4, 5), SAND: (6, 7)}


def _fractal_noise(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Periodic (T, T) noise, standard deviation 1; amplitude falls as frequency**-slope; stretch > 1 = longer in x."""
    rows, columns = np.fft.fftfreq(TILE_PX)[:, None], np.fft.rfftfreq(TILE_PX)[None]
    frequency = np.hypot(rows, columns * stretch)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE_PX, TILE_PX))) * frequency**-slope)
    return noise / noise.std()


@dataclass(frozen=True)
class _Atlas:
    """Periodic ground tiles with their reduced copies, laid end to end so that one look-up serves a whole picture."""

    texels: np.ndarray
    """(sum of texels, 4) float32: reflectance around 1, slope in x, slope in y, height in texels"""
    heights: np.ndarray
    """the last channel once more, packed: shadows read nothing else"""
    starts: np.ndarray
    """(tile, level) first texel of each copy; a copy at level n has side TILE_PX >> n"""


@lru_cache(maxsize=1)
def _atlas() -> _Atlas:
    """The ground tiles. Their seed is fixed: every config looks at other places of the same planet."""
    rng = np.random.default_rng(1976)
    tiles = [_pebble_tile(rng, 500, 7), _pebble_tile(rng, 3500, 9), _pebble_tile(rng, 1500, 17)]
    tiles += [_plate_tile(rng), _ledge_tile(rng), _vein_tile(rng), _ripple_tile(rng, 2.2), _ripple_tile(rng, 0.7)]
    parts: list[np.ndarray] = []
    starts: list[int] = []
    for reflectance, height in tiles:
        level = np.stack([reflectance, *_slopes(height), height], -1).astype(np.float32)
        for _ in range(_TILE_LEVELS):
            starts.append(sum(len(part) for part in parts))
            parts.append(level.reshape(-1, 4))
            half = len(level) // 2
            level = level.reshape(half, 2, half, 2, 4).mean((1, 3))
    texels = np.concatenate(parts)
    starts_of_copies = np.array(starts, np.int32).reshape(len(tiles), _TILE_LEVELS)
    return _Atlas(texels, texels[:, 3].copy(), starts_of_copies)


def _slopes(height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    across = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / 2
    down = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) / 2
    return across, down


def _pebble_tile(rng: np.random.Generator, count: int, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Dusty ground strewn with angular stones; radii in texels fall off as a power law."""
    reflectance = 1 + 0.05 * _fractal_noise(rng, 1.0)
    height = 1.2 * _fractal_noise(rng, 1.6)
    radii = np.minimum(1.3 * rng.random(count) ** -0.55, largest)
    for radius in radii:
        _stamp_stone(rng, radius, reflectance, height)
    return reflectance, height


def _stamp_stone(rng: np.random.Generator, radius: float, reflectance: np.ndarray, height: np.ndarray) -> None:
    """Add one stone, a block with five to eight sloping sides, at a random place."""
    reach = math.ceil(1.4 * radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] / radius
    angles = np.arange(rng.integers(5, 9)) + rng.uniform(-0.4, 0.4)
    angles *= 2 * math.pi / len(angles)
    sides = rng.uniform(0.65, 1.1, len(angles))[:, None, None]
    inside = (sides - np.cos(angles)[:, None, None] * x - np.sin(angles)[:, None, None] * y).min(0)
    top = rng.uniform(0.4, 0.9) * (1 + rng.uniform(-0.4, 0.4) * x + rng.uniform(-0.4, 0.4) * y)
    stone = radius * np.minimum(1.6 * inside, top)
    column, row = rng.integers(TILE_PX, size=2)
    place = np.ix_((row + np.arange(-reach, reach + 1)) % TILE_PX, (column + np.arange(-reach, reach + 1)) % TILE_PX)
    covered = inside > 0
    height[place] = np.where(covered, height[place] + stone, height[place])
    reflectance[place] = np.where(covered, rng.uniform(0.72, 1.12), reflectance[place])


def _plate_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cracked slabs: Voronoi cells, tilted each its own way, some sunk under dark sand."""
    seeds = rng.uniform(0, TILE_PX, (230, 2))
    y, x = np.mgrid[:TILE_PX, :TILE_PX]
    warp_x, warp_y = 5 * _fractal_noise(rng, 1.5), 5 * _fractal_noise(rng, 1.5)
    places = np.stack([x + warp_x, y + warp_y], -1).reshape(-1, 2) % TILE_PX
    distances, cells = cKDTree(seeds, boxsize=TILE_PX).query(places, k=2)
    crack = (distances[:, 1] - distances[:, 0]).reshape(x.shape)
    cell = cells[:, 0].reshape(x.shape)
    offset = (places - seeds[cells[:, 0]] + TILE_PX / 2) % TILE_PX - TILE_PX / 2
    tilt = (offset * rng.normal(0, 0.09, (len(seeds), 2))[cells[:, 0]]).sum(1).reshape(x.shape)
    sunk = (rng.random(len(seeds)) < 0.22)[cell]
    plate = np.clip(crack / 3.5, 0, 1)
    height = np.where(sunk, 0.3 * _fractal_noise(rng, 1.5), plate * (5 + tilt) + 0.55 * _fractal_noise(rng, 1.15))
    shades = rng.normal(1.07, 0.07, len(seeds))[cell] + 0.05 * _fractal_noise(rng, 0.9)
    return np.where(sunk, 0.8 + 0.02 * _fractal_noise(rng, 1), shades * (0.72 + 0.28 * plate)), height


def _ledge_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Layered rock: noise cut into steps, long in x, whose broken edges catch the light."""
    swell = 2.6 * _fractal_noise(rng, 1.45, stretch=2.5) + 0.2 * _fractal_noise(rng, 0.8)
    step = np.floor(swell)
    part = np.clip((swell - step) * 4, 0, 1)
    height = 3.2 * (step + part) + 0.5 * _fractal_noise(rng, 1.1)
    return 1 + 0.06 * np.sin(2.4 * step) + 0.05 * _fractal_noise(rng, 0.9), height


def _vein_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Worn flat rock with branching fractures, some filled with a light mineral, and a few loose stones."""
    vein = np.exp(-((np.minimum(abs(_fractal_noise(rng, 1.5)), abs(_fractal_noise(rng, 1.6))) / 0.05) ** 2))
    filled = 1 / (1 + np.exp(-4 * _fractal_noise(rng, 2)))
    height = 1.3 * _fractal_noise(rng, 1.3) - 2.5 * vein * (1 - filled)
    reflectance = 1.04 + 0.05 * _fractal_noise(rng, 0.9) + vein * (0.32 * filled - 0.22)
    for radius in np.minimum(1.3 * rng.random(350) ** -0.5, 6):
        _stamp_stone(rng, radius, reflectance, height)
    return reflectance, height


def _ripple_tile(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Sand: dunes with wind ripples that fork and fade; whole numbers of waves keep the tile periodic."""
    y, x = np.mgrid[:TILE_PX, :TILE_PX] * (2 * math.pi / TILE_PX)
    phase = 34 * y + 5 * x + 2.6 * _fractal_noise(rng, 1.9)
    fade = np.clip(0.6 + 0.6 * _fractal_noise(rng, 2), 0, 1.3)
    ripple = np.sin(phase + 0.5 * np.sin(phase))  # steeper on the lee side, as wind makes them
    height = strength * fade * ripple + 5 * _fractal_noise(rng, 2.3) + 0.1 * _fractal_noise(rng, 0.6)
    return 1 + 0.03 * fade * ripple + 0.025 * _fractal_noise(rng, 1.2), height


def _copies(tile: np.ndarray, texels_per_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which reduced copy serves each pixel: its first texel (H, W), its side (H, 1) and its scale (H, 1)."""
    level = np.clip(np.floor(np.log2(texels_per_px) + 0.65), 0, _TILE_LEVELS - 1).astype(np.int32)
    start = _atlas().starts[:, level[:, 0]][tile, np.arange(len(tile))[:, None]]
    return start, (TILE_PX >> level).astype(np.int32), np.float32(2.0) ** -level


def look_up(tile: np.ndarray, x: np.ndarray, y: np.ndarray, texels_per_px: np.ndarray) -> np.ndarray:
    """Bilinear values of the ground.

    Args:
        tile: (H, W) number of the tile seen by each pixel.
        x, y: (H, W) place on the tile in texels, any range (tiles repeat).
        texels_per_px: (H, 1) size of a pixel on the ground; picks the copy that has no finer detail than the picture.
    Returns:
        (H, W, 4) float32, the channels of the atlas.
    """
    start, side, scale = _copies(tile, texels_per_px)
    x, y = x * scale, y * scale
    left, top = np.floor(x), np.floor(y)
    part_x, part_y = (x - left)[..., None], (y - top)[..., None]
    left, top = left.astype(np.int32), top.astype(np.int32)
    columns = left & (side - 1), (left + 1) & (side - 1)
    rows = start + (top & (side - 1)) * side, start + ((top + 1) & (side - 1)) * side
    texels = _atlas().texels
    above, above_right = texels[rows[0] + columns[0]], texels[rows[0] + columns[1]]
    below, below_right = texels[rows[1] + columns[0]], texels[rows[1] + columns[1]]
    above += (above_right - above) * part_x
    below += (below_right - below) * part_x
    below -= above
    above += below * part_y
    return above


def height_at(tile: np.ndarray, x: np.ndarray, y: np.ndarray, texels_per_px: np.ndarray) -> np.ndarray:
    """(H, W) float32 height in texels of the nearest texel; arguments as `look_up`. Good enough for shadows."""
    start, side, scale = _copies(tile, texels_per_px)
    columns = np.rint(x * scale).astype(np.int32) & (side - 1)
    rows = np.rint(y * scale).astype(np.int32) & (side - 1)
    return _atlas().heights[start + rows * side + columns]
