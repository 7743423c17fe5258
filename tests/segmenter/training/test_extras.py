"""Extra folders: which may join training, and what is said of the others."""

import json
from pathlib import Path

import numpy as np
import pytest

from marsgen.core.config import Config
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import write_classes, write_pair
from marsgen.scenes.stated import mars_classes
from segmenter.training.extras import check_extra, open_extras


def painted(rng: np.random.Generator, n: int, size=(32, 48), channels: int = 1):
    """Images and label maps (ids 1..3, no big rock) of plain noise."""
    return (
        rng.integers(0, 256, (n, *size, channels), dtype=np.uint8),
        rng.integers(1, 4, (n, *size), dtype=np.uint8),
    )


@pytest.fixture
def dataset(array_scenes, make_dataset):
    """20 scenes: 0..13 train, 14..17 val, 18 and 19 test."""
    scenes = array_scenes(*painted(np.random.default_rng(1), 20))
    return make_dataset(scenes, train=range(14), val=range(14, 18), test=(18, 19))


def write_synthetic(folder: Path, ancestors: list[str], classes: ClassSet | None = None, size=(32, 48)) -> Path:
    """A folder as `marsgen synthesize` leaves it, one scene per ancestor."""
    classes = classes or mars_classes()
    images, labels = painted(np.random.default_rng(9), len(ancestors), size)
    for i, (image, label_map) in enumerate(zip(images, labels, strict=True)):
        write_pair(folder, f"drawn{i}", image, label_map, classes)
    write_classes(folder, classes)
    lines = [
        {"name": f"drawn{i}", "parent": {"name": "p", "key": "elsewhere"}, "donors": [{"name": "d", "key": key}]}
        for i, key in enumerate(ancestors)
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_other_classes_are_refused(dataset, tmp_path):
    mars = mars_classes()
    names = ("gravel", *mars.names[1:])
    other = ClassSet(names, mars.ids, mars.colours, mars.ignored, mars.rare)
    folder = write_synthetic(tmp_path / "synth", ["elsewhere"], other)
    with pytest.raises(DataError, match=r"its classes are gravel, .*those of arrays are soil"):
        open_extras([str(folder)], dataset)


def test_another_size_is_refused(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", ["elsewhere"], size=(32, 64))
    with pytest.raises(DataError, match=r"height and width are \(32, 64\), those of arrays are \(32, 48\)"):
        open_extras([str(folder)], dataset)


def test_colour_scenes_do_not_join_grey_ones(dataset, array_scenes):
    colour = array_scenes(*painted(np.random.default_rng(3), 2, channels=3))
    with pytest.raises(DataError, match="its channels are 3, those of arrays are 1"):
        check_extra(colour, dataset)


def test_an_empty_folder_is_refused(dataset, tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match="no picture and no table in this folder"):
        open_extras([str(tmp_path)], dataset)


def test_an_unfinished_synthesis_is_refused(dataset, tmp_path):
    run = Run.start(tmp_path / "synth", "marsgen synthesize", Config())
    write_synthetic(run.folder, ["elsewhere"])
    with pytest.raises(RunError, match="this run has not finished; repeat its `marsgen synthesize` command"):
        open_extras([str(run.folder)], dataset)
    run.finish({})
    assert len(open_extras([str(run.folder)], dataset)) == 1


def test_a_folder_of_another_command_is_refused(dataset, tmp_path):
    Run.start(tmp_path / "run", "marsgen train-generator", Config()).finish({})
    with pytest.raises(RunError, match="was made by `marsgen train-generator`; expected a run of `marsgen synthesize`"):
        open_extras([str(tmp_path / "run")], dataset)


def test_a_plain_folder_joins_with_the_classes_of_the_real_scenes_and_a_note(dataset, tmp_path, capsys):
    folder, classes = tmp_path / "plain", mars_classes()
    images, labels = painted(np.random.default_rng(11), 2)
    for i in range(2):
        write_pair(folder, f"own{i}", images[i], labels[i], classes)
    (extra,) = open_extras([str(folder)], dataset)  # no classes.yaml
    assert extra.classes == classes
    assert "nothing says what 2 of its 2 scenes were made from" in capsys.readouterr().err


def test_a_leak_is_refused_when_the_folder_is_opened(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", ["elsewhere", dataset.survey.keys[16]])
    with pytest.raises(DataError, match="scene drawn1 was made from scene16, a validation scene of this run"):
        open_extras([str(folder)], dataset)


def kept_list(folder: Path, set_folder: Path, names: list[str], **changes: object) -> Path:
    from marsgen.scenes.sources import open_scenes

    path = folder / "kept.json"
    content = {"set": str(set_folder), "fingerprint": open_scenes(str(set_folder)).fingerprint(), "kept": names}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_of_a_kept_list_only_the_kept_pairs_join(dataset, tmp_path):
    folder = write_synthetic(tmp_path / "synth", ["a", "b", "c", "d"])
    (whole,), (kept,) = (
        open_extras([str(place)], dataset) for place in (folder, kept_list(tmp_path, folder, ["drawn3", "drawn1"]))
    )
    assert kept.names == ["drawn1", "drawn3"]
    for here, there in ((0, 1), (1, 3)):
        np.testing.assert_array_equal(kept.read(here)[0], whole.read(there)[0])
        assert kept.origin(here) == whole.origin(there)
        assert kept.record(here) == whole.record(there)
    assert kept.location == str(folder)
    assert kept.fingerprint() not in (
        whole.fingerprint(),
        open_extras([str(kept_list(tmp_path, folder, ["drawn1"]))], dataset)[0].fingerprint(),
    )


def test_a_kept_pair_may_leak_like_any_other(dataset, tmp_path):
    from marsgen.scenes.scene import scene_key

    held_out = scene_key(dataset.scenes.read(15)[0])
    folder = write_synthetic(tmp_path / "synth", ["a", held_out])
    open_extras([str(kept_list(tmp_path, folder, ["drawn0"]))], dataset)
    with pytest.raises(DataError, match="scene drawn1 was made from"):
        open_extras([str(kept_list(tmp_path, folder, ["drawn1"]))], dataset)


def test_a_kept_list_is_found_beside_its_set(dataset, tmp_path, monkeypatch):
    folder = write_synthetic(tmp_path / "synth", ["a", "b"])
    path = kept_list(tmp_path, folder, ["drawn1"], set="synth")
    assert open_extras([str(path)], dataset)[0].names == ["drawn1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kept": []}, "'kept' is no list of names, or an empty one"),
        ({"kept": ["drawn9"]}, "has no pair drawn9"),
        ({"set": "elsewhere"}, "keeps pairs of elsewhere, and no such folder"),
        ({"fingerprint": "0" * 16}, "another set than the one that was looked through"),
        ({"fingerprint": None}, "fingerprint"),
    ],
)
def test_a_kept_list_that_does_not_fit_is_refused(dataset, tmp_path, changes, words):
    folder = write_synthetic(tmp_path / "synth", ["a", "b"])
    with pytest.raises(DataError, match=words):
        open_extras([str(kept_list(tmp_path, folder, ["drawn0"], **changes))], dataset)
