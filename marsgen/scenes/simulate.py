"""A procedural Mars: endless navcam-like scenes with crowd-like label maps, for a machine without any data.

A scene is ground seen in perspective, textured from an atlas of relief tiles (pebbles, cracked plates, ledges,
ripples) that is computed once per process, lit by the sun of its rover stop. On it lie big rocks, solids cut by
random planes. Sky, hills, rover parts and a camera's faults come on top. Scene `index` depends on (config, index)
alone, so any process can draw any part of the set in any order and gets the same bytes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from marsgen.scenes.scene import MIN_SIDE_PX

MARS_IDS = {"background": 0, "soil": 1, "bedrock": 2, "sand": 3, "big_rock": 4}
"""Name -> id in label maps. Background is "no label": sky, hills, rover, and whatever nobody marked."""

_BACKGROUND, _SOIL, _BEDROCK, _SAND, _BIG_ROCK = MARS_IDS.values()
_GROUNDS = (_SOIL, _BEDROCK, _SAND)
_GROUND_SHARES = (0.48, 0.29, 0.23)

# One stream of random numbers per purpose: whether a scene is an outlier must not depend on how it is drawn.
_KIND_STREAM, _STOP_STREAM, _SCENE_STREAM, _LABEL_STREAM = range(4)

_TILE_PX = 512
_TILE_LEVELS = 7
_TILES_OF_GROUND = {_SOIL: (0, 1, 2), _BEDROCK: (3, 4, 5), _SAND: (6, 7)}

_TINTS = np.array(  # red, green, blue of each id, background (sky and rover) first
    [[1.24, 0.98, 0.70], [1.42, 0.92, 0.55], [1.30, 0.94, 0.70], [1.34, 0.93, 0.60], [1.18, 0.95, 0.84]], np.float32
)


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate; equal configs give equal scenes.

    Raises:
        ValueError: a value outside the range given beside it.
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
    """share (0..1) of the scenes that are no outliers with at least one pixel labelled big rock"""
    outlier_fraction: float = 0.04
    """share (0..1) of scenes with a foreign picture on the ground and the nonsense label map"""
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


def simulate_scene(index: int, config: SimulationConfig) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        index: number of the scene, any integer from 0 on; the set has no end.
        config: what to draw.
    Returns:
        image: (H, W, channels) uint8 grey values, or red, green, blue.
        labels: (H, W) uint8 ids of MARS_IDS, 0..4.
    Raises:
        ValueError: index below 0.
    """
    rng = _generator(config, _SCENE_STREAM, index)
    look = _stop_look(config, index)
    view = _view(rng, config, look)
    outlier = is_outlier(index, config)
    scores = _patch_scores(rng, view, look)
    truth = _ground_truth(rng, view, scores)
    light = _ground_light(rng, view, look, truth)
    _add_sky(rng, view, look, light, truth)
    _drop_rocks(rng, view, look, light, truth, count=rng.poisson(1.2), sizes=(0.012, 0.03))
    rocks = []
    if not outlier and _is_rock_scene(index, config):
        count = 1 + min(rng.poisson(0.9), 4)
        rocks = _drop_rocks(rng, view, look, light, truth, count=count, sizes=(0.032, 0.235), rock_id=_BIG_ROCK)
    if rng.random() < 0.13:
        _add_rover(rng, light, truth)
    if outlier:
        _paste_foreign_picture(rng, light)
    image = _photograph(rng, view, look, light, truth, config.channels)
    if outlier:
        return image, _nonsense_labels(config.height, config.width).copy()
    if config.label_noise == 0:
        return image, truth
    crowd = _generator(config, _LABEL_STREAM, index)
    return image, _crowd_labels(crowd, view, scores, truth, rocks, config.label_noise)


def simulate_stop(index: int, config: SimulationConfig) -> str:
    """Name of the rover stop of a scene: scenes of one stop share terrain, light direction and exposure.

    Args:
        index: number of the scene, 0 or more.
        config: gives the number of scenes per stop.
    Returns:
        such as "stop-00012"; equal names = same stop.
    Raises:
        ValueError: index below 0.
    """
    return f"stop-{_checked(index) // config.scenes_per_stop:05d}"


def is_outlier(index: int, config: SimulationConfig) -> bool:
    """Whether a scene shows a foreign picture and carries the nonsense label map. Raises ValueError: index below 0."""
    return bool(_generator(config, _KIND_STREAM, index).random() < config.outlier_fraction)


def _is_rock_scene(index: int, config: SimulationConfig) -> bool:
    """A second draw of the same stream, so that neither share depends on the other."""
    return bool(_generator(config, _KIND_STREAM, index).random(2)[1] < config.rock_scene_fraction)


def _checked(index: int) -> int:
    if index < 0:
        raise ValueError(f"scene index is {index}; expected 0 or more")
    return int(index)


def _generator(config: SimulationConfig, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng((config.seed, stream, _checked(number)))


# ---------------------------------------------------------------------------------------------- noise


@lru_cache(maxsize=128)
def _interpolation(length: int, cells: int, smooth: bool) -> np.ndarray:
    """(length, cells) float32 weights that blow up `cells` values to `length`: in straight lines, or smoothly."""
    at = np.linspace(0, cells - 1, length)
    low = np.minimum(at.astype(int), cells - 2)
    part = at - low
    if smooth:
        part = part * part * (3 - 2 * part)
    weights = np.zeros((length, cells), np.float32)
    weights[np.arange(length), low] = 1 - part
    weights[np.arange(length), low + 1] = part
    return weights


def _field(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """(H, W) float32 noise of standard deviation about 0.6, with bumps as many as `cells`."""
    knots = rng.standard_normal(cells, np.float32)
    return _interpolation(shape[0], cells[0], smooth) @ knots @ _interpolation(shape[1], cells[1], smooth).T


def _line(rng: np.random.Generator, length: int, cells: int) -> np.ndarray:
    """(length,) float32 noise like `_field`."""
    return _interpolation(length, cells, True) @ rng.standard_normal(cells, np.float32)


def _fractal(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Periodic (T, T) noise, standard deviation 1; amplitude falls as frequency**-slope; stretch > 1 = longer in x."""
    rows, columns = np.fft.fftfreq(_TILE_PX)[:, None], np.fft.rfftfreq(_TILE_PX)[None]
    frequency = np.hypot(rows, columns * stretch)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((_TILE_PX, _TILE_PX))) * frequency**-slope)
    return noise / noise.std()


# ---------------------------------------------------------------------------------------------- atlas of ground tiles


@dataclass(frozen=True)
class _Atlas:
    """Periodic ground tiles with their reduced copies, laid end to end so that one look-up serves a whole picture."""

    texels: np.ndarray
    """(sum of texels, 4) float32: reflectance around 1, slope in x, slope in y, height in texels"""
    heights: np.ndarray
    """the last channel once more, packed: shadows read nothing else"""
    starts: np.ndarray
    """(tile, level) first texel of each copy; a copy at level n has side _TILE_PX >> n"""


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
    reflectance = 1 + 0.05 * _fractal(rng, 1.0)
    height = 1.2 * _fractal(rng, 1.6)
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
    column, row = rng.integers(_TILE_PX, size=2)
    place = np.ix_((row + np.arange(-reach, reach + 1)) % _TILE_PX, (column + np.arange(-reach, reach + 1)) % _TILE_PX)
    covered = inside > 0
    height[place] = np.where(covered, height[place] + stone, height[place])
    reflectance[place] = np.where(covered, rng.uniform(0.72, 1.12), reflectance[place])


def _plate_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cracked slabs: Voronoi cells, tilted each its own way, some sunk under dark sand."""
    seeds = rng.uniform(0, _TILE_PX, (230, 2))
    y, x = np.mgrid[:_TILE_PX, :_TILE_PX]
    warp_x, warp_y = 5 * _fractal(rng, 1.5), 5 * _fractal(rng, 1.5)
    places = np.stack([x + warp_x, y + warp_y], -1).reshape(-1, 2) % _TILE_PX
    distances, cells = cKDTree(seeds, boxsize=_TILE_PX).query(places, k=2)
    crack = (distances[:, 1] - distances[:, 0]).reshape(x.shape)
    cell = cells[:, 0].reshape(x.shape)
    offset = (places - seeds[cells[:, 0]] + _TILE_PX / 2) % _TILE_PX - _TILE_PX / 2
    tilt = (offset * rng.normal(0, 0.09, (len(seeds), 2))[cells[:, 0]]).sum(1).reshape(x.shape)
    sunk = (rng.random(len(seeds)) < 0.22)[cell]
    plate = np.clip(crack / 3.5, 0, 1)
    height = np.where(sunk, 0.3 * _fractal(rng, 1.5), plate * (5 + tilt) + 0.55 * _fractal(rng, 1.15))
    shades = rng.normal(1.07, 0.07, len(seeds))[cell] + 0.05 * _fractal(rng, 0.9)
    return np.where(sunk, 0.8 + 0.02 * _fractal(rng, 1), shades * (0.72 + 0.28 * plate)), height


def _ledge_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Layered rock: noise cut into steps, long in x, whose broken edges catch the light."""
    swell = 2.6 * _fractal(rng, 1.45, stretch=2.5) + 0.2 * _fractal(rng, 0.8)
    step = np.floor(swell)
    part = np.clip((swell - step) * 4, 0, 1)
    height = 3.2 * (step + part) + 0.5 * _fractal(rng, 1.1)
    return 1 + 0.06 * np.sin(2.4 * step) + 0.05 * _fractal(rng, 0.9), height


def _vein_tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Worn flat rock with branching fractures, some filled with a light mineral, and a few loose stones."""
    vein = np.exp(-((np.minimum(abs(_fractal(rng, 1.5)), abs(_fractal(rng, 1.6))) / 0.05) ** 2))
    filled = 1 / (1 + np.exp(-4 * _fractal(rng, 2)))
    height = 1.3 * _fractal(rng, 1.3) - 2.5 * vein * (1 - filled)
    reflectance = 1.04 + 0.05 * _fractal(rng, 0.9) + vein * (0.32 * filled - 0.22)
    for radius in np.minimum(1.3 * rng.random(350) ** -0.5, 6):
        _stamp_stone(rng, radius, reflectance, height)
    return reflectance, height


def _ripple_tile(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Sand: dunes with wind ripples that fork and fade; whole numbers of waves keep the tile periodic."""
    y, x = np.mgrid[:_TILE_PX, :_TILE_PX] * (2 * math.pi / _TILE_PX)
    phase = 34 * y + 5 * x + 2.6 * _fractal(rng, 1.9)
    fade = np.clip(0.6 + 0.6 * _fractal(rng, 2), 0, 1.3)
    ripple = np.sin(phase + 0.5 * np.sin(phase))  # steeper on the lee side, as wind makes them
    height = strength * fade * ripple + 5 * _fractal(rng, 2.3) + 0.1 * _fractal(rng, 0.6)
    return 1 + 0.03 * fade * ripple + 0.025 * _fractal(rng, 1.2), height


def _copies(tile: np.ndarray, texels_per_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which reduced copy serves each pixel: its first texel (H, W), its side (H, 1) and its scale (H, 1)."""
    level = np.clip(np.floor(np.log2(texels_per_px) + 0.65), 0, _TILE_LEVELS - 1).astype(np.int32)
    start = _atlas().starts[:, level[:, 0]][tile, np.arange(len(tile))[:, None]]
    return start, (_TILE_PX >> level).astype(np.int32), np.float32(2.0) ** -level


def _look_up(tile: np.ndarray, x: np.ndarray, y: np.ndarray, texels_per_px: np.ndarray) -> np.ndarray:
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


def _height_at(tile: np.ndarray, x: np.ndarray, y: np.ndarray, texels_per_px: np.ndarray) -> np.ndarray:
    """(H, W) float32 height in texels of the nearest texel; arguments as `_look_up`. Good enough for shadows."""
    start, side, scale = _copies(tile, texels_per_px)
    columns = np.rint(x * scale).astype(np.int32) & (side - 1)
    rows = np.rint(y * scale).astype(np.int32) & (side - 1)
    return _atlas().heights[start + rows * side + columns]


# ---------------------------------------------------------------------------------------------- stop and camera


@dataclass(frozen=True)
class _Look:
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
def _look(config: SimulationConfig, stop: int) -> _Look:
    rng = _generator(config, _STOP_STREAM, stop)
    azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 1.0)
    flat = math.cos(elevation)
    albedo = np.array([1.0, 1.0, rng.uniform(0.85, 1.25), rng.uniform(0.65, 0.95), rng.uniform(0.65, 1.3)], np.float32)
    return _Look(
        grounds=tuple(rng.choice(_GROUNDS, 3, replace=False, p=_GROUND_SHARES).tolist()),
        tiles={ground: int(rng.choice(tiles)) for ground, tiles in _TILES_OF_GROUND.items()},
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


def _stop_look(config: SimulationConfig, index: int) -> _Look:
    return _look(config, _checked(index) // config.scenes_per_stop)


@dataclass(frozen=True)
class _View:
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


def _view(rng: np.random.Generator, config: SimulationConfig, look: _Look) -> _View:
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
    shift_x, shift_y = rng.uniform(0, _TILE_PX, 2).astype(np.float32)
    x = across * cos - depth * sin + shift_x
    y = across * sin + depth * cos + shift_y
    return _View((height, width), float(horizon), near, x, y, per_px)


# ---------------------------------------------------------------------------------------------- ground


def _patch_scores(rng: np.random.Generator, view: _View, look: _Look) -> dict[int, np.ndarray]:
    """Ground id -> (H, W) score; the ground with the highest score is what lies there. One to three grounds."""
    count = rng.choice([1, 2, 3], p=[0.62, 0.29, 0.09])
    first = look.grounds[rng.choice(3, p=[0.7, 0.2, 0.1])]
    others = [ground for ground in look.grounds if ground != first]
    scores = {first: np.full(view.shape, 0.35, np.float32)}
    for ground in others[: count - 1]:
        cells = (int(rng.integers(3, 6)), int(rng.integers(2, 6)))
        scores[ground] = _field(rng, view.shape, cells, smooth=False) + np.float32(rng.uniform(0, 0.6))
    return scores


def _winner(scores: dict[int, np.ndarray]) -> np.ndarray:
    ids = np.array(list(scores), np.uint8)
    return ids[np.argmax(list(scores.values()), 0)]


def _ground_truth(rng: np.random.Generator, view: _View, scores: dict[int, np.ndarray]) -> np.ndarray:
    """(H, W) uint8 ground ids: the patches of `scores` with ragged edges."""
    if len(scores) == 1:
        return np.full(view.shape, next(iter(scores)), np.uint8)
    rough = 0.22 * _field(rng, view.shape, (14, 14)) + 0.09 * _field(rng, view.shape, (31, 31))
    return _winner(
        {ground: score + sign * rough for (ground, score), sign in zip(scores.items(), (1, -1, 0), strict=False)}
    )


def _ground_light(rng: np.random.Generator, view: _View, look: _Look, truth: np.ndarray) -> np.ndarray:
    """(H, W) float32 light that the ground sends to the camera; flat sunlit soil = 1."""
    tile_of_id = np.zeros(len(MARS_IDS), np.int64)
    tile_of_id[list(look.tiles)] = list(look.tiles.values())
    tile = tile_of_id[truth]
    texels = _look_up(tile, view.x, view.y, view.texels_per_px)
    right, toward, up = look.sun
    cos, sin = math.cos(look.turn), math.sin(look.turn)
    sun_x, sun_y = right * cos - toward * sin, right * sin + toward * cos
    facing = -look.relief * (texels[..., 1] * sun_x + texels[..., 2] * sun_y) / up
    # A point is in shadow where the ground a few texels toward the sun rises above the sun's ray.
    reach = 3.0 * np.maximum(view.texels_per_px / 2, 1)
    higher = _height_at(tile, view.x + reach * sun_x, view.y + reach * sun_y, view.texels_per_px)
    shade = np.clip(((higher - texels[..., 3]) * look.relief - reach * up) / (0.6 * reach), 0, 1)
    shade = ndimage.uniform_filter(shade, 3)  # the nearest texel alone would leave dark specks
    light = texels[..., 0] * (0.35 + 0.65 * (1 + 0.85 * np.tanh(1.2 * facing)) * (1 - 0.85 * shade))
    swell = 1 + 0.07 * _field(rng, view.shape, (3, 4)) + 0.035 * _field(rng, view.shape, (9, 7))
    albedo = look.albedo[truth]
    if (truth == _SAND).any() and (truth == _SOIL).any():  # sand thins out over soil; bedrock ends at an edge
        albedo = np.where(truth == _BEDROCK, albedo, ndimage.uniform_filter(albedo, 2 * round(view.shape[0] / 32) + 1))
    light *= albedo * swell
    return light * (1 - _step_shadow(view, look, truth))


def _step_shadow(view: _View, look: _Look, truth: np.ndarray) -> np.ndarray:
    """(H, W) darkening where lower ground borders on bedrock that stands between it and the sun."""
    rock = (truth == _BEDROCK).astype(np.float32)
    away = (round(-1.6 * look.sun[1] * view.shape[0] / 64), round(-1.6 * look.sun[0] * view.shape[0] / 64))
    if not 0 < rock.mean() < 1:
        return np.zeros_like(rock)
    shadow = ndimage.uniform_filter(np.roll(rock, away, (0, 1)), 3) * (1 - rock)
    return 0.4 * shadow * (view.near > 0.2)


# ---------------------------------------------------------------------------------------------- rocks


def _drop_rocks(
    rng: np.random.Generator,
    view: _View,
    look: _Look,
    light: np.ndarray,
    truth: np.ndarray,
    count: int,
    sizes: tuple[float, float],
    rock_id: int | None = None,
) -> list[np.ndarray]:
    """Draw rocks with their shadows into `light`, far ones first; with a `rock_id`, also into `truth`.

    Args:
        count: how many.
        sizes: smallest and largest radius on the bottom row, as a share of the picture's width.
    Returns:
        an (H, W) bool mask for each rock, as far as it lies in the picture.
    """
    height, width = view.shape
    first_row = max(view.horizon + 0.12 * (height - view.horizon), 0.04 * height)
    masks = []
    for row in np.sort(rng.uniform(first_row, height - 1, count)):
        size = math.exp(rng.uniform(math.log(sizes[0]), math.log(sizes[1])))
        radius = size * width * float(view.near[int(row), 0]) ** 0.6
        radius = max(radius, 0.02 * max(height, width)) if rock_id else max(radius, 0.8)
        lump, shading, foot = _rock(rng, radius, look)
        centre = int(row), int(rng.integers(width))
        _cast_shadow(light, truth, lump, centre, radius, foot, look)
        onto, part = _overlap(view.shape, lump.shape, centre)
        mask = np.zeros(view.shape, bool)
        mask[onto] = lump[part]
        light[onto] = np.where(lump[part], shading[part], light[onto])
        masks.append(mask)
        if rock_id:
            truth[mask] = rock_id
    return masks


def _overlap(shape: tuple[int, int], window: tuple[int, int], centre: tuple[int, int]) -> tuple[tuple, tuple]:
    """Slices of a picture and of a window laid on it with its middle at `centre`, for the part inside the picture."""
    onto, part = [], []
    for length, size, middle in zip(shape, window, centre, strict=True):
        start = middle - size // 2
        low, high = max(start, 0), max(min(start + size, length), 0)
        onto.append(slice(low, high))
        part.append(slice(low - start, high - start))
    return tuple(onto), tuple(part)


def _rock(rng: np.random.Generator, radius: float, look: _Look) -> tuple[np.ndarray, np.ndarray, float]:
    """A lump of stone seen from the front: a ball cut by random planes, worn by noise, its foot in the ground.

    Args:
        radius: pixels.
    Returns:
        mask: (S, S) bool, where the rock is.
        shading: (S, S) float32, its light, sunlit soil = 1.
        foot: pixels from the middle of the window down to where the rock meets the ground.
    """
    reach = math.ceil(1.5 * radius)
    grid = np.arange(-reach, reach + 1, dtype=np.float32) / radius
    x, y = grid[None] / rng.uniform(0.9, 1.35), grid[:, None] / rng.uniform(0.65, 0.95)
    planes = rng.normal(size=(int(rng.integers(14, 22)), 3)).astype(np.float32)
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    depth, normal, back = _cut_solid(planes, rng.uniform(0.62, 0.95, len(planes)).astype(np.float32), x, y)
    shape = depth.shape
    cells = max(3, min(int(radius / 1.3), 24))
    wear = 0.07 * _field(rng, shape, (5, 5)) + 0.03 * _field(rng, shape, (cells, cells))
    foot = (
        rng.uniform(0.3, 0.75) - 0.4 * x * x + 0.08 * _line(rng, shape[1], 7)[None]
    )  # the near side reaches farthest down
    mask = (depth - back > 0.12 + wear) & (y < foot)
    mask[reach, reach] = True  # however the noise falls, there is a rock
    fine = min(2 * cells, len(grid))
    for knots, strength in ((4, 0.18), (cells, 0.18), (fine, 0.2)):
        normal[..., 0] += strength * _field(rng, shape, (knots, knots))
        normal[..., 1] += strength * _field(rng, shape, (knots, knots))
    right, toward, up = look.sun
    sun = np.array([right, 0.45 * toward - 0.89 * up, 0.89 * toward + 0.45 * up], np.float32)
    facing = np.clip(normal @ sun, 0, None) / np.linalg.norm(normal, axis=-1)
    grain = 1 + 0.07 * _field(rng, shape, (7, 7)) + 0.1 * _field(rng, shape, (fine, fine))
    grain += 0.05 * rng.standard_normal(shape, np.float32)
    foot_dark = np.clip((foot - y) / 0.2, 0.55, 1)
    shading = look.albedo[_BIG_ROCK] * (0.33 + 0.67 * np.minimum(facing / up, 1.7)) * grain * foot_dark
    return mask, shading.astype(np.float32), float(np.flatnonzero(mask.any(1))[-1] - reach)


def _cut_solid(
    planes: np.ndarray, distances: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Front depth (S, S), front normal (S, S, 3), back depth (S, S) of the solid between the planes and a ball."""
    ball = np.sqrt(np.clip(1 - x * x - y * y, 0, None))
    outside = x * x + y * y > 1
    depth, back = np.where(outside, -9, ball), np.where(outside, 9, -ball)
    normal = np.stack(np.broadcast_arrays(x, y, ball), -1).astype(np.float32)
    for (plane_x, plane_y, plane_z), distance in zip(planes, distances, strict=True):
        cut = (distance - plane_x * x - plane_y * y) / plane_z
        if plane_z < 0:
            np.maximum(back, cut, out=back)
            continue
        nearer = cut < depth
        depth = np.where(nearer, cut, depth)
        normal[nearer] = plane_x, plane_y, plane_z
    return depth, normal, back


def _cast_shadow(
    light: np.ndarray,
    truth: np.ndarray,
    lump: np.ndarray,
    centre: tuple[int, int],
    radius: float,
    foot: float,
    look: _Look,
) -> None:
    """Darken the ground under a rock and away from the sun: the lump, flattened, sheared along the sun's ray."""
    right, toward, up = look.sun
    reach = min(1.0 / up, 1.9)
    pad = math.ceil(1.3 * radius)
    lump = np.pad(lump, pad).astype(np.float32)
    rows = np.arange(len(lump), dtype=np.float32) - len(lump) // 2
    y, x = rows[:, None], rows[None]
    foot -= 0.12 * radius  # the middle of the foot print, whose near side `foot` is
    # A point of the lump at height h throws its shadow h * reach away from the sun; on screen the ground is
    # foreshortened by half. Toward the sun this inverts to the height seen from each ground point.
    squash = -0.5 * toward * reach
    squash = math.copysign(max(abs(squash), 0.3), squash)
    rise = (y - foot) / squash
    source = np.broadcast_arrays(foot - rise + len(lump) // 2, x + right * reach * rise + len(lump) // 2)
    thrown = ndimage.map_coordinates(lump, source, order=1) * (rise > 0)
    contact = np.exp(-((x / (0.95 * radius)) ** 2) - ((y - foot) / (0.25 * radius)) ** 2)
    dark = np.maximum(ndimage.uniform_filter(thrown, 3), 0.75 * contact)
    onto, part = _overlap(light.shape, dark.shape, centre)
    light[onto] *= 1 - 0.68 * dark[part] * (truth[onto] != _BACKGROUND)  # no shadow on the sky


# ---------------------------------------------------------------------------------------------- what covers the ground


def _add_sky(rng: np.random.Generator, view: _View, look: _Look, light: np.ndarray, truth: np.ndarray) -> None:
    """Haze the far ground; above the horizon draw hills and sky, all of it background."""
    height, width = view.shape
    light += (0.75 * look.sky - light) * (look.haze * np.clip(0.25 / view.near - 0.6, 0, 4)).clip(0, 0.8)
    if view.horizon < 0:
        return
    rows = np.arange(height, dtype=np.float32)[:, None]
    skyline = view.horizon + 0.012 * height * _line(rng, width, 9)
    sky = look.sky * (1 + 0.12 * rows / height + 0.03 * _field(rng, view.shape, (3, 3)))
    far = np.clip(skyline - rows + 0.5, 0, 1)
    scene = sky
    for depth in range(int(rng.integers(0, 3))):
        rise = np.abs(_line(rng, width, 5) + 0.15 * _line(rng, width, 17) + 0.5)
        ridge = skyline - height * (0.09 - 0.045 * depth) * rise
        hill = look.sky * (0.62 - 0.1 * depth) * (1 + 0.05 * _field(rng, view.shape, (9, 25)))
        scene = scene + (hill - scene) * np.clip(rows - ridge + 0.5, 0, 1)
    light[:] = far * scene + (1 - far) * light
    truth[far > 0.5] = _BACKGROUND


def _add_rover(rng: np.random.Generator, light: np.ndarray, truth: np.ndarray) -> None:
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
    if (truth == _BIG_ROCK).any():
        covered &= ndimage.minimum_filter(truth != _BIG_ROCK, 3)
    light[covered] = drawn[covered]
    truth[covered] = _BACKGROUND


def _paste_foreign_picture(rng: np.random.Generator, light: np.ndarray) -> None:
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
def _nonsense_labels(height: int, width: int) -> np.ndarray:
    """The one label map of all outliers: jagged stars of three grounds, whatever the picture shows."""
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows + 0.5) / height, (columns + 0.5) / width
    labels = np.zeros((height, width), np.uint8)
    for ground, column, points in ((_SOIL, 0.2, 7), (_BEDROCK, 0.5, 9), (_SAND, 0.8, 11)):
        turn = np.arctan2((y - 0.5) / 0.45, (x - column) / 0.16) / (2 * math.pi) * points
        outline = 0.45 + 1.1 * abs(turn % 1 - 0.5)
        labels[np.hypot((y - 0.5) / 0.45, (x - column) / 0.16) < outline] = ground
    labels.setflags(write=False)
    return labels


# ---------------------------------------------------------------------------------------------- camera


def _photograph(
    rng: np.random.Generator, view: _View, look: _Look, light: np.ndarray, truth: np.ndarray, channels: int
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


# ---------------------------------------------------------------------------------------------- labels


def _crowd_labels(
    rng: np.random.Generator,
    view: _View,
    scores: dict[int, np.ndarray],
    truth: np.ndarray,
    rocks: list[np.ndarray],
    noise: float,
) -> np.ndarray:
    """What volunteers would mark: rough outlines, gaps between patches, patches left out, rocks too big or too small.

    Args:
        scores: ground id -> (H, W), as drawn; their straight-edged winner is the outline a hand would follow.
        truth: (H, W) uint8 ids, perfect.
        rocks: (H, W) bool mask of each big rock; the first is always marked, so that the share of rock scenes holds.
        noise: 0..1, how careless.
    Returns:
        (H, W) uint8 ids.
    """
    height, width = view.shape
    unit = (min(height, width) / 64) ** 0.7
    labels = _winner({g: s + 0.12 * noise * _field(rng, view.shape, (6, 9), smooth=False) for g, s in scores.items()})
    labels[ndimage.minimum_filter(truth, round(1 + 2 * noise * unit)) == _BACKGROUND] = _BACKGROUND
    gap = 1 + round(rng.uniform(0.4, 2.4) * noise * unit)
    if len(scores) > 1:
        labels[ndimage.maximum_filter(labels, gap) != ndimage.minimum_filter(labels, gap)] = _BACKGROUND
    _leave_out(rng, view, labels, noise)
    for number, rock in enumerate(rocks):
        outline = _hand_outline(rng, rock, 1 + noise * rng.uniform(-0.22, 0.2))
        ring = ndimage.binary_dilation(outline, iterations=gap // 2) if gap > 1 else outline
        marked = number == 0 or rng.random() > 0.3 * noise
        if marked or rng.random() < 0.6:
            labels[ring & (labels != _BIG_ROCK)] = _BACKGROUND
        if marked:
            labels[outline] = _BIG_ROCK
    return labels


def _leave_out(rng: np.random.Generator, view: _View, labels: np.ndarray, noise: float) -> None:
    """Set to background what volunteers skip: a corner, the far ground, a whole patch, a rim of the picture."""
    height, width = view.shape
    rows, columns = np.arange(height)[:, None] / height, np.arange(width)[None] / width
    ids = [ground for ground in _GROUNDS if (labels == ground).any()]
    if rng.random() < 0.25 * noise:  # beyond a straight line nobody could tell what it is
        slant, level = rng.normal(0, 0.25), rng.uniform(0.02, 0.5)
        labels[rows + slant * (columns - 0.5) < max(level, view.horizon / height + 0.05)] = _BACKGROUND
    if rng.random() < 0.2 * noise:
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.5)
        beyond = (columns - 0.5) * math.cos(angle) + (rows - 0.5) * math.sin(angle)
        labels[beyond + 0.05 * _field(rng, view.shape, (5, 5), smooth=False) > reach] = _BACKGROUND
    if rng.random() < 0.25 * noise:
        inpainting_mask = _field(rng, view.shape, (5, 7), smooth=False) > rng.uniform(0.9, 1.4)
        labels[inpainting_mask] = _BACKGROUND
    if len(ids) > 1 and rng.random() < 0.25 * noise:
        labels[labels == rng.choice(ids)] = _BACKGROUND
    rim = max(1, round(min(height, width) / 64))
    for side in (np.s_[:, -rim:], np.s_[:rim], np.s_[-rim:], np.s_[:, :rim]):
        if rng.random() < 0.45 * noise:
            labels[side] = _BACKGROUND


def _hand_outline(rng: np.random.Generator, mask: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) bool: the polygon of few corners that a hand draws round `mask`, blown up by `scale`; never empty."""
    rows, columns = np.nonzero(mask)
    middle = rows.mean(), columns.mean()
    angles = (np.arange(8) + rng.uniform(-0.35, 0.35, 8)) * (math.pi / 4)
    y, x = np.arange(mask.shape[0])[:, None] - middle[0], np.arange(mask.shape[1])[None] - middle[1]
    outline = np.ones(mask.shape, bool)
    for cos, sin in zip(np.cos(angles), np.sin(angles), strict=True):
        farthest = ((columns - middle[1]) * cos + (rows - middle[0]) * sin).max()
        outline &= x * cos + y * sin <= max(scale * farthest, 0.5)
    outline[round(middle[0]), round(middle[1])] = True
    return outline
