"""Pictures that were read or made in another way than those that a network was trained on: said, in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from test_flow import call
from test_many_bands import CLASSES, SIZE, SMALL, write

import segmenter as sg
from marsgen.core.errors import ConfigError, DataError
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.sources import open_scenes

TRAINED = "bands 4, 3, 2 of 5, uint16, 0 to 4000 as 0 to 255"
PLAIN = "8-bit pictures without a known range or choice of bands"
END = ". What it predicts is right only for pictures read or made in that way"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rasters/, copy/ (imported from them) and run/ (trained on the copy)."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(1)
    for index in range(8):
        labels = np.zeros(SIZE, np.uint8)
        labels[8:20, 10:30] = index % 2
        write(folder / "rasters/images" / f"s{index}.tif", rng.integers(0, 4000, (5, *SIZE)).astype(np.uint16))
        write(folder / "rasters/labels" / f"s{index}.tif", labels[None])
    (folder / "rasters/classes.yaml").write_text(CLASSES.replace("bands: [4, 3, 2]\n", ""))
    words = ("--set", "bands=[4,3,2]", "--set", "range=[0,4000]", "--out", str(folder / "copy"))
    assert call("marsgen", "import", str(folder / "rasters"), *words) == 0
    sg.train(str(folder / "copy"), out=folder / "run", **SMALL)
    return folder


def forgetful(world: Path, out: Path, **rasters: object) -> Path:
    """The imported copy with other words, or none, about the rasters that it was made from."""
    shutil.copytree(world / "copy", out)
    content = yaml.safe_load((out / "classes.yaml").read_text())
    del content["rasters"]
    (out / "classes.yaml").write_text(yaml.safe_dump(content | ({"rasters": rasters} if rasters else {})))
    return out


def labels_in(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((folder / "labels").iterdir())]


def test_predict_says_that_plain_pictures_are_no_rasters(world: Path, tmp_path: Path, capsys):
    run = str(world / "run")
    picture = str(world / "copy/images/s1.png")
    assert call("segmenter", "predict", run, picture, "--out", str(tmp_path / "one")) == 0
    assert f"{picture}: {PLAIN}; {run} was trained on {TRAINED}{END}\n" in capsys.readouterr().err
    data = str(forgetful(world, tmp_path / "data"))
    assert call("segmenter", "predict", run, "--data", data, "--out", str(tmp_path / "all")) == 0
    assert capsys.readouterr().err.count(f"{data}: {PLAIN}; {run} was trained on {TRAINED}{END}\n") == 1
    # what says that it was made in the same way is as good as the rasters
    assert call("segmenter", "predict", run, "--data", str(world / "copy"), "--out", str(tmp_path / "copy")) == 0
    assert "was trained on" not in capsys.readouterr().err
    np.testing.assert_array_equal(labels_in(tmp_path / "all"), labels_in(tmp_path / "copy"))


def test_predict_from_python_says_it_too(world: Path, tmp_path: Path, caplog):
    predicted = sg.predict(world / "run", world / "copy/images/s1.png")
    assert f"{PLAIN}; {world / 'run'} was trained on {TRAINED}" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(sg.predict(world / "run", world / "rasters/images/s1.tif"), predicted)
    sg.predict(world / "run", open_scenes(str(world / "copy"))[1].image)  # arrays: whoever made them knows how
    assert not caplog.text


def test_a_raster_for_a_network_that_saw_none_is_said(world: Path, tmp_path: Path, capsys):
    run = sg.train(str(forgetful(world, tmp_path / "data")), out=tmp_path / "run", **SMALL).folder
    words = ("segmenter", "predict", str(run), str(world / "rasters/images/s1.tif"), "--set", "bands=[4,3,2]")
    assert call(*words, "--set", "range=[0,4000]", "--out", str(tmp_path / "out")) == 0
    assert f"s1.tif: {TRAINED}; {run} was trained on {PLAIN}{END}" in capsys.readouterr().err
    # georeferenced, but the bytes are those of any RGB picture
    write(tmp_path / "rgb.tif", np.zeros((3, *SIZE), np.uint8))
    assert call("segmenter", "predict", str(run), str(tmp_path / "rgb.tif"), "--out", str(tmp_path / "rgb")) == 0
    assert "was trained on" not in capsys.readouterr().err


def test_rasters_are_read_as_remembered_where_a_classes_file_is_given(world: Path, tmp_path: Path, capsys):
    file = tmp_path / "names.yaml"
    file.write_text((world / "rasters/classes.yaml").read_text())
    run, rasters = str(world / "run"), str(world / "rasters")
    words = ("segmenter", "predict", run, "--data", rasters, "--classes", str(file))
    assert call(*words, "--out", str(tmp_path / "named")) == 0
    assert "was trained on" not in capsys.readouterr().err
    sg.predict_data(run, str(world / "copy"), out=tmp_path / "copy")
    rasterio = pytest.importorskip("rasterio")
    for index, wanted in enumerate(labels_in(tmp_path / "copy")):
        with rasterio.open(tmp_path / "named/labels" / f"s{index}.tif") as found:
            np.testing.assert_array_equal(found.read(1), wanted)
    config = yaml.safe_load((tmp_path / "named/config.yaml").read_text())
    assert config["inputs"]["data"]["classes"] == str(file)
    # another range than was remembered is taken, and said
    assert call(*words, "--set", "range=[0,2000]", "--out", str(tmp_path / "other")) == 0
    assert f"{rasters}: {TRAINED.replace('4000', '2000')}; {run} was trained on {TRAINED}" in capsys.readouterr().err
    # ids of plain pictures are not asked for
    picture = str(world / "copy/images/s1.png")
    assert call("segmenter", "predict", run, picture, "--classes", str(file), "--out", str(tmp_path / "no")) == 2
    assert "--classes says what the ids of a data set mean; pictures have none" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="classes is a file for data that are named by their place"):
        sg.predict_data(run, open_scenes(str(world / "copy")), classes=file, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_evaluate_compares_range_and_bands(world: Path, tmp_path: Path, capsys):
    run = str(world / "run")
    rng = np.random.default_rng(2)
    others = forgetful(world, tmp_path / "others", type="uint16", of=5, bands=[3, 2, 1], range=[0, 4000])
    for path in (others / "images").iterdir():  # other scenes, else the run has seen them
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)).save(path)
    assert call("segmenter", "evaluate", run, "--data", str(others)) == 0
    said = f"{others}: bands 3, 2, 1 of 5, uint16, 0 to 4000 as 0 to 255; {run} was trained on {TRAINED}{END}\n"
    assert capsys.readouterr().err.count(said) == 1
    content = yaml.safe_load((others / "classes.yaml").read_text())
    (others / "classes.yaml").write_text(
        yaml.safe_dump(content | {"rasters": {**content["rasters"], "bands": [4, 3, 2]}})
    )
    assert call("segmenter", "evaluate", run, "--data", str(others)) == 0
    assert "was trained on" not in capsys.readouterr().err


def test_evaluate_refuses_other_channels(world: Path, tmp_path: Path):
    grey = forgetful(world, tmp_path / "grey")
    for path in (grey / "images").iterdir():
        Image.open(path).convert("L").save(path)
    with pytest.raises(DataError, match=r"grey: images of 1 channels; .*run was trained on 3"):
        sg.evaluate(world / "run", str(grey))
    assert not (world / "run/evaluations").exists() or not list((world / "run/evaluations").glob("grey*"))


def test_pseudo_label_compares_them(world: Path, tmp_path: Path, caplog):
    sg.pseudo_label([world / "run"], str(forgetful(world, tmp_path / "data")), out=tmp_path / "labelled")
    assert f"{tmp_path / 'data'}: {PLAIN}; {world / 'run'} was trained on {TRAINED}{END}" in caplog.text


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (RasterSource("uint8", 3, (1, 2, 3), 0, 255), True),
        (RasterSource("uint8", 3, (3, 2, 1), 0, 255), False),
        (RasterSource("uint8", 4, (1, 2, 3), 0, 255), False),
        (RasterSource("uint8", 1, (1,), 0, 200), False),
        (RasterSource("uint16", 1, (1,), 0, 255), False),
    ],
)
def test_which_rasters_are_as_good_as_pictures(source: RasterSource, plain: bool):
    assert source.is_plain is plain
