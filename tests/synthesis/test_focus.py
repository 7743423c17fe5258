"""Focus: scenes and feet by a judge's loss, and judges that must not point the way."""

import json
from functools import partial

import numpy as np
import pytest
from pasting import cut_regions, edit_sample, rock_settings

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.generators.copy_paste import CopyPaste
from marsgen.masks.config import PasteConfig
from marsgen.synthesis.config import SynthesizeConfig
from marsgen.synthesis.focus import find_placement, focus_placement, open_focus
from marsgen.synthesis.scene_maker import SceneMaker
from marsgen.synthesis.synthesize import synthesize

FOCUS = PasteConfig(placement="focus", regions_per_scene=(1, 1))
ROCKS = rock_settings(regions_per_scene=(1, 1))


class LeftBlind:
    """Knows every pixel of the right half, and nothing in the left half of pictures whose first pixel is in `hard`."""

    fingerprint, channels, saw_synthetic = "b" * 16, 1, False

    def __init__(self, dataset, hard):
        self.classes, self.trained_on = dataset.scenes.classes, (dataset.survey.keys[dataset.split.train[0]],)
        self.known = {dataset.survey.keys[i]: dataset.scenes[i].indices for i in dataset.split.train}
        self.hard, self.batches = {dataset.survey.keys[i] for i in hard}, []

    def probs(self, images):
        from marsgen.scenes.scene import scene_key

        self.batches.append(len(images))
        probs = np.full((len(images), 4, *images.shape[1:3]), 0.01, np.float32)
        for image, out in zip(images, probs, strict=True):
            key = scene_key(image)
            for index in range(4):
                out[index][self.known[key] == index] = 0.97
            if key in self.hard:
                out[:, :, : image.shape[1] // 2] = 0.25
        return probs

    def features(self, images):
        return np.zeros((len(images), 1), np.float32)


@pytest.fixture(scope="module")
def dataset(tiny_npz):
    return open_dataset(str(tiny_npz), DataConfig())


@pytest.fixture(scope="module")
def library(dataset):
    return cut_regions(dataset.scenes, dataset.split.train, ["big_rock"], ROCKS, dataset.survey.keys)


@pytest.fixture(scope="module")
def judge(dataset):
    return LeftBlind(dataset, dataset.split.train[:6])


@pytest.fixture(scope="module")
def placement(dataset, judge):
    return focus_placement(judge, dataset)


def test_the_weight_of_a_parent_is_its_mean_loss(dataset, placement):
    scene = dataset.scenes[dataset.split.train[0]]
    labelled = scene.indices != 255
    loss = np.where(np.arange(scene.labels.shape[1]) < scene.labels.shape[1] // 2, -np.log(0.25), -np.log(0.97))
    mean = np.broadcast_to(loss, scene.labels.shape)[labelled].mean()
    easy = -np.log(0.97)
    # both carry the same small share of the mean over all, so their difference is that of the losses
    assert placement.parents[0] - placement.parents[-1] == pytest.approx(mean - easy, rel=1e-4)
    assert (placement.parents > 0).all()


def test_regions_go_where_the_loss_is(dataset, library, placement, judge):
    train, scenes = dataset.split.train, dataset.scenes
    make = partial(edit_sample, seed=0, scenes=scenes, library=library, config=ROCKS, parents=train)
    focused, even = ([make(i, placement=p) for i in range(60)] for p in (placement, None))
    hard = set(train[:6])
    share = [np.mean([s.parent_index in hard for s in samples]) for samples in (focused, even)]
    assert share[0] > 0.7 > 0.45 > share[1]
    # whole rocks: one that is cut off goes to its own border, wherever the loss is
    width = scenes[train[0]].labels.shape[1]
    whole = {r.box for r in library.regions["big_rock"] if not r.cut}
    left = [
        [p.column < width / 2 + 8 for s in samples if s.parent_index in hard for p in s.places if p.donor_box in whole]
        for samples in (focused, even)
    ]
    assert len(left[0]) > 10
    assert np.mean(left[0]) > 0.85
    assert set(judge.batches) == {1}  # the same picture by itself, whatever else is judged


def test_the_folder_says_who_pointed_the_way(dataset, library, judge, placement, tmp_path):
    def head(folder, placed):
        config = SynthesizeConfig(n=16, classes=("big_rock",), paste=FOCUS)
        run = Run.start(tmp_path / folder, "marsgen synthesize", config, {})
        drawer = CopyPaste(dataset.scenes.classes, dataset.scenes.channels)
        synthesize(run, SceneMaker(config, dataset, library, drawer, placement=placed))
        return json.loads((run.folder / "synth.json").read_text())

    other = LeftBlind(dataset, [])
    other.fingerprint, other.trained_on = "c" * 16, ("9" * 16,)
    first, second = head("a", placement), head("b", focus_placement(other, dataset))
    assert set(judge.trained_on) <= set(first["trained_on"])
    assert "9" * 16 in second["trained_on"]
    assert first["recipe"] != second["recipe"]


def test_what_a_config_asks_for_is_what_is_placed(dataset, judge):
    find = partial(find_placement, dataset=dataset, class_names=["big_rock"])
    assert find(PasteConfig(placement="uniform")) is None
    assert find(PasteConfig()).fingerprint == ""
    assert find(PasteConfig(placement="class")).fingerprint == ""
    assert find(FOCUS, judge=judge).fingerprint == judge.fingerprint


def test_a_focus_that_cannot_be_is_said_in_words(dataset, judge, monkeypatch, tmp_path):
    assert open_focus(None, PasteConfig(), dataset) is None
    with pytest.raises(ConfigError, match="placement is focus, but --focus is missing"):
        open_focus(None, FOCUS, dataset)
    with pytest.raises(ConfigError, match="--focus somewhere beside paste.placement class"):
        open_focus("somewhere", PasteConfig(placement="class"), dataset)
    with pytest.raises(RunError, match="no segmenter here"):
        open_focus(str(tmp_path), FOCUS, dataset)
    monkeypatch.setattr("marsgen.synthesis.focus.open_judge", lambda *_: judge)
    assert open_focus("run", FOCUS, dataset) is judge
    held_out = LeftBlind(dataset, [])
    held_out.trained_on = (dataset.survey.keys[dataset.split.val[0]],)
    monkeypatch.setattr("marsgen.synthesis.focus.open_judge", lambda *_: held_out)
    with pytest.raises(RunError, match="run was trained on 1 scenes outside the train part"):
        open_focus("run", FOCUS, dataset)
