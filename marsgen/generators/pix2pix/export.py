"""A trained pix2pix generator as an ONNX file, and what a program in any language needs to draw with it.

    generator.onnx    inputs of one drawing -> drawn (B, channels, H, W) float32 in [-1, 1]; batch, height and width may
                      be any, sides from 32:
        images            (B, channels, H, W) float32, the composite; a pixel value v as v / 127.5 - 1
        labels            (B, H, W) int32, indices of the classes in their order; 255 = no label
        inpainting_mask   (B, 1, H, W) float32 in [0, 1]: 1 = drawn, 0 = the composite stays; times the strength
        choice            (B,) float32 in [0, 1): which of the closest styles of the training scenes
        whole             (B, 8) normal noise that the whole picture shares
        fine              (B, 4, 4 r, 4 c), with r = ceil(H / 8) and c = ceil(W / 8)
        middle            (B, 1, 2 r, 2 c)
        coarse            (B, 1, r, c): normal noise, all float32
    generator.json    class names, ids and colours, and the numbers above; also in the ONNX file under "marsgen"

The noise is an input, so the same noise gives the same picture here and there. Styles, their choice, normalisation,
padding and blending are inside the file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marsgen.core.storage.onnx_files import OnnxNetwork, write_onnx
from marsgen.generators import DrawRequest
from marsgen.generators.pix2pix.pix2pix import GLOBAL_NOISE, STRIDE, Noise, Pix2Pix, draw_noise
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.tensors import image_tensor, label_tensor

INPUTS = ("images", "labels", "inpainting_mask", "choice", "whole", "fine", "middle", "coarse")
OUTPUT = "drawn"
_AXES = {0: "batch", 2: "height", 3: "width"}
DYNAMIC = {
    **dict.fromkeys(("images", "inpainting_mask", OUTPUT), _AXES),
    "labels": {0: "batch", 1: "height", 2: "width"},
    "choice": {0: "batch"},
    "whole": {0: "batch"},
    **{name: {0: "batch", 2: f"{name}_rows", 3: f"{name}_columns"} for name in ("fine", "middle", "coarse")},
}


class Drawing(nn.Module):
    """What is exported: `Pix2Pix.draw_tensors` of plain tensors."""

    def __init__(self, generator: Pix2Pix) -> None:
        super().__init__()
        self.network, self._generator = generator.network, generator

    def forward(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        inpainting_mask: torch.Tensor,
        choice: torch.Tensor,
        whole: torch.Tensor,
        fine: torch.Tensor,
        middle: torch.Tensor,
        coarse: torch.Tensor,
    ) -> torch.Tensor:
        """See the top of this file for the shapes."""
        noise = Noise(choice, whole, (fine, middle, coarse))
        return self._generator.draw_tensors(images, labels.long(), inpainting_mask, noise)


FILES = ("generator.onnx",)


def on_cpu(generator: Pix2Pix) -> Pix2Pix:
    """The generator as it is exported: on the CPU, at full strength."""
    network = generator.network.to("cpu")
    return Pix2Pix(network, generator.styles, generator.classes, fingerprint=generator.fingerprint)


def drawings(generator: Pix2Pix, folder: Path, request: DrawRequest) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(B, channels, H, W) float32 in [-1, 1], as torch draws a request and as the files in `folder` do."""
    inputs = tensors_of(request, generator.strength)
    with torch.inference_mode():
        wanted = Drawing(generator).eval()(*inputs).numpy()
    yield wanted, OnnxNetwork(folder / FILES[0])(*(value.numpy() for value in inputs))


def write_files(folder: Path, generator: Pix2Pix) -> None:
    """Write the ONNX file alone, unchecked."""
    channels = generator.channels
    example = DrawRequest(
        composites=np.zeros((2, 40, 56, channels), np.uint8),
        indices=np.zeros((2, 40, 56), np.uint8),
        inpainting_mask=np.ones((2, 40, 56), np.float32),
        seeds=np.arange(2, dtype=np.uint64),
    )
    inputs = dict(zip(INPUTS, tensors_of(example, 1.0), strict=True))
    write_onnx(folder / FILES[0], Drawing(generator).eval(), inputs, OUTPUT, DYNAMIC, describe(generator))


def tensors_of(request: DrawRequest, strength: float) -> tuple[torch.Tensor, ...]:
    """The inputs of the exported network for a request, as `Pix2Pix.draw` makes them."""
    noise = draw_noise(request.seeds.tolist(), *request.indices.shape[1:])
    return (
        image_tensor(request.composites),
        label_tensor(request.indices).to(torch.int32),
        strength * torch.from_numpy(request.inpainting_mask)[:, None],
        noise.choice.float(),
        noise.whole,
        *noise.maps,
    )


def describe(generator: Pix2Pix) -> dict[str, Any]:
    """The metadata of an exported generator."""
    return {
        "made_by": "marsgen export",
        "generator": generator.name,
        "fingerprint": generator.fingerprint,
        "classes": generator.classes.to_dict(),
        "channels": generator.channels,
        "strength": generator.strength,
        "input": {"divide_by": 127.5, "subtract": 1},
        "stride": STRIDE,
        "smallest_side": MIN_SIDE_PX,
        "noise": {"whole": GLOBAL_NOISE, "fine": 4, "middle": 1, "coarse": 1},
    }
