"""Export: the same probabilities from a file as from torch, at every size, through the same reader and writer."""

import json

import numpy as np
import onnx
import pytest
import torch

import segmenter as sg
from marsgen.core.errors import ConfigError, DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.onnx_files import OnnxNetwork, write_onnx
from segmenter.config import ExportConfig, InferenceConfig, NetworkConfig, PredictConfig, TrainConfig, UNetConfig
from segmenter.inference.export.write import PROBS, Probabilities, export_segmenter, spread, summary_lines
from segmenter.inference.predict import load_segmenter, predict, predict_probs
from segmenter.networks.build import build_network
from segmenter.networks.config import EncoderConfig, MarsSegConfig
from segmenter.networks.wrappers import Calibrated, ClassesOnly
from segmenter.training.train import train


@pytest.fixture(scope="module")
def scenes(simulated):
    """9 simulated scenes of 64 x 128."""
    return simulated(9)


@pytest.fixture(scope="module")
def trained(scenes, make_dataset, tmp_path_factory):
    """Folder of a finished run of a few steps, calibrated and with an output for pixels without a label."""
    config = TrainConfig(
        unet=UNetConfig(width=4), steps=8, batch_size=4, lr=1e-2, precision="fp32", void_weight=0.5, calibrate=1.0
    )
    run = Run.start(tmp_path_factory.mktemp("runs") / "run", "segmenter train", config, {})
    train(config, run, make_dataset(scenes, range(5), (5, 6)))
    return run.folder


def write(folder, trained, scenes, /, **settings):
    config = ExportConfig(**settings)
    run = Run.start(folder, "segmenter export", config, {})
    return export_segmenter(config, run, trained, scenes, range(9), range(5))


@pytest.fixture(scope="module")
def exported(trained, scenes, tmp_path_factory):
    """Folder with model.onnx, model-int8.onnx and model.json."""
    folder = tmp_path_factory.mktemp("exports") / "export"
    write(folder, trained, scenes, int8=True)
    return folder


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Batch norm with averages that are not 0 and 1, so that leaving it out is seen."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


NETWORKS = {
    "unet": {"unet": UNetConfig(width=4)},
    "group norm": {"network": "unet", "unet": UNetConfig(width=8, norm="group", stem=1, depth=1, blocks="plain")},
    "marsseg": {"marsseg": MarsSegConfig(width=8)},
    "baseline": {},
    "encoder": {"encoder": EncoderConfig(name="resnet18", decoder_channels=(8, 8, 8))},
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "marsseg" else n for n in NETWORKS])
def test_every_network_gives_the_probabilities_of_torch_at_any_size(name, tmp_path):
    settings = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = build_network(NetworkConfig(**{"network": name, "void_weight": 0.5, **settings}), 3, 5)
        network = randomised(Calibrated(ClassesOnly(plain, 5), [0.0, 2.0, 0.0, -1.0, 0.0]))
    axes = {0: "batch", 2: "height", 3: "width"}
    path = tmp_path / "net.onnx"
    example = {"images": torch.zeros(2, 3, 64, 96)}
    write_onnx(path, Probabilities(network).eval(), example, PROBS, {"images": axes, PROBS: axes}, {"name": name})
    run = OnnxNetwork(path)
    assert run.metadata == {"name": name}
    for shape in ((1, 3, 64, 128), (3, 3, 33, 77), (2, 3, 100, 50)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
        with torch.inference_mode():
            wanted = network(images).softmax(1).numpy()
        found = run(images.numpy())
        assert found.shape == wanted.shape
        assert wanted.std() > 1e-3
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_an_exported_run_agrees_with_its_network_and_describes_itself(exported, trained, scenes):
    network, classes, record = load_segmenter(trained)
    other, known, metadata = load_segmenter(exported / "model.onnx")
    assert known == classes
    assert metadata == json.loads((exported / "model.json").read_text())
    assert (metadata["multiple"], metadata["channels"], metadata["smallest_side"]) == (16, 1, 32)
    assert metadata["logit_shift"] == record["logit_shift"]
    assert any(record["logit_shift"])
    for inference in (InferenceConfig(), InferenceConfig(flip=True, window=(48, 64), scales=(1.0, 0.75))):
        images = np.stack(scenes.images[:2])
        wanted, found = (predict_probs(n, images, inference) for n in (network, other))
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    summary = Run.load(exported).summary
    assert 0 < summary["largest_difference"] < 1e-4
    assert summary["scenes"] == 9


def test_int8_is_smaller_and_says_what_it_costs(exported, trained, scenes):
    summary = Run.load(exported).summary
    images = np.stack(scenes.images)
    exact, small = (predict_probs(load_segmenter(exported / n)[0], images) for n in ("model.onnx", "model-int8.onnx"))
    assert 1e-4 < np.abs(exact - small).max() == pytest.approx(summary["largest_difference_int8"], rel=0.05)
    assert (exact.argmax(1) == small.argmax(1)).mean() > 0.9
    assert load_segmenter(exported / "model-int8.onnx")[2]["int8"]
    kinds = {node.op_type for node in onnx.load(exported / "model-int8.onnx").graph.node}
    assert "DequantizeLinear" in kinds
    assert "points lost" in summary_lines(summary)[1]


def test_predict_writes_the_same_files_from_a_model_as_from_its_run(exported, trained, scenes, tmp_path):
    for name, segmenter in (("run", trained), ("onnx", exported / "model.onnx")):
        config = PredictConfig(batch_size=4, overlay=True)
        predict(config, Run.start(tmp_path / name, "segmenter predict", config, {}), segmenter, scenes)
    files = sorted(p.relative_to(tmp_path / "run") for p in (tmp_path / "run").rglob("*.png"))
    assert len(files) == 18
    assert all((tmp_path / "run" / f).read_bytes() == (tmp_path / "onnx" / f).read_bytes() for f in files)


def test_the_stored_window_is_used_unless_another_is_named(trained, scenes, tmp_path):
    write(tmp_path / "out", trained, scenes, window=(32, 48), overlap=0.25, scenes=1)
    model = tmp_path / "out" / "model.onnx"
    stored = sg.predict(model, scenes.images[0], probs=True)
    windows = sg.predict(trained, scenes.images[0], probs=True, window=(32, 48), overlap=0.25)
    whole = sg.predict(trained, scenes.images[0], probs=True)
    np.testing.assert_allclose(stored, windows, atol=1e-5)
    assert np.abs(stored - whole).max() > 1e-3
    named = sg.predict(model, scenes.images[0], probs=True, window=(64, 128))
    np.testing.assert_allclose(named, whole, atol=1e-5)


# torch.export takes a second for every few layers
FEW_LAYERS = {"unet": UNetConfig(width=4, depth=1, blocks="plain")}


@pytest.mark.parametrize("network", [{"network": "baseline"}, pytest.param(FEW_LAYERS, marks=pytest.mark.slow)])
def test_torch_export_gives_the_same_and_holds_no_pickle(network, scenes, make_dataset, tmp_path):
    config = TrainConfig(**network, steps=2, batch_size=4, precision="fp32", void_weight=0.5, calibrate=1.0)
    run = Run.start(tmp_path / "run", "segmenter train", config, {})
    train(config, run, make_dataset(scenes, range(5), (5, 6)))
    trained = run.folder
    summary = write(tmp_path / "out", trained, scenes, to="torch-export", scenes=2)
    assert summary["largest_difference"] < 1e-6
    path = tmp_path / "out" / "model.pt2"
    extra = {"marsgen.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    images = torch.rand(3, 1, 40, 72) * 2 - 1
    with torch.inference_mode():
        np.testing.assert_allclose(program(images), load_segmenter(trained)[0](images).softmax(1), atol=1e-6)
    assert json.loads(extra["marsgen.json"])["channels"] == 1
    assert b"cpickle" not in path.read_bytes().lower()


def test_a_file_that_disagrees_is_not_kept(trained, scenes, tmp_path):
    with pytest.raises(RunError, match=r"differ by up to .* more than the tolerance 1e-12"):
        write(tmp_path / "out", trained, scenes, tolerance=1e-12)
    assert not list((tmp_path / "out").glob("model*"))
    assert not Run.load(tmp_path / "out", finished=False).finished


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"to": "torch-export", "int8": True}, "it is for onnx"),
        ({"window": (16, 64)}, "at least 32"),
        ({"overlap": 0.1}, "window is null"),
        ({"calibration_scenes": 4}, "int8 is false"),
    ],
)
def test_settings_that_nothing_reads_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ExportConfig(**settings)


def test_what_is_no_exported_segmenter_is_refused(exported, scenes, tmp_path, array_scenes):
    with pytest.raises(RunError, match="no such file"):
        sg.predict(tmp_path / "absent.onnx", scenes.images[0])
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(RunError, match="not a network that onnxruntime can open"):
        sg.predict(tmp_path / "text.onnx", scenes.images[0])
    with pytest.raises(RunError, match=r"made by `segmenter export`; name the file in it"):
        sg.predict(exported, scenes.images[0])
    model = onnx.load(exported / "model.onnx")
    onnx.helper.set_model_props(model, {"marsgen": '{"made_by": "marsgen export"}'})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(RunError, match="made by another command"):
        sg.predict(tmp_path / "other.onnx", scenes.images[0])
    onnx.helper.set_model_props(model, {})
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(RunError, match="without a json under 'marsgen'"):
        sg.predict(tmp_path / "bare.onnx", scenes.images[0])
    with pytest.raises(DataError, match="images of 3 channels"):
        sg.predict(exported / "model.onnx", np.zeros((64, 64, 3), np.uint8))


def test_without_onnxruntime_it_says_what_to_install(exported, scenes, monkeypatch):
    import marsgen.core.storage.onnx_files as onnx_files

    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if name == "onnxruntime" else True)
    with pytest.raises(ConfigError, match=r"needs onnxruntime, not installed here: pip install '\.\[export\]'"):
        sg.predict(exported / "model.onnx", scenes.images[0])


def test_scenes_are_spread_evenly():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(3), 5) == [0, 1, 2]


@pytest.mark.slow
def test_the_commands_export_check_and_predict(tmp_path, capsys):
    """On the run's own data: checked on its validation part, ranges from its train part."""
    from segmenter.cli import app

    def call(*words: object) -> str:
        app([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr().out

    run, out, data = tmp_path / "run", tmp_path / "export", "sim:16,rocks=0.5"
    tiny = ("--set", "unet.width=4", "--set", "steps=2", "--set", "batch_size=2")
    call("train", "--data", data, *tiny, "--out", run)
    printed = call("export", run, "--int8", "--out", out)
    assert "largest difference of a probability from torch" in printed
    assert "mean IoU" in printed
    summary = Run.load(out, "segmenter export").summary
    assert (summary["scenes"], summary["calibration_scenes"]) == (8, 8)  # groups of the simulator stay whole
    for segmenter, folder in ((run, "a"), (out / "model.onnx", "b")):
        printed = call("predict", segmenter, "--data", "sim:3,seed=5", "--out", tmp_path / folder)
        assert "3 images labelled" in printed
    labels = [sorted((tmp_path / folder / "labels").iterdir()) for folder in "ab"]
    assert [path.name for path in labels[0]] == [path.name for path in labels[1]]
    assert len(labels[0]) == 3
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*labels, strict=True))
    other = call("export", run, "--int8", "--data", "sim:5,seed=9", "--set", "scenes=4", "--out", tmp_path / "other")
    summary = Run.load(tmp_path / "other").summary
    assert (summary["scenes"], summary["calibration_scenes"]) == (3, 2)
    assert "wrote" in other
    with pytest.raises(DataError, match="one scene; int8 needs one for its ranges"):
        call("export", run, "--int8", "--data", "sim:1,seed=9", "--out", tmp_path / "one")
