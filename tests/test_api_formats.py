"""Data of other libraries into marsgen and back, without a folder in between where the library has none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_flow import call

import marsgen as mg
from marsgen.core.errors import ConfigError, DataError
from marsgen.scenes.sources import open_scenes

SIZE = (40, 48)
SPLIT = {"val_fraction": 0.25}


def box(index: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the object in a picture."""
    left, top = (int(value) for value in np.random.default_rng(index).integers(4, 20, 2))
    return left, top, left + 12, top + 10


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(100 + index).integers(0, 256, (*SIZE, 3), np.uint8)


def labels(index: int) -> np.ndarray:
    left, top, right, bottom = box(index)
    expected = np.zeros(SIZE, np.uint8)
    expected[top:bottom, left:right] = 1
    return expected


def corners(index: int) -> list[list[int]]:
    left, top, right, bottom = box(index)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The same twelve pictures with a pit each, in COCO and in LabelMe."""
    coco, labelme = tmp_path / "coco", tmp_path / "labelme"
    images, annotations = [], []
    for index in range(12):
        name = f"p{index:02d}.png"
        for folder in (coco, labelme):
            folder.mkdir(exist_ok=True)
            Image.fromarray(picture(index)).save(folder / name)
        images.append({"id": index, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        annotations.append({"image_id": index, "category_id": 1, "segmentation": [np.ravel(corners(index)).tolist()]})
        shapes = [{"label": "pit", "points": corners(index), "shape_type": "polygon"}]
        content = {"shapes": shapes, "imagePath": name, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (labelme / f"p{index:02d}.json").write_text(json.dumps(content))
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "pit"}]}
    (coco / "annotations.json").write_text(json.dumps(content))
    return coco, labelme


def test_coco_and_labelme_give_what_the_command_gives(folders, tmp_path):
    coco = mg.from_coco(folders[0], rename={"pit": "hole"}, **SPLIT)
    labelme = mg.from_labelme(folders[1], **SPLIT)
    assert coco.scenes.classes.names == ("background", "hole")
    assert labelme.scenes.classes.names == ("background", "pit")
    assert (coco.config.val_fraction, len(coco.split.val)) == (0.25, 3)
    words = ("marsgen", "import", str(folders[0]), "--format", "coco", "--set", "rename.pit=hole")
    assert call(*words, "--out", str(tmp_path / "copy")) == 0
    for index, scene in enumerate(open_scenes(str(tmp_path / "copy"))):
        for data in (coco, labelme):
            np.testing.assert_array_equal(data.scenes[index].image, scene.image)
            np.testing.assert_array_equal(data.scenes[index].labels, scene.labels)
        np.testing.assert_array_equal(scene.labels, labels(index))
    with pytest.raises(ConfigError, match="unknown setting 'renam' .did you mean 'rename'"):
        mg.from_coco(folders[0], renam={})
    with pytest.raises(DataError, match="no coco data here; it looks like labelme"):
        mg.from_coco(folders[1])


def test_a_loaded_dataset_comes_in_and_goes_out_with_its_splits(tmp_path):
    datasets = pytest.importorskip("datasets")

    def part(numbers):
        columns = {
            "image": [Image.fromarray(picture(i)) for i in numbers],
            "label": [Image.fromarray(labels(i)) for i in numbers],
        }
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
        return datasets.Dataset.from_dict(columns, features)

    loaded = datasets.DatasetDict({"train": part(range(8)), "validation": part(range(8, 12))})
    data = mg.from_huggingface(loaded, names=["ground", "pit"], rare=["pit"])
    assert (data.scenes.location, data.scenes.classes.rare) == ("arrays in memory", ("pit",))
    assert (len(data.split.train), len(data.split.val)) == (8, 4)
    back = data.to_huggingface()
    assert {name: len(split) for name, split in back.items()} == {"train": 8, "validation": 4}
    for name, numbers in (("train", range(8)), ("validation", range(8, 12))):
        for row, number in zip(back[name], numbers, strict=True):
            np.testing.assert_array_equal(np.asarray(row["image"]), picture(number))
            np.testing.assert_array_equal(np.asarray(row["label"]), labels(number))
    back.save_to_disk(str(tmp_path / "saved"))
    again = mg.from_huggingface(tmp_path / "saved", names=["ground", "pit"])
    np.testing.assert_array_equal(again.scenes[0].labels, data.scenes[0].labels)
    with pytest.raises(ConfigError, match=r"needs the classes: give names="):
        mg.from_huggingface(loaded)
    with pytest.raises(DataError, match="a list was given; expected a datasets.Dataset"):
        mg.from_huggingface([1], names=["a", "b"])


def test_synthetic_and_real_scenes_as_tensors(tmp_path):
    pixels, maps = [picture(i) for i in range(12)], [labels(i) for i in range(12)]
    maps[0][:3] = 255
    data = mg.from_arrays(pixels, maps, names=["ground", "pit"], rare=["pit"], ids=[0, 1], **SPLIT)
    made = mg.synthesize(data, "copy-paste", n=4, out=tmp_path / "made").to_torch()
    images, indices = next(iter(torch.utils.data.DataLoader(made, batch_size=4)))
    assert (images.shape, images.dtype) == ((4, 3, *SIZE), torch.float32)
    assert (indices.shape, indices.dtype) == ((4, *SIZE), torch.int64)
    assert 0 <= images.min() < images.max() <= 1
    real = data.to_torch("train")
    assert (len(real), len(data.to_torch("val"))) == (9, 3)
    first = real.indices[0]
    image, label = real[0]
    np.testing.assert_array_equal((image * 255).round().movedim(0, -1).to(torch.uint8), pixels[first])
    np.testing.assert_array_equal(label, maps[first])
    with pytest.raises(DataError, match="no scene in part 'test'; there are train, val"):
        data.to_torch("test")
    pytest.importorskip("datasets")
    assert len(mg.synthesize(data, "copy-paste", n=4, out=tmp_path / "made").to_huggingface()) == 4
