"""What a stranger's files, a stopped process or another system must not do: promises that hold for all commands."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import forked_commands
import pytest
import torch
from closed_pages import POLICY
from refusals import refused
from safetensors.torch import load_file, save_file
from test_flow import call

from marsgen.core.errors import DataError, RunError
from marsgen.core.storage.checkpoints import encode_weights, read_weights
from marsgen.core.storage.files import write_bytes
from marsgen.pages.html import TEMPLATES
from marsgen.scenes.files.finding import FOLLOW_LINKS
from marsgen.scenes.files.names import is_plain, plain_names
from marsgen.scenes.sources import open_scenes

TINY = ("--set", "unet={width: 4, depth: 1}", "--set", "batch_size=4", "--set", "precision=fp32")
DATA = "sim:24,rocks=0.6,size=32x48"
LOOSE = ("min_region_px=4", "min_visible_px=4", "min_solidity=0.2", "min_thickness=0.1")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert call("segmenter", "train", "--data", DATA, *TINY, "--set", "steps=2", "--out", str(folder)) == 0
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("segmenter", "predict", "run", "--data", DATA),
        ("segmenter", "evaluate", "run", "--data", DATA),
        ("segmenter", "pseudo-label", "run", "--data", DATA),
        (
            "marsgen",
            "synthesize",
            "--generator",
            "copy-paste",
            "--data",
            DATA,
            "--n",
            "4",
            "--judge",
            "run",
            "--keep",
            "0.8",
        ),
    ],
)
def test_weights_that_are_no_numbers_are_refused(words, trained, here, capsys):
    shutil.copytree(trained, here / "run")
    path = here / "run" / "best.safetensors"
    checkpoint = read_weights(path)
    name = next(name for name, value in checkpoint.tensors.items() if value.is_floating_point())
    checkpoint.tensors[name].view(-1)[0] = float("nan")
    path.write_bytes(encode_weights(checkpoint.tensors, checkpoint.record))
    line = refused(capsys, *words, "--out", "out")
    assert "best.safetensors: not a readable checkpoint" in line
    assert f"{name} holds values that are no finite numbers" in line


def test_a_changed_weight_does_not_have_the_recorded_checksum(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(encode_weights({"a": torch.ones(3)}, {"step": 1}))
    assert read_weights(path).step == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="do not have the checksum that was recorded"):
        read_weights(path)
    save_file(load_file(path), path)
    with pytest.raises(RunError, match="its record"):
        read_weights(path)


# files


def test_what_is_written_can_be_read_by_all_and_goes_through_no_link(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / f".x.{os.getpid()}.partial").symlink_to(tmp_path / "precious")
    write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "precious").read_text() == "content"
    assert (tmp_path / "x").read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("link", ["images/a.png", "labels"])
def test_links_that_lead_out_of_a_data_folder_are_not_followed(here, monkeypatch, link):
    assert call("marsgen", "export", DATA, "--out", "data") == 0
    for name in ("DONE", "config.yaml", "environment.json"):
        (here / "data" / name).unlink()
    path = here / "data" / (link if link == "labels" else f"images/{sorted(os.listdir(here / 'data/images'))[0]}")
    path.rename(here / "elsewhere")
    path.symlink_to(here / "elsewhere")
    with pytest.raises(DataError, match=r"a link to .*elsewhere, which is outside of data"):
        open_scenes("data")
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    assert len(open_scenes("data")) == 24


def test_a_pipe_among_the_pictures_is_named(here):
    assert call("marsgen", "export", DATA, "--out", "data") == 0
    os.mkfifo(here / "data" / "images" / "x.png")
    with pytest.raises(DataError, match=r"x\.png: a pipe or a device"):
        open_scenes("data")


def test_names_that_cannot_be_written_everywhere_are_read_and_changed(here, capfd):
    assert call("marsgen", "export", DATA, "--out", "data") == 0
    (here / "data" / "manifest.jsonl").unlink(missing_ok=True)
    first = sorted(path.stem for path in (here / "data" / "images").iterdir())[0]
    strange = os.fsdecode(b"sol:7\\a\xff")
    for part in ("images", "labels"):
        (here / "data" / part / f"{first}.png").rename(here / "data" / part / f"{strange}.png")
    assert call("marsgen", "export", "data", "--out", "again") == 0
    assert "1 names hold characters" in capfd.readouterr().err
    assert (here / "again" / "images" / "sol_7_a_.png").is_file()
    assert (here / "again" / "labels" / "sol_7_a_.png").is_file()


def test_changed_names_stay_different():
    names, note = plain_names(["a:b", "a_b", "a\\b", "c"])
    assert names == ["a_b-2", "a_b", "a_b-3", "c"]
    assert all(map(is_plain, names))
    assert "2 names" in note
    assert plain_names(["a", "b"]) == (["a", "b"], "")


def test_every_page_has_the_frame_that_loads_and_runs_nothing():
    root = TEMPLATES.parent.parent.parent
    found = sorted(path for package in ("marsgen", "segmenter") for path in (root / package).rglob("*.html.j2"))
    pages = [path for path in found if path.name not in ("page.html.j2", "parts.html.j2")]
    assert len(pages) >= 3
    assert all('{% extends "page.html.j2" %}' in path.read_text() for path in pages)
    assert POLICY in (TEMPLATES / "page.html.j2").read_text()


# limits


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("segmenter", "train", "--set", "batch_size=10000000000"), "batch_size is 10000000000"),
        (("segmenter", "train", "--set", "crop=[1000000,1000000]"), "crop.0 is 1000000"),
        (("segmenter", "train", "--set", f"seed={2**63}"), f"seed is {2**63}"),
        (("marsgen", "train-generator", "--set", "crop_px=1000000"), "crop_px is 1000000"),
        (("marsgen", "synthesize", "--generator", "copy-paste", "--set", "paste.scale=[1,1e9]"), "scale"),
    ],
)
def test_settings_that_no_machine_can_hold_are_refused_before_anything_is_written(words, message, here, capsys):
    assert message in refused(capsys, *words, "--data", DATA, "--out", "out")
    assert list(here.iterdir()) == []


def test_a_simulation_that_no_machine_can_hold_is_refused(here, capsys):
    assert "at most 4096" in refused(capsys, "marsgen", "inspect", "--data", "sim:5,size=100000x100000")


# the process


@pytest.mark.timeout(240)
def test_sigterm_ends_training_after_the_step_with_a_checkpoint(here):
    words = ("segmenter", "train", "--data", DATA, *TINY, "--set", "validate_every=100000", "--set", "log_every=1")
    child = forked_commands.start(*words, "--set", "steps=100000", "--out", "run", stderr=here / "said")
    lines, deadline = here / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.terminate()  # SIGTERM
    assert child.join() == 143
    err = (here / "said").read_text()
    last = err.strip().replace("\r", "\n").splitlines()[-1]
    assert last == "stopped; repeat the command and it goes on from its last checkpoint, or anew where it had none"
    assert "Traceback" not in err
    assert read_weights(here / "run" / "last.safetensors").step >= 1


def test_an_error_starts_a_line_of_its_own_after_a_progress_bar(here, capfd, monkeypatch):
    import marsgen.commands.export.scenes

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "out/images/x.png")

    monkeypatch.setattr(marsgen.commands.export.scenes, "write_pair", fail)
    assert call("marsgen", "export", DATA, "--out", "out") == 2
    err = capfd.readouterr().err
    assert "export:" in err
    assert "\nerror: out/images/x.png: No space left on device; make room" in err


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (OSError(36, "File name too long", "x" * 300), "File name too long; give a shorter name"),
        (OSError(30, "Read-only file system", "out"), "out: Read-only file system; it can only be read"),
        (FileNotFoundError(2, "No such file or directory", "out/a"), "out/a: No such file or directory; it is gone"),
        (OSError(5, "Input/output error"), "a file of this command: Input/output error; the disk"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(problem, words, here, capsys, monkeypatch):
    import marsgen.commands.export.scenes

    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(marsgen.commands.export.scenes, "write_pair", fail)
    assert words in refused(capsys, "marsgen", "export", DATA, "--out", "out")


def test_a_finished_run_that_can_only_be_read_is_repeated(here, monkeypatch):
    import marsgen.core.runs

    words = ("segmenter", "train", "--data", DATA, *TINY, "--set", "steps=2", "--out", "run")
    assert call(*words) == 0

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system", "run/.lock")

    monkeypatch.setattr(marsgen.core.runs, "take_lock", read_only)
    assert call(*words) == 0


# other systems

WITHOUT = """
import importlib, os, sys
for name in [name for name in sys.modules if name.split(".")[0] in ("marsgen", "segmenter", "filelock")]:
    del sys.modules[name]
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("wait4", "wait3", "pread", "fork", "mkfifo", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC"):
    if hasattr(os, name):
        delattr(os, name)
import marsgen.cli, segmenter.cli, segmenter.study.run, segmenter.results.report, marsgen.commands.score
for words in {commands!r}:
    sys.argv = list(words)
    try:
        importlib.import_module(words[0] + ".cli").main()
    except SystemExit as end:
        assert not end.code, words
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_commands_run_where_there_is_neither_fcntl_nor_wait4(here):
    loose = [word for each in LOOSE for word in ("--set", f"paste.{each}")]
    commands = [
        ("marsgen", "synthesize", "--generator", "copy-paste", "--data", DATA, "--n", "4", *loose, "--out", "set"),
        ("segmenter", "train", "--data", DATA, "--extra", "set", *TINY, "--set", "steps=2", "--out", "run"),
    ]
    (here / "without.py").write_text(WITHOUT.format(commands=commands))
    code = forked_commands.run_script(here / "without.py", stderr=here / "said")
    assert code == 0, (here / "said").read_text()
    assert (here / "set" / "DONE").is_file()
    assert (here / "run" / "DONE").is_file()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_lacks_a_character_ends_no_command(here, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "marsgen.cli", "inspect", "--data", "名前.npz"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 2
    assert b"error: \\u540d\\u524d.npz: no such file" in done.stderr


# files of runs


def test_a_done_file_without_its_keys_is_named(trained, here, capsys):
    words = ("segmenter", "train", "--data", DATA, *TINY, "--set", "steps=2", "--out", "run")
    for text, expected in (
        ("{}", "run/DONE: no 'best_score'; damaged; delete it and repeat `segmenter train`"),
        ('{"best_score": "x"}', "run/DONE: 'best_score' is 'x'; a number was expected"),
        ("[]", "run/DONE: not readable json (a list where a mapping was expected)"),
    ):
        shutil.copytree(trained, here / "run", dirs_exist_ok=True)
        (here / "run" / "DONE").write_text(text)
        assert expected in refused(capsys, *words)
    # deleted, as the sentence says, it is written again
    (here / "run" / "DONE").unlink()
    assert call(*words) == 0


def test_settings_of_a_run_that_cannot_be_are_named(here, capsys):
    paste = [word for each in LOOSE for word in ("--set", f"paste.{each}")]
    made = ("marsgen", "synthesize", "--generator", "copy-paste", "--data", DATA, "--n", "4", *paste, "--out", "set")
    split = ("--set", "data.val_fraction=0.2")
    assert call(*made, *split) == 0
    path = here / "set" / "config.yaml"
    path.write_text(path.read_text().replace("val_fraction: 0.2", "val_fraction: 7"))
    line = refused(capsys, "marsgen", "score", "set", "--out", "scored")
    assert "set/config.yaml: data: val_fraction is 7; expected less than 1" in line


def test_a_generator_with_impossible_settings_is_named(here, capsys):
    config = Path(__file__).parent.parent / "configs" / "tiny" / "train-generator.yaml"
    small = ("steps=1", "batch_size=2", "generator_width=8", "discriminator_width=8", "crop_px=32")
    settings = [word for each in small for word in ("--set", each)]
    words = ("marsgen", "train-generator", "--data", DATA, "--config", str(config), *settings, "--out", "generator")
    assert call(*words) == 0
    path = here / "generator" / "config.yaml"
    good = path.read_text()
    again = ("marsgen", "synthesize", "--generator", "generator", "--n", "4", "--out", "set")
    for old, new, expected in (
        (
            "val_fraction: 0.15",
            "val_fraction: 7",
            "generator/config.yaml: data: val_fraction is 7; expected less than 1",
        ),
        ("  data:\n    val_fraction", "  date:\n    val_fraction", "generator/config.yaml: no 'config.data'"),
        ("    location:", "    locatoin:", "generator/config.yaml: no 'inputs.data.location'"),
    ):
        assert old in good
        path.write_text(good.replace(old, new))
        assert expected in refused(capsys, *again)
    assert not (here / "set").exists()
    path.write_text(good)
    # NaN weights, with the checksum that belongs to them
    weights = here / "generator" / "best.safetensors"
    checkpoint = read_weights(weights)
    name = next(name for name in checkpoint.tensors if name.startswith("generator."))
    checkpoint.tensors[name].view(-1)[0] = float("nan")
    weights.write_bytes(encode_weights(checkpoint.tensors, checkpoint.record))
    assert f"{name} holds values that are no finite numbers" in refused(capsys, *again)
