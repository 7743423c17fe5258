"""One simulated scene from its number."""

import numpy as np

from marsgen.scenes.simulate.camera import choose_view, look_of_stop, photograph
from marsgen.scenes.simulate.config import (
    BIG_ROCK,
    KIND_STREAM,
    LABEL_STREAM,
    SCENE_STREAM,
    SimulationConfig,
    check_index,
    random_stream,
)
from marsgen.scenes.simulate.ground import ground_light, ground_truth, patch_scores
from marsgen.scenes.simulate.labels import crowd_labels
from marsgen.scenes.simulate.overlays import add_rover, add_sky, outlier_labels, paste_foreign_picture
from marsgen.scenes.simulate.rocks import drop_rocks


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
    rng = random_stream(config, SCENE_STREAM, index)
    look = look_of_stop(config, index)
    view = choose_view(rng, config, look)
    outlier = is_outlier(index, config)
    scores = patch_scores(rng, view, look)
    truth = ground_truth(rng, view, scores)
    light = ground_light(rng, view, look, truth)
    add_sky(rng, view, look, light, truth)
    drop_rocks(rng, view, look, light, truth, count=rng.poisson(1.2), sizes=(0.012, 0.03))
    rocks = []
    if not outlier and _is_rock_scene(index, config):
        count = 1 + min(rng.poisson(0.9), 4)
        rocks = drop_rocks(rng, view, look, light, truth, count=count, sizes=(0.032, 0.235), rock_id=BIG_ROCK)
    if rng.random() < 0.13:
        add_rover(rng, light, truth)
    if outlier:
        paste_foreign_picture(rng, light)
    image = photograph(rng, view, look, light, truth, config.channels)
    if outlier:
        return image, outlier_labels(config.height, config.width).copy()
    if config.label_noise == 0:
        return image, truth
    crowd = random_stream(config, LABEL_STREAM, index)
    return image, crowd_labels(crowd, view, scores, truth, rocks, config.label_noise)


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
    return f"stop-{check_index(index) // config.scenes_per_stop:05d}"


def is_outlier(index: int, config: SimulationConfig) -> bool:
    """Whether a scene shows a foreign picture and carries the nonsense label map. Raises ValueError: index below 0."""
    return bool(random_stream(config, KIND_STREAM, index).random() < config.outlier_fraction)


def _is_rock_scene(index: int, config: SimulationConfig) -> bool:
    """A second draw of the same stream, so that neither share depends on the other."""
    return bool(random_stream(config, KIND_STREAM, index).random(2)[1] < config.rock_scene_fraction)
