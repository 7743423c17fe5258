"""What a ClassSet and a layout refuse, whoever made them; and what they say of themselves."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.files.layout import Folders, Layout, read_layout, read_names

RED, BLUE = (220, 40, 40), (40, 40, 220)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"names": ("a",), "ids": (1,), "colours": (RED,)}, "1 classes; between 2 and 255 are possible"),
        ({"ids": (1, 2, 3)}, "2 names, 3 ids, 2 colours: one of each per class"),
        ({"names": ("a", "a")}, "two classes have the same name among a, a"),
        ({"ids": (1, 1)}, "class ids [1, 1] and ignored id 0 must all differ"),
        ({"ignored": 2}, "class ids [1, 2] and ignored id 2 must all differ"),
        ({"ids": (1, 256)}, "class ids [1, 256] and ignored id 0 must lie in 0..255"),
        ({"colours": (RED, (0, 0, 256))}, "every class colour needs three values in 0..255"),
        ({"names": ("a", " ")}, "a class is named ' '"),
        ({"bands": (1, 2)}, "bands is [1, 2]; expected the three channels to show, counted from 1"),
        ({"bands": (0, 1, 2)}, "bands is [0, 1, 2]; expected the three channels"),
        ({"rare": ("c",)}, "no class 'c'"),
    ],
)
def test_classes_that_contradict_themselves_are_refused(changed: dict, words: str):
    given = {"names": ("a", "b"), "ids": (1, 2), "colours": (RED, BLUE), "ignored": 0}
    with pytest.raises(DataError, match=re.escape(words)):
        ClassSet(**given | changed)


def test_classes_describe_paint_and_show():
    classes = ClassSet(("a", "b"), (1, 4), (RED, BLUE), 0, bands=(5, 1, 2))
    assert classes.describe() == "1=a, 4=b, 0=ignored"
    np.testing.assert_array_equal(classes.paint(np.array([[1, 4, 0]])), [[RED, BLUE, (32, 32, 32)]])
    bands = np.arange(5)[None, None]
    np.testing.assert_array_equal(classes.show(bands), [[[4, 0, 1]]])
    np.testing.assert_array_equal(classes.show(bands[..., :3]), [[[0, 1, 2]]])  # RGB as it is
    with pytest.raises(DataError, match=r"bands is \[5, 1, 2\] in classes\.yaml; the pictures have 4 channels"):
        classes.show(bands[..., :4])
    other = ClassSet(("b", "a"), (0, 1), (BLUE, RED), 9)
    assert classes.ordered_like(other).ids == (4, 1)
    assert classes.order_of(ClassSet(("a", "c"), (0, 1), (BLUE, RED), 9)) is None
    assert (classes.spell("A"), classes.spell("b")) == ("a", "b")


TWO = [{"name": "a", "id": 1}, {"name": "b", "id": 2}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"rare": ["a"]}, "key 'classes' is missing; see configs/classes_mars.yaml"),
        ({"classes": {"a": 1}}, "'classes' is a list with name and id, and colour if you like, for each class"),
        ({"classes": TWO, "bands": 3}, "bands is '3'; expected a list"),
        ({"classes": TWO, "rare": {"a": 1}}, "rare is {'a': '1'}; expected a class or a list of classes"),
        ({"classes": [TWO[0], {"name": " b", "id": 2}]}, "a class is named ' b'; expected one line of text, without"),
        ({"classes": [TWO[0], {**TWO[1], "colour": "#fff000", "color": "#fff000"}]}, "class b has colour and color"),
        ({"classes": TWO, "suffix": ["_mask"]}, "suffix is ['_mask']; expected a text"),
        ({"classes": TWO, "groups": "(a)(b)"}, "groups is '(a)(b)', with 2 groups; expected one"),
        ({"classes": TWO, "groups": "ab"}, "groups is 'ab', with 0 groups; expected one"),
        ({"classes": TWO, "splits": ["train"]}, "splits is ['train']; expected a mapping with keys among train, val"),
        ({"classes": TWO, "splits": {"tests": "x"}}, "splits is {'tests': 'x'}; expected a mapping with keys among"),
        (
            {"classes": TWO, "splits": {"train": "train", "val": ["a"]}},
            "splits names folders for one part and scenes for another; use one of the two for all",
        ),
        ({"classes": TWO, "splits": {"train": {"image": "x"}}}, "splits.train is {'image': 'x'}; expected {images: F"),
        ({"classes": TWO, "splits": {"train": ""}}, "splits.train is ''; expected a folder, a .txt file of names, or"),
        ({"classes": TWO, "splits": {"train": "/x"}}, "splits.train is '/x'; expected a path inside the data set's"),
        ({"classes": TWO, "map": ["a"]}, "map is ['a']; expected pixel value: class"),
        ({"classes": TWO, "map": {"256": "a"}}, "a pixel value of map is '256'; a whole number in 0..255"),
        ({"classes": TWO, "threshold": "half"}, "threshold is 'half'; a whole number in 0..255"),
    ],
)
def test_a_classes_file_that_means_nothing_is_one_sentence(content: dict, words: str, tmp_path: Path):
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=rf"classes\.yaml: {re.escape(words)}") as refused:
        read_classes(tmp_path / "classes.yaml")
    assert "\n" not in str(refused.value)


def test_a_map_to_a_class_that_is_none(tmp_path: Path):
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump({"classes": TWO, "map": {"255": "c"}}))
    with pytest.raises(DataError, match=r"map: 255 is 'c', which is no class; the classes are a, b"):
        _ = read_classes(tmp_path / "classes.yaml").id_of_value


def test_splits_may_name_folders_lists_or_scenes(tmp_path: Path):
    folders = read_layout({"images": "photos", "splits": {"train": "t", "val": {"labels": "v"}}})
    assert folders.splits == {"train": Folders("photos/t", "labels/t"), "val": Folders("photos", "v")}
    assert read_layout({"splits": {"test": "lists/test.txt"}}).splits == {"test": "lists/test.txt"}
    assert read_layout({"splits": {"test": ["a", "b"]}}).splits == {"test": ("a", "b")}
    for layout in (folders, read_layout({"suffix": "_m", "map": {"9": "a"}, "splits": {"test": ["a"]}})):
        assert read_layout(layout.to_dict()) == layout
    assert Layout().to_dict() == {}
    (tmp_path / "names.txt").write_text("a 1\n\nb\n")
    assert read_names(tmp_path / "names.txt") == ["a", "b"]


def test_a_pattern_that_fits_not_every_name():
    layout = Layout(groups=r"num_(\d+)?")
    assert layout.find_groups(["num_12", "num_", "x"]) == ["12", "", None]
    with pytest.raises(DataError, match=r"x: 'groups: num_\(\\d\+\)\?' is not found in this name; correct the pattern"):
        layout.groups_of(["num_12", "x"])
