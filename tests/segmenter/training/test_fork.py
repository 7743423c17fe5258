"""Forks: runs that begin with the same steps share them, to the bytes of runs that do not."""

import shutil

import pytest

from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import read_weights
from marsgen.core.storage.reading import read_yaml
from segmenter import api
from segmenter.config import TrainConfig
from segmenter.training.fork import keep_state, start_from

SETTINGS = {
    "unet": {"width": 4},
    "steps": 10,
    "batch_size": 4,
    "validate_every": 4,
    "log_every": 1,
    "precision": "fp32",
    "calibrate": 1.0,
    "data": {"val_fraction": 0.3},
}
FORKED = {"extra_fraction": 0.5, "extra_steps": (0.6, 1.0)}


@pytest.fixture(scope="module")
def data(simulated):
    return simulated(14)


@pytest.fixture(scope="module")
def extra(simulated):
    return simulated(6, seed=99)


@pytest.fixture(scope="module")
def trunk(data, tmp_path_factory) -> Run:
    """A run on real scenes alone that has kept its state of step 6."""
    return api.train(data, out=tmp_path_factory.mktemp("trunk") / "run", settings={**SETTINGS, "fork_at": 0.6})


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> Run:
    """The same run, which has kept no state."""
    return api.train(data, out=tmp_path_factory.mktemp("plain") / "run", settings=SETTINGS)


def content(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}


def test_keeping_a_state_changes_no_byte_of_the_run(trunk, plain):
    assert content(plain) == content(trunk)
    kept = read_weights(trunk.folder / "fork" / "last.safetensors")
    assert (kept.step, kept.record["progress"]["best_step"]) == (6, 4)


def test_a_forked_run_ends_with_the_bytes_of_one_that_is_not(trunk, data, extra, tmp_path, monkeypatch):
    alone = api.train(data, extra=[extra], out=tmp_path / "alone", settings={**SETTINGS, **FORKED})
    drawn = []
    from segmenter.training import batches

    draw = batches.TrainingBatches.__getitem__
    monkeypatch.setattr(
        batches.TrainingBatches, "__getitem__", lambda self, step: drawn.append(step) or draw(self, step)
    )
    forked = api.train(data, extra=[extra], fork=trunk.folder, out=tmp_path / "forked", settings={**SETTINGS, **FORKED})
    assert drawn == [7, 8, 9, 10]
    assert content(forked) == content(alone)
    best = [read_weights(run.folder / "best.safetensors").record["scores"] for run in (forked, trunk)]
    assert best[0] != best[1]  # extra scenes had their say
    assert read_yaml(forked.folder / "config.yaml")["inputs"]["extra"]


def test_the_best_weights_until_then_go_with_the_state(trunk, tmp_path):
    """They are what the run keeps where no later validation is better."""
    run = Run.start(tmp_path / "run", "segmenter train", TrainConfig(**SETTINGS), {})
    start_from(run, trunk.folder)
    run.close()
    best = read_weights(run.folder / "best.safetensors")
    assert best.step == 4
    assert [line["step"] for line in run.metrics() if "mean_iou" in line] == [4]
    assert (
        read_weights(run.folder / "last.safetensors").record["progress"]["best_score"]
        == best.record["scores"]["mean_iou"]
    )


def test_a_finished_fork_is_left_alone_and_a_killed_one_goes_on_from_its_own_state(trunk, data, extra, tmp_path):
    settings = {**SETTINGS, **FORKED}
    done = api.train(data, extra=[extra], fork=trunk.folder, out=tmp_path / "run", settings=settings)
    before = content(done)
    assert content(api.train(data, extra=[extra], fork=trunk.folder, out=done.folder, settings=settings)) == before
    # killed after step 8: what it had reached is there
    (done.folder / "DONE").unlink()
    later = api.train(
        data, extra=[extra], fork=trunk.folder, out=tmp_path / "more", settings={**settings, "fork_at": 0.8}
    )
    shutil.copytree(later.folder / "fork", done.folder, dirs_exist_ok=True)
    assert content(api.train(data, extra=[extra], fork=trunk.folder, out=done.folder, settings=settings)) == before


def test_a_kill_between_checkpoint_and_copy_loses_no_state(data, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(run):
        raise Killed

    monkeypatch.setattr("segmenter.training.train.keep_state", killed)
    settings = {**SETTINGS, "fork_at": 0.6}
    with pytest.raises(Killed):
        api.train(data, out=tmp_path / "run", settings=settings)
    monkeypatch.setattr("segmenter.training.train.keep_state", keep_state)
    run = api.train(data, out=tmp_path / "run", settings=settings)
    assert read_weights(run.folder / "fork" / "last.safetensors").step == 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 1e-3}, r"--fork .*: lr is 0\.003 there and 0\.001 here; a run starts from one with the same data"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        (
            {"extra_steps": (0.3, 1.0)},
            r"state of step 6, but extra scenes join after step 3; set extra_steps=\[0\.6, 1\]",
        ),
        ({"extra_steps": (0.0, 1.0)}, "extra scenes join after step 0"),
        # by default a quarter is drawn for rare classes, or what extra scenes leave
        ({"extra_fraction": 0.875}, r"rare_fraction is 0\.25 there and 0\.125 here"),
    ],
)
def test_a_run_that_would_not_have_come_there_is_refused(trunk, data, extra, tmp_path, changed, words):
    with pytest.raises(RunError, match=words):
        api.train(
            data, extra=[extra], fork=trunk.folder, out=tmp_path / "run", settings={**SETTINGS, **FORKED, **changed}
        )
    assert not (tmp_path / "run").exists()


def test_other_data_extra_scenes_and_runs_without_a_state_are_refused(trunk, plain, data, extra, simulated, tmp_path):
    settings = {**SETTINGS, **FORKED}
    other = simulated(14)
    other.fingerprint = lambda: "f" * 16
    with pytest.raises(RunError, match=r"--fork .*: data is .* there and .* here"):
        api.train(other, extra=[extra], fork=trunk.folder, out=tmp_path / "run", settings=settings)
    mixed = api.train(data, extra=[extra], out=tmp_path / "mixed", settings={**SETTINGS, "fork_at": 0.6})
    with pytest.raises(RunError, match="trained on extra scenes; name a run on real scenes alone"):
        api.train(data, extra=[extra], fork=mixed.folder, out=tmp_path / "run", settings=settings)
    with pytest.raises(RunError, match=r"keeps no state to start from; train it anew with fork_at"):
        api.train(data, extra=[extra], fork=plain.folder, out=tmp_path / "run", settings=settings)
