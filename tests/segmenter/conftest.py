"""Fixtures of the segmenter's tests: scenes held in memory."""

from collections.abc import Callable

import pytest
from array_scenes import ArrayScenes, dataset_of


@pytest.fixture(scope="session")
def make_dataset() -> Callable:
    return dataset_of


@pytest.fixture(scope="session")
def array_scenes() -> Callable:
    return ArrayScenes


@pytest.fixture(scope="session")
def simulated() -> Callable:
    """simulated(n) -> n grey scenes of 64 x 128 without label noise of the outlier kind, about half with a rock."""
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    def paint(n: int, seed: int = 3) -> ArrayScenes:
        config = SimulationConfig(seed=seed, rock_scene_fraction=0.5, outlier_fraction=0)
        pairs = [simulate_scene(i, config) for i in range(n)]
        return ArrayScenes([image for image, _ in pairs], [labels for _, labels in pairs])

    return paint
