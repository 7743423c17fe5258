"""Style: brightness, contrast and grain of a picture. Networks get them as numbers and work on normalised pictures.

Without it, a generator would have to guess the exposure of a whole scene, and the guess with the lowest loss is grey.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

STYLE_NUMBERS = 3
"""per colour channel: mean, spread, grain"""
SMALLEST_SPREAD = 0.04
"""about 5 grey levels; flatter pictures are not stretched further, that would show noise"""
FARTHEST = 5.0
"""pixels farther from the mean, in spreads, are cut: the white paint of a rover, not terrain"""
CLOSE_STYLES = 24
"""a whole scene takes its style from one of this many training scenes with the most similar class fractions"""
PRIOR = 1e-8
"""weight of the mean in the smooth filling: it counts where no real pixel is within three cells"""
COARSE = 8
"""cell in pixels of the smooth filling"""


def measure_style(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """How bright, contrasted and grainy the weighted part of each picture is.

    Args:
        images: (B, channels, H, W) in [-1, 1].
        weight: (B, 1, H, W) >= 0, not all 0 in a sample.
    Returns:
        (B, 3 * channels): mean, spread (standard deviation, at least SMALLEST_SPREAD) and grain (mean absolute step
        between neighbours, in spreads) of each channel.
    """
    total = weight.sum(dim=(2, 3))
    mean = (images * weight).sum(dim=(2, 3)) / total
    variance = ((images - mean[..., None, None]).square() * weight).sum(dim=(2, 3)) / total
    spread = variance.sqrt().clamp_min(SMALLEST_SPREAD)
    # written out: torch.diff cannot be exported to ONNX
    across, down = (images[..., 1:] - images[..., :-1]).abs(), (images[..., 1:, :] - images[..., :-1, :]).abs()
    across_weight, down_weight = weight[..., 1:] * weight[..., :-1], weight[..., 1:, :] * weight[..., :-1, :]
    steps = (across * across_weight).sum(dim=(2, 3)) + (down * down_weight).sum(dim=(2, 3))
    grain = steps / (across_weight.sum(dim=(2, 3)) + down_weight.sum(dim=(2, 3))).clamp_min(1) / spread
    return torch.cat([mean, spread, grain], dim=1)


def visible_style(images: torch.Tensor, inpainting_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Style of the real pixels round each inpainting mask, and for which samples there are too few of them to tell.

    Args:
        images: (B, channels, H, W) in [-1, 1].
        inpainting_mask: (B, 1, H, W) in [0, 1].
    Returns:
        (B, S) styles, of the whole image where too little is visible; (B,) bool, True there.
    """
    unknown = (1 - inpainting_mask).mean(dim=(1, 2, 3)) < 0.05
    weight = torch.where(unknown[:, None, None, None], torch.ones_like(inpainting_mask), 1 - inpainting_mask)
    return measure_style(images, weight), unknown


def normalise(images: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """(B, channels, H, W) in [-1, 1] -> the same shape with mean 0 and spread 1, cut at FARTHEST spreads."""
    mean, spread = _mean_and_spread(style)
    return ((images - mean) / spread).clamp(-FARTHEST, FARTHEST)


def denormalise(pictures: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Back to the range of images, where a drawing may reach beyond [-1, 1]."""
    mean, spread = _mean_and_spread(style)
    return pictures * spread + mean


def _mean_and_spread(style: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, spread, _ = style[..., None, None].chunk(STYLE_NUMBERS, dim=1)
    return mean, spread


def fill_smoothly(visible: torch.Tensor, inpainting_mask: torch.Tensor) -> torch.Tensor:
    """Local brightness of the real pixels, continued smoothly into the inpainting mask.

    Args:
        visible: (B, channels, H, W) normalised pictures times (1 - inpainting mask); sides divide by COARSE.
        inpainting_mask: (B, 1, H, W) in [0, 1].
    Returns:
        (B, channels, H, W); 0, the mean of the picture, far from any real pixel.
    """
    light = F.avg_pool2d(torch.cat([visible, 1 - inpainting_mask], dim=1), COARSE)
    total = light
    for _ in range(3):
        # cells without a real pixel take the mean of their neighbours, then of those, each round with less weight
        light = 0.01 * F.avg_pool2d(light, 3, stride=1, padding=1)
        total = total + light
    mean = total[:, :-1] / (total[:, -1:] + PRIOR)
    return F.interpolate(mean, scale_factor=float(COARSE), mode="bilinear")


@dataclass(frozen=True)
class StyleTable:
    """Styles and class fractions of training scenes."""

    shares: torch.Tensor
    """(T, C + 1) fraction of the pixels of each class, last = ignored"""
    styles: torch.Tensor
    """(T, S)"""

    def choose(self, shares: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
        """(B, S) styles for maps with class `shares` (B, C + 1): one of the closest, by `choice` (B,) in [0, 1)."""
        if torch.onnx.is_in_onnx_export():
            # what torch.cdist and a stable sort do; ONNX has neither, and its TopK puts the first of equals first
            distance = (shares[:, None] - self.shares).abs().sum(dim=2)
            closest = distance.topk(min(CLOSE_STYLES, len(self.shares)), dim=1, largest=False).indices
        else:
            distance = torch.cdist(shares, self.shares, p=1)
            # stable: ties are common (maps of one class) and must fall the same way everywhere
            closest = distance.argsort(dim=1, stable=True)[:, :CLOSE_STYLES]
        chosen = (choice * closest.shape[1]).long()[:, None]
        return self.styles[closest.gather(1, chosen)[:, 0]]
