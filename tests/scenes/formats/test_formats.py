"""Small data sets in other people's formats, written here or by the format's own library, compared pixel by pixel."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.sources import open_scenes, open_source

SIZE = (40, 60)
CLASSES = ClassSet(("ground", "crack", "hole"), (0, 1, 2), ((9, 9, 9), (200, 0, 0), (0, 0, 200)), 255, ("hole",))
CRACK, HOLE = (10, 5, 30, 20), (25, 15, 40, 35)
"""left, top, right, bottom of the two objects of every picture; they overlap by 5 x 5"""


def picture(index: int, channels: int = 3) -> np.ndarray:
    shape = (*SIZE, channels) if channels == 3 else SIZE
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


def expected(crack: int = 1, hole: int = 2, background: int = 0) -> np.ndarray:
    """(40, 60) label map of the two boxes; the crack, being smaller (300 px against 300 px), is drawn by order."""
    labels = np.full(SIZE, background, np.uint8)
    labels[CRACK[1] : CRACK[3], CRACK[0] : CRACK[2]] = crack
    labels[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = hole
    return labels


def corners(box: tuple[int, int, int, int]) -> list[list[float]]:
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def said(scenes) -> str:
    return "\n".join(scenes.notes)


# LabelMe


def labelme_file(folder: Path, name: str, shapes: list[dict], **more) -> Path:
    content = {"version": "5.5", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
    return write_json(folder / f"{name}.json", content | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | more)


def shape(label: str, box: tuple[int, int, int, int], kind: str = "polygon") -> dict:
    points = corners(box) if kind == "polygon" else [[box[0], box[1]], [box[2], box[3]]]
    return {"label": label, "points": points, "shape_type": kind, "group_id": None}


@pytest.fixture
def labelme(tmp_path: Path) -> Path:
    for index in range(3):
        save(tmp_path / f"p{index}.png", picture(index))
        labelme_file(tmp_path, f"p{index}", [shape("crack", CRACK), shape("hole", HOLE, "rectangle")])
    return tmp_path


def test_labelme_folders_open_as_they_are(labelme: Path):
    scenes = open_scenes(str(labelme))
    assert (scenes.classes.names, scenes.classes.ids) == (("background", "crack", "hole"), (0, 1, 2))
    assert scenes.names == ("p0", "p1", "p2")
    for index, scene in enumerate(scenes):
        np.testing.assert_array_equal(scene.image, picture(index))
        np.testing.assert_array_equal(scene.labels, expected())
    assert "3 LabelMe files (p0.json, p1.json and 1 more)" in said(scenes)
    assert "75 pixels under objects of two classes: the smaller object keeps them, in 3 pictures" in said(scenes)
    assert "pixels that no object covers are of class 'background'" in said(scenes)


def test_labelme_shapes_of_every_kind(tmp_path: Path):
    mask = np.zeros((4, 6), bool)
    mask[1:3] = True
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    shapes = [
        {"label": "hole", "points": [[20, 20], [20, 30]], "shape_type": "circle"},
        {
            "label": "crack",
            "points": [[2, 3], [7, 6]],
            "shape_type": "mask",
            "mask": base64.b64encode(buffer.getvalue()).decode(),
        },
        {"label": "crack", "points": [[50, 5]], "shape_type": "point"},
        {"label": "crack", "points": [[1, 1], [50, 30]], "shape_type": "linestrip"},
    ]
    save(tmp_path / "a.png", picture(0))
    labelme_file(tmp_path, "a", shapes)
    scenes = open_scenes(str(tmp_path))
    labels = scenes[0].labels
    crack, hole = (scenes.classes.ids[scenes.classes.index(name)] for name in ("crack", "hole"))
    assert (labels == hole).sum() == pytest.approx(np.pi * 100, rel=0.03)
    np.testing.assert_array_equal(np.argwhere(labels == crack), np.argwhere(np.pad(mask, ((3, 33), (2, 52)))))
    assert "shapes without an area are left out: 1 point, 1 linestrip" in said(scenes)


def test_a_labelme_picture_may_lie_in_the_json(tmp_path: Path):
    buffer = io.BytesIO()
    Image.fromarray(picture(4)).save(buffer, "PNG")
    labelme_file(tmp_path, "a", [shape("crack", CRACK)], imageData=base64.b64encode(buffer.getvalue()).decode())
    np.testing.assert_array_equal(open_scenes(str(tmp_path))[0].image, picture(4))


def test_labelme_pictures_without_json_are_counted(labelme: Path):
    save(labelme / "later.png", picture(9))
    scenes = open_scenes(str(labelme))
    assert len(scenes) == 3
    assert "1 pictures have no label (later): unlabelled, not used here" in said(scenes)
    assert len(open_scenes(str(labelme), labelled=False)) == 4


def test_all_faults_of_a_labelme_folder_come_in_one_answer(labelme: Path):
    (labelme / "p0.png").unlink()
    (labelme / "p1.json").write_text("{")
    with pytest.raises(DataError, match=r"p1\.json: not readable json"):
        open_scenes(str(labelme))
    labelme_file(labelme, "p1", [{"label": "crack", "points": [[1, 2]], "shape_type": "polygon"}])
    with pytest.raises(
        DataError, match=r"2 faults: .*p0\.png is nowhere.*p1\.json: a polygon of 'crack' cannot be read"
    ):
        open_scenes(str(labelme))


def test_classes_may_be_merged_taken_away_and_named_before(labelme: Path):
    config = ReadingConfig(rename={"crack": "damage", "hole": "damage"})
    scenes = open_source(str(labelme), config, None)
    assert scenes.classes.names == ("background", "damage")
    np.testing.assert_array_equal(scenes[0].labels, (expected() > 0).astype(np.uint8))
    assert "crack and hole: merged into damage" in said(scenes)
    config = ReadingConfig(rename={"hole": "ignored"}, background="ground")
    scenes = open_source(str(labelme), config, CLASSES)
    assert scenes.classes == CLASSES
    np.testing.assert_array_equal(scenes[0].labels, expected(hole=255))
    with pytest.raises(DataError, match=r"the data have the class 'crack', which is not among a, b"):
        open_source(str(labelme), ReadingConfig(), ClassSet(("a", "b"), (0, 1), ((1, 1, 1), (2, 2, 2)), 255))


def test_a_classes_file_without_background_leaves_the_rest_unlabelled(labelme: Path):
    (labelme / "classes.yaml").write_text("classes:\n  - {name: crack, id: 3}\n  - {name: hole, id: 7}\nrare: crack\n")
    scenes = open_scenes(str(labelme))
    np.testing.assert_array_equal(scenes[0].labels, expected(3, 7, 255))
    assert scenes.classes.rare == ("crack",)


# COCO


def coco_content(segmentations: dict[str, object], pictures: int = 2) -> dict:
    entries = [
        {"id": 10 * i + k, "image_id": i, "category_id": {"crack": 5, "hole": 3}[n], "segmentation": s, "iscrowd": 0}
        for i in range(pictures)
        for k, (n, s) in enumerate(segmentations.items())
    ]
    images = [{"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(pictures)]
    categories = [{"id": 5, "name": "crack"}, {"id": 3, "name": "hole"}, {"id": 8, "name": "never"}]
    return {"images": images, "annotations": entries, "categories": categories}


def flat(box: tuple[int, int, int, int]) -> list[list[float]]:
    return [np.ravel(corners(box)).tolist()]


def packed(box: tuple[int, int, int, int], as_text: bool) -> dict:
    mask_api = pytest.importorskip("pycocotools.mask")
    mask = np.zeros(SIZE, np.uint8, "F")
    mask[box[1] : box[3], box[0] : box[2]] = 1
    if as_text:
        rle = mask_api.encode(mask)
        return {"size": rle["size"], "counts": rle["counts"].decode()}
    flat_mask = mask.ravel("F")
    changes = np.flatnonzero(np.diff(flat_mask)) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *changes, flat_mask.size]).tolist()}


@pytest.mark.parametrize("kind", ["polygon", "text", "numbers"])
def test_coco_polygons_and_run_lengths_are_the_same_pixels(tmp_path: Path, kind: str):
    make = flat if kind == "polygon" else (lambda box: packed(box, kind == "text"))
    for index in range(2):
        save(tmp_path / "images" / f"p{index}.png", picture(index))
    write_json(tmp_path / "annotations.json", coco_content({"crack": make(CRACK), "hole": make(HOLE)}))
    scenes = open_scenes(str(tmp_path))
    assert scenes.classes.names == ("background", "crack", "hole")
    for index, scene in enumerate(scenes):
        np.testing.assert_array_equal(scene.image, picture(index))
        np.testing.assert_array_equal(scene.labels, expected())
    assert "1 categories without an object are left out (never)" in said(scenes)


def test_coco_files_of_several_parts_are_the_split(tmp_path: Path):
    for part, first in (("train", 0), ("val", 1)):
        content = coco_content({"crack": flat(CRACK)}, 2)
        content["images"] = content["images"][first : first + 1]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] == first]
        write_json(tmp_path / "annotations" / f"instances_{part}2017.json", content)
        save(tmp_path / f"{part}2017" / f"p{first}.png", picture(first))
    scenes = open_scenes(str(tmp_path))
    assert (scenes.names, scenes.parts) == (("p0", "p1"), ("train", "val"))
    assert "the data set ships its split: 1 train, 1 val" in said(scenes)


def test_coco_crowds_and_boxes_are_said(tmp_path: Path):
    content = coco_content({"crack": flat(CRACK), "hole": packed(HOLE, True)}, 1)
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"].append({"id": 77, "image_id": 0, "category_id": 5, "bbox": [1, 1, 5, 5]})
    save(tmp_path / "p0.png", picture(0))
    write_json(tmp_path / "a.json", content)
    scenes = open_scenes(str(tmp_path))
    assert (scenes[0].labels[15:20, 25:30] == 1).all()  # the crowd lies below
    assert "1 objects are crowds (iscrowd): drawn as their class, under all others" in said(scenes)
    assert "1 objects are boxes without outlines: left out" in said(scenes)
    content["annotations"] = content["annotations"][2:]
    write_json(tmp_path / "a.json", content)
    with pytest.raises(DataError, match=r"1 objects are boxes"):
        open_scenes(str(tmp_path))


def test_coco_entries_that_fit_nothing_are_named_together(tmp_path: Path):
    content = coco_content({"crack": flat(CRACK)}, 2)
    content["annotations"][0]["category_id"] = 99
    content["annotations"][1]["segmentation"] = {"size": [3, 3], "counts": [9]}
    save(tmp_path / "p0.png", picture(0))
    write_json(tmp_path / "a.json", content)
    words = r"3 faults: .*annotation 0 names a category.*annotation 1 of p1\.png cannot be read.*p1\.png is nowhere"
    with pytest.raises(DataError, match=words):
        open_scenes(str(tmp_path))


def test_a_picture_of_another_size_than_its_annotation_says_is_refused(tmp_path: Path):
    save(tmp_path / "p0.png", picture(0)[:35])
    write_json(tmp_path / "a.json", coco_content({"crack": flat(CRACK)}, 1))
    with pytest.raises(DataError, match=r"p0\.png: 35 x 60 pixels; its annotation says 40 x 60"):
        open_scenes(str(tmp_path))


@pytest.mark.parametrize("form", ["coco", "yolo", "labelme", "voc"])
def test_what_supervision_writes_is_read(tmp_path: Path, form: str):
    """Its outlines are traced pixel centres, so an edge of one pixel is the tolerance."""
    sv = pytest.importorskip("supervision")
    masks = np.zeros((2, *SIZE), bool)
    masks[0, CRACK[1] : CRACK[3], CRACK[0] : CRACK[2]] = True
    masks[1, 22:38, 42:57] = True
    boxes = np.array([[CRACK[0], CRACK[1], CRACK[2], CRACK[3]], [42, 22, 57, 38]], np.float32)
    detections = sv.Detections(xyxy=boxes, mask=masks, class_id=np.array([0, 1]))
    source = save(tmp_path / "source" / "a.png", picture(1))
    data = sv.DetectionDataset(["crack", "hole"], [str(source)], {str(source): detections})
    out = tmp_path / "out"
    if form == "coco":
        data.as_coco(str(out / "images"), str(out / "annotations.json"))
    elif form == "yolo":
        data.as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
    elif form == "labelme":
        data.as_labelme(str(out / "images"), str(out / "annotations"))
    else:
        pytest.skip("supervision writes Pascal VOC as boxes")
    scenes = open_scenes(str(out))
    labels = scenes[0].labels
    for name, mask in zip(("crack", "hole"), masks, strict=True):
        found = labels == scenes.classes.ids[scenes.classes.index(name)]
        assert (found & mask).sum() / (found | mask).sum() > 0.85, name
    np.testing.assert_array_equal(scenes[0].image, picture(1))


# YOLO


def yolo_line(number: int, box: tuple[int, int, int, int]) -> str:
    points = np.array(corners(box)) / [SIZE[1], SIZE[0]]
    return f"{number} " + " ".join(f"{value:.8f}" for value in points.ravel())


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for part, index in (("train", 0), ("train", 1), ("val", 2)):
        save(tmp_path / "images" / part / f"p{index}.png", picture(index))
        text = tmp_path / "labels" / part / f"p{index}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(yolo_line(0, CRACK) + "\n" + yolo_line(1, HOLE) + "\n")
    (tmp_path / "data.yaml").write_text("path: /elsewhere\ntrain: images/train\nnames:\n  0: no\n  1: hole\n")
    return tmp_path


def test_yolo_outlines_names_and_parts(yolo: Path):
    save(yolo / "images" / "train" / "empty.png", picture(7))
    scenes = open_scenes(str(yolo))
    assert scenes.classes.names == ("background", "no", "hole")
    assert scenes.parts == ("train", "train", "train", "val")
    np.testing.assert_array_equal(scenes[1].labels, expected())
    np.testing.assert_array_equal(scenes[0].labels, 0)
    assert "1 pictures have no label file (images/train/empty.png): in YOLO that means no object" in said(scenes)


def test_yolo_lines_that_are_no_outline_are_named_together(yolo: Path):
    (yolo / "labels/train/p0.txt").write_text("0 0.1 0.1 0.2 0.1\n7 0 0 0 1 1 1\n0 0 0 1 1\n")
    (yolo / "labels/train/p1.txt").write_text("0 10 20 30 40 50 60\n")
    with pytest.raises(
        DataError, match=r"2 faults: .*p0\.txt: line 2: class 7, but there are 2 names.*shares of the side"
    ):
        open_scenes(str(yolo))


def test_yolo_without_names_is_refused_unless_they_are_given(yolo: Path):
    (yolo / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"no names.*expected data\.yaml with `names:`, classes\.txt, or --classes"):
        open_scenes(str(yolo))
    (yolo / "classes.txt").write_text("crack\nhole")
    assert open_scenes(str(yolo)).classes.names == ("background", "crack", "hole")


# label maps in known folders


def test_cvat_masks_are_read_by_their_colours(tmp_path: Path):
    colours = {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255)}
    painted = np.zeros((*SIZE, 3), np.uint8)
    for number, colour in colours.items():
        painted[expected() == number] = colour
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nhole:51,221,255::\nbackground:0,0,0::\ncrack:250,50,83::\n"
    )
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("p0\n")
    (lists / "val.txt").write_text("p1\n")
    for index in range(3):
        save(tmp_path / "JPEGImages" / f"p{index}.png", picture(index))
    for index in range(2):
        save(tmp_path / "SegmentationClass" / f"p{index}.png", painted)
    scenes = open_scenes(str(tmp_path))
    ids = {name: scenes.classes.ids[scenes.classes.index(name)] for name in scenes.classes.names}
    assert set(ids) == {"hole", "background", "crack"}
    np.testing.assert_array_equal(scenes[1].labels, expected(ids["crack"], ids["hole"], ids["background"]))
    assert scenes.parts == ("train", "val")
    assert "1 pictures have no label (p2)" in said(scenes)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncrack:250,50,83::\n")
    with pytest.raises(DataError, match=r"colour \(51, 221, 255\) at row 15, column 25 is no class's"):
        open_scenes(str(tmp_path))


def test_pascal_voc_borders_carry_no_label(tmp_path: Path):
    numbers = np.where(expected() == 2, 15, expected())  # 1 aeroplane, 15 person
    numbers[0] = 255
    palette = np.zeros((256, 3), np.uint8)
    for number in range(1, 255):
        for bit in range(8):
            for channel in range(3):
                palette[number, channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    palette[255] = (224, 224, 192)
    indexed = Image.fromarray(numbers)
    indexed.putpalette(palette.tobytes())
    (tmp_path / "SegmentationClass").mkdir()
    indexed.save(tmp_path / "SegmentationClass" / "a.png")
    save(tmp_path / "JPEGImages" / "a.jpg", picture(0))
    scenes = open_scenes(str(tmp_path))
    ids = [scenes.classes.ids[scenes.classes.index(name)] for name in ("aeroplane", "person", "background")]
    labels = expected(*ids)
    labels[0] = 255
    np.testing.assert_array_equal(scenes[0].labels, labels)
    assert "the colours are taken for those of Pascal VOC 2012" in said(scenes)
    assert "give --classes FILE" in said(scenes)


def test_classes_of_ones_own_in_the_folders_of_pascal_voc_are_read_by_the_classes_file(tmp_path: Path):
    numbers = expected()
    numbers[0] = 255
    indexed = Image.fromarray(numbers)
    indexed.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    (tmp_path / "SegmentationClass").mkdir()
    indexed.save(tmp_path / "SegmentationClass" / "a.png")
    save(tmp_path / "JPEGImages" / "a.jpg", picture(0))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\n")
    file = tmp_path.parent / f"{tmp_path.name}.yaml"
    file.write_text("classes:\n- {name: land, id: 0}\n- {name: water, id: 1}\n- {name: boat, id: 2}\n")
    scenes = open_scenes(str(tmp_path), classes=file)
    np.testing.assert_array_equal(scenes[0].labels, numbers)
    assert scenes.classes.names == ("land", "water", "boat")
    assert scenes.parts == ("val",)
    assert "read by the ids" in said(scenes)
    Image.fromarray(np.where(numbers == 2, 7, numbers).astype(np.uint8)).save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match=r"SegmentationClass/a\.png.* 7 "):
        open_scenes(str(tmp_path), classes=file)


def test_cityscapes_ids_become_the_nineteen_classes(tmp_path: Path):
    labels = expected(26, 33, 7)  # car, bicycle, road
    labels[0] = 4  # static: not scored
    for part in ("train", "val"):
        name = f"ulm_00000{len(part)}_000019"
        save(tmp_path / "leftImg8bit" / part / "ulm" / f"{name}_leftImg8bit.png", picture(len(part)))
        save(tmp_path / "gtFine" / part / "ulm" / f"{name}_gtFine_labelIds.png", labels)
    scenes = open_scenes(str(tmp_path))
    ids = [scenes.classes.ids[scenes.classes.index(name)] for name in ("car", "bicycle", "road")]
    wanted = expected(*ids)
    wanted[0] = 255
    np.testing.assert_array_equal(scenes[0].labels, wanted)
    assert (len(scenes.classes), scenes.parts) == (19, ("train", "val"))


def test_train_ids_of_cityscapes_become_the_same_classes(tmp_path: Path):
    labels = expected(13, 18, 0)  # car, bicycle, road
    labels[0] = 255
    save(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_1_leftImg8bit.png", picture(1))
    mapped = tmp_path / "gtFine" / "val" / "ulm" / "ulm_1_gtFine_labelTrainIds.png"
    save(mapped, labels)
    scenes = open_scenes(str(tmp_path))
    ids = [scenes.classes.ids[scenes.classes.index(name)] for name in ("car", "bicycle", "road")]
    wanted = expected(*ids)
    wanted[0] = 255
    np.testing.assert_array_equal(scenes[0].labels, wanted)
    assert "train ids" in said(scenes)
    assert re.search(r"no pixel of 16 of 19 classes \(sidewalk, .*motorcycle\): they are kept", said(scenes))
    # where both are there, the others are read
    save(mapped.with_name("ulm_1_gtFine_labelIds.png"), expected(26, 33, 7))
    np.testing.assert_array_equal(open_scenes(str(tmp_path))[0].labels, expected(*ids))
    mapped.with_name("ulm_1_gtFine_labelIds.png").unlink()
    save(mapped, np.full_like(labels, 26))
    with pytest.raises(DataError, match=r"value 26 at row 0, column 0 is none of this format's ids"):
        open_scenes(str(tmp_path))


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    for part, name in (("train", "0001TP_006690"), ("val", "0016E5_000480")):
        save(tmp_path / part / f"{name}.png", picture(len(part)))
        save(tmp_path / f"{part}annot" / f"{name}.png", expected(8, 10, 11))  # car, bicyclist, no label
    return tmp_path


def test_camvid_folders_open_as_they_are(camvid: Path):
    scenes = open_scenes(str(camvid))
    ids = [scenes.classes.ids[scenes.classes.index(name)] for name in ("car", "bicyclist")]
    np.testing.assert_array_equal(scenes[0].labels, expected(*ids, 255))
    assert scenes.parts == ("train", "val")
    assert "ids are read as its eleven classes: 0 sky, 1 building" in said(scenes)


def test_folders_like_camvids_with_other_frames_need_names(camvid: Path):
    for path in camvid.rglob("0001TP*"):
        path.rename(path.with_name(path.name.replace("0001TP", "Berlin")))
    with pytest.raises(DataError, match=r"other frames; what the ids \(8, 10, 11\) mean.*give --classes"):
        open_scenes(str(camvid))
    classes = ClassSet(("car", "bike"), (8, 10), ((1, 1, 1), (2, 2, 2)), 11)
    np.testing.assert_array_equal(open_scenes(str(camvid), classes=classes)[0].labels, expected(8, 10, 11))


# one folder a class


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    for number, folder in enumerate(("MT_Crack", "MT_Free", "MT_Hole")):
        for exposure in (1, 2):
            mask = np.where(expected() == 1, 255, 0).astype(np.uint8)
            mask[expected() == 2] = 40  # soft edge
            stem = tmp_path / folder / "Imgs" / f"exp{exposure}_num_{number}"
            save(stem.with_suffix(".jpg"), picture(number, 1), quality=95)
            save(stem.with_suffix(".png"), mask * (folder != "MT_Free"))
    return tmp_path


def test_class_folders_open_as_they_are(tiles: Path):
    scenes = open_scenes(str(tiles))
    assert scenes.classes.names == ("background", "Crack", "Hole")
    assert scenes.channels == 1
    found = {scene.name: np.unique(scene.labels).tolist() for scene in scenes}
    assert found["exp1_num_0"] == [0, 1]
    assert found["exp2_num_1"] == [0]
    assert found["exp1_num_2"] == [0, 2]
    first = scenes[list(scenes.names).index("exp1_num_0")].labels
    np.testing.assert_array_equal(first, (expected() == 1).astype(np.uint8))
    assert "MT_Free: all masks are empty, so its 2 pictures show no class" in said(scenes)
    assert f"{4 * 300} mask pixels are neither 0 nor 255: from 128 on they belong to the class" in said(scenes)
    assert r"keep its pictures in one part of a split with `groups: '_num_(\d+)'`" in said(scenes)


def test_the_threshold_of_soft_masks_can_be_set(tiles: Path):
    scenes = open_source(str(tiles), ReadingConfig(threshold=30), None)
    first = scenes[list(scenes.names).index("exp1_num_0")].labels
    np.testing.assert_array_equal(first, (expected() > 0).astype(np.uint8))


def test_exposures_of_one_tile_are_one_group(tiles: Path):
    scenes = open_source(str(tiles), ReadingConfig(groups=r"num_(\d+)"), None)
    assert sorted(scenes.groups or ()) == ["0", "0", "1", "1", "2", "2"]
    with pytest.raises(DataError, match=r"'groups: tile(.*)' is not found in this name"):
        open_source(str(tiles), ReadingConfig(groups=r"tile(\d+)"), None)


# tables


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_parquet_of_two_parts(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for part, first in (("train", 0), ("validation", 2)):
        rows = [
            {
                "image": {"bytes": png(picture(i)), "path": f"dir/p{i}.png"},
                "label": {"bytes": png(expected()), "path": None},
            }
            for i in range(first, first + 2)
        ]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}-00000-of-00001.parquet", row_group_size=1)
    with pytest.raises(DataError, match=r"what the ids of .*'label' mean.*give --classes FILE"):
        open_scenes(str(tmp_path))
    scenes = open_scenes(str(tmp_path), classes=CLASSES)
    assert (scenes.names, scenes.parts) == (("p0", "p1", "p2", "p3"), ("train", "train", "val", "val"))
    for index, scene in enumerate(scenes):
        np.testing.assert_array_equal(scene.image, picture(index))
        np.testing.assert_array_equal(scene.labels, expected())
    one = open_scenes(str(tmp_path / "train-00000-of-00001.parquet"), classes=CLASSES)
    assert len(one) == 2


def test_columns_that_could_be_either_have_to_be_named(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {"left": png(picture(0)), "right": png(picture(1)), "mask": png(expected())}
    parquet.write_table(pa.Table.from_pylist([row, row]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"There are left, right, mask; say it with --set image_column=NAME"):
        open_scenes(str(tmp_path), classes=CLASSES)
    scenes = open_source(str(tmp_path), ReadingConfig(image_column="right"), CLASSES)
    np.testing.assert_array_equal(scenes[0].image, picture(1))


def test_saved_hugging_face_datasets(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    rows = {
        "image": [Image.fromarray(picture(i)) for i in range(3)],
        "label": [Image.fromarray(expected()) for _ in range(3)],
    }
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole.select([0, 1]), "test": whole.select([2])}).save_to_disk(str(tmp_path / "set"))
    scenes = open_scenes(str(tmp_path / "set"), classes=CLASSES)
    assert sorted(scenes.parts or ()) == ["test", "train", "train"]
    keys = {scene.image.tobytes() for scene in scenes}
    assert keys == {picture(i).tobytes() for i in range(3)}
    assert all((scene.labels == expected()).all() for scene in scenes)


# rasters


def raster(path: Path, bands: np.ndarray, **options) -> None:
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    shape = {"width": width, "height": height, "count": count, "dtype": bands.dtype}
    transform = rasterio.transform.from_origin(13, 52, 1e-4, 1e-4)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, **shape, **options) as file:
        file.write(bands)


def test_rasters_by_choice_of_bands_and_range(tmp_path: Path):
    bands = np.random.default_rng(0).integers(0, 4001, (5, *SIZE)).astype(np.uint16)
    bands[:, 39] = 9999
    raster(tmp_path / "images" / "a.tif", bands, nodata=9999, compress="lzw")
    raster(tmp_path / "labels" / "a.tif", expected()[None], compress="lzw")
    with pytest.raises(DataError, match=r"uint16 pixels .*say what becomes 0 and 255: .*--set range="):
        open_source(str(tmp_path), ReadingConfig(), CLASSES)
    assert open_source(str(tmp_path), ReadingConfig(range=[0, 4000]), CLASSES)[0].image.shape == (*SIZE, 5)
    with pytest.raises(DataError, match=r"bands \[6, 1, 2\] of 5; they are counted from 1"):
        open_source(str(tmp_path), ReadingConfig(bands=[6, 1, 2], range=[0, 4000]), CLASSES)
    with pytest.raises(DataError, match=r"uint16 pixels .*say what becomes 0 and 255: .*--set range=\[0,4000\]"):
        open_source(str(tmp_path), ReadingConfig(bands=[4, 3, 2]), CLASSES)
    scenes = open_source(str(tmp_path), ReadingConfig(bands=[4, 3, 2], range=[0, 4000]), CLASSES)
    scaled = np.rint(np.clip(bands[[3, 2, 1]] / 4000, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    scaled[39] = 0  # no data
    np.testing.assert_array_equal(scenes[0].image, scaled)
    wanted = expected()
    wanted[39] = 255
    np.testing.assert_array_equal(scenes[0].labels, wanted)
    assert "60 pixels without data carry no label" in said(scenes)
    assert "a copy does not keep the georeference" in said(scenes)


# which format it is


def test_two_formats_in_one_folder_have_to_be_told_apart(labelme: Path):
    save(labelme / "JPEGImages" / "v.png", picture(0))
    save(labelme / "SegmentationClass" / "v.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DataError, match=r"this may be labelme \(3 LabelMe files.*or voc .*--format labelme"):
        open_scenes(str(labelme))
    assert len(open_source(str(labelme), ReadingConfig(format="labelme"), None)) == 3
    with pytest.raises(DataError, match=r"no coco data here; it looks like labelme"):
        open_source(str(labelme), ReadingConfig(format="coco"), None)
    with pytest.raises(DataError, match=r"'cocoo' \(did you mean 'coco'\?\)"):
        open_source(str(labelme), ReadingConfig(format="cocoo"), None)


def test_the_fingerprint_follows_annotations(labelme: Path):
    before = open_scenes(str(labelme)).fingerprint()
    assert open_scenes(str(labelme)).fingerprint() == before
    labelme_file(labelme, "p1", [shape("crack", CRACK), shape("hole", (26, 15, 40, 35))])
    assert open_scenes(str(labelme)).fingerprint() != before
