"""Networks: (B, channels, H, W) float images in [-1, 1] -> (B, C, H, W) logits, for any H and W.

In training, one that trains its deeper maps too (`deep_supervision`) gives a list: the logits, then those of the maps.

Each also has features(images) -> (B, F): what its deepest layer sees, averaged over the picture.

NETWORKS    the table of them by name
"""

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
    """The network that `config.network` names, with its own block of the config (`config.unet`), freshly drawn."""
    settings = getattr(config, config.network, None)
    return NETWORKS[config.network](channels, num_classes, **(settings.model_dump() if settings else {}))


__all__ = ["NETWORKS", "Baseline", "EncoderUNet", "MarsSeg", "UNet", "build_network"]
