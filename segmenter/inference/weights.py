"""Where the network of a segmenter lies: a finished run, or an ONNX file of `segmenter export`."""

from pathlib import Path

from marsgen.core.errors import RunError
from marsgen.core.runs import Run

ONNX = ".onnx"


def find_weights(segmenter: Path) -> Path:
    """The file that holds the network.

    Args:
        segmenter: folder of a finished `segmenter train` run, or an ONNX file.
    Raises:
        RunError: neither is there, or the weights of the run are missing or damaged.
    """
    if segmenter.suffix == ONNX:
        if not segmenter.is_file():
            raise RunError(f"{segmenter}: no such file; `segmenter export RUN` writes ONNX files")
        return segmenter
    if (segmenter / "config.yaml").is_file():
        exported = Run.load(segmenter, "segmenter train", "segmenter export")
        if exported.command == "segmenter export":
            raise RunError(f"{segmenter} was made by `segmenter export`; name the file in it, such as model{ONNX}")
    return Run.load(segmenter, "segmenter train").refuse_no_weights().folder / "best.safetensors"


def name_of(segmenter: Path) -> str:
    """How a segmenter is called in the names of folders."""
    return f"{segmenter.parent.name}-{segmenter.stem}" if segmenter.suffix == ONNX else segmenter.name
