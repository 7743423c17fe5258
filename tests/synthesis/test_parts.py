"""A set made in parts has the bytes of a set made by one process, whatever parts were lost on the way."""

from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess

import marsgen as mg
from marsgen.core.errors import ConfigError, RunError
from marsgen.engines.choose import open_engine_if_named
from marsgen.engines.task import Task
from marsgen.synthesis.parts import split_chunks

N = 70
"""four chunks and a part of a fifth"""


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Three(InProcess):
    """A width of three; the part of the given number fails."""

    width = 3

    def __init__(self, bad: int | None = None) -> None:
        super().__init__()
        self.bad = bad

    def submit(self, task: Task):
        (words,) = task.commands
        if self.bad == int(words[words.index("--number") + 1]):
            words = ("marsgen", "inspect", "--data", "nowhere.npz")
        return super().submit(Task(task.name, (words,), task.log))


@pytest.fixture(scope="module")
def whole(tiny_npz, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "set"
    mg.synthesize(mg.from_folder(str(tiny_npz)), "copy-paste", n=N, out=folder)
    return folder


def test_a_part_that_failed_is_made_again_and_the_set_has_the_bytes_of_one_process(whole, tiny_npz, tmp_path):
    data, folder = mg.from_folder(str(tiny_npz)), tmp_path / "set"
    with pytest.raises(RunError, match=r"part set 1:2: nowhere\.npz.*parts/0001\.log"):
        mg.synthesize(data, "copy-paste", n=N, out=folder, engine=Three(bad=1))
    with next(iter(folder.glob("journal-002-*.jsonl"))).open("a") as journal:
        journal.write('{"index": 3')  # as a kill leaves it
    again = Three()
    mg.synthesize(data, "copy-paste", n=N, out=folder, engine=again)
    assert [words[words.index("--chunks") + 1] for words in again.ran] == ["1:2"]
    assert content(folder) == content(whole)


def test_data_that_changed_while_a_set_is_made_are_refused(tiny_npz, tmp_path):
    with np.load(tiny_npz) as file:
        arrays = dict(file)
    np.savez(tmp_path / "data.npz", **arrays)
    data = mg.from_folder(str(tmp_path / "data.npz"))
    arrays["training_set"][0, 0] ^= 255
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(RunError, match="its data changed while it was made"):
        mg.synthesize(data, "copy-paste", n=N, out=tmp_path / "set", engine=Three())


def test_parts_hold_every_chunk_once_and_are_not_too_large():
    for todo, workers in ((np.arange(5), 4), (np.arange(1), 4), (np.arange(3, 40_000, 2), 2)):
        parts = split_chunks(todo, workers)
        assert np.concatenate(parts).tolist() == todo.tolist()
        assert max(map(len, parts)) <= 4096
        assert len(parts) >= min(len(todo), 2 * workers)


def test_options_of_an_engine_that_is_not_named_are_refused(tmp_path, monkeypatch):
    with (
        pytest.raises(ConfigError, match="--per-job: nothing is started"),
        open_engine_if_named(None, None, "cpus=2", tmp_path),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="leave out torchrun"), open_engine_if_named(2, None, None, tmp_path):
        pass
