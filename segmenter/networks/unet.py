"""The U-Net of the report: encoder, bottleneck and decoder, skip connections joined by concatenation."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.tensors import pad_to_multiple


class ConvBlock(nn.Sequential):
    """Twice: 3 x 3 convolution, norm, ReLU; then dropout. (B, inside, h, w) -> (B, outside, h, w)."""

    def __init__(self, inside: int, outside: int, norm: str = "batch", dropout: float = 0.0) -> None:
        super().__init__(
            # no bias: batch norm subtracts it again
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            build_norm(norm, outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            build_norm(norm, outside),
            nn.ReLU(inplace=True),
            *([nn.Dropout2d(dropout)] if dropout else []),
        )


class ResidualBlock(nn.Module):
    """ConvBlock with its input added before the last ReLU, through a 1 x 1 convolution where the channels differ.

    Source: He et al. 2015, arXiv:1512.03385; in a U-Net as in Zhang et al. 2018, arXiv:1711.10684, there with norm and
    ReLU before each convolution.
    """

    def __init__(
        self, inside: int, outside: int, norm: str = "batch", dropout: float = 0.0, of_pixels: bool = False
    ) -> None:
        """`of_pixels`: the input is the image itself. Dark pixels are below 0 and the last ReLU would cut them off, so
        the shortcut is a convolution even where the channels agree."""
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            build_norm(norm, outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            build_norm(norm, outside),
        )
        self.shortcut = nn.Conv2d(inside, outside, 1) if inside != outside or of_pixels else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inside, h, w) -> (B, outside, h, w)."""
        return self.dropout(F.relu(self.branch(x) + self.shortcut(x)))


BLOCKS: dict[str, type[nn.Module]] = {"plain": ConvBlock, "residual": ResidualBlock}


def build_norm(kind: str, channels: int) -> nn.Module:
    """Batch norm, or group norm of 8 groups (fewer where the channels do not divide; Wu & He 2018, arXiv:1803.08494).

    Group norm is computed per picture, so it does not depend on the batch size.
    """
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(math.gcd(8, channels), channels)


class UNet(nn.Module):
    """U-Net with 2 x 2 max pooling down and 2 x 2 transposed convolutions up.

    Args:
        channels: 1 = grey, 3 = RGB.
        num_classes: C.
        width: channels w of the first level; each deeper level has twice as many.
        stem: s; s x s pixels are folded into channels before the first block and unfolded after the last
            (pixel unshuffle and shuffle, Shi et al. 2016, arXiv:1609.05158), which loses no pixel.
        depth: D, times that height and width are halved; 2 in the report.
        blocks: "plain" (ConvBlock) or "residual" (ResidualBlock).
        norm: see `build_norm`.
        dropout: probability that a channel is set to 0 after each block.
    Source: Ronneberger et al. 2015, arXiv:1505.04597; batch norm after each convolution as in the report.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        width: int = 32,
        stem: int = 2,
        depth: int = 3,
        blocks: str = "residual",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.multiple = stem * 2**depth
        widths = [width * 2**level for level in range(depth + 1)]  # w, 2w, ...; the last is the bottleneck's

        def block(inside: int, outside: int, of_pixels: bool = False) -> nn.Module:
            more = {"of_pixels": of_pixels} if blocks == "residual" else {}
            return BLOCKS[blocks](inside, outside, norm, dropout, **more)

        inputs = [channels * stem**2, *widths[: depth - 1]]
        self.down = nn.ModuleList()
        for inside, outside in zip(inputs, widths[:-1], strict=True):
            self.down.append(block(inside, outside, of_pixels=not self.down))
        self.bottleneck = block(widths[depth - 1], widths[depth])
        self.upsample, self.up = nn.ModuleList(), nn.ModuleList()  # deepest first
        for level in range(depth, 0, -1):
            above, below = widths[level - 1], widths[level]
            self.upsample.append(nn.ConvTranspose2d(below, above, 2, stride=2))
            self.up.append(block(2 * above, above))
        self.head = nn.Conv2d(width, num_classes * stem**2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits; any H, W (padded to `multiple`, cut back)."""
        padded, (height, width) = pad_to_multiple(images, self.multiple)
        *skips, x = self.encode(padded)
        for skip, upsample, up in zip(reversed(skips), self.upsample, self.up, strict=True):
            x = up(torch.cat([skip, upsample(x)], 1))  # twice as high and wide
        logits = F.pixel_shuffle(self.head(x), self.stem)  # (B, C, padded H, padded W)
        return logits[..., :height, :width]

    def encode(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, channels, H, W) in [-1, 1], sides divisible by `multiple` -> the D blocks down and the bottleneck."""
        x = F.pixel_unshuffle(images, self.stem)  # (B, channels * s * s, h, w), h = H / s
        found = []
        for block in self.down:
            found.append(block(x))  # (B, w, h, w), (B, 2w, h/2, w/2), ...
            x = F.max_pool2d(found[-1], 2)
        return [*found, self.bottleneck(x)]  # (B, w 2^D, h / 2^D, w / 2^D)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, w 2^D): the bottleneck averaged over the picture."""
        return self.encode(pad_to_multiple(images, self.multiple)[0])[-1].mean((2, 3))
