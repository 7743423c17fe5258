"""Augmentation: random transforms of training windows, the same for image and label map, fixed by a seed."""

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from marsgen.scenes.classes import IGNORED_INDEX
from segmenter.training.config import AugmentConfig


def build_augmentation(config: AugmentConfig) -> v2.Transform:
    """The chain of transforms that `config` turns on; pixels from outside the window are black and ignored."""
    steps: list[v2.Transform] = []
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.scale or config.translate:
        steps.append(
            v2.RandomAffine(
                degrees=0,
                translate=(config.translate, config.translate) if config.translate else None,
                scale=(1 - config.scale, 1 + config.scale) if config.scale else None,
                interpolation=v2.InterpolationMode.BILINEAR,  # masks are always nearest: between ids 1 and 3 lies no 2
                fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORED_INDEX},
            )
        )
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
    return v2.Compose(steps or [v2.Identity()])


def augment(
    images: torch.Tensor,
    labels: torch.Tensor,
    augmentation: v2.Transform,
    windows_per_transform: int,
    seed: int,
    first: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform a batch at random; torch's global random state is restored afterwards.

    Args:
        images: (B, channels, H, W) uint8.
        labels: (B, H, W) uint8 class indices, 255 = ignored.
        windows_per_transform: neighbouring windows that share one random transform; 1 is ten times slower.
        seed: of all random numbers.
        first: position of the first window in the whole batch, the rest of which other processes have.
    Returns:
        the transformed images and labels, same shapes and types.
    """
    changed = []
    # v2 draws from torch's global generator and takes no other
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for start in range(-first, len(images), windows_per_transform):
            # empty for windows of other processes: their random numbers have to be drawn all the same
            part = slice(max(start, 0), max(start + windows_per_transform, 0))
            changed.append(augmentation(tv_tensors.Image(images[part]), tv_tensors.Mask(labels[part])))
    return (
        torch.cat([image.as_subclass(torch.Tensor) for image, _ in changed]),
        torch.cat([mask.as_subclass(torch.Tensor) for _, mask in changed]),
    )
