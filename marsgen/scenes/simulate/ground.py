"""Which ground lies where, and the light that it sends to the camera."""

import math

import numpy as np
from scipy import ndimage

from marsgen.scenes.simulate.camera import Look, View
from marsgen.scenes.simulate.config import BEDROCK, MARS_IDS, SAND, SOIL
from marsgen.scenes.simulate.noise import noise_field
from marsgen.scenes.simulate.tiles import height_at, look_up


def patch_scores(rng: np.random.Generator, view: View, look: Look) -> dict[int, np.ndarray]:
    """Ground id -> (H, W) score; the ground with the highest score is what lies there. One to three grounds."""
    count = rng.choice([1, 2, 3], p=[0.62, 0.29, 0.09])
    first = look.grounds[rng.choice(3, p=[0.7, 0.2, 0.1])]
    others = [ground for ground in look.grounds if ground != first]
    scores = {first: np.full(view.shape, 0.35, np.float32)}
    for ground in others[: count - 1]:
        cells = (int(rng.integers(3, 6)), int(rng.integers(2, 6)))
        scores[ground] = noise_field(rng, view.shape, cells, smooth=False) + np.float32(rng.uniform(0, 0.6))
    return scores


def winning_ground(scores: dict[int, np.ndarray]) -> np.ndarray:
    """(H, W) uint8: the ground id with the highest score at each pixel."""
    ids = np.array(list(scores), np.uint8)
    return ids[np.argmax(list(scores.values()), 0)]


def ground_truth(rng: np.random.Generator, view: View, scores: dict[int, np.ndarray]) -> np.ndarray:
    """(H, W) uint8 ground ids: the patches of `scores` with ragged edges."""
    if len(scores) == 1:
        return np.full(view.shape, next(iter(scores)), np.uint8)
    rough = 0.22 * noise_field(rng, view.shape, (14, 14)) + 0.09 * noise_field(rng, view.shape, (31, 31))
    return winning_ground(
        {ground: score + sign * rough for (ground, score), sign in zip(scores.items(), (1, -1, 0), strict=False)}
    )


def ground_light(rng: np.random.Generator, view: View, look: Look, truth: np.ndarray) -> np.ndarray:
    """(H, W) float32 light that the ground sends to the camera; flat sunlit soil = 1."""
    tile_of_id = np.zeros(len(MARS_IDS), np.int64)
    tile_of_id[list(look.tiles)] = list(look.tiles.values())
    tile = tile_of_id[truth]
    texels = look_up(tile, view.x, view.y, view.texels_per_px)
    right, toward, up = look.sun
    cos, sin = math.cos(look.turn), math.sin(look.turn)
    sun_x, sun_y = right * cos - toward * sin, right * sin + toward * cos
    facing = -look.relief * (texels[..., 1] * sun_x + texels[..., 2] * sun_y) / up
    # A point is in shadow where the ground a few texels toward the sun rises above the sun's ray.
    reach = 3.0 * np.maximum(view.texels_per_px / 2, 1)
    higher = height_at(tile, view.x + reach * sun_x, view.y + reach * sun_y, view.texels_per_px)
    shade = np.clip(((higher - texels[..., 3]) * look.relief - reach * up) / (0.6 * reach), 0, 1)
    shade = ndimage.uniform_filter(shade, 3)  # the nearest texel alone would leave dark specks
    light = texels[..., 0] * (0.35 + 0.65 * (1 + 0.85 * np.tanh(1.2 * facing)) * (1 - 0.85 * shade))
    swell = 1 + 0.07 * noise_field(rng, view.shape, (3, 4)) + 0.035 * noise_field(rng, view.shape, (9, 7))
    albedo = look.albedo[truth]
    if (truth == SAND).any() and (truth == SOIL).any():  # sand thins out over soil; bedrock ends at an edge
        albedo = np.where(truth == BEDROCK, albedo, ndimage.uniform_filter(albedo, 2 * round(view.shape[0] / 32) + 1))
    light *= albedo * swell
    return light * (1 - _step_shadow(view, look, truth))


def _step_shadow(view: View, look: Look, truth: np.ndarray) -> np.ndarray:
    """(H, W) darkening where lower ground borders on bedrock that stands between it and the sun."""
    rock = (truth == BEDROCK).astype(np.float32)
    away = (round(-1.6 * look.sun[1] * view.shape[0] / 64), round(-1.6 * look.sun[0] * view.shape[0] / 64))
    if not 0 < rock.mean() < 1:
        return np.zeros_like(rock)
    shadow = ndimage.uniform_filter(np.roll(rock, away, (0, 1)), 3) * (1 - rock)
    return 0.4 * shadow * (view.near > 0.2)
