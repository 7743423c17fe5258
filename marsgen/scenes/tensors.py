"""Conversion between uint8 arrays and tensors: value ranges, one-hot labels, padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    """`F.pixel_unshuffle` into channels_last, which convolutions want, without a second copy.

    Args:
        images: (B, K, H, W), sides divisible by `side`.
    Returns:
        (B, K side^2, H / side, W / side)
    """
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return F.pixel_unshuffle(images, side)
    folded: torch.Tensor = _Fold.apply(images, side)
    return folded


def unfold_pixels(images: torch.Tensor, side: int) -> torch.Tensor:
    """`F.pixel_shuffle` into channels_last: the reverse of `fold_pixels`.

    Returns:
        (B, K / side^2, H side, W side)
    """
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return F.pixel_shuffle(images, side)
    unfolded: torch.Tensor = _Unfold.apply(images, side)
    return unfolded


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: torch.Tensor, side: int) -> torch.Tensor:
        context.side = side
        return _folded(images, side)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _unfolded(gradient, context.side), None


class _Unfold(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: torch.Tensor, side: int) -> torch.Tensor:
        context.side = side
        return _unfolded(images, side)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _folded(gradient, context.side), None


# place by place in the square: one copy with six axes takes four times as long
def _folded(images: torch.Tensor, side: int) -> torch.Tensor:
    batch, channels, height, width = images.shape
    folded = images.new_empty(batch, height // side, width // side, channels, side, side)
    for row in range(side):
        for column in range(side):
            folded[..., row, column] = images[:, :, row::side, column::side].permute(0, 2, 3, 1)
    return folded.flatten(3).permute(0, 3, 1, 2)


def _unfolded(images: torch.Tensor, side: int) -> torch.Tensor:
    batch, channels, height, width = images.shape
    squares = images.permute(0, 2, 3, 1).unflatten(3, (channels // side**2, side, side))
    unfolded = images.new_empty(batch, height * side, width * side, channels // side**2)
    for row in range(side):
        for column in range(side):
            unfolded[:, row::side, column::side] = squares[..., row, column]
    return unfolded.permute(0, 3, 1, 2)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: many small operations shared among threads take ten times the processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
