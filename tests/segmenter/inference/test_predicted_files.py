"""`segmenter predict` on files, folders and lists: sizes, probabilities, overlays, georeference."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_flow import call

import segmenter as sg
from marsgen.core.errors import DataError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.sources import open_pictures
from marsgen.scenes.stated import mars_classes
from segmenter.config import TrainConfig, UNetConfig
from segmenter.inference.predicted_files import draw_overlay, outlines
from segmenter.training.train import train

CLASSES = ClassSet(("a", "b"), (3, 7), ((200, 0, 0), (0, 0, 100)), 255)


@pytest.fixture(scope="module")
def trained(simulated, make_dataset, tmp_path_factory) -> Path:
    """A run on grey pictures, of a few steps."""
    config = TrainConfig(unet=UNetConfig(width=4), steps=8, batch_size=4, lr=1e-2, precision="fp32")
    run = Run.start(tmp_path_factory.mktemp("runs") / "run", "segmenter train", config, {})
    train(config, run, make_dataset(simulated(7), range(5), (5, 6)))
    return run.folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three grey pictures of odd sizes, one smaller than what networks take, without any classes.yaml."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, size in (("big.png", (70, 91)), ("small.png", (9, 21)), ("wide.jpg", (40, 130))):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("taken on Monday")
    return tmp_path / "photos"


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_one_file_a_list_and_a_folder_give_the_same_labels(trained, photos, tmp_path, capsys):
    big, small = photos / "big.png", photos / "small.png"
    for words, out in (([photos], "folder"), ([big, small], "list"), ([big], "file")):
        assert call("segmenter", "predict", str(trained), *map(str, words), "--out", str(tmp_path / out)) == 0
    assert "1 other files are left aside" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "folder" / "labels").iterdir()) == [
        "big.png",
        "small.png",
        "wide.png",
    ]
    assert sorted(path.name for path in (tmp_path / "list" / "labels").iterdir()) == ["big.png", "small.png"]
    wanted = sg.predict(trained, big)
    assert (wanted.shape, sg.predict(trained, small).shape) == ((70, 91), (9, 21))
    for out in ("folder", "list", "file"):
        np.testing.assert_array_equal(read(tmp_path / out / "labels" / "big.png"), wanted)
    np.testing.assert_array_equal(sg.predict(trained, [big, small])[0], wanted)
    np.testing.assert_array_equal(sg.predict(trained, read(big)), wanted)


def test_probabilities_and_overlays_belong_to_the_labels(trained, photos, tmp_path):
    out = tmp_path / "out"
    assert call("segmenter", "predict", str(trained), str(photos), "--probs", "--overlay", "--out", str(out)) == 0
    labels = read(out / "labels" / "wide.png")
    with np.load(out / "probs" / "wide.npz", allow_pickle=False) as packed:
        probs, names = packed["probs"], packed["classes"]
    assert names.tolist() == ["soil", "bedrock", "sand", "big_rock"]
    assert (probs.shape, probs.dtype) == ((4, 40, 130), np.float16)
    np.testing.assert_allclose(probs.astype(float).sum(0), 1, atol=3e-3)
    np.testing.assert_allclose(probs, sg.predict(trained, photos / "wide.jpg", probs=True), atol=1e-3)
    # ids 1..4 are the indices 0..3 here; float16 may turn a near tie
    assert (probs.argmax(0) + 1 == labels).mean() > 0.99
    assert read(out / "overlay" / "wide.png").shape == (40, 130, 3)


def test_an_overlay_by_hand():
    image = np.full((3, 4, 1), 100, np.uint8)
    labels = np.array([[3, 3, 3, 7], [3, 3, 3, 7], [3, 3, 3, 255]], np.uint8)
    edge = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(outlines(labels), np.array(edge, bool))
    drawn = draw_overlay(image, labels, CLASSES)
    assert drawn[0, 0].tolist() == [140, 60, 60]  # 60 % of 100 and 40 % of the colour
    assert drawn[0, 2].tolist() == [200, 0, 0]
    assert drawn[0, 3].tolist() == [0, 0, 100]
    assert drawn[2, 3].tolist() == [100, 100, 100]  # no label


def test_a_geotiff_gives_a_geotiff_where_it_lies(trained, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(0).integers(0, 4000, (2, 45, 60)).astype(np.uint16)
    values[:, :5] = 9999
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    path, out = tmp_path / "field.tif", tmp_path / "out"
    shape = {"height": 45, "width": 60, "count": 2, "dtype": "uint16", "nodata": 9999}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values)
    words = ("segmenter", "predict", str(trained), str(path), "--out", str(out))
    assert call(*words) == 2  # two bands, 16 bits: to be chosen
    assert not out.exists()
    chosen = ("--set", "bands=[2]", "--set", "range=[0,4000]", "--probs", "--overlay")
    assert call(*words, *chosen) == 0
    grey = np.rint(values[1].clip(0, 4000) / 4000 * 255).astype(np.uint8)
    grey[:5] = 0
    wanted = sg.predict(trained, grey)
    wanted[:5] = 0  # the ignored id of the Mars classes
    with rasterio.open(out / "labels" / "field.tif") as file:
        assert (file.crs.to_epsg(), file.transform) == (32633, place["transform"])
        np.testing.assert_array_equal(file.read(1), wanted)
        assert file.nodata == 0
        assert file.colormap(1)[1][:3] == (170, 120, 70)
    with rasterio.open(out / "probs" / "field.tif") as file:
        assert file.descriptions == ("soil", "bedrock", "sand", "big_rock")
        assert file.crs.to_epsg() == 32633
        np.testing.assert_allclose(file.read() / 65535, sg.predict(trained, grey, probs=True), atol=1e-4)
    assert sorted(path.name for path in (out / "overlay").iterdir()) == ["field.png"]


def test_a_network_of_rgb_reads_grey_pictures_too(trained, tmp_path, simulated, make_dataset, array_scenes):
    scenes = simulated(7)
    colour = array_scenes([np.repeat(image, 3, axis=2) for image in scenes.images], scenes.labels)
    config = TrainConfig(unet=UNetConfig(width=4), steps=1, batch_size=4, precision="fp32")
    run = Run.start(tmp_path / "run", "segmenter train", config, {})
    train(config, run, make_dataset(colour, range(5), (5, 6)))
    Image.fromarray(scenes.images[0][..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(colour.images[0]).save(tmp_path / "rgb.png")
    grey, rgb = sg.predict(run, [tmp_path / "grey.png", tmp_path / "rgb.png"])
    np.testing.assert_array_equal(grey, rgb)
    with pytest.raises(DataError, match=r"images of 3 channels; .* was trained on 1"):
        sg.predict(trained, tmp_path / "rgb.png")


def test_from_python_too_a_file_among_pictures_has_to_be_one(photos):
    with pytest.raises(DataError, match=r"notes\.txt: neither a picture nor a folder of pictures"):
        open_pictures([photos / "big.png", photos / "notes.txt"], mars_classes())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "what is to be labelled"),
        (["photos", "--data", "sim:4"], "what is to be labelled"),
        (["photos/notes.txt"], "a file but no .npz or Parquet"),
        (["photos/big.png", "photos/notes.txt"], "photos/notes.txt: a file but no .npz or Parquet"),
        (["photos/big.png", "copy/big.png"], "copy/big.png: photos/big.png has the same name"),
        (["photos", "--set", "format=csv", "--probs"], "holds label ids only; set format=png"),
        (["nowhere.png"], "nowhere.png: no such file or folder"),
    ],
)
def test_what_cannot_be_labelled_is_refused(words, message, trained, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    Path("copy").mkdir()
    Path("copy/big.png").write_bytes(Path("photos/big.png").read_bytes())
    assert call("segmenter", "predict", str(trained), *words, "--out", "out") == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()
