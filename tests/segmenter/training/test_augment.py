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
    if config.brightness or config.contrast or config.saturation or config.hue:
        steps.append(v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue))
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
        {"saturation": 0.5, "hue": 0.1, "brightness": 0.4},
        {"saturation": 0, "hue": 0.5, "brightness": 0, "contrast": 0},
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


FIXED = {"flip": 0, "brightness": 0, "contrast": 0, "scale": 0, "translate": 0, "windows_per_transform": 3}


def windows(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of all grey values, and label maps."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 1, 40, 56), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 5, (n, 40, 56), dtype=torch.uint8, generator=generator)


def test_gamma_is_one_power_for_the_windows_of_a_transform():
    images, labels = windows()
    changed, kept = augment(images, labels, AugmentConfig(**FIXED, gamma=1.0), seed=3)
    assert torch.equal(kept, labels)
    inside = (images > 20) & (images < 235)
    powers = [(changed[i][inside[i]] / 255).log() / (images[i][inside[i]] / 255).log() for i in range(7)]
    powers = torch.stack([power.median() for power in powers])
    assert powers.min() > 0.5 - 0.02
    assert powers.max() < 2 + 0.02
    assert (powers[:3] - powers[0]).abs().max() < 0.02
    assert (powers[0] - powers[3]).abs() > 0.02


def test_blur_makes_neighbours_alike_and_leaves_the_mean():
    images, labels = windows()
    changed, kept = augment(images, labels, AugmentConfig(**FIXED, blur=2.0), seed=7)
    assert torch.equal(kept, labels)
    steps = [batch.float().diff(dim=-1).abs().mean(dim=(1, 2, 3)) for batch in (images, changed)]
    assert (steps[1] < 0.9 * steps[0]).all()
    assert (images.float().mean(dim=(1, 2, 3)) - changed.float().mean(dim=(1, 2, 3))).abs().max() < 4


def test_noise_differs_between_windows_and_has_the_drawn_strength():
    images = torch.full((8, 3, 40, 56), 128, dtype=torch.uint8)
    labels = torch.zeros((8, 40, 56), dtype=torch.uint8)
    config = AugmentConfig(**FIXED | {"windows_per_transform": 4}, noise=0.2)
    changed = augment(images, labels, config, seed=7)[0].float() - 128
    spread = changed.std(dim=(1, 2, 3))
    assert spread.max() < 0.2 * 255
    assert (spread[:4] / spread[0] - 1).abs().max() < 0.05
    assert (spread[4] / spread[0] - 1).abs() > 0.05
    assert not torch.equal(changed[0], changed[1])


@pytest.mark.parametrize("first", [1, 3, 4])
def test_a_window_is_the_same_whichever_process_has_it(first):
    images, labels = windows(8)
    images = images.expand(-1, 3, -1, -1)
    config = AugmentConfig(saturation=0.4, hue=0.2, gamma=0.5, blur=1.0, noise=0.1, windows_per_transform=3)
    whole = augment(images, labels, config, seed=9)
    part = augment(images[first:], labels[first:], config, seed=9, first=first)
    assert all(torch.equal(one[first:], other) for one, other in zip(whole, part, strict=True))


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
