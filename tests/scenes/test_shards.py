"""Large sets: shards hold the pixels of PNG pairs, and what a finished run left is opened without reading it all."""

import json
import os
import pickle
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_flow import call

from marsgen.core.errors import DataError
from marsgen.scenes.files.manifest import Manifest, Names
from marsgen.scenes.readers import shards
from marsgen.scenes.readers.folder import MadeFolder, SceneFolder, write_classes, write_pair
from marsgen.scenes.readers.shards import ShardScenes, allocate_shards, read_slot, write_slot
from marsgen.scenes.scene import Origin
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes


def synthesize(data: Path, out: Path, form: str, n: int = 40) -> Path:
    words = ["--generator", "copy-paste", "--data", str(data), "--n", str(n), "--format", form, "--out", str(out)]
    assert call("marsgen", "synthesize", *words) == 0
    return out


@pytest.fixture(scope="module")
def both(tiny_npz, tmp_path_factory) -> tuple[Path, Path]:
    """40 pairs as PNG files, and the same as shards."""
    folder = tmp_path_factory.mktemp("both")
    return synthesize(tiny_npz, folder / "png", "png"), synthesize(tiny_npz, folder / "shards", "shards")


@pytest.fixture
def shard_length(monkeypatch) -> int:
    monkeypatch.setattr(shards, "SHARD_LENGTH", 16)
    return 16


def painted(seed: int, shape=(32, 40), channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, channels), dtype=np.uint8), rng.integers(0, 5, shape, dtype=np.uint8)


def write_shards(folder: Path, n: int, channels: int = 1) -> Path:
    """n scenes of 32 x 40 painted from their index, scene i grown from real scenes p<i % 3> and d."""
    allocate_shards(folder, n, (32, 40), channels)
    for index in range(n):
        write_slot(folder, index, *painted(index, channels=channels), mars_classes())
    write_classes(folder, mars_classes())
    (folder / "manifest.jsonl").write_text("".join(line(f"{i:07d}", f"p{i % 3}") + "\n" for i in range(n)))
    return folder


def line(name: str, parent: str) -> str:
    return json.dumps({"name": name, "parent": {"name": "p", "key": parent}, "donors": [{"name": "d", "key": "d"}]})


# the same set in two forms


def test_shards_hold_the_scenes_of_the_png_folder(both):
    png, sharded = (open_scenes(str(folder)) for folder in both)
    assert isinstance(png, MadeFolder)
    assert isinstance(sharded, ShardScenes)
    assert (sharded.shape, sharded.channels, sharded.classes) == (png.shape, png.channels, png.classes)
    assert len(sharded) == len(png) == 40
    for one, other in zip(png, sharded, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert (one.name, one.origin) == (other.name, other.origin)
    assert png.record(7) == sharded.record(7) == json.loads((both[0] / "manifest.jsonl").read_text().splitlines()[7])


def test_the_files_beside_are_the_same(both):
    names = ["classes.yaml", "synth.json", "manifest.jsonl", "preview.png", "pasted.json", "README.md", "DONE"]
    for name in names:
        assert (both[0] / name).read_bytes() == (both[1] / name).read_bytes()
    assert {p.name for p in both[1].iterdir()} == {*names, ".lock", "config.yaml", "environment.json", "shards"}


def test_numpy_opens_a_shard_by_itself(both):
    images = np.load(both[1] / "shards" / "images-00000.npy", mmap_mode="r")
    labels = np.load(both[1] / "shards" / "labels-00000.npy", mmap_mode="r")
    assert (images.shape, labels.shape, images.dtype) == ((40, 64, 128, 1), (40, 64, 128), np.uint8)
    np.testing.assert_array_equal(images[7], open_scenes(str(both[0]))[7].image)


def test_what_a_kill_left_goes_on_to_the_same_bytes(both, tiny_npz, tmp_path):
    """One chunk of 16 journalled, the next one's slots half written and its line cut short."""

    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    killed = Path(shutil.copytree(both[1], tmp_path / "killed"))
    lines = (killed / "manifest.jsonl").read_text().splitlines(keepends=True)
    (killed / "journal-000-000.jsonl").write_text("".join(lines[:16]) + lines[16][:40])
    for name in ("DONE", "manifest.jsonl", "preview.png"):
        (killed / name).unlink()
    for kind in ("images", "labels"):
        array = np.load(killed / "shards" / f"{kind}-00000.npy", mmap_mode="r+")
        array[16] //= 2
        array[17:] = 0
        array.flush()
    synthesize(tiny_npz, killed, "shards")
    assert content(killed) == content(both[1])
    assert content(killed / "shards") != {}


def test_scenes_of_several_sizes_do_not_go_into_shards(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, shape in (("a", (64, 80)), ("b", (64, 96)), ("c", (64, 64))):
        image, labels = painted(1, shape)
        write_pair(tmp_path / "mixed", name, image, labels, mars_classes())
    write_classes(tmp_path / "mixed", mars_classes())
    words = ["--generator", "copy-paste", "--data", "mixed", "--n", "4", "--format", "shards"]
    assert call("marsgen", "synthesize", *words) == 2
    assert "mixed: its scenes differ in size, and shards hold scenes of one size; use --format png" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "outputs").exists()


# files


@pytest.mark.parametrize("channels", [1, 3])
def test_slots_filled_in_any_order_by_several_hands_hold_their_scenes(tmp_path, shard_length, channels):
    allocate_shards(tmp_path, 40, (32, 40), channels)
    written = np.random.default_rng(0).permutation(40)

    def write(index: int) -> None:
        write_slot(tmp_path, int(index), *painted(int(index), channels=channels), mars_classes())

    write(written[0])
    allocate_shards(tmp_path, 40, (32, 40), channels)  # a run that goes on; what is there stays
    np.testing.assert_array_equal(
        read_slot(tmp_path, int(written[0]))[0], painted(int(written[0]), channels=channels)[0]
    )
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, written))
    files = sorted(p.name for p in (tmp_path / "shards").iterdir())
    assert files == [f"{kind}-0000{k}.npy" for kind in ("images", "labels") for k in range(3)]
    assert np.load(tmp_path / "shards" / "images-00002.npy").shape == (8, 32, 40, channels)  # 40 = 16 + 16 + 8
    for index in range(40):
        for array, expected in zip(read_slot(tmp_path, index), painted(index, channels=channels), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_a_scene_of_another_size_or_an_unknown_id_is_not_written(tmp_path):
    allocate_shards(tmp_path, 2, (32, 40), 1)
    with pytest.raises(
        DataError, match=r"labels-00000\.npy: slot 0 of shape \(32, 48\) in 2 slots of shape \(32, 40\)"
    ):
        write_slot(tmp_path, 0, *painted(0, (32, 48)), mars_classes())
    image, labels = painted(0)
    labels[3, 4] = 9
    with pytest.raises(DataError, match="scene 1: label 9 at row 3, column 4"):
        write_slot(tmp_path, 1, image, labels, mars_classes())
    assert not any(array.any() for index in range(2) for array in read_slot(tmp_path, index))


def test_reading_works_from_the_end_in_copies_and_for_images_alone(tmp_path, shard_length):
    scenes = open_scenes(str(write_shards(tmp_path, 20)))
    np.testing.assert_array_equal(scenes.read(-1)[0], painted(19)[0])
    with pytest.raises(IndexError, match="out of range"):
        scenes.read(20)
    copied = pickle.loads(pickle.dumps(scenes))
    assert len(pickle.dumps(scenes)) < 5_000
    image, _ = copied.read(17)
    np.testing.assert_array_equal(image, painted(17)[0])
    image[:] = 0  # a read scene is the reader's own
    np.testing.assert_array_equal(copied.read(17)[0], painted(17)[0])
    unlabelled = open_scenes(str(tmp_path), labelled=False)
    assert not unlabelled[3].labels.any()
    np.testing.assert_array_equal(unlabelled[3].image, painted(3)[0])


def test_the_fingerprint_follows_pixels_and_manifest(tmp_path, shard_length):
    write_shards(tmp_path, 20)
    prints = [open_scenes(str(tmp_path)).fingerprint()]
    assert open_scenes(str(tmp_path)).fingerprint() == prints[0]
    image, labels = painted(17)
    image[0, 0] ^= 1
    write_slot(tmp_path, 17, image, labels, mars_classes())
    prints.append(open_scenes(str(tmp_path)).fingerprint())
    (tmp_path / "manifest.jsonl").write_text((tmp_path / "manifest.jsonl").read_text().replace("p2", "p3"))
    prints.append(open_scenes(str(tmp_path)).fingerprint())
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "manifest.jsonl").unlink(), "shards without manifest.jsonl; copy the whole folder"),
        (lambda d: (d / "shards/labels-00001.npy").unlink(), r"labels-00001\.npy: cannot be read \(No such file"),
        (lambda d: os.truncate(d / "shards/images-00000.npy", 20_000), r"20,000 bytes; expected 20,608 for shape"),
        (lambda d: (d / "shards/images-00001.npy").write_bytes(b"x" * 300), r"images-00001\.npy: no \.npy file"),
        (lambda d: np.save(d / "shards/images-00001.npy", np.zeros((4, 32, 40, 1))), "float64 of shape"),
        (lambda d: np.save(d / "shards/labels-00000.npy", np.zeros((16, 32, 48), np.uint8)), "expected 4 of"),
        (lambda d: (d / "manifest.jsonl").write_text(line("a", "p") + "\n"), "expected 1 of .* for 1 lines"),
        (lambda d: (d / "manifest.jsonl").write_text(""), "no line, so no scene"),
        (lambda d: (d / "classes.yaml").unlink(), r"classes\.yaml: no such classes file"),
    ],
)
def test_shards_that_do_not_fit_are_named(tmp_path, shard_length, spoil, words):
    spoil(write_shards(tmp_path, 20))
    with pytest.raises(DataError, match=words):
        open_scenes(str(tmp_path))


def test_an_unfinished_set_of_shards_is_no_data_yet(both, tmp_path):
    for name in ("config.yaml", "environment.json", "classes.yaml", "manifest.jsonl", "shards"):
        (tmp_path / name).symlink_to(both[1] / name)
    with pytest.raises(DataError, match="a run that has not finished; repeat its command"):
        open_scenes(str(tmp_path))


def test_an_id_of_no_class_is_named_when_the_scene_is_read(tmp_path):
    write_shards(tmp_path, 3)
    labels = np.load(tmp_path / "shards" / "labels-00000.npy", mmap_mode="r+")
    labels[1, 2, 3] = 77
    labels.flush()
    scenes = open_scenes(str(tmp_path))
    assert scenes[0].labels.any()
    with pytest.raises(DataError, match="0000001: label 77 at row 2, column 3"):
        scenes[1]


# the folder of a finished run


@pytest.fixture
def made(both, tmp_path) -> Path:
    """A copy of the PNG set."""
    return Path(shutil.copytree(both[0], tmp_path / "made"))


def test_a_finished_set_is_what_a_folder_of_pictures_would_be(made):
    lazy, whole = open_scenes(str(made)), SceneFolder(made)
    assert isinstance(lazy, MadeFolder)
    assert lazy.fingerprint() == whole.fingerprint()
    assert open_scenes(str(made), labelled=False).fingerprint() == SceneFolder(made, labelled=False).fingerprint()
    assert (list(lazy.names), lazy.shape, lazy.channels) == (list(whole.names), whole.shape, whole.channels)
    for index in range(40):
        assert lazy.origin(index) == whole.origin(index)
        assert lazy.record(index) == whole.record(index)
        np.testing.assert_array_equal(lazy[index].labels, whole[index].labels)


def test_no_picture_of_a_finished_set_is_read_before_it_is_asked_for(made):
    for path in (made / "labels").iterdir():
        if path.stem != "0000003":
            path.write_bytes(b"no picture")
    scenes = open_scenes(str(made))
    assert scenes[3].labels.any()
    with pytest.raises(DataError, match=r"labels/0000004\.png: not a readable PNG"):
        scenes[4]


def test_without_a_stated_size_headers_tell_it(made):
    head = json.loads((made / "synth.json").read_text())
    assert (head.pop("shape"), head.pop("channels")) == ([64, 128], 1)
    (made / "synth.json").write_text(json.dumps(head))
    scenes = open_scenes(str(made))
    assert isinstance(scenes, MadeFolder)
    assert (scenes.shape, scenes.channels) == ((64, 128), 1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "images/0000004.png").unlink(), r"labels/0000004\.png: no image"),
        (
            lambda d: write_pair(d, "mine", *painted(0), mars_classes()),
            r"no line for mine\.png; its parents are unknown",
        ),
        (lambda d: (d / "manifest.jsonl").write_text("{}"), r"line 1: not a json with name"),
    ],
)
def test_a_finished_set_that_was_changed_is_looked_through(made, spoil, words):
    spoil(made)
    with pytest.raises(DataError, match=words):
        open_scenes(str(made))


def test_a_finished_set_thinned_by_hand_is_still_a_set(made):
    lines = (made / "manifest.jsonl").read_text().splitlines(keepends=True)
    (made / "manifest.jsonl").write_text("".join([lines[5], *lines[1:5], *lines[6:]]))  # and no longer in order
    for part in ("images", "labels"):
        (made / part / "0000000.png").unlink()
    scenes = open_scenes(str(made))
    assert isinstance(scenes, SceneFolder)
    assert scenes.record(0)["name"] == scenes.names[0] == "0000001"
    assert scenes.record(4)["name"] == scenes.names[4] == "0000005"


def test_a_picture_of_another_size_is_named_when_it_is_read(made):
    write_pair(made, "0000002", *painted(0, (64, 96)), mars_classes())
    scenes = open_scenes(str(made))
    with pytest.raises(
        DataError, match=r"0000002\.png: 64 x 96 pixels in grey; the others are 64 x 128 pixels in grey"
    ):
        scenes.read(2)


# the manifest


def test_names_are_a_sequence_of_texts():
    names = Names("soilBüßrock".encode(), np.array([4, 9, 9, 13]))
    assert list(names) == ["soil", "Büß", "", "rock"]
    assert (names[-1], names[1:3], len(names), "rock" in names) == ("rock", ["Büß", ""], 4, True)
    with pytest.raises(IndexError):
        names[4]


def test_a_manifest_keeps_each_key_once_and_lines_on_disk(tmp_path):
    lines = [line("b", "x"), line("a", "y"), line("c", "d")]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    manifest = Manifest(tmp_path / "manifest.jsonl")
    assert [manifest.ancestors(row) for row in range(3)] == [("x", "d"), ("y", "d"), ("d",)]
    assert [manifest.record(row) for row in range(3)] == [json.loads(text) for text in lines]
    assert not manifest.in_order


def test_many_lines_take_little_memory(tmp_path):
    n = 5_000
    text = line("NAME", "PARENT")
    with (tmp_path / "manifest.jsonl").open("w") as file:
        file.writelines(text.replace("NAME", f"{i:07d}").replace("PARENT", f"{i % 50:016x}") + "\n" for i in range(n))
    (tmp_path / "one.jsonl").write_text(text + "\n")
    Manifest(tmp_path / "one.jsonl")  # what the first of all manifests imports and caches is no memory of the lines
    tracemalloc.start()
    manifest = Manifest(tmp_path / "manifest.jsonl")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / n < 45  # bytes a scene: 7 of name, 3 x 8 of places, 2 x 4 of keys
    assert peak / n < 100
    assert manifest.ancestors(n - 1) == (f"{(n - 1) % 50:016x}", "d")
    assert manifest.in_order


def test_an_origin_is_synthetic(tmp_path):
    write_shards(tmp_path, 5)
    assert open_scenes(str(tmp_path)).origin(-1) == Origin("synthetic", ("p1", "d"))
