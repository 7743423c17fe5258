"""The table of networks, and how one is built from its settings."""

from torch import nn

from segmenter.networks.baseline import Baseline
from segmenter.networks.config import NetworkConfig
from segmenter.networks.encoder import EncoderUNet
from segmenter.networks.marsseg import MarsSeg
from segmenter.networks.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "encoder": EncoderUNet,
    "marsseg": MarsSeg,
    "baseline": Baseline,
}


def build_network(config: NetworkConfig, channels: int, num_classes: int) -> nn.Module:
    """The network that `config.network` names, of the size in its own block of the config, with random weights.

    With `config.void_weight` it has C + 1 outputs; the last stands for pixels without a label.

    Args:
        channels: 1 = grey, 3 = RGB.
        num_classes: C.
    """
    settings = getattr(config, config.network, None)
    outputs = num_classes + (config.void_weight > 0)
    return NETWORKS[config.network](channels, outputs, **(settings.model_dump() if settings else {}))
