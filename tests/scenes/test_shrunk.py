"""Smaller copies of scenes: area averages and nearest labels, counted by hand and held against Pillow."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from marsgen.cli import app
from marsgen.core.errors import DataError
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.readers.shrunk import shrink, smaller_size
from marsgen.scenes.sources import open_scenes, open_source


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=100) if path.suffix == ".jpg" else Image.fromarray(pixels).save(path)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two tiles of 80 x 160 px: a broad crack, and one of a single pixel that no coarse grid hits."""
    picture = np.full((80, 160), 90, np.uint8)
    broad, tiny = np.zeros((2, 80, 160), np.uint8)
    broad[20:60, 40:120], tiny[0, 0] = 255, 255
    for name, mask in (("a", broad), ("b", tiny)):
        save(tmp_path / "MT_Crack" / f"{name}.jpg", picture)
        save(tmp_path / "MT_Crack" / f"{name}.png", mask)
    save(tmp_path / "MT_Free" / "c.jpg", picture[:40, :50])
    save(tmp_path / "MT_Free" / "c.png", np.zeros((40, 50), np.uint8))
    return tmp_path


def test_a_pixel_is_the_mean_of_its_area_and_the_label_at_its_middle():
    image = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6, 1)
    labels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
    small, ids = shrink(image, labels, 3)  # 2 x 2 pixels become one
    assert small[..., 0].tolist() == [[4, 6, 8], [16, 18, 20]]  # the mean of 0, 1, 6, 7 is 3.5; numpy rounds to even
    assert ids.tolist() == [[7, 9, 11], [19, 21, 23]]


def test_a_pixel_on_the_border_of_two_areas_counts_in_both_by_its_share():
    line = np.array([[[0], [90], [240]]], np.uint8)
    small, ids = shrink(line, line[..., 0], 2)  # 1.5 pixels become one
    assert small[0, :, 0].tolist() == [30, 190]  # (0 + 90 / 2) / 1.5 and (90 / 2 + 240) / 1.5
    assert ids.tolist() == [[0, 240]]


def test_colours_and_ids_are_those_of_pillow_where_the_factor_is_whole():
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (96, 128, 3), np.uint8), rng.integers(0, 4, (96, 128), np.uint8)
    small, ids = shrink(image, labels, 32)
    box = np.asarray(Image.fromarray(image).resize((32, 24), Image.Resampling.BOX), np.int16)
    assert abs(small - box).max() <= 1  # of a mean at one half Pillow keeps the other neighbour
    assert np.array_equal(ids, np.asarray(Image.fromarray(labels).resize((32, 24), Image.Resampling.NEAREST)))


def test_nothing_is_enlarged_and_proportions_are_kept():
    assert [smaller_size(size, 128) for size in ((180, 240), (400, 100), (64, 128), (40, 50))] == [
        (96, 128),
        (128, 32),
        (64, 128),
        (40, 50),
    ]


def test_an_import_says_what_was_made_smaller_and_what_vanished(tiles: Path, tmp_path: Path):
    out = tmp_path / "small"
    done = CliRunner().invoke(app, ["import", str(tiles), "--longest-side", "80", "--out", str(out)])
    assert done.exit_code == 0, done.output
    scenes = open_scenes(str(out))
    assert [scene.labels.shape for scene in scenes] == [(40, 80), (40, 80), (40, 50)]
    assert [int((scene.labels == 1).sum()) for scene in scenes] == [20 * 40, 0, 0]
    note = (
        "2 of 3 scenes are made smaller (longest side 80 px): images by area averages, label maps by the nearest "
        "pixel; too small to be left in the label map: Crack in 1 scenes"
    )
    assert f"# {note}\n" in (out / "classes.yaml").read_text()
    assert yaml.safe_load((out / "config.yaml").read_text())["config"]["longest_side"] == 80


def test_a_scene_that_would_become_too_narrow_is_refused(tiles: Path):
    with pytest.raises(DataError, match=r"a of 80 x 160 pixels would become 20 x 40; at least 32 x 32 "):
        open_source(str(tiles), ReadingConfig(longest_side=40), None)


def test_the_fingerprint_tells_sizes_apart(tiles: Path):
    sides = [80, 100, None]
    assert len({open_source(str(tiles), ReadingConfig(longest_side=side), None).fingerprint() for side in sides}) == 3


def test_a_shipped_part_can_become_another(tmp_path: Path):
    rng = np.random.default_rng(1)
    for part, frames in (("train", 3), ("val", 2)):
        for n in range(frames):
            name = f"0016E5_{part}{n:05d}.png"
            save(tmp_path / part / name, rng.integers(0, 256, (40, 48, 3), np.uint8))
            save(tmp_path / f"{part}annot" / name, rng.integers(0, 11, (40, 48), np.uint8))
    classes = ReadingConfig(format="camvid", parts={"val": "test"})
    scenes = open_source(str(tmp_path), classes, None)
    assert sorted(scenes.parts or ()) == ["test", "test", "train", "train", "train"]
    with pytest.raises(DataError, match="parts names 'test', and the data set ships train, val; leave it out"):
        open_source(str(tmp_path), ReadingConfig(format="camvid", parts={"test": "val"}), None)
