"""Label maps drawn as they are: what is drawn, how often, of which parents, and what is refused."""

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import InProcess

import marsgen as mg
from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.engines.task import Task
from marsgen.generators.config import TrainPix2PixConfig
from marsgen.provenance import read_set_head, refuse_leaking_extra
from marsgen.scenes.readers.folder import write_classes, write_pair
from marsgen.scenes.sources import open_scenes
from marsgen.synthesis.maps import LabelMaps, open_maps
from marsgen.synthesis.windows import soft_inpainting_mask

TINY = TrainPix2PixConfig(
    steps=4, batch_size=2, generator_width=4, discriminator_width=4, generator_lr=0.03, ema_decay=0.0
)


@pytest.fixture(scope="module")
def dataset(tiny_npz) -> Dataset:
    return open_dataset(str(tiny_npz), DataConfig())


@pytest.fixture(scope="module")
def generator(tmp_path_factory, dataset) -> Path:
    """A pix2pix of four large steps."""
    from marsgen.generators.pix2pix.train import train

    run = Run.start(
        tmp_path_factory.mktemp("gen") / "gen", "marsgen train-generator", TINY, {"data": dataset.scenes.identity()}
    )
    train(TINY, run, dataset)
    run.close()
    return run.folder


def paint(folder: Path, dataset: Dataset, parents: Iterable[int], *, manifest: bool = True, cut: int = 0) -> Path:
    """A set of maps as the playground saves it: a rock painted into each parent, and a piece of another stamped."""
    classes, lines = dataset.scenes.classes, []
    write_classes(folder, classes)
    for number, index in enumerate(parents):
        scene, donor = dataset.scenes[index], dataset.split.train[number]
        image, labels = scene.image[cut:, cut:].copy(), scene.labels[cut:, cut:].copy()
        labels[10:20, 30 + number : 50] = classes.ids[classes.index("big_rock")]
        image[12:16, 32:36] ^= 64
        write_pair(folder, f"map{number}", image, labels, classes)
        key, donor_key = dataset.survey.keys[index], dataset.survey.keys[donor]
        parent: dict[str, Any] = {"name": scene.name, "key": key}
        parent |= {"box": [cut, cut, *scene.labels.shape]} if cut else {}
        donors = [{"name": dataset.scenes.names[donor], "key": donor_key, "class": "big_rock"}]
        lines.append(json.dumps({"name": f"map{number}", "parent": parent, "donors": donors}) + "\n")
    if manifest:
        (folder / "manifest.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def painted(tmp_path_factory, dataset) -> Path:
    """Three maps grown from training scenes."""
    return paint(tmp_path_factory.mktemp("maps") / "maps", dataset, dataset.split.train[3:6])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, painted, generator, dataset) -> Path:
    """20 pairs of the three maps, by one process."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    mg.synthesize(dataset, generator, maps=painted, n=20, out=folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_what_was_changed_is_drawn_and_nothing_else(drawn, painted, dataset):
    maps, made = open_scenes(str(painted)), open_scenes(str(drawn))
    assert len(made) == 20
    for index, scene in enumerate(made):
        wanted = maps[index % 3]
        parent = dataset.scenes[dataset.split.train[3 + index % 3]]
        np.testing.assert_array_equal(scene.labels, wanted.labels)
        changed = (wanted.labels != parent.labels) | (wanted.image != parent.image).any(2)
        outside = soft_inpainting_mask(changed, 3.0) == 0
        np.testing.assert_array_equal(scene.image[outside], parent.image[outside])
        assert (scene.image[changed] != wanted.image[changed]).mean() > 0.5


def test_a_map_drawn_again_gets_other_noise(drawn):
    made = open_scenes(str(drawn))
    pictures = [made[index].image.tobytes() for index in range(20)]
    assert len(set(pictures)) == 20


def test_each_pair_names_its_map_its_parent_and_its_donors(drawn, painted, dataset):
    for index, record in enumerate(manifest(drawn)):
        parent, donor = dataset.split.train[3 + index % 3], dataset.split.train[index % 3]
        assert record["map"] == f"map{index % 3}"
        assert record["parent"] == {"name": dataset.scenes.names[parent], "key": dataset.survey.keys[parent]}
        assert [entry["key"] for entry in record["donors"]] == [dataset.survey.keys[donor]]
        assert {"class": "big_rock", "box": [10, 30 + index % 3, 20, 50]} in record["drawn"]
    origin = open_scenes(str(drawn)).origin(1)
    assert (origin.kind, len(origin.ancestors)) == ("synthetic", 2)
    assert read_set_head(drawn)["maps"]["fingerprint"] == open_scenes(str(painted)).fingerprint()
    assert (drawn / "preview.png").is_file()
    card = (drawn / "README.md").read_text()
    assert "| pairs into which it was drawn |" in card
    assert "| big_rock | 4 | yes | 20 |" in card


def test_maps_of_training_scenes_join_training_and_of_held_out_ones_do_not(drawn, generator, dataset, tmp_path, caplog):
    assert refuse_leaking_extra(open_scenes(str(drawn)), dataset) == ""
    leaking = paint(tmp_path / "maps", dataset, [dataset.split.train[0], dataset.split.val[0]])
    held_out = dataset.scenes.names[dataset.split.val[0]]
    with caplog.at_level(logging.WARNING, "marsgen"):
        made = mg.synthesize(dataset, generator, maps=leaking, out=tmp_path / "set")
    assert len(made) == 2  # one of each
    name = held_out.replace("[", r"\[").replace("]", r"\]")
    assert f"1 of 2 maps grew from held-out scenes, such as {held_out}, a validation scene of this run" in caplog.text
    with pytest.raises(DataError, match=f"scene 0000001 was made from {name}, a validation scene of this run"):
        refuse_leaking_extra(made, dataset)


def test_a_part_of_a_parent_is_compared_with_that_part(dataset, tmp_path):
    painted = paint(tmp_path / "maps", dataset, dataset.split.train[:2], cut=6)
    maps = LabelMaps(open_maps(painted, dataset.scenes), dataset)
    wanted = maps.read(0)
    assert wanted.changed[12:16, 32:36].all()
    assert 16 <= wanted.changed.sum() <= 200
    text = (painted / "manifest.jsonl").read_text()
    for box in ("[0, 0, 58, 900]", '"all"'):
        (painted / "manifest.jsonl").write_text(text.replace("[6, 6, 64, 128]", box))
        with pytest.raises(DataError, match=r"map map0: its parent's box is .* inside 64 x 128 pixels"):
            LabelMaps(open_maps(painted, dataset.scenes), dataset).read(0)


def test_what_nothing_is_known_of_is_drawn_whole_and_said(generator, dataset, tmp_path, caplog):
    """Without a manifest: a changed picture is nobody's, an unchanged one is its scene's; maps alone are of nobody."""
    painted = paint(tmp_path / "maps", dataset, dataset.split.train[:2], manifest=False)
    scene = dataset.scenes[dataset.split.train[7]]
    labels = scene.labels.copy()
    labels[30:40, 60:70] = dataset.scenes.classes.ids[0]
    write_pair(painted, "own", scene.image, labels, dataset.scenes.classes)
    maps = LabelMaps(open_maps(painted, dataset.scenes), dataset)
    assert [bool(maps.read(i).changed.all()) for i in range(3)] == [True, True, False]
    assert maps.read(2).ancestors == (dataset.survey.keys[dataset.split.train[7]],)
    assert set(maps.pictures) == {maps.read(i).ancestors[0] for i in (0, 1)}
    assert "2 of 3 maps, such as map0, grew from pictures that" in maps.cautions()[0]

    shutil.rmtree(painted / "images")
    with caplog.at_level(logging.WARNING, "marsgen"):
        made = mg.synthesize(dataset, generator, maps=painted, out=tmp_path / "set")
    assert "nothing says what 3 of 3 maps, such as map0, grew from" in caplog.text
    assert [record["parent"] for record in manifest(tmp_path / "set")] == [None] * 3
    np.testing.assert_array_equal(made[2].labels, labels)
    assert made[2].image.std() > 1
    caution = refuse_leaking_extra(made, dataset)
    assert "nothing says what 3 of its 3 scenes were made from" in caution


def test_scene_mode_draws_the_whole_picture(painted, generator, dataset, tmp_path):
    made = mg.synthesize(dataset, generator, maps=painted, mode="scene", out=tmp_path / "set")
    wanted = open_scenes(str(painted))
    assert all((made[i].image != wanted[i].image).mean() > 0.5 for i in range(3))
    assert {record["parent"]["name"] for record in manifest(tmp_path / "set")} <= set(dataset.scenes.names)


def test_a_synthetic_set_is_a_set_of_maps_too(drawn, generator, dataset, tmp_path):
    """Another generator may draw the same maps; parents, donors and what their maker has seen are handed on."""
    shutil.copytree(drawn, tmp_path / "first")
    head = read_set_head(drawn)
    (tmp_path / "first" / "synth.json").write_text(json.dumps(head | {"trained_on": ["seen"]}))
    made = mg.synthesize(dataset, generator, maps=tmp_path / "first", n=2, out=tmp_path / "set")
    assert made.origin(1).ancestors == open_scenes(str(drawn)).origin(1).ancestors
    assert "seen" in read_set_head(tmp_path / "set")["trained_on"]


class Failing(InProcess):
    """A width of two; its second part fails, the first time."""

    width = 2

    def __init__(self, bad: int | None = None) -> None:
        super().__init__()
        self.bad = bad

    def submit(self, task: Task):
        (words,) = task.commands
        if self.bad == int(words[words.index("--number") + 1]):
            words = ("marsgen", "inspect", "--data", "nowhere.npz")
        return super().submit(Task(task.name, (words,), task.log))


def test_parts_and_an_interruption_give_the_same_bytes(drawn, painted, generator, dataset, tmp_path):
    folder = tmp_path / "set"
    with pytest.raises(RunError, match=r"part set 1:2: nowhere\.npz"):
        mg.synthesize(dataset, generator, maps=painted, n=20, out=folder, engine=Failing(bad=1))
    with next(iter(folder.glob("journal-000-*.jsonl"))).open("a") as journal:
        journal.write('{"index": 17')  # as a kill leaves it
    again = Failing()
    mg.synthesize(dataset, generator, maps=painted, n=20, out=folder, engine=again)
    assert [words[words.index("--chunks") + 1] for words in again.ran] == ["1:2"]
    assert content(folder) == content(drawn)
    lines = (drawn / "manifest.jsonl").read_text().splitlines(keepends=True)
    for name in ("DONE", "manifest.jsonl"):
        (folder / name).unlink()
    (folder / "journal-000-000.jsonl").write_text("".join(lines[:16]) + lines[16][:40])
    mg.synthesize(dataset, generator, maps=painted, n=20, out=folder)
    assert content(folder) == content(drawn)


def test_shards_have_the_size_of_the_maps(generator, dataset, tmp_path):
    painted = paint(tmp_path / "maps", dataset, dataset.split.train[:2], cut=16)
    made = mg.synthesize(dataset, generator, maps=painted, format="shards", out=tmp_path / "set")
    assert made.shape == made[0].labels.shape == (48, 112)


def test_what_contradicts_maps_is_refused_before_anything_is_written(painted, generator, dataset, tmp_path):
    given: list[tuple[dict[str, Any], str]] = [
        ({"mode": "variation"}, "--maps beside mode variation"),
        ({"classes": ["big_rock"]}, "--maps beside --class: the maps say what is drawn"),
        ({"focus": "run"}, "--maps beside --focus"),
        ({"settings": {"paste.tries": 3}}, "--maps beside settings under paste"),
    ]
    for settings, words in given:
        with pytest.raises(ConfigError, match=words):
            mg.synthesize(dataset, generator, maps=painted, out=tmp_path / "set", **settings)
    with pytest.raises(ConfigError, match="--maps beside --generator copy-paste, which draws nothing"):
        mg.synthesize(dataset, "copy-paste", maps=painted, out=tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_maps_that_cannot_be_drawn_are_refused(generator, dataset, tmp_path):
    scene = dataset.scenes[dataset.split.train[0]]
    same = tmp_path / "same"
    write_classes(same, scene.classes)
    write_pair(same, "same", scene.image, scene.labels, scene.classes)
    with pytest.raises(DataError, match="in 1 of 1 maps, such as same, nothing differs from the real scene"):
        mg.synthesize(dataset, generator, maps=same, out=tmp_path / "set")
    write_pair(same, "same", scene.image, np.full_like(scene.labels, scene.classes.ignored), scene.classes)
    with pytest.raises(DataError, match="in 1 of 1 maps, such as same, no pixel carries a label"):
        mg.synthesize(dataset, generator, maps=same, mode="scene", out=tmp_path / "set")
    (same / "classes.yaml").write_text(
        "ignored: 0\nclasses:\n" + "".join(f"- {{name: c{i}, id: {i}}}\n" for i in range(1, 5))
    )
    with pytest.raises(DataError, match=r"--maps .*: its classes are c1, c2, c3, c4, those of .* are soil"):
        mg.synthesize(dataset, generator, maps=same, out=tmp_path / "set")
    assert not (tmp_path / "set").exists()
