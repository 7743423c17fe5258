"""Scenes handed over to other libraries: a torch Dataset of tensors, a `datasets.Dataset` of pictures."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from marsgen.core.errors import DataError, how_to_install
from marsgen.scenes.files.label_maps import encode_label_map
from marsgen.scenes.files.pictures import encode_image
from marsgen.scenes.tensors import label_tensor

if TYPE_CHECKING:
    import datasets


class TorchPairs(torch.utils.data.Dataset):
    """(image, labels) of scenes, read when they are asked for; fit for a DataLoader with workers.

    image: (channels, H, W) float32 in [0, 1]; labels: (H, W) int64 class indices 0..C-1 in the order of the classes,
    255 where there is no label (`torch.nn.CrossEntropyLoss(ignore_index=255)`).
    """

    def __init__(self, scenes: Any, indices: Sequence[int]) -> None:
        """Hold a `SceneSource` and the numbers of its scenes that belong to the data set."""
        self.scenes, self.indices = scenes, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        scene = self.scenes[self.indices[number]]
        image = torch.from_numpy(scene.image.copy()).movedim(-1, 0).to(torch.float32).div(255)
        return image, label_tensor(scene.indices)


def huggingface_dataset(scenes: Any, indices: Sequence[int]) -> "datasets.Dataset":
    """Columns image, label (PNG in memory; the pixel values of a label map are ids) and name.

    Raises:
        DataError: datasets is not installed, or pictures of more than three bands.
    """
    if find_spec("datasets") is None:
        raise DataError(f"to_huggingface needs datasets, which is not installed: {how_to_install('huggingface')}")
    if scenes.channels not in (1, 3):
        raise DataError(f"{scenes.location}: pictures of {scenes.channels} bands; to_huggingface takes grey and RGB")
    import datasets

    columns: dict[str, list[Any]] = {"image": [], "label": [], "name": []}
    for index in indices:
        scene = scenes[index]
        path = f"{scene.name}.png"
        columns["image"].append({"bytes": encode_image(scene.image), "path": path})
        columns["label"].append({"bytes": encode_label_map(scene.labels, scene.classes), "path": path})
        columns["name"].append(scene.name)
    features = {"image": datasets.Image(), "label": datasets.Image(), "name": datasets.Value("string")}
    return datasets.Dataset.from_dict(columns, datasets.Features(features))
