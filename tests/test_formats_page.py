"""The commands of docs/formats.md, run as they stand there on small folders of the names that they use."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_flow import ROOT, call, commands_of

from marsgen.scenes.sources import open_scenes

SIZE = (48, 64)
QUICK = {
    "inspect": ["--set", "autoencoder_steps=0"],
    "train": [
        "--config",
        str(ROOT / "configs/tiny/segmenter.yaml"),
        "--set",
        "steps=2",
        "--set",
        "best_metric=mean_iou",
    ],
}


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def corners(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rasterio = pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images, entries = [], []
    for index in range(16):
        left, top = (int(value) for value in rng.integers(6, 24, 2))
        rare = index % 4 == 1
        box = corners(left, top, left + 10, top + 8) if rare else corners(left, top, left + 14, top + 12)
        pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        save(tmp_path / "labelme_folder" / f"p{index:02d}.png", pixels)
        shapes = [{"label": "crack" if rare else "hole", "points": box, "shape_type": "polygon"}]
        content = {"shapes": shapes, "imagePath": f"p{index:02d}.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (tmp_path / "labelme_folder" / f"p{index:02d}.json").write_text(json.dumps(content))
        save(tmp_path / "coco_folder" / f"p{index:02d}.png", pixels)
        images.append({"id": index, "file_name": f"p{index:02d}.png", "height": SIZE[0], "width": SIZE[1]})
        entries.append({"image_id": index, "category_id": index % 3, "segmentation": [np.ravel(box).tolist()]})
        mask = np.zeros(SIZE, np.uint8)
        mask[top : top + 12, left : left + 14] = 255
        stem = tmp_path / "tiles" / ("MT_Crack" if index % 2 else "MT_Free") / f"exp{index % 4}_num_{index // 4}"
        save(stem.with_suffix(".jpg"), pixels[..., 0])
        save(stem.with_suffix(".png"), mask * (index % 2))
    for part in ("train", "val"):
        frame = f"0016E5_{part}00001.png"
        save(tmp_path / "camvid_half" / part / frame, rng.integers(0, 256, (120, 160, 3), np.uint8))
        save(tmp_path / "camvid_half" / f"{part}annot" / frame, rng.integers(0, 12, (120, 160), np.uint8))
    names = [{"id": n, "name": name} for n, name in enumerate(("pit", "scratch", "hole"))]
    annotations = {"images": images, "categories": names, "annotations": entries}
    (tmp_path / "coco_folder" / "annotations.json").write_text(json.dumps(annotations))
    (tmp_path / "satellite.yaml").write_text("classes: [{name: land, id: 0}, {name: water, id: 1}]\nrare: water\n")
    for folder, bands, kind in (("images", 5, "uint16"), ("labels", 1, "uint8")):
        (tmp_path / "satellite" / folder).mkdir(parents=True)
        values = rng.integers(0, 2 if folder == "labels" else 4000, (bands, *SIZE)).astype(kind)
        shape = {"height": SIZE[0], "width": SIZE[1], "count": bands, "dtype": kind}
        transform = rasterio.Affine(1e-4, 0, 13, 0, -1e-4, 52)
        with rasterio.open(
            tmp_path / "satellite" / folder / "a.tif",
            "w",
            driver="GTiff",
            crs="EPSG:4326",
            transform=transform,
            **shape,
        ) as file:
            file.write(values)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_command_of_the_page_on_formats_runs(here: Path, capsys: pytest.CaptureFixture[str]):
    commands = commands_of(ROOT / "docs" / "formats.md")
    assert len(commands) == 18
    for command in commands:
        words = shlex.split(command)
        code = call(*words, *QUICK.get(words[1], []))
        printed = capsys.readouterr()
        assert code == 0, f"{command}\n{printed.out}\n{printed.err}"
        if "--dry-run" in words:
            assert not (here / "my_data").exists()
            assert "note: labelme_folder: pixels that no object covers are of class 'background'" in printed.err

    original, copy = open_scenes("labelme_folder"), open_scenes("my_data")
    assert (original.classes, copy.parts) == (copy.classes, None)
    for first, second in zip(original, copy, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.labels, second.labels)
    assert open_scenes("from_coco").classes.names == ("background", "hole")
    assert len(set(open_scenes("from_tiles").groups or ())) == 4
    assert open_scenes("from_rasters").channels == 3
    assert open_scenes("all_bands").channels == 5
    assert sorted(path.name for path in Path("labelled/labels").iterdir()) == [f"p{i:02d}.png" for i in range(16)]
    small = open_scenes("camvid_128")
    assert (small.parts, small.shape) == (("train", "test"), (96, 128))
    assert (here / "outputs" / "predictions-my_run-my_data").exists() or any((here / "outputs").glob("predictions-*"))


def test_an_import_keeps_the_split_that_was_shipped(here: Path, capsys: pytest.CaptureFixture[str]):
    for part, kept in (("train", range(10)), ("val", range(10, 16))):
        content = json.loads(Path("coco_folder/annotations.json").read_text())
        content["images"] = [image for image in content["images"] if image["id"] in kept]
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
        Path(f"coco_folder/{part}.json").write_text(json.dumps(content))
    Path("coco_folder/annotations.json").unlink()
    assert call("marsgen", "import", "coco_folder", "--out", "copy") == 0
    assert "the data set ships its split: 10 train, 6 val" in capsys.readouterr().err
    parts = open_scenes("copy").parts
    assert parts is not None
    assert (parts.count("train"), parts.count("val")) == (10, 6)
    before = {path: path.read_bytes() for path in Path("copy").rglob("*") if path.is_file()}
    assert call("marsgen", "import", "coco_folder", "--out", "copy") == 0  # finished: nothing changes
    assert {path: path.read_bytes() for path in Path("copy").rglob("*") if path.is_file()} == before
