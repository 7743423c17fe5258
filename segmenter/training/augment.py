"""Augmentation: random transforms of training windows, the same for image and label map, fixed by a seed.

Random numbers and pixels are those of torchvision.transforms.v2 (RandomHorizontalFlip, RandomAffine, ColorJitter); a
test compares the bits. What is on by default is written out here, because importing torchvision takes 3 s of CPU time
at every start; saturation, hue, gamma and blur import it.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample

from marsgen.scenes.classes import IGNORED_INDEX
from segmenter.training.config import AugmentConfig

_GREY_OF_RGB = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class _Draw:
    """The random numbers of one transform; those of a transform that is turned off change nothing."""

    flip: bool
    angle: float
    """degrees, clockwise"""
    scale: float
    shift: tuple[int, int]
    """columns to the right, rows down"""
    colour_order: tuple[str, ...]
    """which of brightness, contrast, saturation and hue are changed, one after the other"""
    colours: dict[str, float]
    """their factors; the turn of the hue"""
    gamma: float
    blur: float
    """standard deviation in pixels"""
    noise: float
    """standard deviation, 1 = from black to white"""
    noise_seed: int


_COLOURS = ("brightness", "contrast", "saturation", "hue")
_LEAST_BLUR = 0.1  # pixels; a narrower Gaussian is a single pixel


def _draw(config: AugmentConfig, height: int, width: int) -> _Draw:
    """Draw from torch's global generator, in the order in which torchvision does."""
    flip = bool(torch.rand(1) < config.flip) if config.flip else False
    angle, scale, columns, rows = 0.0, 1.0, 0, 0
    if _moves(config):
        angle = _uniform(-config.rotate, config.rotate)
        if config.translate:
            columns, rows = (round(_uniform(-config.translate * s, config.translate * s)) for s in (width, height))
        if config.scale:
            scale = _uniform(1 - config.scale, 1 + config.scale)
    amounts = {name: getattr(config, name) for name in _COLOURS if getattr(config, name)}
    order: list[str] = []
    colours: dict[str, float] = {}
    if amounts:
        order = [_COLOURS[k] for k in torch.randperm(len(_COLOURS)).tolist() if _COLOURS[k] in amounts]
        around = {name: 0.0 if name == "hue" else 1.0 for name in amounts}
        colours = {name: _uniform(around[name] - most, around[name] + most) for name, most in amounts.items()}
    gamma = (1 + config.gamma) ** _uniform(-1, 1) if config.gamma else 1.0
    blur = _uniform(0, config.blur) if config.blur else 0.0
    noise = _uniform(0, config.noise) if config.noise else 0.0
    noise_seed = int(torch.randint(2**31, (1,))) if config.noise else 0
    return _Draw(flip, angle, scale, (columns, rows), tuple(order), colours, gamma, blur, noise, noise_seed)


def _moves(config: AugmentConfig) -> bool:
    return bool(config.scale or config.translate or config.rotate)


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(1).uniform_(low, high).item())


def _apply(
    images: torch.Tensor, labels: torch.Tensor, draw: _Draw, config: AugmentConfig, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, channels, H, W) uint8 and (b, H, W) uint8 -> the same, changed; `first`: place of the first in its group."""
    if draw.flip:
        images, labels = images.flip(-1), labels.flip(-1)
    if _moves(config) and len(images):
        grid = _grid(draw, *images.shape[-2:])
        images = _resample(images, grid, "bilinear", 0)
        # nearest: between class indices 1 and 3 lies no 2
        labels = _resample(labels[None], grid, "nearest", IGNORED_INDEX)[0]
    if len(images):
        for name in draw.colour_order:
            images = _change_colour(images, name, draw.colours[name])
        images = _degrade(images, draw, first)
    return images, labels


def _change_colour(images: torch.Tensor, name: str, amount: float) -> torch.Tensor:
    if name == "brightness":
        return images.mul(amount).clamp_(0, 255).to(torch.uint8)
    if name == "contrast":
        return _change_contrast(images, amount)
    if images.shape[1] != 3:
        return images
    from torchvision.transforms.v2 import functional  # here: it takes seconds to import

    change = functional.adjust_saturation if name == "saturation" else functional.adjust_hue
    return change(images, amount)


def _degrade(images: torch.Tensor, draw: _Draw, first: int) -> torch.Tensor:
    """Gamma, blur and noise, in this order: light comes before optics, and optics before the sensor."""
    if draw.gamma != 1.0 or draw.blur > _LEAST_BLUR:
        from torchvision.transforms.v2 import functional  # here: it takes seconds to import

        if draw.gamma != 1.0:
            images = functional.adjust_gamma(images, draw.gamma)
        if draw.blur > _LEAST_BLUR:
            size = 2 * math.ceil(3 * draw.blur) + 1
            images = functional.gaussian_blur(images, [size, size], [draw.blur, draw.blur])
    if draw.noise:
        # each window has its own noise, whichever process computes it
        seeds = (draw.noise_seed + first + k for k in range(len(images)))
        noise = torch.stack([torch.randn(images.shape[1:], generator=_seeded(seed)) for seed in seeds])
        noise *= 255 * draw.noise
        images = images.add(noise).round_().clamp_(0, 255).to(torch.uint8)
    return images


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _grid(draw: _Draw, height: int, width: int) -> torch.Tensor:
    """(1, H, W, 2) float32: where each pixel comes from, in [-1, 1] of the window."""
    columns, rows = draw.shift
    cos, sin = math.cos(math.radians(draw.angle)) / draw.scale, math.sin(math.radians(draw.angle)) / draw.scale
    inverse = [cos, sin, -cos * columns - sin * rows, -sin, cos, sin * columns - cos * rows]
    theta = torch.tensor(inverse).reshape(1, 2, 3)
    places = torch.ones(1, height, width, 3)
    places[..., 0] = torch.linspace((1.0 - width) * 0.5, (width - 1.0) * 0.5, steps=width)
    places[..., 1] = torch.linspace((1.0 - height) * 0.5, (height - 1.0) * 0.5, steps=height)[:, None]
    theta = theta.transpose(1, 2).div_(torch.tensor([0.5 * width, 0.5 * height]))
    return places.view(1, height * width, 3).bmm(theta).view(1, height, width, 2)


def _resample(layers: torch.Tensor, grid: torch.Tensor, mode: str, fill: int) -> torch.Tensor:
    """(b, L, H, W) uint8 read at the places of `grid`; `fill` where a place lies outside."""
    inside = torch.ones(len(layers), 1, *layers.shape[-2:])
    read = torch.cat([layers.to(torch.float32), inside], dim=1)
    read = grid_sample(read, grid.expand(len(layers), -1, -1, -1), mode=mode, padding_mode="zeros", align_corners=False)
    values, weight = read[:, :-1], read[:, -1:]
    if mode == "nearest":
        values = torch.where(weight < 0.5, torch.tensor(float(fill)), values)
    else:
        values = (values - fill) * weight + fill
    return values.round_().to(torch.uint8)


def _change_contrast(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Distances from the mean grey value of each image times `factor`."""
    if images.shape[1] == 3:
        red, green, blue = images.unbind(dim=1)
        grey = red.mul(_GREY_OF_RGB[0]).add_(green, alpha=_GREY_OF_RGB[1]).add_(blue, alpha=_GREY_OF_RGB[2])
        grey = grey[:, None].floor_()
    else:
        grey = images.to(torch.float32)
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return images.mul(factor).add_(mean, alpha=1.0 - factor).clamp_(0, 255).to(torch.uint8)


def augment(
    images: torch.Tensor, labels: torch.Tensor, config: AugmentConfig, seed: int, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform a batch at random; torch's global random state is restored afterwards.

    Args:
        images: (B, channels, H, W) uint8.
        labels: (B, H, W) uint8 class indices, 255 = ignored.
        config: the amounts, and how many neighbouring windows share one random transform.
        seed: of all random numbers.
        first: position of the first window in the whole batch, the rest of which other processes have.
    Returns:
        the transformed images and labels, same shapes and types; what lies outside a window is black and ignored.
    """
    changed = []
    # torch's global generator, which torchvision's transforms draw from too
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for start in range(-first, len(images), config.windows_per_transform):
            # empty for windows of other processes: their random numbers have to be drawn all the same
            part = slice(max(start, 0), max(start + config.windows_per_transform, 0))
            draw = _draw(config, *images.shape[-2:])
            changed.append(_apply(images[part], labels[part], draw, config, part.start - start))
    return torch.cat([image for image, _ in changed]), torch.cat([mask for _, mask in changed])
