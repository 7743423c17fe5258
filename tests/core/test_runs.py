"""Run folders: resuming, refusing, and never half a file."""

import os

import pytest
import torch

from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run, latest_run
from marsgen.core.storage.checkpoints import (
    load_optimizer_tensors,
    optimizer_tensors,
    prefixed,
    read_weights,
    without_prefix,
)
from marsgen.core.storage.files import write_bytes

FINISHED = [".lock", "DONE", "config.yaml", "environment.json"]


class Recipe(Config):
    steps: int = 3


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path):
    run = Run.start(tmp_path / "run", "train", Recipe(), {"data": "x.npz"})
    run.log(1, loss=2.0)
    run.save_checkpoint(1, {"w": torch.arange(3.0)}, best=0.5)
    run.log(2, loss=1.0)  # logged after the checkpoint: computed again, so dropped
    run.close()
    again = Run.start(tmp_path / "run", "train", Recipe(), {"data": "x.npz"})
    checkpoint = again.load_checkpoint()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.record["best"]) == (1, 0.5)
    assert checkpoint.tensors["w"].tolist() == [0, 1, 2]
    assert [m["step"] for m in again.metrics()] == [1]
    again.finish({"loss": 1.0})
    assert Run.start(tmp_path / "run", "train", Recipe(), {"data": "x.npz"}).finished
    assert Run.load(tmp_path / "run", "train").summary == {"loss": 1.0}
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".lock",
        "DONE",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
    ]


def test_a_folder_of_another_run_is_refused_and_untouched(tmp_path):
    Run.start(tmp_path / "run", "train", Recipe(steps=4)).close()
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(RunError, match=r"belongs to another run \(config\.steps is 4 there and 3 here\)"):
        Run.start(tmp_path / "run", "train", Recipe())
    with pytest.raises(RunError, match="command is 'train' there and 'synthesize' here"):
        Run.start(tmp_path / "run", "synthesize", Recipe(steps=4))
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_data_that_were_moved_are_the_same_data(tmp_path):
    def inputs(place: str, content: str, extra: str = "e") -> dict:
        data = {"location": f"{place}/x.npz", "fingerprint": content}
        return {"data": data, "extra": [{"location": f"{place}/synth", "fingerprint": extra}]}

    Run.start(tmp_path / "run", "train", Recipe(), inputs("/old", "a")).close()
    Run.start(tmp_path / "run", "train", Recipe(), inputs("/new", "a")).close()
    told = r"inputs\.data is /old/x\.npz of fingerprint a there and /new/x\.npz of fingerprint b here"
    with pytest.raises(RunError, match=told):
        Run.start(tmp_path / "run", "train", Recipe(), inputs("/new", "b"))
    with pytest.raises(RunError, match=r"inputs\.extra\[0\] is /old/synth of fingerprint e there and .* f here"):
        Run.start(tmp_path / "run", "train", Recipe(), inputs("/old", "a", "f"))


def test_other_peoples_folders_and_files_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(RunError, match="not empty and is no run folder"):
        Run.start(tmp_path / "photos", "train", Recipe())
    with pytest.raises(RunError, match="is a file; --out names a folder"):
        Run.start(tmp_path / "photos" / "cat.png", "train", Recipe())
    with pytest.raises(RunError, match=r"no run folder here .* made by `train`"):
        Run.load(tmp_path / "photos", "train")


@pytest.mark.parametrize("leftover", [".lock", ".config.yaml.123.partial"])
def test_a_kill_before_the_first_file_leaves_nothing_in_the_way(tmp_path, leftover):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / leftover).write_text("")
    Run.start(tmp_path / "run", "train", Recipe()).finish({})
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FINISHED


def test_a_kill_after_done_is_tidied_up_by_the_next_call(tmp_path):
    Run.start(tmp_path / "run", "train", Recipe()).finish({})
    for name in ("last.safetensors", ".lock"):
        (tmp_path / "run" / name).write_text("")
    Run.start(tmp_path / "run", "train", Recipe())
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FINISHED


def test_going_on_in_another_environment_is_said(tmp_path, capsys):
    Run.start(tmp_path / "run", "train", Recipe()).close()
    path = tmp_path / "run" / "environment.json"
    path.write_text(path.read_text().replace('"threads": ', '"threads": 9'))
    Run.start(tmp_path / "run", "train", Recipe()).close()
    assert "goes on in another environment (threads is 9" in capsys.readouterr().err


def test_a_cheap_result_makes_room_for_the_next_but_an_unfinished_or_foreign_run_does_not(tmp_path):
    Run.start(tmp_path / "a", "compare", Recipe(steps=1)).finish({})
    Run.start(tmp_path / "a", "compare", Recipe(steps=2), replace=True).close()
    assert Run.load(tmp_path / "a", finished=False).config == {"steps": 2}
    for command in ("compare", "report"):
        with pytest.raises(RunError, match="belongs to another run"):
            Run.start(tmp_path / "a", command, Recipe(steps=3), replace=True)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made .*choose another --out"):
        Run.start(tmp_path / "file" / "run", "train", Recipe())


def test_a_damaged_summary_is_named(tmp_path):
    Run.start(tmp_path / "run", "train", Recipe()).finish({})
    (tmp_path / "run" / "DONE").write_text("{")
    with pytest.raises(RunError, match="DONE: not readable json .*damaged; delete it and repeat `train`"):
        _ = Run.load(tmp_path / "run").summary


def test_two_processes_cannot_write_into_one_run(tmp_path):
    run = Run.start(tmp_path / "run", "train", Recipe())
    with pytest.raises(RunError, match="another process is writing"):
        Run.start(tmp_path / "run", "train", Recipe())
    run.close()
    Run.start(tmp_path / "run", "train", Recipe()).close()


def test_an_unfinished_or_foreign_run_is_not_read_as_a_finished_one(tmp_path):
    Run.start(tmp_path / "run", "train", Recipe()).close()
    with pytest.raises(RunError, match="has not finished; repeat its `train` command"):
        Run.load(tmp_path / "run", "train")
    with pytest.raises(RunError, match="was made by `train`; expected a run of `synthesize`"):
        Run.load(tmp_path / "run", "synthesize")


def test_the_latest_finished_run_of_a_command_is_found(tmp_path):
    with pytest.raises(RunError, match="no finished run of `train`"):
        latest_run(tmp_path, "train")
    for age, name in enumerate(("new", "old")):
        Run.start(tmp_path / name, "train", Recipe()).finish({})
        os.utime(tmp_path / name / "DONE", (1000 - age, 1000 - age))
    Run.start(tmp_path / "other", "synthesize", Recipe()).finish({})
    assert latest_run(tmp_path, "train").name == "new"


def test_a_damaged_checkpoint_is_named(tmp_path):
    run = Run.start(tmp_path / "run", "train", Recipe())
    run.save_checkpoint(1, {"w": torch.zeros(4)})
    path = tmp_path / "run" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match=r"last\.safetensors: not a readable checkpoint"):
        run.load_checkpoint()
    with pytest.raises(RunError, match=r"best\.safetensors: no such checkpoint"):
        read_weights(tmp_path / "run" / "best.safetensors")


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_optimizer_goes_through_a_file_unchanged(tmp_path):
    def fresh():
        weights = torch.nn.Linear(3, 2)
        torch.nn.init.constant_(weights.weight, 0.5)
        torch.nn.init.zeros_(weights.bias)
        return weights, torch.optim.AdamW(weights.parameters(), 0.1)

    def step(weights, optimizer):
        weights(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = fresh()
    step(model, optimizer)
    run = Run.start(tmp_path / "run", "train", Recipe())
    run.save_checkpoint(1, prefixed("model", model.state_dict()) | optimizer_tensors(optimizer, "adam"))
    step(model, optimizer)

    other, other_optimizer = fresh()
    stored = run.load_checkpoint()
    assert stored is not None
    other.load_state_dict(without_prefix("model", stored.tensors))
    load_optimizer_tensors(other_optimizer, stored.tensors, "adam")
    step(other, other_optimizer)
    assert torch.equal(model.weight, other.weight)
    _, forgetful_optimizer = fresh()
    assert not optimizer_tensors(forgetful_optimizer, "adam")


def test_a_fused_optimizer_goes_on_where_its_weights_lie_in_another_order_than_in_the_file():
    """It goes through weights and averages as they lie in memory; a file holds them in the order of their axes."""

    def trained(steps, tensors=None):
        weights = torch.nn.Conv2d(3, 4, 3, bias=False)
        torch.nn.init.constant_(weights.weight, 0.5)
        weights.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(weights.parameters(), 0.1, fused=True)
        if tensors is not None:
            weights.load_state_dict(without_prefix("model", tensors))
            load_optimizer_tensors(optimizer, tensors, "adam")
        for _ in range(steps):
            image = torch.arange(108.0).view(1, 3, 6, 6).sin()
            weights(image).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        state = prefixed("model", weights.state_dict()) | optimizer_tensors(optimizer, "adam")
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}

    whole, resumed = trained(4), trained(2, trained(2))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_key_of_a_run_file_that_is_missing_or_wrong_is_named(tmp_path):
    folder = tmp_path / "run"
    run = Run.start(folder, "train", Recipe(), {"data": {"fingerprint": 5}})
    run.log(1, loss=2.0)
    run.finish({"steps": 3, "loss": "low"})
    run = Run.load(folder)
    assert (run.stored("config.steps", int), run.said("steps", (int, float))) == (3, 3)
    for read, words in (
        (
            lambda: run.stored("inputs.data.location", str),
            r"config\.yaml: no 'inputs\.data\.location'; .*`train`",
        ),
        (lambda: run.stored("inputs.data.fingerprint", str), r"'inputs\.data\.fingerprint' is 5; a text was expected"),
        (lambda: run.said("best_step", int), r"DONE: no 'best_step'; damaged; delete it and repeat `train`"),
        (lambda: run.said("loss", float), r"DONE: 'loss' is 'low'; a number was expected"),
        (lambda: run.describe(lambda summary: [f"{summary['loss']:.3f}"]), r"DONE: not as it was written"),
        (lambda: run.describe(lambda summary: [summary["images"]]), r"DONE: not as it was written"),
    ):
        with pytest.raises(RunError, match=words):
            read()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": "low"}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2: loss is 'low'; a number was expected"):
        list(run.metrics())
