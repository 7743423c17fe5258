"""Conversion between uint8 arrays and tensors: value ranges, one-hot labels, padding."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from marsgen.scenes.classes import IGNORED_INDEX


def image_tensor(images: np.ndarray) -> torch.Tensor:
    """(..., H, W, channels) uint8 -> (..., channels, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).to(torch.float32).div(127.5).sub(1)


def image_array(images: torch.Tensor) -> np.ndarray:
    """(..., channels, H, W) float in [-1, 1] (clipped) -> (..., H, W, channels) uint8."""
    scaled = images.detach().to("cpu", torch.float32).add(1).mul(127.5).round().clamp(0, 255)
    return np.ascontiguousarray(scaled.to(torch.uint8).movedim(-3, -1).numpy())


def label_tensor(indices: np.ndarray) -> torch.Tensor:
    """(..., H, W) uint8 class indices (255 = ignored) -> int64 tensor of the same shape."""
    return torch.from_numpy(indices.astype(np.int64))


def one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(B, H, W) int64 indices -> (B, C + 1, H, W) float32; the last channel marks ignored pixels.

    "No label" is a condition of its own, since it is not a terrain: sky, rover, or ground without an agreed label.
    """
    slots = torch.where(labels == IGNORED_INDEX, num_classes, labels)
    # compared, not F.one_hot: its export to ONNX moves the classes to the wrong side
    return (slots[:, None] == torch.arange(num_classes + 1, device=labels.device)[:, None, None]).to(torch.float32)


def pad_to_multiple(images: torch.Tensor, multiple: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Extend (B, channels, H, W) at the bottom and right by repeating the edge until both sides divide by `multiple`.

    Returns:
        the padded images and the (height, width) to cut the result back to.
    """
    height, width = images.shape[-2:]
    # a file for any size holds the padding; elsewhere, padding by nothing would be a copy
    for_any_size = torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
    if not for_any_size and not (height % multiple or width % multiple):
        return images, (height, width)
    padded = F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    return padded, (height, width)


def fold_pixels(images: torch.Tensor, side: int) -> torch.Tensor:
    """`F.pixel_unshuffle` into channels_last, which convolutions want, in one copy instead of two.

    Args:
        images: (B, K, H, W), sides divisible by `side`.
    Returns:
        (B, K side^2, H / side, W / side)
    """
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return F.pixel_unshuffle(images, side)
    batch, channels, height, width = images.shape
    squares = images.reshape(batch, channels, height // side, side, width // side, side)
    folded = squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // side, width // side, channels * side**2)
    return folded.contiguous().permute(0, 3, 1, 2)


def unfold_pixels(images: torch.Tensor, side: int) -> torch.Tensor:
    """`F.pixel_shuffle` of channels_last into channels_last in one copy: the reverse of `fold_pixels`.

    Returns:
        (B, K / side^2, H side, W side)
    """
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return F.pixel_shuffle(images, side)
    batch, channels, height, width = images.shape
    squares = images.permute(0, 2, 3, 1).reshape(batch, height, width, channels // side**2, side, side)
    unfolded = squares.permute(0, 1, 4, 2, 5, 3).reshape(batch, height * side, width * side, channels // side**2)
    return unfolded.contiguous().permute(0, 3, 1, 2)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: many small operations shared among threads take ten times the processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
