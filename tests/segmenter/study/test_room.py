"""A study asks the disk for all that it has still to write before it trains anything."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from in_process import InProcess

from marsgen.core.config import build_config
from marsgen.core.errors import RunError
from marsgen.core.rehearsal import rehearse
from marsgen.core.storage.places import Room, folder_bytes, on_disk
from segmenter import api
from segmenter.config import TrainConfig
from segmenter.study.checks import check_data
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study
from segmenter.study.room import REPORT_BYTES, in_number, most_bytes, refuse_full_disk, rooms_of, unfinished_jobs
from segmenter.study.run import open_study, run_study
from segmenter.training.model import room_of

pytestmark = pytest.mark.usefixtures("plain_figures_of_module")
CONFIG = {
    "title": "room",
    "seeds": [0],
    "baseline": "real",
    "train": {"unet": {"width": 12}, "steps": 2, "batch_size": 2, "warmup_steps": 0, "validate_every": 2},
    "generators": {"gan": {"steps": 2, "batch_size": 2, "generator_width": 8, "discriminator_width": 8}},
    "sets": {
        "pasted": {"settings": {"n": 48}},
        "drawn": {"generator": "gan", "settings": {"n": 16, "format": "shards"}},
        "found": {"teacher": "real"},
    },
    "arms": {"real": {}, "pasted": {"extra": ["pasted"]}, "all": {"extra": ["drawn", "found"]}},
    "statistics": {"resamples": 200},
}


@pytest.fixture(scope="module")
def study(tiny_npz, tiny_test_npz, tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("room") / "study"
    return Study(build_config(StudyConfig, CONFIG, "study"), folder, str(tiny_npz), str(tiny_test_npz), None)


@pytest.fixture(scope="module")
def said(study) -> dict[str, Room]:
    return rooms_of(study, check_data(study), unfinished_jobs(study))


@pytest.fixture(scope="module")
def finished(study, said) -> Path:
    """The study's folder, run to its end after it was asked what it takes."""
    engine = InProcess()
    with contextlib.closing(open_study(study, engine)) as run:
        run_study(study, run, engine)
    return study.folder


def without_room(monkeypatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


@pytest.mark.slow
def test_a_study_takes_about_what_was_said(said, finished):
    for name, room in said.items():
        taken = folder_bytes(finished / name)
        assert 0.7 * taken < room.kept < 1.6 * taken, (name, room.kept, taken)
    whole = folder_bytes(finished)
    assert whole == pytest.approx(sum(room.kept for room in said.values()) + REPORT_BYTES, rel=0.25)


def test_a_distilled_generator_takes_what_its_teacher_takes_and_is_not_asked_itself(study, monkeypatch):
    asked = []
    monkeypatch.setattr("segmenter.study.room.ask", lambda words: asked.append(words) or [{"kept": 7, "working": 5}])
    generators = {"slow": {"kind": "diffusion"}, "fast": {"kind": "distilled", "teacher": "slow"}}
    sets = {"drawn": {"generator": "fast", "settings": {"n": 4}}}
    changed = {"generators": generators, "sets": sets, "arms": {"real": {}, "all": {"extra": ["drawn"]}}}
    other = replace(study, config=build_config(StudyConfig, CONFIG | changed, "study"), folder=study.folder / "new")
    rooms = rooms_of(other, check_data(other), unfinished_jobs(other))
    assert rooms["generators/slow"] == rooms["generators/fast"] == Room(7, 5)
    assert [[*words[:2], words[-3:]] for (words,) in asked] == [
        ["marsgen", "train-generator", ["--out", str(other.folder / "generators" / "slow"), "--disk-need"]]
    ]


def test_all_generators_are_asked_at_once(study, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "segmenter.study.room.ask",
        lambda commands: asked.append(commands) or [{"kept": n, "working": 1} for n, _ in enumerate(commands)],
    )
    generators = {"one": {"steps": 2}, "two": {"steps": 3}}
    sets = {name: {"generator": name, "settings": {"n": 4}} for name in generators}
    changed = {"generators": generators, "sets": sets, "arms": {"real": {}, "all": {"extra": ["one", "two"]}}}
    other = replace(study, config=build_config(StudyConfig, CONFIG | changed, "study"), folder=study.folder / "new")
    rooms = rooms_of(other, check_data(other), unfinished_jobs(other))
    assert [rooms[f"generators/{name}"].kept for name in generators] == [0, 1]
    assert [[command[command.index("--out") + 1] for command in commands] for commands in asked] == [
        [str(other.folder / "generators" / name) for name in generators]
    ]


def test_a_disk_without_room_is_refused_in_a_line_and_nothing_is_written(study, tmp_path, monkeypatch, capsys):
    from segmenter.cli import main

    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(CONFIG | {"arms": {"real": {}, "pasted": {"extra": ["pasted"]}}})
    )
    without_room(monkeypatch, 2_000_000)
    words = ["segmenter", "study", str(tmp_path / "study.yaml"), "--data", study.data, "--test", str(study.test)]
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match="2"):
        main()
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith(
        f"error: {tmp_path / 'new'}: the 1 set and 2 trainings that are left of this study need about "
    )
    assert "MB and 2.0 MB are free; give --out on another disk, or free some there" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_repeated_study_counts_what_is_left(study, said, finished, tmp_path, monkeypatch):
    data = check_data(study)
    without_room(monkeypatch, 0)
    refuse_full_disk(study, data, 1)  # nothing is left
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "jobs" / "runs" / "pasted-seed0.json").unlink()
    again = Study(study.config, copy, study.data, study.test, None)
    assert unfinished_jobs(again) == ["runs/pasted-seed0"]
    with pytest.raises(
        RunError, match="the 1 training that are left"
    ):  # its weights lie there, its checkpoint does not
        refuse_full_disk(again, data, 1)
    shutil.rmtree(copy / "runs" / "pasted-seed0")
    needed = said["runs/pasted-seed0"].most + REPORT_BYTES
    without_room(monkeypatch, needed)
    refuse_full_disk(again, data, 1)
    without_room(monkeypatch, needed - 1)
    with pytest.raises(RunError, match="need about"):
        refuse_full_disk(again, data, 1)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"ema_decay": 0.9, "fork_at": 0.5},
        pytest.param({"void_weight": 0.1, "log_every": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_training_takes_about_what_was_said(more, tiny_npz, tmp_path):
    config = TrainConfig(unet={"width": 12}, steps=4, batch_size=2, warmup_steps=0, validate_every=2, **more)
    room = room_of(config, 1, 4, 48)
    begun = rehearse(lambda out: api.train(str(tiny_npz), out=out, config=config), "train", steps=3)
    assert room.working == pytest.approx(2 * on_disk(begun.files["run/last.safetensors"]), rel=0.03)
    run = api.train(str(tiny_npz), out=tmp_path / "run", config=config)
    assert room.kept == pytest.approx(folder_bytes(run.folder), rel=0.1)


def test_a_training_without_room_is_refused(tiny_npz, tmp_path, monkeypatch):
    without_room(monkeypatch, 1_000_000)
    with pytest.raises(RunError, match="run: weights and checkpoints need about"):
        api.train(str(tiny_npz), out=tmp_path / "run", steps=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rooms", "width", "most"),
    [
        ([(5, 3), (1, 9), (2, 1)], 1, 15),
        ([(5, 3), (1, 9), (2, 1)], 2, 18),
        ([(5, 3), (1, 9), (2, 1)], 9, 21),
        ([(5, 0), (1, 0)], 1, 6),
    ],
)
def test_what_is_kept_adds_up_and_what_is_worked_with_does_not(rooms, width, most):
    assert most_bytes([Room(*room) for room in rooms], width) == most


def test_jobs_in_number():
    assert in_number(["generators/a", "sets/b", "sets/c", "runs/d"]) == "1 generator, 2 sets and 1 training"
    assert in_number(["runs/d", "runs/e"]) == "2 trainings"
