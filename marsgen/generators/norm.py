"""The normalisation of all generators, over channels only, never over space or batch; and that of discriminators."""

import torch
from torch import nn
from torch.nn.utils import parametrizations


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def spectral_norm(layer: nn.Module) -> nn.Module:
    """torch's; on the meta device, where only sizes are asked for, the two vectors of its state alone.

    torch iterates on them at once, which takes a second of CPU time on that device for the layers of a discriminator.
    """
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if not weight.is_meta:
        return parametrizations.spectral_norm(layer)
    layer.register_buffer("_u", weight.new_empty(weight.shape[0]))
    layer.register_buffer("_v", weight.new_empty(weight[0].numel()))
    return layer
