"""Several resolutions and sliding windows: what is blended, and what must not change."""

import numpy as np
import pytest
import torch
from torch import nn

from marsgen.core.config import load_config
from marsgen.core.errors import ConfigError
from marsgen.scenes.readers.arrays import ArrayScenes, class_set
from marsgen.scenes.scene import batches_of_one_shape
from segmenter.config import InferenceConfig, PredictConfig, TrainConfig
from segmenter.inference import sliding_window
from segmenter.inference.predict import image_batches, predict_indices, predict_probs
from segmenter.inference.sliding_window import place_windows, predict_in_windows, predict_whole, resize_labels
from segmenter.networks.baseline import Baseline
from segmenter.networks.unet import UNet
from segmenter.training.batches import TrainingBatches


class Constant(nn.Module):
    """The same logits everywhere, whatever the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[None, :, None, None].expand(len(images), 3, *images.shape[2:])


class Rounding(nn.Module):
    """A network whose answer depends on how many windows it is given at a time, as rounding makes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images) * (1 + 0.01 * len(images))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 96, 160, 1), dtype=np.uint8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(1, 3, width=4).eval()


@pytest.mark.parametrize(("length", "window", "overlap"), [(96, 32, 0.5), (100, 33, 0.0), (64, 64, 0.5), (65, 64, 0.9)])
def test_weights_add_up_to_one_and_windows_reach_both_ends(length, window, overlap):
    starts, weights = place_windows(length, window, overlap)
    assert (starts[0], starts[-1]) == (0, length - window)
    assert (np.diff(starts) <= np.ceil(window * (1 - overlap))).all()
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-12)
    for start, row in zip(starts, weights, strict=True):
        assert (row[start : start + window] > 0).all()
        assert np.count_nonzero(row) == window


def test_three_windows_of_eight_pixels_counted_by_hand():
    starts, weights = place_windows(16, 8, 0.5)
    assert starts == [0, 4, 8]
    assert weights[0, 0] == 1  # nobody else sees it
    rise = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    np.testing.assert_allclose(weights[1, 4:8], rise[:4] / (rise[:4] + rise[4:]))


def test_a_window_as_large_as_the_scene_is_the_plain_prediction(network, images):
    plain = predict_probs(network, images)
    for window in ((96, 160), (500, 500)):
        np.testing.assert_array_equal(predict_probs(network, images, InferenceConfig(window=window)), plain)
    assert np.abs(predict_probs(network, images, InferenceConfig(window=(48, 64))) - plain).max() > 1e-5


@pytest.mark.parametrize(
    "ask", [{"window": (32, 48)}, {"window": (40, 33), "overlap": 0.0}, {"scales": (0.5, 1, 2)}, {"scales": (0.7,)}]
)
def test_a_network_that_always_says_the_same_says_it_still(images, ask):
    network = Constant()
    expected = network.logits.softmax(0).detach().numpy()[None, :, None, None]
    probs = predict_probs(network, images, InferenceConfig(flip=True, **ask))
    assert probs.shape == (2, 3, 96, 160)
    np.testing.assert_allclose(probs, np.broadcast_to(expected, probs.shape), rtol=1e-5)


def test_blended_windows_agree_with_the_whole_where_the_network_looks_no_further(images):
    """One 3 x 3 convolution sees the same in a window as in the whole, except at the window's border."""
    torch.manual_seed(0)
    network = Baseline(1, 3)
    inputs = torch.from_numpy(images).movedim(-1, 1).float() / 127.5 - 1
    whole = network(inputs)
    blended = predict_in_windows(network, inputs, (32, 32), 0.5)
    seen = (whole - blended).abs().amax((0, 1))
    inner = torch.ones_like(seen, dtype=torch.bool)
    for edge in [start + end for start in place_windows(96, 32, 0.5)[0] for end in (0, 31)]:
        inner[edge] = False
    for edge in [start + end for start in place_windows(160, 32, 0.5)[0] for end in (0, 31)]:
        inner[:, edge] = False
    assert seen[inner].max() < 1e-5
    assert seen[~inner].max() > 1e-4


def test_what_windows_say_of_a_picture_does_not_depend_on_the_pictures_beside_it(network):
    """Of mixed sizes, some twice in a row: in order, in reverse and alone, with the counts of a window at a time."""
    rng, ask = np.random.default_rng(1), InferenceConfig(window=(32, 48), flip=True)
    shapes = [(96, 160), (96, 160), (33, 70), (64, 48), (64, 48), (64, 48), (200, 64), (96, 160)]
    pictures = [rng.integers(0, 256, (*shape, 1), dtype=np.uint8) for shape in shapes]

    def together(network: nn.Module, order: list[int]) -> list[bytes]:
        scenes = ArrayScenes([pictures[n] for n in order], None, class_set(["a", "b", "c"]))
        batches = image_batches(scenes, 32)
        return [probs.tobytes() for _, batch in batches for probs in predict_probs(network, batch, ask)]

    for asked in (network, Rounding(network).eval()):
        alone = [predict_probs(asked, picture[None], ask)[0] for picture in pictures]
        for order in (list(range(8)), list(range(8))[::-1]):
            assert [alone[n].tobytes() for n in order] == together(asked, order)
    for picture in pictures:
        probs = predict_probs(network, picture[None], ask)[0]
        one_by_one = one_window_at_a_time(network, picture, ask)
        np.testing.assert_allclose(probs, one_by_one, atol=1e-6)
        np.testing.assert_array_equal(probs.argmax(0), one_by_one.argmax(0))


def one_window_at_a_time(network: UNet, picture: np.ndarray, ask: InferenceConfig) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliding_window, "WINDOWS", 1)
        return predict_probs(network, picture[None], ask)[0]


@pytest.mark.parametrize(("window", "most"), [((32, 48), 8), ((256, 256), 4), ((512, 700), 1)])
def test_few_windows_are_in_memory_at_a_time(window, most):
    seen = []

    def probs_of(windows: torch.Tensor) -> torch.Tensor:
        seen.append(len(windows))
        return windows

    picture = torch.rand(1, 1, 600, 1400)
    blended = predict_in_windows(probs_of, picture, window, 0.5)
    torch.testing.assert_close(blended, picture)
    assert max(seen) == most
    assert sum(seen) == len(place_windows(600, window[0], 0.5)[0]) * len(place_windows(1400, window[1], 0.5)[0])


def test_several_scales_are_averaged_and_labels_the_likeliest_of_them(network, images):
    probs = predict_probs(network, images, InferenceConfig(scales=(0.5, 1, 2)))
    alone = [predict_probs(network, images, InferenceConfig(scales=(scale,))) for scale in (0.5, 1, 2)]
    np.testing.assert_allclose(probs, np.mean(alone, 0), atol=1e-6)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(
        predict_indices(network, images, InferenceConfig(scales=(0.5, 1, 2))), probs.argmax(1)
    )


def test_resized_labels_are_labels_that_were_there():
    labels = torch.tensor([[[0, 3], [255, 1]]])
    assert resize_labels(labels, 2).tolist() == [[[0, 0, 3, 3]] * 2 + [[255, 255, 1, 1]] * 2][0:1]
    assert torch.equal(resize_labels(resize_labels(labels, 2), 0.5), labels)


def test_training_windows_come_at_every_scale_and_the_default_at_one(simulated, make_dataset):
    dataset = make_dataset(simulated(4), range(4), ())
    plain = TrainingBatches(TrainConfig(steps=9, batch_size=1), dataset)
    scaled = TrainingBatches(TrainConfig(steps=9, batch_size=1, scales=(0.5, 1, 2)), dataset)
    sizes = set()
    for step in range(1, 10):
        images, labels = scaled[step]
        assert images.shape[2:] == labels.shape[1:]
        sizes.add(tuple(labels.shape[1:]))
        if labels.shape[1:] == (64, 128):
            assert all(torch.equal(ours, theirs) for ours, theirs in zip((images, labels), plain[step], strict=True))
        assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 255}
    assert sizes == {(32, 64), (64, 128), (128, 256)}


def test_how_a_network_was_asked_is_read_from_older_settings_too():
    assert InferenceConfig.of({"flip": True, "batch_size": 3}) == InferenceConfig(flip=True)
    asked = PredictConfig(scales=(0.5,), window=(64, 64), overlap=0.25)
    assert InferenceConfig.of(asked.model_dump(mode="json")) == InferenceConfig(
        scales=(0.5,), window=(64, 64), overlap=0.25
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("window=[8,64]", r"window \[8, 64\]: each side needs at least 32 pixels"),
        ("overlap=0.25", "overlap is set, but window is null"),
        ("scales=[]", "expected a list of at least 1"),
        ("scales=[9]", "scales.0 is 9; expected at most 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(PredictConfig, None, [override])


def test_an_image_beyond_the_bound_goes_through_the_network_in_windows(monkeypatch):
    monkeypatch.setattr("segmenter.inference.sliding_window.MOST_BATCH_PX", 64 * 64)
    monkeypatch.setattr("segmenter.inference.sliding_window.LARGE_WINDOW", (48, 48))
    seen: list[tuple[int, ...]] = []

    def identity(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(inputs.shape))
        return inputs

    for shape, most in (((64, 64), 64 * 64), ((100, 70), 48 * 48)):
        images = torch.rand(1, 2, *shape)
        torch.testing.assert_close(predict_whole(identity, images), images)
        assert max(height * width for _, _, height, width in seen) == most
        seen.clear()


def test_batches_hold_no_more_pixels_than_the_memory(monkeypatch):
    pictures = [np.zeros((64, 64, 1), np.uint8)] * 10
    scenes = ArrayScenes(pictures, [np.zeros((64, 64), np.uint8)] * 10, class_set(["a", "b"]))
    assert [len(batch) for _, batch in image_batches(scenes, 4)] == [4, 4, 2]
    monkeypatch.setattr("segmenter.inference.predict.MOST_BATCH_PX", 3 * 64 * 64)
    monkeypatch.setattr("marsgen.scenes.scene.MOST_BATCH_PX", 3 * 64 * 64)
    assert [len(batch) for _, batch in image_batches(scenes, 4)] == [3, 3, 3, 1]
    assert [len(batch) for batch in batches_of_one_shape(scenes, 4)] == [3, 3, 3, 1]
    monkeypatch.setattr("marsgen.scenes.scene.MOST_BATCH_PX", 5)
    assert [len(batch) for batch in batches_of_one_shape(scenes, 4)] == [1] * 10
