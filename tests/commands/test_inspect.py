"""marsgen inspect on simulated data: lines, json and page say what is there."""

import json
import re

import numpy as np
import pytest
from closed_pages import check_closed

from marsgen.commands.inspect import InspectConfig, inspect_dataset
from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import DataError, RunError

QUICK = InspectConfig(autoencoder_steps=4, pictures=4)


@pytest.fixture(scope="module")
def inspected(tiny_npz, tiny_test_npz, tmp_path_factory):
    """The tiny data set against a set of 24 other scenes, of which one is its own scene 5."""
    folder = tmp_path_factory.mktemp("inspect")
    content = dict(np.load(tiny_test_npz))
    content["images"][3] = np.load(tiny_npz)["training_set"][5, 0]
    np.savez(folder / "other.npz", **content)
    result = inspect_dataset(str(tiny_npz), QUICK, None, folder / "out", against=str(folder / "other.npz"))
    return result, folder / "out"


def test_the_table_agrees_with_plain_counting(inspected, tiny_npz):
    labels = np.load(tiny_npz)["training_set"][:, 1]
    contents = [content.tobytes() for content in labels]
    nonsense = max(contents, key=contents.count)
    good = np.array([label for label, content in zip(labels, contents, strict=True) if content != nonsense])
    numbers = inspected[0].numbers
    by_name = {row["name"]: row for row in numbers["classes"]}
    assert by_name["big_rock"]["pixels"] == (good == 4).sum()
    assert by_name["big_rock"]["scenes"] == (good == 4).any((1, 2)).sum()
    assert by_name["no label"]["pixel_fraction"] == pytest.approx((good == 0).mean())
    assert len(numbers["suspects"]) == contents.count(nonsense)
    row = next(line for line in inspected[0].lines if line.startswith("big_rock"))
    assert re.split(r"\s{2,}", row)[2] == str(by_name["big_rock"]["scenes"])


def test_the_lines_name_suspects_autoencoder_duplicates_and_split(inspected):
    text = "\n".join(inspected[0].lines)
    suspects = len(inspected[0].numbers["suspects"])
    assert re.search(rf"suspects: {suspects} scenes: a label map of \d+ corners on {suspects} scenes", text)
    assert re.search(rf"autoencoder: .*precision \S+, recall [01]\.\d\d against the {suspects} suspects", text)
    assert "duplicates: 0 exact and 0 near, in 0 clusters; 0 exact and 0 near across parts" in text
    assert re.search(r"against .*other\.npz: 1 exact and 0 near in both", text)
    assert re.search(rf"split: 48 scenes: {suspects} left out", text)


def test_the_copy_in_the_other_set_is_named(inspected):
    assert inspected[0].numbers["against"]["duplicates"] == [
        {"first": "training_set[0005]", "second": "images[0003]", "similarity": 1.0, "exact": True}
    ]


def test_json_on_disk_is_what_was_returned(inspected):
    result, out = inspected
    on_disk = json.loads((out / "inspect.json").read_text())
    assert on_disk["suspects"] == result.numbers["suspects"]
    assert on_disk["config"]["autoencoder_steps"] == 4
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "DONE",
        "config.yaml",
        "environment.json",
        "inspect.html",
        "inspect.json",
    ]


def test_the_page_needs_nothing_from_outside(inspected):
    page = (inspected[1] / "inspect.html").read_text()
    assert not re.search(r"<script|<link|https?://|url\(|@import", page)
    sources = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert len(sources) >= 4 * 2 + 4 * 2 + 4 + 1 + 4 + 2  # samples, rocks, suspects and their map, worst, overlap
    for heading in (
        "Classes",
        "Scenes",
        "Rare: big_rock",
        "repeated label maps",
        "autoencoder",
        "Duplicates",
        "Also in",
    ):
        assert heading in page
    settings = re.findall(r"<code>paste\.(.*?)</code>", page)
    line = next(line for line in inspected[0].lines if line.startswith("paste settings that suit"))
    assert settings == re.split(r", (?=\w+=)", line.split(": ", 1)[1])  # both as `--set` reads them
    assert not re.search(r"\bground\b", re.sub(r'<pre>.*?</pre>|<style>.*?</style>|src="[^"]*"', "", page, flags=re.S))


def test_the_same_inspection_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        inspect_dataset("sim:12,rocks=0.5", QUICK, None, tmp_path / name)
    for file in ("inspect.html", "inspect.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_names_from_outside_are_escaped(tiny_npz, tmp_path):
    path = tmp_path / "<b>&'rocks'.npz"
    path.write_bytes(tiny_npz.read_bytes())
    inspect_dataset(str(path), QUICK.model_copy(update={"autoencoder_steps": 0}), None, tmp_path / "out")
    page = (tmp_path / "out" / "inspect.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_without_the_autoencoder_nothing_is_said_of_it(tmp_path):
    result = inspect_dataset("sim:8,outliers=0", InspectConfig(autoencoder_steps=0), None, tmp_path)
    assert not any("autoencoder" in line for line in result.lines)
    assert result.numbers["autoencoder"] is None
    assert "suspects: none (no label map occurs more often than chance explains)" in result.lines
    assert "What an autoencoder" not in (tmp_path / "inspect.html").read_text()


def test_the_rare_class_is_profiled_from_the_train_part(inspected):
    result = inspected[0]
    profile = result.numbers["profiles"]["big_rock"]
    assert any(line.startswith(f"profile of big_rock: {profile['regions']} regions in ") for line in result.lines)
    assert any(line.startswith("paste settings that suit big_rock: min_region_px=") for line in result.lines)
    assert profile["scenes"] == result.numbers["split"]["train"]
    assert profile["holders"] <= profile["scenes"]
    assert set(result.numbers["paste_settings"]["big_rock"]["feather_px"]) == {"value", "reason"}


def test_data_that_cannot_be_split_are_inspected_all_the_same(tmp_path):
    result = inspect_dataset("sim:1", InspectConfig(autoencoder_steps=2), None, tmp_path)
    assert result.lines[-1].startswith("split: sim:1: 1 scenes to split")
    assert (tmp_path / "inspect.html").exists()


def test_large_rgb_scenes_and_labels_of_one_kind(tmp_path):
    inspect_dataset("sim:3,size=200x600,channels=3,rocks=0", InspectConfig(autoencoder_steps=0), None, tmp_path)
    assert (tmp_path / "inspect.html").stat().st_size < 3_000_000


def test_against_a_set_without_labels(tiny_npz, tmp_path):
    pairs = np.load(tiny_npz)["training_set"]
    np.savez(tmp_path / "unlabelled.npz", test_set=pairs[:3, 0])
    config = InspectConfig(autoencoder_steps=0)
    result = inspect_dataset(str(tiny_npz), config, None, tmp_path / "out", against=str(tmp_path / "unlabelled.npz"))
    assert [pair["second"] for pair in result.numbers["against"]["duplicates"]] == [
        f"test_set[000{i}]" for i in range(3)
    ]


def test_bad_input_leaves_nothing_behind(tiny_npz, tmp_path):
    with pytest.raises(DataError, match=r"absent\.npz: no such file"):
        inspect_dataset(str(tiny_npz), QUICK, None, tmp_path / "out", against="absent.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file is a file; --out names a folder"):
        inspect_dataset(str(tiny_npz), QUICK, None, tmp_path / "file")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cat.png").write_text("")
    with pytest.raises(RunError, match="not empty and is no run folder; choose another --out"):
        inspect_dataset(str(tiny_npz), QUICK, None, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cat.png", "file", "run"]


def test_the_shipped_yaml_files_are_the_defaults_and_a_small_copy():
    assert load_config(InspectConfig, configs_folder() / "tiny" / "inspect.yaml").autoencoder_steps < 100


def test_the_page_is_closed(inspected):
    check_closed((inspected[1] / "inspect.html").read_text())
