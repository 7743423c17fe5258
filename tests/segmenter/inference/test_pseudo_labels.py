"""Pseudo-labels: a threshold per class, the same bytes after a kill, and no way for a held-out scene to get in."""

import json
import shutil

import numpy as np
import pytest
from refusals import refused

from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import scene_key
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes
from segmenter.config import PseudoLabelConfig, TrainConfig, UNetConfig
from segmenter.inference import pseudo_labels
from segmenter.inference.predict import load_segmenter, predict_probs
from segmenter.inference.pseudo_labels import (
    LEVELS,
    Teachers,
    choose_thresholds,
    count_confidences,
    open_teachers,
    pseudo_label,
    summary_lines,
)
from segmenter.training.extras import describe_extra, open_extras
from segmenter.training.train import train

TRAIN, VAL = range(10), (10, 11)


@pytest.fixture(scope="module")
def scenes(simulated):
    """12 simulated scenes of 64 x 128 that the teachers learn from."""
    return simulated(12)


@pytest.fixture(scope="module")
def pictures(simulated):
    """37 others: two whole batches and a part of one."""
    return simulated(37, seed=8)


def fit(folder, dataset, seed: int = 0, extras=()):
    config = TrainConfig(unet=UNetConfig(width=4), steps=8, batch_size=4, lr=1e-2, precision="fp32", seed=seed)
    run = Run.start(folder, "segmenter train", config, {"extra": []})
    train(config, run, dataset, extras)
    return folder


@pytest.fixture(scope="module")
def runs(scenes, make_dataset, tmp_path_factory):
    """Two finished runs that differ by their seed."""
    folder, dataset = tmp_path_factory.mktemp("runs"), make_dataset(scenes, TRAIN, VAL)
    return [fit(folder / f"seed{seed}", dataset, seed) for seed in (0, 1)]


def label(folder, runs, pictures, **settings):
    config = PseudoLabelConfig(**settings)
    run = Run.start(folder, "segmenter pseudo-label", config, {})
    pseudo_label(config, run, open_teachers(runs, pictures), pictures)
    return Run.load(folder, "segmenter pseudo-label")


@pytest.fixture(scope="module")
def made(runs, pictures, tmp_path_factory):
    """A finished run of the command."""
    return label(tmp_path_factory.mktemp("made") / "pseudo", runs, pictures, keep=0.3)


def content(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# thresholds


def called(*by_class: dict[int, int]) -> np.ndarray:
    """(C, LEVELS) counts from {confidence: pixels} of each class."""
    counts = np.zeros((len(by_class), LEVELS), np.int64)
    for row, levels in zip(counts, by_class, strict=True):
        for level, pixels in levels.items():
            row[level] = pixels
    return counts


def test_each_class_has_the_threshold_that_keeps_its_own_share():
    frequent, rare = {65000: 600, 64000: 100, 50000: 300}, {40000: 6, 30000: 1, 20000: 3}
    counts = called(frequent, rare, {})
    np.testing.assert_array_equal(choose_thresholds(counts, 0.7), [64000, 30000, LEVELS])
    np.testing.assert_array_equal(choose_thresholds(counts, 0.6), [65000, 40000, LEVELS])
    np.testing.assert_array_equal(choose_thresholds(counts, 1.0), [50000, 20000, LEVELS])


def test_ties_make_the_share_larger_and_never_smaller():
    counts = called({65535: 90, 3: 10}, {9: 1})
    np.testing.assert_array_equal(choose_thresholds(counts, 0.1), [65535, 9])  # 90 of 100 are equally sure: all stay
    np.testing.assert_array_equal(choose_thresholds(counts, 0.9), [65535, 9])
    np.testing.assert_array_equal(choose_thresholds(counts, 0.901), [3, 9])
    # 0.07 * 100 is a little more than 7 in floats
    np.testing.assert_array_equal(choose_thresholds(called({10: 7, 5: 93}), 0.07), [10])


def test_confidences_are_counted_over_the_whole_data_set_by_class():
    predictions = [
        (range(2), np.array([[[[0, 1]], [[5, 7]]], [[[1, 1]], [[7, 65535]]]], np.uint16)),
        (range(2, 3), np.array([[[[0, 0, 1]], [[5, 0, 7]]]], np.uint16)),
    ]
    wanted = called({5: 2, 0: 1}, {7: 3, 65535: 1})
    np.testing.assert_array_equal(count_confidences(iter(predictions), 2), wanted)


class Sure(Teachers):
    """Made-up predictions: a frequent class of high confidence, and a rare one of low confidence."""

    def predict(self, images, inference):
        indices = np.zeros(images.shape[:3], np.uint16)
        confidence = np.full(images.shape[:3], 60000, np.uint16)
        confidence[:, :32] = 50000
        indices[:, 60:, :10] = 3
        confidence[:, 60:, :10] = np.arange(20000, 20010)
        return indices, confidence


def test_a_class_of_low_confidence_has_its_own_threshold(pictures, array_scenes, tmp_path):
    few = array_scenes(pictures.images[:3], pictures.labels[:3])
    teachers = Sure((), mars_classes(), (), ("seen",))
    config = PseudoLabelConfig(keep=0.5)
    run = Run.start(tmp_path / "out", "segmenter pseudo-label", config, {})
    pseudo_label(config, run, teachers, few)
    of = run.summary["classes"]
    assert (of["big_rock"]["called_px"], of["big_rock"]["kept_px"]) == (3 * 40, 3 * 20)
    assert of["big_rock"]["threshold"] == 20005 / 65535
    assert of["soil"] == {"called_px": 3 * 8152, "kept_px": 3 * 4056 + 3 * 4096, "threshold": 50000 / 65535}
    assert of["sand"] == {"called_px": 0, "kept_px": 0, "threshold": None}
    scene = open_scenes(str(tmp_path / "out"))[0]
    np.testing.assert_array_equal(scene.image, few.images[0])
    assert set(np.unique(scene.labels[60:, :5])) == {mars_classes().ignored}
    assert set(np.unique(scene.labels[60:, 5:10])) == {4}
    lines = summary_lines(run.summary)
    assert lines[0] == "3 of 3 images"
    assert lines[-1] == "big_rock  kept 60 of 120 px (50.0%), confidence 0.305 and above"
    assert lines[3] == "sand      no pixel predicted"


class Unsure(Teachers):
    """High confidence in the first picture only."""

    def predict(self, images, inference):
        confidence = np.full(images.shape[:3], 100, np.uint16)
        confidence[0] = 200
        return np.zeros_like(confidence), confidence


def test_pictures_without_a_kept_pixel_are_left_out_and_counted(pictures, array_scenes, tmp_path):
    few = array_scenes(pictures.images[:4], pictures.labels[:4])
    config = PseudoLabelConfig(keep=0.25)
    run = Run.start(tmp_path / "out", "segmenter pseudo-label", config, {})
    pseudo_label(config, run, Unsure((), mars_classes(), (), ()), few)
    assert (run.summary["pairs"], run.summary["left_out"]) == (1, 3)
    assert list(open_scenes(str(tmp_path / "out")).names) == ["scene0"]
    assert summary_lines(run.summary)[0] == "1 of 4 images, 3 left out: no pixel kept"


# what is written


def test_labels_are_the_likeliest_class_of_the_mean_probabilities(made, runs, pictures):
    probs = [predict_probs(load_segmenter(run)[0], np.stack(pictures.images)) for run in runs]
    mean = (probs[0] + probs[1]) / 2
    source = open_scenes(str(made.folder))
    number_of = {name: number for number, name in enumerate(pictures.names)}
    kept = 0
    for scene in source:
        number = number_of[scene.name]
        np.testing.assert_array_equal(scene.image, pictures.images[number])
        inside = scene.indices != 255
        np.testing.assert_array_equal(scene.indices[inside], mean[number].argmax(0)[inside])
        kept += inside.sum()
    of = made.summary["classes"]
    assert kept == sum(each["kept_px"] for each in of.values())
    assert sum(each["called_px"] for each in of.values()) == 37 * 64 * 128
    for number, each in enumerate(of.values()):
        if each["called_px"]:
            sure = mean.max(1)[mean.argmax(1) == number]
            assert each["kept_px"] >= 0.3 * each["called_px"]
            assert each["threshold"] == pytest.approx(np.sort(sure)[::-1][each["kept_px"] - 1], abs=2e-5)
    assert sum(each["called_px"] > 0 for each in of.values()) > 1  # else nothing was shown


def test_labels_of_the_pictures_are_not_looked_at(made, runs, pictures, array_scenes, tmp_path):
    other = array_scenes(pictures.images, [np.full_like(labels, 1) for labels in pictures.labels])
    again = label(tmp_path / "again", runs, other, keep=0.3)
    assert content(again.folder) == content(made.folder)


def test_pictures_of_several_sizes_are_labelled_one_by_one(runs, pictures, array_scenes, tmp_path):
    mixed = array_scenes([pictures.images[0], pictures.images[1][:50, :77]], [pictures.labels[0], None])
    run = label(tmp_path / "out", runs, mixed)
    assert {scene.labels.shape for scene in open_scenes(str(run.folder))} == {(64, 128), (50, 77)}


@pytest.mark.parametrize("killed_in", ["predicting", "writing", "tidying"])
def test_a_killed_command_resumes_to_the_same_bytes_and_repeats_no_prediction(
    made, runs, pictures, tmp_path, monkeypatch, killed_in
):
    folder, sizes = tmp_path / "killed", []
    predict, write = Teachers.predict, pseudo_labels.write_pair

    def counting(self, images, inference):
        sizes.append(len(images))
        return predict(self, images, inference)

    def dying_third(self, images, inference):
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return counting(self, images, inference)

    def dying_later(folder, name, *rest):
        if name == "scene20":
            raise KeyboardInterrupt
        write(folder, name, *rest)

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Teachers, "predict", dying_third if killed_in == "predicting" else counting)
    with monkeypatch.context() as patch:
        if killed_in == "writing":
            patch.setattr(pseudo_labels, "write_pair", dying_later)
        if killed_in == "tidying":
            patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            label(folder, runs, pictures, keep=0.3)
    assert (folder / "predictions").is_dir()
    assert (folder / "DONE").exists() == (killed_in == "tidying")
    monkeypatch.setattr(Teachers, "predict", counting)
    label(folder, runs, pictures, keep=0.3)
    assert sizes == [16, 16, 5]  # each picture once in all
    assert content(folder) == content(made.folder)
    assert not (folder / "predictions").exists()


# what the teachers have seen


def test_what_the_teachers_know_is_refused_where_it_is_held_out(made, scenes, make_dataset, capsys):
    (extra,) = open_extras([str(made.folder)], make_dataset(scenes, TRAIN, VAL))
    assert "its 37 pictures are real ones that networks have labelled; none of them is" in capsys.readouterr().err
    said = describe_extra(extra)
    assert said["keep"] == 0.3
    assert [teacher["name"] for teacher in said["teachers"]] == ["seed0", "seed1"]
    with pytest.raises(DataError, match="what made it has learned from scene3, a validation scene of this run"):
        open_extras([str(made.folder)], make_dataset(scenes, (0, 1, 2), (3, 11)))
    with pytest.raises(DataError, match="what made it has learned from scene9, a test scene of this run"):
        open_extras([str(made.folder)], make_dataset(scenes, range(9), VAL, (9,)))


def test_a_picture_that_is_held_out_is_refused(runs, scenes, pictures, array_scenes, make_dataset, tmp_path):
    leaking = array_scenes([pictures.images[0], scenes.images[11]], [pictures.labels[0], scenes.labels[11]])
    run = label(tmp_path / "out", runs, leaking, keep=1)
    with pytest.raises(DataError, match="scene scene1 is the same picture as scene11, a validation scene of this run"):
        open_extras([str(run.folder)], make_dataset(scenes, TRAIN, VAL))


def test_what_a_teacher_learned_from_pseudo_labels_is_passed_on(made, scenes, pictures, make_dataset, tmp_path):
    student = fit(tmp_path / "student", make_dataset(scenes, range(5), VAL), extras=(open_scenes(str(made.folder)),))
    known = json.loads((label(tmp_path / "out", [student], pictures).folder / "synth.json").read_text())["trained_on"]
    assert {scene_key(scenes.images[i]) for i in TRAIN} <= set(known)  # 5 to 9 by way of its teachers
    assert {scene_key(scene.image) for scene in open_scenes(str(made.folder))} <= set(known)
    assert not {scene_key(scenes.images[i]) for i in VAL} & set(known)


def test_what_synthetic_pictures_were_grown_from_counts_as_seen(runs, pictures, array_scenes, tmp_path):
    drawn = array_scenes(pictures.images[:2], pictures.labels[:2])
    drawn.ancestors = {1: ("a parent",)}
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "synth.json").write_text(json.dumps({"trained_on": ["what its generator knew"]}))
    drawn.location = str(tmp_path / "drawn")
    run = label(tmp_path / "out", runs, drawn)
    head = json.loads((run.folder / "synth.json").read_text())
    assert {"a parent", "what its generator knew"} <= set(head["trained_on"])
    assert head["synthetic"] == sum(drawn.origin(i).kind == "synthetic" for i in range(2)) > 0


# bad input


def test_runs_that_cannot_label_together_are_refused(runs, scenes, pictures, array_scenes, make_dataset, tmp_path):
    mars = mars_classes()
    gravel = ClassSet(("gravel", *mars.names[1:]), mars.ids, mars.colours, mars.ignored, mars.rare)
    other = fit(tmp_path / "gravel", make_dataset(array_scenes(scenes.images, scenes.labels, gravel), TRAIN, VAL))
    with pytest.raises(DataError, match=r"gravel: its classes are gravel, .*those of .*seed0 are soil"):
        open_teachers([runs[0], other], pictures)
    colour = array_scenes([np.repeat(image, 3, axis=2) for image in scenes.images], scenes.labels)
    rgb = fit(tmp_path / "rgb", make_dataset(colour, TRAIN, VAL))
    with pytest.raises(DataError, match=r"rgb: its channels are 3, those of .*seed0 are 1"):
        open_teachers([runs[0], rgb], pictures)
    with pytest.raises(DataError, match=r"images of 3 channels; .*seed0 was trained on 1"):
        open_teachers(runs, colour)
    with pytest.raises(RunError, match="seed0 is named twice"):
        open_teachers([runs[0], runs[1], runs[0]], pictures)
    twin = shutil.copytree(runs[0], tmp_path / "twin")
    with pytest.raises(RunError, match=r"twin has the weights of seed0; a copy of a run would count twice"):
        open_teachers([runs[0], twin], pictures)
    unfinished = Run.start(tmp_path / "unfinished", "segmenter train", TrainConfig(), {})
    with pytest.raises(RunError, match="this run has not finished"):
        open_teachers([unfinished.folder], pictures)


@pytest.mark.parametrize("keep", [0, 1.01, -1])
def test_a_share_that_cannot_be_kept_is_refused(keep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("command: segmenter train\ninputs: {}\nconfig: {}\n")
    (tmp_path / "run" / "DONE").write_text("{}\n")
    words = ["segmenter", "pseudo-label", "run", "--data", "sim:9", "--set", f"keep={keep}"]
    assert f"keep is {keep}" in refused(capsys, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# by hand


@pytest.mark.slow
def test_from_training_to_training_on_the_command_line(tiny_npz, tmp_path, monkeypatch, capsys):
    from test_flow import call

    monkeypatch.chdir(tmp_path)
    tiny = [word for s in ("steps=6", "batch_size=4", "unet.width=4", "warmup_steps=2") for word in ("--set", s)]
    for seed in (0, 1):
        where = ["--set", f"seed={seed}", "--out", f"teacher{seed}"]
        assert call("segmenter", "train", "--data", str(tiny_npz), *tiny, *where) == 0
    words = ["segmenter", "pseudo-label", "teacher0", "teacher1", "--data", str(tiny_npz)]
    assert call(*words, "--dry-run") == 0
    assert "keep: 0.7" in capsys.readouterr().out
    assert call(*words) == 0
    out = capsys.readouterr().out
    assert "6 of 6 images" in out  # the npz's test_set
    assert out.endswith("wrote outputs/pseudo-teacher0-and-1-more-tiny\n")
    folder = "outputs/pseudo-teacher0-and-1-more-tiny"
    before = content(tmp_path / folder)
    assert call(*words) == 0
    assert content(tmp_path / folder) == before
    student = ["segmenter", "train", "--data", str(tiny_npz), "--extra", folder, *tiny, "--out", "student"]
    assert call(*student) == 0
    assert "extra: 6 scenes of" in capsys.readouterr().out
    assert "has learned from" in refused(capsys, *student[:-1], "other", "--set", "data.split_seed=5")
    assert "belongs to another run (config.keep" in refused(capsys, *words, "--set", "keep=0.5")
