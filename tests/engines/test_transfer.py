"""Files and folders arrive as they were, relative ones under another folder."""

from pathlib import Path

from marsgen.engines.transfer import pack, paths_in, unpack


def test_a_parcel_holds_files_and_folders_and_no_locks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here/a/b.txt", "here/.lock", "far/c.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    parcel = pack([Path("here"), tmp_path / "far/c.txt", Path("nowhere")])
    Path("far/c.txt").unlink()
    unpack(parcel, tmp_path / "there")
    assert (tmp_path / "far/c.txt").read_text() == "far/c.txt"
    assert [p.name for p in sorted(Path("there").rglob("*"))] == ["here", "a", "b.txt"]
    assert Path("there/here/a/b.txt").read_text() == "here/a/b.txt"


def test_what_a_command_reads_are_the_words_that_name_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "set", "run"):
        Path(name).mkdir()
    words = ("segmenter", "train", "--data", "data", "--extra", "set", "--set", "x=1", "--out", "run")
    assert paths_in(words) == [Path("data"), Path("set")]
