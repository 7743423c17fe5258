"""From copy-paste to imagination on the command line: the dial of a diffusion generator, its sheets, refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_flow import ROOT, call

TINY = ["--config", str(ROOT / "configs" / "tiny" / "diffusion.yaml")]


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_npz) -> Path:
    """A folder with outputs/generator, a diffusion model of six steps that has seen the npz's test_set too."""
    folder = tmp_path_factory.mktemp("world")
    words = ["marsgen", "train-generator", "--data", str(tiny_npz), *TINY, "--out", str(folder / "outputs/generator")]
    assert call(*words) == 0
    return folder


@pytest.fixture
def here(world, monkeypatch) -> Path:
    monkeypatch.chdir(world)
    return world


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert call(*words) == 2
    *progress, line = capsys.readouterr().err.strip().splitlines()
    assert not any("Traceback" in words for words in progress)
    return line


def test_strength_0_is_copy_paste_byte_for_byte_and_1_is_not(here, tiny_npz):
    assert call("marsgen", "synthesize", "--n", "6", "--strength", "0", "--out", "none") == 0
    assert call("marsgen", "synthesize", "--n", "6", "--out", "full") == 0
    paste = ["--generator", "copy-paste", "--data", str(tiny_npz)]
    assert call("marsgen", "synthesize", "--n", "6", *paste, "--out", "paste") == 0
    none, full, paste_only = (pictures(here / name) for name in ("none", "full", "paste"))
    assert none == paste_only
    assert all(full[name] != none[name] for name in none)


@pytest.mark.parametrize("mode", ["region", *(pytest.param(m, marks=pytest.mark.slow) for m in ("scene", "variation"))])
def test_any_batch_size_and_number_of_pairs_gives_the_same_bytes(here, mode):
    common = ["marsgen", "synthesize", "--mode", mode, "--strength", "0.5", "--set", "draw.sampling_steps=3"]
    assert call(*common, "--n", "20", "--set", "batch_size=64", "--out", f"{mode}-many") == 0
    assert call(*common, "--n", "5", "--set", "batch_size=1", "--out", f"{mode}-few") == 0
    many, few = pictures(here / f"{mode}-many"), pictures(here / f"{mode}-few")
    assert few == {name: many[name] for name in few}


def test_what_was_learned_from_and_how_it_was_drawn_is_on_record(here):
    import json

    assert call("marsgen", "synthesize", "--n", "1", "--guidance", "2", "--out", "record") == 0
    head = json.loads((here / "record/synth.json").read_text())
    assert head["drawing"] == {"strength": 1.0, "guidance": 2.0, "sampling_steps": 5}
    learned = json.loads((here / "outputs/generator/generator.json").read_text())["trained_on"]
    assert set(learned) <= set(head["trained_on"])
    done = json.loads((here / "outputs/generator/DONE").read_text())
    assert (done["unlabelled"], len(learned)) == (6, done["scenes"] + 6)


def test_preview_draws_the_sheets_and_says_how_much_noise_matters(here, capsys):
    small = ["rows=2", "strengths=[0,1]", "guidances=[1,3]", "variants=2"]
    assert call("marsgen", "preview", *(word for setting in small for word in ("--set", setting))) == 0
    said = capsys.readouterr().out
    assert "same label map" in said
    assert "real scenes" in said
    folder = here / "outputs/preview-generator"
    assert {"strength.png", "guidance.png", "scenes.png", "DONE"} <= {path.name for path in folder.iterdir()}
    sheet = np.asarray(Image.open(folder / "strength.png"))
    real, _, none, full = np.split(sheet, 4, axis=1)
    assert (real != none).any()  # something was pasted
    assert (none != full).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "1.5"], "--strength.*less than or equal to 1"),
        (["--set", "draw.strength=-0.1"], "draw.strength is -0.1"),
        (["--generator", "copy-paste", "--data", "DATA", "--strength", "0.5"], "copy-paste draws nothing"),
        (["--data", "sim:12,channels=3"], r"draws grey \(1 channel\) images; the data are RGB"),
        (
            ["--classes", "CLASSES", "--data", "DATA"],
            "was trained on the classes soil, bedrock, sand, big_rock; the data have",
        ),
    ],
)
def test_a_way_to_draw_that_cannot_be_is_refused(words, message, here, tiny_npz, tmp_path, capsys):
    import re

    classes = tmp_path / "other.yaml"
    rows = "".join(f"  - {{name: t{i}, id: {i}, colour: [{i}, 0, 0]}}\n" for i in range(1, 5))
    classes.write_text(f"ignored: 0\nrare: [t4]\nclasses:\n{rows}")
    given = [{"DATA": str(tiny_npz), "CLASSES": str(classes)}.get(word, word) for word in words]
    line = refused(capsys, "marsgen", "synthesize", "--n", "2", *given, "--out", str(tmp_path / "no"))
    assert re.search(message, line), line
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "diffusion", "--unlabelled", "sim:4,channels=3"], "RGB pictures beside grey data"),
        (["--unlabelled", "sim:4"], "pix2pix needs labelled pictures; use --kind diffusion"),
        (["--kind", "difusion"], "difusion"),
        (["--kind", "diffusion", "--set", "fold=3"], "fold is 3"),
        (["--kind", "distilled"], "--kind distilled and --teacher, the generator that it learns from, belong together"),
        (["--kind", "distilled", "--teacher", "absent"], "absent: no run folder here"),
        (["--kind", "distilled", "--set", "sampling_steps=3"], "sampling_steps is 3; expected one of 1, 2"),
    ],
)
def test_a_training_that_cannot_be_is_refused(words, message, tiny_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "marsgen", "train-generator", "--data", str(tiny_npz), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_distilled_generator_draws_in_one_step_wherever_its_teacher_is_taken(here, tiny_npz, capsys):
    import json

    import yaml

    small = ["steps=2", "batch_size=2", "crop_px=32", "teacher_steps=1", "log_every=1"]
    train = ["marsgen", "train-generator", "--data", str(tiny_npz)]
    distil = [*train, "--kind", "distilled", *(word for setting in small for word in ("--set", setting))]
    teacher = ["--teacher", "outputs/generator"]
    assert "belong together" in refused(capsys, *train, *teacher, "--out", "no")
    assert call(*distil, *teacher, "--out", "outputs/fast") == 0
    stored = [yaml.safe_load((here / f"outputs/{name}/config.yaml").read_text()) for name in ("generator", "fast")]
    assert stored[0]["config"]["data"] == stored[1]["config"]["data"]
    assert stored[1]["inputs"]["teacher"]["location"] == "outputs/generator"
    assert "draws in 1 already" in refused(capsys, *distil, "--teacher", "outputs/fast", "--out", "no")

    fast = ["--generator", "outputs/fast", "--n", "2"]
    assert call("marsgen", "synthesize", *fast, "--out", "fast") == 0
    assert call("marsgen", "synthesize", *fast, "--strength", "0.4", "--out", "fast-near") == 0
    head = json.loads((here / "fast/synth.json").read_text())
    assert head["drawing"] == {"strength": 1.0, "guidance": 1.0, "sampling_steps": 1}
    learned = json.loads((here / "outputs/generator/generator.json").read_text())["trained_on"]
    assert set(learned) <= set(head["trained_on"])  # the unlabelled pictures of its teacher too
    assert pictures(here / "fast").keys() == pictures(here / "fast-near").keys()
    assert pictures(here / "fast") != pictures(here / "fast-near")
    assert "guidance is 3, but this generator was distilled" in refused(
        capsys, "marsgen", "synthesize", *fast, "--guidance", "3", "--out", "no"
    )
    sheets = [word for setting in ("rows=1", "strengths=[1]", "variants=2") for word in ("--set", setting)]
    assert call("marsgen", "preview", "outputs/fast", *sheets) == 0
    assert not (here / "outputs/preview-fast/guidance.png").exists()  # it has none to choose
    assert not (here / "no").exists()


def test_a_variation_keeps_the_label_map_of_a_real_scene_of_the_class_and_draws_its_picture_again(here, tiny_npz):
    import json

    from marsgen.scenes.sources import open_scenes

    made = ["marsgen", "synthesize", "--mode", "variation", "--strength", "0.5", "--n", "8", "--out", "varied"]
    assert call(*made) == 0
    real, varied = open_scenes(str(tiny_npz)), open_scenes("varied")
    rock = real.classes.ids[real.classes.index("big_rock")]
    for index, line in enumerate((here / "varied" / "manifest.jsonl").read_text().splitlines()):
        record = json.loads(line)
        parent = real[real.names.index(record["parent"]["name"])]
        image, labels = varied.read(index)
        assert record["donors"] == []
        np.testing.assert_array_equal(labels, parent.labels)
        assert (labels == rock).any()
        assert (image != parent.image).mean() > 0.5
    trained_on = json.loads((here / "varied" / "synth.json").read_text())["trained_on"]
    assert {json.loads(line)["parent"]["key"] for line in (here / "varied/manifest.jsonl").open()} <= set(trained_on)


def test_a_variation_that_changes_nothing_is_refused(here, tiny_npz, capsys):
    vary = ["marsgen", "synthesize", "--mode", "variation", "--out", "nothing"]
    paste = ["--generator", "copy-paste", "--data", str(tiny_npz)]
    assert "gives the real scenes back; use a trained one with" in refused(capsys, *vary, *paste)
    assert "gives the real scenes back" in refused(capsys, *vary, "--strength", "0")
    assert "leave out --focus and the settings under paste" in refused(capsys, *vary, "--set", "paste.placement=class")
    assert not (here / "nothing").exists()
    # enlarged without being drawn again: what zoom alone does
    enlarged = ["marsgen", "synthesize", "--mode", "variation", "--set", "zoom=[2,3]", "--n", "4", "--out", "enlarged"]
    assert call(*enlarged, *paste) == 0


def test_a_zoomed_variation_shows_a_window_of_its_parent_with_the_class_in_it(here, tiny_npz):
    from marsgen.masks.plan import repeat_sample
    from marsgen.scenes.sources import open_scenes

    scenes = open_scenes(str(tiny_npz))
    rock = scenes.classes.index("big_rock")
    parents = [i for i in range(len(scenes)) if (scenes[i].indices == rock).sum() > 40]
    whole = repeat_sample(0, 0, scenes, parents, [rock])
    np.testing.assert_array_equal(whole.edited.image, scenes[whole.parent_index].image)
    grown = 0
    for index in range(30):
        sample = repeat_sample(index, 0, scenes, parents, [rock], zoom=(2.0, 3.0))
        parent = scenes[sample.parent_index]
        assert sample.edited.labels.shape == parent.labels.shape
        assert set(np.unique(sample.edited.labels)) <= set(np.unique(parent.labels))
        shown = scenes.classes.to_indices(sample.edited.labels) == rock
        assert shown.any()
        # of a window that is a quarter of the scene or less, the class fills more than it did
        grown += shown.sum() > (parent.indices == rock).sum()
        # bilinear: nothing brighter or darker than the parent
        assert parent.image.min() <= sample.edited.image.min() <= sample.edited.image.max() <= parent.image.max()
    assert grown > 20


def test_zoom_without_variation_is_refused(here, capsys):
    zoomed = ["marsgen", "synthesize", "--set", "zoom=[1,2]", "--out", "nothing"]
    assert "zoom is set, but mode is region; only mode variation enlarges scenes" in refused(capsys, *zoomed)
    shrunk = ["marsgen", "synthesize", "--mode", "variation", "--set", "zoom=[0.5,2]", "--out", "nothing"]
    assert "expected 1 <= smallest <= largest" in refused(capsys, *shrunk)
