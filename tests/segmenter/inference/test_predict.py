"""Prediction: label ids, not indices, in both forms; whole files or none."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.scenes.classes import read_classes
from segmenter.config import InferenceConfig, PredictConfig, TrainConfig, UNetConfig
from segmenter.inference.predict import load_segmenter, predict, predict_indices, predict_probs
from segmenter.training.train import train


@pytest.fixture(scope="module")
def scenes(simulated):
    """7 simulated scenes of 64 x 128."""
    return simulated(7)


@pytest.fixture(scope="module")
def trained(scenes, make_dataset, tmp_path_factory):
    """Folder of a finished run that has seen a few steps."""
    config = TrainConfig(unet=UNetConfig(width=4), steps=8, batch_size=4, lr=1e-2, precision="fp32")
    run = Run.start(tmp_path_factory.mktemp("runs") / "run", "segmenter train", config, {})
    train(config, run, make_dataset(scenes, range(5), (5, 6)))
    return run.folder


def label(folder, trained, scenes, **settings):
    config = PredictConfig(batch_size=3, **settings)
    return predict(config, Run.start(folder, "segmenter predict", config, {}), trained, scenes)


def predicted_ids(trained, scenes) -> np.ndarray:
    network, classes, _ = load_segmenter(trained)
    return classes.to_ids(predict_indices(network, np.stack(scenes.images)))


def test_a_loaded_segmenter_is_ready_and_says_what_it_is(trained):
    network, classes, record = load_segmenter(trained)
    assert not network.training
    assert classes.names == ("soil", "bedrock", "sand", "big_rock")
    assert (record["channels"], record["step"], record["network"]["unet"]["width"]) == (1, 8, 4)


def test_probabilities_sum_to_one_and_their_largest_is_the_prediction(trained, scenes):
    network, _, _ = load_segmenter(trained)
    images = np.stack(scenes.images[:2])
    probs = predict_probs(network, images)
    assert (probs.shape, probs.dtype) == ((2, 4, 64, 128), np.float32)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(probs.argmax(1), predict_indices(network, images))


def test_flipped_predictions_do_not_know_left_from_right(trained, scenes):
    network, _, _ = load_segmenter(trained)
    images = np.stack(scenes.images[:2])
    plain, mirrored = (predict_probs(network, i) for i in (images, images[:, :, ::-1]))
    averaged = predict_probs(network, images, InferenceConfig(flip=True))
    np.testing.assert_allclose(averaged, (plain + mirrored[..., ::-1]) / 2, atol=1e-5)
    assert np.abs(averaged - plain).max() > 1e-3


def test_the_csv_has_a_row_of_label_ids_per_image(trained, scenes, tmp_path):
    path = label(tmp_path / "out", trained, scenes, format="csv")
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *map(str, range(64 * 128))]
    assert [row[0] for row in rows] == [str(i) for i in range(7)]
    read_back = np.array([row[1:] for row in rows], int).reshape(7, 64, 128)
    np.testing.assert_array_equal(read_back, predicted_ids(trained, scenes))
    assert set(np.unique(read_back)) <= {1, 2, 3, 4}
    assert np.unique(read_back).size > 1


def test_label_maps_are_indexed_pngs_in_the_colours_of_the_classes(trained, scenes, tmp_path):
    folder = label(tmp_path / "out", trained, scenes, format="png")
    classes, wanted = read_classes(tmp_path / "out" / "classes.yaml"), predicted_ids(trained, scenes)
    assert sorted(path.name for path in folder.iterdir()) == [f"scene{i}.png" for i in range(7)]
    for i in range(7):
        with Image.open(folder / f"scene{i}.png") as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(np.asarray(picture), wanted[i])
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), classes.paint(wanted[i]))


@pytest.mark.parametrize("form", ["csv", "png"])
def test_a_cut_prediction_leaves_no_half_file_and_ends_the_same_when_repeated(
    trained, scenes, array_scenes, tmp_path, form
):
    class Cut(array_scenes):
        def read(self, index):
            if index == 5:
                raise KeyboardInterrupt
            return super().read(index)

    def files(folder):
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}

    label(tmp_path / "whole", trained, scenes, format=form)
    config = PredictConfig(batch_size=3, format=form)
    run = Run.start(tmp_path / "cut", "segmenter predict", config, {})
    with pytest.raises(KeyboardInterrupt):
        predict(config, run, trained, Cut(scenes.images, scenes.labels))
    run.close()
    assert not (tmp_path / "cut" / "predictions.csv").exists()
    assert not list((tmp_path / "cut").rglob("*.partial"))
    label(tmp_path / "cut", trained, scenes, format=form)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_the_courses_file_gives_a_csv_and_other_data_label_maps(trained, scenes, tiny_npz, tiny_test_npz, tmp_path):
    from marsgen.scenes.sources import has_test_set, open_scenes

    assert has_test_set(str(tiny_npz))
    assert not has_test_set(str(tiny_test_npz))
    course = open_scenes(str(tiny_npz), labelled=False)
    path = label(tmp_path / "course", trained, course)
    assert path.name == "predictions.csv"
    assert len(path.read_text().splitlines()) == 1 + len(course) == 7
    assert label(tmp_path / "folder", trained, scenes).name == "labels"


def test_images_of_several_sizes_become_pngs_but_no_csv(trained, scenes, array_scenes, tmp_path):
    mixed = array_scenes([scenes.images[0], scenes.images[1][:50, :77]], [scenes.labels[0], scenes.labels[1][:50, :77]])
    with pytest.raises(
        DataError, match="images differ in size, and a csv needs the same columns for all; set format=png"
    ):
        label(tmp_path / "csv", trained, mixed, format="csv")
    folder = label(tmp_path / "png", trained, mixed)
    with Image.open(folder / "scene1.png") as picture:
        assert picture.size == (77, 50)


def test_colour_images_are_refused_by_a_network_of_grey_ones(trained, scenes, array_scenes, tmp_path):
    colour = array_scenes([np.repeat(image, 3, axis=2) for image in scenes.images], scenes.labels)
    with pytest.raises(DataError, match=r"images of 3 channels; .* was trained on 1"):
        label(tmp_path / "out", trained, colour)


def test_what_is_no_finished_training_run_is_refused(trained, tmp_path):
    with pytest.raises(RunError, match=r"no run folder here .*expected one made by `segmenter train`"):
        load_segmenter(tmp_path)
    other = Run.start(tmp_path / "other", "segmenter train", TrainConfig(), {})
    with pytest.raises(RunError, match="this run has not finished"):
        load_segmenter(other.folder)
    other.save_weights("best.safetensors", {"layer.weight": torch.zeros(1)}, classes={}, network={}, channels=1)
    other.finish({})
    with pytest.raises(RunError, match=r"best\.safetensors: not the weights of a segmenter \(.*train it again"):
        load_segmenter(other.folder)
