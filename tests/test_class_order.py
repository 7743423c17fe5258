"""The same classes in another order and with other ids are the same classes, everywhere that a run meets data."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from test_flow import call

import marsgen as mg
import segmenter as sg
from marsgen.core.errors import DataError, RunError
from marsgen.generators import DrawRequest, load_generator
from marsgen.quality.agreement import agreement_counts, pixel_losses
from marsgen.quality.judges import open_judge
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import write_pair
from segmenter.inference.config import InferenceConfig
from segmenter.inference.predict import predict_probs
from segmenter.inference.pseudo_labels import open_teachers

COLOURS = ((90, 90, 90), (200, 0, 0), (0, 0, 200))
FIRST = ClassSet(("ground", "crack", "hole"), (0, 1, 2), COLOURS, 255, ("hole",))
SECOND = ClassSet(("hole", "ground", "crack"), (3, 5, 9), (COLOURS[2], *COLOURS[:2]), 0, ("hole",))
SIZE = (32, 40)
SMALL = {"steps": 4, "batch_size": 4, "validate_every": 4, "unet": {"width": 4}, "lr": 1e-2, "precision": "fp32"}


def fill(folder: Path, classes: ClassSet, seed: int = 0) -> Path:
    """16 pairs whose regions are the same whatever the classes are numbered."""
    table = dict(zip(classes.names, classes.ids, strict=True))
    for index in range(16):
        rng = np.random.default_rng(seed + index)
        image = rng.integers(100, 200, (*SIZE, 1), np.uint8)
        labels = np.full(SIZE, table["ground"], np.uint8)
        row, column = rng.integers(3, 16, 2)
        labels[row : row + 10, column : column + 12] = table["crack" if index % 2 else "hole"]
        image[labels != table["ground"]] //= 3 if index % 2 else 1
        labels[:1] = classes.ignored
        write_pair(folder, f"p{index:02d}", image, labels, classes)
    (folder / "classes.yaml").write_text(yaml.safe_dump(classes.to_dict()))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("order")
    return fill(root / "first", FIRST), fill(root / "second", SECOND)


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of the first folder."""
    return sg.train(folders[0], out=tmp_path_factory.mktemp("runs") / "run", **SMALL).folder


def test_a_judge_scores_both_alike(folders, run):
    first, second = (mg.from_folder(folder).scenes for folder in folders)
    assert first.classes.names != second.classes.names
    plain, mapped = open_judge(run, first.classes, 1), open_judge(run, second.classes, 1)
    assert (mapped.classes.names, mapped.fingerprint) == (second.classes.names, plain.fingerprint)
    one, other = first[1], second[1]
    order = [first.classes.index(name) for name in second.classes.names]
    counts = agreement_counts(plain, one.image[None], one.indices[None])
    assert (counts > 0).sum() > 2  # a judge that says one thing would not show an exchange
    np.testing.assert_array_equal(
        agreement_counts(mapped, other.image[None], other.indices[None]), counts[:, order][:, :, order]
    )
    np.testing.assert_array_equal(
        pixel_losses(mapped, other.image[None], other.indices[None]),
        pixel_losses(plain, one.image[None], one.indices[None]),
    )


def test_a_generator_draws_both_alike(folders, tmp_path):
    small = {"crop_px": 32, "generator_width": 8, "discriminator": "patch", "discriminator_width": 8}
    made = mg.train_generator(folders[0], kind="pix2pix", steps=2, batch_size=2, out=tmp_path / "gen", **small)
    first, second = (mg.from_folder(folder).scenes for folder in folders)
    drawn = []
    for scenes in (first, second):
        scene = scenes[1]
        whole = np.ones((1, *SIZE), np.float32)
        request = DrawRequest(scene.image[None], scene.indices[None], whole, np.array([7], np.uint64))
        drawn.append(load_generator(str(made.folder), scenes.classes, 1).draw(request))
    np.testing.assert_array_equal(*drawn)
    assert len(mg.synthesize(folders[1], made, n=2, out=tmp_path / "synth")) == 2


def test_extra_scenes_train_alike(folders, tmp_path):
    weights = []
    for name, classes in (("first", FIRST), ("second", SECOND)):
        extra = mg.from_folder(fill(tmp_path / name, classes, seed=100)).scenes
        run = sg.train(folders[0], extra=[extra], out=tmp_path / f"run-{name}", **SMALL)
        assert extra.classes.names == mg.from_folder(tmp_path / name).scenes.classes.names  # the caller's stays
        weights.append((run.folder / "best.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_teachers_of_both_orders_label_together(folders, run, tmp_path):
    other = sg.train(folders[1], out=tmp_path / "other", **SMALL).folder
    scenes = mg.from_folder(folders[0]).scenes
    images = scenes.read(1)[0][None]
    alone = [open_teachers([folder], scenes) for folder in (run, other)]
    together = open_teachers([run, other], scenes)
    assert together.classes.names == FIRST.names
    indices, confidence = together.predict(images, InferenceConfig())
    order = alone[1].classes.order_of(together.classes)
    mean = (predict_probs(alone[0].networks[0], images) + predict_probs(alone[1].networks[0], images)[:, order]) / 2
    np.testing.assert_array_equal(indices, mean.argmax(1))
    np.testing.assert_allclose(confidence / 65535, mean.max(1), atol=1e-4)


def test_other_names_are_refused(folders, run, tmp_path):
    renamed = ClassSet(("ground", "crack", "pit"), FIRST.ids, FIRST.colours, 255)
    with pytest.raises(RunError, match=r"was trained on the classes ground, crack, hole; the data have .*pit"):
        open_judge(run, renamed)
    other = fill_renamed(tmp_path / "other")
    with pytest.raises(DataError, match=r"its classes are ground, crack, pit, those of .* are ground, crack, hole"):
        sg.train(folders[0], extra=[str(other)], out=tmp_path / "out", **SMALL)


def fill_renamed(folder: Path) -> Path:
    fill(folder, FIRST)
    text = (folder / "classes.yaml").read_text().replace("hole", "pit")
    (folder / "classes.yaml").write_text(text)
    return folder


def test_the_command_line_takes_a_permuted_judge(folders, run, tmp_path):
    words = ("marsgen", "synthesize", "--generator", "copy-paste", "--data", str(folders[1]), "--n", "2")
    more = ("--judge", str(run), "--min-agreement", "0.01", "--out", str(tmp_path / "synth"))
    assert call(*words, *more) == 0
