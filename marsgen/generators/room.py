"""What training a generator takes on the disk: weights, checkpoints, image grids. Known before its first step."""

from collections.abc import Iterable
from typing import Any

import torch

from marsgen.core.storage.places import Room, on_disk
from marsgen.generators import find_networks
from marsgen.generators.sizes import WHOLE_PX
from marsgen.generators.style import STYLE_NUMBERS
from marsgen.generators.training import GRID_COLUMNS, GRID_SCENES, STYLE_SCENES
from marsgen.scenes.scene import SceneSource

_KEY_BYTES = 20
"""a scene in generator.json"""
_SMALL_FILES = 8
"""settings, environment, metrics and others, mostly of less than a block"""


def room_of(config: Any, scenes: SceneSource, **teacher: Any) -> Room:
    """What a training of a config on these scenes takes.

    Args:
        teacher: that of a distilled generator, as `train` takes it.
    """
    classes = len(scenes.classes)
    with torch.device("meta"):  # takes no memory
        networks = find_networks(config.kind)(config, classes, scenes.channels, **teacher)
    kept = _size(networks[0].state_dict().values())
    trained = sum(_size(network.state_dict().values()) for network in networks)
    moments = 2 * sum(_size(network.parameters()) for network in networks)
    styles = 4 * min(len(scenes), STYLE_SCENES) * (classes + 1 + STYLE_NUMBERS * scenes.channels)
    grids = -(-config.steps // config.sample_every) * on_disk(_grid_bytes(config, scenes))
    files = on_disk(kept + styles) + on_disk(_KEY_BYTES * len(scenes)) + _SMALL_FILES * on_disk(1)
    return Room(files + grids, 2 * on_disk(kept + trained + moments))


def _size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _grid_bytes(config: Any, scenes: SceneSource) -> int:
    """A png of pictures, which packs them to about half."""
    shown = 2 * config.crop_px if config.kind != "pix2pix" else config.crop_px or WHOLE_PX
    height, width = (min(shown, side) for side in scenes.shape or (shown, shown))
    return GRID_SCENES * GRID_COLUMNS * height * width * 3 // 2
