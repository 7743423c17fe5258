"""Rocks: solids cut by random planes, with their shadows."""

import math

import numpy as np
from scipy import ndimage

from marsgen.scenes.simulate.camera import Look, View
from marsgen.scenes.simulate.config import BACKGROUND, BIG_ROCK
from marsgen.scenes.simulate.noise import noise_field, noise_line


def drop_rocks(
    rng: np.random.Generator,
    view: View,
    look: Look,
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
        lump, shading, foot = _make_rock(rng, radius, look)
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


def _make_rock(rng: np.random.Generator, radius: float, look: Look) -> tuple[np.ndarray, np.ndarray, float]:
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
    wear = 0.07 * noise_field(rng, shape, (5, 5)) + 0.03 * noise_field(rng, shape, (cells, cells))
    foot = (
        rng.uniform(0.3, 0.75) - 0.4 * x * x + 0.08 * noise_line(rng, shape[1], 7)[None]
    )  # the near side reaches farthest down
    mask = (depth - back > 0.12 + wear) & (y < foot)
    mask[reach, reach] = True  # however the noise falls, there is a rock
    fine = min(2 * cells, len(grid))
    for knots, strength in ((4, 0.18), (cells, 0.18), (fine, 0.2)):
        normal[..., 0] += strength * noise_field(rng, shape, (knots, knots))
        normal[..., 1] += strength * noise_field(rng, shape, (knots, knots))
    right, toward, up = look.sun
    sun = np.array([right, 0.45 * toward - 0.89 * up, 0.89 * toward + 0.45 * up], np.float32)
    facing = np.clip(normal @ sun, 0, None) / np.linalg.norm(normal, axis=-1)
    grain = 1 + 0.07 * noise_field(rng, shape, (7, 7)) + 0.1 * noise_field(rng, shape, (fine, fine))
    grain += 0.05 * rng.standard_normal(shape, np.float32)
    foot_dark = np.clip((foot - y) / 0.2, 0.55, 1)
    shading = look.albedo[BIG_ROCK] * (0.33 + 0.67 * np.minimum(facing / up, 1.7)) * grain * foot_dark
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
    look: Look,
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
    light[onto] *= 1 - 0.68 * dark[part] * (truth[onto] != BACKGROUND)  # no shadow on the sky
