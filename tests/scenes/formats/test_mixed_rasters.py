"""Wide rasters among ordinary pictures: a range is for the rasters, and no picture is changed by it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from test_flow import call

from marsgen.core.errors import DataError
from marsgen.scenes.files import rasters
from marsgen.scenes.sources import open_scenes

SIZE = (40, 48)
CLASSES = (
    "rare: [cell]\nclasses: [{name: back, id: 0, colour: [0, 0, 0]}, {name: cell, id: 1, colour: [250, 200, 0]}]\n"
)


def rgb(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(60, 250, (*SIZE, 3), np.uint8)


def cells(index: int) -> np.ndarray:
    return (np.random.default_rng(index).random(SIZE) < 0.2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two RGB pictures, one with transparency that hides nothing, and one grey TIFF of 16 bits."""
    pytest.importorskip("rasterio")
    folder = tmp_path / "smears"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(rgb(0)).save(folder / "images" / "a.png")
    Image.fromarray(np.dstack([rgb(1), np.full(SIZE, 255, np.uint8)])).save(folder / "images" / "b.png")
    Image.fromarray(rgb(2)[..., 0].astype(np.uint16) * 257).save(folder / "images" / "c.tif")
    for index, name in enumerate("abc"):
        Image.fromarray(cells(index)).save(folder / "labels" / f"{name}.png")
    (folder / "classes.yaml").write_text(CLASSES)
    return folder


WORDS = ("--set", "range=[0,65535]")


def test_a_range_changes_no_picture_of_eight_bits(folder: Path, tmp_path: Path, recwarn):
    rasters._rasterio.cache_clear()  # pytest has taken the filter away
    out = tmp_path / "copy"
    assert call("marsgen", "import", str(folder), "--out", str(out), *WORDS) == 0
    scenes = open_scenes(str(out))
    wide = rgb(2)[..., :1].repeat(3, 2)
    for index, wanted in enumerate((rgb(0), rgb(1), wide)):
        image, labels = scenes.read(index)
        assert (image == wanted).all()
        assert (labels == cells(index)).all()
    said = (out / "classes.yaml").read_text()
    assert "that is done to 1 rasters; 2 other pictures are read as they are" in said
    assert "rasters:" not in said  # pictures of two kinds: nothing to go by for new ones
    assert not recwarn.list  # such as that a raster lies nowhere on the ground


def test_a_damaged_picture_among_rasters_is_refused(folder: Path, tmp_path: Path, capsys):
    path = folder / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:2000])
    line = refused(capsys, "marsgen", "import", str(folder), "--out", str(tmp_path / "copy"), *WORDS)
    assert "b.png: damaged or cut short" in line


def test_wide_rasters_of_two_types_are_refused(folder: Path, tmp_path: Path, capsys):
    Image.fromarray(rgb(0)[..., 0].astype(np.float32)).save(folder / "images" / "d.tif")
    Image.fromarray(cells(3)).save(folder / "labels" / "d.png")
    line = refused(capsys, "marsgen", "import", str(folder), "--out", str(tmp_path / "copy"), *WORDS)
    assert "d.tif: float32 pixels, other rasters here have uint16, and one range cannot be right for both" in line


def test_label_maps_of_rasters_are_read_as_label_maps(folder: Path, tmp_path: Path, capsys):
    painted = np.array([(0, 0, 0), (250, 200, 0)], np.uint8)[cells(2)]
    Image.fromarray(painted).save(folder / "labels" / "c.png")
    out = tmp_path / "copy"
    assert call("marsgen", "import", str(folder), "--out", str(out), *WORDS) == 0
    assert (open_scenes(str(out)).read(2)[1] == cells(2)).all()
    Image.fromarray(cells(2)[:-1]).save(folder / "labels" / "c.png")
    line = refused(capsys, "marsgen", "import", str(folder), "--out", str(tmp_path / "again"), *WORDS)
    assert "c.png: 39 x 48 pixels beside c.tif of 40 x 48; expected the same size" in line


def test_rasters_without_classes_have_a_draft(folder: Path, monkeypatch, capsys):
    (folder / "classes.yaml").unlink()
    with pytest.raises(DataError, match="rasters without classes; .*`marsgen import .*smears --dry-run` drafts one"):
        open_scenes(str(folder))
    assert call("marsgen", "import", str(folder), "--dry-run") == 0
    assert "class_1" in capsys.readouterr().out
