"""Pictures with a mask for each kind of thing in them, in the three ways that such masks are named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.sources import open_scenes, open_source

HOLE, SCRATCH = (slice(4, 12), slice(5, 20)), (slice(10, 11), slice(0, 40))
LAYOUTS = {
    "suffix": ("images/{name}.png", "masks/{name}_{kind}.png"),
    "folder": ("images/{name}.png", "masks/{kind}/{name}.png"),
    "mvtec": ("test/{of}/{name}.png", "ground_truth/{kind}/{name}_mask.png"),
}


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def make(root: Path, layout: str, shape: tuple[int, int] = (32, 48)) -> str:
    """a_1 shows a hole, a_2 a scratch, a_3 nothing; but for mvtec, a_2 shows a hole, too."""
    picture, mask = LAYOUTS[layout]
    shown = {"a_1": ["hole"], "a_2": ["scratch"] if layout == "mvtec" else ["hole", "scratch"], "a_3": []}
    for number, (name, kinds) in enumerate(shown.items()):
        write(root / picture.format(name=name, of=[*kinds, "good"][0]), np.full((32, 48), 50 + number, np.uint8))
        for kind in kinds:
            values = np.zeros(shape, np.uint8)
            values[HOLE if kind == "hole" else SCRATCH] = 255
            write(root / mask.format(name=name, kind=kind), values)
    return str(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_kind_is_a_class_and_what_has_no_mask_shows_none(tmp_path, layout):
    scenes = open_scenes(make(tmp_path, layout))
    assert scenes.classes.names == ("background", "hole", "scratch")
    labels = {scene.name: scene.labels for scene in scenes}
    hole = np.zeros((32, 48), np.uint8)
    hole[HOLE] = 1
    np.testing.assert_array_equal(labels["a_1"], hole)
    both = np.zeros_like(hole) if layout == "mvtec" else hole.copy()
    both[SCRATCH] = 2  # the smaller one, on top
    np.testing.assert_array_equal(labels["a_2"], both)
    assert not labels["a_3"].any()
    assert any(note.startswith("1 of 3 pictures have no mask, so they show no class") for note in scenes.notes)


def test_names_of_mvtec_repeat_in_each_folder(tmp_path):
    make(tmp_path, "mvtec")
    for file in (tmp_path / "test").rglob("*.png"):
        file.rename(file.with_name("000.png"))
    for file in (tmp_path / "ground_truth").rglob("*.png"):
        file.rename(file.with_name("000_mask.png"))
    assert sorted(scene.labels.max() for scene in open_scenes(str(tmp_path))) == [0, 1, 2]


def test_which_of_two_masks_keeps_a_pixel_can_be_said(tmp_path):
    make(tmp_path, "suffix")
    for overlap, kept in (("smaller", 2), ("larger", 1), ("first", 1), ("last", 2)):
        scenes = open_source(str(tmp_path), ReadingConfig(overlap=overlap), None)
        assert scenes[list(scenes.names).index("a_2")].labels[10, 6] == kept


@pytest.mark.parametrize("inner", ["", "train/", "north/"])
def test_plain_label_maps_are_not_taken_for_kinds(tmp_path, inner):
    for name in ("a", "b_1"):
        for folder in ("images", "masks"):
            write(tmp_path / f"{folder}/{inner}{name}.png", np.ones((32, 48), np.uint8))
    with pytest.raises(DataError) as problem:
        open_source(str(tmp_path), ReadingConfig(format="kind-masks"), None)
    assert "no kind-masks data here" in str(problem.value)


def test_a_mask_without_a_picture_and_one_of_another_size_are_named(tmp_path):
    make(tmp_path / "lost", "suffix")
    write(tmp_path / "lost/masks/c_hole.png", np.zeros((32, 48), np.uint8))
    with pytest.raises(DataError, match=r"masks/c_hole\.png: masks that belong to no picture; expected NAME_KIND\.png"):
        open_scenes(str(tmp_path / "lost"))
    with pytest.raises(DataError, match=r"a_1_hole\.png: 40 x 48 pixels, but its picture has 32 x 48"):
        [scene.labels for scene in open_scenes(make(tmp_path / "size", "suffix", (40, 48)))]
