"""Differentiable augmentation: keeps a discriminator from overfitting to few pictures.

Source: Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training, arXiv 2006.10738. One difference:
real and fake of a sample share their parameters, since feature matching compares them place by place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_SHIFT = 0.125
"""translation, as a fraction of each side"""
CUTOUT = 0.4
"""side of the cutout square, as a fraction of each side"""
BRIGHTNESS = 0.5
"""largest offset, in spreads of the picture"""
CONTRAST = 0.5
"""factors lie between 1 - this and 1 + this"""


@dataclass(frozen=True)
class Augmentation:
    """One brightness, contrast, translation and cutout per sample, fixed when drawn and applied to anything after."""

    brightness: torch.Tensor
    """(B, 1, 1, 1) offsets"""
    contrast: torch.Tensor
    """(B, 1, 1, 1) factors about the mean of each image"""
    shifts: list[tuple[int, int]]
    """(rows, columns) by which a sample moves; what comes in from outside is 0"""
    keep: torch.Tensor
    """(B, 1, H, W) 0 inside the cutout, 1 elsewhere"""

    def to(self, device: torch.device) -> "Augmentation":
        return Augmentation(self.brightness.to(device), self.contrast.to(device), self.shifts, self.keep.to(device))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """All four: (B, channels, H, W) of mean about 0 and spread about 1 -> the same shape; gradients flow back."""
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return self.move(torch.addcmul(mean * (1 - self.contrast) + self.brightness, images, self.contrast))

    def move(self, maps: torch.Tensor) -> torch.Tensor:
        """Translation and cutout alone: (B, K, H, W) -> the same shape.

        Label maps and inpainting masks are moved and cut with their picture, and never recoloured.
        """
        moved: torch.Tensor = _Shift.apply(maps, self.shifts)
        return moved * self.keep


def draw_augmentation(height: int, width: int, strength: float, seeds: Iterable[int]) -> Augmentation:
    """Draw the parameters for a batch of images of height x width.

    Args:
        strength: 1 = as in the paper, 0 = leave everything as it is.
        seeds: one per sample; sample b depends on seeds[b] alone.
    """
    draws = np.stack([np.random.default_rng([int(seed), 1]).uniform(-1, 1, 6) for seed in seeds])
    brightness, contrast, *_ = torch.from_numpy(draws.T.astype(np.float32) * strength)[..., None, None, None]
    shifts = np.rint(strength * MAX_SHIFT * draws[:, 2:4] * (height, width)).astype(int)
    keep = torch.ones(len(draws), 1, height, width)
    tall, wide = round(CUTOUT * strength * height), round(CUTOUT * strength * width)
    for sample, (row, column) in enumerate(draws[:, 4:]):
        # centres anywhere in the picture, so that the cutout often reaches beyond its edge, as in the paper
        top, left = int((row + 1) / 2 * height) - tall // 2, int((column + 1) / 2 * width) - wide // 2
        keep[sample, :, max(top, 0) : top + tall, max(left, 0) : left + wide] = 0
    return Augmentation(brightness * BRIGHTNESS, 1 + contrast * CONTRAST, [(int(y), int(x)) for y, x in shifts], keep)


class _Shift(torch.autograd.Function):
    """Each sample of (B, K, H, W) moved down by its rows and right by its columns; zeros come in.

    Gradients move back. A padding for each sample would be recorded, and undone, one by one.
    """

    @staticmethod
    def forward(context: Any, maps: torch.Tensor, shifts: list[tuple[int, int]]) -> torch.Tensor:
        context.shifts = shifts
        return _shifted(maps, shifts)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _shifted(gradient, [(-rows, -columns) for rows, columns in context.shifts]), None


def _shifted(maps: torch.Tensor, shifts: list[tuple[int, int]]) -> torch.Tensor:
    height, width = maps.shape[-2:]
    moved = torch.zeros_like(maps, memory_format=torch.contiguous_format)
    for to, sample, (rows, columns) in zip(moved, maps, shifts, strict=True):
        to[:, max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)] = sample[
            :, max(-rows, 0) : height + min(-rows, 0), max(-columns, 0) : width + min(-columns, 0)
        ]
    return moved
