"""Synthesis: every sample a function of (inputs, seed, index), whatever the batch, the number of samples or a kill."""

import json
import shutil
import threading
import time
from pathlib import Path

import forked_commands
import numpy as np
import pytest
import torch

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.generators import DrawRequest
from marsgen.generators.copy_paste import CopyPaste
from marsgen.masks.library import open_library
from marsgen.scenes.geometry import Box
from marsgen.scenes.readers.folder import SceneFolder
from marsgen.synthesis.config import CHUNK, SynthesizeConfig, class_names
from marsgen.synthesis.scene_maker import SceneMaker
from marsgen.synthesis.synthesize import _helper_threads, synthesize
from marsgen.synthesis.windows import soft_inpainting_mask, windows_around


class Inverter:
    """A generator that inverts the inpainting mask and adds a grey value that depends on the seed."""

    name, fingerprint, trained_on = "inverter", "0" * 16, ("f" * 16,)

    def __init__(self, classes):
        self.drawing: dict = {}
        self.classes, self.channels = classes, 1
        self.shapes: list[tuple[int, ...]] = []

    def draw(self, request: DrawRequest) -> np.ndarray:
        self.shapes.append(request.composites.shape)
        return 255 - request.composites ^ (request.seeds % 7).astype(np.uint8)[:, None, None, None]


@pytest.fixture(scope="module")
def dataset(tiny_npz):
    return open_dataset(str(tiny_npz), DataConfig())


def cut(dataset, config):
    names = class_names(config, dataset.scenes.classes)
    return open_library(dataset, names, config.paste)


def fill(folder: Path, dataset, **settings) -> Path:
    """Synthesize with the Inverter into `folder`."""
    config = SynthesizeConfig.model_validate({"n": 20, "classes": ["big_rock"], **settings})
    library = cut(dataset, config)
    run = Run.start(folder, "marsgen synthesize", config, {}, without_effect=("batch_size",))
    synthesize(run, SceneMaker(config, dataset, library, Inverter(dataset.scenes.classes)))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def twenty(dataset, tmp_path_factory) -> Path:
    return fill(tmp_path_factory.mktemp("synth") / "twenty", dataset)


def test_any_batch_size_gives_the_same_bytes(dataset, twenty, tmp_path):
    assert content(fill(tmp_path / "other", dataset, batch_size=1)) == content(twenty)


def test_a_sample_does_not_depend_on_how_many_are_made(dataset, twenty, tmp_path):
    few = fill(tmp_path / "few", dataset, n=5)
    assert len(list((few / "images").iterdir())) == 5
    for path in [*(few / "images").iterdir(), *(few / "labels").iterdir()]:
        assert path.read_bytes() == (twenty / path.relative_to(few)).read_bytes()
    assert (twenty / "manifest.jsonl").read_text().startswith((few / "manifest.jsonl").read_text())


def test_another_seed_gives_other_samples(dataset, twenty, tmp_path):
    other = content(fill(tmp_path / "other", dataset, seed=1))
    same = [name for name, data in content(twenty).items() if name.startswith("images/") and other[name] == data]
    assert same == []


def test_region_mode_keeps_every_real_pixel_outside_the_inpainting_mask(dataset, twenty):
    made, records = SceneFolder(twenty), manifest(twenty)
    real = {scene.name: scene for scene in dataset.scenes}
    drawn = 0
    for index, scene in enumerate(made):
        parent = real[records[index]["parent"]["name"]]
        changed = scene.labels != parent.labels
        assert changed.any()
        outside = soft_inpainting_mask(changed, 3.0) == 0
        assert outside.mean() > 0.3
        np.testing.assert_array_equal(scene.image[outside], parent.image[outside])
        drawn += int((scene.image[changed] != parent.image[changed]).sum())
    assert drawn > 1000


def test_scene_mode_draws_the_whole_picture(dataset, tmp_path):
    folder = fill(tmp_path / "scene", dataset, n=4, mode="scene")
    made, records = SceneFolder(folder), manifest(folder)
    real = {scene.name: scene for scene in dataset.scenes}
    for index, scene in enumerate(made):
        parent = real[records[index]["parent"]["name"]]
        unchanged = scene.labels == parent.labels
        assert (scene.image[unchanged] != parent.image[unchanged]).mean() > 0.9


def test_synthetic_scenes_name_their_parents_and_only_train_scenes(dataset, twenty):
    train = {dataset.survey.keys[i] for i in dataset.split.train}
    held_out = {dataset.survey.keys[i] for i in (*dataset.split.val, *dataset.split.test)}
    origins = [scene.origin for scene in SceneFolder(twenty)]
    assert {origin.kind for origin in origins} == {"synthetic"}
    assert all(origin.ancestors and set(origin.ancestors) <= train for origin in origins)
    assert max(len(origin.ancestors) for origin in origins) >= 2  # a parent and donors from other scenes
    trained_on = set(json.loads((twenty / "synth.json").read_text())["trained_on"])
    assert trained_on >= train | {"f" * 16}
    assert not trained_on & held_out


def test_every_sample_shows_the_class_that_was_asked_for(dataset, twenty):
    rock = dataset.scenes.classes.index("big_rock")
    assert all((scene.indices == rock).sum() >= 10 for scene in SceneFolder(twenty))


def test_an_interrupted_set_goes_on_to_the_same_bytes(dataset, twenty, tmp_path):
    """What a kill can leave: some chunks journalled, the next one's pictures half there, its lines cut short."""
    config = SynthesizeConfig(n=20, classes=("big_rock",))
    run = Run.start(tmp_path / "cut", "marsgen synthesize", config, {}, without_effect=("batch_size",))
    lines = (twenty / "manifest.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "journal-000-000.jsonl").write_text("".join(lines[:CHUNK]) + lines[CHUNK] + lines[CHUNK + 1][:40])
    for kind in ("images", "labels"):
        (run.folder / kind).mkdir()
        for index in range(CHUNK):
            name = f"{kind}/{index:07d}.png"
            (run.folder / name).write_bytes((twenty / name).read_bytes())
    (run.folder / "images" / ".0000017.png.123.partial").write_bytes(b"half a pict")
    (run.folder / ".folder.partial").mkdir()
    run.close()
    again = Run.start(tmp_path / "cut", "marsgen synthesize", config, {}, without_effect=("batch_size",))
    generator = Inverter(dataset.scenes.classes)
    synthesize(again, SceneMaker(config, dataset, cut(dataset, config), generator))
    assert sum(shape[0] for shape in generator.shapes) < 2 * CHUNK * 2  # the finished chunk was not drawn again
    assert content(tmp_path / "cut") == content(twenty)
    assert not list((tmp_path / "cut").rglob(".*.partial"))


def without(line: dict, key: str) -> dict:
    return {k: v for k, v in line.items() if k != key}


def with_donor(line: dict, key: str, value: object = None) -> dict:
    """The line with one key of its first donor changed, or taken away."""
    first, *others = line["donors"]
    changed = {k: v for k, v in first.items() if k != key} | ({} if value is None else {key: value})
    return line | {"donors": [changed, *others]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:3] + lines[4:], "sample 3 is missing in the journals"),
        (lambda lines: lines[:4] + lines[3:], "sample 3 is there twice in the journals"),
        (lambda lines: [*lines[:5], without(lines[5], "donors"), *lines[6:]], "line 6: no 'donors'"),
        (lambda lines: [*lines[:5], lines[5] | {"donors": [3]}, *lines[6:]], "line 6: donors: no 'class'"),
        *(
            (lambda lines, key=key: [*lines[:5], with_donor(lines[5], key), *lines[6:]], f"line 6: donors: no '{key}'")
            for key in ("key", "donor_box", "area_px", "thickness", "cut", "seam_px", "beside")
        ),
        (lambda lines: [*lines[:5], with_donor(lines[5], "donor_box", "here"), *lines[6:]], "'donor_box' is "),
        (lambda lines: [lines[0] | {"parent": {"name": "nowhere"}}, *lines[1:]], "nowhere is no scene of"),
        (lambda lines: [*lines[:5], lines[5] | {"selection": {"tried": "x"}}, *lines[6:]], "'selection.tried' is 'x'"),
    ],
)
def test_a_journal_that_was_edited_makes_no_set(dataset, twenty, tmp_path, change, words):
    shutil.copytree(twenty, tmp_path / "edited")
    for name in ("DONE", "manifest.jsonl"):
        (tmp_path / "edited" / name).unlink()
    lines = change(manifest(twenty))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "edited" / "journal-000-000.jsonl").write_text(text)
    with pytest.raises(RunError, match=f"{words}.*delete the folder and repeat the command"):
        fill(tmp_path / "edited", dataset)
    assert not (tmp_path / "edited" / "DONE").exists()


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_kill_9_and_the_same_command_again_end_with_the_same_bytes(tiny_npz, tmp_path):
    def command(out: str) -> list[str]:
        arguments = ["synthesize", "--class", "big_rock", "--n", "120", "--generator", "copy-paste"]
        return ["marsgen", *arguments, "--data", str(tiny_npz), "--out", str(tmp_path / out)]

    killed = forked_commands.start(*command("killed"))
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "killed" / "images").glob("0*.png"))) < 40 and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.kill()
    killed.join()
    assert not (tmp_path / "killed" / "DONE").exists()
    assert forked_commands.run(*command("killed")) == 0
    assert forked_commands.run(*command("whole")) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_classes_that_cannot_be_pasted_are_named(dataset, tmp_path):
    with pytest.raises(DataError, match="no class 'unicorn'.*soil, bedrock, sand, big_rock"):
        fill(tmp_path / "a", dataset, classes=["unicorn"])


def test_a_soft_inpainting_mask_is_one_inside_and_fades_outside():
    changed = np.zeros((40, 40), bool)
    changed[10:20, 10:20] = True
    inpainting_mask = soft_inpainting_mask(changed, 3.0)
    assert (inpainting_mask[changed] == 1).all()
    np.testing.assert_allclose(inpainting_mask[15, 20:25], [0.75, 0.5, 0.25, 0, 0])
    assert soft_inpainting_mask(np.zeros((8, 8), bool), 3.0).sum() == 0


def test_windows_hold_their_patches_and_stay_in_the_image():
    inside = np.zeros((64, 128), bool)
    inside[0:10, 0:10] = True
    inside[50:64, 100:128] = True
    windows = windows_around(inside, context_px=8)
    assert windows == [Box(0, 0, 32, 32), Box(32, 64, 64, 128)]
    inside[5:60, 5:110] = True  # now one patch fills the image
    assert windows_around(inside, context_px=8) == [Box(0, 0, 64, 128)]


def test_windows_that_would_overlap_become_one():
    inside = np.zeros((256, 256), bool)
    inside[100:104, 100:104] = inside[100:104, 120:124] = True
    windows = windows_around(inside, context_px=16)
    assert len(windows) == 1
    assert (windows[0].left <= 84, windows[0].right >= 140) == (True, True)


def test_the_window_of_a_huge_scene_is_as_small_as_the_rock():
    inside = np.zeros((2048, 2048), bool)
    inside[1000:1010, 1500:1520] = True
    assert [w.shape for w in windows_around(inside, context_px=16)] == [(64, 64)]


def test_copy_paste_leaves_the_composites_alone(dataset):
    request = DrawRequest(
        composites=np.arange(2 * 32 * 32, dtype=np.uint8).reshape(2, 32, 32, 1),
        indices=np.zeros((2, 32, 32), np.uint8),
        inpainting_mask=np.ones((2, 32, 32), np.float32),
        seeds=np.array([1, 2], np.uint64),
    )
    np.testing.assert_array_equal(CopyPaste(dataset.scenes.classes, 1).draw(request), request.composites)


def test_small_pictures_have_one_helper_and_large_ones_two(monkeypatch: pytest.MonkeyPatch):
    """Two threads that write small pictures get in each other's way; a large one is worth compressing in a second."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert [_helper_threads(shape) for shape in ((64, 128), (256, 512), None)] == [1, 2, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_held_to_one_thread_starts_no_other(
    threads: int, dataset, twenty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With OMP_NUM_THREADS=1 everything is done in one thread; whoever does it, the bytes are the same."""
    doers = set()
    write = SceneMaker.write
    monkeypatch.setattr(SceneMaker, "write", lambda *all: (doers.add(threading.get_ident()), write(*all))[1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again = content(fill(tmp_path / "again", dataset))
    assert again == content(twenty) | {"environment.json": again["environment.json"]}  # it holds the number of threads
    assert (doers == {threading.get_ident()}) == (threads == 1)
