"""A generator as ONNX: the same picture for the same noise, and a file that is only kept where that holds."""

import json

import numpy as np
import pytest
import torch
from painted import Painted
from test_pix2pix import request, untrained

from marsgen.commands.export.generator import export_trained, summary_line
from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.onnx_files import OnnxNetwork
from marsgen.generators import DrawConfig
from marsgen.generators.config import ExportGeneratorConfig, TrainDiffusionConfig, TrainPix2PixConfig
from marsgen.generators.export import export_generator
from marsgen.generators.pix2pix.export import tensors_of, write_files
from marsgen.generators.style import CLOSE_STYLES
from marsgen.scenes.tensors import image_array


@pytest.mark.parametrize(
    ("channels", "styles"),
    [(1, 40), (3, 5), pytest.param(1, 5, marks=pytest.mark.slow), pytest.param(3, 40, marks=pytest.mark.slow)],
)
def test_the_file_draws_what_torch_draws_at_any_size(channels, styles, tmp_path):
    """40 styles are more than are chosen from; some are alike, so that ties are met."""
    assert 5 < CLOSE_STYLES < 40
    generator = untrained(3, channels, styles)
    generator.styles.shares[::3] = generator.styles.shares[0]
    write_files(tmp_path, generator)
    onnx = OnnxNetwork(tmp_path / "generator.onnx")
    for height, width, whole in ((40, 56, True), (33, 47, True), (64, 128, False), (64, 128, True)):
        asked = request(3, channels, height, width)
        if whole:
            asked.inpainting_mask[:] = 1
        drawn = onnx(*(value.numpy() for value in tensors_of(asked, 1.0)))
        found, wanted = image_array(torch.from_numpy(drawn)), generator.draw(asked)
        assert found.shape == wanted.shape
        assert wanted.std() > 10
        assert np.abs(found.astype(int) - wanted).max() <= 1  # rounding
        assert (found == wanted).mean() > 0.999


def export(folder, **settings):
    config = ExportGeneratorConfig(**settings)
    generator = untrained(3, 1)
    generator.strength = DrawConfig(strength=0.7).strength
    run = Run.start(folder, "marsgen export", config, {})
    export_generator(config, run, generator, Painted(3))
    return run


def test_it_is_compared_with_torch_and_described(tmp_path):
    run = export(tmp_path / "out")
    assert 0 < run.said("largest_difference_levels", float) < 0.01
    metadata = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert metadata == OnnxNetwork(tmp_path / "out" / "generator.onnx").metadata
    assert (metadata["strength"], metadata["stride"], metadata["channels"]) == (0.7, 8, 1)
    assert [c["name"] for c in metadata["classes"]["classes"]] == ["terrain 0", "terrain 1", "terrain 2"]
    assert "of 255 grey levels on 3 scenes" in summary_line(run)


def test_a_file_that_disagrees_is_not_kept(tmp_path):
    with pytest.raises(RunError, match=r"more than the tolerance 1e-09; the file was not kept"):
        export(tmp_path / "out", tolerance=1e-9)
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_only_a_trained_pix2pix_can_be_exported(tmp_path):
    with pytest.raises(RunError, match="no run folder here"):
        export_trained(str(tmp_path / "absent"), ExportGeneratorConfig(), tmp_path / "out")


@pytest.mark.slow
def test_the_command_exports_runs_of_both_kinds(tmp_path, tiny_npz, capsys):
    from marsgen.cleaning.dataset import clean_scenes
    from marsgen.cli import app
    from marsgen.core.config import DataConfig
    from marsgen.generators.diffusion import train as train_diffusion
    from marsgen.generators.pix2pix import train as train_pix2pix
    from marsgen.scenes.sources import open_scenes

    dataset = clean_scenes(open_scenes(str(tiny_npz)), DataConfig())
    inputs = {"data": dataset.scenes.identity()}
    for config, module in (
        (TrainPix2PixConfig(steps=2, batch_size=2, generator_width=4, discriminator_width=4), train_pix2pix),
        (TrainDiffusionConfig(steps=2, batch_size=2, widths=(8, 8)), train_diffusion),
    ):
        run = Run.start(tmp_path / config.kind, "marsgen train-generator", config, inputs)
        module.train(config, run, dataset)
        run.close()
    for kind, files in (("pix2pix", "generator.onnx"), ("diffusion", "generator.onnx and style.onnx")):
        out = tmp_path / f"{kind}-onnx"
        words = ["export", str(tmp_path / kind), "--to", "onnx", "--set", "scenes=2", "--out", str(out)]
        app(words, standalone_mode=False)
        assert all((out / name).is_file() for name in files.split(" and "))
        assert f"{files}   " in (printed := capsys.readouterr().out)
        assert "largest difference from torch" in printed
    with pytest.raises(ConfigError, match="--gain is for data sets"):
        app(["export", str(tmp_path / "pix2pix"), "--to", "onnx", "--gain", "x"], standalone_mode=False)
