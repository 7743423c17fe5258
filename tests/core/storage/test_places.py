"""A long write that the disk cannot hold is refused before it begins, with what it needs and what is free."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from marsgen.core.errors import RunError
from marsgen.core.storage.places import in_words, on_disk, refuse_no_room


@pytest.fixture(autouse=True)
def _five_megabytes(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"set: 9 pairs need about 6\.0 MB and 5\.0 MB are free; .* or make fewer"):
        refuse_no_room(tmp_path / "new" / "set", 6_000_000, "9 pairs", "make fewer")
    assert not (tmp_path / "new").exists()


def test_what_fits_and_what_was_begun_is_not(tmp_path):
    refuse_no_room(tmp_path / "new", 4_000_000, "9 pairs", "make fewer")
    (tmp_path / "config.yaml").write_text("")
    refuse_no_room(tmp_path, 6_000_000, "9 pairs", "make fewer")


@pytest.mark.parametrize(("size", "words"), [(90_000, "0.1 MB"), (2_500_000_000, "2.5 GB"), (7 * 10**15, "7,000.0 TB")])
def test_sizes_in_words(size, words):
    assert in_words(size) == words


@pytest.mark.parametrize(("size", "taken"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)])
def test_files_take_whole_blocks(size, taken):
    assert on_disk(size) == taken


def test_a_set_takes_about_what_is_said_of_its_pairs(tiny_npz, tmp_path):
    import marsgen as mg
    from marsgen.scenes.readers.folder import pair_bytes
    from marsgen.scenes.sources import open_scenes

    scenes = open_scenes(str(tiny_npz))
    for format_ in ("png", "shards"):
        made = Path(mg.synthesize(str(tiny_npz), "copy-paste", n=64, out=tmp_path / format_, format=format_).location)
        taken = sum(on_disk(path.stat().st_size) for path in made.glob("*/*"))
        assert 64 * pair_bytes(scenes, unpacked=format_ == "shards") == pytest.approx(taken, rel=0.3)


def test_synthesize_refuses_before_it_looks_at_the_scenes(tiny_npz, tmp_path):
    import marsgen as mg

    with pytest.raises(RunError, match=r"1,000,000 pairs need about 12\.3 GB and 5\.0 MB are free; .*--n"):
        mg.synthesize(str(tiny_npz), "copy-paste", n=1_000_000, out=tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_import_refuses_too(tiny_npz, tmp_path, monkeypatch, capsys):
    from marsgen.cli import main

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr("sys.argv", ["marsgen", "import", str(tiny_npz), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "48 scenes need about 0.6 MB and 0.0 MB are free" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
