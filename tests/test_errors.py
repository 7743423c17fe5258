"""Bad input on the command line: one line that helps, exit code 2, nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from test_flow import call


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


IMAGES = np.zeros((3, 64, 128), np.uint8)

CASES = {
    "missing file": (lambda d: "absent.npz", "absent.npz: no such file"),
    "truncated": (lambda d: truncated(d / "x.npz"), "x.npz"),
    "not a zip": (lambda d: written(d / "x.npz", b"hello"), "x.npz"),
    "object array": (lambda d: save(d / "x.npz", images=np.array([{}, []], object), labels=IMAGES), "object"),
    "wrong keys": (lambda d: save(d / "x.npz", pictures=IMAGES), "pictures"),
    "no labels": (lambda d: save(d / "x.npz", images=IMAGES), "labels"),
    "float images": (lambda d: save(d / "x.npz", images=IMAGES.astype(np.float32), labels=IMAGES), "float"),
    "sizes differ": (lambda d: save(d / "x.npz", images=IMAGES, labels=IMAGES[:, :32]), r"3, 32, 128.*3, 64, 128"),
    "unknown id": (lambda d: save(d / "x.npz", images=IMAGES, labels=with_pixel(7)), r"7.*row 12.*column 40"),
    "empty simulation": (lambda d: "sim:0", "sim"),
    "simulation option": (lambda d: "sim:10,sede=3", "seed"),
    "empty folder": (lambda d: str((d / "empty").mkdir() or d / "empty"), "empty"),
}


def with_pixel(value: int) -> np.ndarray:
    labels = IMAGES.copy()
    labels[2, 12, 40] = value
    return labels


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def truncated(path: Path) -> str:
    rng = np.random.default_rng(0)
    save(path, images=rng.integers(0, 255, IMAGES.shape, np.uint8), labels=IMAGES)
    return written(path, path.read_bytes()[:9000])


@pytest.mark.parametrize("name", CASES)
def test_data_that_cannot_be_read(name, here, capsys):
    import re

    make, message = CASES[name]
    (here / "data").mkdir()
    line = refused(capsys, "marsgen", "inspect", "--data", make(here / "data"))
    assert re.search(message, line), line
    assert not (here / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["marsgen", "synthesise"], "No such command 'synthesise'"),
        (["marsgen", "inspect"], "Missing option '--data'"),
        (["marsgen", "inspect", "--dta", "x"], "No such option: --dta"),
        (["marsgen", "synthesize", "--n", "0"], "--n.*greater than or equal to 1"),
        (["marsgen", "synthesize", "--n", "5"], "no finished run of `marsgen train-generator` under outputs/"),
        (["marsgen", "synthesize", "--generator", "copy-paste"], "name them with --data"),
        (["marsgen", "synthesize", "--generator", "nowhere"], "nowhere: no run folder here"),
        (["marsgen", "train-generator", "--data", "sim:9", "--set", "stepz=3"], "did you mean 'steps'"),
        (["marsgen", "train-generator", "--data", "sim:9", "--config", "x.yaml"], r"x\.yaml: no such file"),
        (["segmenter", "train", "--data", "sim:9", "--set", "lr=-1"], "lr is -1"),
        (["segmenter", "evaluate", "nowhere", "--data", "sim:9"], "nowhere: no run folder here"),
        (["segmenter", "compare", "nowhere", "there"], "nowhere: no run folder here"),
        (["segmenter", "pseudo-label", "nowhere", "--data", "sim:9"], "nowhere: no run folder here"),
        (["segmenter", "pseudo-label", "--data", "sim:9"], "Missing argument 'RUN...'"),
        (["segmenter", "predict", "nowhere", "--data", "sim:9"], "nowhere: no run folder here"),
    ],
)
def test_options_that_cannot_be(words, message, here, capsys):
    import re

    line = refused(capsys, *words)
    assert re.search(message, line), line
    assert list(here.iterdir()) == []


def test_an_unknown_class_lists_those_there_are(here, tiny_npz, capsys):
    words = ["--generator", "copy-paste", "--data", str(tiny_npz), "--n", "4"]
    line = refused(capsys, "marsgen", "synthesize", "--class", "unicorn", *words)
    assert "no class 'unicorn'" in line
    assert "soil, bedrock, sand, big_rock" in line
    assert not (here / "outputs").exists()


def test_a_class_without_a_region_says_so(here, tiny_npz, capsys):
    words = ["--generator", "copy-paste", "--data", str(tiny_npz), "--n", "4", "--set", "paste.min_region_px=8000"]
    line = refused(capsys, "marsgen", "synthesize", "--class", "big_rock", *words)
    assert "big_rock has no region of at least 8000 px" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segmenter", "train", "--set", "best_metric=iou_unicorn"], "best_metric"),
        (["segmenter", "train", "--extra", "nowhere"], "--extra nowhere: no such folder"),
        (["segmenter", "train", "--extra=nowhere"], "--extra nowhere: no such folder"),
        (["segmenter", "train", "--extra=sim:8,rocks=0.5", "--extra", "nowhere"], "--extra nowhere: no such folder"),
        (["segmenter", "train", "--extra", "sim:8", "two"], "(two); see `segmenter train --help`"),
        (["marsgen", "train-generator", "--kind", "gan"], "for '--kind': 'gan' is not one of 'pix2pix', "),
        (["marsgen", "synthesize", "--generator", "copy-past"], "did you mean 'copy-paste'"),
        (["marsgen", "synthesize", "--generator", "copy-paste", "--set", "paste.ground_classes=[soill]"], "'soil'"),
        (["marsgen", "inspect", "--classes", "."], "no such classes file"),
    ],
)
def test_a_refused_command_leaves_no_folder(words, message, here, tiny_npz, capsys):
    assert message in refused(capsys, *words, "--data", str(tiny_npz))
    assert list(here.iterdir()) == []


def test_an_output_folder_of_another_run_is_left_alone(here, tiny_npz, capsys):
    words = ["marsgen", "synthesize", "--generator", "copy-paste", "--data", str(tiny_npz), "--out", "synth"]
    assert call(*words, "--n", "4") == 0
    before = {p: p.read_bytes() for p in (here / "synth").rglob("*") if p.is_file()}
    assert "belongs to another run (config.n is 4 there and 5 here)" in refused(capsys, *words, "--n", "5")
    assert {p: p.read_bytes() for p in (here / "synth").rglob("*") if p.is_file()} == before


def test_a_full_disk_is_one_line(here, tiny_npz, capsys, monkeypatch):
    import errno

    import marsgen.core.storage.files

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "synth/images/0000003.png")

    monkeypatch.setattr(marsgen.core.storage.files.os, "replace", refuse)
    words = [
        "marsgen",
        "synthesize",
        "--generator",
        "copy-paste",
        "--data",
        str(tiny_npz),
        "--out",
        "synth",
        "--n",
        "4",
    ]
    assert "No space left on device" in refused(capsys, *words)
    assert [p.name for p in (here / "synth").rglob("*.p*")] == []


@pytest.mark.parametrize(
    "words",
    [
        ("marsgen", "inspect", "--data", "x" * 5000),
        ("marsgen", "inspect", "--data", "sim:8", "--set", "y" * 5000 + "=1"),
        ("marsgen", "z" * 5000),
        ("segmenter", "train", "--data", "sim:24", "--set", "best_metric=" + "w" * 5000),
    ],
)
def test_what_was_given_is_shortened_in_the_answer(words, here, capsys):
    assert 20 < len(refused(capsys, *words)) < 1100
