"""Trained models saved for others: what is in the folder, that everything takes it, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from test_flow import call

import marsgen as mg
import segmenter as sg
from marsgen.cleaning.dataset import Dataset
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run

SIZE = (32, 40)
SMALL = {"steps": 2, "batch_size": 2, "validate_every": 2, "unet": {"width": 4}, "precision": "fp32"}
TINY = {"steps": 1, "batch_size": 2, "crop_px": 32}
GENERATORS = {
    "pix2pix": {"generator_width": 8, "discriminator": "patch", "discriminator_width": 8},
    "diffusion": {"widths": (8, 8), "blocks": 1},
}


@pytest.fixture(scope="module")
def my_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pictures, half of them with a crack, whose licence is known."""
    folder = tmp_path_factory.mktemp("private") / "my_data"
    rng = np.random.default_rng(0)
    for index in range(16):
        labels = np.zeros(SIZE, np.uint8)
        if index % 2:
            labels[8:20, 6 + index : 20 + index] = 1
        for part, pixels in (("images", rng.integers(0, 256, SIZE, np.uint8)), ("labels", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"p{index:02d}.png")
    entries = [{"name": "sound", "id": 0}, {"name": "crack", "id": 1}]
    (folder / "classes.yaml").write_text(
        yaml.safe_dump({"rare": ["crack"], "license": "cc-by-4.0", "classes": entries})
    )
    return folder


@pytest.fixture(scope="module")
def data(my_data: Path) -> Dataset:
    return mg.from_folder(my_data, val_fraction=0.25, test_fraction=0.25)


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sg.train(data, out=tmp_path_factory.mktemp("runs") / "run", **SMALL)


@pytest.fixture(scope="module")
def saved(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "cracks"
    sg.TrainedSegmenter.from_pretrained(run).save_pretrained(folder)
    return folder


def test_a_saved_segmenter_predicts_as_its_run_and_is_scored_as_it(
    run: Run, saved: Path, data: Dataset, my_data, tmp_path
):
    files = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert files == {"README.md", *sg.TrainedSegmenter.FILES}
    model = sg.TrainedSegmenter.from_pretrained(saved)
    image = data.scenes[1].image
    np.testing.assert_array_equal(sg.predict(model, image, probs=True), sg.predict(run, image, probs=True))
    scores = [sg.evaluate(r, data, out=tmp_path / str(n)).record["mean_iou"] for n, r in enumerate((run, model))]
    assert scores[0] == scores[1]
    with pytest.raises(DataError, match="trained on"):  # it still knows what it has seen
        sg.evaluate(model, data, part="all", out=tmp_path / "leak")
    picture = str(my_data / "images" / "p01.png")
    assert call("segmenter", "predict", str(saved), picture, "--out", str(tmp_path / "labelled")) == 0
    with Image.open(tmp_path / "labelled" / "labels" / "p01.png") as written:
        np.testing.assert_array_equal(np.asarray(written), sg.predict(run, picture))


def test_the_card_says_what_it_is_and_nothing_of_the_disk(run: Run, saved: Path, my_data: Path):
    card = ModelCard.load(saved / "README.md")
    assert (card.data.license, card.data.pipeline_tag, card.data.library_name) == (
        "cc-by-4.0",
        "image-segmentation",
        "marsgen",
    )
    assert "| crack | 1 | yes |" in card.text
    for words in (
        "my_data (fingerprint ",
        "Steps: 2;",
        "Pictures: grey",
        "Training scenes: 8 of the data set, 0 extra",
    ):
        assert words in card.text
    for path in saved.rglob("*"):
        assert not path.is_file() or str(my_data.parent).encode() not in path.read_bytes(), path
    assert str(my_data) in (run.folder / "config.yaml").read_text()


@pytest.mark.parametrize("kind", ["pix2pix", pytest.param("diffusion", marks=pytest.mark.slow)])
def test_a_saved_generator_draws_as_its_run(kind: str, data: Dataset, my_data: Path, tmp_path: Path, capsys):
    run = mg.train_generator(data, kind=kind, out=tmp_path / "run", **TINY, **GENERATORS[kind])
    mg.TrainedGenerator.from_pretrained(run.folder).save_pretrained(tmp_path / "saved")
    assert kind in ModelCard.load(tmp_path / "saved" / "README.md").text
    model = mg.TrainedGenerator.from_pretrained(tmp_path / "saved")
    drawn = [mg.synthesize(data, r, n=1, out=tmp_path / str(n))[0].image for n, r in enumerate((run, model))]
    np.testing.assert_array_equal(*drawn)
    words = (
        "marsgen",
        "synthesize",
        "--generator",
        str(tmp_path / "saved"),
        "--n",
        "1",
        "--out",
        str(tmp_path / "synth"),
    )
    assert call(*words, "--data", str(my_data)) == 0
    capsys.readouterr()
    assert call(*words) == 2  # what it was trained on lies elsewhere
    assert "my_data" in capsys.readouterr().err
    with pytest.raises(RunError, match="was made by `marsgen train-generator`; expected a run of `segmenter train`"):
        sg.TrainedSegmenter.from_pretrained(tmp_path / "saved")


def test_a_model_of_the_hub_is_opened_out_of_its_cache(saved: Path, data: Dataset, tmp_path: Path, monkeypatch):
    """The cache holds links to files named after their content; only the files of a model are asked for."""
    asked = {}

    def snapshot_download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        for index, path in enumerate(sorted(p for p in saved.rglob("*") if p.is_file())):
            blob = shutil.copy(path, tmp_path / f"blob{index}")
            link = tmp_path / "snapshot" / path.relative_to(saved)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("marsgen.hub.snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    model = sg.TrainedSegmenter.from_pretrained("me/cracks", revision="v1")
    assert (asked["name"], asked["revision"]) == ("me/cracks", "v1")
    assert asked["allow_patterns"] == [*sg.TrainedSegmenter.FILES, "README.md"]
    image = data.scenes[1].image
    np.testing.assert_array_equal(sg.predict(model, image), sg.predict(saved, image))


def test_what_is_pushed_is_what_is_saved(run: Run, saved: Path, monkeypatch):
    pushed = {}

    class Hub:
        def __init__(self, **options: object) -> None:
            pass

        def create_repo(self, repo_id: str, **options: object) -> object:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: object) -> str:
            pushed[repo_id] = {
                p.relative_to(folder_path): p.read_bytes() for p in folder_path.rglob("*") if p.is_file()
            }
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    model = sg.TrainedSegmenter.from_pretrained(run)
    assert model.push_to_hub("me/cracks") == "https://hub/me/cracks"
    assert pushed["me/cracks"] == content_of(saved)


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_card_that_somebody_wrote_stays(saved: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    shutil.copytree(saved, mine)
    (mine / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    model = sg.TrainedSegmenter.from_pretrained(mine)
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text().endswith("# Mine\n")
    sg.TrainedSegmenter.from_pretrained(saved).save_pretrained(mine)  # a saved model may be replaced
    assert (mine / "README.md").read_text().endswith("# Mine\n")


def test_folders_that_hold_something_else_are_left_alone(run: Run, saved: Path, tmp_path: Path):
    model = sg.TrainedSegmenter.from_pretrained(saved)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"holds config\.json, which is no part of a model; choose a new folder"):
        model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(RunError, match="is a file"):
        model.save_pretrained(tmp_path / "config.json")
    with pytest.raises(RunError, match="is the folder of the model itself"):
        model.save_pretrained(saved)
    before = sorted(path.name for path in run.folder.iterdir())
    with pytest.raises(RunError, match="which is no part of a model|itself"):
        sg.TrainedSegmenter.from_pretrained(run).save_pretrained(run.folder)
    assert sorted(path.name for path in run.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.yaml", b"command: [unclosed", r"config\.yaml"),
        ("config.yaml", b"!!python/object/apply:os.system ['true']", r"config\.yaml"),
        ("config.yaml", b"command: segmenter train\ninputs: {}\nconfig: {}\n", r"config\.network|inputs\.data"),
        ("best.safetensors", b"\x80\x04.", r"best\.safetensors"),
        ("DONE", b'{"steps": "many"}', "DONE"),
    ],
)
def test_a_model_of_somebody_else_is_checked(saved: Path, tmp_path: Path, name: str, content: bytes, words: str):
    shutil.copytree(saved, tmp_path / "theirs")
    (tmp_path / "theirs" / name).write_bytes(content)
    with pytest.raises(RunError, match=words) as refused:
        sg.TrainedSegmenter.from_pretrained(tmp_path / "theirs")
    assert "\n" not in str(refused.value)


def test_a_name_of_nothing_is_one_line(tmp_path: Path):
    nowhere = {"cache_dir": tmp_path, "local_files_only": True}
    for name in ("me/cracks", "outputs/no/such/run"):
        with pytest.raises(
            RunError, match=f"{name}: no such folder, and not to be had from the Hugging Face hub"
        ) as no:
            sg.TrainedSegmenter.from_pretrained(name, **nowhere)
        assert "\n" not in str(no.value)
