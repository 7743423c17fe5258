"""The whole path on pictures of five bands of 16 bits: imported from GeoTIFF, and never reduced to RGB."""

import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from test_flow import call

import marsgen as mg
import segmenter as sg
from marsgen.core.errors import DataError
from marsgen.scenes.classes import read_classes
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.files.rasters import probe_raster, read_raster
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.sources import open_pictures, open_scenes

rasterio = pytest.importorskip("rasterio")
SIZE = (40, 48)
CLASSES = """
rare: water
bands: [4, 3, 2]
classes: [{name: land, id: 0, colour: [120, 90, 40]}, {name: water, id: 1, colour: [0, 60, 200]}]
"""
SMALL = {"steps": 2, "batch_size": 2, "validate_every": 2, "unet": {"width": 4}}


def write(path: Path, bands: np.ndarray, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype.name}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **more) as file:
        file.write(bands)


@pytest.fixture(scope="module")
def satellite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 scenes; water is dark in the fifth band only; two rows of each hold no data."""
    folder = tmp_path_factory.mktemp("satellite")
    rng = np.random.default_rng(0)
    for index in range(12):
        labels = np.zeros(SIZE, np.uint8)
        bands = rng.integers(1000, 3000, (5, *SIZE)).astype(np.uint16)
        if index % 2:
            row, column = rng.integers(6, 24, 2)
            labels[row : row + 10, column : column + 12] = 1
            bands[4][labels == 1] //= 8
        bands[:, :2] = 65535
        write(folder / "images" / f"s{index:02d}.tif", bands, nodata=65535)
        write(folder / "labels" / f"s{index:02d}.tif", labels[None])
    (folder / "classes.yaml").write_text(CLASSES)
    return folder


@pytest.fixture(scope="module")
def imported(satellite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "my_data"
    words = ("marsgen", "import", str(satellite), "--format", "geotiff", "--out", str(out))
    assert call(*words) == 2  # 16 bits without a range
    assert not out.exists()
    assert call(*words, "--set", "range=[0,4000]") == 0
    return out


def test_an_import_keeps_every_band(imported: Path, satellite: Path):
    scenes = open_scenes(str(imported))
    assert (scenes.channels, scenes.classes.bands, len(scenes)) == (5, (4, 3, 2), 12)
    with rasterio.open(satellite / "images" / "s01.tif") as file:
        values = file.read().astype(float)
    wanted = np.rint(values / 4000 * 255)
    wanted[:, :2] = 0
    np.testing.assert_array_equal(scenes[1].image, wanted.transpose(1, 2, 0).astype(np.uint8))
    assert (scenes[1].labels[:2] == 255).all()
    assert (scenes[1].labels[2:] != 255).all()


@pytest.mark.slow
def test_the_whole_path(imported: Path, satellite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("marsgen", "inspect", "--data", str(imported), "--set", "autoencoder_steps=0", "--out", "seen") == 0
    assert "12 scenes, 40 x 48 pixels, 5 bands" in capsys.readouterr().out
    data = mg.from_folder(imported, val_fraction=0.25)
    made = mg.synthesize(data, "copy-paste", n=4, out="synth")
    assert (len(made), made.channels, made.classes.bands) == (4, 5, (4, 3, 2))
    pasted = made[0].labels == 1
    assert made[0].image[pasted][:, 4].mean() < 100 < made[0].image[pasted][:, 3].mean()
    for kind, small in (
        ("pix2pix", {"crop_px": 32, "generator_width": 8, "discriminator": "patch", "discriminator_width": 8}),
        ("diffusion", {"crop_px": 32, "widths": (8, 8), "blocks": 1}),
    ):
        generator = mg.train_generator(data, kind=kind, steps=2, batch_size=2, out=kind, **small)
        drawn = mg.synthesize(data, generator, n=2, out=f"drawn-{kind}")
        assert drawn[1].image.shape == (*SIZE, 5)
    assert call("marsgen", "preview", "diffusion", "--set", "rows=2", "--set", "variants=2", "--out", "sheets") == 0
    assert np.asarray(Image.open("sheets/scenes.png")).shape[2] == 3

    run = sg.train(data, extra=[made], out="run", **SMALL)
    assert sg.evaluate(run, data, part="val").record["images"] == 3
    picture = str(satellite / "images" / "s01.tif")
    words = ("segmenter", "predict", "run", picture, "--set", "range=[0,4000]", "--overlay", "--out", "labelled")
    assert call(*words) == 0
    with rasterio.open("labelled/labels/s01.tif") as file:
        labels = file.read(1)
        assert file.crs.to_epsg() == 32633
    wanted = sg.predict(run, data.scenes[1].image)
    np.testing.assert_array_equal(labels[2:], wanted[2:])
    assert (labels[:2] == 255).all()
    remembered = ("segmenter", "predict", "run", picture, "--overlay", "--out", "remembered")
    assert call(*remembered) == 0  # the run knows how its pictures were read
    assert content_of("remembered/labels") == content_of("labelled/labels")
    np.testing.assert_array_equal(sg.predict(run, picture)[2:], wanted[2:])
    assert call("segmenter", "predict", "run", "--data", str(satellite), "--out", "whole") == 0
    assert content_of("whole/labels")["s01.tif"] == content_of("labelled/labels")["s01.tif"]
    overlay = np.asarray(Image.open("labelled/overlay/s01.png"))
    np.testing.assert_array_equal(overlay[0], data.scenes[1].image[0][:, [3, 2, 1]])  # no label: the picture itself


def content_of(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_how_rasters_were_read_is_remembered(imported: Path, satellite: Path, tmp_path: Path, capsys):
    wanted = RasterSource("uint16", 5, (1, 2, 3, 4, 5), 0, 4000)
    classes = read_classes(imported / "classes.yaml")
    assert classes.rasters == wanted
    assert mg.synthesize(mg.from_folder(imported), "copy-paste", n=1, out=tmp_path / "set").classes.rasters == wanted
    # a folder of rasters whose classes.yaml says it is opened as it is
    shutil.copytree(satellite, tmp_path / "raw")
    text = yaml.safe_dump({"rasters": {"type": "uint16", "of": 5, "bands": [4, 3, 2], "range": [0, 4000]}})
    (tmp_path / "raw" / "classes.yaml").write_text(CLASSES + text)
    raw, whole = open_scenes(str(tmp_path / "raw")), open_scenes(str(imported))
    np.testing.assert_array_equal(raw[1].image, whole[1].image[..., [3, 2, 1]])
    # rasters of another kind are not read as these
    values = np.zeros((5, *SIZE), np.uint8)
    for name, bands, words in (
        ("bytes", values, "uint8 pixels; the training pictures were bands 1, 2, 3, 4, 5 of 5, uint16, 0 to 4000 as"),
        ("six", values[[0, *range(5)]].astype(np.uint16), "6 bands; the training pictures were bands 1, 2, 3, 4, 5 of"),
    ):
        write(tmp_path / f"{name}.tif", bands)
        with pytest.raises(DataError, match=re.escape(words)):
            open_pictures([tmp_path / f"{name}.tif"], classes)
    chosen = open_pictures([tmp_path / "bytes.tif"], classes, reading=ReadingConfig(range=[0, 255]))
    assert chosen.channels == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "uint16"},
        {"type": "object", "of": 5, "bands": [1], "range": [0, 1]},
        {"type": "uint16", "of": 5, "bands": [6], "range": [0, 1]},
        {"type": "uint16", "of": 5, "bands": [1, 2], "range": [0, 1]},
        {"type": "uint16", "of": 5, "bands": "123", "range": [0, 1]},
        {"type": "uint16", "of": 5, "bands": [1], "range": [1, 0]},
        {"type": "uint16", "of": 5, "bands": [1], "range": [0, ".inf"]},
        [4, 3, 2],
    ],
)
def test_nonsense_about_rasters_is_refused(tmp_path: Path, wrong: object):
    (tmp_path / "classes.yaml").write_text(CLASSES + yaml.safe_dump({"rasters": wrong}))
    with pytest.raises(DataError, match=r"classes\.yaml: rasters is .*; expected something like \{type: uint16"):
        read_classes(tmp_path / "classes.yaml")


def test_what_has_no_place_for_bands_is_refused(imported: Path, tmp_path: Path, capsys):
    for target in ("coco", "yolo", "parquet", "hf"):
        assert call("marsgen", "export", str(imported), "--to", target, "--out", str(tmp_path / target)) == 2
        assert f"--to {target}: pictures of 5 bands; it takes grey and RGB" in capsys.readouterr().err
        assert not (tmp_path / target).exists()
    assert call("marsgen", "export", str(imported), "--to", "png", "--out", str(tmp_path / "png")) == 0
    np.testing.assert_array_equal(open_scenes(str(tmp_path / "png"))[1].image, open_scenes(str(imported))[1].image)


def test_a_band_file_that_is_none_is_refused(imported: Path, tmp_path: Path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "labels" / "a.png")
    (tmp_path / "classes.yaml").write_text(CLASSES)
    path = tmp_path / "images" / "a.npy"
    for content, words in (
        (np.zeros((*SIZE, 5), np.uint16), r"uint16 of shape \(40, 48, 5\); uint8 of shape"),
        (np.zeros((*SIZE, 2), np.uint8), "2 bands; expected 1, 3 or 4 to 16"),
    ):
        np.save(path, content)
        with pytest.raises(DataError, match=words):
            open_scenes(str(tmp_path))
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"a\.npy: .*no numpy header"):
        open_scenes(str(tmp_path))


@pytest.mark.parametrize("parts", [False, True])
def test_rasters_beside_a_classes_file_are_read_as_rasters(tmp_path: Path, capsys, parts: bool):
    """A folder of 16 bits with the classes.yaml that the page describes asks for the range, then opens; splits hold."""
    rng = np.random.default_rng(0)
    for index, part in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        place = tmp_path / "own" / (part if parts else "")
        bands = rng.integers(0, 4000, (4, *SIZE)).astype(np.uint16)
        bands[:, :2] = 0
        write(place / "images" / f"s{index}.tif", bands, nodata=0)
        Image.fromarray(rng.integers(0, 2, SIZE, dtype=np.uint8)).save(make(place / "labels") / f"s{index}.png")
    text = CLASSES.replace("[4, 3, 2]", "[3, 2, 1]")
    if parts:
        lines = (f"  {part}: {{images: {part}/images, labels: {part}/labels}}\n" for part in ("train", "val", "test"))
        text += "splits:\n" + "".join(lines)
    (tmp_path / "own" / "classes.yaml").write_text(text)
    asked = r"uint16 pixels \(\d+ to \d+ here\); say what becomes 0 and 255: marsgen import SOURCE"
    with pytest.raises(DataError, match=asked):
        open_scenes(str(tmp_path / "own"))
    copy = tmp_path / "copy"
    assert call("marsgen", "import", str(tmp_path / "own"), "--set", "range=[0,4000]", "--out", str(copy)) == 0
    scenes = open_scenes(str(copy))
    assert (len(scenes), scenes.channels, scenes.shape) == (10, 4, SIZE)
    assert all((scene.labels[:2] == 255).all() and (scene.labels[2:] < 2).all() for scene in scenes)
    assert scenes.parts == (("train",) * 6 + ("val",) * 2 + ("test",) * 2 if parts else None)
    capsys.readouterr()


def test_which_bands_are_shown_is_said(tmp_path: Path):
    write(tmp_path / "images" / "a.tif", np.full((4, *SIZE), 9, np.uint8), photometric="MINISBLACK", alpha="NO")
    write(tmp_path / "labels" / "a.tif", np.zeros((1, *SIZE), np.uint8))
    for text, said in ((CLASSES, False), (CLASSES.replace("bands: [4, 3, 2]", ""), True)):
        (tmp_path / "classes.yaml").write_text(text)
        assert any("are shown as red" in note for note in open_scenes(str(tmp_path)).notes) == said


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "float32", "uint32"])
def test_values_of_every_type_become_bytes_alike(tmp_path: Path, kind: str):
    rng = np.random.default_rng(1)
    values = (rng.normal(60, 60, (1, *SIZE)).clip(-100 if kind[0] != "u" else 0, 120)).astype(kind)
    write(tmp_path / "a.tif", values)
    header = probe_raster(tmp_path / "a.tif", value_range=(-50.5, 99.0))
    wanted = np.rint(np.clip((values[0].astype(np.float64) + 50.5) / 149.5, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif", header)[..., 0], wanted)


def test_a_large_raster_is_not_held_in_floats(tmp_path: Path):
    """Four bands of 1200 x 1000: 4.8 million values, 38 MB in float64 and once more for every step of scaling."""
    write(tmp_path / "a.tif", np.full((4, 1200, 1000), 900, np.uint16))
    header = probe_raster(tmp_path / "a.tif", value_range=(0, 4000))
    tracemalloc.start()
    image = read_raster(tmp_path / "a.tif", header)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * image.nbytes
