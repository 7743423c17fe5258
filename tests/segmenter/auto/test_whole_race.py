"""`segmenter auto` from data to answer at the smallest size: what it writes, and that it goes on."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from in_process import InProcess

import marsgen.cli
from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import ConfigError, RunError
from marsgen.core.stop import Stopped
from marsgen.core.storage.places import folder_bytes
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import write_classes, write_pair
from marsgen.scenes.sources import open_scenes
from segmenter.auto.config import AutoConfig
from segmenter.auto.run import Question, run_auto
from segmenter.study.config import StudyConfig

pytestmark = pytest.mark.usefixtures("plain_figures_of_module")
CLASSES = ClassSet(("ground", "crack"), (0, 1), ((90, 90, 90), (220, 40, 40)), 255)
SMALL = ["rungs=[1]", "enough_scenes=1", "seeds=2", "fewest_steps=2", "fewest_pairs=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """40 pictures of 32 x 32; half of them show a bright square, the class `crack`, which is not said to be rare."""
    folder, rng = tmp_path_factory.mktemp("painted"), np.random.default_rng(0)
    for number in range(40):
        image = rng.integers(40, 160, (32, 32, 1)).astype(np.uint8)
        labels = np.zeros((32, 32), np.uint8)
        if number % 2:
            row, column = rng.integers(2, 20, 2)
            labels[row : row + 9, column : column + 9] = 1
            image[labels == 1] = 220
        write_pair(folder, f"p{number}", image, labels, CLASSES)
    write_classes(folder, CLASSES)
    return folder


class StoppedAfter(InProcess):
    """Is told to stop when so many tasks were done."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.left = tasks

    def submit(self, task):
        if "--check-settings" not in task.commands[0]:
            if not self.left:
                raise Stopped(2)
            self.left -= 1
        return super().submit(task)


def ask(data: Path, out: Path, engine: InProcess, seconds: float = 3600.0) -> Path:
    recipes = load_config(StudyConfig, configs_folder() / "tiny" / "auto.yaml")
    question = Question(
        data=open_scenes(str(data)),
        test=None,
        class_name="crack",
        pictures=None,
        seconds=seconds,
        recipes=recipes,
        config=load_config(AutoConfig, None, SMALL),
        folder=out,
    )
    return run_auto(question, lambda: engine)


def trained(engine: InProcess) -> list[str]:
    """The trainings that were started, by the last two parts of their folder."""
    outs = [command[command.index("--out") + 1] for command in engine.ran if command[:2] == ("segmenter", "train")]
    return ["/".join(Path(out).parts[-3:]) for out in outs]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_evening_ends_with_recipe_segmenter_report_and_one_paragraph(data, tmp_path, capsys, monkeypatch):
    out, needed = tmp_path / "auto", []
    monkeypatch.setattr("segmenter.auto.room.refuse_no_room", lambda folder, size, *words, **more: needed.append(size))
    # the engine is started, six jobs are measured, then it is stopped in the race's second job: nothing is ranked
    with pytest.raises(Stopped):
        ask(data, out, StoppedAfter(8))
    assert "No recipe was ranked yet" in capsys.readouterr().out
    plan = (out / "plan.json").read_bytes()
    at_first = needed[-1]
    # goes on with the same plan, and is stopped in the confirmation: the race's leaders, unconfirmed
    second = StoppedAfter(5)
    with pytest.raises(Stopped):
        ask(data, out, second)
    assert "Not confirmed yet" in capsys.readouterr().out
    # stopped where every claimed arm has two seeds: the answer is confirmed already
    with pytest.raises(Stopped):
        ask(data, out, StoppedAfter(10))
    assert "Recommended: " in capsys.readouterr().out
    third = InProcess()
    answer = ask(data, out, third)
    assert (out / "plan.json").read_bytes() == plan
    text = answer.read_text()
    assert "Recommended: " in text
    assert "test scenes with crack" in text
    # the race and the confirmation share neither scenes nor seeds
    race, test = ({p.name for p in (out / "data" / part / "images").iterdir()} for part in ("race", "test"))
    assert not race & test
    assert len(race | test) == 40
    assert {name.split("seed")[1] for name in trained(third)} <= {"100", "101"}
    # what the disk was asked for when nothing was done yet, and what it took
    taken = sum(folder_bytes(out / stage) for stage in ("race", "confirm", "final"))
    assert 0.8 * taken < at_first < 2.5 * taken, (at_first, taken)
    assert needed[-1] < at_first
    # what it ends with
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["train"]["steps"] == 8
    answered = json.loads((out / "answer.json").read_text())
    assert (out / "final" / "runs" / f"{answered['recommended']}-seed100" / "best.safetensors").is_file()
    assert (out / "confirm" / "results" / "study.html").is_file()
    assert "half_the_pairs" in (out / "confirm.yaml").read_text()
    # a finished one only repeats its answer
    last = InProcess()
    assert ask(data, out, last).read_text() == text
    assert last.ran == []


@pytest.mark.slow
def test_a_budget_that_is_too_small_says_how_much_is_needed(data, tmp_path):
    with pytest.raises(ConfigError, match=r"--budget: 1s is too little here; the smallest race .* needs about \d+"):
        ask(data, tmp_path / "auto", InProcess(), seconds=1.0)
    assert not (tmp_path / "auto" / "plan.json").exists()
    assert not (tmp_path / "auto" / "race").exists()


def test_a_disk_without_room_for_the_smallest_race_is_refused_and_nothing_is_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000))
    with pytest.raises(
        RunError, match=r"auto: a copy of the scenes and the smallest race need about \d+\.\d MB and 0\.5"
    ):
        ask(data, tmp_path / "auto", InProcess())
    assert not (tmp_path / "auto").exists()


@pytest.mark.slow
def test_a_disk_without_room_for_the_plan_is_refused_before_the_race(data, tmp_path, monkeypatch):
    out = tmp_path / "auto"
    free = lambda path: SimpleNamespace(free=0 if (out / "plan.json").exists() else 10**12)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", free)
    with pytest.raises(RunError, match="auto: what is left of race, confirmation and last training need about"):
        ask(data, out, InProcess())
    assert not (out / "race").exists()


@pytest.mark.skipif(os.name == "nt", reason="no process takes the place of another there")
def test_marsgen_auto_becomes_segmenter_auto(monkeypatch):
    became = []
    monkeypatch.setattr("os.execv", lambda program, words: became.append(words[1:]))
    marsgen.cli.app(["auto", "--data", "d", "--set", "seeds=2", "--help"], standalone_mode=False)
    assert became == [["-m", "segmenter.cli", "auto", "--data", "d", "--set", "seeds=2", "--help"]]
