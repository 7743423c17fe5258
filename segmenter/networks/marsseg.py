"""MarsSeg: few down-samplings, attention on shallow feature maps, pooling over the whole picture on deep ones.

After Li et al. 2024, arXiv:2404.04155. From the paper: the order of the parts (encoder with few down-samplings;
Mini-ASPP and polarized self-attention on shallow maps, strip pyramid pooling on deep ones; a decoder whose deeper maps
are trained too) and the weights 1 / (IoU + a) of its focal-Dice loss (segmenter/training/losses.py). Our own: all
sizes. The paper uses a pretrained encoder and pictures of 512 pixels; this one starts from random weights and is small
enough for 64 x 128 on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import nn

from marsgen.scenes.tensors import pad_to_multiple
from segmenter.networks.unet import ResidualBlock


def _conv(inside: int, outside: int, size: int | tuple[int, int], dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps height and width, batch norm, ReLU."""
    # half the kernel in numbers: onnxruntime does not know "same" beside a dilation
    sides = (size, size) if isinstance(size, int) else size
    padding = (dilation * (sides[0] // 2), dilation * (sides[1] // 2))
    return nn.Sequential(
        nn.Conv2d(inside, outside, sides, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class MiniASPP(nn.Module):
    """Parallel convolutions of several dilations: 1 x 1, and 3 x 3 at dilations 1, 2 and 4, each with a quarter of the
    channels.

    Source: Chen et al. 2017, arXiv:1706.05587 (ASPP); the dilations are ours.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [_conv(width, width // 4, 1), *(_conv(width, width // 4, 3, dilation) for dilation in (1, 2, 4))]
        )
        self.join = _conv(width // 4 * 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, w, h, w') -> the same shape."""
        return self.join(torch.cat([branch(x) for branch in self.branches], 1))


class PolarizedAttention(nn.Module):
    """Channel attention, then spatial attention: every value is multiplied by two weights in (0, 1).

    Source: Liu et al. 2021, arXiv:2107.00782, the sequential layout, equations 1 and 2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.channel_query, self.channel_value = nn.Conv2d(width, 1, 1), nn.Conv2d(width, half, 1)
        self.channel_weight = nn.Sequential(nn.Linear(half, width), nn.LayerNorm(width), nn.Sigmoid())
        self.place_query, self.place_value = nn.Conv2d(width, half, 1), nn.Conv2d(width, half, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, w, h, w') -> the same shape."""
        where = self.channel_query(x).flatten(2).softmax(2)  # (B, 1, h w'), sum 1 over places
        seen = (self.channel_value(x).flatten(2) * where).sum(2)  # (B, w / 2)
        x = x * self.channel_weight(seen)[:, :, None, None]
        what = self.place_query(x).mean((2, 3)).softmax(1)  # (B, w / 2), sum 1 over channels
        return x * (self.place_value(x) * what[:, :, None, None]).sum(1, keepdim=True).sigmoid()


class StripPooling(nn.Module):
    """Means over 1, 2 and 4 horizontal and vertical strips, resized to the input and concatenated with it.

    Source: Hou et al. 2020, arXiv:2003.13328 (strip pooling), Zhao et al. 2017, arXiv:1612.01105 (pyramid pooling); how
    the two are joined is ours.
    """

    STRIPS = (1, 2, 4)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lying = nn.ModuleList([_conv(width, width // 4, (1, 3)) for _ in self.STRIPS])
        self.standing = nn.ModuleList([_conv(width, width // 4, (3, 1)) for _ in self.STRIPS])
        self.join = _conv(width + width // 4 * len(self.STRIPS), width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, w, h, w') -> the same shape."""
        size, levels = x.shape[2:], [x]
        for strips, lying, standing in zip(self.STRIPS, self.lying, self.standing, strict=True):
            flat = lying(pool_strips(x, strips, 2))  # (B, w / 4, strips, w')
            tall = standing(pool_strips(x, strips, 3))  # (B, w / 4, h, strips)
            levels.append(_resize(flat, size) + _resize(tall, size))
        return self.join(torch.cat(levels, 1))


def pool_strips(x: torch.Tensor, strips: int, dim: int) -> torch.Tensor:
    """Means over `strips` equal parts of a side, as F.adaptive_avg_pool2d has them; that cannot be exported to ONNX."""
    length = x.shape[dim]
    ends = [(i * length // strips, ((i + 1) * length + strips - 1) // strips) for i in range(strips)]
    parts = [x[:, :, first:end] if dim == 2 else x[..., first:end] for first, end in ends]
    return torch.cat([part.mean(dim, keepdim=True) for part in parts], dim)


class MarsSeg(nn.Module):
    """The network; see the top of this file for what follows the paper.

    Args:
        channels: 1 = grey, 3 = RGB.
        num_classes: C.
        width: channels w of the first block, then 2w and 4w.
        stem: s; s x s pixels are folded into channels first, as in UNet.
        deep_supervision: weight of the loss on each of the two deeper maps, relative to that on the logits; 0 = none.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int = 32, stem: int = 2, deep_supervision: float = 0.4
    ) -> None:
        super().__init__()
        self.stem, self.deep_supervision = stem, deep_supervision
        self.multiple = stem * 4
        # two halvings; the last block has a larger receptive field instead of a third halving
        self.down1 = ResidualBlock(channels * stem**2, width, of_pixels=True)
        self.down2 = ResidualBlock(width, 2 * width)
        self.down3 = ResidualBlock(2 * width, 4 * width)
        self.further = _conv(4 * width, 4 * width, 3, dilation=2)
        self.sharpen1 = nn.Sequential(MiniASPP(width), PolarizedAttention(width))
        self.sharpen2 = nn.Sequential(MiniASPP(2 * width), PolarizedAttention(2 * width))
        self.gather = StripPooling(4 * width)
        self.widen2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up2 = ResidualBlock(4 * width, 2 * width)
        self.widen1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up1 = ResidualBlock(2 * width, width)
        self.head = nn.Conv2d(width, num_classes * stem**2, 1)
        deeper = (2 * width, 4 * width) if deep_supervision else ()
        self.deeper_heads = nn.ModuleList([nn.Conv2d(inside, num_classes, 1) for inside in deeper])

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits; any H, W (padded to `multiple`, cut back).

        In training with deep supervision, a list: the logits, then those of the deeper maps, resized to the same size.
        """
        padded, (height, width) = pad_to_multiple(images, self.multiple)
        x1, x2, x3 = self.encode(padded)
        deep = self.gather(x3)  # (B, 4w, h/4, w/4)
        middle = self.up2(torch.cat([self.sharpen2(x2), self.widen2(deep)], 1))  # (B, 2w, h/2, w/2)
        x = self.up1(torch.cat([self.sharpen1(x1), self.widen1(middle)], 1))  # (B, w, h, w)
        logits = F.pixel_shuffle(self.head(x), self.stem)[..., :height, :width]
        if not self.training or not self.deep_supervision:
            return logits
        size = padded.shape[2:]
        found = [_resize(head(x), size) for head, x in zip(self.deeper_heads, (middle, deep), strict=True)]
        return [logits, *(deeper[..., :height, :width] for deeper in found)]

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, channels, H, W) in [-1, 1], sides divisible by `multiple` -> maps of h = H / s, h / 2 and h / 4."""
        x1 = self.down1(F.pixel_unshuffle(images, self.stem))  # (B, w, h, w)
        x2 = self.down2(F.max_pool2d(x1, 2))  # (B, 2w, h/2, w/2)
        return x1, x2, self.further(self.down3(F.max_pool2d(x2, 2)))  # (B, 4w, h/4, w/4)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, 4w): the deepest map averaged over the picture."""
        return self.gather(self.encode(pad_to_multiple(images, self.multiple)[0])[-1]).mean((2, 3))


def _resize(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
