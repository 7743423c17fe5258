"""`segmenter export`: a trained network as a file that needs neither this toolkit nor, as ONNX, torch.

model.onnx        images (B, channels, H, W) float32, a pixel value v as v / 127.5 - 1 -> probs (B, C, H, W) float32,
                  sum 1 over C. Batch, height and width may be any, sides from 32. Padding to the multiple that the
                  network needs, calibration and softmax are inside.
model-int8.onnx   the same with convolutions in 8 bits, where asked for
model.pt2         the same as model.onnx for torch.export.load, instead of it
model.json        what else is needed: class names, ids and colours, and the numbers below. An ONNX file has the same
                  json under "marsgen" among its metadata_props, a .pt2 file as its extra file marsgen.json.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import file_fingerprint, write_bytes, write_json
from marsgen.core.storage.onnx_files import METADATA, quantise, write_onnx
from marsgen.scenes.confusion import confusion_matrix, mean_iou
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.scene import Scene, SceneSource, batches_of_one_shape
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.config import ExportConfig, InferenceConfig
from segmenter.inference.export.load import load_exported
from segmenter.inference.picture_kind import check_kind
from segmenter.inference.predict import load_segmenter, predict_probs

BATCH = 8
EXAMPLE = (2, 64, 96)
"""batch, height and width of the picture that the network is traced with"""
IMAGES, PROBS = "images", "probs"


class Probabilities(nn.Module):
    """What is exported: a network with the softmax behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) in [-1, 1] -> (B, C, H, W) in [0, 1], sum 1 over C."""
        return self.network(images).softmax(1)


def export_segmenter(
    config: ExportConfig, run: Run, segmenter: Path, source: SceneSource, checked: Sequence[int], seen: Sequence[int]
) -> dict[str, Any]:
    """Write the network of a `segmenter train` run in another form, and finish the run.

    The file appears under its name when its probabilities agree with those of torch on real scenes.

    Args:
        run: the open run of this command.
        segmenter: folder of the finished run.
        source: real scenes of the run's classes and channels.
        checked: scenes to compare on, and to measure the cost of int8 on.
        seen: scenes whose activations give int8 its ranges.
    Returns:
        the summary; see `summary_lines`.
    Raises:
        DataError: scenes of other classes or channels.
        RunError: no such run, or the exported network disagrees with torch's.
    """
    network, classes, record = load_segmenter(segmenter)
    check_kind(source, segmenter, record["channels"], classes)
    source.classes = source.classes.ordered_like(classes)
    if source.classes.names != classes.names:
        raise DataError(
            f"{source.location} has the classes {', '.join(source.classes.names)}; {segmenter} was trained on "
            f"{', '.join(classes.names)}: give data of the same classes with --data"
        )
    network = network.to("cpu")
    metadata = describe(config, segmenter, network, record)
    scenes = [source[index] for index in spread(checked, config.scenes)]
    with tempfile.TemporaryDirectory() as folder:
        if config.to == "onnx":
            path = Path(folder) / "model.onnx"
            axes = {0: "batch", 2: "height", 3: "width"}
            example = torch.zeros(EXAMPLE[0], record["channels"], *EXAMPLE[1:])
            write_onnx(
                path, Probabilities(network).eval(), {IMAGES: example}, PROBS, {IMAGES: axes, PROBS: axes}, metadata
            )
            exported, _, _ = load_exported(path)
        else:
            path = Path(folder) / "model.pt2"
            content, exported = to_torch_export(network, record["channels"], metadata)
            write_bytes(path, content)
        difference = largest_difference(network, exported, scenes)
        if not difference <= config.tolerance:
            raise RunError(
                f"{segmenter}: as {config.to} its probabilities differ by up to {difference:.2g} from torch's on "
                f"{len(scenes)} scenes, more than the tolerance {config.tolerance:g}; the file was not kept. Set a "
                "larger tolerance if that is precise enough"
            )
        summary: dict[str, Any] = {
            "scenes": len(scenes),
            "largest_difference": difference,
            "bytes": path.stat().st_size,
            "wrote": path.name,
        }
        if config.int8:
            small = Path(folder) / "model-int8.onnx"
            examples = [source[index] for index in spread(seen, config.calibration_scenes)]
            quantise(path, small, [_inputs(batch) for batch in batches_of_one_shape(examples, BATCH)], IMAGES)
            quantised, _, _ = load_exported(small)
            names = ("iou", "iou_int8")
            summary |= {key: _iou(net, scenes) for key, net in zip(names, (exported, quantised), strict=True)}
            summary |= {
                "calibration_scenes": len(examples),
                "largest_difference_int8": largest_difference(network, quantised, scenes),
                "bytes_int8": small.stat().st_size,
            }
            write_bytes(run.folder / small.name, small.read_bytes())
        write_bytes(run.folder / path.name, path.read_bytes())
    write_json(run.folder / "model.json", metadata)
    run.finish(summary)
    return summary


def describe(config: ExportConfig, segmenter: Path, network: nn.Module, record: dict[str, Any]) -> dict[str, Any]:
    """The metadata of an exported network: all that a program needs beside the file to use it."""
    run = Run.load(segmenter, "segmenter train")
    return {
        "made_by": "segmenter export",
        "run": segmenter.resolve().name,
        "weights_fingerprint": file_fingerprint(segmenter / "best.safetensors"),
        "classes": record["classes"],
        "channels": record["channels"],
        "input": {"name": IMAGES, "layout": "batch, channels, height, width", "divide_by": 127.5, "subtract": 1},
        "output": {"name": PROBS, "layout": "batch, classes, height, width", "sum_over_classes": 1},
        "logit_shift": record.get("logit_shift"),
        "logit_shift_applied": True,
        "smallest_side": MIN_SIDE_PX,
        "multiple": next((m.multiple for m in network.modules() if hasattr(m, "multiple")), 1),
        "training_crop": run.config.get("crop"),
        "window": None if config.window is None else list(config.window),
        "overlap": config.overlap,
        "int8": False,
    }


def to_torch_export(network: nn.Module, channels: int, metadata: dict[str, Any]) -> tuple[bytes, nn.Module]:
    """A network as the bytes of a .pt2 file, and what torch.export.load makes of them.

    Returns:
        the bytes, and a network that gives log probabilities as `ExportedSegmenter` does.
    """
    any_size = torch.export.Dim.DYNAMIC
    example = torch.zeros(EXAMPLE[0], channels, *EXAMPLE[1:])
    with torch.no_grad():
        program = torch.export.export(
            Probabilities(network).eval(),
            (example,),
            dynamic_shapes={"images": {0: any_size, 2: any_size, 3: any_size}},
        )
    program.example_inputs = None  # they would be pickled
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{METADATA}.json": json.dumps(metadata)})
    loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), _LogOf(loaded)


class _LogOf(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.device = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).log()


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spread."""
    step = max(len(indices) / count, 1)
    return [indices[int(number * step)] for number in range(min(count, len(indices)))]


def largest_difference(network: nn.Module, other: nn.Module, scenes: Sequence[Scene]) -> float:
    """The largest absolute difference of two networks' probabilities on scenes; infinite where one is NaN."""
    found = 0.0
    for images in _stacks(scenes):
        apart = np.abs(predict_probs(network, images) - predict_probs(other, images))
        found = max(found, float(apart.max()) if np.isfinite(apart).all() else float("inf"))
    return found


def _iou(network: nn.Module, scenes: Sequence[Scene]) -> float:
    confusion: Any = 0
    for batch in batches_of_one_shape(scenes, BATCH):
        probs = predict_probs(network, np.stack([scene.image for scene in batch]), InferenceConfig())
        truth = np.stack([scene.indices for scene in batch])
        confusion = confusion + confusion_matrix(truth, probs.argmax(1), probs.shape[1])
    return float(mean_iou(confusion))


def _stacks(scenes: Sequence[Scene]) -> Iterator[np.ndarray]:
    for batch in batches_of_one_shape(scenes, BATCH):
        yield np.stack([scene.image for scene in batch])


def _inputs(batch: Sequence[Scene]) -> np.ndarray:
    return image_tensor(np.stack([scene.image for scene in batch])).numpy()


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What was written, in words."""
    size = f"{summary['bytes'] / 1e6:.2f} MB"
    lines = [
        f"{summary['wrote']}   {size}   largest difference of a probability from torch "
        f"{summary['largest_difference']:.1e} on {summary['scenes']} scenes"
    ]
    if "iou_int8" in summary:
        cost = 100 * (summary["iou"] - summary["iou_int8"])
        lines.append(
            f"model-int8.onnx   {summary['bytes_int8'] / 1e6:.2f} MB   mean IoU {summary['iou_int8']:.1%} instead of "
            f"{summary['iou']:.1%} ({cost:+.2f} points lost), largest difference "
            f"{summary['largest_difference_int8']:.1e}, ranges from {summary['calibration_scenes']} scenes"
        )
    return lines
