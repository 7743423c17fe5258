"""The tab Compare: what is read of `segmenter predict`, what is counted, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_predictions import paint_predictions
from PIL import Image

import segmenter as sg
from marsgen.commands.comparison import open_comparison, write_comparison
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.storage.seen import SPLIT_FILE
from marsgen.scenes.scene import scene_key
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes

MARS = mars_classes()
ROCK = MARS.index("big_rock")


def perfect(number: int, truth: np.ndarray) -> np.ndarray:
    """The label map, soil where there is none."""
    return np.where(truth == 255, 0, truth).astype(np.uint8)


def blind(number: int, truth: np.ndarray) -> np.ndarray:
    """The same, but every big rock is missed."""
    return np.where(perfect(number, truth) == ROCK, 0, perfect(number, truth)).astype(np.uint8)


def written(data: Path, *folders: Path, test: str | None = None) -> dict[str, Any]:
    comparison = open_comparison(folders, test, MARS)
    assert comparison is not None
    write_comparison(data, comparison, MARS, 256)
    return json.loads((data / "compare.json").read_text(encoding="utf-8"))


def test_scores_are_those_of_segmenter_evaluate(tiny_npz, tiny_test_npz, tmp_path):
    run = sg.train(str(tiny_npz), out=tmp_path / "run", steps=3, batch_size=4, unet={"width": 4}, precision="fp32")
    predicted = sg.predict_data(run, str(tiny_test_npz), out=tmp_path / "predicted").folder
    best = paint_predictions(tmp_path / "best", str(tiny_test_npz), perfect)
    found = written(tmp_path / "data", predicted, best)
    record = sg.evaluate(run, str(tiny_test_npz)).record
    assert [one["name"] for one in found["runs"]] == ["run", "absent"]
    scores = [score["iou"] for score in record["per_class"]]
    np.testing.assert_allclose(np.array(found["runs"][0]["iou"], float), np.array(scores, float))
    assert found["runs"][0]["mean"] == pytest.approx(record["mean_iou"])
    assert found["runs"][1]["mean"] == 1
    assert (found["left_out"], found["unknown"]) == (0, ["absent"])  # the test set is not what was trained on


def test_pictures_are_counted_one_by_one_and_lie_on_sheets(tiny_test_npz, tmp_path):
    other = replace(MARS, ids=tuple(reversed(MARS.ids)), rare=())._reordered([3, 1, 0, 2])  # same names, other numbers
    a = paint_predictions(tmp_path / "a", str(tiny_test_npz), blind, run="runs/a")
    b = paint_predictions(tmp_path / "b", str(tiny_test_npz), perfect, run="runs/b", classes=other)
    found = written(tmp_path / "data", a, b)
    scenes = open_scenes(str(tiny_test_npz))
    rocks = 0
    for number, (picture, scene) in enumerate(zip(found["pictures"], scenes, strict=True)):
        truth = scene.indices
        px = [int((truth == c).sum()) for c in range(len(MARS))]
        assert (picture["name"], picture["truth"], picture["right"][1]) == (scene.name, px, px)
        assert (picture["right"][0][ROCK], picture["called"][0][ROCK]) == (0, 0)
        rocks += px[ROCK]
        row, column = divmod(number, found["columns"])
        cell = (slice(row * 64, (row + 1) * 64), slice(column * 128, (column + 1) * 128))
        for kind, wanted in (("labels", truth), ("run0", blind(0, truth)), ("run1", perfect(0, truth))):
            sheet = np.asarray(Image.open(tmp_path / "data" / f"compare-{kind}-000.png"))
            np.testing.assert_array_equal(sheet[cell], wanted)
        photo = np.asarray(Image.open(tmp_path / "data" / "compare-pictures-000.jpg").convert("L"))[cell]
        assert np.abs(photo.astype(float) - scene.image[..., 0]).mean() < 5
    assert rocks > 100
    assert found["runs"][0]["iou"][ROCK] == 0
    assert found["runs"][1]["iou"] == [1, 1, 1, 1]
    assert found["cell"] == [64, 128]


def test_scenes_that_a_network_has_seen_are_left_out(tiny_test_npz, tmp_path):
    keys = [scene_key(scene.image) for scene in open_scenes(str(tiny_test_npz))]
    run = tmp_path / "run"
    run.mkdir()
    empty: dict[str, Any] = {"train": [], "val": [], "test": [], "extra": [], "pictures": {}}
    folders = [paint_predictions(tmp_path / n, str(tiny_test_npz), perfect, run=str(run)) for n in ("a", "b")]
    seen = {"train": keys[:3], "val": keys[3:4], "extra": keys[4:6], "test": keys[6:9]}
    (run / SPLIT_FILE).write_text(json.dumps(empty | seen))
    found = written(tmp_path / "data", *folders)
    assert [picture["name"] for picture in found["pictures"]] == list(open_scenes(str(tiny_test_npz)).names[6:])
    assert (found["left_out"], found["unknown"]) == (6, [])
    assert [one["name"] for one in found["runs"]] == [str(folder) for folder in folders]  # two of one run
    (run / SPLIT_FILE).write_text(json.dumps(empty | {"train": keys}))
    with pytest.raises(
        DataError, match=r"were trained on all of its 24 scenes, or chosen by them; predict scenes that"
    ):
        open_comparison(folders, None, MARS)


def test_what_does_not_belong_together_is_refused(tiny_test_npz, tmp_path):
    place = str(tiny_test_npz)
    a, b = (paint_predictions(tmp_path / name, place, perfect) for name in ("a", "b"))
    with pytest.raises(ConfigError, match=r"--compare .*a alone; give --compare for each of two or more"):
        open_comparison([a], None, MARS)
    with pytest.raises(ConfigError, match="--test names labelled scenes for --compare, which is not given"):
        open_comparison([], place, MARS)
    with pytest.raises(RunError, match="no run folder here"):
        open_comparison([a, tmp_path / "absent"], None, MARS)
    others = paint_predictions(tmp_path / "others", "sim:4", perfect)
    with pytest.raises(RunError, match=r"--compare .*others is for other pictures than .*a; predict the same data"):
        open_comparison([a, others], None, MARS)
    with pytest.raises(
        DataError, match=r"sim:24: not the pictures that .*a is for, .* with `segmenter predict RUN --data`"
    ):
        open_comparison([a, b], "sim:24", MARS)
    with pytest.raises(DataError, match=r"has the classes soil, .*; the generator's are soil, bedrock, sand, stone"):
        open_comparison([a, b], None, replace(MARS, names=("soil", "bedrock", "sand", "stone"), rare=()))
    (b / "labels" / f"{open_scenes(place).names[5]}.png").unlink()
    with pytest.raises(
        DataError, match=r"--compare .*b: no prediction for .*5.* is missing\); predict these data again"
    ):
        open_comparison([a, b], None, MARS)
    shutil.rmtree(b / "labels")
    with pytest.raises(RunError, match=r"no labels/ there, the predictions are a csv; predict with --set format=png"):
        open_comparison([a, b], None, MARS)


def test_a_label_map_of_another_size_is_refused(tiny_test_npz, tmp_path):
    a, b = (paint_predictions(tmp_path / name, str(tiny_test_npz), perfect) for name in ("a", "b"))
    path = b / "labels" / f"{open_scenes(str(tiny_test_npz)).names[2]}.png"
    Image.open(path).crop((0, 0, 64, 64)).save(path)
    comparison = open_comparison([a, b], None, MARS)
    assert comparison is not None
    with pytest.raises(DataError, match=r"64 x 64 pixels; the label map of .* has 64 x 128; predict these data again"):
        write_comparison(tmp_path / "data", comparison, MARS, 64)
    assert not (tmp_path / "data" / "compare.json").exists()
