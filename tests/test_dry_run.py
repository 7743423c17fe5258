"""--dry-run: it says about what the command then takes, and leaves nothing behind."""

import contextlib
import json
import re
import time
from pathlib import Path

import pytest
import yaml
from in_process import InProcess
from test_flow import call

import segmenter.dry_run
from marsgen.core.config import build_config
from marsgen.core.progress import ProgressBar
from marsgen.core.rehearsal import Estimate, duration, estimate, rehearse
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study
from segmenter.study.run import open_study, run_study

TRAIN = ("unet.width=4", "steps=60", "batch_size=4", "validate_every=20", "warmup_steps=2", "precision=fp32")
GENERATOR = ("steps=24", "batch_size=4", "generator_width=4", "discriminator_width=4", "sample_every=12")
SYNTH = ("--generator", "copy-paste", "--n", "400")
LINE = re.compile(r"# dry run: about [\d.]+ (?:s|min|h), [\d,.]+ [MG]B of memory, [\d,.]+ [MG]B of disk(?: \(.*\))?")


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def place(tiny_npz, tmp_path_factory) -> Path:
    """A folder with data, a trained segmenter and a synthetic set."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "tiny.npz").write_bytes(tiny_npz.read_bytes())
        quick = sets("unet.width=4", "steps=4", "batch_size=4", "warmup_steps=1")
        assert call("segmenter", "train", "--data", "tiny.npz", *quick, "--out", "run") == 0
        words = ("--generator", "copy-paste", "--data", "tiny.npz", "--n", "128")
        assert call("marsgen", "synthesize", *words, "--out", "synth") == 0
    return folder


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


COMMANDS = {
    "train": ("segmenter", "train", "--data", "tiny.npz", *sets(*TRAIN)),
    "train-generator": ("marsgen", "train-generator", "--data", "tiny.npz", *sets(*GENERATOR)),
    "synthesize": ("marsgen", "synthesize", "--data", "tiny.npz", *SYNTH),
    "score": ("marsgen", "score", "synth", "--judge", "run", *sets("resamples=50", "splits=2")),
    "predict": ("segmenter", "predict", "run", "--data", "tiny.npz", *sets("batch_size=2")),
    "pseudo-label": ("segmenter", "pseudo-label", "run", "--data", "tiny.npz"),
}
LONG = ("train", "train-generator", "synthesize", "score")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in COMMANDS])
def test_a_dry_run_says_about_what_the_command_takes_and_keeps_nothing(name, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = files(place)
    capsys.readouterr()

    def compare() -> tuple[float, float]:
        assert call(*COMMANDS[name], "--dry-run", "--json") == 0
        *settings, line, last = capsys.readouterr().out.splitlines()
        assert LINE.fullmatch(line), line
        assert isinstance(yaml.safe_load("\n".join([*settings, line])), dict)
        (said,) = json.loads(last)["summaries"]
        assert files(place) == before
        assert not list(tmp_path.iterdir())
        began = time.monotonic()
        assert call(*COMMANDS[name], "--out", str(tmp_path / "out"), "--quiet") == 0
        taken = time.monotonic() - began
        for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / "out").rmdir()
        return said["seconds"], taken

    # other work on the machine may slow down one of the two
    tries = [compare()]
    while not 1 / 3 < tries[-1][0] / tries[-1][1] < 3 and len(tries) < 3:
        tries.append(compare())
    assert 1 / 3 < tries[-1][0] / tries[-1][1] < 3, tries


@pytest.mark.slow
def test_a_study_adds_up_its_trainings_and_names_what_it_left_out(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    study = {
        "title": "two arms",
        "seeds": [0, 1],
        "baseline": "real",
        "train": {"steps": 10, "batch_size": 4, "unet": {"width": 4}, "warmup_steps": 2, "validate_every": 5},
        "sets": {"pasted": {"settings": {"n": 40}}, "found": {"teacher": "real"}},
        "arms": {"real": {}, "more": {"extra": ["pasted"]}, "pseudo": {"extra": ["found"]}},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    before = files(place)
    monkeypatch.setattr(segmenter.dry_run, "_evaluate", lambda *given: Estimate(1000.0, 0, 0))
    words = ("segmenter", "study", "study.yaml", "--data", "tiny.npz", "--set", "train.data.test_fraction=0.2")
    assert call(*words, "--dry-run", "--json") == 0
    *_, line, last = capsys.readouterr().out.splitlines()
    assert LINE.fullmatch(line), line
    assert "6 trainings of " in line
    assert "each scored in 17 min" in line
    assert json.loads(last)["summaries"][0]["seconds"] > 6000
    assert "without the time of found" in line
    assert files(place) == before
    (place / "study.yaml").unlink()


@pytest.mark.slow
def test_a_study_takes_about_what_its_dry_run_says(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    content = {
        "title": "two arms",
        "seeds": [0],
        "baseline": "real",
        "train": {"steps": 16, "batch_size": 4, "unet": {"width": 4}, "warmup_steps": 2, "validate_every": 8},
        "evaluate": {"flip": True, "batch_size": 8},
        "sets": {"pasted": {"settings": {"n": 16}}},
        "arms": {"real": {}, "more": {"extra": ["pasted"]}},
        "statistics": {"resamples": 200},
    }
    config, test = build_config(StudyConfig, content, "study"), "sim:64,seed=77,outliers=0"

    def compare(number: int) -> tuple[float, float]:
        asked = Study(config, tmp_path / f"study{number}", "tiny.npz", test, None)
        said = segmenter.dry_run.study(asked).seconds
        assert not asked.folder.exists()
        began, engine = time.monotonic(), InProcess()
        with contextlib.closing(open_study(asked, engine)) as opened:
            run_study(asked, opened, engine)
        return said, time.monotonic() - began

    tries = [compare(0)]
    while not 1 / 3 < tries[-1][0] / tries[-1][1] < 3 and len(tries) < 3:
        tries.append(compare(len(tries)))
    assert 1 / 3 < tries[-1][0] / tries[-1][1] < 3, tries


def test_auto_takes_its_budget(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    recipes = Path(__file__).parent.parent / "configs" / "tiny" / "auto.yaml"
    words = ("segmenter", "auto", "--data", "tiny.npz", "--recipes", str(recipes), "--budget", "45m", "--dry-run")
    assert call(*words) == 0
    assert "# dry run: about 45 min, " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("segmenter", "train", "--data", "tiny.npz", "--set", "best_metric=iou_unicorn"),
        ("marsgen", "synthesize", "--generator", "copy-paste", "--data", "tiny.npz", "--class", "unicorn"),
    ],
)
def test_what_the_command_refuses_its_dry_run_refuses(words, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert call(*words, "--dry-run") == 2
    assert "unicorn" in capsys.readouterr().err


# the arithmetic


def test_what_comes_seldom_is_counted_as_often_as_it_comes(tmp_path, monkeypatch):
    clock = iter([0.0, *(10 + step + (5 if step >= 5 else 0) for step in range(20))])
    monkeypatch.setattr("marsgen.core.rehearsal.time.monotonic", lambda: next(clock))

    def command(folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(1000))
        for _ in ProgressBar(range(100), desc="work", disable=True):
            pass

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = rehearse(command, "work")
    assert not done.whole
    assert len(done.marks) == 8
    assert done.files == {"run/weights": 1000}
    assert not list(tmp_path.iterdir())
    found = estimate(done, "steps", {4: 7})
    assert found.seconds == pytest.approx(10 + 99 + 7 * 5)
    assert found.disk == 12_500
    assert estimate(done, "steps", {4: 7}, disk=5).disk == 5


def test_a_command_that_ends_within_its_rehearsal_is_its_own_estimate():
    done = rehearse(lambda folder: [None for _ in ProgressBar(range(3), desc="work", disable=True)], "work")
    assert done.whole
    assert estimate(done, "steps").seconds == done.elapsed


def test_times_are_said_in_the_unit_that_fits():
    assert [duration(seconds) for seconds in (3.2, 89, 150, 7200)] == ["3 s", "89 s", "2 min", "2.0 h"]
    assert Estimate(60, None, 10**6).line() == "dry run: about 60 s, memory not known, 1.0 MB of disk"
