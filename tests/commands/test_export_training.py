"""Exports that other people's training reads: nnU-Net v2 raw data, Hugging Face; and the data card of every set."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from test_flow import call

from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import write_pair
from marsgen.scenes.sources import open_scenes

CLASSES = ClassSet(("ground", "crack", "hole"), (7, 0, 9), ((9, 9, 9), (200, 0, 0), (0, 0, 200)), 3, ("hole",))
SIZE = (40, 48)


def fill(folder: Path, channels: int, **more: object) -> Path:
    """Six pairs, all with ground and crack, two with a hole, of which one is for validation and one for the test."""
    for index in range(6):
        rng = np.random.default_rng(index)
        labels = np.full(SIZE, 7, np.uint8)
        labels[5:20, 8:30] = 0
        labels[25:35, 30:45] = 9 if index % 3 == 0 else 7
        labels[:2] = 3
        write_pair(folder, f"p{index}", rng.integers(0, 256, (*SIZE, channels), np.uint8), labels, CLASSES)
    splits = {"train": ["p0", "p1", "p2", "p4"], "val": ["p5"], "test": ["p3"]}
    content = {**CLASSES.to_dict(), "splits": splits, **more}
    (folder / "classes.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("pairs") / "cracks", 3, license="cc-by-4.0")


def export(folder: Path, to: str, out: Path, *more: str) -> Path:
    assert call("marsgen", "export", str(folder), "--to", to, "--out", str(out), *more) == 0
    return out


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def front_of(path: Path) -> dict:
    _, front, _ = path.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front)


# nnU-Net


def test_nnunet_has_consecutive_ids_with_background_first_and_ignore_last(folder: Path, tmp_path: Path):
    out = export(folder, "nnunet", tmp_path / "Dataset501_cracks", "--set", "background=ground")
    about = json.loads((out / "dataset.json").read_text())
    assert about == {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "crack": 1, "hole": 2, "ignore": 3},
        "numTraining": 5,
        "file_ending": ".png",
    }
    assert sorted(p.name for p in (out / "imagesTr").iterdir()) == [f"p{i}_0000.png" for i in (0, 1, 2, 4, 5)]
    assert sorted(p.name for p in (out / "labelsTr").iterdir()) == [f"p{i}.png" for i in (0, 1, 2, 4, 5)]
    assert [p.name for p in (out / "imagesTs").iterdir()] == ["p3_0000.png"]
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["p0", "p1", "p2", "p4"], "val": ["p5"]}]
    labels = read(out / "labelsTr" / "p0.png")
    wanted = np.zeros(SIZE, np.uint8)
    wanted[5:20, 8:30], wanted[25:35, 30:45], wanted[:2] = 1, 2, 3
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(read(out / "imagesTr" / "p0_0000.png"), open_scenes(str(folder))[0].image)


def test_nnunet_without_a_background_class_leaves_id_0_empty(folder: Path, tmp_path: Path):
    out = export(folder, "nnunet", tmp_path / "out")
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert list(labels.items()) == [("background", 0), ("crack", 1), ("ground", 2), ("hole", 3), ("ignore", 4)]
    assert set(np.unique(read(out / "labelsTr" / "p0.png"))) == {1, 2, 3, 4}


def test_nnunet_gets_a_file_for_each_of_many_bands(tmp_path: Path):
    folder = fill(tmp_path / "bands", 5)
    out = export(folder, "nnunet", tmp_path / "out")
    names = [f"p3_{band:04d}.png" for band in range(5)]
    assert sorted(p.name for p in (out / "imagesTs").iterdir()) == names
    bands = np.dstack([read(out / "imagesTs" / name) for name in names])
    np.testing.assert_array_equal(bands, open_scenes(str(folder))[3].image)


def test_a_class_called_ignore_is_refused_for_nnunet(tmp_path: Path, capsys):
    folder = fill(tmp_path / "pairs", 1)
    text = (folder / "classes.yaml").read_text().replace("name: ground", "name: ignore")
    (folder / "classes.yaml").write_text(text)
    assert call("marsgen", "export", str(folder), "--to", "nnunet", "--out", str(tmp_path / "out")) == 2
    assert "a class is called 'ignore', which nnU-Net keeps for no label" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Hugging Face


def test_load_dataset_opens_the_folder(folder: Path, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    out = export(folder, "hf", tmp_path / "out", "--set", "scenes_per_file=3")
    files = sorted(path.name for path in (out / "data").iterdir())
    assert files == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "validation-00000-of-00001.parquet",
    ]
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 4, "validation": 1, "test": 1}
    row, scene = loaded["test"][0], open_scenes(str(folder))[3]
    assert row["name"] == "p3"
    np.testing.assert_array_equal(np.asarray(row["image"]), scene.image)
    np.testing.assert_array_equal(np.asarray(row["label"]), scene.labels)
    back = open_scenes(str(out))
    assert back.parts == ("test", "train", "train", "train", "train", "val")
    np.testing.assert_array_equal(back[0].labels, scene.labels)


# data cards


def test_a_card_says_what_is_in_the_set(folder: Path, tmp_path: Path):
    out = export(folder, "hf", tmp_path / "out")
    front = front_of(out / "README.md")
    assert front["license"] == "cc-by-4.0"
    assert front["task_categories"] == ["image-segmentation"]
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"][1] == {"split": "validation", "path": "data/validation-*"}
    text = (out / "README.md").read_text()
    assert "| class | id | rare | pairs that show it |" in text
    assert "| ground | 7 |  | 6 |" in text
    assert "| hole | 9 | yes | 2 |" in text
    assert "Generator: none: real scenes" in text
    assert f"Source data: cracks (fingerprint {open_scenes(str(folder)).fingerprint()})" in text
    assert "Licence of the source: cc-by-4.0" in text
    assert "Measured gain: none was measured" in text
    assert str(tmp_path) not in text


def test_a_measured_gain_is_handed_on(folder: Path, tmp_path: Path):
    out = export(folder, "yolo", tmp_path / "out", "--gain", "hole: IoU +0.04 over 5 seeds")
    assert "Measured gain: hole: IoU +0.04 over 5 seeds" in (out / "README.md").read_text()


def test_made_and_imported_sets_have_cards(tiny_npz: Path, tmp_path: Path):
    made = tmp_path / "made"
    words = ("--generator", "copy-paste", "--data", str(tiny_npz), "--n", "6", "--out", str(made))
    assert call("marsgen", "synthesize", *words) == 0
    text = (made / "README.md").read_text()
    assert front_of(made / "README.md")["tags"] == ["semantic-segmentation", "synthetic"]
    assert front_of(made / "README.md")["license"] == "unknown"
    assert "| big_rock | 4 | yes | 6 |" in text
    assert "Generator: copy-paste (mode region" in text
    # the same set in a table of another format still says what made it
    assert "Generator: copy-paste" in (export(made, "hf", tmp_path / "hub") / "README.md").read_text()
    assert call("marsgen", "import", str(made), "--out", str(tmp_path / "imported")) == 0
    assert front_of(tmp_path / "imported" / "README.md")["size_categories"] == ["n<1K"]
