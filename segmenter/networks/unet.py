"""The U-Net of the report: two blocks down, a bottleneck, two blocks up, skips joined by concatenation."""

import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.tensors import pad_to_multiple

_DOWNSAMPLINGS = 2


class ConvBlock(nn.Sequential):
    """Twice: 3 x 3 convolution, batch norm, ReLU. (B, inside, h, w) -> (B, outside, h, w)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            # no bias: batch norm subtracts it again
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """U-Net with 2 x 2 max pooling down and 2 x 2 transposed convolutions up.

    Args:
        channels: 1 = grey, 3 = RGB.
        num_classes: C.
        width: channels w of the first block; the blocks below have 2w and 4w.
        stem: s; s x s pixels are folded into channels before the first block and unfolded after the last
            (pixel unshuffle and shuffle, Shi et al. 2016, arXiv:1609.05158), so that no pixel is averaged away.
    Source: Ronneberger et al. 2015, arXiv:1505.04597; batch norm after each convolution as in the report.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 32, stem: int = 2) -> None:
        super().__init__()
        self.stem = stem
        self.multiple = stem * 2**_DOWNSAMPLINGS
        self.down1 = ConvBlock(channels * stem**2, width)
        self.down2 = ConvBlock(width, 2 * width)
        self.bottleneck = ConvBlock(2 * width, 4 * width)
        self.widen2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up2 = ConvBlock(4 * width, 2 * width)
        self.widen1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up1 = ConvBlock(2 * width, width)
        self.head = nn.Conv2d(width, num_classes * stem**2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits; any H, W (padded to `multiple`, cut back)."""
        padded, (height, width) = pad_to_multiple(images, self.multiple)
        skip1, skip2, x = self.encode(padded)
        x = self.up2(torch.cat([skip2, self.widen2(x)], 1))  # (B, 2w, h/2, w/2)
        x = self.up1(torch.cat([skip1, self.widen1(x)], 1))  # (B, w, h, w)
        logits = F.pixel_shuffle(self.head(x), self.stem)  # (B, C, padded H, padded W)
        return logits[..., :height, :width]

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, channels, H, W) in [-1, 1], sides divisible by `multiple` -> the two blocks down and the bottleneck."""
        x = F.pixel_unshuffle(images, self.stem)  # (B, channels * s * s, h, w), h = H / s
        skip1 = self.down1(x)  # (B, w, h, w)
        skip2 = self.down2(F.max_pool2d(skip1, 2))  # (B, 2w, h/2, w/2)
        return skip1, skip2, self.bottleneck(F.max_pool2d(skip2, 2))  # (B, 4w, h/4, w/4)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, 4w): the bottleneck averaged over the picture."""
        return self.encode(pad_to_multiple(images, self.multiple)[0])[-1].mean((2, 3))
