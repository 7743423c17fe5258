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

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marsgen.core.errors import RunError
from marsgen.core.files import write_bytes, write_json
from marsgen.core.onnx_files import OnnxNetwork, write_onnx
from marsgen.core.runs import Run
from marsgen.generators import DrawRequest
from marsgen.generators.config import ExportGeneratorConfig
from marsgen.generators.pix2pix.pix2pix import GLOBAL_NOISE, STRIDE, Noise, Pix2Pix, draw_noise
from marsgen.scenes.scene import MIN_SIDE_PX, Scene
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


def export_generator(config: ExportGeneratorConfig, run: Run, generator: Pix2Pix, scenes: Iterable[Scene]) -> None:
    """Write generator.onnx and generator.json, compared with torch on real scenes, and finish the run.

    Args:
        run: the open run of this command.
        generator: on the CPU.
        scenes: real scenes; each is drawn whole, and in the middle of its picture only.
    Raises:
        RunError: the pictures differ more than `config.tolerance`; no file is written.
    """
    metadata = describe(generator)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.onnx"
        write_generator(path, generator, metadata)
        onnx, drawing = OnnxNetwork(path), Drawing(generator).eval()
        difference, count = 0.0, 0
        for number, scene in enumerate(scenes):
            for whole in (True, False):
                inputs = tensors_of(_request(scene, whole, number), generator.strength)
                with torch.inference_mode():
                    wanted = drawing(*inputs).numpy()
                apart = np.abs(onnx(*(value.numpy() for value in inputs)) - wanted)
                difference = max(difference, float(apart.max()) if np.isfinite(apart).all() else float("inf"))
            count += 1
        levels = difference * 127.5
        if not levels <= config.tolerance:
            raise RunError(
                f"as ONNX the generator's pictures differ by up to {levels:.2g} of 255 grey levels from those of torch "
                f"on {count} scenes, more than the tolerance {config.tolerance:g}; the file was not kept"
            )
        write_bytes(run.folder / path.name, path.read_bytes())
    write_json(run.folder / "generator.json", metadata)
    size = (run.folder / path.name).stat().st_size
    run.finish({"wrote": path.name, "bytes": size, "scenes": count, "largest_difference_levels": levels})


def write_generator(path: Path, generator: Pix2Pix, metadata: dict[str, Any]) -> None:
    """Write the ONNX file alone, unchecked."""
    channels = generator.channels
    example = DrawRequest(
        composites=np.zeros((2, 40, 56, channels), np.uint8),
        indices=np.zeros((2, 40, 56), np.uint8),
        inpainting_mask=np.ones((2, 40, 56), np.float32),
        seeds=np.arange(2, dtype=np.uint64),
    )
    inputs = dict(zip(INPUTS, tensors_of(example, 1.0), strict=True))
    write_onnx(path, Drawing(generator).eval(), inputs, OUTPUT, DYNAMIC, metadata)


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


def _request(scene: Scene, whole: bool, seed: int) -> DrawRequest:
    mask = np.ones((1, *scene.labels.shape), np.float32)
    if not whole:
        height, width = scene.labels.shape
        mask[:] = 0
        mask[:, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 1
    return DrawRequest(scene.image[None], scene.indices[None], mask, np.array([seed], np.uint64))
