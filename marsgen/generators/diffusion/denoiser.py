"""The diffusion generator's network: noisy picture, noise level and label map -> velocity toward the picture.

The label map conditions every block at every scale: it sets scale and shift of the normalised activations per pixel
(SPADE, Park et al. 2019, arXiv 1903.07291), while noise level and style set them for the whole picture (Perez et al.
2018, arXiv 1709.07871). It is never normalised itself, so a map of one class is not lost. Nothing is normalised over
space or batch: a sample depends on nothing but itself, and a network trained on 64 px windows works on any size.

Shape letters: B batch, C classes, S numbers in a style, f fold, W width of a scale, M width of the mixed vector.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from marsgen.generators.norm import ChannelNorm
from marsgen.generators.style import COARSE, STYLE_NUMBERS, fill_smoothly
from marsgen.scenes.tensors import fold_pixels, one_hot, unfold_pixels

FINE_WIDTH = 8
"""channels at full resolution, before folding and after unfolding"""
FREQUENCIES = 16
"""sine and cosine each of the noise level"""
MAP_WIDTH = 32
"""channels of the label map's features at each scale"""


class GuidedBlock(nn.Module):
    """Residual block whose first norm is modulated by the mixed vector and the label map's features of its scale."""

    def __init__(self, width: int, mixed: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(width, elementwise_affine=False), ChannelNorm(width)
        self.steer = nn.Linear(mixed, 2 * width)
        self.place = nn.Conv2d(MAP_WIDTH, 2 * width, 1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        # a block starts as the identity
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor, mix: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        scale, shift = (self.steer(mix)[..., None, None] + self.place(features)).chunk(2, dim=1)  # (B, W, h, w)
        y = self.conv1(F.silu(torch.addcmul(shift, self.norm1(x), 1 + scale)))
        return x + self.conv2(F.silu(self.norm2(y)))


class GuidedStack(nn.ModuleList):
    """Blocks of one scale, one after the other."""

    def forward(self, x: torch.Tensor, mix: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        for block in self:
            x = block(x, mix, features)
        return x


class MapEncoder(nn.Module):
    """Label map and inpainting mask -> features at every scale; one pass serves all steps of a drawing."""

    def __init__(self, num_classes: int, fold: int, scales: int) -> None:
        super().__init__()
        self.fold = fold
        self.stem = nn.Conv2d(fold * fold * (num_classes + 3), MAP_WIDTH, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(MAP_WIDTH, MAP_WIDTH, 3, stride=2, padding=1) for _ in range(scales - 1))

    def forward(self, condition: torch.Tensor) -> list[torch.Tensor]:
        """(B, C + 3, H, W) -> (B, MAP_WIDTH, H/f, W/f) and on, halved from scale to scale."""
        features = [F.silu(self.stem(fold_pixels(condition, self.fold)))]
        for down in self.down:
            features.append(F.silu(down(features[-1])))
        return features


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """U-Net over folded pixels; `save_pretrained` and `from_pretrained` are diffusers' own.

    Predicts the velocity v = noise - picture on the straight line x = (1 - t) picture + t noise between the two
    (rectified flow: Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747).
    """

    @register_to_config
    def __init__(
        self,
        num_classes: int,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        fold: int = 2,
    ) -> None:
        """A network with random weights.

        Args:
            num_classes: C; one more input marks ignored pixels, one more that nothing is known of the labels.
            channels: of the pictures; 1 = grey, 3 = RGB.
            widths: channels of each scale, finest first.
            blocks: residual blocks per scale, on the way down and again on the way up.
            fold: side of the pixel squares folded into channels at the finest scale.
        """
        super().__init__()
        self.num_classes, self.channels = num_classes, channels
        self.stride = max(COARSE, fold * 2 ** (len(widths) - 1))
        self.fold = fold
        mixed = 4 * widths[0]
        self.mix = nn.Sequential(
            nn.Linear(2 * FREQUENCIES + STYLE_NUMBERS * channels, mixed), nn.SiLU(), nn.Linear(mixed, mixed), nn.SiLU()
        )
        self.maps = MapEncoder(num_classes, fold, len(widths))
        self.first = nn.Conv2d(3 * channels + 1, FINE_WIDTH, 3, padding=1)
        self.stem = nn.Conv2d(fold * fold * FINE_WIDTH, widths[0], 3, padding=1)

        def stack(width: int) -> "GuidedStack":
            return GuidedStack(GuidedBlock(width, mixed) for _ in range(blocks))

        self.encode = nn.ModuleList(stack(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.decode = nn.ModuleList(stack(width) for width in widths[:-1])
        self.norm = ChannelNorm(widths[0])
        self.head = nn.Conv2d(widths[0], fold * fold * FINE_WIDTH, 3, padding=1)
        # at full resolution again: a pixel shuffle alone leaves a grid of fold x fold
        self.last = nn.Conv2d(FINE_WIDTH + channels, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def condition(
        self,
        labels: torch.Tensor,
        known: torch.Tensor,
        pictures: torch.Tensor,
        inpainting_mask: torch.Tensor,
        style: torch.Tensor,
    ) -> "Condition":
        """The condition of a drawing, computed once for all its steps.

        Args:
            labels: (B, H, W) int64 indices, 255 = ignored; H and W divide by `stride`.
            known: (B,) bool; False = the label map of that sample is hidden (the null condition).
            pictures: (B, channels, H, W) normalised by `style`; hidden where the inpainting mask is 1.
            inpainting_mask: (B, 1, H, W) in [0, 1].
            style: (B, S), see `measure_style`.
        """
        seen = known[:, None, None, None].to(pictures.dtype)
        null = (1 - seen).expand_as(inpainting_mask)
        features = self.maps(torch.cat([one_hot(labels, self.num_classes) * seen, null, inpainting_mask], dim=1))
        visible = pictures * (1 - inpainting_mask)
        return Condition(
            features, torch.cat([visible, fill_smoothly(visible, inpainting_mask), inpainting_mask], dim=1), style
        )

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, condition: "Condition") -> torch.Tensor:
        """Velocity of noisy pictures.

        Args:
            noisy: (B, channels, H, W); H and W divide by `stride`.
            time: (B,) in [0, 1]: fraction of noise, 1 = noise alone.
        Returns:
            (B, channels, H, W) float32.
        """
        mix = self.mix(torch.cat([_waves(time), condition.style], dim=1))  # (B, M)
        x = self.first(torch.cat([noisy, condition.around], dim=1).contiguous(memory_format=torch.channels_last))
        x = self.stem(fold_pixels(x, self.fold))
        skips = []
        for scale in range(len(self.encode)):
            x = self.down[scale - 1](x) if scale else x
            x = self.encode[scale](x, mix, condition.features[scale])
            skips.append(x)  # (B, W, H / f / 2^scale, W / f / 2^scale)
        for scale in reversed(range(len(self.decode))):
            x = skips[scale] + F.interpolate(self.up[scale](x), scale_factor=2.0)
            x = self.decode[scale](x, mix, condition.features[scale])
        x = unfold_pixels(self.head(F.silu(self.norm(x))), self.fold)  # (B, FINE_WIDTH, H, W)
        x = torch.cat([F.silu(x), noisy.to(x.dtype)], dim=1)
        return self.last(x.contiguous(memory_format=torch.channels_last)).float()


class Condition:
    """Inputs of the network other than noise: features of the label map by scale, real surroundings, style."""

    def __init__(self, features: list[torch.Tensor], around: torch.Tensor, style: torch.Tensor) -> None:
        self.features = features
        """(B, MAP_WIDTH, h, w) of each scale, finest first"""
        self.around = around
        """(B, 2 channels + 1, H, W): visible pixels, their smooth continuation into the mask, the inpainting mask"""
        self.style = style
        """(B, S)"""

    def joined(self, other: "Condition") -> "Condition":
        """Both, concatenated along the batch."""
        pairs = zip(self.features, other.features, strict=True)
        return Condition(
            [torch.cat(pair) for pair in pairs],
            torch.cat([self.around, other.around]),
            torch.cat([self.style, other.style]),
        )


def _waves(time: torch.Tensor) -> torch.Tensor:
    """(B,) in [0, 1] -> (B, 2 FREQUENCIES) sines and cosines from a half to some hundred turns."""
    turns = torch.exp(torch.linspace(math.log(0.5), math.log(100), FREQUENCIES, device=time.device))
    angle = 2 * math.pi * time[:, None] * turns
    return torch.cat([angle.sin(), angle.cos()], dim=1)
