"""What the command line hands on to the functions behind it, and what it refuses before."""

import contextlib
from pathlib import Path

import pytest
import yaml
from test_flow import call

import segmenter.auto.run
import segmenter.dry_run
import segmenter.study.run
from marsgen.core.config import configs_folder
from marsgen.core.rehearsal import Estimate
from marsgen.engines.local_pool import LocalPool


def test_auto_asks_what_the_options_say(tmp_path, monkeypatch, capsys):
    asked = []

    def run_auto(question, open_engine) -> None:
        with contextlib.closing(open_engine()) as engine:
            asked.append((question, engine))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter.auto.run, "run_auto", run_auto)
    recipes = str(configs_folder() / "tiny" / "auto.yaml")
    words = ("segmenter", "auto", "--data", "sim:12", "--budget", "45m", "--recipes", recipes, "--set", "seeds=3")
    assert call(*words, "--test", "sim:6,seed=1", "--unlabelled", "sim:4", "--workers", "2", "--out", "answer") == 0
    assert call(*words) == 0
    (question, engine), (plain, _) = asked
    assert (question.data.location, question.test.location, question.unlabelled) == ("sim:12", "sim:6,seed=1", "sim:4")
    assert (question.class_name, question.seconds, question.config.seeds) == ("big_rock", 2700, 3)
    assert question.folder == Path("answer")
    assert isinstance(engine, LocalPool)
    assert engine.slots == 2
    assert (plain.test, plain.unlabelled, plain.folder) == (None, None, Path("outputs/auto"))
    monkeypatch.setattr(segmenter.dry_run, "auto", lambda scenes, recipes, seconds: Estimate(seconds, 0, 0))
    capsys.readouterr()
    assert call(*words, "--dry-run") == 0
    said = capsys.readouterr().out
    assert yaml.safe_load(said)["seeds"] == 3
    assert said.endswith("# dry run: about 45 min, 0.0 MB of memory, 0.0 MB of disk\n")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("auto", "--data", "sim:12", "--budget", "soon"), "--budget"),
        (("auto", "--data", "sim:12", "--class", "rok"), "no class 'rok'"),
        (("auto", "--data", "sim:12", "--recipes", "absent.yaml"), "--recipes absent.yaml: no such file"),
        (
            ("evaluate", "a", "b", "--data", "sim:4", "--out", "c"),
            "a: no run folder here",
        ),
        (("predict", "a", "--data", "sim:4"), "a: no run folder here"),
        (("settings", "predic"), "settings predic: unknown (did you mean 'predict'?)"),
    ],
)
def test_what_cannot_be_done_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("segmenter", *words) == 2
    answer = capsys.readouterr().err
    assert said in answer
    assert answer.startswith("error: ")
    assert len(answer.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_study_runs_with_what_the_options_say(tmp_path, monkeypatch, capsys):
    ran = []

    def run_study(study, run, engine) -> Path:
        ran.append((study, engine.slots))
        return study.folder / "results" / "study.html"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter.study.run, "open_study", lambda study, engine: None)
    monkeypatch.setattr(segmenter.study.run, "run_study", run_study)
    words = ("segmenter", "study", str(configs_folder() / "tiny" / "study.yaml"), "--data", "sim:12", "--folds", "3")
    assert call(*words, "--workers", "2") == 0
    assert capsys.readouterr().out == f"wrote {Path('outputs/study-study/results/study.html')}\n"
    ((study, slots),) = ran
    assert (study.config.folds, study.folder, slots) == (3, Path("outputs/study-study"), 2)
    monkeypatch.setattr(segmenter.dry_run, "study", lambda study: Estimate(len(study.folds), 0, 0))
    assert call(*words, "--dry-run") == 0
    said = capsys.readouterr().out
    assert yaml.safe_load(said)["folds"] == 3
    assert "# dry run: about 3 s," in said
    assert len(ran) == 1
