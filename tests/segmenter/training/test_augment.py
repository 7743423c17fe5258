"""Augmentation: the bits of torchvision's transforms, for image and label map alike."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segmenter.training.augment import augment
from segmenter.training.config import AugmentConfig


def augment_by_torchvision(images, labels, config, seed, first):
    """The same with the transforms of torchvision, which the random numbers and pixels are to equal."""
    steps = [v2.RandomHorizontalFlip(config.flip)] if config.flip else []
    if config.scale or config.translate or config.rotate:
        steps.append(
            v2.RandomAffine(
                degrees=config.rotate,
                translate=(config.translate, config.translate) if config.translate else None,
                scale=(1 - config.scale, 1 + config.scale) if config.scale else None,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill={tv_tensors.Image: 0, tv_tensors.Mask: 255},
            )
        )
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
    chain, changed = v2.Compose(steps or [v2.Identity()]), []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for start in range(-first, len(images), config.windows_per_transform):
            part = slice(max(start, 0), max(start + config.windows_per_transform, 0))
            changed.append(chain(tv_tensors.Image(images[part]), tv_tensors.Mask(labels[part])))
    return tuple(torch.cat([pair[k].as_subclass(torch.Tensor) for pair in changed]) for k in (0, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": 0},
        {"scale": 0},
        {"translate": 0},
        {"rotate": 30},
        {"rotate": 90, "scale": 0, "translate": 0},
        {"rotate": 180, "scale": 0.5, "translate": 0.2, "brightness": 0.5, "contrast": 0.5, "windows_per_transform": 1},
        {"brightness": 0},
        {"contrast": 0},
        {"scale": 0.4, "translate": 0.3, "windows_per_transform": 1},
        {"flip": 0, "scale": 0, "translate": 0, "brightness": 0, "contrast": 0},
    ],
    ids=str,
)
def test_every_bit_is_that_of_torchvision(settings, channels):
    config = AugmentConfig(**settings)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (10, channels, 40, 56), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 5, (10, 40, 56), dtype=torch.uint8, generator=generator)
        before = torch.random.get_rng_state()
        for first in (0, 3):
            ours = augment(images, labels, config, seed, first)
            theirs = augment_by_torchvision(images, labels, config, seed, first)
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
        assert torch.equal(torch.random.get_rng_state(), before)


def test_augmentation_moves_image_and_labels_together_and_marks_the_outside():
    labels = torch.from_numpy(np.kron(np.random.default_rng(7).integers(0, 4, (4, 8, 8)), np.ones((1, 8, 8)))).byte()
    images = (labels[:, None] + 1) * 50
    config = AugmentConfig(brightness=0, contrast=0, scale=0.3, translate=0.2, windows_per_transform=1)
    moved, mask = augment(images, labels, config, seed=0)
    outside = mask == 255
    assert 0 < outside.float().mean() < 0.5
    # blocks of one class stay one class; only their rims blur in the image
    agrees = ((moved[:, 0].float() / 50 - 1 - mask.float()).abs() < 0.5)[~outside]
    assert agrees.float().mean() > 0.85
    assert not torch.equal(mask, labels)


def test_brightness_leaves_labels_alone():
    images, labels = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8), torch.ones(2, 32, 32, dtype=torch.uint8)
    config = AugmentConfig(flip=0, scale=0, translate=0, brightness=0.5, windows_per_transform=1)
    changed, same = augment(images, labels, config, seed=1)
    assert torch.equal(same, labels)
    assert not torch.equal(changed[0], changed[1])
