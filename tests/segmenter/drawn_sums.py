"""Evaluations drawn from known truths, without any picture: what intervals are tried on."""

import numpy as np

ROCK = 1
"""index of the rock among the two classes, and so of its IoU among the scores"""


def draw_rocks(rng: np.random.Generator, images: int) -> np.ndarray:
    """Area of the rock in each image; every second image has none."""
    return rng.integers(20, 200, images) * (rng.random(images) < 0.5)


def draw_rock_images(
    rng: np.random.Generator,
    images: int,
    skill: float | np.ndarray,
    area: np.ndarray | None = None,
    spread: float = 0.3,
) -> np.ndarray:
    """(images, 5, 2) sums of one seed's evaluation.

    A rock of `area` pixels is hit in area * p of them, p uniform in skill +- spread; as many pixels as a tenth of it
    are false. So IoU tends to skill / 1.1 as the images become many. A skill for each image is one mean skill and what the
    recipe makes of that image, whatever the seed.
    """
    area = draw_rocks(rng, images) if area is None else area
    share = np.clip(skill + rng.uniform(-spread, spread, images), 0, 1)
    hit, false = area * share, area * 0.1
    ground = 1000 - area
    sums = np.zeros((images, 5, 2))
    sums[:, 0, ROCK], sums[:, 1, ROCK], sums[:, 2, ROCK] = hit, area, hit + false
    sums[:, 0, 0], sums[:, 1, 0], sums[:, 2, 0] = ground - false, ground, ground - false + area - hit
    sums[:, 3, ROCK], sums[:, 4, ROCK] = area > 0, (area > 0) & (share >= 0.5)
    return sums
