"""The AI4Mars release layout: parts, stops, ids, and the masks joined in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.ai4mars import Ai4MarsScenes
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import find_navcam, mars_classes

TRAIN = (
    "NLA_398561766EDR_F0030004NCAM00400M1",
    "NLB_439226019EDR_F0030004CCAM00267M1",
    "NLB_486264037EDR_D0481570AUT_04096M1",
)
GOLD = "NLA_601421002EDR_F0731482CCAM05295M1"
UNLABELLED = "NRB_601421002EDR_F0731482CCAM05295M1"
FILE_IDS = np.array([0, 1, 2, 3, 255], np.uint8)
MARS_IDS = np.array([1, 2, 3, 4, 0], np.uint8)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 64), dtype=np.uint8)


def places(seed: int) -> np.ndarray:
    """(40, 64) positions in FILE_IDS."""
    return np.random.default_rng(100 + seed).integers(0, 5, (40, 64))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def ncam(tmp_path: Path) -> Path:
    """Three crowd-labelled pictures, one gold one, one without labels."""
    ncam = tmp_path / "msl" / "ncam"
    for seed, name in enumerate((*TRAIN, GOLD, UNLABELLED)):
        save(ncam / "images" / "edr" / f"{name}.JPG", np.dstack([picture(seed)] * 3))
    for seed, name in enumerate(TRAIN):
        save(ncam / "labels" / "train" / f"{name}.png", FILE_IDS[places(seed)])
    for strictness in (1, 2, 3):
        gold = ncam / "labels" / "test" / f"masked-gold-min{strictness}-100agree"
        save(gold / f"{GOLD}_merged.png", FILE_IDS[places(strictness)])
    return ncam


@pytest.mark.parametrize("start", [".", "msl", "msl/ncam"])
def test_parts_stops_and_ids(ncam: Path, tmp_path: Path, start: str):
    scenes = open_scenes(str(tmp_path / start))
    assert isinstance(scenes, Ai4MarsScenes)
    assert scenes.names == (TRAIN[0], GOLD, TRAIN[1], TRAIN[2])
    assert scenes.parts == ("train", "test", "train", "train")
    assert scenes.groups == ("003-0004", "073-1482", "003-0004", "048-1570")
    assert (scenes.channels, scenes.shape, scenes.classes) == (1, (40, 64), mars_classes())
    for index, seed in enumerate((0, 3, 1, 2)):
        np.testing.assert_array_equal(scenes[index].labels, MARS_IDS[places(seed)])


def test_grey_repeated_in_three_channels_is_grey(ncam: Path, tmp_path: Path):
    with Image.open(ncam / "images" / "edr" / f"{TRAIN[0]}.JPG") as stored:
        decoded = np.array(stored)
    assert decoded.shape == (40, 64, 3)
    np.testing.assert_array_equal(open_scenes(str(tmp_path))[0].image[..., 0], decoded[..., 1])


def test_pictures_without_labels_are_there_to_be_predicted(ncam: Path, tmp_path: Path):
    scenes = open_scenes(str(tmp_path), labelled=False)
    assert scenes.names == (TRAIN[0], GOLD, TRAIN[1], TRAIN[2], UNLABELLED)
    assert scenes.parts is None
    assert all((scene.labels == 0).all() for scene in scenes)


def test_the_strictest_gold_set_is_the_test(ncam: Path, tmp_path: Path):
    strictest = ncam / "labels" / "test" / "masked-gold-min3-100agree"
    strictest.rename(strictest.with_name("elsewhere"))
    np.testing.assert_array_equal(open_scenes(str(tmp_path))[1].labels, MARS_IDS[places(2)])


def test_rover_and_far_pixels_become_ignored(ncam: Path, tmp_path: Path):
    rover, far = np.zeros((2, 40, 64), np.uint8)
    rover[30:], far[:, 60:] = 1, 255
    save(ncam / "images" / "mxy" / "NLA_398561766MXY_F0030004NCAM00400M1.png", rover)
    save(ncam / "images" / "rng-30m" / "NLA_398561766RNG_F0030004NCAM00400M1.png", far)
    expected = MARS_IDS[places(0)]
    expected[30:], expected[:, 60:] = 0, 0
    before = open_scenes(str(tmp_path)).fingerprint()
    scenes = open_scenes(str(tmp_path))
    np.testing.assert_array_equal(scenes[0].labels, expected)
    np.testing.assert_array_equal(scenes[1].labels, MARS_IDS[places(3)])  # this one has no masks
    (ncam / "images" / "mxy" / "NLA_398561766MXY_F0030004NCAM00400M1.png").unlink()
    assert open_scenes(str(tmp_path)).fingerprint() != before


def test_ids_follow_the_names_of_other_classes(ncam: Path, tmp_path: Path):
    own = ClassSet(("big_rock", "sand", "bedrock", "soil"), (10, 20, 30, 40), mars_classes().colours, ignored=255)
    expected = np.array([40, 30, 20, 10, 255], np.uint8)[places(0)]
    np.testing.assert_array_equal(open_scenes(str(tmp_path), classes=own)[0].labels, expected)


def test_classes_without_the_terrains_are_refused(ncam: Path, tmp_path: Path):
    own = ClassSet(("soil", "bedrok"), (1, 2), ((1, 1, 1), (2, 2, 2)), ignored=0)
    with pytest.raises(
        DataError, match=r"AI4Mars labels cannot be named \(no class 'bedrock' \(did you mean 'bedrok'\?\)"
    ):
        open_scenes(str(tmp_path), classes=own)


def test_an_unknown_id_is_named_when_the_release_is_opened(ncam: Path, tmp_path: Path):
    labels = FILE_IDS[places(1)]
    labels[7, 8] = 4
    save(ncam / "labels" / "train" / f"{TRAIN[1]}.png", labels)
    with pytest.raises(DataError, match=rf"{TRAIN[1]}\.png: label 4 at row 7, column 8 is not one of \[0, 1, 2, 3\]"):
        open_scenes(str(tmp_path))


def test_a_label_map_without_picture_is_named(ncam: Path, tmp_path: Path):
    (ncam / "images" / "edr" / f"{GOLD}.JPG").unlink()
    with pytest.raises(DataError, match=rf"{GOLD}_merged\.png: no picture {GOLD}\.JPG in images/edr; add it or remove"):
        open_scenes(str(tmp_path))


def test_a_picture_in_both_parts_is_named(ncam: Path, tmp_path: Path):
    save(ncam / "labels" / "train" / f"{GOLD}.png", FILE_IDS[places(1)])
    with pytest.raises(DataError, match=rf"{GOLD}\.png: also among the gold test label maps; keep one"):
        open_scenes(str(tmp_path))


def test_a_name_without_site_and_drive_is_named(ncam: Path, tmp_path: Path):
    for folder, suffix in (("images/edr", "JPG"), ("labels/train", "png")):
        (ncam / folder / f"{TRAIN[0]}.{suffix}").rename(ncam / folder / f"rock.{suffix}")
    with pytest.raises(DataError, match=r"rock\.JPG: the name gives no site and drive; expected one such as NLA_"):
        open_scenes(str(tmp_path))


@pytest.mark.parametrize("place", ["labels/train/{}.png", "images/mxy/{}.png"])
def test_sizes_that_differ_are_named(ncam: Path, tmp_path: Path, place: str):
    name = TRAIN[0].replace("EDR_", "MXY_") if "mxy" in place else TRAIN[0]
    save(ncam / place.format(name), np.zeros((40, 63), np.uint8))
    with pytest.raises(DataError, match=rf"{name}\.png: 40 x 63 pixels beside {TRAIN[0]}\.JPG of 40 x 64"):
        open_scenes(str(tmp_path))


def test_a_release_without_label_maps_can_only_be_predicted(ncam: Path, tmp_path: Path):
    (ncam / "labels").rename(tmp_path / "elsewhere")
    assert len(open_scenes(str(tmp_path), labelled=False)) == 5
    with pytest.raises(DataError, match=r"labels: no label maps in train/ or test/"):
        open_scenes(str(tmp_path))


def test_other_folders_are_no_release(tmp_path: Path):
    assert find_navcam(tmp_path) is None
    with pytest.raises(DataError, match=r"no msl/ncam/images/edr in this folder; expected the AI4Mars release layout"):
        Ai4MarsScenes(tmp_path, mars_classes())


@pytest.mark.real_data
def test_the_real_release(real_data: Path):
    root = real_data / "ai4mars-dataset-merged-0.6"
    scenes = open_scenes(str(root))
    assert (len(scenes), scenes.shape, scenes.channels) == (820, (256, 256), 1)
    assert scenes.parts is not None
    assert scenes.groups is not None
    assert (scenes.parts.count("train"), scenes.parts.count("test")) == (800, 20)
    for name, group in zip(scenes.names, scenes.groups, strict=True):
        assert group == f"{name[18:21]}-{name[21:25]}"
    # counted apart from our reader: soil pixels are id 0 in the files and id 1 here
    index = scenes.names.index("NLA_398561766EDR_F0030004NCAM00400M1")
    with Image.open(root / "msl/ncam/labels/train" / f"{scenes.names[index]}.png") as stored:
        in_file = np.array(stored)
    assert scenes[index].indices.tolist() == in_file.tolist()
    assert len(open_scenes(str(root / "msl"), labelled=False)) == 820
