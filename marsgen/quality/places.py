"""Sets to score, and judges and networks to score them by, looked for before anything slow is imported."""

import os
from pathlib import Path
from typing import Any

from marsgen.core.errors import DataError, RunError, nearest
from marsgen.core.storage.places import SIMULATED
from marsgen.core.storage.seen import HEAD_FILE, read_set_head, read_split

FEATURE_KINDS = ("judge", "imagenet")
"""what --features names beside a file"""


def refuse_no_judge(folder: Path) -> None:
    """Refuse a folder that can hold no trained segmenter.

    Raises:
        RunError: no run is there, or one of another command of these two packages, one that is not finished, or one
            whose weights or split.json are missing or damaged.
    """
    if not (folder / "config.yaml").is_file():
        raise no_judge(folder)
    from marsgen.core.runs import Run  # here: imports yaml

    made_by = Run.load(folder, finished=False).command
    if made_by.partition(" ")[0] in ("marsgen", "segmenter"):  # other packages may bring judges of their own
        Run.load(folder, "segmenter train").refuse_no_weights()
        read_split(folder)


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


def refuse_features_of_none(kind: str | None, judge: object) -> None:
    """Raise RunError where --features is judge, and there is none."""
    if kind == "judge" and judge is None:
        raise RunError("--features judge: no judge was given; name a trained segmenter with --judge")


def read_scored_head(folder: Path) -> dict[str, Any]:
    """What a set of `marsgen synthesize` says of itself, with the data and the classes that it was made from.

    Raises:
        RunError: no run of that command, or not finished.
        DataError: its synth.json or classes.yaml is damaged, or it says nothing of data and classes.
    """
    from marsgen.core.runs import Run  # here: imports yaml
    from marsgen.scenes.stated import classes_of

    Run.load(folder, "marsgen synthesize")
    classes_of(folder)
    head = read_set_head(folder)
    data, classes = head.get("data"), head.get("classes")
    texts = [data.get(key) for key in ("location", "fingerprint")] if isinstance(data, dict) else [None]
    texts += [data.get("classes") or ""] if isinstance(data, dict) else []
    texts += classes if isinstance(classes, list) and classes else [None]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{folder / HEAD_FILE}: does not say which data and classes the set was made from; make it again"
        )
    return head


def refuse_lost_parents(folder: Path, head: dict[str, Any], data: str | None) -> None:
    """Refuse a set whose real scenes are not where they were, and not named.

    Args:
        head: from `read_scored_head`.
        data: where they are now; None = where they were.
    Raises:
        DataError: they are not there.
    """
    location = head["data"]["location"]
    if data is None and not location.startswith(SIMULATED) and not os.path.exists(location):
        raise DataError(
            f"{folder} was made from {location}, which is not here; name those scenes with --data (paths count from "
            "the current folder)"
        )
