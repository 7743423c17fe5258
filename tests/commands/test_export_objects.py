"""Label maps as objects and back: COCO holds every pixel, YOLO all but holes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_flow import call

from marsgen.commands.export.objects import outline, run_lengths
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.formats.objects import RunLengths, polygon_mask
from marsgen.scenes.readers.folder import write_classes, write_pair
from marsgen.scenes.sources import open_scenes

CLASSES = ClassSet(("background", "crack", "hole"), (0, 1, 2), ((9, 9, 9), (200, 0, 0), (0, 0, 200)), 255, ("hole",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pairs with regions of every shape, none with a hole."""
    for index in range(3):
        rng = np.random.default_rng(index)
        labels = np.zeros((40, 60), np.uint8)
        labels[5:20, 8:30] = 1
        labels[10:13, 8:20] = 0
        labels[25:35, 40:55] = 2
        labels[35, 55] = 2  # touches at a corner
        labels[38:, 2:9] = 1
        write_pair(tmp_path / "pairs", f"p{index}", rng.integers(0, 256, (40, 60, 3), np.uint8), labels, CLASSES)
    write_classes(tmp_path / "pairs", CLASSES)
    return tmp_path / "pairs"


@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_what_is_exported_is_imported_again_to_the_pixel(folder: Path, to: str, tmp_path: Path, capsys):
    out = tmp_path / to
    assert call("marsgen", "export", str(folder), "--to", to, "--out", str(out)) == 0
    assert "pairs 3   objects 9   unlabelled_pixels 0" in capsys.readouterr().out
    (out / "classes.yaml").unlink()  # as another tool's folder would be
    back, there = open_scenes(str(out)), open_scenes(str(folder))
    assert back.classes.names == there.classes.names
    for scene, wanted in zip(back, there, strict=True):
        np.testing.assert_array_equal(scene.image, wanted.image)
        np.testing.assert_array_equal(scene.labels, wanted.labels)


def test_coco_reads_what_is_exported(folder: Path, tmp_path: Path):
    mask_api = pytest.importorskip("pycocotools.mask")
    assert call("marsgen", "export", str(folder), "--to", "coco", "--out", str(tmp_path / "coco")) == 0
    content = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    wanted = open_scenes(str(folder))[0].labels
    labels = np.zeros_like(wanted)
    for entry in content["annotations"]:
        if entry["image_id"] == 0:
            rle = mask_api.frPyObjects(entry["segmentation"], 40, 60)
            labels[mask_api.decode(rle).astype(bool)] = entry["category_id"]
            assert entry["area"] == mask_api.area(rle)
            np.testing.assert_array_equal(mask_api.toBbox(rle), entry["bbox"])
    np.testing.assert_array_equal(labels, wanted)


@given(st.integers(0, 2**20))
def test_run_lengths_and_outlines_go_back_and_forth(seed: int):
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import label

    rng = np.random.default_rng(seed)
    mask = rng.random((9, 12)) < 0.6
    np.testing.assert_array_equal(RunLengths(tuple(run_lengths(mask)), mask.shape).mask(mask.shape), mask)
    regions = label(mask, connectivity=2)
    region = regions == rng.integers(1, regions.max() + 1) if regions.max() else None
    if region is not None:
        points, filled = outline(region)
        solid = binary_fill_holes(region)
        np.testing.assert_array_equal(polygon_mask(points, mask.shape), solid)
        assert filled == (solid & ~region).sum()
