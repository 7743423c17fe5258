"""Selection inside `marsgen synthesize`: the same bytes whatever the batch, the processes or a kill, and the record."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from refusals import refused
from test_flow import call

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.runs import Run
from marsgen.masks.library import open_library
from marsgen.quality.select import SelectConfig, build_selector
from marsgen.synthesis.config import CHUNK, SynthesizeConfig, class_names
from marsgen.synthesis.scene_maker import SceneMaker, pilot
from marsgen.synthesis.synthesize import synthesize

N = 20


class Coin:
    """A generator that draws a white region where its seed is even, a black one where it is odd."""

    name, fingerprint, drawing, trained_on = "coin", "0" * 16, {}, ()

    def __init__(self, classes):
        self.classes, self.channels, self.drawn = classes, 1, 0

    def draw(self, request):
        self.drawn += len(request.seeds)
        return np.broadcast_to(255 * (1 - request.seeds % 2)[:, None, None, None], request.composites.shape).astype(
            "u1"
        )


class WhiteJudge:
    """Sees a big rock where a picture is white, sand elsewhere."""

    fingerprint, channels, trained_on, saw_synthetic = "e" * 16, 1, ("d" * 16,), False

    def __init__(self, classes):
        self.classes = classes

    def probs(self, images):
        rock = (images[..., 0] == 255).astype(np.float32) * np.float32(0.98) + np.float32(0.01)
        probs = np.zeros((len(images), 4, *images.shape[1:3]), np.float32)
        probs[:, 3], probs[:, 2] = rock, 1 - rock
        return probs

    def features(self, images):
        return images.reshape(len(images), -1).astype(np.float32)


class Member:
    """One of several processes, played by a thread."""

    def __init__(self, process_index, num_processes, barrier):
        self.process_index, self.num_processes, self.is_main_process = process_index, num_processes, process_index == 0
        self.wait_for_everyone = barrier.wait


@pytest.fixture(scope="module")
def dataset(tiny_npz):
    return open_dataset(str(tiny_npz), DataConfig())


@pytest.fixture(scope="module")
def library(dataset):
    config = SynthesizeConfig(classes=("big_rock",))
    names = class_names(config, dataset.scenes.classes)
    return open_library(dataset, names, config.paste)


@pytest.fixture(scope="module")
def fill(dataset, library):
    """fill(folder, ...) -> the folder, synthesized with the coin and, where `select` says so, the judge."""

    def fill(folder: Path, select=None, processes=1, coin=None, **settings) -> Path:
        config = SynthesizeConfig.model_validate({"n": N, "classes": ["big_rock"], "select": select or {}, **settings})
        coin = coin or Coin(dataset.scenes.classes)
        selector = None
        if select:
            first = pilot(SceneMaker(config, dataset, library, coin))
            selector = build_selector(config.select, WhiteJudge(dataset.scenes.classes), first)
        barrier = Barrier(processes, timeout=60)

        def work(number: int) -> None:
            alike = {"without_effect": ("batch_size",), "writes": number == 0}
            run = Run.start(folder, "marsgen synthesize", config, {}, **alike)
            barrier.wait()
            maker = SceneMaker(config, dataset, library, coin, selector)
            synthesize(run, maker, Member(number, processes, barrier))

        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(work, range(processes)))
        return folder

    return fill


SELECT = {"judge": "white", "min_agreement": 0.3, "tries": 4}


@pytest.fixture(scope="module")
def plain(fill, tmp_path_factory) -> Path:
    return fill(tmp_path_factory.mktemp("synth") / "plain")


@pytest.fixture(scope="module")
def selected(fill, tmp_path_factory) -> Path:
    return fill(tmp_path_factory.mktemp("synth") / "selected", SELECT)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_a_candidate_that_passes_at_once_is_the_sample_of_an_unselected_set(plain, fill, tmp_path):
    chosen = fill(tmp_path / "chosen", SELECT)
    pairs = list(zip(manifest(chosen), manifest(plain), strict=True))
    at_once = [line for line, _ in pairs if line["selection"]["attempt"] == 0]
    assert 3 < len(at_once) < N
    for line, without in pairs:
        same = [
            (chosen / kind / f"{line['name']}.png").read_bytes() == (plain / kind / f"{line['name']}.png").read_bytes()
            for kind in ("images", "labels")
        ]
        if line["selection"]["attempt"] == 0:
            assert same == [True, True]
            assert {key: value for key, value in line.items() if key != "selection"} == without
        else:
            assert same[0] is False
            assert line["donors"] != without["donors"]


def test_what_is_kept_agrees_or_is_the_best_of_all_tries(selected):
    selections = [line["selection"] for line in manifest(selected)]
    for selection in selections:
        (iou,) = selection["agreement"].values()
        assert (selection["kept"] == "passed") == (iou >= 0.3)
        if selection["kept"] == "passed":
            assert selection["tried"] == selection["attempt"] + 1
        else:
            assert (selection["kept"], selection["tried"]) == ("best of 4", 4)
    assert max(selection["attempt"] for selection in selections) >= 2


def test_the_summary_counts_the_candidates_of_the_manifest(selected):
    selections = [line["selection"] for line in manifest(selected)]
    tried = sum(selection["tried"] for selection in selections)
    said = json.loads((selected / "DONE").read_text())["selection"]
    assert said["kept"] == f"{N} of {tried} candidates"
    assert said["dropped"] == f"{tried - N} (agreement below 0.3)"


def test_any_batch_size_gives_the_same_bytes(fill, selected, tmp_path):
    assert content(fill(tmp_path / "other", SELECT, batch_size=1)) == content(selected)


def test_a_sample_does_not_depend_on_how_many_are_made(fill, selected, tmp_path):
    few = fill(tmp_path / "few", SELECT, n=5)
    for path in [*(few / "images").iterdir(), *(few / "labels").iterdir()]:
        assert path.read_bytes() == (selected / path.relative_to(few)).read_bytes()
    assert (selected / "manifest.jsonl").read_text().startswith((few / "manifest.jsonl").read_text())


@pytest.mark.slow
def test_two_processes_make_the_bytes_of_one(fill, tmp_path):
    select = {"judge": "white", "keep": 0.45, "tries": 3}
    one, two = (fill(tmp_path / f"{processes}", select, processes, n=40) for processes in (1, 2))
    assert content(two) == content(one)


def test_an_interrupted_set_goes_on_to_the_same_bytes(fill, dataset, selected, tmp_path):
    config = SynthesizeConfig.model_validate({"n": N, "classes": ["big_rock"], "select": SELECT})
    run = Run.start(tmp_path / "cut", "marsgen synthesize", config, {}, without_effect=("batch_size",))
    lines = (selected / "manifest.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "journal-000-000.jsonl").write_text("".join(lines[:CHUNK]) + lines[CHUNK][:50])
    for kind in ("images", "labels"):
        (run.folder / kind).mkdir()
        for index in range(CHUNK):
            (run.folder / kind / f"{index:07d}.png").write_bytes((selected / kind / f"{index:07d}.png").read_bytes())
    run.close()
    assert content(fill(tmp_path / "cut", SELECT)) == content(selected)


def test_the_head_says_who_judged_and_what_the_judge_has_seen(fill, selected, plain, tmp_path):
    heads = {f: json.loads((f / "synth.json").read_text()) for f in (selected, plain)}
    assert set(heads[selected]["trained_on"]) - set(heads[plain]["trained_on"]) == {"d" * 16}
    assert heads[plain]["selection"] is None
    assert heads[selected]["selection"]["judge"] == "e" * 16
    assert heads[selected]["selection"]["threshold"] == 0.3
    again = fill(tmp_path / "seed1", {**SELECT, "judge": "another name"}, seed=1, n=4)
    other = fill(tmp_path / "lower", {**SELECT, "min_agreement": 0.2}, n=4)
    recipes = [json.loads((f / "synth.json").read_text())["recipe"] for f in (selected, again, other, plain)]
    assert recipes[0] == recipes[1]
    assert len(set(recipes)) == 3


def test_the_threshold_of_keep_is_that_of_the_first_candidates_whatever_n(fill, dataset, library, tmp_path):
    thresholds = []
    for n in (3, 20):
        folder = fill(tmp_path / str(n), {"judge": "white", "keep": 0.3, "tries": 1}, n=n)
        thresholds.append(json.loads((folder / "synth.json").read_text())["selection"]["threshold"])
    config = SynthesizeConfig(classes=("big_rock",), select=SelectConfig(judge="white", keep=0.3))
    maker = SceneMaker(config, dataset, library, Coin(dataset.scenes.classes))
    shares = []
    for batch in pilot(maker):
        for draft in batch:
            rock = draft.drawn & (draft.indices == 3)
            white = draft.drawn & (draft.image[..., 0] == 255) & (draft.indices != 255)
            shares.append((rock & white).sum() / (rock | white).sum())
    assert len(shares) == 128
    assert (
        thresholds[0] == thresholds[1] == pytest.approx(sorted(shares, reverse=True)[38], abs=1e-4)
    )  # 39 of 128 are 30 %


def test_failing_samples_alone_are_drawn_again(fill, dataset, selected, tmp_path):
    coin = Coin(dataset.scenes.classes)
    fill(tmp_path / "counted", SELECT, coin=coin, n=CHUNK)
    once = Coin(dataset.scenes.classes)
    fill(tmp_path / "once", n=CHUNK, coin=once)
    tried = sum(line["selection"]["tried"] for line in manifest(selected)[:CHUNK])
    assert CHUNK < tried < 3 * CHUNK
    assert once.drawn < coin.drawn < once.drawn * 2 * tried / CHUNK


# the command


@pytest.fixture(scope="module")
def judge_run(dataset, tmp_path_factory) -> Path:
    """A real segmenter of a few steps, trained on the train part."""
    from segmenter.config import TrainConfig, UNetConfig
    from segmenter.training.train import train

    config = TrainConfig(unet=UNetConfig(width=4), steps=6, batch_size=4, precision="fp32")
    run = Run.start(tmp_path_factory.mktemp("runs") / "segmenter", "segmenter train", config, {"extra": []})
    train(config, run, dataset)
    return run.folder


@pytest.fixture
def words(tiny_npz, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    words = ["marsgen", "synthesize", "--class", "big_rock", "--generator", "copy-paste", "--data", str(tiny_npz)]
    return [*words, "--n", "20", "--out", "synth"]


@pytest.mark.slow
def test_a_real_segmenter_judges_on_the_command_line(words, judge_run, capsys):
    select = ["--judge", str(judge_run), "--keep", "0.6", "--set", "select.soft=true", "--set", "select.tries=2"]
    assert call(*words, *select) == 0
    assert "of 128" not in (said := capsys.readouterr().out)
    assert "kept 20 of " in said
    assert "(agreement below 0." in said
    first = content(Path("synth"))
    lines = manifest(Path("synth"))
    assert {line["selection"]["attempt"] for line in lines} == {0, 1}
    assert call(*words, *select) == 0  # finished: nothing is drawn again
    assert content(Path("synth")) == first


def test_a_judge_that_sees_soil_everywhere_is_refused_before_anything_is_written(words, dataset, capsys):
    import torch

    from marsgen.provenance import write_split_keys
    from segmenter.config import TrainConfig
    from segmenter.training.train import weights_record

    config = TrainConfig(network="baseline")
    run = Run.start(Path("blind"), "segmenter train", config, {"extra": []})
    write_split_keys(run, dataset, [])
    weights = {"layer.weight": torch.zeros(4, 1, 3, 3), "layer.bias": torch.tensor([9.0, 0, 0, 0])}
    run.save_weights("best.safetensors", weights, **weights_record(config, dataset, 1, {}))
    run.finish({})
    line = refused(capsys, *words, "--judge", "blind", "--keep", "0.8")
    assert "blind finds nothing of what was pasted in 100% of the first 128 candidates" in line
    assert line.endswith("take --set select.soft=true (compares probabilities), or a better judge")
    assert not Path("synth").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--keep", "0.8"], "name a run of `segmenter train` with --judge"),
        (["--judge", "run", "--keep", "0.8", "--min-agreement", "0.3"], "both set the threshold"),
        (["--judge", "run"], "a judge without a threshold"),
        (["--judge", "x", "--keep", "0.8"], "x: no segmenter here; expected a finished run of `segmenter train`"),
    ],
)
def test_options_that_contradict_each_other_leave_no_folder(words, more, message, judge_run, capsys):
    Path("run").symlink_to(judge_run)
    assert message in refused(capsys, *words, *more)
    assert not Path("synth").exists()


def test_a_judge_of_another_split_is_refused(words, judge_run, capsys):
    line = refused(capsys, *words, "--judge", str(judge_run), "--keep", "0.8", "--set", "data.split_seed=1")
    assert f"{judge_run} was trained on" in line
    assert "scenes outside the train part of these data, such as" in line
