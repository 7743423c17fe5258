"""A budget that is used up in the midst of a race or of the confirmation, and records that are damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess
from test_race import RECIPES, plan
from test_whole_race import CLASSES, data  # noqa: F401, the second is a fixture

from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.scenes.readers.arrays import ArrayScenes
from marsgen.scenes.sources import open_scenes
from segmenter.auto import run
from segmenter.auto.clock import BudgetSpent, Clock, TimedEngine
from segmenter.auto.config import AutoConfig
from segmenter.auto.run import Question
from segmenter.study.config import StudyConfig


@pytest.fixture
def question(tmp_path: Path) -> Question:
    asked = Question(
        data=ArrayScenes([np.zeros((32, 32), np.uint8)] * 2, None, CLASSES),
        test=None,
        class_name="crack",
        pictures=None,
        seconds=3600.0,
        recipes=RECIPES,
        config=AutoConfig(),
        folder=tmp_path / "auto",
    )
    asked.__dict__["rare_training"] = 20
    return asked


@pytest.fixture
def engine(tmp_path: Path) -> TimedEngine:
    return TimedEngine(InProcess, Clock(tmp_path / "clock.json"))


def rungs_until(number: int, asked: list[int]):
    """In place of `_run_rung`: every arm gains, the earlier listed ones more, until the budget is spent in a rung."""

    def run_rung(_, study, arms, engine, rung: int) -> dict[str, float]:
        asked.append(rung)
        if rung == number:
            raise BudgetSpent
        return {arm: 0.1 - 0.01 * place for place, arm in enumerate(arms)}

    return run_rung


def test_a_race_without_one_whole_rung_chooses_nothing(question, engine, monkeypatch):
    monkeypatch.setattr(run, "_run_rung", rungs_until(1, []))
    with pytest.raises(BudgetSpent):
        run._race(question, plan(), engine)
    assert not (question.folder / "race" / "chosen.json").exists()


def test_a_race_that_ends_early_chooses_by_its_whole_rungs(question, engine, monkeypatch, capsys):
    asked: list[int] = []
    monkeypatch.setattr(run, "_run_rung", rungs_until(2, asked))
    run._race(question, plan(), engine)
    assert "rung 2 of the race does not fit; the choice is that of rung 1\n" in capsys.readouterr().out
    (rung,) = run.read_rungs(question.folder)
    best = [arm for arm in plan().arms if arm != RECIPES.baseline]
    assert (rung.seeds, rung.kept[0]) == (1, best[0])
    assert run.read_chosen(question.folder) == (
        next(arm for arm in best if arm not in question.with_extra),
        next(arm for arm in best if arm in question.with_extra),
    )
    # the later rungs may take no time of what comes after them
    assert engine.deadline < question.seconds
    # what was chosen stays chosen
    run._race(question, plan(), engine)
    assert asked == [1, 2]


def write_choice(question: Question) -> None:
    (question.folder / "race").mkdir(parents=True)
    (question.folder / "race" / "chosen.json").write_text(json.dumps({"bar": "oversampled", "winner": "pasted"}))


def test_a_confirmation_that_does_not_fit_is_reported_with_its_whole_seeds(question, engine, monkeypatch, capsys):
    write_choice(question)
    measured = []

    def confirm(study, engine) -> None:
        measured.append((len(study.config.seeds), engine.deadline))
        if len(measured) == 1:
            raise BudgetSpent

    monkeypatch.setattr(run, "_run_confirmation", confirm)
    monkeypatch.setattr(run, "finished_part", lambda study: study.config.model_copy(update={"seeds": (100, 101)}))
    assert run._confirm(question, plan(), engine) is False
    assert "the confirmation does not fit; it is reported with 2 seeds\n" in capsys.readouterr().out
    (seeds, before_last_training), (fewer, no_limit) = measured
    assert (seeds, fewer, no_limit) == (5, 2, float("inf"))
    assert before_last_training < engine.deadline == question.seconds


def test_a_confirmation_without_two_whole_seeds_claims_nothing(question, engine, monkeypatch):
    def confirm(study, engine) -> None:
        raise BudgetSpent

    write_choice(question)
    monkeypatch.setattr(run, "_run_confirmation", confirm)
    with pytest.raises(BudgetSpent):  # nothing of it is finished
        run._confirm(question, plan(), engine)


def test_what_a_spent_budget_leaves_is_an_answer_and_goes_on_with_a_larger_one(data, tmp_path, monkeypatch, capsys):  # noqa: F811
    def spend(question, plan, engine) -> None:
        raise BudgetSpent

    monkeypatch.setattr(run, "_plan", lambda question, look, engine, clock: plan())
    monkeypatch.setattr(run, "_refuse_full_disk", lambda *given: None)  # the plan is one of other recipes
    monkeypatch.setattr(run, "_race", spend)
    folder = tmp_path / "auto"
    question = Question(
        data=open_scenes(str(data)),
        test=None,
        class_name="crack",
        pictures=None,
        seconds=3600.0,
        recipes=load_config(StudyConfig, configs_folder() / "tiny" / "auto.yaml"),
        config=AutoConfig(),
        folder=folder,
    )
    assert run.run_auto(question, InProcess) == folder / "answer.md"
    said = capsys.readouterr().out
    assert "the budget is used up; the same command with a larger --budget goes on\n" in said
    assert said.endswith((folder / "answer.md").read_text())
    assert "No recipe was ranked yet" in said
    assert not Run.load(folder, "segmenter auto", finished=False).finished


@pytest.mark.parametrize(("name", "read"), [("plan", run.read_plan), ("race/race", run.read_rungs)])
def test_a_damaged_record_is_named(name, read, tmp_path):
    path = tmp_path / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"half')
    with pytest.raises(RunError, match=rf"{path.name}.*delete it and repeat the command"):
        read(tmp_path)
