"""What was once read wrongly without a word is read right or refused, in sentences that say what to do."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from refusals import refused
from test_flow import call

from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError
from marsgen.scenes.classes import ClassSet, default_colours, read_classes
from marsgen.scenes.readers.folder import SceneFolder, write_classes
from marsgen.scenes.sources import open_scenes

SIZE = (40, 56)
CLASSES = ClassSet(("soil", "sand", "rock"), (1, 2, 3), ((170, 120, 70), (230, 200, 120), (220, 40, 40)), 0, ("rock",))


def picture(index: int = 0, shape: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


def label_map(index: int = 0, shape: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 4, shape, np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def save_indexed(path: Path, numbers: np.ndarray, palette: list[tuple[int, int, int]]) -> None:
    image = Image.fromarray(numbers)
    image.putpalette(np.array(palette, np.uint8).tobytes())
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs a, b, c."""
    for index, name in enumerate("abc"):
        save(tmp_path / "images" / f"{name}.png", picture(index))
        save(tmp_path / "labels" / f"{name}.png", label_map(index))
    write_classes(tmp_path, CLASSES)
    return tmp_path


def said(scenes) -> str:
    return "\n".join(scenes.notes)


# names are texts


def classes_of(tmp_path: Path, text: str) -> ClassSet:
    path = tmp_path / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return read_classes(path)


NAMES = ("no", "on", "null", "010", "1e3", "~", "true", "0x1F", "2024-01-01", "Fels é")


@pytest.mark.parametrize("name", NAMES)
def test_a_class_may_have_any_name(tmp_path: Path, name: str):
    classes = classes_of(
        tmp_path, f"rare: [{name}]\nclasses:\n  - {{name: {name}, id: 1}}\n  - {{name: other, id: 2}}\n"
    )
    assert classes.names == (name, "other")
    assert classes.rare == (name,)
    write_classes(tmp_path, classes)  # written and read again
    assert read_classes(tmp_path / "classes.yaml") == classes


def test_one_rare_class_needs_no_list(tmp_path: Path):
    assert classes_of(tmp_path, "rare: rock\nclasses: [{name: rock, id: 1}, {name: b, id: 2}]").rare == ("rock",)


@pytest.mark.parametrize("name", ["a: b", "#x", "[x]", "~", "null", "no", "{y}", "a,b", '"q"', "${z}"])
def test_class_on_the_command_line_is_a_text(name: str, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--generator", "copy-paste", "--data", "sim:40,size=32x64,rocks=0.5", "--n", "2", "--class", name]
    assert f"no class '{name}'" in refused(capsys, "marsgen", "synthesize", *words)


def test_colours_and_the_ignored_id_are_optional(tmp_path: Path):
    classes = classes_of(
        tmp_path, "classes: [{name: a, id: 255}, {name: b, id: 0, color: '#0a0b0c'}, {name: c, id: 3}]"
    )
    assert classes.ignored == 1  # the first free id after 255
    assert classes.colours[0] == (10, 11, 12)
    assert len(set(classes.colours)) == 3
    assert len(set(default_colours(511))) == 511


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("classes: [{name: a, id: 010}, {name: b, id: 1}]", r"the id of a is '010'; a whole number in 0\.\.255"),
        ("classes: [{name: a, id: 1.5}, {name: b, id: 1}]", r"the id of a is '1\.5'"),
        ("classes: [{name: a, id: 1, name: c}]", r"key 'name' twice, line 1"),
        ("classes: [{name: a, di: 1}]", r"unknown key 'di' of a class \(did you mean 'id'\?\)"),
        ("classes: [{name: a}]", r"key 'id' is missing"),
        ("classes: [{name: ignored, id: 1}, {name: b, id: 2}]", r"a class is named 'ignored'"),
        ("classes: [{name: a, id: 1, colour: red}, {name: b, id: 2}]", r"colour of a is 'red'; expected three values"),
        ("rare: rok\nclasses: [{name: rock, id: 1}, {name: b, id: 2}]", r"no class 'rok' \(did you mean 'rock'\?\)"),
        ("groups: '('\nclasses: [{name: a, id: 1}, {name: b, id: 2}]", r"groups is '\(', no regular expression"),
        ("images: ../x\nclasses: [{name: a, id: 1}, {name: b, id: 2}]", r"images is '\.\./x'; expected a path inside"),
        (
            "orientation: up\nclasses: [{name: a, id: 1}, {name: b, id: 2}]",
            r"orientation is 'up'; expected follow or ig",
        ),
    ],
)
def test_classes_files_that_mean_nothing(tmp_path: Path, text: str, words: str):
    with pytest.raises(DataError, match=words):
        classes_of(tmp_path, text)


def test_the_order_in_which_classes_are_listed_means_nothing(tmp_path: Path):
    one = classes_of(tmp_path, "classes: [{name: a, id: 1}, {name: b, id: 2}]\nignored: 0")
    two = classes_of(tmp_path, "classes: [{name: b, id: 2}, {name: a, id: 1}]\nignored: 0")
    assert one.names == two.names
    other_ids = classes_of(tmp_path, "classes: [{name: b, id: 1}, {name: a, id: 2}]\nignored: 0")
    assert other_ids.names == ("b", "a")
    assert other_ids.ordered_like(one).names == ("a", "b")
    assert other_ids.ordered_like(one).ids == (2, 1)
    assert other_ids.ordered_like(CLASSES) is other_ids


# pictures


def jpeg_with_tag(path: Path, pixels: np.ndarray, tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=100)


def replace_image(folder: Path, tag: int) -> np.ndarray:
    """a.png becomes a.jpg with a rotation tag; the pixels as they are stored."""
    (folder / "images" / "a.png").unlink()
    jpeg_with_tag(folder / "images" / "a.jpg", picture(7), tag)
    with Image.open(folder / "images" / "a.jpg") as opened:
        return np.array(opened)


@pytest.mark.parametrize(("tag", "turn"), [(6, -1), (8, 1)])
def test_a_picture_is_turned_when_its_label_map_is(folder: Path, tag: int, turn: int):
    stored = replace_image(folder, tag)
    save(folder / "labels" / "a.png", label_map(0, SIZE[::-1]))
    scenes = SceneFolder(folder)
    np.testing.assert_array_equal(scenes[0].image[..., 0], np.rot90(stored, turn))
    assert "1 pictures are turned as their rotation tag says" in said(scenes)


def test_a_picture_is_not_turned_when_its_label_map_is_not(folder: Path):
    stored = replace_image(folder, 6)
    scenes = SceneFolder(folder)
    np.testing.assert_array_equal(scenes[0].image[..., 0], stored)
    assert "1 pictures are not turned as their rotation tag says: their label maps are not" in said(scenes)


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_a_label_map_that_fits_both_ways_needs_a_word(folder: Path, tag: int):
    stored = replace_image(folder, tag)
    with pytest.raises(
        DataError, match=rf"a\.jpg: rotation tag {tag}, and its label map fits turned and unturned; say"
    ):
        SceneFolder(folder)
    text = (folder / "classes.yaml").read_text()
    (folder / "classes.yaml").write_text(text + "orientation: ignore\n")
    np.testing.assert_array_equal(SceneFolder(folder)[0].image[..., 0], stored)
    (folder / "classes.yaml").write_text(text + "orientation: follow\n")
    turned = {2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1]}[tag]
    np.testing.assert_array_equal(SceneFolder(folder)[0].image[..., 0], turned)


def test_pictures_to_predict_are_turned_as_viewers_show_them(folder: Path):
    stored = replace_image(folder, 6)
    scenes = SceneFolder(folder, labelled=False)
    np.testing.assert_array_equal(scenes[0].image[..., 0], np.rot90(stored, -1))
    assert "turned as their rotation tag says" in said(scenes)


def tiff(path: Path, bands: int, **options) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, picture(3, (*SIZE, bands)), **options)


@pytest.mark.parametrize(
    ("bands", "options", "words"),
    [
        (
            4,
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            r"a TIFF of 4 bands of 8 bits; .*--set bands=\[1,2,3\]",
        ),
        (4, {"photometric": "rgb"}, r"4 bands, the last one marked as transparency .* near infrared, say which bands"),
        (4, {"photometric": "minisblack", "planarconfig": "contig"}, r"a TIFF of 4 bands of 8 bits"),
        (2, {"photometric": "minisblack", "planarconfig": "contig"}, r"a TIFF of 2 bands of 8 bits"),
    ],
)
def test_no_band_of_a_tiff_is_left_out(folder: Path, bands: int, options: dict, words: str):
    for path in list((folder / "images").iterdir()):
        path.unlink()
    tiff(folder / "images" / "a.tif", bands, **options)
    with pytest.raises(DataError, match=words):
        [SceneFolder(folder / "images", CLASSES, labelled=False)[0]]


def test_names_pair_in_any_normal_form(folder: Path):
    (folder / "images" / "a.png").rename(folder / "images" / unicodedata.normalize("NFD", "é.png"))
    (folder / "labels" / "a.png").rename(folder / "labels" / unicodedata.normalize("NFC", "é.png"))
    assert SceneFolder(folder).names == ("b", "c", "é")


def test_a_link_to_nothing_is_named(folder: Path):
    (folder / "images" / "d.png").symlink_to("/nowhere/d.png")
    with pytest.raises(DataError, match=r"d\.png: a link to /nowhere/d\.png, which does not exist"):
        SceneFolder(folder)


def test_what_file_managers_leave_is_passed_over(folder: Path):
    for name in ("Thumbs.db", ".DS_Store", "._a.png", "desktop.ini"):
        (folder / "images" / name).write_bytes(b"x")
        (folder / "labels" / name).write_bytes(b"x")
    assert len(SceneFolder(folder)) == 3


def test_all_faults_of_a_folder_come_in_one_answer(folder: Path):
    (folder / "images" / "notes.txt").write_text("x")
    (folder / "images" / "d.png").symlink_to("/nowhere/d.png")
    (folder / "labels" / "e.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"3 faults: \(1\) .*d\.png.*\(2\) .*notes\.txt.*\(3\) .*e\.jpg: JPEG changes"):
        SceneFolder(folder)
    for name in ("images/notes.txt", "images/d.png", "labels/e.jpg"):
        (folder / name).unlink()
    bad = label_map(0)
    bad[3, 4] = 77
    save(folder / "labels" / "a.png", bad)
    save(folder / "labels" / "b.png", label_map(1)[:, :50])
    with pytest.raises(
        DataError, match=r"2 faults: .*a\.png: label 77 at row 3, column 4.*b\.png: 40 x 50 pixels beside"
    ):
        SceneFolder(folder)


# label maps


def indexed(path: Path, numbers: np.ndarray, palette: list[tuple[int, int, int]]) -> None:
    opened = Image.fromarray(numbers)
    opened.putpalette(bytes(value for colour in palette for value in colour))
    opened.save(path)


def test_a_palette_of_class_colours_with_another_numbering_is_read_by_its_colours(folder: Path):
    wanted = label_map(5)
    order = [0, 3, 1, 2]  # the tool numbered rock 1, soil 2, sand 3
    colours = [(0, 0, 0), *(CLASSES.colours[i - 1] for i in order[1:])]
    indexed(folder / "labels" / "a.png", np.argsort(order).astype(np.uint8)[wanted], colours)
    scenes = SceneFolder(folder)
    np.testing.assert_array_equal(scenes[0].labels, wanted)
    assert "1 label maps are read by the colours of their palette" in said(scenes)


def test_a_palette_of_other_colours_is_read_by_its_numbers(folder: Path):
    indexed(folder / "labels" / "a.png", label_map(5), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)])
    scenes = SceneFolder(folder)
    np.testing.assert_array_equal(scenes[0].labels, label_map(5))
    assert scenes.notes == ()


def test_a_palette_that_is_half_right_is_refused(folder: Path):
    palette = [(0, 0, 0), CLASSES.colours[2], (9, 9, 9), CLASSES.colours[1]]
    indexed(folder / "labels" / "a.png", label_map(5), palette)
    with pytest.raises(
        DataError, match=r"number 1 of its palette has the colour of rock .*whose id is 3, and \(9, 9, 9\)"
    ):
        SceneFolder(folder)


def test_a_palette_says_nothing_where_nobody_chose_colours(folder: Path):
    (folder / "classes.yaml").write_text("classes: [{name: a, id: 1}, {name: b, id: 2}, {name: c, id: 3}]\nignored: 0")
    indexed(folder / "labels" / "a.png", label_map(5), [(0, 0, 0), *default_colours(4)[::-1]])
    np.testing.assert_array_equal(SceneFolder(folder)[0].labels, label_map(5))


def test_jpeg_data_in_a_png_is_a_picture_and_no_label_map(folder: Path):
    save(folder / "images" / "a.png", picture(0), format="JPEG")
    assert SceneFolder(folder)[0].image.shape == (*SIZE, 1)
    save(folder / "labels" / "a.png", label_map(0), format="JPEG")
    with pytest.raises(DataError, match=r"a\.png: JPEG data in a file named \.png; JPEG changes the ids"):
        SceneFolder(folder)


def test_soft_masks_are_recognised_and_can_be_cut(folder: Path):
    soft = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8)
    for name in "abc":
        save(folder / "labels" / f"{name}.png", soft)
    with pytest.raises(DataError, match=r"256 grey levels in 0\.\.255, this looks like a soft mask; .*threshold: 128"):
        SceneFolder(folder)
    (folder / "classes.yaml").write_text(
        "classes: [{name: ok, id: 0}, {name: crack, id: 1}]\nthreshold: 128\nmap: {255: crack}\n"
    )
    np.testing.assert_array_equal(SceneFolder(folder)[0].labels, (soft >= 128).astype(np.uint8))


def test_masks_of_0_and_255_are_recognised_and_can_be_mapped(folder: Path):
    for name in "abc":
        save(folder / "labels" / f"{name}.png", np.where(label_map(1) == 3, 255, 0).astype(np.uint8))
    (folder / "classes.yaml").write_text("classes: [{name: ok, id: 0}, {name: crack, id: 1}]\nignored: 7")
    with pytest.raises(
        DataError, match=r"pixel value 255 .*looks like a mask of 0 and 255, .*map: \{0: ok, 255: crack\}"
    ):
        SceneFolder(folder)
    (folder / "classes.yaml").write_text(
        "classes: [{name: ok, id: 0}, {name: crack, id: 1}]\nmap: {255: crack, 9: ignored}"
    )
    assert set(np.unique(SceneFolder(folder)[0].labels)) == {0, 1}
    (folder / "classes.yaml").write_text("classes: [{name: ok, id: 0}, {name: crack, id: 1}]\nmap: {255: crak}")
    with pytest.raises(DataError, match=r"map: 255 is 'crak', which is no class"):
        SceneFolder(folder)


def test_label_maps_without_any_label_are_said(folder: Path):
    from marsgen.cleaning.dataset import open_dataset

    for name in "abc":
        save(folder / "labels" / f"{name}.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(DataError, match=r"no pixel carries a label: all 3 label maps hold the ignored id 0 only"):
        open_dataset(str(folder), DataConfig())


def test_a_rare_class_in_no_scene_is_said(folder: Path):
    from marsgen.cleaning.dataset import open_dataset

    for index, name in enumerate("abc"):
        save(folder / "labels" / f"{name}.png", label_map(index) % 3)
    assert "rare class rock is in no scene" in open_dataset(str(folder), DataConfig(val_fraction=0.3)).split.warnings


# layouts


def test_other_folders_a_suffix_and_a_list_of_parts(folder: Path):
    (folder / "images").rename(folder / "photos")
    (folder / "labels").rename(folder / "masks")
    for path in list((folder / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    (folder / "val.txt").write_text("photos/c.png\n")
    extra = "images: photos\nlabels: masks\nsuffix: _mask\nsplits: {train: [a, b], val: val.txt}\ngroups: '(.)'\n"
    (folder / "classes.yaml").write_text((folder / "classes.yaml").read_text() + extra)
    scenes = open_scenes(str(folder))
    assert (scenes.names, scenes.parts, scenes.groups) == (("a", "b", "c"), ("train", "train", "val"), ("a", "b", "c"))
    np.testing.assert_array_equal(scenes[2].labels, label_map(2))
    (folder / "val.txt").write_text("c\nz\na\n")
    with pytest.raises(DataError, match=r"2 faults: .*splits\.val: 'z' is no picture.*'a' is in train and in val"):
        open_scenes(str(folder))


def test_parts_in_folders_of_their_own(tmp_path: Path):
    for part, index in (("train", 0), ("val", 1)):
        save(tmp_path / part / "p.png", picture(index))
        save(tmp_path / f"{part}annot" / "p.png", label_map(index))
    text = yaml.safe_dump(CLASSES.to_dict()) + (
        "splits:\n  train: {images: train, labels: trainannot}\n  val: {images: val, labels: valannot}\n"
    )
    (tmp_path / "classes.yaml").write_text(text)
    scenes = open_scenes(str(tmp_path))
    assert (scenes.names, scenes.parts) == (("train-p", "val-p"), ("train", "val"))
    np.testing.assert_array_equal(scenes[1].labels, label_map(1))


def test_label_maps_beside_the_pictures(tmp_path: Path):
    save(tmp_path / "data" / "p.jpg", picture(0))
    save(tmp_path / "data" / "p.png", label_map(0))
    save(tmp_path / "data" / "q.jpg", picture(1))
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(CLASSES.to_dict()) + "images: data\nlabels: data\n")
    scenes = open_scenes(str(tmp_path))
    assert scenes.names == ("p",)
    assert "1 of 2 pictures have no label map (q.jpg): unlabelled, not used" in said(scenes)


def test_a_shipped_split_is_used_and_said(folder: Path):
    from marsgen.cleaning.dataset import open_dataset

    text = (folder / "classes.yaml").read_text()
    (folder / "classes.yaml").write_text(text + "splits: {train: [b], val: [a], test: [c]}\n")
    split = open_dataset(str(folder), DataConfig()).split
    assert (split.train, split.val, split.test) == ((1,), (0,), (2,))
    assert any("the one that the data set ships" in warning for warning in split.warnings)
    save(folder / "images" / "b.png", picture(0))  # the same picture as a val scene
    with pytest.raises(DataError, match="leaves no scene to train on"):
        open_dataset(str(folder), DataConfig())


# the command line


def test_a_name_outside_the_consoles_encoding_ends_no_command(tmp_path):
    save(tmp_path / "d" / "images" / "a.png", picture(0))
    save(tmp_path / "d" / "labels" / "a.png", label_map(0))
    write_classes(tmp_path / "d", ClassSet(("岩", "é", "x"), (1, 2, 3), CLASSES.colours, 0))
    words = ["-m", "marsgen.cli", "import", "d", "--dry-run"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\\u5ca9" in done.stdout


def test_the_home_folder_is_expanded(folder: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_scenes(f"~/{folder.name}")) == 3
    with pytest.raises(DataError, match=r"~/nothing: no such file or folder; give an"):
        open_scenes("~/nothing")


def test_data_that_is_not_where_a_run_saw_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"mine/data: no such file or folder in {tmp_path}; give an"):
        open_scenes("mine/data")
    (tmp_path / "link").symlink_to("/nowhere")
    with pytest.raises(DataError, match=r"link: no such file .*\(a link to /nowhere, which does not exist\)"):
        open_scenes("link")


def test_a_folder_without_classes_is_looked_at_first(folder: Path, monkeypatch, capsys):
    (folder / "classes.yaml").unlink()
    monkeypatch.chdir(folder.parent)
    line = refused(capsys, "marsgen", "inspect", "--data", folder.name)
    assert f"let `marsgen import {folder.name} --dry-run` list the ids and draft one" in line
    assert call("marsgen", "import", folder.name, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "nothing says what their ids mean" in printed
    drafted = printed[printed.index("ignored:") :]
    assert [entry["name"] for entry in yaml.safe_load(drafted)["classes"]] == [f"class_{n}" for n in range(4)]


VOC = [(0, 0, 0), *default_colours(255)]
"""the palette of Pascal VOC, labelme and many others"""


def drafted(folder: Path, capsys) -> str:
    """What `--dry-run` prints; its draft is saved as the folder's classes.yaml."""
    (folder / "classes.yaml").unlink(missing_ok=True)
    assert call("marsgen", "import", str(folder), "--dry-run") == 0
    printed = capsys.readouterr().out
    (folder / "classes.yaml").write_text(printed[printed.index("ignored:") :], encoding="utf-8")
    return printed


@pytest.mark.parametrize("palette", [VOC, [(n, n, n) for n in range(256)]], ids=["voc", "grey"])
def test_a_draft_gives_no_class_the_colour_that_a_palette_has_for_another(folder: Path, capsys, palette):
    for index, name in enumerate("abc"):
        save_indexed(folder / "labels" / f"{name}.png", label_map(index), palette)
    drafted(folder, capsys)
    scenes = open_scenes(str(folder))
    assert all((scenes.read(i)[1] == label_map(i)).all() for i in range(3))
    assert not scenes.notes
    assert (scenes.classes.colours[1] == VOC[1]) == (palette is VOC)


def test_palettes_that_differ_give_no_colours(folder: Path, capsys):
    for index, name in enumerate("abc"):
        save_indexed(folder / "labels" / f"{name}.png", label_map(index), VOC[index:])
    drafted(folder, capsys)
    scenes = open_scenes(str(folder))
    assert all((scenes.read(i)[1] == label_map(i)).all() for i in range(3))


def test_a_draft_of_label_maps_in_colours(folder: Path, capsys):
    for index, name in enumerate("abc"):
        save(folder / "labels" / f"{name}.png", np.array(VOC, np.uint8)[label_map(index)])
    assert "id 1   [0, 128, 0] " in drafted(folder, capsys)
    scenes = open_scenes(str(folder))
    painted = np.array(scenes.classes.colours, np.uint8)[scenes.read(2)[1]]
    assert (painted == np.array(VOC, np.uint8)[label_map(2)]).all()


def test_a_draft_proposes_rare_classes(folder: Path, capsys):
    for name in "abc":
        labels = np.zeros(SIZE, np.uint8)
        labels[:3, :3] = name == "b"
        save(folder / "labels" / f"{name}.png", labels)
    assert "proposed as rare: class_1 (under 1% of" in drafted(folder, capsys)
    assert open_scenes(str(folder)).classes.rare == ("class_1",)


def test_label_maps_that_number_objects(folder: Path, monkeypatch, capsys):
    (folder / "classes.yaml").unlink()
    for index, name in enumerate("abc"):
        save(folder / "labels" / f"{name}.png", picture(index))
    line = refused(capsys, "marsgen", "import", str(folder), "--dry-run")
    assert "256 different pixel values; this looks like soft masks or numbers of objects: write" in line
    objects = np.repeat(picture().astype(np.uint16) * 4, 2, 0)[: SIZE[0]]
    for name in "abc":
        save(folder / "labels" / f"{name}.png", objects)
    assert "ids lie in 0..255. Where each number is" in refused(capsys, "marsgen", "import", str(folder), "--dry-run")
    (folder / "classes.yaml").write_text(
        "threshold: 1\nmap: {0: back, 255: cell}\nclasses: [{name: back, id: 0}, {name: cell, id: 1}]\n"
    )
    assert (open_scenes(str(folder)).read(0)[1] == (objects > 0)).all()


@pytest.mark.parametrize("place", ["labels", "masks"])
def test_the_draft_for_masks_of_one_class_makes_its_background_a_class(tmp_path: Path, monkeypatch, capsys, place: str):
    rng = np.random.default_rng(0)
    masks = [np.where(rng.random((40, 48)) < 0.1, 255, 0).astype(np.uint8) for _ in range(3)]
    for number, mask in enumerate(masks):
        for name, pixels in (("images", rng.integers(0, 256, (40, 48), dtype=np.uint8)), (place, mask)):
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"a{number}.png")
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, "marsgen", "inspect", "--data", "own")
    assert f"images/ and {place}/, but no classes.yaml" in line
    assert call("marsgen", "import", "own", "--dry-run") == 0
    printed = capsys.readouterr().out
    (tmp_path / "own" / "classes.yaml").write_text(printed[printed.index("ignored:") :])
    scenes = open_scenes("own")
    assert (scenes.classes.names, scenes.classes.rare) == (("background", "object"), ("object",))
    for scene, mask in zip(scenes, masks, strict=True):
        np.testing.assert_array_equal(scene.indices, mask // 255)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("crop=16", "crop is 16; expected a list in brackets, such as"),
        ("steps=x", "steps is 'x'; expected a whole number"),
        ("lr=-1", "lr is -1; expected more than 0"),
        ("loss=foo", "loss is 'foo'; expected a block of settings"),
        ("network=foo", "network is 'foo'; expected one of 'unet'"),
        ("data.folds=1", "data: folds is 1, which leaves no scene"),
        ("encoder.freeze=7", "encoder.freeze is 7; expected true or false"),
    ],
)
def test_a_wrong_setting_is_one_sentence_of_ours(setting: str, words: str):
    from marsgen.core.config import load_config
    from segmenter.config import TrainConfig

    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, None, [setting])
    assert words in str(caught.value)
    assert "Input should" not in str(caught.value)
    assert "{" not in str(caught.value)
