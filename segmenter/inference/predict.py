"""`segmenter predict`: the network of a finished run, images -> label maps, as indexed PNG or as the course's CSV."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from torch import nn

from marsgen.core.config import build_config
from marsgen.core.environment import keep_freed_memory
from marsgen.core.errors import DataError, InputError, RunError
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import DAMAGE, read_weights, refuse_other_shapes
from marsgen.core.storage.files import filling_text
from marsgen.core.storage.reading import check_content, first_line, value_at
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.rasters import refuse_no_rasterio
from marsgen.scenes.limits import MIN_SIDE_PX, MOST_BATCH_PX
from marsgen.scenes.readers.folder import write_classes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import has_test_set
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.config import InferenceConfig, PredictConfig
from segmenter.inference.export.load import load_exported
from segmenter.inference.margins import margin_bins
from segmenter.inference.picture_kind import check_kind
from segmenter.inference.predicted_files import write_labels, write_overlay, write_probs
from segmenter.inference.prefetch import read_ahead
from segmenter.inference.sliding_window import predict_in_windows, predict_whole, resize_images
from segmenter.inference.weights import ONNX
from segmenter.networks.build import build_network
from segmenter.networks.config import NetworkConfig
from segmenter.networks.wrappers import Calibrated, ClassesOnly

InferenceT = TypeVar("InferenceT", bound=InferenceConfig)

DEFAULT_INFERENCE = InferenceConfig()
"""each image once, whole and at its own size"""
MIXED_BATCH_PX = 2**20
"""pixels of a batch where images differ in size"""
_WRITERS = 2
_FEW_CLASSES = 8


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
    keep_freed_memory()
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
    return _likeliest(_probs(network, images, inference))


@torch.inference_mode()
def predict_with_margins(
    network: nn.Module,
    images: np.ndarray,
    class_indices: Sequence[int],
    inference: InferenceConfig = DEFAULT_INFERENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """`predict_indices`, and how clearly some classes are preferred or not at each pixel.

    Args:
        network, images, inference: as for `predict_probs`.
        class_indices: R classes.
    Returns:
        (B, H, W) uint8 indices 0..C-1, and (B, R, H, W) uint8 bins of margins, see `margin_bins`.
    """
    probs = _probs(network, images, inference).contiguous()  # once for both
    indices = _likeliest(probs)
    bins = margin_bins(probs, torch.from_numpy(indices).to(probs.device), class_indices)
    return indices, bins.cpu().numpy()


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
            probs = predict_whole(probs_of, scaled)
        else:
            probs = predict_in_windows(probs_of, scaled, inference.window, inference.overlap)
        if scale != 1:
            probs = F.interpolate(probs, inputs.shape[2:], mode="bilinear", antialias=scale > 1)
        found.append(probs)
    probs = torch.stack(found).mean(0) if len(found) > 1 else found[0]
    return probs[..., :height, :width]


def _likeliest(probs: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) -> (B, H, W) uint8 index of the highest; of equal ones the first, as argmax takes it."""
    if probs.device.type != "cpu" or probs.shape[1] > _FEW_CLASSES:
        return probs.argmax(1).to("cpu", torch.uint8).numpy()
    # class after class takes a tenth of the time of torch's argmax over few channels that lie side by side in memory
    highest, *others = probs.contiguous().unbind(1)
    index = torch.zeros(highest.shape, dtype=torch.uint8)
    for number, other in enumerate(others, start=1):
        index.masked_fill_(other > highest, number)
        highest = torch.maximum(highest, other)
    return index.numpy()


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
    check_kind(scenes, segmenter, record["channels"], classes)
    if any(scenes.raster(index) for index in range(len(scenes))):
        refuse_no_rasterio(f"{scenes.location}: writing label maps with the georeference")
    if _wants_csv(config, scenes) and scenes.shape is None:
        raise DataError(
            f"{scenes.location}: images differ in size, and a csv needs the same columns for all; set format=png"
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

    def write(index: int, image: np.ndarray, indices: np.ndarray, probs: np.ndarray | None) -> None:
        name, raster = scenes.names[index], scenes.raster(index)
        ids = write_labels(folder, name, classes.to_ids(indices), classes, raster)
        if probs is not None:
            write_probs(folder.parent / "probs", name, probs, classes, raster)
        if config.overlay:
            write_overlay(folder.parent / "overlay", name, image, ids, classes)

    # files wait for the disk one by one, so threads write a batch while the next one is predicted
    with ThreadPoolExecutor(_WRITERS) as pool:
        writing: list[Future[None]] = []
        for first, images, indices, probs in _predicted_batches(scenes, network, config):
            _wait_for(writing)
            writing = [
                pool.submit(write, first + n, image, indices[n], None if probs is None else probs[n])
                for n, image in enumerate(images)
            ]
        _wait_for(writing)


def _wait_for(writing: Sequence[Future[None]]) -> None:
    for each in writing:
        each.result()


def _predicted_batches(
    scenes: SceneSource, network: nn.Module, config: PredictConfig
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Batch after batch: number of the first image, images, (B, H, W) uint8 indices, and, where they are wanted,
    (B, C, H, W) float32 probabilities."""
    with ProgressBar(desc="predict", unit=" images", total=len(scenes)) as bar:
        for first, images in read_ahead(image_batches(scenes, config.batch_size)):
            yield first, images, *_indices_and_probs(network, images, config)
            bar.update(len(images))


def image_batches(scenes: SceneSource, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """The images in order, neighbours of one shape together: number of the first, (B, H, W, channels) uint8.

    A batch holds at most `MOST_BATCH_PX` pixels, or one image; where sizes differ, `MIXED_BATCH_PX`: nobody chose
    batch_size for the largest of them.
    """
    most = MIXED_BATCH_PX if scenes.shape is None else MOST_BATCH_PX
    first = 0
    batch: list[np.ndarray] = []
    for index in range(len(scenes)):
        image = scenes.read(index)[0]
        full = len(batch) >= batch_size
        if batch:
            full |= image.shape != batch[0].shape or (len(batch) + 1) * image[..., 0].size > most
        if full:
            yield first, np.stack(batch)
            first, batch = index, []
        batch.append(image)
    if batch:
        yield first, np.stack(batch)


@torch.inference_mode()
def _indices_and_probs(
    network: nn.Module, images: np.ndarray, config: PredictConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    probs = _probs(network, images, config)
    return _likeliest(probs), probs.cpu().numpy() if config.probs else None
