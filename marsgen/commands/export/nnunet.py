"""nnU-Net v2 raw data: dataset.json, imagesTr/NAME_0000.png, labelsTr/NAME.png; imagesTs/, labelsTs/ for a test part.

Ids are consecutive, background is 0 and ignored pixels have the highest id, as nnU-Net expects. Grey and RGB are one
file; each band of more is a file of its own, NAME_0000.png to NAME_0004.png.

Source: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md and ignore_label.md.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.core.storage.files import write_bytes, write_json
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.pictures import encode_image, encode_png
from marsgen.scenes.scene import Scene, SceneSource

BACKGROUND, IGNORE = "background", "ignore"
"""names that nnU-Net gives a meaning"""


def refuse_reserved_names(classes: ClassSet) -> None:
    """Raise DataError for a class that nnU-Net would take for something else."""
    if IGNORE in classes.names:
        raise DataError(f"--to nnunet: a class is called {IGNORE!r}, which nnU-Net keeps for no label; rename it")


def write_nnunet(folder: Path, scenes: SceneSource, background: str, done: Callable[[], object]) -> dict[str, int]:
    """Write every scene; a file that is there already is kept.

    Args:
        background: the class that becomes id 0; where there is none of that name, no pixel has id 0.
    Returns:
        numbers of pairs to train on and to test.
    """
    labels = number_labels(scenes.classes, background)
    table = np.full(256, labels[IGNORE], np.uint8)
    for name, number in zip(scenes.classes.names, scenes.classes.ids, strict=True):
        table[number] = labels[BACKGROUND if name == background else name]
    parts = scenes.parts or [""] * len(scenes)
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for index, part in enumerate(parts):
        name = scenes.names[index]
        ending = "Ts" if part == "test" else "Tr"
        label = folder / f"labels{ending}" / f"{name}.png"
        if not label.exists():
            scene = scenes[index]
            _write_channels(folder / f"images{ending}", scene)
            write_bytes(label, encode_png(Image.fromarray(table[scene.labels])))
        if ending == "Tr":
            splits[part or "train"].append(name)
        done()
    channels = {1: ["grey"], 3: ["R", "G", "B"]}.get(scenes.channels) or [
        f"band {number}" for number in range(1, scenes.channels + 1)
    ]
    training = len(splits["train"]) + len(splits["val"])
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels,
        "numTraining": training,
        "file_ending": ".png",
    }
    if splits["val"]:  # belongs beside the preprocessed data: nnUNet_preprocessed/DatasetXXX/splits_final.json
        write_json(folder / "splits_final.json", [splits])
    write_json(folder / "dataset.json", content)
    return {"pairs": training, "test_pairs": len(scenes) - training}


def number_labels(classes: ClassSet, background: str) -> dict[str, int]:
    """Name -> id: background 0, the other classes from 1 in their order, "ignore" last."""
    others = [name for name in classes.names if name != background]
    return {BACKGROUND: 0, **{name: i for i, name in enumerate(others, start=1)}, IGNORE: len(others) + 1}


def _write_channels(folder: Path, scene: Scene) -> None:
    bands = scene.image.shape[2]
    if bands in (1, 3):
        write_bytes(folder / f"{scene.name}_0000.png", encode_image(scene.image))
        return
    for number in range(bands):
        write_bytes(folder / f"{scene.name}_{number:04d}.png", encode_image(scene.image[..., number : number + 1]))
