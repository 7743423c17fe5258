"""Pictures and label maps find each other by name, as the layout says; what does not pair is named with its file."""

from pathlib import Path

import pytest

from marsgen.core.errors import DataError
from marsgen.scenes.files.layout import Folders, Layout
from marsgen.scenes.files.pairs import find_images, find_pairs

ONE_FOLDER = Folders("all", "all")
MASKS = Layout(Folders("photos", "masks"), suffix="_mask")


def lay(folder: Path, *paths: str) -> Path:
    """Empty files: pairing reads names only."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def pairs_of(folder: Path, layout: Layout) -> list[tuple[str, str, str | None, str]]:
    """Name, picture, label map and part of each pair."""
    found = find_pairs(folder, layout, [])
    return [(p.name, p.image.name, None if p.labels is None else p.labels.name, p.part) for p in found]


def test_two_suffixes_of_files_in_one_folder_are_told_apart(tmp_path: Path):
    lay(tmp_path, "all/a.jpg", "all/a.png", "all/b.jpg")
    assert pairs_of(tmp_path, Layout(ONE_FOLDER)) == [("a", "a.jpg", "a.png", ""), ("b", "b.jpg", None, "")]


def test_a_suffix_tells_pictures_and_label_maps_of_one_folder_apart(tmp_path: Path):
    lay(tmp_path, "all/a.png", "all/a_mask.png", "all/b.png")
    layout = Layout(ONE_FOLDER, suffix="_mask")
    assert pairs_of(tmp_path, layout) == [("a", "a.png", "a_mask.png", ""), ("b", "b.png", None, "")]
    assert [image.image.name for image in find_images(tmp_path, layout, ())] == ["a.png", "b.png"]


def test_one_name_in_two_parts_is_two_scenes(tmp_path: Path):
    lay(tmp_path, "t/a.png", "tl/a.png", "v/a.png", "vl/a.png")
    layout = Layout(splits={"train": Folders("t", "tl"), "val": Folders("v", "vl")})
    assert [(name, part) for name, _, _, part in pairs_of(tmp_path, layout)] == [("train-a", "train"), ("val-a", "val")]
    with pytest.raises(DataError, match=r"v/a\.png: .*t/a\.png has the same name; rename one of the two"):
        find_images(tmp_path, layout, ())


def test_lists_of_parts_say_which_scene_is_where_and_the_rest_is_counted(tmp_path: Path):
    lay(tmp_path, *(f"{inner}/{name}.png" for inner in ("images", "labels") for name in "abc"))
    (tmp_path / "val.txt").write_text("photos/b.png\n")
    notes: list[str] = []
    found = find_pairs(tmp_path, Layout(splits={"train": ("a",), "val": "val.txt"}), notes)
    assert [(pair.name, pair.part) for pair in found] == [("a", "train"), ("b", "val")]
    assert notes == ["1 pictures are in no part that 'splits' names; they are left out"]


@pytest.mark.parametrize(
    ("paths", "layout", "words"),
    [
        (("photos/a.jpg",), MASKS, r"no masks/ in this folder; expected photos/ and masks/ with files of the same"),
        (("photos/a.jpg", "masks/a.png"), MASKS, r"masks/a\.png: a label map whose name does not end in '_mask'"),
        (("photos/a.jpg", "masks/b_mask.png"), MASKS, r"no label map has the name of a picture \(b_mask\.png beside a"),
        (
            ("photos/a.jpg", *(f"masks/{name}_mask.png" for name in "abc")),
            MASKS,
            r"masks/b_mask\.png: no image photos/b\.png \(the same for 1 more\); add it or remove the label map",
        ),
        (
            ("images/a.png", "labels/a.png"),
            Layout(splits={"train": ("a", "z")}),
            r"splits\.train: 'z' is no picture of this folder; correct the list",
        ),
        (
            ("images/a.png", "labels/a.png"),
            Layout(splits={"train": ("a",), "test": ("a.png",)}),
            r"'a\.png' is in train and in test; keep it in one part",
        ),
        (
            ("images/a.png", "labels/a.png"),
            Layout(splits={"val": "lists/val.txt"}),
            r"lists/val\.txt: missing; it lists names, one a line",
        ),
    ],
)
def test_what_does_not_pair_is_named(tmp_path: Path, paths: tuple[str, ...], layout: Layout, words: str):
    lay(tmp_path, *paths)
    with pytest.raises(DataError, match=words):
        find_pairs(tmp_path, layout, [])
