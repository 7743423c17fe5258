"""marsgen export: the same pixels in every form, the same bytes every time, and whatever is there already is kept."""

import builtins
import importlib.util
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from test_flow import call

from marsgen.scenes.readers.folder import MadeFolder, SceneFolder, write_classes, write_pair
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes


def synthesize(data: Path, out: Path, form: str) -> Path:
    words = ["--generator", "copy-paste", "--data", str(data), "--n", "40", "--format", form, "--out", str(out)]
    assert call("marsgen", "synthesize", *words) == 0
    return out


def export(source: Path | str, to: str, out: Path, *words: str) -> Path:
    assert call("marsgen", "export", str(source), "--to", to, "--out", str(out), *words) == 0
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def png(tiny_npz, tmp_path_factory) -> Path:
    return synthesize(tiny_npz, tmp_path_factory.mktemp("made") / "png", "png")


@pytest.fixture(scope="module")
def sharded(tiny_npz, tmp_path_factory) -> Path:
    return synthesize(tiny_npz, tmp_path_factory.mktemp("made") / "shards", "shards")


@pytest.fixture(scope="module")
def tars(sharded, tmp_path_factory) -> Path:
    """40 pairs in tars of 16."""
    return export(sharded, "webdataset", tmp_path_factory.mktemp("out") / "tars", "--set", "scenes_per_file=16")


def pixels(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


# PNG


@pytest.mark.parametrize("kind", ["png", "sharded"])
def test_a_png_export_is_what_synthesize_writes(kind, png, request, tmp_path):
    out = export(request.getfixturevalue(kind), "png", tmp_path / "out")
    about_the_run = {".lock", "config.yaml", "environment.json", "DONE"}
    expected = {name: data for name, data in content(png).items() if name not in about_the_run}
    assert {name: data for name, data in content(out).items() if name not in about_the_run} == expected
    assert len(expected) == 2 * 40 + 6
    assert json.loads((out / "DONE").read_text()) == {"pairs": 40}
    assert isinstance(open_scenes(str(out)), MadeFolder)


def test_an_export_joins_training_like_the_set_it_came_from(png, tiny_npz, tmp_path):
    from marsgen.cleaning.dataset import open_dataset
    from marsgen.core.config import DataConfig
    from marsgen.provenance import set_trained_on
    from segmenter.training.extras import describe_extra, open_extras

    out = export(png, "png", tmp_path / "out")
    ours, theirs = open_extras([str(out), str(png)], open_dataset(str(tiny_npz), DataConfig()))
    assert ours.fingerprint() == theirs.fingerprint()
    assert describe_extra(ours) | {"location": str(png)} == describe_extra(theirs)
    assert set_trained_on(out) == set_trained_on(png) != []


def test_real_scenes_become_a_folder_of_pictures(tiny_npz, tmp_path):
    out = export(tiny_npz, "png", tmp_path / "out")
    assert not (out / "manifest.jsonl").exists()
    made, source = open_scenes(str(out)), open_scenes(str(tiny_npz))
    assert isinstance(made, SceneFolder)
    for scene, real in zip(made, source, strict=True):
        assert (scene.name, scene.origin) == (real.name, real.origin)
        np.testing.assert_array_equal(scene.image, real.image)
        np.testing.assert_array_equal(scene.labels, real.labels)


def test_a_killed_export_goes_on_and_keeps_what_is_there(png, tmp_path):
    out = export(png, "png", tmp_path / "out")
    whole = content(out)
    (out / "DONE").unlink()
    for path in [*sorted((out / "images").iterdir())[20:], *sorted((out / "labels").iterdir())[21:]]:
        path.unlink()
    (out / "images" / ".0000021.png.123.partial").write_bytes(b"half a pict")
    kept = out / "images" / "0000003.png"
    before = kept.stat().st_ino
    assert content(export(png, "png", out)) == whole
    assert kept.stat().st_ino == before


# WebDataset


def test_tars_hold_image_label_and_manifest_line_of_each_scene(tars, png):
    names = sorted(path.name for path in tars.glob("*.tar"))
    assert names == ["scenes-00000.tar", "scenes-00001.tar", "scenes-00002.tar"]
    assert json.loads((tars / "DONE").read_text()) == {"pairs": 40, "files": 3}
    lines, members = (png / "manifest.jsonl").read_text().splitlines(), []
    for name in names:
        with tarfile.open(tars / name) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                members.append((member.name, tar.extractfile(member).read()))
    expected = []
    for index, line in enumerate(lines):
        stem = f"{index:07d}"
        expected += [
            (f"{stem}.image.png", (png / "images" / f"{stem}.png").read_bytes()),
            (f"{stem}.label.png", (png / "labels" / f"{stem}.png").read_bytes()),
            (f"{stem}.json", line.encode()),
        ]
    assert members == expected
    assert (tars / "classes.yaml").read_bytes() == (png / "classes.yaml").read_bytes()
    assert "trained_on" in json.loads((tars / "synth.json").read_text())


def test_webdataset_reads_the_tars(tars, png):
    wds = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(tars.glob("*.tar"))]
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    scenes = open_scenes(str(png))
    assert [sample["__key__"] for sample in samples] == list(scenes.names)
    for sample, scene in zip(samples, scenes, strict=True):
        np.testing.assert_array_equal(pixels(sample["image.png"]), scene.image[..., 0])
        np.testing.assert_array_equal(pixels(sample["label.png"]), scene.labels)
        assert json.loads(sample["json"])["name"] == scene.name


def test_a_tar_half_written_is_written_again_with_the_same_bytes(tars, sharded, tmp_path):
    out = tmp_path / "out"
    export(sharded, "webdataset", out, "--set", "scenes_per_file=16")
    (out / "DONE").unlink()
    (out / "scenes-00001.tar").rename(out / ".scenes-00001.tar.123.partial")
    kept = (out / "scenes-00002.tar").stat().st_ino
    export(sharded, "webdataset", out, "--set", "scenes_per_file=16")
    assert (out / "scenes-00002.tar").stat().st_ino == kept
    assert content(out) == content(tars)


def dotted_folder(folder: Path) -> Path:
    """Three pairs whose names have dots, two of them alike up to the first."""
    rng = np.random.default_rng(0)
    for name in ("a.1", "a.2", "b"):
        image = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
        write_pair(folder, name, image, rng.integers(0, 5, (32, 40), dtype=np.uint8), mars_classes())
    write_classes(folder, mars_classes())
    return folder


def test_names_with_dots_become_numbers_in_a_tar_and_stay_in_its_json(tmp_path):
    out = export(dotted_folder(tmp_path / "own"), "webdataset", tmp_path / "out")
    with tarfile.open(out / "scenes-00000.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    stems = ("0000000", "0000001", "0000002")
    assert list(files) == [f"{stem}.{kind}" for stem in stems for kind in ("image.png", "label.png", "json")]
    records = [json.loads(files[f"{stem}.json"]) for stem in stems]
    assert records == [{"name": name, "origin": "real"} for name in ("a.1", "a.2", "b")]
    assert pixels(files["0000001.image.png"]).shape == (32, 40, 3)


# Parquet


def test_a_parquet_file_holds_the_pairs_in_row_groups(sharded, png, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("marsgen.commands.export.scenes.ROW_GROUP", 10)
    out = export(sharded, "parquet", tmp_path / "out", "--set", "scenes_per_file=25")
    files = [parquet.ParquetFile(path) for path in sorted(out.glob("*.parquet"))]
    groups = [[f.metadata.row_group(g).num_rows for g in range(f.num_row_groups)] for f in files]
    assert groups == [[10, 10, 5], [10, 5]]
    assert files[0].schema_arrow.names == ["name", "image", "labels", "manifest"]
    rows = [row for f in files for row in f.read().to_pylist()]
    lines = (png / "manifest.jsonl").read_text().splitlines()
    for index, row in enumerate(rows):
        assert row["name"] == f"{index:07d}"
        assert row["image"] == (png / "images" / f"{index:07d}.png").read_bytes()
        assert row["labels"] == (png / "labels" / f"{index:07d}.png").read_bytes()
        assert row["manifest"] == lines[index]
    again = export(sharded, "parquet", tmp_path / "again", "--set", "scenes_per_file=25")
    assert content(again) == content(out)


def test_without_pyarrow_the_way_to_install_it_is_told(png, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "marsgen.commands.export.scenes.find_spec", lambda name: None if name == "pyarrow" else found(name)
    )
    message = refused(capsys, "marsgen", "export", str(png), "--to", "parquet")
    assert (
        "--to parquet needs pyarrow, which is not installed: pip install '.[parquet]' in this project's folder"
        in message
    )
    assert not (tmp_path / "outputs").exists()


def test_other_forms_do_not_need_pyarrow(png, tmp_path, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest):
        assert not name.startswith("pyarrow")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    export(png, "webdataset", tmp_path / "out")


# the command


def test_the_folder_is_named_after_the_data_unless_told(tiny_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for where in (str(tiny_npz), "sim:3,size=32x40"):
        assert call("marsgen", "export", where, "--to", "webdataset") == 0
    said = capsys.readouterr().out
    assert "pairs 48   files 1\nwrote outputs/tiny-webdataset\n" in said
    assert said.endswith("wrote outputs/sim-3,size=32x40-webdataset\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["sim:3", "--set", "too=png"], "unknown key 'too' (did you mean 'to'?)"),
        (["sim:3", "--to", "tiff"], "tiff"),
        (["sim:3", "--set", "scenes_per_file=0"], "scenes_per_file is 0"),
    ],
)
def test_an_export_that_cannot_be_is_refused_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "marsgen", "export", *words)
    assert list(tmp_path.iterdir()) == []


def test_another_data_set_does_not_go_into_the_same_folder(png, sharded, tmp_path, capsys):
    out = export(png, "png", tmp_path / "out")
    before = content(out)
    message = refused(capsys, "marsgen", "export", str(sharded), "--to", "png", "--out", str(out))
    assert "belongs to another run (inputs.data is" in message
    assert content(out) == before
