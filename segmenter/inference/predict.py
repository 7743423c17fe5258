"""`segmenter predict`: the network of a finished run, images -> label maps, as indexed PNG or as the course's CSV."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from torch import nn
from tqdm import tqdm

from marsgen.core.checkpoints import DAMAGE, read_weights, refuse_other_shapes
from marsgen.core.config import build_config
from marsgen.core.errors import DataError, InputError, RunError
from marsgen.core.files import filling_text
from marsgen.core.reading import check_content, first_line, value_at
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.rasters import refuse_no_rasterio
from marsgen.scenes.readers.folder import write_classes
from marsgen.scenes.scene import MIN_SIDE_PX, SceneSource
from marsgen.scenes.sources import has_test_set
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.config import InferenceConfig, PredictConfig
from segmenter.inference.exported import load_exported
from segmenter.inference.predicted_files import write_labels, write_overlay, write_probs
from segmenter.inference.sliding_window import predict_in_windows, resize_images
from segmenter.inference.weights import ONNX
from segmenter.networks.build import build_network
from segmenter.networks.config import NetworkConfig
from segmenter.networks.wrappers import Calibrated, ClassesOnly

_log = logging.getLogger(__name__)

InferenceT = TypeVar("InferenceT", bound=InferenceConfig)

DEFAULT_INFERENCE = InferenceConfig()
"""each image once, whole and at its own size"""


def load_segmenter(folder: Path, keep_void: bool = False) -> tuple[nn.Module, ClassSet, dict[str, Any]]:
    """The best network of a finished `segmenter train` run, on the GPU if there is one, ready to predict.

    Args:
        folder: of the run; or an ONNX file of `segmenter export`, which onnxruntime runs on the CPU.
        keep_void: keep output C of a network that was trained with `void_weight`: pixels without a label.
    Returns:
        the network in eval mode, the classes of its outputs 0..C-1, and the record of its weights (step, network,
        channels, classes, best_metric, scores).
    Raises:
        RunError: no such run, not finished, or its weights are damaged.
    """
    if folder.suffix == ONNX:
        return load_exported(folder)
    run = Run.load(folder, "segmenter train")
    path = run.folder / "best.safetensors"
    checkpoint = read_weights(path)
    try:
        classes = ClassSet.from_dict(checkpoint.record["classes"], str(path))
        config = build_config(NetworkConfig, checkpoint.record["network"], "its network")
        channels = value_at(checkpoint.record, "channels", int, "its record")
        refuse_other_shapes(lambda: build_network(config, channels, len(classes)), checkpoint.tensors)
        network = build_network(config, channels, len(classes))
        network.load_state_dict(checkpoint.tensors)
        if config.void_weight and not keep_void:
            network = ClassesOnly(network, len(classes))
        if "logit_shift" in checkpoint.record:
            network = Calibrated(network, check_content(checkpoint.record["logit_shift"], list[float], "logit_shift"))
    except (InputError, *DAMAGE) as problem:
        reason = first_line(problem)
        raise RunError(f"{path}: not the weights of a segmenter ({reason}); train it again") from None
    network = network.to(memory_format=torch.channels_last)
    return network.to(PartialState().device).eval(), classes, checkpoint.record


@torch.inference_mode()
def predict_probs(network: nn.Module, images: np.ndarray, inference: InferenceConfig = DEFAULT_INFERENCE) -> np.ndarray:
    """Probability of each class at each pixel.

    Args:
        network: in eval mode (`load_segmenter`).
        images: (B, H, W, channels) uint8.
        inference: mirror images, scales and windows that are averaged over.
    Returns:
        (B, C, H, W) float32 in [0, 1], sum 1 over C.
    """
    return _probs(network, images, inference).cpu().numpy()


@torch.inference_mode()
def predict_indices(
    network: nn.Module, images: np.ndarray, inference: InferenceConfig = DEFAULT_INFERENCE
) -> np.ndarray:
    """The likeliest class at each pixel: (B, H, W, channels) uint8 images -> (B, H, W) uint8 indices 0..C-1.

    The arguments are those of `predict_probs`.
    """
    return _probs(network, images, inference).argmax(1).to("cpu", torch.uint8).numpy()


def _probs(network: nn.Module, images: np.ndarray, inference: InferenceConfig) -> torch.Tensor:
    def probs_of(inputs: torch.Tensor) -> torch.Tensor:  # (B, channels, h, w) -> (B, C, h, w)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        probs = network(inputs).softmax(1)
        if inference.flip:
            probs = (probs + network(inputs.flip(-1)).softmax(1).flip(-1)) / 2
        return probs

    inputs = image_tensor(images).to(next(network.parameters()).device)
    height, width = inputs.shape[2:]
    # networks halve a picture several times; a small one is extended as pad_to_multiple does it
    inputs = F.pad(inputs, (0, max(0, MIN_SIDE_PX - width), 0, max(0, MIN_SIDE_PX - height)), mode="replicate")
    found = []
    for scale in inference.scales:
        scaled = resize_images(inputs, scale)
        if inference.window is None:
            probs = probs_of(scaled)
        else:
            probs = predict_in_windows(probs_of, scaled, inference.window, inference.overlap)
        if scale != 1:
            probs = F.interpolate(probs, inputs.shape[2:], mode="bilinear", antialias=scale > 1)
        found.append(probs)
    probs = torch.stack(found).mean(0) if len(found) > 1 else found[0]
    return probs[..., :height, :width]


def predict(config: PredictConfig, run: Run, segmenter: Path, scenes: SceneSource) -> Path:
    """Write the label map of every image; memory does not grow with their number.

    Args:
        run: the open run of this command; the result lies in its folder.
        segmenter: folder of a finished `segmenter train` run, or an ONNX file of `segmenter export`.
        scenes: images, from `open_scenes(..., labelled=False)`; their label maps are not read.
    Returns:
        predictions.csv: columns id, 0..H*W-1; a row per image in the order of the data, its label ids row by row
        (the AN2DL 2024 challenge's form), or
        labels/: a label map per image, see segmenter/inference/predicted_files.py, and classes.yaml beside it.
    Raises:
        DataError: grey images for a network of RGB or the reverse, or a csv of images that differ in size.
        RunError: see `load_segmenter`.
    """
    network, classes, record = load_segmenter(segmenter)
    check_images(config, segmenter, scenes)
    config = as_exported(config, record)
    as_csv = _wants_csv(config, scenes)
    result = run.folder / ("predictions.csv" if as_csv else "labels")
    if not run.finished:
        write = _write_csv if as_csv else _write_pngs
        write(result, scenes, network, classes, config)
        run.finish({"images": len(scenes), "format": "csv" if as_csv else "png", "wrote": result.name})
    return result


def as_exported(config: InferenceT, record: dict[str, Any]) -> InferenceT:
    """`config` with the windows that an exported network was stored with, where `config` names none."""
    if config.window is not None or record.get("window") is None:
        return config
    return config.model_copy(update={"window": tuple(record["window"]), "overlap": record["overlap"]})


def check_images(config: PredictConfig, segmenter: Path, scenes: SceneSource) -> None:
    """Raise what `predict` would raise, before a folder is made for its result."""
    _, classes, record = load_segmenter(segmenter)
    refuse_other_channels(scenes, segmenter, record)
    theirs, ours = scenes.classes.rasters, classes.rasters
    if theirs is not None and ours is not None and theirs != ours:
        _log.warning("%s: %s; %s was trained on %s", scenes.location, theirs.describe(), segmenter, ours.describe())
    if any(scenes.raster(index) for index in range(len(scenes))):
        refuse_no_rasterio(f"{scenes.location}: writing label maps with the georeference")
    if _wants_csv(config, scenes) and scenes.shape is None:
        raise DataError(
            f"{scenes.location}: images differ in size, and a csv needs the same columns for all; set format=png"
        )


def refuse_other_channels(scenes: SceneSource, segmenter: Path, record: dict[str, Any]) -> None:
    """Raise DataError for images of other channels than a network was trained on.

    Args:
        segmenter: folder of its run, for the message.
        record: of its weights, from `load_segmenter`.
    """
    if scenes.channels != record["channels"]:
        raise DataError(
            f"{scenes.location}: images of {scenes.channels} channels; {segmenter} was trained on {record['channels']}"
        )


def _wants_csv(config: PredictConfig, scenes: SceneSource) -> bool:
    if config.probs or config.overlay:
        return False
    return config.format == "csv" or (config.format == "auto" and has_test_set(scenes.location))


def _write_csv(path: Path, scenes: SceneSource, network: nn.Module, classes: ClassSet, config: PredictConfig) -> None:
    assert scenes.shape is not None  # see check_images
    words = [str(number) for number in range(256)]
    with filling_text(path) as file:
        file.write(",".join(["id", *map(str, range(scenes.shape[0] * scenes.shape[1]))]) + "\n")
        for first, _, indices, _ in _predicted_batches(scenes, network, config):
            for number, row in enumerate(classes.to_ids(indices).reshape(len(indices), -1), start=first):
                file.write(f"{number}," + ",".join([words[label] for label in row.tolist()]) + "\n")


def _write_pngs(
    folder: Path, scenes: SceneSource, network: nn.Module, classes: ClassSet, config: PredictConfig
) -> None:
    write_classes(folder.parent, replace(classes, bands=scenes.classes.bands))
    for first, images, indices, probs in _predicted_batches(scenes, network, config):
        for number, image in enumerate(images):
            name, raster = scenes.names[first + number], scenes.raster(first + number)
            ids = write_labels(folder, name, classes.to_ids(indices[number]), classes, raster)
            if probs is not None:
                write_probs(folder.parent / "probs", name, probs[number], classes, raster)
            if config.overlay:
                write_overlay(folder.parent / "overlay", name, image, ids, classes)


def _predicted_batches(
    scenes: SceneSource, network: nn.Module, config: PredictConfig
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Batch after batch, one by one where sizes differ: number of the first image, images, (B, H, W) uint8 indices,
    and, where they are wanted, (B, C, H, W) float32 probabilities."""
    size = config.batch_size if scenes.shape is not None else 1
    bar = tqdm(desc="predict", unit=" images", total=len(scenes))
    for first in range(0, len(scenes), size):
        batch = range(first, min(first + size, len(scenes)))
        images = np.stack([scenes.read(i)[0] for i in batch])
        indices, probs = _indices_and_probs(network, images, config)
        yield first, images, indices, probs
        bar.update(len(batch))
    bar.close()


@torch.inference_mode()
def _indices_and_probs(
    network: nn.Module, images: np.ndarray, config: PredictConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    probs = _probs(network, images, config)
    indices = probs.argmax(1).to("cpu", torch.uint8).numpy()
    return indices, probs.cpu().numpy() if config.probs else None
