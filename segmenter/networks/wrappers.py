"""Wrappers that change the logits of a trained network."""

from collections.abc import Sequence

import torch
from torch import nn


class ClassesOnly(nn.Module):
    """The logits of the classes, without the one for pixels that have no label.

    Args:
        network: (B, channels, H, W) -> (B, C + 1, H, W) logits; has features().
        num_classes: C.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits."""
        return self.network(images)[:, : self.num_classes]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The network's own features."""
        return self.network.features(images)  # type: ignore[operator]


class Calibrated(nn.Module):
    """A network whose logits are shifted class by class (see inference/calibration.py).

    A further logit, for pixels without a label (`void_weight`), keeps its probability: calibration moves probability
    between the classes only.

    Args:
        network: (B, channels, H, W) -> (B, C, H, W) logits, or C + 1; has features().
        shift: (C,) added to the logits of each class.
    """

    shift: torch.Tensor

    def __init__(self, network: nn.Module, shift: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) shifted logits, or C + 1."""
        logits = self.network(images)
        plain, no_label = logits.split([len(self.shift), logits.shape[1] - len(self.shift)], dim=1)
        shifted = plain + self.shift
        if no_label.shape[1]:
            grown = shifted.logsumexp(1, keepdim=True) - plain.logsumexp(1, keepdim=True)
            shifted = torch.cat([shifted, no_label + grown], 1)
        return shifted

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The network's own features."""
        return self.network.features(images)  # type: ignore[operator]


class Reordered(nn.Module):
    """A network whose classes are listed in another order; outputs beyond them (`void_weight`) stay last."""

    def __init__(self, network: nn.Module, order: Sequence[int]) -> None:
        """Wrap `network`; output i of the result is output order[i] of the network."""
        super().__init__()
        self.network, self.order = network, list(order)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C or more, H, W) logits."""
        logits = self.network(images)
        return logits[:, [*self.order, *range(len(self.order), logits.shape[1])]]
