"""Atomic files: what other processes left, and what a system does not offer."""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from marsgen.core.storage import files


def partial(path: Path) -> Path:
    """What this process would call a file while it is written."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def test_what_a_killed_process_of_this_number_left_is_replaced(tmp_path: Path):
    path = tmp_path / "a.json"
    partial(path).write_bytes(b"half")
    files.write_json(path, {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": Path("x/y")})
    assert path.read_text() == '{\n  "a": 0.5,\n  "b": [\n    1,\n    2\n  ],\n  "c": null,\n  "d": "x/y"\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_through_a_link(tmp_path: Path):
    precious, path = tmp_path / "precious", tmp_path / "a"
    precious.write_bytes(b"precious")
    partial(path).symlink_to(precious)
    files.write_bytes(path, b"new")
    assert (precious.read_bytes(), path.read_bytes()) == (b"precious", b"new")
    assert not path.is_symlink()


def test_a_fault_while_writing_leaves_what_was_there_and_names_the_file(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full() -> Iterator[bytes]:
        yield b"new"
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full") as fault:
        files.write_stream(path, full())
    assert fault.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(0, 3), (2, 3)])
def test_an_array_filled_on_disk_is_what_numpy_reads(shape: tuple[int, ...], tmp_path: Path):
    with files.filling_npy(tmp_path / "a.npy", shape, np.int32) as array:
        assert array.shape == shape
        array[:1] = 7
    wanted = np.zeros(shape, np.int32)
    wanted[:1] = 7
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), wanted)


class Library:
    """A C library; `answer` is what its syncfs says."""

    def __init__(self, answer: int | None) -> None:
        if answer is not None:
            self.syncfs = lambda descriptor: answer


def test_a_file_system_that_cannot_be_synced_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "_c_library", lambda: Library(-1))
    ctypes.set_errno(errno.EIO)
    with pytest.raises(OSError, match=str(tmp_path)) as fault:
        files.sync_file_system(tmp_path)
    assert fault.value.errno == errno.EIO


def test_where_one_file_system_cannot_be_synced_alone_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    monkeypatch.setattr(files, "_c_library", lambda: Library(None))
    files.sync_file_system(tmp_path)
    monkeypatch.setattr(files, "_c_library", lambda: None)
    files.sync_file_system(tmp_path)
    assert synced == ["all", "all"]


def test_a_folder_that_is_gone_is_not_synced_and_its_files_are_not_written(tmp_path: Path):
    files.sync_folder(tmp_path / "gone")
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"1")
    (tmp_path / "loop").symlink_to("loop")
    found = {name: files.is_written(tmp_path / name) for name in ("gone/a", "empty", "full", "loop", "full/a")}
    assert found == {"gone/a": False, "empty": False, "full": True, "loop": False, "full/a": False}


def test_leftovers_are_removed_but_not_what_links_name(tmp_path: Path):
    kept, run = tmp_path / "kept", tmp_path / "run"
    (run / "images").mkdir(parents=True)
    kept.mkdir()
    (kept / "a").write_bytes(b"1")
    (run / ".half.1.partial").mkdir()
    (run / ".half.1.partial" / "a").write_bytes(b"1")
    (run / ".link.2.partial").symlink_to(kept)
    (run / "images" / ".a.png.3.partial").write_bytes(b"1")
    (run / "images" / "b.partial").write_bytes(b"1")
    files.remove_leftovers(run)
    assert sorted(str(path.relative_to(run)) for path in run.rglob("*")) == ["images", "images/b.partial"]
    assert (kept / "a").exists()


def test_leftovers_of_one_file_are_removed_once_nobody_writes_them(tmp_path: Path):
    old, new, other = (tmp_path / name for name in (".a.1.partial", ".a.2.partial", ".b.1.partial"))
    for path in (old, new, other):
        path.write_bytes(b"1")
    os.utime(old, (0, 0))
    files.remove_leftovers_of(tmp_path / "a", idle_seconds=600)
    assert sorted(tmp_path.iterdir()) == [new, other]
    files.remove_leftovers_of(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [other]
