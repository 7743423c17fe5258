"""What the training loops of all generators share: styles, checkpoints, sample grids."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.survey_cache import find_or_recall
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import load_optimizer_tensors, optimizer_tensors, prefixed, without_prefix
from marsgen.core.storage.files import write_bytes
from marsgen.core.storage.reading import naming
from marsgen.generators import DrawRequest, Generator
from marsgen.generators.batches import cut_window, soft_window
from marsgen.generators.style import STYLE_NUMBERS, StyleTable, measure_style
from marsgen.provenance import keys_of_part
from marsgen.scenes.tensors import image_tensor, one_thread

STYLE_SCENES = 4096
"""styles of at most this many training scenes are kept beside the weights"""
GRID_SCENES = 6
"""rows of a sample grid"""
GRID_COLUMNS = 4
"""mask, real picture, drawn whole, drawn in the inpainting mask"""

Networks = Mapping[str, torch.nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


# data


def rare_indices(dataset: Dataset) -> tuple[int, ...]:
    """Class indices of the rare classes."""
    return tuple(dataset.scenes.classes.index(name) for name in dataset.scenes.classes.rare)


def rare_scenes(dataset: Dataset) -> list[int]:
    """Training scenes that show a rare class."""
    return dataset.train_scenes_with(dataset.scenes.classes.rare)


def rare_scenes_by_class(dataset: Dataset) -> dict[int, list[int]]:
    """Index of a rare class -> the training scenes that show it, where any does."""
    classes = dataset.scenes.classes
    return {classes.index(name): scenes for name, scenes in dataset.rare_train_scenes().items()}


def survey_styles(dataset: Dataset) -> StyleTable:
    """Style and class fractions of the training scenes; of more than STYLE_SCENES, evenly spaced ones.

    Styles are kept between commands (survey_cache.py).
    """
    train = np.asarray(dataset.split.train)
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), STYLE_SCENES)).astype(int)]

    def look() -> dict[str, np.ndarray]:
        styles = []
        with one_thread():  # sums of large pictures differ in their last bits with the number of threads
            for index in chosen:
                image = image_tensor(dataset.scenes.read(int(index))[0][None])
                styles.append(measure_style(image, torch.ones_like(image[:, :1])))
        return {"styles": torch.cat(styles).numpy()}

    def fits(kept: Mapping[str, np.ndarray]) -> bool:
        shape = (len(chosen), STYLE_NUMBERS * dataset.scenes.channels)
        return {name: (array.dtype.str, array.shape) for name, array in kept.items()} == {"styles": ("<f4", shape)}

    pictures = keys_of_part(dataset, chosen)  # a key is that of the pixels, so nothing else has to be known
    styles = find_or_recall("styles", pictures, look, fits)["styles"]
    counts = dataset.survey.pixels[chosen].astype(np.float32)
    return StyleTable(torch.from_numpy(counts / counts.sum(axis=1, keepdims=True)), torch.from_numpy(styles))


def describe(kind: str, dataset: Dataset, **more: Any) -> dict[str, Any]:
    """The content of generator.json: how to rebuild a generator from its weights, and the scenes it has seen."""
    return {
        "generator": kind,
        "classes": dataset.scenes.classes.to_dict(),
        "channels": dataset.scenes.channels,
        **more,
        "trained_on": keys_of_part(dataset, dataset.split.train),
    }


# state


def save(run: Run, step: int, networks: Networks, optimizers: Optimizers) -> None:
    """Checkpoint everything that the next step depends on."""
    tensors: dict[str, torch.Tensor] = {}
    for name, network in networks.items():
        tensors |= prefixed(name, network.state_dict())
    for name, optimizer in optimizers.items():
        tensors |= optimizer_tensors(optimizer, name)
    run.save_checkpoint(step, tensors)


def restore(run: Run, networks: Networks, optimizers: Optimizers) -> int:
    """Load the last checkpoint of an interrupted run; return its step, 0 for a new run."""
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        return 0
    with naming(run.checkpoint_path, RunError, "delete it and repeat the command", "not a checkpoint of this run"):
        for name, network in networks.items():
            network.load_state_dict(without_prefix(name, checkpoint.tensors))
        for name, optimizer in optimizers.items():
            load_optimizer_tensors(optimizer, checkpoint.tensors, name)
    return checkpoint.step


# sample grids


def write_grid(run: Run, step: int, generator: Generator, dataset: Dataset, crop_px: int, seed: int) -> None:
    """samples/step_*.png: mask | real | whole scene drawn | inpainting mask drawn, for a few validation scenes."""
    if not run.writes:
        return
    rows = [np.hstack(_grid_row(i, generator, dataset, crop_px, seed)) for i in dataset.val_scenes_to_show(GRID_SCENES)]
    if not rows:
        return
    width = max(row.shape[1] for row in rows)
    grid = np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
    scale = max(1, 192 // min(crop_px, rows[0].shape[0]))
    grid = grid.repeat(scale, axis=0).repeat(scale, axis=1)
    picture = io.BytesIO()
    Image.fromarray(grid).save(picture, format="png")
    write_bytes(run.folder / "samples" / f"step_{step:06d}.png", picture.getvalue())
    run.show(step, "samples", grid)


def _grid_row(index: int, generator: Generator, dataset: Dataset, crop_px: int, seed: int) -> list[np.ndarray]:
    scene, classes = dataset.scenes[index], dataset.scenes.classes
    rng = np.random.default_rng([seed, index])
    rare = rare_indices(dataset)
    height, width = (min(crop_px, side) for side in scene.labels.shape)
    image, indices = cut_window(scene.image, scene.indices, (height, width), rare, rng)
    window = soft_window(indices, rare, rng)
    drawn = [
        generator.draw(DrawRequest(image[None], indices[None], inpainting_mask[None], np.array([index], np.uint64)))[0]
        for inpainting_mask in (np.ones_like(window), window)
    ]
    # the mask is dark where the last picture is real
    mask = (classes.paint(classes.to_ids(indices)) * (0.4 + 0.6 * window[..., None])).astype(np.uint8)
    pictures = [mask, *(np.broadcast_to(picture, (height, width, 3)) for picture in map(classes.show, (image, *drawn)))]
    return [np.pad(picture, ((0, 0), (0, 4), (0, 0))) for picture in pictures]
