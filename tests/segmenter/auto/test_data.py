"""What a race is given: folders whose scenes nobody sees twice, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
from listed_scenes import fingerprint_scenes, noise_images
from test_whole_race import CLASSES

from marsgen.cleaning.dataset import clean_scenes
from marsgen.cleaning.resaved import PictureCopy, find_copies, more_than_chance
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.scenes.readers.arrays import ArrayScenes
from marsgen.scenes.sources import open_scenes
from segmenter.auto import data
from segmenter.auto.data import count_rare_training, link_some, prepare

SPLIT = DataConfig(val_fraction=0.25)


def scenes(number: int, seed: int = 0, top: int = 20, every: int = 2) -> ArrayScenes:
    """Noise; every second picture shows a crack of 4 x 9 pixels, whose first row lies above `top`."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (number, 32, 32)).astype(np.uint8)
    labels = np.zeros((number, 32, 32), np.uint8)
    for index in range(0, number, every):
        row, column = rng.integers(0, top), rng.integers(0, 20)
        labels[index, row : row + 4, column : column + 9] = 1
    return ArrayScenes(list(images), list(labels), CLASSES)


def names_in(folder: Path) -> set[str]:
    return {path.name.split("-", 1)[1] for path in (folder / "images").iterdir()}


def test_a_part_is_set_aside_and_all_scenes_are_joined(tmp_path):
    given = scenes(40, top=4)
    look = prepare(given, None, "crack", tmp_path, SPLIT, 0.25)
    assert (look.scenes, look.race + look.test, look.set_aside) == (40, 40, True)
    assert look.test_from == "set aside before the race"
    assert (look.rare, look.race_rare + look.test_rare) == (20, 20)
    race, test, everything = (names_in(tmp_path / part) for part in ("race", "test", "all"))
    assert race.isdisjoint(test)
    assert everything == race | test
    assert len(test) == look.test == 10
    opened = open_scenes(str(tmp_path / "all"))
    assert opened.classes.rare == ("crack",)
    first, second = look.lines
    assert first == "arrays in memory: 40 scenes, 32 x 32 pixels"
    assert second == (
        "crack: in 20 scenes; of such a scene it covers 3.5 % (median), mostly in the upper third of the picture"
    )
    assert 0 < count_rare_training(tmp_path / "race", SPLIT) < look.race_rare


def test_crops_of_one_picture_stay_together(tmp_path):
    """Met on magnetic tiles: exposures that show more or less of a tile were set aside, then refused when scored."""
    wide = noise_images(20, (64, 96), seed=3)
    images = [picture[:, 12 * (copy % 2) : 96 - 12 * (copy // 2)] for picture in wide for copy in range(3)]
    labels = [np.zeros(image.shape, np.uint8) for image in images]
    for label in labels:
        label[20:24, 20:30] = 1
    given = ArrayScenes(images, labels, CLASSES)
    assert len(set(clean_scenes(given, SPLIT).groups)) > 20  # else grouping sees all of them
    look = prepare(given, None, "crack", tmp_path, SPLIT, 0.25)
    race, test = (open_scenes(str(tmp_path / part)) for part in ("race", "test"))
    assert (look.race, look.test) == (len(race), len(test))
    assert len(race) + len(test) == 60
    assert len(test) >= 2
    copies = find_copies(fingerprint_scenes(race), test)
    assert not more_than_chance(len(copies), len(test))


def test_scenes_that_all_look_like_copies_are_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(
        data, "find_copies", lambda known, scenes, asked: [PictureCopy(index, 0, 1.0) for index in asked]
    )
    with pytest.raises(DataError, match="agrees with one of the race as a copy does.*give scenes of another time"):
        prepare(scenes(40), None, "crack", tmp_path, SPLIT, 0.25)


def test_given_test_scenes_are_taken_as_they_are(tmp_path):
    given, test = scenes(20), scenes(8, seed=1)
    test.groups = ("a", "a", "b", "b", "c", "c", "d", "d")
    look = prepare(given, test, "crack", tmp_path, SPLIT, 0.25)
    assert (look.race, look.race_rare, look.test, look.test_rare, look.rare) == (20, 10, 8, 4, 10)
    assert (look.test_from, look.set_aside) == ("--test", False)
    assert not (tmp_path / "all").exists()
    groups = {path.name.split("-")[0] for path in (tmp_path / "test" / "images").iterdir()}
    assert groups == {"g00000", "g00001", "g00002", "g00003"}


def test_a_test_part_that_the_data_ship_is_used(tmp_path):
    given = scenes(24)
    given.parts = tuple(["train"] * 16 + ["test"] * 8)
    look = prepare(given, None, "crack", tmp_path, SPLIT, 0.25)
    assert (look.race, look.test, look.test_from, look.set_aside) == (16, 8, "the data's test part", False)
    assert names_in(tmp_path / "test") == {f"{name}.png" for name in given.names[16:]}


def test_too_few_scenes_of_the_class_are_refused(tmp_path):
    words = "3 scenes to train on and 4 to test on show crack; a race needs 6 and 2 of them, so label more"
    with pytest.raises(DataError, match=f"arrays in memory: {words}"):
        prepare(scenes(6), scenes(8, seed=1), "crack", tmp_path, SPLIT, 0.25)


def test_what_is_written_already_is_kept(tmp_path):
    given = scenes(40)
    prepare(given, None, "crack", tmp_path, SPLIT, 0.25)
    picture = next((tmp_path / "race" / "images").iterdir())
    picture.write_bytes(b"kept")
    (tmp_path / "test" / "classes.yaml").unlink()  # a kill before the end: what is missing is written
    prepare(given, None, "crack", tmp_path, SPLIT, 0.25)
    assert picture.read_bytes() == b"kept"
    assert (tmp_path / "test" / "classes.yaml").exists()


def test_where_no_file_has_two_names_all_scenes_are_copies(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    prepare(scenes(40), None, "crack", tmp_path, SPLIT, 0.25)
    for path in (tmp_path / "test" / "images").iterdir():
        copy = tmp_path / "all" / "images" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_ino != path.stat().st_ino


def test_a_class_at_all_heights_in_scenes_of_several_sizes(tmp_path):
    given = scenes(40, top=28)
    pairs = [given.read(index) for index in range(len(given))]
    pairs[1] = tuple(np.concatenate([array, array[:, :2]], axis=1) for array in pairs[1])
    images, labels = zip(*pairs, strict=True)
    look = prepare(ArrayScenes(images, labels, CLASSES), None, "crack", tmp_path, SPLIT, 0.25)
    assert look.lines[0] == "arrays in memory: 40 scenes, sizes differ"
    assert look.lines[1].endswith("at all heights of the picture")


def test_a_few_scenes_are_spread_over_all(tmp_path):
    whole, few = tmp_path / "whole", tmp_path / "few"
    for number in range(10):
        for kind, name in (("images", f"s{number}.png"), ("labels", f"s{number}.png")):
            (whole / kind).mkdir(parents=True, exist_ok=True)
            (whole / kind / name).write_bytes(bytes([number]))
    (whole / "classes.yaml").write_text("classes: []\n")
    assert link_some(whole, few, 4) == 4
    assert [path.name for path in sorted((few / "labels").iterdir())] == ["s0.png", "s3.png", "s6.png", "s9.png"]
    assert sorted(path.read_bytes() for path in (few / "images").iterdir()) == [b"\0", b"\3", b"\6", b"\t"]
    assert (few / "classes.yaml").read_text() == "classes: []\n"
    assert link_some(whole, tmp_path / "all", 99) == 10
