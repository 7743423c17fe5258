"""Reading an evaluation: each of its files may be damaged, and the sentence names it."""

import json
from pathlib import Path

import numpy as np
import pytest
from painted_runs import ArrayScenes, evaluate_run, paint_labels, write_run

from marsgen.core.errors import InputError
from segmenter.evaluation.reader import read_evaluation
from segmenter.inference.margins import BINS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return evaluate_run(write_run(tmp_path / "run"), ArrayScenes(paint_labels(11)), 0.5).folder


@pytest.mark.parametrize("name", ["counts.npy", "ignored.npy", "regions.npy", "false_alarms.npy", "margins.npy"])
@pytest.mark.parametrize("damage", ["header", "cut", "noise", "another array"])
def test_a_damaged_array_is_named(name: str, damage: str, folder: Path):
    path = folder / name
    content = path.read_bytes()
    if damage == "another array":
        np.save(path, np.arange(5.0))
    else:
        changed = {"header": content.replace(b"descr", b"des'r"), "cut": content[:-1], "noise": bytes(range(256))}
        path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=rf"{name}: .*damaged evaluation; delete the folder and evaluate again"):
        read_evaluation(folder)


def test_values_that_cannot_be_are_refused(folder: Path):
    regions = np.load(folder / "regions.npy")
    for field, value, words in (
        ("image", 99, "an? image outside 0..10"),
        ("class_index", -1, "class_index outside 0..2"),
        ("hit_px", 10**6, "impossible sizes"),
        ("area_px", 0, "impossible sizes"),
    ):
        changed = regions.copy()
        changed[field][0] = value
        np.save(folder / "regions.npy", changed)
        with pytest.raises(InputError, match=rf"regions\.npy: .*{words}"):
            read_evaluation(folder)
    np.save(folder / "regions.npy", regions)
    np.save(folder / "counts.npy", -np.load(folder / "counts.npy"))
    with pytest.raises(InputError, match=r"counts\.npy: counts below 0"):
        read_evaluation(folder)


@pytest.mark.parametrize("what", ["another label", "another call"])
def test_margins_of_other_pixels_are_refused(what: str, folder: Path):
    margins = np.load(folder / "margins.npy")
    image, _, label, bin_ = np.argwhere(margins)[-1]
    margins[image, 0, label, bin_] -= 1
    elsewhere = (1 - label, bin_) if what == "another label" else (label, BINS - 1 - bin_)  # beyond a margin of 0
    margins[(image, 0, *elsewhere)] += 1
    np.save(folder / "margins.npy", margins)
    with pytest.raises(InputError, match=rf"margins\.npy: image {image}: not the pixels that counts\.npy holds; dama"):
        read_evaluation(folder)


def test_an_evaluation_of_an_older_version_has_no_margins(folder: Path):
    assert read_evaluation(folder).margins is not None
    (folder / "margins.npy").unlink()
    assert read_evaluation(folder).margins is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("settings", {"found_fraction": "x"}, "settings.found_fraction is 'x'"),
        ("settings", None, "settings is None"),
        ("data", {"location": 3, "fingerprint": "f"}, "data.location is 3"),
        ("per_class", [{"class": "soil"}], "per_class.0.iou is missing"),
        ("part", "some", "part is 'some'"),
        ("mean_iou", [1], r"mean_iou is \[1\]"),
        ("classes", [], r"classes is \[\]"),
    ],
)
def test_a_changed_record_is_named(key: str, value: object, words: str, folder: Path):
    content = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(InputError, match=rf"evaluation\.json: damaged: .*{words}"):
        read_evaluation(folder)


def test_the_record_is_read_as_it_was_written(folder: Path):
    assert read_evaluation(folder).record == json.loads((folder / "evaluation.json").read_text())


def test_names_of_another_number_are_refused(folder: Path):
    path = folder / "names.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"keys": content["keys"][:-1]}))
    with pytest.raises(InputError, match=r"names\.json: 11 names and other numbers"):
        read_evaluation(folder)
    path.write_text(json.dumps(content | {"names": 5}))
    with pytest.raises(InputError, match=r"names\.json: .*names"):
        read_evaluation(folder)
