"""Folders of pictures: what is written is read back exactly, and whatever is not exact is refused in a sentence."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import SceneFolder, write_classes, write_pair
from marsgen.scenes.scene import scene_key

MARS = ClassSet(
    names=("soil", "bedrock", "sand", "big_rock"),
    ids=(1, 2, 3, 4),
    colours=((170, 120, 70), (120, 150, 200), (230, 200, 120), (220, 40, 40)),
    ignored=0,
    rare=("big_rock",),
)


def painted(seed: int = 0, height: int = 33, width: int = 47, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return image, rng.integers(0, 5, (height, width), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three grey pairs a, b, c of 33 x 47 with classes.yaml."""
    for seed, name in enumerate("abc"):
        write_pair(tmp_path, name, *painted(seed), MARS)
    write_classes(tmp_path, MARS)
    return tmp_path


# written and read


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, channels: int):
    pairs = {f"{n:03d}": painted(n, 32 + n, 40, channels) for n in range(3)}
    for name, (image, labels) in pairs.items():
        write_pair(tmp_path, name, image, labels, MARS)
    write_classes(tmp_path, MARS)
    scenes = SceneFolder(tmp_path)
    assert (scenes.names, scenes.channels, scenes.shape) == (("000", "001", "002"), channels, None)
    assert scenes.classes == MARS
    assert (scenes.groups, scenes.parts) == (None, None)
    for scene in scenes:
        np.testing.assert_array_equal(scene.image, pairs[scene.name][0])
        np.testing.assert_array_equal(scene.labels, pairs[scene.name][1])
        assert scene.origin.kind == "real"


def test_equal_sizes_are_told(folder: Path):
    assert SceneFolder(folder).shape == (33, 47)


def test_label_maps_show_class_colours_in_any_viewer_and_ids_in_any_reader(folder: Path):
    labels = painted(0)[1]
    with Image.open(folder / "labels" / "a.png") as picture:
        np.testing.assert_array_equal(np.array(picture), labels)
        np.testing.assert_array_equal(np.array(picture.convert("RGB")), MARS.paint(labels))


def test_ids_up_to_255_survive(tmp_path: Path):
    classes = ClassSet(("low", "high"), (7, 254), ((1, 2, 3), (4, 5, 6)), ignored=255)
    labels = np.random.default_rng(0).choice(np.array([7, 254, 255], np.uint8), (32, 32))
    write_pair(tmp_path, "x", painted(0, 32, 32)[0], labels, classes)
    np.testing.assert_array_equal(SceneFolder(tmp_path, classes)[0].labels, labels)


def test_writing_the_same_pair_again_gives_the_same_bytes(folder: Path):
    before = {p: p.read_bytes() for p in folder.rglob("*.png")}
    write_pair(folder, "a", *painted(0), MARS)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.suffix == ".png"} == before


def test_writing_refuses_ids_of_no_class_and_leaves_nothing(tmp_path: Path):
    image, labels = painted()
    labels[5, 6] = 9
    with pytest.raises(DataError, match=r"x: label 9 at row 5, column 6"):
        write_pair(tmp_path, "x", image, labels, MARS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_writing_stays_in_the_folder(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="no plain file name"):
        write_pair(tmp_path / "inner", name, *painted(), MARS)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_are_no_scenes(folder: Path):
    (folder / "images" / ".d.png.123.partial").write_bytes(b"half")
    assert len(SceneFolder(folder)) == 3


# other people's folders


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp", "PNG"])
def test_lossless_images_of_any_kind_are_read_exactly(folder: Path, suffix: str):
    image, _ = painted(9)
    (folder / "images" / "a.png").unlink()
    save(folder / "images" / f"a.{suffix}", image[..., 0])
    np.testing.assert_array_equal(SceneFolder(folder)[0].image, image)


def test_jpeg_images_are_read_as_they_decode(folder: Path):
    (folder / "images" / "a.png").unlink()
    path = save(folder / "images" / "a.JPG", painted(9)[0][..., 0], quality=80)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(SceneFolder(folder)[0].image[..., 0], np.array(picture))


def test_rotation_tags_are_not_followed(folder: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees": viewers would show 47 x 33
    (folder / "images" / "a.png").unlink()
    save(folder / "images" / "a.jpg", painted(9)[0][..., 0], exif=exif)
    assert SceneFolder(folder)[0].image.shape == (33, 47, 1)


def test_opaque_alpha_is_dropped_from_images_and_label_maps(folder: Path):
    opaque = np.full((33, 47), 255, np.uint8)
    grey, labels = painted(9)
    save(folder / "images" / "a.png", np.dstack([grey[..., 0], opaque]))
    save(folder / "labels" / "a.png", np.dstack([MARS.paint(labels), opaque]))
    scene = SceneFolder(folder)[0]
    np.testing.assert_array_equal(scene.image, grey)
    np.testing.assert_array_equal(scene.labels, labels)


def test_a_transparent_pixel_is_named(folder: Path):
    alpha = np.full((33, 47), 255, np.uint8)
    alpha[4, 7] = 254
    save(folder / "images" / "a.png", np.dstack([painted(9)[0][..., 0], alpha]))
    with pytest.raises(DataError, match=r"a\.png: transparent pixel at row 4, column 7; .*save it without an alpha"):
        SceneFolder(folder)[0]


def test_a_transparent_palette_entry_counts_as_alpha(folder: Path):
    picture = Image.fromarray(painted(9)[0][..., 0]).convert("P")
    picture.save(folder / "images" / "a.png", transparency=bytes([0] * 256))
    with pytest.raises(DataError, match=r"a\.png: transparent pixel at row 0, column 0"):
        SceneFolder(folder)[0]


def test_an_indexed_image_is_its_colours(tmp_path: Path):
    indexed = Image.fromarray(painted(0)[1])
    indexed.putpalette(bytes(range(15)))
    (tmp_path / "images").mkdir()
    indexed.save(tmp_path / "images" / "a.png")
    image = SceneFolder(tmp_path, MARS, labelled=False)[0].image
    np.testing.assert_array_equal(image, np.arange(15, dtype=np.uint8).reshape(5, 3)[painted(0)[1]])


def test_an_indexed_image_of_greys_is_grey(tmp_path: Path):
    indexed = Image.fromarray(painted(0)[1])
    indexed.putpalette(bytes(np.repeat([0, 50, 90, 200, 255], 3).tolist()))
    (tmp_path / "images").mkdir()
    indexed.save(tmp_path / "images" / "a.png")
    image = SceneFolder(tmp_path, MARS, labelled=False)[0].image
    np.testing.assert_array_equal(image[..., 0], np.array([0, 50, 90, 200, 255])[painted(0)[1]])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_label_maps_as_grey_ids(folder: Path, suffix: str):
    labels = painted(9)[1]
    (folder / "labels" / "a.png").unlink()
    save(folder / "labels" / f"a.{suffix}", labels)
    np.testing.assert_array_equal(SceneFolder(folder)[0].labels, labels)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_label_maps_as_wide_integers_within_255(folder: Path, kind: type):
    labels = painted(9)[1]
    (folder / "labels" / "a.png").unlink()
    save(folder / "labels" / "a.tif", labels.astype(kind))
    np.testing.assert_array_equal(SceneFolder(folder)[0].labels, labels)


def test_a_wide_label_above_255_is_named(folder: Path):
    labels = painted(9)[1].astype(np.uint16)
    labels[3, 8] = 256 + 2  # would wrap to class 2
    save(folder / "labels" / "a.png", labels)
    with pytest.raises(DataError, match=r"a\.png: label 258 at row 3, column 8; ids lie in 0\.\.255"):
        SceneFolder(folder)


def test_one_bit_label_maps_are_ids_0_and_1(folder: Path):
    mask = painted(9)[1] > 2
    save(folder / "labels" / "a.png", mask)
    np.testing.assert_array_equal(SceneFolder(folder)[0].labels, mask.astype(np.uint8))


def test_label_maps_as_colours(folder: Path):
    labels = painted(9)[1]
    colours = MARS.paint(labels)
    save(folder / "labels" / "a.png", colours)
    colours[labels == 0] = 0  # black also means no label
    save(folder / "labels" / "b.png", colours)
    scenes = SceneFolder(folder)
    np.testing.assert_array_equal(scenes[0].labels, labels)
    np.testing.assert_array_equal(scenes[1].labels, labels)


def test_black_is_a_class_where_a_class_is_black(folder: Path):
    classes = ClassSet(("night", "day"), (3, 4), ((0, 0, 0), (255, 255, 255)), ignored=9)
    for name in "abc":
        save(folder / "labels" / f"{name}.png", np.zeros((33, 47, 3), np.uint8))
    assert (SceneFolder(folder, classes)[0].labels == 3).all()


def test_a_colour_of_no_class_is_named_with_its_pixel(folder: Path):
    colours = MARS.paint(painted(9)[1])
    colours[2, 30] = (170, 120, 71)
    save(folder / "labels" / "b.png", colours)
    with pytest.raises(
        DataError, match=r"b\.png: colour \(170, 120, 71\) at row 2, column 30 is no class's; .*soil \(170,"
    ):
        SceneFolder(folder)


def test_colours_that_two_classes_share_mean_nothing(folder: Path):
    twins = ClassSet(("soil", "sand"), (1, 2), ((9, 9, 9), (9, 9, 9)), ignored=0)
    for name in "abc":
        save(folder / "labels" / f"{name}.png", np.full((33, 47, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"a\.png: label map in colours, but two classes have the same colour"):
        SceneFolder(folder, twins)


def test_an_unknown_id_is_named_when_the_folder_is_opened(folder: Path):
    labels = painted(9)[1]
    labels[10, 11] = 77
    save(folder / "labels" / "c.png", labels)
    with pytest.raises(DataError, match=r"c\.png: label 77 at row 10, column 11 is not one of \[1, 2, 3, 4\]"):
        SceneFolder(folder)


def png_by_hand(pixels: np.ndarray, bits: int, colour_type: int) -> bytes:
    """A PNG of a depth that Pillow does not write; `pixels` are rows of already packed bytes."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    width = {(4, 0): pixels.shape[1] * 2, (16, 2): pixels.shape[1] // 6}[bits, colour_type]
    header = struct.pack(">IIBBBBB", width, len(pixels), bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_ids_that_readers_would_rescale_are_refused(folder: Path):
    (folder / "labels" / "a.png").write_bytes(png_by_hand(np.full((33, 24), 0x11, np.uint8), 4, 0))
    with pytest.raises(DataError, match=r"a\.png: ids stored as L;4 grey levels.*save it as 8-bit PNG"):
        SceneFolder(folder)


def test_16_bit_colour_is_refused_in_images_and_label_maps(folder: Path):
    deep = png_by_hand(np.zeros((33, 47 * 6), np.uint8), 16, 2)
    (folder / "labels" / "a.png").write_bytes(deep)
    with pytest.raises(DataError, match=r"labels/a\.png: RGB label map of more than 8 bits"):
        SceneFolder(folder)
    (folder / "images" / "a.png").write_bytes(deep)
    with pytest.raises(DataError, match=r"images/a\.png: more than 8-bit pixels without a stated range"):
        SceneFolder(folder)


@pytest.mark.parametrize(
    ("kind", "words"), [(np.uint16, "more than 8-bit"), (np.int32, "more than 8-bit"), (np.float32, "float")]
)
def test_wide_and_float_images_are_refused(folder: Path, kind: type, words: str):
    (folder / "images" / "a.png").unlink()
    save(folder / "images" / "a.tif", painted(9)[0][..., 0].astype(kind))
    with pytest.raises(DataError, match=rf"a\.tif: {words} pixels without a stated range; scale them to 0\.\.255"):
        SceneFolder(folder)


def test_float_label_maps_are_refused(folder: Path):
    (folder / "labels" / "a.png").unlink()
    save(folder / "labels" / "a.tif", painted(9)[1].astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif: F label map of more than 8 bits"):
        SceneFolder(folder)


def test_cmyk_is_neither_grey_nor_rgb(folder: Path):
    (folder / "images" / "a.png").unlink()
    Image.new("CMYK", (47, 33)).save(folder / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: CMYK pixels; expected grey or RGB"):
        SceneFolder(folder)


def test_cmyk_label_maps_are_refused(folder: Path):
    (folder / "labels" / "a.png").unlink()
    Image.new("CMYK", (47, 33)).save(folder / "labels" / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: CMYK label map; expected ids"):
        SceneFolder(folder)


def test_several_pages_are_refused(folder: Path):
    (folder / "images" / "a.png").unlink()
    page = Image.new("L", (47, 33))
    page.save(folder / "images" / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match=r"a\.tif: several pages in one TIFF"):
        SceneFolder(folder)


# folders with something wrong


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_truncated_image_is_an_error_when_it_is_read(folder: Path, suffix: str):
    (folder / "images" / "b.png").unlink()
    path = save(folder / "images" / f"b.{suffix}", painted(9)[0][..., 0])
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"b\.{suffix}: damaged or cut short .*; copy or download it again"):
        SceneFolder(folder)[1]


def test_a_truncated_label_map_is_an_error_when_the_folder_is_opened(folder: Path):
    path = folder / "labels" / "b.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"b\.png: damaged or cut short"):
        SceneFolder(folder)


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(painted()[0][..., 0]).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"no picture at all", gif()])
def test_a_file_that_is_no_picture_of_these_kinds_is_named(folder: Path, content: bytes):
    (folder / "images" / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: not a readable PNG, JPEG, TIFF or BMP picture; save it again"):
        SceneFolder(folder)


def test_more_pixels_than_any_camera_has_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(DataError, match=r"a\.png: more than 1,000 pixels; cut it into tiles"):
        SceneFolder(folder)


def test_a_tiff_whose_next_page_is_nowhere_is_damaged(folder: Path):
    (folder / "images" / "a.png").unlink()
    path = save(folder / "images" / "a.tif", painted(9)[0][..., 0])
    content = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    struct.pack_into("<I", content, directory + 2 + 12 * entries, len(content))
    path.write_bytes(content + bytes(2))  # a page of no entries: Pillow raises TypeError
    with pytest.raises(DataError, match=r"a\.tif: damaged or cut short"):
        SceneFolder(folder)


def test_a_file_that_vanishes_is_named(folder: Path):
    scenes = SceneFolder(folder)
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: the file is gone"):
        scenes[1]


def test_a_label_map_without_image_is_named(folder: Path):
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"labels/b\.png: no image images/b\.png; add it or remove"):
        SceneFolder(folder)
    (folder / "images" / "c.png").unlink()
    with pytest.raises(DataError, match=r"labels/b\.png: no image images/b\.png \(the same for 1 more\)"):
        SceneFolder(folder)


def test_images_without_label_map_are_counted_as_unlabelled(folder: Path):
    (folder / "labels" / "b.png").unlink()
    scenes = SceneFolder(folder)
    assert scenes.names == ("a", "c")
    assert scenes.notes == ("1 of 3 pictures have no label map (b.png): unlabelled, not used",)
    assert SceneFolder(folder, labelled=False).names == ("a", "b", "c")


def test_names_that_never_pair_are_said(folder: Path):
    for path in list((folder / "labels").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(DataError, match=r"no label map has the name of a picture .*'suffix:' in classes\.yaml"):
        SceneFolder(folder)


def test_sizes_that_differ_within_a_pair_are_named(folder: Path):
    save(folder / "labels" / "b.png", np.ones((33, 46), np.uint8))
    with pytest.raises(
        DataError, match=r"labels/b\.png: 33 x 46 pixels beside b\.png of 33 x 47; expected the same size"
    ):
        SceneFolder(folder)


def test_grey_and_rgb_mixed_names_the_first_of_each(folder: Path):
    for name in "bc":
        save(folder / "images" / f"{name}.png", painted(9, channels=3)[0])
    with pytest.raises(DataError, match=r"a\.png is grey and b\.png is RGB \(1 and 2 pictures\); convert all"):
        SceneFolder(folder)


def test_a_small_picture_is_named(folder: Path):
    save(folder / "images" / "a.png", np.ones((31, 47), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: 31 x 47 pixels; at least 32 x 32"):
        SceneFolder(folder)


def test_nothing_is_skipped_in_silence(folder: Path):
    (folder / "images" / "notes.txt").write_text("remember")
    with pytest.raises(
        DataError, match=r"notes\.txt: not a picture; only \.png, .* files may lie here; move it elsewhere"
    ):
        SceneFolder(folder)


def test_a_folder_among_pictures_is_named(folder: Path):
    (folder / "images" / "old").mkdir()
    with pytest.raises(DataError, match=r"old: a folder among the pictures; move it elsewhere$"):
        SceneFolder(folder)
    (folder / "images" / "old").rename(folder / "images" / "valid")
    with pytest.raises(
        DataError, match=r"valid: a folder .* part of the split, as in `splits: \{val: valid, \.\.\.\}`"
    ):
        SceneFolder(folder)


def test_two_pictures_of_one_name_are_named(folder: Path):
    save(folder / "images" / "a.bmp", painted()[0][..., 0])
    with pytest.raises(DataError, match=r"a\.png: a\.bmp has the same name; keep one"):
        SceneFolder(folder)


def test_jpeg_label_maps_are_refused(folder: Path):
    (folder / "labels" / "a.png").unlink()
    save(folder / "labels" / "a.jpg", painted()[1])
    with pytest.raises(DataError, match=r"a\.jpg: JPEG changes the ids of a label map; save label maps as PNG"):
        SceneFolder(folder)


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_folder_without_one_of_its_parts(tmp_path: Path, part: str):
    (tmp_path / {"images": "labels", "labels": "images"}[part]).mkdir()
    with pytest.raises(DataError, match=rf"no {part}/ in this folder; expected images/ and labels/"):
        SceneFolder(tmp_path, MARS)


def test_an_empty_folder_holds_no_scenes(tmp_path: Path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=r"images: no picture in this folder; expected \.png"):
        SceneFolder(tmp_path, MARS)


# classes


def test_classes_are_the_folders_own_unless_given(folder: Path):
    other = ClassSet(("p", "q", "r", "s"), (0, 1, 2, 3), MARS.colours, ignored=4)
    assert SceneFolder(folder).classes == MARS
    assert SceneFolder(folder, other).classes == other


def test_labels_without_classes_mean_nothing(folder: Path):
    (folder / "classes.yaml").unlink()
    with pytest.raises(DataError, match=r"no classes\.yaml in this folder; write one or give --classes"):
        SceneFolder(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes: [", "not readable yaml"),
        ("- soil", "a mapping with keys"),
        ("ignored: 0\nclases: []", r"unknown key 'clases' \(did you mean 'classes'\?\)"),
        ("classes: []", "0 classes|key 'ignored' is missing"),
    ],
)
def test_a_malformed_classes_file_is_named(folder: Path, text: str, words: str):
    (folder / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"classes\.yaml: ({words})"):
        SceneFolder(folder)


def test_the_classes_file_is_plain_yaml(folder: Path):
    content = yaml.safe_load((folder / "classes.yaml").read_text())
    assert content["rare"] == ["big_rock"]
    assert content["classes"][3] == {"name": "big_rock", "id": 4, "colour": [220, 40, 40]}


# without labels


def test_unlabelled_scenes_from_images_or_directly(folder: Path):
    for place in (folder, folder / "images"):
        scenes = SceneFolder(place, MARS, labelled=False)
        assert scenes.names == ("a", "b", "c")
        np.testing.assert_array_equal(scenes[2].image, painted(2)[0])
        assert (scenes[2].labels == MARS.ignored).all()


def test_unlabelled_images_may_lie_beside_a_classes_file(folder: Path):
    write_classes(folder / "images", MARS)
    assert len(SceneFolder(folder / "images", labelled=False)) == 3


# synthetic scenes


def manifest_line(name: str, parent: str = "aa", donors: tuple[str, ...] = ("bb",)) -> str:
    listed = [{"name": "some", "key": key, "row": 3} for key in donors]
    return json.dumps({"name": name, "parent": {"name": "p", "key": parent}, "donors": listed, "seed": 1})


def test_ancestors_come_from_the_manifest(folder: Path):
    lines = [manifest_line("c", "aa", ("bb", "aa", "cc")), manifest_line("a", "dd", ()), manifest_line("b")]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    origins = {scene.name: scene.origin for scene in SceneFolder(folder)}
    assert {o.kind for o in origins.values()} == {"synthetic"}
    assert {n: o.ancestors for n, o in origins.items()} == {"a": ("dd",), "b": ("aa", "bb"), "c": ("aa", "bb", "cc")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"name": "c", "par', r"line 3: not a json with name, parent"),
        ("", r"line 3: not a json"),
        ("[1]", r"line 3: not a json"),
        ('{"name": "c", "donors": []}', r"line 3: not a json with name, parent"),
        ('{"name": "c", "parent": {"key": "k"}, "donors": {"key": "k"}}', r"line 3: not a json"),
        ('{"name": "c", "parent": {"key": 7}, "donors": []}', r"line 3: keys of parent and donors are \[7\]"),
        (manifest_line("../../etc/c"), r"line 3: name '\.\./\.\./etc/c' is no plain file name"),
        ('{"name": 3, "parent": {"key": "k"}, "donors": []}', r"line 3: name 3 is no plain file name"),
        (manifest_line("a"), r"line 3: 'a' has a line already"),
        (manifest_line("c") + "\n" + manifest_line("d"), r"names 'd', which is not in .*images; remove the line"),
    ],
)
def test_a_malformed_manifest_is_named_with_its_line(folder: Path, line: str, words: str):
    (folder / "manifest.jsonl").write_text("\n".join([manifest_line("a"), manifest_line("b"), line]) + "\n")
    with pytest.raises(DataError, match=r"manifest\.jsonl: " + words):
        SceneFolder(folder)


def test_a_scene_that_the_manifest_does_not_know_has_unknown_parents(folder: Path):
    (folder / "manifest.jsonl").write_text(manifest_line("a") + "\n" + manifest_line("b") + "\n")
    with pytest.raises(DataError, match=r"manifest\.jsonl: no line for c\.png; its parents are unknown"):
        SceneFolder(folder)


def test_a_manifest_of_broken_text_is_named(folder: Path):
    (folder / "manifest.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match=r"manifest\.jsonl: not a readable text file"):
        SceneFolder(folder)


# fingerprint


def test_the_fingerprint_follows_content_and_not_place(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    twin = tmp_path_factory.mktemp("elsewhere")
    for seed, name in enumerate("abc"):
        write_pair(twin, name, *painted(seed), MARS)
    write_classes(twin, MARS)
    (twin / "preview.png").write_bytes(b"not part of the data")
    before = SceneFolder(folder).fingerprint()
    assert len(before) == 16
    assert int(before, 16) >= 0
    assert SceneFolder(twin).fingerprint() == before

    image, labels = painted(1)
    labels[0, 0] = labels[0, 0] % 4 + 1
    write_pair(twin, "b", image, labels, MARS)
    changed = SceneFolder(twin).fingerprint()
    for part in ("images", "labels"):  # the order of contents stays
        (folder / part / "c.png").rename(folder / part / "d.png")
    assert len({before, changed, SceneFolder(folder).fingerprint()}) == 3


def test_scene_keys_do_not_depend_on_the_file_format(folder: Path):
    image, _ = painted(0)
    save(folder / "images" / "a.png", image[..., 0], compress_level=9)
    assert scene_key(SceneFolder(folder)[0].image) == scene_key(image)


def test_a_pattern_that_takes_exponential_time_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("marsgen.scenes.files.layout.PATTERN_SECONDS", 1.0)
    image, labels = painted()
    write_pair(tmp_path, "a" * 60, image, labels, MARS)
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(MARS.to_dict() | {"groups": "^((?:a|a)+)!"}))
    with pytest.raises(DataError, match=r"groups is '.*', which takes more than 1 s on 1 names; write it without"):
        SceneFolder(tmp_path)


@pytest.mark.parametrize("pattern", ["(a{99999999999999})", "(" * 3000 + ")" * 3000, "(a", "a"])
def test_a_pattern_that_is_none_is_refused(tmp_path, pattern):
    write_pair(tmp_path, "a", *painted(), MARS)
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(MARS.to_dict() | {"groups": pattern}))
    with pytest.raises(DataError, match="groups is"):
        SceneFolder(tmp_path)
