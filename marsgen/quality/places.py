"""Judges and networks that pictures are compared by, looked for before anything slow is imported."""

from pathlib import Path

from marsgen.core.errors import DataError, RunError, nearest

FEATURE_KINDS = ("judge", "imagenet")
"""what --features names beside a file"""


def refuse_no_judge(folder: Path) -> None:
    """Raise RunError where no trained segmenter can be, since no run is there."""
    if not (folder / "config.yaml").is_file():
        raise no_judge(folder)


def no_judge(folder: Path) -> RunError:
    """That a folder holds no trained segmenter."""
    return RunError(f"{folder}: no segmenter here; expected a finished run of `segmenter train`")


def refuse_no_features(kind: str | Path) -> None:
    """Raise DataError where --features names neither a kind of network nor a file."""
    if str(kind) not in FEATURE_KINDS and not Path(kind).is_file():
        raise DataError(
            f"--features {kind}: no such file{nearest(str(kind), FEATURE_KINDS)}; expected judge, imagenet or a "
            "safetensors file of torchvision's resnet18 or resnet50"
        )
