"""Provenance: split.json and synth.json, and every refusal of a leak."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from array_scenes import ArrayScenes, dataset_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from marsgen.cleaning.dataset import Dataset
from marsgen.core.config import Config, DataConfig
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.provenance import (
    SplitKeys,
    fingerprints_of_part,
    labelled_by_people,
    read_set_head,
    read_split_keys,
    refuse_held_out_pictures,
    refuse_leaking_extra,
    refuse_leaking_judge,
    refuse_other_split,
    refuse_seen_copies,
    refuse_seen_scene,
    refuse_seen_test_scenes,
    set_trained_on,
    unseen_scenes,
    write_set_head,
    write_split_keys,
)
from marsgen.scenes.scene import scene_key


def painted(seed: int, count: int) -> ArrayScenes:
    """Scenes of noise of 32 x 48 pixels; another seed gives other pictures."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 48, 1), dtype=np.uint8)
    return ArrayScenes(images, rng.integers(1, 4, (count, 32, 48), dtype=np.uint8))


DATA = dataset_of(painted(1, 20), train=range(14), val=range(14, 18), test=(18, 19))
KEYS = DATA.survey.keys


@pytest.fixture
def extra(tmp_path: Path) -> ArrayScenes:
    """Two synthetic scenes made from training scenes 0 and 13, in a folder without synth.json."""
    scenes = painted(2, 2)
    scenes.location = str(tmp_path)
    scenes.ancestors = {0: (KEYS[0],), 1: ("elsewhere", KEYS[13])}
    return scenes


# synth.json


def test_what_the_makers_of_a_set_have_seen_is_written_once_and_sorted(tmp_path):
    write_set_head(tmp_path, {"generator": "pix2pix"}, ["b", "a"], ("b", "c"), [])
    assert read_set_head(tmp_path) == {"generator": "pix2pix", "trained_on": ["a", "b", "c"]}
    assert set_trained_on(tmp_path) == ["a", "b", "c"]


def test_a_folder_without_a_head_says_nothing(tmp_path):
    assert (read_set_head(tmp_path), set_trained_on(tmp_path)) == ({}, [])


@pytest.mark.parametrize("content", ["[1]", "{", "{}", '{"trained_on": "abc"}', '{"trained_on": [1]}'])
def test_a_damaged_head_is_refused(tmp_path, content):
    (tmp_path / "synth.json").write_text(content)
    with pytest.raises(
        DataError, match=r"synth\.json: (not readable json .*|'trained_on' is .*list of scene keys, )make"
    ):
        read_set_head(tmp_path)


def test_label_maps_of_synthetic_or_pseudo_labelled_scenes_are_not_drawn_by_people(tmp_path):
    scenes = painted(3, 4)
    scenes.location = str(tmp_path)
    dataset = dataset_of(scenes, train=(0, 1), val=(2, 3))
    assert labelled_by_people(dataset)
    scenes.ancestors = {3: ("a",)}  # in the validation part
    assert labelled_by_people(dataset)
    scenes.ancestors = {1: ("a",)}
    assert not labelled_by_people(dataset)
    scenes.ancestors = {}
    write_set_head(tmp_path, {"teachers": []}, [])
    assert not labelled_by_people(dataset)


# split.json


def start(folder: Path, *, writes: bool = True) -> Run:
    return Run.start(folder, "segmenter train", Config(), writes=writes)


def test_split_json_holds_each_part_and_all_that_is_behind_the_extras(tmp_path, extra):
    write_set_head(tmp_path, {}, ["seen by the generator"])
    real = painted(4, 1)
    run = start(tmp_path / "run")
    write_split_keys(run, DATA, (extra, real))
    keys = json.loads((run.folder / "split.json").read_text())
    assert keys["train"] == list(KEYS[:14])
    assert (keys["val"], keys["test"]) == (list(KEYS[14:18]), list(KEYS[18:]))
    assert keys["extra"] == sorted([KEYS[0], KEYS[13], "elsewhere", "seen by the generator", scene_key(real.images[0])])
    split = read_split_keys(run.folder)
    assert split.part("val") == set(KEYS[14:18])
    assert set(split.trained_on) == {*KEYS[:14], *keys["extra"]}


def test_pictures_are_not_read_again_for_their_fingerprints(tmp_path, monkeypatch):
    monkeypatch.setattr(ArrayScenes, "read", lambda *_: pytest.fail("a picture was read"))
    run = start(tmp_path / "run")
    write_split_keys(run, DATA, ())
    assert set(read_split_keys(run.folder).pictures) == set(KEYS[:18])


def test_what_made_the_data_themselves_counts_as_seen(tmp_path):
    made = painted(5, 4)
    made.location, made.ancestors = str(tmp_path), {0: ("a parent",), 3: ("behind a validation scene",)}
    write_set_head(tmp_path, {}, ["its generator saw this"])
    run = start(tmp_path / "run")
    write_split_keys(run, dataset_of(made, train=(0, 1), val=(2, 3)), ())
    assert read_split_keys(run.folder).extra == {"a parent", "its generator saw this"}


def test_only_one_of_several_processes_writes(tmp_path):
    (tmp_path / "run").mkdir()
    write_split_keys(start(tmp_path / "run", writes=False), DATA, ())
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    ["{}", "{", '{"train": ["a"]}', '{"train": [], "val": [], "test": []}']
    + ['{"train": "abc", "val": [], "test": [], "extra": []}', '{"train": [1], "val": [], "test": [], "extra": []}'],
)
def test_a_damaged_split_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(RunError, match=r"split\.json: (not readable json|expected lists of scene keys).*; train it"):
        read_split_keys(tmp_path)


def test_a_missing_split_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"split\.json: missing; without it nobody knows"):
        read_split_keys(tmp_path)


# extra scenes


def test_scenes_made_from_training_scenes_may_join(extra, tmp_path):
    write_set_head(tmp_path, {}, [KEYS[5]])
    caution = refuse_leaking_extra(extra, DATA)
    assert "1 scenes that these data do not hold, 1 of them (such as elsewhere) without" in caution
    extra.ancestors[1] = (KEYS[13],)
    assert refuse_leaking_extra(extra, DATA) == ""


@pytest.mark.parametrize(("index", "part"), [(16, "validation"), (19, "test")])
def test_a_scene_made_from_a_held_out_one_is_refused_by_name(extra, index, part):
    extra.ancestors[1] = ("elsewhere", KEYS[index])
    with pytest.raises(DataError, match=f"scene scene1 was made from scene{index}, a {part} scene of this run; make"):
        refuse_leaking_extra(extra, DATA)


def test_rare_scenes_beyond_the_limit_do_not_come_back_as_extras(extra):
    split = replace(DATA.split, train=DATA.split.train[:-1], beyond_limit=DATA.split.train[-1:])
    with pytest.raises(DataError, match=r"was made from scene13, a scene beyond data\.rare_scenes of this run; make"):
        refuse_leaking_extra(extra, replace(DATA, split=split))


def test_a_training_scene_with_a_copy_beyond_the_limit_may_join(extra):
    survey = replace(DATA.survey, keys=(*KEYS[:12], KEYS[0], *KEYS[13:]))  # scene 12 is a copy of scene 0
    split = replace(DATA.split, train=tuple(i for i in range(14) if i != 12), beyond_limit=(12,))
    extra.ancestors[1] = (KEYS[13],)
    assert refuse_leaking_extra(extra, replace(DATA, survey=survey, split=split)) == ""


def test_a_generator_trained_on_a_held_out_scene_is_refused(extra, tmp_path):
    write_set_head(tmp_path, {}, ["elsewhere", KEYS[14]])
    with pytest.raises(DataError, match=r"what made it has learned from scene14, a validation scene .*make it again"):
        refuse_leaking_extra(extra, DATA)
    write_set_head(tmp_path, {"teachers": []}, [KEYS[14]])
    with pytest.raises(DataError, match="learned from scene14, .*; train its teachers again on this data"):
        refuse_leaking_extra(extra, DATA)


def test_a_held_out_scene_under_another_name_is_refused(extra):
    extra.images = np.stack([extra.images[0], DATA.scenes.images[17]])
    extra.ancestors = {}
    with pytest.raises(DataError, match="scene scene1 is the same picture as scene17, a validation scene of this run"):
        refuse_leaking_extra(extra, DATA)


def test_scenes_of_unknown_origin_may_join_with_a_caution(extra, tmp_path):
    del extra.ancestors[1]
    assert "nothing says what 1 of its 2 scenes were made from; none of them is" in refuse_leaking_extra(extra, DATA)
    write_set_head(tmp_path, {"teachers": []}, [])
    assert "its 1 pictures are real ones that networks have labelled" in refuse_leaking_extra(extra, DATA)


@given(
    ancestors=st.lists(st.sampled_from([*KEYS, "elsewhere"]), max_size=3),
    beyond=st.sets(st.integers(0, 13), max_size=5),
)
def test_extras_are_refused_exactly_where_something_behind_them_is_held_out(ancestors, beyond):
    train = tuple(i for i in range(14) if i not in beyond)
    dataset = replace(DATA, split=replace(DATA.split, train=train, beyond_limit=tuple(beyond)))
    scenes = painted(6, 1)
    scenes.ancestors = {0: tuple(ancestors)}
    if set(ancestors) <= {*(KEYS[i] for i in train), "elsewhere"}:
        assert ("do not hold" in refuse_leaking_extra(scenes, dataset)) == ("elsewhere" in ancestors)
    else:
        with pytest.raises(DataError, match="scene scene0 was made from"):
            refuse_leaking_extra(scenes, dataset)


# pictures saved again


def saved_again(scenes: ArrayScenes) -> ArrayScenes:
    """The same pictures as JPEG, larger, without a few rows: every key differs."""
    images = []
    for image in scenes.images:
        buffer = io.BytesIO()
        Image.fromarray(image[2:, ..., 0]).resize((96, 60)).save(buffer, "JPEG", quality=85)
        buffer.seek(0)
        images.append(np.asarray(Image.open(buffer))[..., None])
    return ArrayScenes(np.stack(images), np.ones((len(images), 60, 96), np.uint8))


def smooth(seed: int, count: int) -> ArrayScenes:
    """Different pictures of 64 x 96 pixels with detail that JPEG keeps."""
    cells = np.random.default_rng(seed).integers(40, 200, (count, 16, 24, 1), dtype=np.uint8)
    return ArrayScenes(cells.repeat(4, 1).repeat(4, 2), np.ones((count, 64, 96), np.uint8))


SMOOTH = dataset_of(smooth(1, 20), train=range(14), val=range(14, 18), test=(18, 19))
AGAIN = saved_again(SMOOTH.scenes)


def made_from_saved_again(tmp_path: Path, indices) -> ArrayScenes:
    made, others = smooth(2, 2), dataset_of(AGAIN, train=range(20), val=())
    made.location = str(tmp_path)
    made.ancestors = {i: (others.survey.keys[indices[i]],) for i in range(2)}
    write_set_head(tmp_path, {}, others.survey.keys, pictures=fingerprints_of_part(others, indices))
    return made


def test_scenes_made_from_held_out_pictures_that_were_saved_again_are_refused(tmp_path):
    assert not set(SMOOTH.survey.keys) & {scene_key(image) for image in AGAIN.images}
    made = made_from_saved_again(tmp_path, range(20))
    with pytest.raises(
        DataError, match=r"6 of 6 held-out scenes .* such as scene14, are pictures .* saved again; make"
    ):
        refuse_leaking_extra(made, SMOOTH)


def test_scenes_made_from_training_pictures_that_were_saved_again_may_join(tmp_path):
    caution = refuse_leaking_extra(made_from_saved_again(tmp_path, range(14)), SMOOTH)
    assert caution.endswith("it was made from 2 scenes that these data do not hold")


def test_real_pictures_that_are_held_out_ones_saved_again_are_refused():
    extra = saved_again(ArrayScenes(SMOOTH.scenes.images[14:], SMOOTH.scenes.labels[14:]))
    with pytest.raises(
        DataError, match="6 of its 6 real pictures, such as scene0, are held-out scenes .*, saved again"
    ):
        refuse_leaking_extra(extra, SMOOTH)
    assert "saved again" not in refuse_leaking_extra(smooth(5, 6), SMOOTH)


def test_training_scenes_that_were_saved_again_are_not_scored(tmp_path):
    run = start(tmp_path / "run")
    write_split_keys(run, SMOOTH, ())
    split = read_split_keys(run.folder)
    assert set(split.pictures) == set(SMOOTH.survey.keys[:18])
    with pytest.raises(DataError, match=r"18 of 20 scenes of arrays, such as scene0, are pictures that .* saved again"):
        refuse_seen_copies(AGAIN, split, run.folder)
    refuse_seen_copies(smooth(7, 20), split, run.folder)
    content = json.loads((run.folder / "split.json").read_text())
    content["pictures"]["a"] = "00"
    (run.folder / "split.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"split\.json: its 'pictures' are damaged"):
        read_split_keys(run.folder)


# judges


def test_a_judge_that_saw_a_scene_outside_the_train_part_is_refused_by_name():
    refuse_leaking_judge(KEYS[:14], "outputs/judge", DATA)
    with pytest.raises(RunError) as refusal:
        refuse_leaking_judge((*KEYS[:14], KEYS[15], "f" * 16), "outputs/judge", DATA)
    words = "outputs/judge was trained on 2 scenes outside the train part of these data, such as scene15; train it on"
    assert words in str(refusal.value)
    with pytest.raises(RunError, match="1 scenes outside the train part of these data; train it on the same data"):
        refuse_leaking_judge(["f" * 16], "outputs/judge", DATA)


# evaluation

SPLIT = SplitKeys(*map(frozenset, (["t"], ["v"], ["e"], ["x"])))
REASONS = {"t": "was trained on in", "v": "chose the checkpoint in", "x": "is one of the extra scenes"}


@pytest.mark.parametrize(("part", "refused"), [("all", "tvx"), ("test", "tx"), ("val", "tx"), ("train", "")], ids=str)
def test_a_score_needs_scenes_that_the_run_has_not_seen(part, refused):
    for key in "tvxen":
        if key in refused:
            with pytest.raises(DataError, match=f"scene rover {REASONS[key]}.* run7; a score needs scenes it has not"):
                refuse_seen_scene("rover", key, part, SPLIT, Path("run7"))
        else:
            refuse_seen_scene("rover", key, part, SPLIT, Path("run7"))


def test_reference_scenes_are_those_that_the_data_do_not_hold_or_test_on_and_no_maker_knows():
    mixed = painted(7, 4)
    train, val, test = (getattr(DATA.split, part)[0] for part in ("train", "val", "test"))
    for number, index in enumerate((train, val, test), start=1):
        mixed.images[number] = DATA.scenes.images[index]
    assert unseen_scenes(mixed, DATA, []) == [0, 3]
    assert unseen_scenes(mixed, DATA, [DATA.survey.keys[test]]) == [0]


# studies


def test_test_scenes_of_a_study_are_in_neither_train_nor_validation_part():
    mixed = painted(8, 3)
    mixed.fingerprint = lambda: "1" * 16  # type: ignore[method-assign]
    mixed.images[2] = DATA.scenes.images[18]
    refuse_seen_test_scenes(mixed, DATA)
    for index in (3, 14):
        mixed.images[1] = DATA.scenes.images[index]
        with pytest.raises(DataError, match="arrays: scene scene1 is in arrays too, where networks learn from it"):
            refuse_seen_test_scenes(mixed, DATA)


def test_the_data_are_their_own_test_scenes_only_where_they_keep_a_test_part():
    refuse_seen_test_scenes(DATA.scenes, DATA)
    without = replace(DATA, split=replace(DATA.split, test=()))
    with pytest.raises(DataError, match="scene scene0 is in arrays too"):
        refuse_seen_test_scenes(DATA.scenes, without)


def held_out_picture(index: int, dataset: Dataset = DATA, *, folds: bool = False) -> None:
    pictures, test = painted(9, 2), painted(10, 2)
    test.location = "the test set"
    pictures.images[1] = DATA.scenes.images[index] if index >= 0 else test.images[0]
    refuse_held_out_pictures(pictures, dataset, test, folds=folds)


def test_pictures_that_are_held_out_are_not_labelled():
    held_out_picture(0)
    for index in (14, 19):
        with pytest.raises(DataError, match="picture scene1 is a held-out scene of arrays too"):
            held_out_picture(index)
    with pytest.raises(DataError, match="picture scene1 is a held-out scene of the test set too"):
        held_out_picture(-1)
    with pytest.raises(DataError, match="picture scene1 is a held-out scene of arrays too"):
        held_out_picture(0, folds=True)
    beyond = replace(DATA, split=replace(DATA.split, train=DATA.split.train[1:], beyond_limit=(0,)))
    with pytest.raises(DataError, match="picture scene1 is a held-out scene of arrays too"):
        held_out_picture(0, beyond)


def test_what_makes_extra_scenes_uses_the_split_of_the_arm():
    ours = DataConfig(rare_scenes=10)
    refuse_other_split("arms.pasted", ours, {"sets.pasted": DataConfig(rare_scenes=10)})
    makers = {"sets.pasted": ours, "sets.pasted.judge (real)": DataConfig()}
    with pytest.raises(ConfigError, match=r"arms\.pasted and sets\.pasted\.judge \(real\) use other parts of the data"):
        refuse_other_split("arms.pasted", ours, makers)
