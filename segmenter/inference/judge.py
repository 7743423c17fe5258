"""A finished `segmenter train` run as a judge of synthetic images; entry point `marsgen.judges` of pyproject.toml."""

from pathlib import Path

import numpy as np
import torch

from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import file_fingerprint
from marsgen.provenance import read_split_keys
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.predict import load_segmenter, predict_probs


class SegmenterJudge:
    """A `marsgen.quality.judges.Judge`: the best weights of a finished run, on the GPU if there is one.

    Args:
        run: opened for reading.
    Raises:
        RunError: the run is not finished, or its weights or its split.json are missing or damaged.
    """

    fingerprint: str
    classes: ClassSet
    channels: int
    trained_on: tuple[str, ...]
    saw_synthetic: bool

    def __init__(self, run: Run) -> None:
        self._network, self.classes, record = load_segmenter(run.folder)
        self.channels = record["channels"]
        self.fingerprint = file_fingerprint(run.folder / "best.safetensors")
        self.trained_on = read_split_keys(run.folder).trained_on
        self.saw_synthetic = bool(run.stored("inputs.extra", list))

    def probs(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, channels) uint8 -> (B, C, H, W) float32 probabilities, sum 1 over C."""
        return predict_probs(self._network, images)

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, channels) uint8 -> (B, F) float32, the network's `features`."""
        inputs = image_tensor(images).to(next(self._network.parameters()).device)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self._network.features(inputs).cpu().numpy()  # type: ignore[operator]


def open_judge(folder: Path) -> SegmenterJudge | None:
    """The judge of a finished run, or None where `folder` is no run of `segmenter train`.

    Raises:
        RunError: it is one that cannot be used; see `SegmenterJudge`.
    """
    try:
        run = Run.load(folder, "segmenter train", finished=False)
    except RunError:
        return None
    return SegmenterJudge(run)
