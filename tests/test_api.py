"""The Python API: in-memory data through the whole way, the README's block, and one way with the command line."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from test_flow import call

import marsgen as mg
import segmenter as sg
from marsgen.core.errors import ConfigError, DataError, RunError

ROOT = Path(__file__).parent.parent
SMALL = {"batch_size": 4, "validate_every": 2, "unet": {"width": 4}}


@pytest.fixture(scope="module")
def cracks() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """40 grey pictures of 64 x 64: noise, with a dark crack of 12 x 16 pixels in half of them."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for number in range(40):
        image = rng.integers(120, 200, (64, 64), dtype=np.uint8)
        ids = np.zeros((64, 64), np.uint8)
        if number % 2:
            row, column = rng.integers(4, 44, 2)
            ids[row : row + 12, column : column + 16] = 1
            image[ids == 1] //= 4
        images.append(image)
        labels.append(ids)
    return images, labels


@pytest.fixture(scope="module")
def data(cracks):
    return mg.from_arrays(*cracks, names=["ok", "crack"], rare=["crack"], val_fraction=0.2, test_fraction=0.2)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_block_of_the_readme_runs(cracks, tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    monkeypatch.chdir(tmp_path)
    # only the amounts are made small; the calls are the README's own
    small = {"steps": 2, "batch_size": 4, "crop_px": 32, "widths": (8, 8), "blocks": 1}
    monkeypatch.setattr("marsgen.api.train_generator", partial(override, mg.train_generator, small))
    monkeypatch.setattr("marsgen.api.synthesize", partial(override, mg.synthesize, {"n": 8}))
    monkeypatch.setattr("segmenter.api.train", partial(override, sg.train, {"steps": 2, **SMALL}))
    names = {"images": cracks[0], "labels": cracks[1]}
    exec(block, names)
    assert len(names["extra"]) == 8
    assert names["image"].shape == names["label_map"].shape == names["predicted"].shape == (64, 64)
    assert names["evaluation"].record["part"] == "test"
    assert names["evaluation"].record["images"] == len(names["data"].split.test)
    assert names["run"].summary["extra_scenes"] == 8
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["gen", "run", "synth"]


def override(function, small, *arguments, **keywords):
    return function(*arguments, **{**keywords, **small})


def test_a_data_set_of_arrays_is_split_as_it_was_told(data):
    assert len(data.split.val) == len(data.split.test) == 8
    assert len(data.split.train) == 24
    assert data.config.val_fraction == 0.2
    assert data.scenes.location == "arrays in memory"


def test_command_and_function_make_the_same_files(tiny_npz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data", str(tiny_npz), "--n", "4", "--set", "paste.flip=0", "--set", "data.val_fraction=0.25"]
    assert call("marsgen", "synthesize", "--generator", "copy-paste", *words, "--out", "by_command") == 0
    folder = mg.from_folder(tiny_npz, val_fraction=0.25)
    made = mg.synthesize(folder, "copy-paste", n=4, out="by_function", settings={"paste.flip": 0})
    assert made.location == "by_function"
    files = {p.relative_to("by_command"): p.read_bytes() for p in Path("by_command").rglob("*") if p.is_file()}
    assert {
        p.relative_to("by_function"): p.read_bytes() for p in Path("by_function").rglob("*") if p.is_file()
    } == files
    # a block may be written as one too, and the finished set is found again
    again = mg.synthesize(folder, "copy-paste", n=4, out="by_command", settings={"paste": {"flip": 0.0}})
    assert len(again) == 4


def test_runs_of_the_segmenter_are_those_of_the_command(tiny_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ("steps=2", "batch_size=4", "validate_every=2", "unet.width=4")
    few = [word for setting in small for word in ("--set", setting)]
    assert call("segmenter", "train", "--data", str(tiny_npz), *few, "--out", "by_command") == 0
    assert re.search(r"48 scenes: .*train", capsys.readouterr().out)
    run = sg.train(tiny_npz, steps=2, out="by_function", **SMALL)
    weights = [(Path(folder) / "best.safetensors").read_bytes() for folder in ("by_command", "by_function")]
    assert weights[0] == weights[1]
    config = yaml.safe_load(Path("by_function/config.yaml").read_text())
    assert config == yaml.safe_load(Path("by_command/config.yaml").read_text())
    images = np.stack([mg.from_folder(tiny_npz).scenes.read(index)[0] for index in range(2)])
    done = sg.predict_data(run, mg.from_folder(tiny_npz), out="labels", format="png")
    from PIL import Image

    written = [np.asarray(Image.open(path)) for path in sorted((done.folder / "labels").iterdir())[:2]]
    np.testing.assert_array_equal(np.stack(sg.predict(run, images)), np.stack(written))
    np.testing.assert_array_equal(sg.predict(run.folder, images[1]), written[1])
    with pytest.raises(DataError, match="images of 3 channels; by_function was trained on 1"):
        sg.predict(run, images[0].repeat(3, axis=2))


def test_what_is_only_in_memory_is_not_opened_again(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = mg.train_generator(data, steps=1, batch_size=4, crop_px=32, out="gen")
    record = yaml.safe_load(Path("gen/config.yaml").read_text())["inputs"]["data"]
    assert record == {"location": "arrays in memory", "fingerprint": data.scenes.fingerprint(), "classes": None}
    with pytest.raises(DataError, match="lie in no file, so they cannot be opened again"):
        mg.synthesize(None, generator, n=2)
    assert call("marsgen", "preview", "gen") == 2
    assert "arrays in memory: these data were given from Python" in capsys.readouterr().err
    assert len(mg.synthesize(data, generator, n=2, out="synth")) == 2


def test_an_interrupted_run_releases_its_folder_and_resumes(data, tmp_path, monkeypatch):
    import segmenter.training.train as loop

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "summarise", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:  # as in a notebook, the traceback keeps everything alive
            sg.train(data, steps=4, out=tmp_path / "run", **SMALL)
    assert (tmp_path / "run" / "last.safetensors").exists()
    run = sg.train(data, steps=4, out=tmp_path / "run", **SMALL)
    assert run.summary["steps"] == 4
    del caught
    whole = sg.train(data, steps=4, out=tmp_path / "whole", **SMALL)
    weights = [(folder / "best.safetensors").read_bytes() for folder in (run.folder, whole.folder)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("mistake", "error", "words"),
    [
        (lambda d, out: sg.train(d, stepz=3, out=out), ConfigError, "unknown key 'stepz' .did you mean 'steps'"),
        (lambda d, out: sg.train(d, settings={"loss.dise": 1}, out=out), ConfigError, "'loss.dise'"),
        (lambda d, out: sg.train(d, steps="many", out=out), ConfigError, "steps is 'many'; expected a whole number"),
        (lambda d, out: sg.train(d, settings={3: 1}, out=out), ConfigError, "the key 3 is no text"),
        (lambda d, out: sg.train(d, settings={"data.folds": 3}, out=out), ConfigError, "these are split already"),
        (lambda d, out: sg.train(d, extra=["nowhere"], out=out), DataError, "--extra nowhere: no such folder"),
        (lambda d, out: sg.train("nowhere", out=out), DataError, "nowhere: no such file or folder"),
        (lambda d, out: sg.evaluate("nowhere", d), RunError, "nowhere: no run folder here"),
        (lambda d, out: mg.synthesize(d, "copy-paste", classes=["crak"], out=out), DataError, "no class 'crak'"),
        (lambda d, out: mg.synthesize(d, "copy-past", out=out), RunError, "did you mean 'copy-paste'"),
        (lambda d, out: mg.synthesize(d, "copy-paste", focus="no", out=out), RunError, "no: no segmenter here"),
        (lambda d, out: mg.train_generator(d, kind="difusion", out=out), ConfigError, "did you mean 'diffusion'"),
        (lambda d, out: mg.train_generator(d, unlabelled=["x"], out=out), ConfigError, "needs labelled pictures"),
        (lambda d, out: mg.from_folder("sim:20", val_fraction=2), ConfigError, "val_fraction is 2"),
        (lambda d, out: mg.CopyPaste(d, classes=["crak"]), DataError, "no class 'crak'"),
        (lambda d, out: mg.CopyPaste(d, p=2), ConfigError, "p is 2"),
    ],
)
def test_mistakes_are_raised_and_leave_nothing(mistake, error, words, data, tmp_path):
    with pytest.raises(error, match=words):
        mistake(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_importing_the_packages_is_quick():
    code = "import sys, marsgen, segmenter; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"  # what their names stand for is imported where it is used, as below


# CopyPaste


def test_pasting_changes_a_region_and_nothing_else(data, cracks):
    transform = mg.CopyPaste(data, classes=["crack"], p=1)
    image, labels = cracks[0][0], cracks[1][0]
    kept = image.copy(), labels.copy()
    changed, ids = transform(image, labels)
    assert (ids == 1).sum() >= 64
    assert (ids.shape, changed.shape, changed.dtype) == ((64, 64), (64, 64), np.uint8)
    far = ~grown(ids == 1, 8)
    assert (changed[far] == image[far]).all()
    assert (changed != image).any()
    np.testing.assert_array_equal((image, labels), kept)  # the caller's own arrays


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, iterations=pixels)


def test_calls_differ_and_a_seed_repeats_them(data, cracks):
    image, labels = cracks[0][0], cracks[1][0]
    transform = mg.CopyPaste(data, p=1, seed=5)
    first, second = transform(image, labels)[1], transform(image, labels)[1]
    assert (first != second).any()
    transform.reseed(5)
    np.testing.assert_array_equal(transform(image, labels)[1], first)
    never = mg.CopyPaste(data, p=0)
    np.testing.assert_array_equal(never(image, labels)[0], image)


def test_it_takes_a_place_among_the_transforms_of_torchvision(data, cracks):
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    image, labels = torch.from_numpy(cracks[0][0])[None], torch.from_numpy(cracks[1][0])
    plain = mg.CopyPaste(data, p=1)(image, labels)
    assert (plain[0].shape, plain[1].shape) == ((1, 64, 64), (64, 64))
    chain = v2.Compose([mg.CopyPaste(data, p=1), v2.RandomHorizontalFlip(1.0)])
    changed, ids = chain(tv_tensors.Image(image), tv_tensors.Mask(labels))
    assert isinstance(changed, tv_tensors.Image)
    assert isinstance(ids, tv_tensors.Mask)
    assert torch.equal(changed.flip(-1), plain[0])
    assert torch.equal(ids.flip(-1), plain[1])


def test_a_picture_without_a_place_stays_as_it_is(data, cracks):
    full = np.ones((64, 64), np.uint8)  # cracks everywhere: nothing that a crack may lie on
    image, ids = mg.CopyPaste(data, p=1, ground_classes=("ok",))(cracks[0][0], full)
    np.testing.assert_array_equal(image, cracks[0][0])
    np.testing.assert_array_equal(ids, full)


def test_what_is_no_picture_is_refused(data, cracks):
    transform = mg.CopyPaste(data)
    with pytest.raises(DataError, match="was given a list"):
        transform(cracks[0][0].tolist(), cracks[1][0])
    with pytest.raises(DataError, match="3 channels, but the regions have 1"):
        transform(cracks[0][0][..., None].repeat(3, 2), cracks[1][0])
    with pytest.raises(DataError, match="label 9"):
        transform(cracks[0][0], np.full((64, 64), 9, np.uint8))
