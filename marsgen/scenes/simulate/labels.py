"""Label maps as careless as those of a crowd: rough outlines, gaps, patches left out."""

import math

import numpy as np
from scipy import ndimage

from marsgen.scenes.simulate.camera import View
from marsgen.scenes.simulate.config import BACKGROUND, BIG_ROCK, GROUNDS
from marsgen.scenes.simulate.ground import winning_ground
from marsgen.scenes.simulate.noise import noise_field


def crowd_labels(
    rng: np.random.Generator,
    view: View,
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
    labels = winning_ground(
        {g: s + 0.12 * noise * noise_field(rng, view.shape, (6, 9), smooth=False) for g, s in scores.items()}
    )
    labels[ndimage.minimum_filter(truth, round(1 + 2 * noise * unit)) == BACKGROUND] = BACKGROUND
    gap = 1 + round(rng.uniform(0.4, 2.4) * noise * unit)
    if len(scores) > 1:
        labels[ndimage.maximum_filter(labels, gap) != ndimage.minimum_filter(labels, gap)] = BACKGROUND
    _leave_out(rng, view, labels, noise)
    for number, rock in enumerate(rocks):
        outline = _hand_outline(rng, rock, 1 + noise * rng.uniform(-0.22, 0.2))
        ring = ndimage.binary_dilation(outline, iterations=gap // 2) if gap > 1 else outline
        marked = number == 0 or rng.random() > 0.3 * noise
        if marked or rng.random() < 0.6:
            labels[ring & (labels != BIG_ROCK)] = BACKGROUND
        if marked:
            labels[outline] = BIG_ROCK
    return labels


def _leave_out(rng: np.random.Generator, view: View, labels: np.ndarray, noise: float) -> None:
    """Set to background what volunteers skip: a corner, the far ground, a whole patch, a rim of the picture."""
    height, width = view.shape
    rows, columns = np.arange(height)[:, None] / height, np.arange(width)[None] / width
    ids = [ground for ground in GROUNDS if (labels == ground).any()]
    if rng.random() < 0.25 * noise:  # beyond a straight line nobody could tell what it is
        slant, level = rng.normal(0, 0.25), rng.uniform(0.02, 0.5)
        labels[rows + slant * (columns - 0.5) < max(level, view.horizon / height + 0.05)] = BACKGROUND
    if rng.random() < 0.2 * noise:
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.5)
        beyond = (columns - 0.5) * math.cos(angle) + (rows - 0.5) * math.sin(angle)
        labels[beyond + 0.05 * noise_field(rng, view.shape, (5, 5), smooth=False) > reach] = BACKGROUND
    if rng.random() < 0.25 * noise:
        skipped = noise_field(rng, view.shape, (5, 7), smooth=False) > rng.uniform(0.9, 1.4)
        labels[skipped] = BACKGROUND
    if len(ids) > 1 and rng.random() < 0.25 * noise:
        labels[labels == rng.choice(ids)] = BACKGROUND
    rim = max(1, round(min(height, width) / 64))
    for side in (np.s_[:, -rim:], np.s_[:rim], np.s_[-rim:], np.s_[:, :rim]):
        if rng.random() < 0.45 * noise:
            labels[side] = BACKGROUND


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
