"""Files of other tools that are wrong, or right in a way that is rarely met; written by hand."""

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.formats.listing import Listing, few, name_all, part_of
from marsgen.scenes.sources import open_scenes

SIZE = (40, 48)
OUTLINE = "0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"


def picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), value, np.uint8)).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


# listing


def listing_of(root: Path, *names: str) -> Listing:
    for name in names:
        text(root / name, "")
    return Listing.of(root)


def test_a_named_picture_is_the_nearest_of_its_name(tmp_path: Path):
    listing = listing_of(tmp_path, "train/a.jpg", "val/a.jpg", "other/b.jpg", "val.json")
    found = {
        (stated, beside): listing.find_picture(stated, PurePosixPath(beside)).as_posix()
        for stated, beside in (
            ("val\\a.jpg", "train/x.json"),  # its folder is stated
            ("a.jpg", "train/x.json"),  # it lies beside
            ("a.jpg", "val.json"),  # it is of the same part
            ("../somewhere/b.jpg", "val.json"),  # there is only one
        )
    }
    assert list(found.values()) == ["val/a.jpg", "train/a.jpg", "val/a.jpg", "other/b.jpg"]
    with pytest.raises(DataError, match=r"x\.json: its picture a\.jpg may be train/a\.jpg or val/a\.jpg; rename one"):
        listing.find_picture("a.jpg", PurePosixPath("x.json"))
    with pytest.raises(DataError, match=rf"x\.json: its picture c\.jpg is nowhere in {tmp_path}"):
        listing.find_picture("c.jpg", PurePosixPath("x.json"))


def test_links_and_depth_end_a_listing(tmp_path: Path):
    listing_of(tmp_path, "a/b/c/d/e/f/g.png", "a/b/c/d/e/h.png")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    assert [file.as_posix() for file in Listing.of(tmp_path).files] == ["a/b/c/d/e/h.png"]
    (tmp_path / "a/out").symlink_to("/etc")
    with pytest.raises(DataError, match=r"a/out: a link to /etc, which is outside of"):
        Listing.of(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_format_is_named(tmp_path: Path):
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "x.json")
    with pytest.raises(DataError, match=r"a/x\.json: a pipe or a device among the data; move it elsewhere"):
        Listing.of(tmp_path)


def test_names_of_files_are_short_where_they_differ():
    def names(*paths: str) -> list[str]:
        return name_all([PurePosixPath(path) for path in paths])

    assert names("x/a.png", "y/b.png") == ["a", "b"]
    assert names("x/a.png", "y/a.png") == ["x-a", "y-a"]
    assert names("d/x/a.png", "d/y/a.png") == ["x-a", "y-a"]
    assert few([1, 2, 3, 4, 5]) == "1, 2, 3 and 2 more"
    assert [part_of(PurePosixPath(p)) for p in ("train_2/a.png", "b/val.json", "b/val.png")] == ["train", "val", ""]


# YOLO


def yolo(root: Path, lines: str, names: str = "names: [crack, hole, dent]\n") -> Path:
    picture(root / "images/a.png")
    text(root / "labels/a.txt", lines)
    text(root / "data.yaml", names)
    return root


def test_yolo_faults_are_named_with_their_lines(tmp_path: Path):
    yolo(tmp_path, f"0 {OUTLINE}\n\nx {OUTLINE}\n0 0.1 0.1 0.2 0.1 0.2 0.2 0.3\n0 0.1 nan 0.2 0.1 0.2 0.2\n")
    text(tmp_path / "labels/lost.txt", f"0 {OUTLINE}\n")
    words = (
        r"4 faults: .*lost\.txt: no picture of this name in images/.*a\.txt: line 3 is no class and numbers"
        r".*line 4: 7 numbers; an outline has x and y of three points or more.*line 5 is no class and numbers"
    )
    with pytest.raises(DataError, match=words):
        open_scenes(str(tmp_path))


def test_yolo_boxes_are_no_outlines(tmp_path: Path):
    yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match="2 objects are boxes without outlines; label maps need outlines"):
        open_scenes(str(tmp_path))
    text(tmp_path / "labels/a.txt", f"0 0.5 0.5 0.2 0.2\n0 {OUTLINE}\n")
    notes = " ".join(open_scenes(str(tmp_path)).notes)
    assert "1 objects are boxes without outlines: left out" in notes
    assert "2 names without an object are left out (hole, dent)" in notes


def test_yolo_names_of_every_kind(tmp_path: Path):
    yolo(tmp_path, f"1 {OUTLINE}\n", "names: {0: crack, 1: hole}\n")
    assert open_scenes(str(tmp_path)).classes.names == ("background", "hole")
    text(tmp_path / "data.yaml", "names: {0: crack, 2: hole}\n")
    with pytest.raises(DataError, match=r"data\.yaml: names is \{.*\}; expected a list, or 0: \.\.\., 1: \.\.\."):
        open_scenes(str(tmp_path))
    (tmp_path / "data.yaml").unlink()
    given = ClassSet(("background", "hole"), (0, 3), ((0, 0, 9), (9, 0, 0)), 255)
    assert set(np.unique(open_scenes(str(tmp_path), classes=given)[0].labels)) == {0, 3}


def test_a_text_that_is_no_text_is_no_yolo_file(tmp_path: Path):
    yolo(tmp_path, f"0 {OUTLINE}\n")
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError) as refused:
        open_scenes(str(tmp_path))
    assert "YOLO" not in str(refused.value)


# COCO, Pascal VOC, class folders, tables


def test_coco_files_of_other_tasks_are_passed_over_and_wrong_keys_named(tmp_path: Path):
    picture(tmp_path / "images/a.png")
    text(tmp_path / "person_keypoints_val.json", '{"images": [], "annotations": [], "categories": []}')
    text(tmp_path / "a.json", '{"images": [], "annotations": {}, "categories": []}')
    words = r"a\.json: expected lists under the keys images, annotations and categories"
    with pytest.raises(DataError, match=words):
        open_scenes(str(tmp_path))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("background:0,0,0::\ncrack:300,0,0::\n", r"line 2 is 'crack:300,0,0::'; expected name:red,green,blue::"),
        ("background:0,0,0::\n# more\ncrack\n", r"line 3 is 'crack'; expected name:red,green,blue::"),
        ("background:0,0,0::\ncrack:0,0,0::\n", r"line 2: the name or the colour \(0, 0, 0\) has a line already"),
    ],
)
def test_a_labelmap_that_is_none(lines: str, words: str, tmp_path: Path):
    picture(tmp_path / "JPEGImages/a.png")
    picture(tmp_path / "SegmentationClass/a.png", 0)
    text(tmp_path / "labelmap.txt", lines)
    with pytest.raises(DataError, match=rf"labelmap\.txt: {words}"):
        open_scenes(str(tmp_path))


def test_voc_pictures_and_parts_that_contradict_each_other(tmp_path: Path):
    for name in ("JPEGImages/a.png", "JPEGImages/a.jpg"):
        picture(tmp_path / name)
    for name in ("a", "lost"):
        picture(tmp_path / f"SegmentationClass/{name}.png", 0)
    text(tmp_path / "labelmap.txt", "background:0,0,0::\ncrack:128,0,0::\n")
    for part in ("train", "val"):
        text(tmp_path / f"ImageSets/Segmentation/{part}.txt", "a\n")
    with pytest.raises(DataError) as refused:
        open_scenes(str(tmp_path))
    for words in (
        "val.txt: a is in train.txt too; keep it in one part",
        "JPEGImages/a.jpg has the same name; rename one of the two",
        "lost.png: no picture of this name in JPEGImages",
    ):
        assert words in str(refused.value)


def tiles(root: Path, mask: np.ndarray) -> Path:
    for folder in ("Crack", "Hole"):
        for index in range(2):
            path = root / folder / f"{folder}{index}.jpg"
            picture(path)
            Image.fromarray(mask).save(path.with_suffix(".png"))
    return root


def test_masks_without_a_pixel_of_the_class_are_refused(tmp_path: Path):
    tiles(tmp_path, np.full(SIZE, 90, np.uint8))
    with pytest.raises(DataError, match="no mask has a pixel of 128 or more; see --set threshold=N"):
        open_scenes(str(tmp_path))


def test_parquet_files_that_cannot_be_read(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    classes = ClassSet(("a", "b"), (0, 1), ((0, 0, 9), (9, 0, 0)), 255)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        open_scenes(str(tmp_path / "a.parquet"), classes=classes)
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": "a.png"}], struct)
    parquet.write_table(pa.table({"image": rows, "label": rows}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"no picture in the table but NoneType; save it with its bytes"):
        open_scenes(str(tmp_path / "b.parquet"), classes=classes)
