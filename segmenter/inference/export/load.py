"""A segmenter as an ONNX file, opened for prediction in the place of a network of torch."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from marsgen.core.errors import InputError, RunError
from marsgen.core.storage.onnx_files import OnnxNetwork
from marsgen.core.storage.reading import first_line, value_at
from marsgen.scenes.classes import ClassSet


class ExportedSegmenter(nn.Module):
    """An exported network, as `segmenter.inference.predict` calls networks; runs on the CPU.

    Args:
        onnx: takes (B, channels, H, W) in [-1, 1] and gives (B, C, H, W) probabilities.
    """

    def __init__(self, onnx: OnnxNetwork) -> None:
        super().__init__()
        self.onnx = onnx
        # no weight: it tells on which device inputs are expected
        self.device = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) log probabilities: logits whose softmax they are."""
        return torch.from_numpy(self.onnx(images.contiguous().numpy())).log()


def load_exported(path: Path) -> tuple[nn.Module, ClassSet, dict[str, Any]]:
    """The counterpart of `load_segmenter` for a file of `segmenter export`.

    Returns:
        the network, the classes of its outputs, and its metadata, see segmenter/inference/export/write.py.
    Raises:
        ConfigError: onnxruntime is not installed.
        RunError: see `OnnxNetwork`; or the file is no segmenter.
    """
    onnx = OnnxNetwork(path)
    try:
        if onnx.metadata.get("made_by") != "segmenter export":
            raise RunError("made by another command")
        classes = ClassSet.from_dict(onnx.metadata.get("classes"), "its classes")
        for key in ("channels", "multiple"):
            value_at(onnx.metadata, key, int, "its metadata", RunError)
        if (window := onnx.metadata.get("window")) is not None and not (
            isinstance(window, list) and len(window) == 2 and all(type(side) is int for side in window)
        ):
            raise RunError("window is no pair of numbers")
    except InputError as problem:
        reason = first_line(problem)
        raise RunError(f"{path}: not a segmenter ({reason}); expected a file that `segmenter export` wrote") from None
    return ExportedSegmenter(onnx).eval(), classes, onnx.metadata
