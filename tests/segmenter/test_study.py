"""A study: planned so that nothing leaks, run once, gone on with, and answered in words where it cannot be run."""

import json
import os
import resource
from pathlib import Path

import pytest
import yaml

from marsgen.config import configs_folder, load_config
from marsgen.errors import ConfigError, DataError, InputError, RunError
from marsgen.team import ALONE
from segmenter import jobs as jobs_file
from segmenter.study import Study, StudyConfig, open_study, plan_jobs, run_study

TINY = configs_folder() / "tiny" / "study.yaml"


@pytest.fixture
def study_at(tiny_npz, tiny_test_npz):
    def build(folder: Path, *overrides: str, test: bool = True) -> Study:
        config = load_config(StudyConfig, TINY, overrides)
        return Study(config, folder, str(tiny_npz), str(tiny_test_npz) if test else None, None)

    return build


@pytest.fixture
def commands(monkeypatch):
    """Every command that jobs run, in this process instead of one of its own: the same code, without the imports."""
    ran: list[tuple[str, ...]] = []

    def run(command, log, lock):
        import marsgen.cli
        import segmenter.cli

        app = {"marsgen": marsgen.cli, "segmenter": segmenter.cli}[command[0]].app
        ran.append(tuple(command))
        try:
            app(list(command[1:]), standalone_mode=False)
        except InputError as problem:
            log.write(f"error: {problem}\n")
            return 2, resource.getrusage(resource.RUSAGE_SELF)
        return 0, resource.getrusage(resource.RUSAGE_SELF)

    monkeypatch.setattr(jobs_file, "_run_command", run)
    return ran


def run(study: Study) -> Path:
    return run_study(study, open_study(study, ALONE), ALONE)


# what is planned


def test_generators_come_first_then_the_baseline_and_every_need_before_what_needs_it(tmp_path):
    study = Study(
        load_config(StudyConfig, configs_folder() / "studies" / "rare_class_cpu.yaml"), tmp_path, "d", "t", None
    )
    jobs = plan_jobs(study)
    names = [job.name for job in jobs]
    assert names[:2] == ["generators/gan", "generators/diffusion"]
    power = "power/5-seeds-5-arms"
    assert names[2:8] == [*(f"cells/oversampled-seed{seed}" for seed in range(5)), power]
    assert len(names) == len(set(names)) == 2 + 1 + 4 + 5 * 6  # generators, power, sets, cells
    for number, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:number]), job.name
    by_name = {job.name: job for job in jobs}
    assert set(by_name["sets/chosen"].needs) == {"generators/diffusion", "cells/oversampled-seed0"}
    assert by_name["cells/chosen-seed1"].needs == ("sets/chosen", power)


def test_all_arms_get_the_same_steps_and_their_own_settings(tmp_path, study_at):
    jobs = {job.name: yaml.safe_load(job.config) for job in plan_jobs(study_at(tmp_path)) if job.commands}
    assert {name: c["steps"] for name, c in jobs.items() if name.startswith("cells/")} == dict.fromkeys(
        ["cells/oversampled-seed0", "cells/oversampled-seed1", "cells/pasted-seed0", "cells/pasted-seed1"], 8
    )
    assert [jobs[f"cells/pasted-seed{seed}"]["seed"] for seed in (0, 1)] == [0, 1]


def test_folds_reach_every_command_so_that_nothing_leaks(tmp_path, study_at):
    study = study_at(tmp_path, "folds=3", test=False)
    jobs = plan_jobs(study)
    assert len([job for job in jobs if job.name.startswith("cells/")]) == 2 * 2 * 3
    for job in jobs:
        if job.commands:
            data = yaml.safe_load(job.config)["data"]
            assert (data["folds"], f"fold{data['fold']}") == (3, job.name.rsplit("-", 1)[1])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("baseline=oversample", r"baseline: no arm 'oversample' \(did you mean 'oversampled'\?\)"),
        ("arms.pasted.extra=[past]", r"arms\.pasted\.extra: no set 'past' \(did you mean 'pasted'\?\)"),
        ("arms.pasted.train.steps=9", r"every arm gets the same; set `train\.steps`"),
        ("arms.pasted.train.seed=9", r"the study's `seeds` say it"),
        ("seeds=[1,1]", r"seeds \[1, 1\]: each may stand there once"),
        ("sets.pasted.judge=pasted", r"'pasted' learns from synthetic scenes; name a real one"),
        ("sets.pasted.generator=gan", r"no generator 'gan'; there are copy-paste"),
        ("folds=1", r"folds is 1"),
        ("arms.pasted.trian.lr=1", r"unknown key 'arms\.pasted\.trian' \(did you mean 'train'\?\)"),
    ],
)
def test_a_study_that_cannot_be_is_answered_in_words(tmp_path, override, words, study_at):
    with pytest.raises(ConfigError, match=words):
        study_at(tmp_path, override)


def test_an_arms_mistake_is_found_before_anything_is_trained(tmp_path, study_at):
    study = study_at(tmp_path / "study", "arms.pasted.train.learning_rate=1")
    with pytest.raises(ConfigError, match=r"arms\.pasted: unknown key 'learning_rate'"):
        open_study(study, ALONE)
    assert not study.folder.exists()


def test_a_sets_mistake_is_found_before_anything_is_trained(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"sets/pasted: .*unknown key 'pastes' \(did you mean 'paste'\?\)"):
        open_study(study_at(tmp_path / "study", "sets.pasted.settings.pastes.scale=1"), ALONE)


def test_an_arm_that_knows_fewer_rocks_than_its_set_is_refused(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"arms\.pasted and sets\.pasted use other parts of the data"):
        plan_jobs(study_at(tmp_path, "arms.pasted.train.data.rare_scenes=3"))
    plan_jobs(study_at(tmp_path, "arms.pasted.train.data.rare_scenes=3", "sets.pasted.settings.data.rare_scenes=3"))


def test_data_to_score_on_are_needed_and_only_once(tmp_path, study_at):
    with pytest.raises(DataError, match=r"nothing to score on; give labelled scenes with --test"):
        open_study(study_at(tmp_path / "a", test=False), ALONE)
    with pytest.raises(ConfigError, match=r"leave out --test, or the folds"):
        open_study(study_at(tmp_path / "b", "folds=2"), ALONE)


# what is done


def test_a_study_runs_every_cell_once_and_ends_with_a_page(tmp_path, commands, study_at):
    study = study_at(tmp_path / "study")
    page = run(study)
    assert page.read_text().count("rock tiles oversampled") > 0
    assert [command[1] for command in commands].count("train") == 4
    assert [command[1] for command in commands].count("evaluate") == 4
    power = json.loads((study.folder / "power.json").read_text())
    assert power["seeds"] == 2
    made = [p for kind in ("counts", "results") for p in (study.folder / kind).rglob("*") if p.is_file()]
    first = {p: p.read_bytes() for p in made}
    commands.clear()
    run(study)
    assert commands == []
    assert first == {p: p.read_bytes() for p in made}


def test_an_arm_can_be_added_later_and_only_its_cells_run(tmp_path, commands, study_at):
    run(study_at(tmp_path / "study"))
    commands.clear()
    run(study_at(tmp_path / "study", "arms.real.title=real only"))
    assert [command[1] for command in commands] == ["train", "evaluate"] * 2
    results = json.loads((tmp_path / "study/results/results.json").read_text())
    assert "real only" in json.dumps(results)


def test_what_all_arms_share_cannot_change_in_a_folder_that_is_filled(tmp_path, commands, study_at):
    open_study(study_at(tmp_path / "study"), ALONE).close()
    with pytest.raises(RunError, match=r"belongs to another run \(config\.train\.steps is 8 there and 9 here\)"):
        open_study(study_at(tmp_path / "study", "train.steps=9"), ALONE)


def test_a_killed_study_goes_on_and_ends_with_the_same_counts(tmp_path, commands, monkeypatch, study_at):
    whole = run(study_at(tmp_path / "whole")).parents[1] / "counts"
    study, alive = study_at(tmp_path / "killed"), jobs_file._run_command

    def die(command, log, lock):
        if "pasted-seed0" in " ".join(command) and command[1] == "evaluate":
            raise KeyboardInterrupt
        return alive(command, log, lock)

    monkeypatch.setattr(jobs_file, "_run_command", die)
    opened = open_study(study, ALONE)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, opened, ALONE)
    opened.close()
    monkeypatch.setattr(jobs_file, "_run_command", alive)
    again = run(study).parents[1] / "counts"
    for path in whole.glob("*.npz"):
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_folds_score_every_scene_once(tmp_path, commands, study_at):
    study = study_at(tmp_path / "study", "folds=2", "seeds=[0,1]", test=False)
    run(study)
    images = json.loads((study.folder / "counts" / "images.json").read_text())
    assert len(images["names"]) == len(set(images["names"]))
    assert sorted(set(images["folds"])) == [0, 1]
    assert os.path.isdir(study.folder / "cells" / "pasted-seed1-fold1")
