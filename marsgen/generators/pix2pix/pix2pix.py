"""pix2pix: a GAN that draws a whole scene from its label map, or only the inpainting mask of a real scene.

A conditional GAN after Isola et al. 2017 (arXiv 1611.07004), with feature matching (Wang et al. 2018, arXiv
1711.11585). The generator sees the label map, the real pixels around the inpainting mask, a *style* (brightness,
contrast and grain of the picture, as numbers) and noise. Both networks work on pictures normalised by their style, so
that the look of a terrain need not be learned for every exposure. Inside, nothing is normalised over space or batch:
that would erase a label map of one class, and make a sample depend on its neighbours.

Shape letters: B batch, C classes, N noise channels, W network width, S numbers in a style.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.core.errors import InputError, RunError
from marsgen.core.storage.checkpoints import DAMAGE, read_weights, refuse_other_shapes, without_prefix
from marsgen.core.storage.files import file_fingerprint
from marsgen.core.storage.reading import first_line, read_json, value_at
from marsgen.core.training import arithmetic
from marsgen.generators import DEFAULT_SAMPLING, RECORD, DrawConfig, DrawRequest, read_maker, refuse_other_drawing
from marsgen.generators.norm import ChannelNorm, spectral_norm
from marsgen.generators.style import STYLE_NUMBERS, StyleTable, denormalise, fill_smoothly, normalise, visible_style
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.tensors import (
    fold_pixels,
    image_array,
    image_tensor,
    label_tensor,
    one_hot,
    pad_to_multiple,
    unfold_pixels,
)

WEIGHTS = "best.safetensors"
STRIDE = 8
"""sides are padded to a multiple of this inside the networks"""
FINE_WIDTH = 8
"""channels of the generator at full resolution"""
GLOBAL_NOISE = 8
"""numbers of noise that the whole picture shares"""


# inputs of the generator


@dataclass(frozen=True)
class Noise:
    """Everything random in one drawing."""

    choice: torch.Tensor
    """(B,) in [0, 1): which of the closest styles"""
    whole: torch.Tensor
    """(B, GLOBAL_NOISE) shared by the whole picture"""
    maps: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """(B, 4, H/2, W/2), (B, 1, H/4, W/4), (B, 1, H/8, W/8)"""

    def to(self, device: torch.device) -> "Noise":
        fine, middle, coarse = (m.to(device) for m in self.maps)
        return Noise(self.choice.to(device), self.whole.to(device), (fine, middle, coarse))


def draw_noise(seeds: Iterable[int], height: int, width: int) -> Noise:
    """Noise for images of height x width, normal but for `choice`; sample b depends on seeds[b] and the size alone."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    sizes = [(GLOBAL_NOISE,), (4, rows * 4, columns * 4), (1, rows * 2, columns * 2), (1, rows, columns)]
    ends = np.cumsum([np.prod(size) for size in sizes])
    streams = [np.random.Generator(np.random.Philox(key=int(seed))) for seed in seeds]
    choice = torch.tensor([stream.random() for stream in streams], dtype=torch.float64)
    flat = torch.from_numpy(np.stack([stream.standard_normal(ends[-1], np.float32) for stream in streams]))
    parts = torch.tensor_split(flat, ends[:-1].tolist(), dim=1)
    whole, fine, middle, coarse = (part.reshape(-1, *size) for part, size in zip(parts, sizes, strict=True))
    return Noise(choice, whole, (fine, middle, coarse))


# networks


class NoisyBlock(nn.Module):
    """Residual block: norm, style, convolution, noise, convolution."""

    def __init__(self, width: int, style_width: int, noise_channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.style = nn.Linear(style_width, 2 * width)
        self.noise = nn.Conv2d(noise_channels, width, 1)

    def forward(self, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        scale, shift = self.style(style)[..., None, None].chunk(2, dim=1)  # (B, W, 1, 1)
        y = F.leaky_relu(torch.addcmul(shift, self.norm1(x), 1 + scale), 0.2, inplace=True)
        y = self.conv1(y) + self.noise(noise)
        return x + self.conv2(F.leaky_relu(self.norm2(y), 0.2, inplace=True))


class GeneratorNetwork(nn.Module):
    """U-Net over pixel-unshuffled input: label map, surroundings, style and noise -> image.

    Upsampling is nearest neighbour followed by 3x3 convolutions, and the last step is a pixel shuffle that starts with
    four equal sub-pixels (ICNR, Aitken et al. 2017, arXiv 1707.02937): neither begins with a checkerboard.
    """

    def __init__(self, num_classes: int, channels: int, width: int) -> None:
        super().__init__()
        self.num_classes, self.channels, self.width = num_classes, channels, width
        mixed = 4 * width
        self.style = nn.Sequential(
            nn.Linear(STYLE_NUMBERS * channels + GLOBAL_NOISE, mixed), nn.LeakyReLU(0.2), nn.Linear(mixed, mixed)
        )
        self.stem = nn.Conv2d(4 * (num_classes + 1 + 2 * channels + 1) + 4, width, 3, padding=1)
        self.encode1 = NoisyBlock(width, mixed, 4)
        self.down1 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.encode2 = NoisyBlock(2 * width, mixed, 1)
        self.down2 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.middle1 = NoisyBlock(4 * width, mixed, 1)
        self.middle2 = NoisyBlock(4 * width, mixed, 1)
        self.up2 = nn.Conv2d(4 * width, 2 * width, 1)
        self.decode2 = NoisyBlock(2 * width, mixed, 1)
        self.up1 = nn.Conv2d(2 * width, width, 1)
        self.decode1 = NoisyBlock(width, mixed, 4)
        self.norm = ChannelNorm(width)
        self.head = nn.Conv2d(width, 4 * FINE_WIDTH, 3, padding=1)
        self.last = nn.Conv2d(FINE_WIDTH, channels, 3, padding=1)
        with torch.no_grad():
            for parameter in self.head.parameters():
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))

    def forward(
        self,
        labels: torch.Tensor,
        pictures: torch.Tensor,
        inpainting_mask: torch.Tensor,
        style: torch.Tensor,
        noise: Noise,
    ) -> torch.Tensor:
        """Draw.

        Args:
            labels: (B, H, W) int64 indices, 255 = ignored.
            pictures: (B, channels, H, W) normalised by `style`; hidden where the inpainting mask is 1.
            inpainting_mask: (B, 1, H, W) in [0, 1].
            style: (B, S), see `measure_style`.
            noise: see `draw_noise`.
        Returns:
            (B, channels, H, W) float32, normalised by `style`, drawn everywhere and not only in the inpainting mask.
        """
        given = torch.cat([one_hot(labels, self.num_classes), pictures * (1 - inpainting_mask), inpainting_mask], dim=1)
        given, (height, width) = pad_to_multiple(given, STRIDE)
        smooth = fill_smoothly(given[:, -1 - self.channels : -1], given[:, -1:])
        given = torch.cat([given, smooth], dim=1)
        fine, middle, coarse = noise.maps
        mix = self.style(torch.cat([style, noise.whole], dim=1))  # (B, 4W)
        x = torch.cat([fold_pixels(given, 2), fine.contiguous(memory_format=torch.channels_last)], dim=1)
        x = self.stem(x)  # (B, W, H/2, W/2)
        x = skip1 = self.encode1(x, mix, fine)
        x = skip2 = self.encode2(self.down1(x), mix, middle)  # (B, 2W, H/4, W/4)
        x = self.middle1(self.down2(x), mix, coarse)  # (B, 4W, H/8, W/8)
        x = self.middle2(x, mix, coarse)
        x = skip2 + F.interpolate(self.up2(x), scale_factor=2.0)
        x = self.decode2(x, mix, middle)
        x = skip1 + F.interpolate(self.up1(x), scale_factor=2.0)
        x = self.decode1(x, mix, fine)
        x = unfold_pixels(self.head(F.leaky_relu(self.norm(x), 0.2, inplace=True)), 2)  # (B, FINE_WIDTH, H, W)
        x = self.last(F.leaky_relu(x, 0.2))
        return (smooth + x.float())[..., :height, :width]


class DiscriminatorNetwork(nn.Module):
    """PatchGAN with spectral norm: classifies patches of image, label map and inpainting mask at two scales.

    Small patches show texture and seams, large ones the shape of a rock.
    """

    def __init__(self, num_classes: int, channels: int, width: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, size, stride, padding=1))

        def leaky(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
            return spectral_norm(LeakyConv(inputs, outputs, size, stride, padding=1))

        self.channels = channels
        self.stem = leaky(4 * (2 * channels + num_classes + 2), width)
        self.down1 = leaky(width, 2 * width, 4, 2)
        self.small = layer(2 * width, 1)
        self.down2 = leaky(2 * width, 4 * width, 4, 2)
        self.deep = leaky(4 * width, 4 * width)
        self.large = layer(4 * width, 1)

    def forward(self, seen: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Judge (B, channels + C + 2, H, W): augmented pictures, label map and inpainting mask.

        Returns:
            logits (B, 1, H/4, W/4) and (B, 1, H/8, W/8), positive = real; the features of each layer.
        """
        seen, _ = pad_to_multiple(seen, STRIDE)
        pictures, condition = seen[:, : self.channels], seen[:, self.channels :]
        # fine texture is weak compared with a one-hot map; without this it is learned late
        grain = pictures - F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
        x1 = self.stem(fold_pixels(torch.cat([pictures, 2 * grain, condition], dim=1), 2))  # (B, W, H/2, W/2)
        x2 = self.down1(x1)  # (B, 2W, H/4, W/4)
        x3 = self.down2(x2)  # (B, 4W, H/8, W/8)
        x4 = self.deep(x3)
        return [self.small(x2).float(), self.large(x4).float()], [x1, x2, x3, x4]

    def features(self, seen: torch.Tensor) -> list[torch.Tensor]:
        """The features alone."""
        return self(seen)[1]


class LeakyConv(nn.Conv2d):
    """Convolution and leaky ReLU that keeps the size of its input, which spectral norm would shrink layer by layer.

    The factor is on the weights: one on what comes out would read and write all of it once more.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.bias is not None
        gain = math.sqrt(2)
        return F.leaky_relu(self._conv_forward(x, self.weight * gain, self.bias * gain), 0.2, inplace=True)


# losses


def blend(images: torch.Tensor, drawn: torch.Tensor, inpainting_mask: torch.Tensor) -> torch.Tensor:
    """Drawn pixels inside the inpainting mask, real ones outside; all (B, ., H, W)."""
    return images + inpainting_mask * (drawn - images)


def patch_weights(inpainting_mask: torch.Tensor, logits: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Weight of each patch: the largest value of the inpainting mask in and next to it. All-real patches weigh 0."""
    padded, _ = pad_to_multiple(inpainting_mask, STRIDE)
    own = [F.max_pool2d(padded, padded.shape[-1] // of_scale.shape[-1]) for of_scale in logits]
    return [F.max_pool2d(weight, 3, stride=1, padding=1) for weight in own]


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of `values` (B, K, h, w) under `weights` (B, 1, h, w); each sample counts by its weight. 0 if that is 0."""
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1e-6)


def discriminator_loss(
    real: Sequence[torch.Tensor], fake: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Hinge loss on patch logits (Lim and Ye 2017, arXiv 1705.02894), mean over the scales."""
    terms = [
        weighted_mean(F.relu(1 - r), w) + weighted_mean(F.relu(1 + f), w)
        for r, f, w in zip(real, fake, weights, strict=True)
    ]
    return torch.stack(terms).mean()


def adversarial_loss(fake: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hinge loss of the generator on the logits of its patches, mean over the scales."""
    return torch.stack([-weighted_mean(f, w) for f, w in zip(fake, weights, strict=True)]).mean()


class PatchLoss:
    """Inputs and losses of `DiscriminatorNetwork`."""

    def join(
        self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor, seeds: Iterable[int]
    ) -> torch.Tensor:
        """What the discriminator sees in its step: real and fake, (2B, channels + C + 2, H, W)."""
        return torch.cat([real, fake])

    def discriminator_loss(
        self, logits: list[torch.Tensor], condition: torch.Tensor, seeds: Iterable[int]
    ) -> torch.Tensor:
        """Of the logits for what `join` gave, under the augmented `condition` (B, C + 2, H, W)."""
        real, fake = zip(*(scale.chunk(2) for scale in logits), strict=True)
        return discriminator_loss(real, fake, patch_weights(condition[:, -1:], real))

    def adversarial_loss(self, logits: list[torch.Tensor], condition: torch.Tensor) -> torch.Tensor:
        return adversarial_loss(logits, patch_weights(condition[:, -1:], logits))


def feature_matching_loss(real: Sequence[torch.Tensor], fake: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of the discriminator's features, mean over the layers (arXiv 1711.11585, eq. 4).

    Relative to the size of the real features: under spectral norm they shrink from layer to layer.
    """
    terms = [F.l1_loss(f.float(), r.float()) / r.float().abs().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def l1_loss(
    pictures: torch.Tensor, drawn: torch.Tensor, labels: torch.Tensor, inpainting_mask: torch.Tensor
) -> torch.Tensor:
    """Mean absolute difference in the labelled part of the inpainting mask; others have no known class."""
    return weighted_mean((drawn - pictures).abs(), inpainting_mask * (labels != IGNORED_INDEX)[:, None])


# the trained generator


class Pix2Pix:
    """The trained generator; implements `marsgen.generators.Generator`."""

    name = "pix2pix"

    def __init__(
        self,
        network: GeneratorNetwork,
        styles: StyleTable,
        classes: ClassSet,
        draw: DrawConfig = DEFAULT_SAMPLING,
        fingerprint: str = "",
        trained_on: tuple[str, ...] = (),
        precision: str = "auto",
    ) -> None:
        """Raises: RunError: `draw` sets what only diffusion supports."""
        refuse_other_drawing("pix2pix", draw)
        self.strength = 1.0 if draw.strength is None else draw.strength
        self.network = network.eval()
        self.device = next(network.parameters()).device
        self.styles = StyleTable(styles.shares.to(self.device), styles.styles.to(self.device))
        self.classes, self.channels = classes, network.channels
        self.fingerprint, self.trained_on = fingerprint, trained_on
        self.dtype = arithmetic(precision, self.device)

    @property
    def drawing(self) -> dict[str, Any]:
        """See `Generator.drawing`."""
        return {"strength": self.strength}

    @classmethod
    def load(cls, folder: Path, draw: DrawConfig = DEFAULT_SAMPLING) -> "Pix2Pix":
        """Open what `train_pix2pix.train` left in a run folder.

        Raises:
            RunError: a file is missing or damaged, or the weights are not of this generator.
        """
        weights = read_weights(folder / WEIGHTS)
        try:
            record = read_json(folder / RECORD, fault=RunError)
            classes = ClassSet.from_dict(record["classes"], str(folder / RECORD))
            channels, width = (value_at(record, key, int, folder / RECORD, RunError) for key in ("channels", "width"))
            tensors = without_prefix("generator", weights.tensors)
            refuse_other_shapes(lambda: GeneratorNetwork(len(classes), channels, width), tensors)
            network = GeneratorNetwork(len(classes), channels, width)
            network.load_state_dict(tensors)
            styles = StyleTable(weights.tensors["styles.shares"], weights.tensors["styles.styles"])
            trained_on, precision = read_maker(record)
        except (InputError, *DAMAGE) as problem:
            raise RunError(
                f"{folder}: {RECORD} and {WEIGHTS} do not make a pix2pix generator ({first_line(problem)}); "
                "train it again into another --out"
            ) from None
        network.to(memory_format=torch.channels_last).to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(network, styles, classes, draw, file_fingerprint(folder / WEIGHTS), trained_on, precision)

    @torch.inference_mode()
    def draw(self, request: DrawRequest) -> np.ndarray:
        """See `Generator.draw`. Equal requests give equal bytes, and no sample depends on the others in its batch.

        A strength below 1 scales the inpainting mask: the network sees that much of the composite and as much of it
        is kept. It is trained for this by the soft rims of its inpainting masks.
        """
        if self.strength == 0:
            return request.composites
        images = image_tensor(request.composites).to(self.device)
        labels = label_tensor(request.indices).to(self.device)
        inpainting_mask = self.strength * torch.from_numpy(request.inpainting_mask)[:, None].to(self.device)
        noise = draw_noise(request.seeds.tolist(), *request.indices.shape[1:]).to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return image_array(self.draw_tensors(images, labels, inpainting_mask, noise))

    def draw_tensors(
        self, images: torch.Tensor, labels: torch.Tensor, inpainting_mask: torch.Tensor, noise: Noise
    ) -> torch.Tensor:
        """Draw, all in tensors.

        Args:
            images: (B, channels, H, W) in [-1, 1].
            labels: (B, H, W) int64 indices, 255 = ignored.
            inpainting_mask: (B, 1, H, W) in [0, 1], scaled by the strength.
        Returns:
            (B, channels, H, W) in [-1, 1]: drawn where the inpainting mask is 1, `images` where it is 0.
        """
        with torch.autocast(self.device.type, enabled=False):  # a style is measured in full precision
            style, unknown = visible_style(images, inpainting_mask)
            if torch.onnx.is_in_onnx_export() or unknown.any():  # a file for any picture holds both ways
                shares = one_hot(labels, len(self.classes)).mean(dim=(2, 3))
                style = torch.where(unknown[:, None], self.styles.choose(shares, noise.choice), style)
            pictures = normalise(images, style)
        drawn = self.network(labels, pictures, inpainting_mask, style, noise)
        return blend(images, denormalise(drawn, style).clamp(-1, 1), inpainting_mask)
