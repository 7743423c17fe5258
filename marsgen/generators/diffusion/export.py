"""A trained diffusion generator as two ONNX files, and the sampler that draws with them, in numpy.

    generator.onnx    inputs of one step -> velocity (B, channels, H, W) float32; called once a step, and with guidance
                      with a batch of two. Batch and sides may be any; both sides divide by `stride`:
        noisy             (B, channels, H, W) float32: the picture so far
        time              (B,) float32 in [0, 1]: fraction of noise in it
        labels            (B, H, W) int32, indices of the classes in their order; 255 = no label
        known             (B,) float32: 1, or 0 = without the label map (for guidance)
        pictures          (B, channels, H, W) float32: the composite, normalised by the style
        inpainting_mask   (B, 1, H, W) float32 in [0, 1]: 1 = drawn, 0 = the composite stays
        style             (B, 3 channels) float32
    style.onnx        images (B, channels, H, W) in [-1, 1], labels, inpainting_mask, choice (B,) in [0, 1) -> style:
                      mean, spread and grain of each channel. At full strength and with less than 0.05 of the picture
                      visible it is one of the training scenes', which `choice` chooses; `choice` -1 = never, as at less
                      than full strength
    generator.json    also strength, guidance (null: there is none), steps, stride, `farthest`, `levels` and `weights`
                      at that strength, and what it was distilled from (null: it was not)

`OnnxDiffusion` is the sampler: DPM-Solver++(2M) of data predictions, as `flow_solver`; the playground has the same in
JavaScript.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marsgen.core.storage.onnx_files import OnnxNetwork, write_onnx
from marsgen.generators import DrawConfig, DrawRequest
from marsgen.generators.diffusion.diffusion import TIMESTEPS, Diffusion, draw_noise, noise_levels, step_weights
from marsgen.generators.style import FARTHEST, STYLE_NUMBERS, visible_style
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.tensors import image_tensor, label_tensor, one_hot

FILES = ("generator.onnx", "style.onnx")
_AXES = {0: "batch", 2: "height", 3: "width"}
_LABEL_AXES = {0: "batch", 1: "height", 2: "width"}
CHECKED_STRENGTHS = (1.0, 0.5)


class Velocity(nn.Module):
    """What is exported as generator.onnx: the denoiser with its condition."""

    def __init__(self, generator: Diffusion) -> None:
        super().__init__()
        self.network = generator.network

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        labels: torch.Tensor,
        known: torch.Tensor,
        pictures: torch.Tensor,
        inpainting_mask: torch.Tensor,
        style: torch.Tensor,
    ) -> torch.Tensor:
        """See the top of this file for the shapes."""
        condition = self.network.condition(labels.long(), known, pictures, inpainting_mask, style)
        return self.network(noisy, time, condition)


class Style(nn.Module):
    """What is exported as style.onnx: the style of a drawing, as `Diffusion.draw_tensors` finds it."""

    def __init__(self, generator: Diffusion) -> None:
        super().__init__()
        self._generator = generator

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor, inpainting_mask: torch.Tensor, choice: torch.Tensor
    ) -> torch.Tensor:
        """See the top of this file for the shapes."""
        style, unknown = visible_style(images, inpainting_mask)
        shares = one_hot(labels.long(), len(self._generator.classes)).mean(dim=(2, 3))
        chosen = self._generator.styles.choose(shares, choice.clamp_min(0))
        return torch.where((unknown & (choice >= 0))[:, None], chosen, style)


def on_cpu(generator: Diffusion) -> Diffusion:
    """The generator as it is exported: on the CPU, in full precision, with its default settings."""
    return _with(generator, DrawConfig())


def _with(generator: Diffusion, draw: DrawConfig) -> Diffusion:
    network: Any = generator.network
    return Diffusion(
        network.to("cpu"),
        generator.styles,
        generator.classes,
        draw,
        generator.fingerprint,
        precision="fp32",
        null_condition=generator.null_condition,
        distilled=generator.distilled,
    )


def describe(generator: Diffusion) -> dict[str, Any]:
    """The metadata of an exported generator."""
    levels = noise_levels(generator.strength, generator.steps).double().numpy()
    return {
        "made_by": "marsgen export",
        "generator": generator.name,
        "fingerprint": generator.fingerprint,
        "classes": generator.classes.to_dict(),
        "channels": generator.channels,
        "strength": generator.strength,
        "guidance": generator.guidance if generator.null_condition else None,
        "steps": generator.steps,
        "distilled": None if generator.distilled is None else asdict(generator.distilled),
        "most_noise": 1 - 1 / TIMESTEPS,
        "levels": levels.tolist(),
        "weights": [list(weights) for weights in step_weights(levels.tolist())],
        "farthest": FARTHEST,
        "input": {"divide_by": 127.5, "subtract": 1},
        "stride": generator.network.stride,
        "smallest_side": MIN_SIDE_PX,
    }


def write_files(folder: Path, generator: Diffusion) -> None:
    """Write the ONNX files alone, unchecked."""
    channels, stride = generator.channels, generator.network.stride
    side = -(-48 // stride) * stride
    images, labels = (
        torch.zeros(2, channels, side, side + stride),
        torch.zeros(2, side, side + stride, dtype=torch.int32),
    )
    mask, half = torch.ones_like(images[:, :1]), torch.full((2,), 0.5)
    metadata = describe(generator)
    inputs = {"noisy": images, "time": half, "labels": labels, "known": half.ceil(), "pictures": images}
    inputs |= {"inpainting_mask": mask, "style": torch.ones(2, STYLE_NUMBERS * channels)}
    axes: dict[str, dict[int, str]] = dict.fromkeys(("noisy", "pictures", "inpainting_mask", "velocity"), _AXES)
    axes |= {"labels": _LABEL_AXES, **{name: {0: "batch"} for name in ("time", "known", "style", "choice")}}
    dynamic = {name: axes[name] for name in (*inputs, "velocity")}
    write_onnx(folder / FILES[0], Velocity(generator).eval(), inputs, "velocity", dynamic, metadata)
    inputs = {"images": images, "labels": labels, "inpainting_mask": mask, "choice": half}
    dynamic = {"images": _AXES, **{name: axes[name] for name in ("labels", "inpainting_mask", "choice", "style")}}
    write_onnx(folder / FILES[1], Style(generator).eval(), inputs, "style", dynamic, metadata)


def drawings(generator: Diffusion, folder: Path, request: DrawRequest) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(B, channels, H, W) float32 in [-1, 1], as torch draws a request and as the files in `folder` do, by strength."""
    sampler = OnnxDiffusion(folder)
    padded = [side + -side % generator.network.stride for side in request.indices.shape[1:]]
    choice, noise = draw_noise(request.seeds.tolist(), (generator.channels, *padded))
    images, labels = image_tensor(request.composites), label_tensor(request.indices)
    mask = torch.from_numpy(request.inpainting_mask)[:, None]
    for strength in CHECKED_STRENGTHS:
        of_torch = _with(generator, DrawConfig(strength=strength))
        with torch.inference_mode():
            wanted = of_torch.draw_tensors(images, labels, mask, choice, noise).numpy()
        inputs = (images.numpy(), request.indices.astype(np.int32), mask.numpy())
        yield wanted, sampler.draw(*inputs, choice.float().numpy(), noise.numpy(), strength, of_torch.guidance)


# the sampler


class OnnxDiffusion:
    """Draws with the files of an exported diffusion generator, without torch.

    Args:
        folder: with generator.onnx and style.onnx.
    """

    def __init__(self, folder: Path | str) -> None:
        self.velocity, self.style = (OnnxNetwork(Path(folder) / name) for name in FILES)
        self.metadata = self.velocity.metadata

    def draw(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        inpainting_mask: np.ndarray,
        choice: np.ndarray,
        noise: np.ndarray,
        strength: float,
        guidance: float,
    ) -> np.ndarray:
        """Draw; shapes and ranges are those at the top of this file.

        Args:
            noise: (B, channels, rows, columns) normal, with both sides rounded up to the stride.
            strength: above 0, up to 1.
        Returns:
            (B, channels, H, W) float32 in [-1, 1].
        """
        style = self.style(images, labels, inpainting_mask, choice if strength == 1 else np.full_like(choice, -1))
        mean, spread, _ = np.split(style[:, :, None, None], STYLE_NUMBERS, axis=1)
        farthest = self.metadata["farthest"]
        height, width = labels.shape[1:]
        margin = ((0, noise.shape[2] - height), (0, noise.shape[3] - width))
        pictures = np.pad(((images - mean) / spread).clip(-farthest, farthest), ((0, 0), (0, 0), *margin), mode="edge")
        mask = np.pad(inpainting_mask, ((0, 0), (0, 0), *margin))
        maps = np.pad(labels, ((0, 0), *margin), constant_values=IGNORED_INDEX)
        x = self._denoise(pictures, maps, mask, style, noise, strength, guidance)[:, :, :height, :width]
        return images + inpainting_mask * ((x * spread + mean).clip(-1, 1) - images)

    def _denoise(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        mask: np.ndarray,
        style: np.ndarray,
        noise: np.ndarray,
        strength: float,
        guidance: float,
    ) -> np.ndarray:
        count = max(1, math.ceil(self.metadata["steps"] * strength))
        levels = np.linspace(min(strength, self.metadata["most_noise"]), 0, count + 1, dtype=np.float32)
        copies = 1 if guidance == 1 else 2
        known = np.repeat(np.array([1, 0], np.float32)[:copies], len(labels))
        given = [np.concatenate([array] * copies) for array in (labels, pictures, mask, style)]
        x, before = pictures + levels[0] * (noise - pictures), np.zeros_like(pictures)
        for (now, clean, earlier), level, following in zip(
            step_weights(levels.tolist()), levels[:-1], levels[1:], strict=True
        ):
            time = np.full(len(known), level, np.float32)
            velocity = self.velocity(np.concatenate([x] * copies), time, given[0], known, *given[1:])
            if copies == 2:
                with_map, without = np.split(velocity, 2)
                velocity = without + np.float32(guidance) * (with_map - without)
            predicted = x - level * velocity
            x = np.float32(now) * x + np.float32(clean) * predicted + np.float32(earlier) * before
            before = predicted
            kept = pictures + following * (noise - pictures)
            x = kept + mask * (x - kept)
        return x
