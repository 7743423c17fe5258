"""Trained networks as ONNX files: written from torch with what they need to be used, and opened in onnxruntime.

The packages onnx and onnxruntime (extra `export`) are imported only where a file is written or opened.
"""

import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marsgen.core.errors import ConfigError, RunError, how_to_install
from marsgen.core.storage.files import write_bytes
from marsgen.core.storage.places import refuse_no_network
from marsgen.core.storage.reading import first_line

if TYPE_CHECKING:
    import torch

METADATA = "marsgen"
"""key of the json among an ONNX file's metadata_props"""
OPSET = 18
"""of ONNX's operators; onnxruntime and onnxruntime-web read it since 2023"""


def refuse_no_onnx(what: str) -> None:
    """Raise ConfigError where onnx or onnxruntime is not installed."""
    missing = [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}, not installed here: {how_to_install('export')}")


def write_onnx(
    path: Path,
    network: "torch.nn.Module",
    inputs: Mapping[str, "torch.Tensor"],
    output: str,
    dynamic: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, Any],
) -> None:
    """Write a network as one ONNX file, atomically.

    Args:
        network: in eval mode, on the CPU; takes the inputs in their order and returns one tensor.
        inputs: name -> an example.
        output: name of what it returns.
        dynamic: name of an input or the output -> dimension -> name of its length, where that may be another one than
            the example's.
        metadata: json values, found again by `OnnxNetwork.metadata`.
    """
    import onnx
    import torch

    buffer = io.BytesIO()
    # The exporter by tracing: the one by torch.export takes 19 s of a core for a U-Net where this takes 0.5, and did
    # not end in 7 minutes for EfficientNet-Lite0, whose padding depends on the size of the picture.
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that it traces, at every size that is computed with
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]  # this exporter writes into files that are open, too
            dynamo=False,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, _with_metadata(model, metadata))


def _with_metadata(model: Any, metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a model that carries `metadata` and no other."""
    import onnx

    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata, ensure_ascii=False, allow_nan=False)})
    model.doc_string = ""
    return model.SerializeToString(deterministic=True)


class OnnxNetwork:
    """An ONNX file opened in onnxruntime, on the CPU.

    Args:
        path: the file.
        threads: of one operator; None = as many as torch uses.
    Attributes:
        metadata: what `write_onnx` was given.
    Raises:
        ConfigError: onnxruntime is not installed.
        RunError: no such file, not an ONNX file, or one that was not written by this toolkit.
    """

    metadata: dict[str, Any]

    def __init__(self, path: Path, threads: int | None = None) -> None:
        refuse_no_onnx(str(path))
        import onnxruntime

        refuse_no_network(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _torch_threads()
        options.log_severity_level = 3  # errors; the others are about its own optimisations
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's errors have no common class
            raise RunError(f"{path}: not a network that onnxruntime can open ({first_line(problem)})") from None
        self._inputs = [value.name for value in self._session.get_inputs()]
        try:
            self.metadata = json.loads(self._session.get_modelmeta().custom_metadata_map[METADATA])
        except (KeyError, ValueError):
            raise RunError(
                f"{path}: an ONNX file without a json under '{METADATA}' among its metadata; expected one that "
                "`segmenter export` or `marsgen export --to onnx` wrote"
            ) from None
        if not isinstance(self.metadata, dict):
            raise RunError(f"{path}: its metadata '{METADATA}' is no json object; export the network again")

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """The output for inputs in the order in which they were exported."""
        return self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))[0]


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def quantise(source: Path, path: Path, examples: Sequence[np.ndarray], input_name: str) -> None:
    """Write an int8 copy of an ONNX file, with the same metadata: convolutions in 8 bits, the rest as it was.

    Weights are rounded per channel, activations by the least and largest value that they take for the examples
    (onnxruntime's static quantisation).

    Args:
        source: from `write_onnx`, with one input.
        examples: batches of that input.
    """
    import tempfile

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(examples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._left, None)
            return None if batch is None else {input_name: batch}

    metadata = OnnxNetwork(source).metadata
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # it advises the pre-processing that was done
    try:
        with tempfile.TemporaryDirectory() as folder:  # it writes by itself, and not atomically
            prepared, small = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(small),
                Examples(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "ConvTranspose"],
                per_channel=True,
                # 7 bits of weight: 8 overflow the 16 bits in which processors without VNNI add two products
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            model = onnx.load(str(small))
    finally:
        log.setLevel(level)
    write_bytes(path, _with_metadata(model, {**metadata, "int8": True}))
