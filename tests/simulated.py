"""Data files of simulated scenes."""

from pathlib import Path

import numpy as np


def simulated_npz(path: Path, scenes: int = 48, seed: int = 5, unlabelled: int = 6, rocks: float = 0.4) -> Path:
    """Write an npz in the course's layout: key training_set (N, 2, H, W) and test_set (M, H, W)."""
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    config = SimulationConfig(seed=seed, rock_scene_fraction=rocks, outlier_fraction=0.15)
    pairs = [simulate_scene(i, config) for i in range(scenes + unlabelled)]
    images = np.stack([image[..., 0] for image, _ in pairs])
    labels = np.stack([labels for _, labels in pairs])
    training = np.stack([images[:scenes], labels[:scenes]], axis=1)
    np.savez_compressed(path, training_set=training, test_set=images[scenes:])
    return path
