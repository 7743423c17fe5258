"""The single-layer baseline of the report: a network that sees 3 x 3 pixels."""

import torch
from torch import nn


class Baseline(nn.Module):
    """One 3 x 3 convolution from pixels to logits."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits."""
        return self.layer(images)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C): its logits averaged over the picture."""
        return self.layer(images).mean((2, 3))
