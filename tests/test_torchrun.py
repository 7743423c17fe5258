"""Two processes under torchrun: they compute what one does, keep in step, and go on after a kill.

One test has torchrun start processes as it does for a user; in the others they are forks, see forked_commands.py.
"""

import json
import shutil
from pathlib import Path

import forked_commands
import numpy as np
import pytest
from shared_work import generator_words, pairs_words, train_words
from test_flow import call

from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import read_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def shared(tiny_npz, tmp_path_factory) -> Path:
    """What tests/shared_work.py left: folders segmenter and generator, a killed run, and the notes of each process."""
    folder = tmp_path_factory.mktemp("two")
    script, out, err = Path(__file__).parent / "shared_work.py", folder / "stdout", folder / "stderr"
    code = forked_commands.torchrun(script, str(tiny_npz), str(folder), stdout=out, stderr=err)
    assert code == 1, err.read_text()  # the kill
    assert (folder / "notes-0.json").exists(), err.read_text()
    assert out.read_text().count("wrote") == 3, out.read_text()  # one line per command, not per process
    shutil.copy(folder / "killed" / "last.safetensors", folder / "step3.safetensors")
    return folder


@pytest.fixture(scope="module")
def alone(tiny_npz, tmp_path_factory) -> Path:
    """The same segmenter and generator, trained by one process."""
    folder = tmp_path_factory.mktemp("one")
    save = Run.save_checkpoint

    def keeping(run: Run, step: int, *args, **record) -> None:
        save(run, step, *args, **record)
        if step == 3:
            shutil.copy(run.folder / "last.safetensors", folder / "step3.safetensors")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", keeping)
        assert call(*train_words(tiny_npz, folder / "segmenter")) == 0
    assert call(*generator_words(tiny_npz, folder / "generator")) == 0
    return folder


def metrics(folder: Path) -> list[dict]:
    return list(Run.load(folder).metrics())


def test_two_processes_train_the_segmenter_of_one(shared, alone):
    two, one = metrics(shared / "segmenter"), metrics(alone / "segmenter")
    assert [line["step"] for line in two] == [line["step"] for line in one]
    assert sum("train_loss" in line for line in one) >= 3
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3, nan_ok=True)  # a few pixels are undecided between classes
    losses = [[line["train_loss"] for line in lines if "train_loss" in line] for lines in (two, one)]
    np.testing.assert_allclose(losses[0][:3], losses[1][:3], atol=1e-5)
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)  # Adam makes much of little: rounding grows
    weights = [read_weights(folder / "segmenter" / "best.safetensors") for folder in (shared, alone)]
    assert weights[0].step == weights[1].step
    for name, tensor in weights[0].tensors.items():
        difference = (tensor - weights[1].tensors[name]).abs().double()
        assert difference.mean() < 1e-4, name  # processors round differently: 1e-5 on some, 2e-5 on others
        assert difference.max() < 1e-3, name  # the learning rate; a gradient near 0 may round to either sign
    assert {"best.safetensors", "DONE", "split.json"} <= set(content(shared / "segmenter"))
    assert content(shared / "segmenter")["split.json"] == content(alone / "segmenter")["split.json"]


def test_two_processes_follow_the_gradients_of_one(shared, alone):
    """Adam hides a wrong scale of the gradients; its moments, kept in the checkpoint, do not."""
    two, one = (read_weights(folder / "step3.safetensors").tensors for folder in (shared, alone))
    assert set(two) == set(one)
    moments = [name for name in one if "exp_avg" in name]
    assert len(moments) > 50
    for name in moments:
        # a wrong scale would be a factor of two; rounding, after three steps, 1 to 2 % as the processor goes
        assert (two[name] - one[name]).norm() < 5e-2 * one[name].norm(), name


def test_two_processes_train_a_generator(shared, alone):
    assert set(content(shared / "generator")) == set(content(alone / "generator"))
    two, one = metrics(shared / "generator"), metrics(alone / "generator")
    assert [line["step"] for line in two] == [line["step"] for line in one] == [1, 2, 3]
    # what is logged is the first process's half of the batch: of one size, not equal
    assert two[-1]["l1"] == pytest.approx(one[-1]["l1"], rel=0.5)
    weights = [read_weights(folder / "generator" / "best.safetensors").tensors for folder in (shared, alone)]
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(tensor, weights[1][name], atol=5e-3, err_msg=name)


def test_all_processes_hold_the_same_state(shared):
    """Checkpoints of both commands: weights, batch norm, running averages, optimizer, what early stopping counts."""
    notes = [json.loads((shared / f"notes-{rank}.json").read_text()) for rank in (0, 1)]
    assert notes[0] == notes[1]
    assert notes[0]["processes"] == 2
    assert notes[0]["codes"] == [0, 0, 0, 2]
    assert len(set(notes[0]["states"])) >= 3


def test_a_killed_torchrun_goes_on_to_the_same_bytes(shared, tiny_npz, tmp_path):
    assert (shared / "killed" / "last.safetensors").exists()
    assert not (shared / "killed" / "DONE").exists()
    program, *words = train_words(tiny_npz, shared / "killed")
    out, err = tmp_path / "stdout", tmp_path / "stderr"
    code = forked_commands.torchrun_module(f"{program}.cli", *words, stdout=out, stderr=err)
    assert code == 0, err.read_text()
    assert out.read_text().count("wrote") == 1
    assert content(shared / "killed") == content(shared / "segmenter")


def test_two_processes_make_the_pairs_of_one(shared, tiny_npz, tmp_path):
    assert call(*pairs_words(tiny_npz, tmp_path)) == 0
    assert content(shared / "pairs") == content(tmp_path)


def test_a_batch_that_does_not_divide_is_refused_by_all_and_said_once(shared):
    errors = [line for line in (shared / "stderr").read_text().splitlines() if line.startswith("error: ")]
    assert errors == ["error: batch_size is 3; it has to be a multiple of the 2 processes"]
    assert not (shared / "odd").exists()
