"""Networks: (B, channels, H, W) float images in [-1, 1] -> (B, C, H, W) logits, for any H and W.

In training, one that trains its deeper maps too (`deep_supervision`) gives a list: the logits, then those of the maps.

Each also has features(images) -> (B, F): what its deepest layer sees, averaged over the picture.

NETWORKS    the table of them by name
build_network, ClassesOnly
"""

import torch
from torch import nn

from segmenter.config import TrainConfig
from segmenter.networks.baseline import Baseline
from segmenter.networks.encoder import EncoderUNet
from segmenter.networks.marsseg import MarsSeg
from segmenter.networks.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "encoder": EncoderUNet,
    "marsseg": MarsSeg,
    "baseline": Baseline,
}


def build_network(config: TrainConfig, channels: int, num_classes: int) -> nn.Module:
    """The network that `config.network` names, with its own block of the config (`config.unet`), freshly drawn.

    With `config.void_weight` it has a logit more than classes, the last: what looks like pixels without a label.
    """
    settings = getattr(config, config.network, None)
    outputs = num_classes + (config.void_weight > 0)
    return NETWORKS[config.network](channels, outputs, **(settings.model_dump() if settings else {}))


class ClassesOnly(nn.Module):
    """The logits of the classes, without one for pixels that have no label.

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


__all__ = ["NETWORKS", "Baseline", "ClassesOnly", "EncoderUNet", "MarsSeg", "UNet", "build_network"]
