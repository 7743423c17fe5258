"""Trackers: they are told what the run folder says, in one run of theirs, and change nothing in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import marsgen as mg
import segmenter as sg
from marsgen.core import tracking
from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.core.tracking import Tracker, refuse_no_tracker
from segmenter.training import train as loop

SEGMENTER = {
    "settings": {"unet.width": 4},
    "steps": 4,
    "batch_size": 2,
    "validate_every": 2,
    "log_every": 1,
    "precision": "fp32",
}
GENERATOR = {
    "steps": 2,
    "batch_size": 2,
    "generator_width": 4,
    "discriminator_width": 4,
    "precision": "fp32",
    "log_every": 1,
    "sample_every": 1,
}


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what the tracker wrote."""
    files = [path for path in folder.rglob("*") if path.is_file() and tracking.FOLDER not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def events(folder: Path):
    """What TensorBoard shows of a run: name -> [(step, value)], and name -> steps of its pictures."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = event_accumulator.EventAccumulator(str(folder / tracking.FOLDER / "tensorboard"), {"images": 0})
    read.Reload()
    tags = read.Tags()
    scalars = {name: [(event.step, event.value) for event in read.Scalars(name)] for name in tags["scalars"]}
    return scalars, {name: [event.step for event in read.Images(name)] for name in tags["images"]}


def logged(run: Run) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for line in run.metrics():
        for name, value in line.items():
            if name != "step" and value is not None:
                found.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return found


@pytest.fixture(scope="module")
def plain(tiny_npz, tmp_path_factory) -> Run:
    return sg.train(tiny_npz, out=tmp_path_factory.mktemp("plain") / "run", **SEGMENTER)


def test_tensorboard_shows_a_training_and_changes_no_byte_of_it(plain, tiny_npz, tmp_path):
    run = sg.train(tiny_npz, out=tmp_path / "run", track="tensorboard", **SEGMENTER)
    assert content(run.folder) == content(plain.folder)
    scalars, pictures = events(run.folder)
    assert scalars == logged(plain)
    assert [step for step, _ in scalars["train_loss"]] == [1, 2, 3, 4]
    assert pictures == {"validation": [2, 4]}


def test_a_resumed_run_goes_on_in_the_same_tracker_run(plain, tiny_npz, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(network, dataset, accelerator):
        if (tmp_path / "run" / "last.safetensors").exists():
            raise Killed
        return drawn(network, dataset, accelerator)

    drawn = loop.draw_validation
    monkeypatch.setattr(loop, "draw_validation", kill)
    with pytest.raises(Killed):
        sg.train(tiny_npz, out=tmp_path / "run", track="tensorboard", **SEGMENTER)
    monkeypatch.undo()
    before = json.loads((tmp_path / "run" / tracking.FOLDER / "runs.json").read_text())
    run = sg.train(tiny_npz, out=tmp_path / "run", track="tensorboard", **SEGMENTER)
    assert json.loads((tmp_path / "run" / tracking.FOLDER / "runs.json").read_text()) == before
    scalars, pictures = events(run.folder)
    assert scalars == logged(run) == logged(plain)  # steps 3 and 4 were logged twice and are shown once
    assert pictures == {"validation": [2, 4]}
    assert content(run.folder) == content(plain.folder)


@pytest.mark.slow
def test_a_generator_shows_its_sample_grids(tiny_npz, tmp_path):
    plain = mg.train_generator(tiny_npz, out=tmp_path / "plain", **GENERATOR)
    run = mg.train_generator(tiny_npz, out=tmp_path / "run", track="tensorboard", **GENERATOR)
    assert content(run.folder) == content(plain.folder)
    scalars, pictures = events(run.folder)
    assert scalars == logged(plain)
    assert pictures == {"samples": [1, 2]}


@pytest.mark.parametrize(("name", "how"), [("tensorboard", r"'\.\[track\]'"), ("wandb", "pip install wandb")])
def test_a_tracker_that_is_not_installed_is_refused_with_how_to_install_it(name, how, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"track is {name}, which is not installed: .*{how}.*leave `track` out"):
        sg.train("sim:8", out=tmp_path / "run", track=name)
    with pytest.raises(ConfigError, match=f"track is {name}, which is not installed"):
        mg.train_generator("sim:8", out=tmp_path / "run", track=name)
    assert not (tmp_path / "run").exists()
    refuse_no_tracker(None)


class Fake:
    """Accelerate's side of any tracker, which keeps what it is told."""

    told: list = []  # noqa: RUF012
    made: list = []  # noqa: RUF012
    fails = ""

    def __init__(self, *words, **more) -> None:
        self.made.append((words, more))

    def start(self) -> None:
        if self.fails == "start":
            raise OSError("no network")

    def store_init_configuration(self, values) -> None:
        self.told.append(values)

    def log(self, values, step=None) -> None:
        if self.fails == "log":
            raise OSError("no network")
        self.told.append((step, values))

    def log_images(self, values, step=None) -> None:
        self.told.append((step, list(values)))

    def finish(self) -> None:
        self.told.append("finished")


@pytest.fixture
def fake(monkeypatch) -> type[Fake]:
    from accelerate import tracking as theirs

    Fake.told, Fake.made, Fake.fails = [], [], ""
    monkeypatch.setattr(theirs, "WandBTracker", Fake)
    monkeypatch.setattr(theirs, "TrackioTracker", Fake)
    return Fake


def test_a_run_that_was_not_tracked_from_the_start_is_told_whole(fake, tmp_path):
    tracker = Tracker("wandb", tmp_path / "run", "segmenter train", {"config": {"steps": 4, "crop": None}})
    tracker.start(1, [{"step": 1, "loss": 2.0, "iou_rock": None}])
    tracker.log(2, {"loss": 1.0, "iou_rock": float("nan")})
    tracker.show(2, "validation", np.zeros((2, 2, 3), np.uint8))
    tracker.finish()
    settings = {"config.steps": 4, "config.crop": "null"}
    assert fake.told == [settings, (1, {"loss": 2.0}), (2, {"loss": 1.0}), (2, ["validation"]), "finished"]
    again = Tracker("wandb", tmp_path / "run", "segmenter train", {})
    again.start(1, [{"step": 1, "loss": 2.0}])
    assert len(fake.told) == 5  # it knows the first step
    (_, first), (_, second) = fake.made
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"


def test_trackio_gets_one_name_for_one_run(fake, tmp_path):
    for _ in range(2):
        Tracker("trackio", tmp_path / "run", "segmenter train", {}).start(0, [])
    (words, first), (_, second) = fake.made
    assert words == ("segmenter-train",)
    assert first == second
    assert first["name"].startswith("run-")


def test_a_tracker_that_fails_later_is_a_warning_and_one_that_cannot_start_an_error(fake, tmp_path, caplog):
    tracker = Tracker("wandb", tmp_path / "run", "segmenter train", {})
    tracker.start(0, [])
    fake.fails = "log"
    tracker.log(1, {"loss": 1.0})
    tracker.log(2, {"loss": 1.0})
    assert [record.getMessage() for record in caplog.records] == [
        "track: wandb failed (no network); the run goes on without it"
    ]
    fake.fails = "start"
    with pytest.raises(RunError, match=r"wandb cannot be started \(no network\); mend that, or leave `track` out"):
        Tracker("wandb", tmp_path / "other", "segmenter train", {}).start(0, [])


OFFLINE = {
    "wandb": {"WANDB_MODE": "offline"},
    "mlflow": {"MLFLOW_TRACKING_URI": "file:./mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"},
}


@pytest.mark.parametrize("name", OFFLINE)
def test_trackers_that_are_installed_work_without_a_network(name, plain, tiny_npz, tmp_path):
    pytest.importorskip(name)
    words = ["--data", str(tiny_npz), "--out", "run", "--quiet", "--set", f"track={name}"]
    settings = {key: value for key, value in SEGMENTER.items() if key != "settings"} | SEGMENTER["settings"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "segmenter.cli", "train", *words],
        cwd=tmp_path,
        env=os.environ | OFFLINE[name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert content(tmp_path / "run") == content(plain.folder)
    if name == "wandb":
        assert list((tmp_path / "run" / tracking.FOLDER / "wandb").glob("offline-run-*/*.wandb"))
    else:
        import mlflow

        store = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
        there = json.loads((tmp_path / "run" / tracking.FOLDER / "runs.json").read_text())["mlflow"]
        told = [(one.step, one.value) for one in store.get_metric_history(there, "train_loss")]
        assert told == logged(plain)["train_loss"]
