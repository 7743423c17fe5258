"""A study: its plan, what it refuses, and what it does when it is started, repeated, extended, moved or killed."""

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from in_process import InProcess, call

from marsgen.core.config import configs_folder, load_config
from marsgen.core.errors import ConfigError, DataError, InputError, RunError
from marsgen.core.stop import Stopped
from segmenter.study.collect import read_evaluations
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study, name_of_data
from segmenter.study.plan import plan_jobs
from segmenter.study.run import open_study, run_study

pytestmark = pytest.mark.usefixtures("plain_figures_of_module")
TINY = configs_folder() / "tiny" / "study.yaml"


@pytest.fixture(scope="module")
def study_at(tiny_npz, tiny_test_npz):
    def build(folder: Path, *overrides: str, test: bool = True) -> Study:
        config = load_config(StudyConfig, TINY, ["statistics.resamples=200", *overrides])
        return Study(config, folder, str(tiny_npz), str(tiny_test_npz) if test else None, None)

    return build


@pytest.fixture(scope="module")
def finished(tmp_path_factory, study_at) -> tuple[Path, list[tuple[str, ...]]]:
    """The folder of a finished study, and the commands that were run for it."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    return folder, run(study_at(folder))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished study's folder, to be changed."""
    return Path(shutil.copytree(finished[0], tmp_path / "study"))


PSEUDO = ["sets.pseudo.teacher=pasted", "arms.pseudo.extra=[pseudo]", "arms.pseudo.train.rare_fraction=0.25"]
"""an arm that is trained on pseudo-labels of all runs of `pasted`"""


def run(study: Study) -> list[tuple[str, ...]]:
    """Run a study to its end; the commands that it took."""
    engine = InProcess()
    with contextlib.closing(open_study(study, engine)) as opened:
        run_study(study, opened, engine)
    return engine.ran


# what is planned


def test_generators_come_first_then_the_baseline_and_every_need_before_what_needs_it(tmp_path):
    study = Study(
        load_config(StudyConfig, configs_folder() / "studies" / "rare_class.yaml"), tmp_path, "d", "t", None, "u"
    )
    jobs = plan_jobs(study)
    names = [job.name for job in jobs]
    assert names[:2] == ["generators/gan", "generators/diffusion"]
    power = "power/5-seeds-13-arms"
    assert names[2:8] == [*(f"runs/oversampled-seed{seed}" for seed in range(5)), power]
    assert len(names) == len(set(names)) == 2 + 1 + 11 + 5 * 14  # generators, power, sets, runs
    for number, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:number]), job.name
    by_name = {job.name: job for job in jobs}
    assert set(by_name["sets/focus_and_filter"].needs) == {"generators/diffusion", "runs/oversampled-seed0"}
    assert by_name["runs/focus_and_filter-seed1"].needs == ("sets/focus_and_filter", power)


def test_all_arms_get_the_same_steps_and_their_own_settings(tmp_path, study_at):
    jobs = {job.name: yaml.safe_load(job.config) for job in plan_jobs(study_at(tmp_path)) if job.commands}
    assert {name: c["steps"] for name, c in jobs.items() if name.startswith("runs/")} == dict.fromkeys(
        ["runs/oversampled-seed0", "runs/oversampled-seed1", "runs/pasted-seed0", "runs/pasted-seed1"], 8
    )
    assert [jobs[f"runs/pasted-seed{seed}"]["seed"] for seed in (0, 1)] == [0, 1]


def test_an_arm_may_have_seeds_of_its_own(tmp_path, study_at):
    names = [job.name for job in plan_jobs(study_at(tmp_path, "arms.pasted.seeds=[1,7]")) if "runs/" in job.name]
    assert sorted(names) == [
        "runs/oversampled-seed0",
        "runs/oversampled-seed1",
        "runs/pasted-seed1",
        "runs/pasted-seed7",
    ]
    with pytest.raises(ConfigError, match=r"seeds \[7, 7\] has a seed twice"):
        study_at(tmp_path, "arms.pasted.seeds=[7,7]")


def test_what_can_be_found_is_said_for_every_number_of_seeds(tmp_path, study_at):
    study = study_at(tmp_path, "arms.pasted.seeds=[0]")
    assert study.config.seed_counts == [2, 1]
    assert "power/2-1-seeds-1-arms" in [job.name for job in plan_jobs(study)]


def test_an_oracle_has_every_rare_scene(tmp_path, study_at):
    limited = ("oracle=all", "train.data.rare_scenes=3")
    with pytest.raises(ConfigError, match=r"oracle: arm 'all' is limited to 3 rare scenes; set arms\.all\.train\.data"):
        study_at(tmp_path, *limited, "arms.all.title=all rocks")
    study = study_at(tmp_path, *limited, "arms.all.train.data.rare_scenes=null")
    (job, *_) = (job for job in plan_jobs(study) if job.name.startswith("runs/all-"))
    assert yaml.safe_load(job.config)["data"] == {"rare_scenes": None}


def test_arms_that_differ_late_share_the_first_steps_of_the_baseline(tmp_path, study_at):
    late = ["arms.late.extra=[pasted]", "arms.late.train={rare_fraction: 0.25, extra_steps: [0.75, 1]}"]
    weighted = ["arms.other.extra=[pasted]", "arms.other.train={class_weight_power: 1, extra_steps: [0.5, 1]}"]
    always = "arms.pasted.train.extra_steps=[0,1]"
    jobs = {job.name: job for job in plan_jobs(study_at(tmp_path, "baseline=oversampled", always, *late, *weighted))}
    forks = {name: job.commands[0] for name, job in jobs.items() if job.commands and "--fork" in job.commands[0]}
    assert set(forks) == {"runs/late-seed0", "runs/late-seed1"}
    for seed in (0, 1):
        command, trunk = forks[f"runs/late-seed{seed}"], f"runs/oversampled-seed{seed}"
        assert command[command.index("--fork") + 1] == str(tmp_path / trunk)
        assert trunk in jobs[f"runs/late-seed{seed}"].needs
        assert yaml.safe_load(jobs[trunk].config)["fork_at"] == 0.75
    assert "fork_at" not in yaml.safe_load(jobs["runs/pasted-seed0"].config)


def test_folds_reach_every_command_so_that_nothing_leaks(tmp_path, study_at):
    study = study_at(tmp_path, "folds=3", test=False)
    jobs = plan_jobs(study)
    assert len([job for job in jobs if job.name.startswith("runs/")]) == 2 * 2 * 3
    for job in jobs:
        if job.commands:
            data = yaml.safe_load(job.config)["data"]
            assert (data["folds"], f"fold{data['fold']}") == (3, job.name.rsplit("-", 1)[1])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("baseline=oversample", r"baseline: no arm 'oversample' \(did you mean 'oversampled'\?\)"),
        ("arms.pasted.extra=[past]", r"arms\.pasted\.extra: no set 'past' \(did you mean 'pasted'\?\)"),
        (
            "arms.pasted.train.steps=9",
            r"arms\.pasted\.train\.steps: all arms train for the same steps; set `train\.steps`",
        ),
        ("arms.pasted.train.seed=9", r"arms\.pasted\.train\.seed: set `seeds` instead"),
        ("seeds=[1,1]", r"seeds \[1, 1\] has a seed twice; give each once"),
        ("sets.pasted.judge=pasted", r"sets\.pasted: arm 'pasted' is trained on extra scenes; name an arm without"),
        ("sets.pasted.generator=gan", r"sets\.pasted\.generator: no generator 'gan'; there are copy-paste"),
        ("folds=1", r"folds is 1"),
        ("sets.pasted.teacher=pastd", r"sets\.pasted\.teacher: no arm 'pastd' \(did you mean 'pasted'\?\)"),
        (
            "sets.pasted={teacher: oversampled, judge: oversampled}",
            r"sets\.pasted: a set with a teacher .*leave out generator, judge and focus",
        ),
        (
            "sets.pasted={teacher: oversampled, focus: oversampled}",
            r"sets\.pasted: a set with a teacher .*leave out generator, judge and focus",
        ),
        ("sets.pasted={teacher: pasted}", r"arms\.pasted: pasted is trained on pasted, which pasted labels: a cycle"),
        ("arms.pasted.baseline=pasted", r"arms\.pasted\.baseline is pasted, but pasted is a baseline itself"),
        (
            "arms.oversampled.baseline=pasted",
            r"arms\.oversampled\.baseline is pasted, but oversampled is a baseline itself; leave it out",
        ),
        ("oracle=oversampld", r"oracle: no arm 'oversampld' \(did you mean 'oversampled'\?\)"),
        ("oracle=oversampled", r"oracle and baseline are both oversampled"),
        ("oracle=pasted", r"oracle: arm 'pasted' trains on pasted; name an arm without sets"),
        ("arms._x.title=x", r"'_x' becomes the name of a folder; .*begin with a letter or digit"),
        (
            "generators.fast.kind=distilled",
            r"generators\.fast: kind is distilled, and no teacher is named; set generators\.fast\.teacher to",
        ),
        (
            "generators.fast={kind: distilled, teacher: gna}",
            r"generators\.fast\.teacher: no generator 'gna'",
        ),
        (
            "generators={fast: {kind: distilled, teacher: slow}, slow: {kind: distilled, teacher: fast}}",
            r"generators\.slow\.teacher: fast would learn from itself",
        ),
        (
            "generators={gan: {}, fast: {kind: distilled, teacher: gan}}",
            r"generators\.fast\.teacher: gan is of kind pix2pix; only a diffusion generator",
        ),
        (
            "generators={slow: {kind: diffusion}, fast: {kind: distilled, teacher: slow, data: {rare_scenes: 3}}}",
            r"generators\.fast\.data: a distilled generator learns from the scenes of its teacher, slow",
        ),
        ("generators.gan.teacher=gan", r"generators\.gan\.teacher: a generator of kind pix2pix learns from scenes"),
        ("arms.pasted.trian.lr=1", r"unknown key 'arms\.pasted\.trian' \(did you mean 'train'\?\)"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused_reason_first(tmp_path, override, words, study_at):
    with pytest.raises(ConfigError, match=r"^config: " + words):
        study_at(tmp_path, override)


@pytest.mark.parametrize("where", ["train", "arms.pasted.train", "sets.pasted.settings", "generators.gan"])
def test_a_part_of_a_study_in_folds_has_none_of_its_own(tmp_path, where, study_at):
    own = f"{where}.data.fold=1"
    with pytest.raises(ConfigError, match=rf"{where}\.data\.fold: the study's `folds` sets it"):
        study_at(tmp_path, "folds=2", own, test=False)
    assert study_at(tmp_path, own, test=False)  # without folds of the study it may


def test_sets_and_generators_of_no_arm_are_named(tmp_path, study_at, capsys):
    study = study_at(tmp_path, "sets.more.generator=gan", "generators.gan.kind=pix2pix")
    open_study(study, InProcess()).close()
    assert "note: no arm uses sets.more, generators.gan: not made" in capsys.readouterr().err
    assert not study_at(tmp_path).config.unused


def test_an_arms_mistake_is_found_before_anything_is_trained(tmp_path, study_at):
    study = study_at(tmp_path / "study", "arms.pasted.train.learning_rate=1")
    with pytest.raises(ConfigError, match=r"arms\.pasted: unknown key 'learning_rate'"):
        open_study(study, InProcess())
    assert not study.folder.exists()


def test_an_arm_that_the_data_do_not_suit_is_refused_before_anything_is_trained(tmp_path, study_at):
    config = study_at(tmp_path).config
    with pytest.raises(DataError, match=r"rare_fraction is 0\.25, but no training scene shows a rare class"):
        open_study(Study(config, tmp_path / "a", "sim:24,rocks=0", "sim:24,seed=1,rocks=0.5", None), InProcess())
    with pytest.raises(ConfigError, match=r"best_metric is 'iou_rock'"):
        open_study(study_at(tmp_path / "b", "arms.pasted.train.best_metric=iou_rock"), InProcess())
    assert not (tmp_path / "a").exists()


def test_a_sets_mistake_is_found_before_anything_is_trained(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"sets/pasted: .*unknown key 'pastes' \(did you mean 'paste'\?\)"):
        open_study(study_at(tmp_path / "study", "sets.pasted.settings.pastes.scale=1"), InProcess())


def test_an_arm_that_knows_fewer_rocks_than_its_set_is_refused(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"arms\.pasted and sets\.pasted use other parts of the data"):
        plan_jobs(study_at(tmp_path, "arms.pasted.train.data.rare_scenes=3"))
    for known in (3, 2):  # the fewer are among the more
        plan_jobs(
            study_at(tmp_path, "arms.pasted.train.data.rare_scenes=3", f"sets.pasted.settings.data.rare_scenes={known}")
        )
    with pytest.raises(ConfigError, match=r"give both the same `data` \(rare_scenes may be lower there\)"):
        plan_jobs(study_at(tmp_path, "arms.pasted.train.data.rare_scenes=3", "sets.pasted.settings.data.rare_scenes=4"))
    plan_jobs(study_at(tmp_path, "sets.pasted.settings.data.rare_scenes=3"))


def test_a_judge_that_knows_more_rocks_than_the_arm_is_refused(tmp_path, study_at):
    few = "data.rare_scenes=3"
    overrides = [f"arms.pasted.train.{few}", f"sets.pasted.settings.{few}", "sets.pasted.judge=oversampled"]
    with pytest.raises(ConfigError, match=r"arms\.pasted and sets\.pasted\.judge \(oversampled\) use other parts"):
        plan_jobs(study_at(tmp_path, *overrides))


def test_what_arms_sets_and_generators_say_of_the_data_wins_over_what_all_share(tmp_path, study_at):
    study = study_at(
        tmp_path,
        "train.data.rare_scenes=5",
        "arms.pasted.train.data.rare_scenes=3",
        "sets.pasted.generator=gan",
        "sets.pasted.settings.data.rare_scenes=3",
        "generators.gan.data.rare_scenes=3",
        "folds=2",
    )
    data = {job.name: yaml.safe_load(job.config)["data"] for job in plan_jobs(study) if job.commands}
    for name in ("runs/pasted-seed0", "sets/pasted", "generators/gan"):
        for fold in (0, 1):
            found = data[f"{name}-fold{fold}"]
            assert (found["rare_scenes"], found["folds"], found["fold"]) == (3, 2, fold), name
    assert data["runs/oversampled-seed0-fold1"]["rare_scenes"] == 5


def test_a_distilled_generator_comes_after_its_teachers_and_has_their_scenes(tmp_path, study_at):
    few = ["sets.pasted.settings.data.rare_scenes=3", "arms.pasted.train.data.rare_scenes=3"]
    line = (
        "generators={one: {kind: distilled, teacher: two, steps: 7}, two: {kind: distilled, teacher: slow},"
        " slow: {kind: diffusion, data: {rare_scenes: 3}}}"
    )
    jobs = plan_jobs(study_at(tmp_path, line, "sets.pasted.generator=one", *few))
    assert [job.name for job in jobs[:3]] == ["generators/slow", "generators/two", "generators/one"]
    one = jobs[2]
    (command,) = one.commands
    assert one.needs == ("generators/two",)
    assert not study_at(tmp_path, line, "sets.pasted.generator=one", *few).config.unused
    assert command[command.index("--teacher") + 1] == str(tmp_path / "generators" / "two")
    assert yaml.safe_load(one.config) == {"kind": "distilled", "steps": 7, "data": {"rare_scenes": 3}}
    with pytest.raises(ConfigError, match=r"arms\.pasted and generators\.one use other parts"):
        plan_jobs(study_at(tmp_path, line.replace("3", "4"), "sets.pasted.generator=one", *few))


def test_teachers_come_before_the_set_that_they_label_and_that_before_its_arm(tmp_path, study_at):
    jobs = plan_jobs(study_at(tmp_path, *PSEUDO))
    names = [job.name for job in jobs]
    without = [job.name for job in plan_jobs(study_at(tmp_path, "arms.pseudo.train.rare_fraction=0.25"))]
    assert [name for name in names if name != "sets/pseudo"] == [
        *without[: without.index("runs/pseudo-seed0")],
        "runs/pasted-seed1",  # a teacher's other seeds are needed earlier than else
        "runs/pseudo-seed0",
        "runs/pseudo-seed1",
    ]
    for number, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:number]), job.name
    by_name = {job.name: job for job in jobs}
    (command,) = by_name["sets/pseudo"].commands
    runs = ("runs/pasted-seed0", "runs/pasted-seed1")
    assert by_name["sets/pseudo"].needs == runs
    assert command[:4] == ("segmenter", "pseudo-label", *(str(tmp_path / name) for name in runs))
    assert "sets/pseudo" in by_name["runs/pseudo-seed1"].needs


def test_in_folds_a_teacher_labels_for_its_own_fold_alone(tmp_path, study_at):
    jobs = {job.name: job for job in plan_jobs(study_at(tmp_path, "folds=2", *PSEUDO, test=False))}
    for fold in (0, 1):
        assert jobs[f"sets/pseudo-fold{fold}"].needs == tuple(f"runs/pasted-seed{s}-fold{fold}" for s in (0, 1))
        assert f"sets/pseudo-fold{fold}" in jobs[f"runs/pseudo-seed0-fold{fold}"].needs


def test_teachers_may_have_teachers_but_not_in_a_cycle(tmp_path, study_at):
    second = ["sets.again.teacher=pseudo", "arms.again.extra=[again]"]
    study = study_at(tmp_path, *PSEUDO, *second)
    names = [job.name for job in plan_jobs(study)]
    order = [
        "sets/pasted",
        "runs/pasted-seed1",
        "sets/pseudo",
        "runs/pseudo-seed1",
        "sets/again",
        "runs/again-seed0",
    ]
    assert sorted(names, key=lambda name: order.index(name) if name in order else -1)[-6:] == order
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert study.config.prerequisites("again") == (["pasted", "pseudo", "again"], ["pasted", "pseudo"])
    cycle = (
        r"arms\.pseudo: pseudo is trained on pseudo, which again labels, and again is trained on again, "
        "which pseudo labels: a cycle"
    )
    with pytest.raises(ConfigError, match=cycle):
        study_at(tmp_path, *PSEUDO, *second, "sets.pseudo.teacher=again")
    with pytest.raises(
        ConfigError, match=r"baseline: pseudo is trained on sets\.pseudo, whose teacher is trained after"
    ):
        study_at(tmp_path, *PSEUDO, "baseline=pseudo")


def test_a_teacher_that_knows_more_rocks_than_the_arm_is_refused(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"arms\.pseudo and sets\.pseudo\.teacher \(pasted\) use other parts"):
        plan_jobs(study_at(tmp_path, *PSEUDO, "arms.pseudo.train.data.rare_scenes=3"))


def test_a_teachers_set_is_checked_before_anything_is_trained(tmp_path, study_at):
    with pytest.raises(ConfigError, match=r"sets\.pseudo\.settings: keep is 2"):
        plan_jobs(study_at(tmp_path, *PSEUDO, "sets.pseudo.settings.keep=2"))
    with pytest.raises(ConfigError, match=r"sets\.pseudo\.settings: unknown key 'kep' \(did you mean 'keep'\?\)"):
        plan_jobs(study_at(tmp_path, *PSEUDO, "sets.pseudo.settings.kep=0.5"))


def test_pictures_that_teachers_label_are_checked_before_anything_is_trained(tmp_path, study_at):
    study, folder = study_at(tmp_path, *PSEUDO), tmp_path / "study"

    def refuse(words: str, data: str = "sim:48,rocks=0.4", unlabelled: str | None = None, config=study.config) -> None:
        with pytest.raises(InputError, match=words):
            open_study(Study(config, folder, data, study.test, None, unlabelled), InProcess())
        assert not folder.exists()

    refuse("sim:48,rocks=0.4 has no pictures without labels .*; name some with --unlabelled")
    refuse("images of 3 channels .*give unlabelled pictures of the same kind", unlabelled="sim:9,channels=3")
    refuse(r"height and width \(48, 96\)", unlabelled="sim:9,size=48x96")
    refuse("is a held-out scene of .*tiny_test.npz too", data=study.data, unlabelled=study.test)
    refuse("no arm is trained on a set with a teacher", unlabelled="sim:9,seed=5", config=study_at(tmp_path).config)


def test_data_to_score_on_are_needed_and_only_once(tmp_path, study_at):
    with pytest.raises(DataError, match=r"nothing to score on; give labelled scenes with --test, or set aside a part"):
        open_study(study_at(tmp_path / "a", test=False), InProcess())
    with pytest.raises(ConfigError, match=r"leave out --test, or the folds"):
        open_study(study_at(tmp_path / "b", "folds=2"), InProcess())


def test_test_scenes_that_networks_are_trained_on_are_refused_before_anything_is_trained(tmp_path, study_at, tiny_npz):
    study = study_at(tmp_path / "study")
    with pytest.raises(
        DataError, match=r"tiny\.npz too, where networks learn from it; give --test scenes of their own"
    ):
        open_study(Study(study.config, study.folder, study.data, str(tiny_npz), None), InProcess())
    assert not study.folder.exists()


# what is done


def test_a_study_runs_every_job_once_and_ends_with_a_report(finished, study_at):
    folder, ran = finished
    assert (folder / "results" / "study.html").read_text().count("rock tiles oversampled") > 0
    assert [command[1] for command in ran].count("train") == 4
    assert [command[1] for command in ran].count("evaluate") == 4
    power = json.loads((folder / "power.json").read_text())
    assert power["seeds"] == 2
    published = json.loads((folder / "counts/study.json").read_text())
    assert published["test"]["location"] == Path(study_at(folder).test).name  # not where it lies on this machine
    made = [p for kind in ("counts", "results") for p in (folder / kind).rglob("*") if p.is_file()]
    first = {p: p.read_bytes() for p in made}
    assert run(study_at(folder)) == []
    assert first == {p: p.read_bytes() for p in made}


@pytest.mark.slow
def test_an_arm_can_be_added_where_the_data_were_moved_and_only_its_runs_run(copied, study_at, tmp_path, tiny_npz):
    moved = Path(shutil.copy(tiny_npz, tmp_path / "moved.npz"))
    study = study_at(copied, "arms.real={title: real only, train: {rare_fraction: 0.5}}")
    commands = run(replace(study, data=str(moved)))
    assert [command[1] for command in commands] == ["train", "evaluate"] * 2
    trained = [command[command.index("--out") + 1] for command in commands if command[1] == "train"]
    assert trained == [str(copied / "runs" / f"real-seed{seed}") for seed in study.config.seeds]
    results = json.loads((copied / "results/results.json").read_text())
    assert "real only" in json.dumps(results)


@pytest.mark.slow
def test_a_teacher_can_be_added_later_and_its_trainings_are_part_of_what_the_arm_costs(copied, study_at):
    before = (copied / "config.yaml").read_text()
    commands = run(study_at(copied, *PSEUDO))
    assert [command[1] for command in commands] == ["pseudo-label", *["train", "evaluate"] * 2]
    assert (copied / "config.yaml").read_text() == before
    cards = {card["name"]: card for card in json.loads((copied / "counts/study.json").read_text())["arms"]}
    pasted, pseudo = cards["pasted"], cards["pseudo"]
    assert (pasted["synthetic"], pasted["pseudo_labels"]) == (True, False)
    assert (pseudo["synthetic"], pseudo["pseudo_labels"]) == (False, True)
    trained = json.loads((copied / f"runs/pseudo-seed{study_at(copied).config.seeds[0]}/DONE").read_text())
    assert pseudo["rare_scenes"] == trained["rare_scenes"] > 0
    labelling = json.loads((copied / "jobs/sets/pseudo.json").read_text())["seconds"] / 60
    assert pseudo["set_minutes"] == pytest.approx(pasted["set_minutes"] + sum(pasted["train_minutes"]) + labelling)
    assert ", pseudo-labels too" in (copied / "results/study.html").read_text()
    assert run(study_at(copied, *PSEUDO)) == []
    assert run(study_at(copied)) == []  # the arm may be left out again
    other = study_at(copied, *PSEUDO)
    with pytest.raises(RunError, match=r"sets/pseudo was labelled from .*tiny\.npz .*sim:9,seed=5 has fingerprint"):
        open_study(Study(other.config, copied, other.data, other.test, None, "sim:9,seed=5"), InProcess())


def test_a_finished_study_that_is_opened_again_belongs_to_one_process(copied, study_at):
    with (
        contextlib.closing(open_study(study_at(copied), InProcess())),
        pytest.raises(RunError, match="another process is writing into this run"),
    ):
        open_study(study_at(copied), InProcess())


def test_what_all_arms_share_cannot_change_in_a_folder_that_is_filled(finished, study_at):
    with pytest.raises(RunError, match=r"belongs to another run \(config\.train\.steps is 8 there and 9 here\)"):
        open_study(study_at(finished[0], "train.steps=9"), InProcess())
    assert (finished[0] / "DONE").exists()


def test_runs_may_be_scored_in_other_ways_too(copied, study_at):
    study = study_at(copied)
    runs = [str(copied / f"runs/oversampled-seed{seed}") for seed in (0, 1)]
    call(("segmenter", "evaluate", *runs, "--data", study.test, "--set", "flip=true"))
    for (evaluation,) in read_evaluations(study, "oversampled"):
        assert not evaluation.record["settings"]["flip"]


def test_other_pictures_without_labels_in_the_data_are_refused(copied, study_at, tmp_path, tiny_npz):
    with np.load(tiny_npz) as file:
        arrays = dict(file)
    arrays["test_set"] = 255 - arrays["test_set"]
    np.savez(tmp_path / "other.npz", **arrays)
    study = study_at(copied)
    with pytest.raises(RunError, match=r"belongs to another run \(inputs\.test_set is data of fingerprint"):
        open_study(replace(study, data=str(tmp_path / "other.npz")), InProcess())


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_with_the_same_counts(finished, copied, monkeypatch, study_at):
    study = study_at(copied)
    for gone in ("counts", "results", "runs/pasted-seed0"):
        shutil.rmtree(copied / gone)
    (copied / "jobs/runs/pasted-seed0.json").unlink()

    def die(*_: object, **__: object) -> None:
        raise Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr("segmenter.api.evaluate", die)
        with pytest.raises(Stopped):
            run(study)
    run(study)
    again = copied / "counts"
    for path in (finished[0] / "counts").glob("*.npz"):
        assert (again / path.name).read_bytes() == path.read_bytes()
    cards = json.loads((again / "study.json").read_text())["arms"]
    assert {card["name"]: card["interrupted"] for card in cards} == {"oversampled": False, "pasted": True}
    assert "(was interrupted: at least)" in (copied / "results/study.html").read_text()


@pytest.mark.slow
def test_folds_score_every_scene_once(tmp_path, study_at):
    study = study_at(tmp_path / "study", "folds=2", "seeds=[0]", "train.steps=4", test=False)
    run(study)
    images = json.loads((study.folder / "counts" / "images.json").read_text())
    assert len(images["names"]) == len(set(images["names"]))
    assert sorted(set(images["folds"])) == [0, 1]
    assert os.path.isdir(study.folder / "runs" / "pasted-seed0-fold1")


def test_data_are_named_without_the_folders_of_a_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = [name_of_data(place) for place in ("/data/mars/test.npz", "../x/test.npz", ".", "sim:40,seed=1")]
    assert named == ["test.npz", "test.npz", tmp_path.name, "sim:40,seed=1"]


def test_a_missing_study_is_refused_with_the_names_of_the_shipped_ones():
    from segmenter.cli import app

    with pytest.raises(
        ConfigError, match=r"nowhere\.yaml: no such study; shipped ones are .*rare_class_cpu\.yaml.* in conf"
    ):
        app(["study", "nowhere.yaml", "--data", "sim:48"], standalone_mode=False)
