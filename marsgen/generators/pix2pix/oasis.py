"""A discriminator that segments: each pixel is one of the C classes, or fake.

Source: Schonfeld et al. 2021, You Only Need Adversarial Supervision for Semantic Image Synthesis, arXiv 2012.04781. It
does not see the label map: a generator can only fool it with pixels that show their class. Differences from the paper:
only pixels of the inpainting mask are fake; a real pixel without a label may be of any class; classes are balanced over
the whole training data and not over one batch, where a few pixels of a rare class could outweigh all others; feature
matching is used as well.

Shape letters as in `pix2pix`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.generators.norm import spectral_norm
from marsgen.generators.pix2pix.pix2pix import STRIDE, LeakyConv
from marsgen.scenes.tensors import fold_pixels, pad_to_multiple

LABELMIX_WEIGHT = 10.0
"""as in the paper"""
LARGEST_WEIGHT = 20.0
"""of a pixel of a rare class, where the mean over all pixels is about 1"""


class SegmentationDiscriminator(nn.Module):
    """U-Net with spectral norm from a picture and its inpainting mask to the logits of C classes and of "fake"."""

    def __init__(self, num_classes: int, channels: int, width: int) -> None:
        super().__init__()

        def leaky(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
            return spectral_norm(LeakyConv(inputs, outputs, size, stride, padding=1))

        self.channels = channels
        self.stem = leaky(4 * (2 * channels + 2), width)
        self.down1 = leaky(width, 2 * width, 4, 2)
        self.down2 = leaky(2 * width, 4 * width, 4, 2)
        self.deep = leaky(4 * width, 4 * width)
        self.up2 = spectral_norm(nn.Conv2d(4 * width, 2 * width, 1))
        self.decode2 = leaky(2 * width, 2 * width)
        self.up1 = spectral_norm(nn.Conv2d(2 * width, width, 1))
        self.decode1 = leaky(width, width)
        # no spectral norm here: it would bound the logits
        self.head = nn.Conv2d(width, 4 * (num_classes + 1), 1)

    def forward(self, seen: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Judge (B, channels + C + 2, H, W): augmented pictures, label map, which is ignored, and inpainting mask.

        Returns:
            logits [(B, C + 1, H, W)], the last channel = fake; the features of each layer on the way down.
        """
        height, width = seen.shape[-2:]
        x1, x2, _, x4 = down = self.features(seen)
        y = self.decode2(x2 + F.interpolate(self.up2(x4), scale_factor=2.0))
        y = self.decode1(x1 + F.interpolate(self.up1(y), scale_factor=2.0))
        logits = F.pixel_shuffle(self.head(y), 2)[..., :height, :width]
        return [logits.float()], down

    def features(self, seen: torch.Tensor) -> list[torch.Tensor]:
        """The features of each layer on the way down."""
        seen, _ = pad_to_multiple(seen, STRIDE)
        pictures, labelled, inpainting_mask = seen[:, : self.channels], seen[:, self.channels : -1], seen[:, -1:]
        grain = pictures - F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
        # 0 where augmentation has cut the picture away
        inside = labelled.sum(dim=1, keepdim=True)
        x = fold_pixels(torch.cat([pictures, 2 * grain, inside, inpainting_mask], dim=1), 2)
        x1 = self.stem(x)  # (B, W, H/2, W/2)
        x2 = self.down1(x1)  # (B, 2W, H/4, W/4)
        x3 = self.down2(x2)  # (B, 4W, H/8, W/8)
        return [x1, x2, x3, self.deep(x3)]


def balance_classes(pixels: np.ndarray) -> torch.Tensor:
    """Weight of a pixel by its class: each class weighs the same in all, where LARGEST_WEIGHT allows it.

    Args:
        pixels: (C + 1,) expected pixels of each class, last = ignored.
    Returns:
        (C + 1,) float32; 1 for ignored pixels, and 1 on average over labelled ones before the cut at LARGEST_WEIGHT.
    """
    counts = np.asarray(pixels, float)
    labelled = counts[:-1]
    weights = labelled.sum() / (max(1, (labelled > 0).sum()) * np.maximum(labelled, 1e-9))
    return torch.tensor([*np.minimum(weights, LARGEST_WEIGHT), 1.0], dtype=torch.float32)


def class_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each pixel with its class.

    Args:
        logits: (B, C + 1, H, W), last = fake.
        labels: (B, C + 1, H, W) one-hot, last = ignored: such a pixel may be of any class, but not fake.
    Returns:
        (B, 1, H, W), 0 where `labels` is 0 throughout.
    """
    log_fraction = F.log_softmax(logits, dim=1)
    of_any_class = torch.logsumexp(log_fraction[:, :-1], dim=1, keepdim=True)
    return -(labels * torch.cat([log_fraction[:, :-1], of_any_class], dim=1)).sum(dim=1, keepdim=True)


def mix_mask(labels: torch.Tensor, seeds: Iterable[int]) -> torch.Tensor:
    """LabelMix: all pixels of a class are taken from the real picture (1) or all from the fake (0), as seeds[b] says.

    Args:
        labels: (B, C + 1, H, W) one-hot.
    Returns:
        (B, 1, H, W)
    """
    flips = [np.random.default_rng([int(seed), 2]).random(labels.shape[1]) < 0.5 for seed in seeds]
    chosen = torch.from_numpy(np.stack(flips).astype(np.float32)).to(labels.device)
    return (labels * chosen[..., None, None]).sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class SegmentationLoss:
    """Inputs and losses of `SegmentationDiscriminator`."""

    weights: torch.Tensor
    """(C + 1,) see `balance_classes`"""

    def join(
        self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor, seeds: Iterable[int]
    ) -> torch.Tensor:
        """Real, fake and LabelMix one after the other, (3B, channels + C + 2, H, W)."""
        return torch.cat([real, fake, torch.lerp(fake, real, mix_mask(condition[:, :-1], seeds))])

    def discriminator_loss(
        self, logits: list[torch.Tensor], condition: torch.Tensor, seeds: Iterable[int]
    ) -> torch.Tensor:
        """Of the logits for what `join` gave, under the augmented `condition` (B, C + 2, H, W)."""
        real, fake, mixed = logits[0].chunk(3)
        labels, inpainting_mask = condition[:, :-1], condition[:, -1:]
        kept = labels.sum(dim=1, keepdim=True)
        real_loss = (class_loss(real, labels) * self._weight(labels)).sum() / kept.sum()
        fake_loss = (-F.log_softmax(fake, dim=1)[:, -1:] * inpainting_mask).sum() / inpainting_mask.sum().clamp_min(1)
        inconsistent = F.mse_loss(mixed, torch.lerp(fake, real, mix_mask(labels, seeds)))
        return real_loss + fake_loss + LABELMIX_WEIGHT * inconsistent

    def adversarial_loss(self, logits: list[torch.Tensor], condition: torch.Tensor) -> torch.Tensor:
        """Loss of the generator: pixels of the inpainting mask have to be classified as their class, not as fake."""
        labels, inpainting_mask = condition[:, :-1], condition[:, -1:]
        return (
            class_loss(logits[0], labels) * self._weight(labels) * inpainting_mask
        ).sum() / inpainting_mask.sum().clamp_min(1)

    def _weight(self, labels: torch.Tensor) -> torch.Tensor:
        return (labels * self.weights[:, None, None]).sum(dim=1, keepdim=True)
