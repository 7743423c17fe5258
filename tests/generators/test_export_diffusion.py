"""A diffusion generator as ONNX: the sampler in numpy draws what torch draws, step by step and as a whole."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from painted import Painted
from test_diffusion import untrained
from test_pix2pix import request

from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.onnx_files import OnnxNetwork
from marsgen.generators.config import ExportGeneratorConfig
from marsgen.generators.diffusion.diffusion import flow_solver, noise_levels
from marsgen.generators.diffusion.export import drawings, on_cpu, step_weights, write_files
from marsgen.generators.export import export_generator

PAGE = Path(__file__).parent.parent.parent / "docs" / "export.md"


@pytest.mark.parametrize(("strength", "steps"), [(1, 5), (0.5, 5), (0.1, 5), (1, 12), (1, 20)])
def test_the_steps_are_those_of_the_solver(strength, steps):
    levels = noise_levels(strength, steps)
    solver, weights = flow_solver(levels), step_weights(levels.double().tolist())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wanted, velocities = torch.randn(64), torch.randn(len(weights), 64)
    x, before = wanted.double(), torch.zeros(64)
    for velocity, level, timestep, (now, clean, earlier) in zip(
        velocities, levels[:-1], solver.timesteps, weights, strict=True
    ):
        predicted = x - level * velocity
        x, before = now * x + clean * predicted + earlier * before, predicted
        wanted = solver.step(velocity, timestep, wanted, return_dict=False)[0]
        np.testing.assert_allclose(x.numpy(), wanted.numpy(), atol=2e-6)
    assert len(weights) < 3 or all(earlier != 0 for *_, earlier in weights[1:-1])


@pytest.mark.parametrize(
    ("channels", "height", "width"), [pytest.param(1, 64, 128, marks=pytest.mark.slow), (3, 33, 47)]
)
def test_the_files_draw_what_torch_draws_at_any_size_and_strength(channels, height, width, tmp_path):
    generator = on_cpu(untrained(3, channels))
    assert generator.guidance == 1.5  # both predictions take part
    write_files(tmp_path, generator)
    for whole in (True, False):
        asked = request(3, channels, height, width)
        if whole:
            asked.inpainting_mask[:] = 1
        found = list(drawings(generator, tmp_path, asked))
        assert len(found) == 2
        for wanted, drawn in found:
            assert drawn.shape == (3, channels, height, width)
            assert wanted.std() > 0.1
            assert np.abs(drawn - wanted).max() * 127.5 < 0.01
        assert np.abs(found[0][0] - found[1][0]).mean() > 0.05  # the strength plays a part


def test_without_a_null_condition_there_is_no_guidance(tmp_path):
    generator = untrained(3)
    generator.null_condition = False
    plain = on_cpu(generator)
    write_files(tmp_path, plain)
    assert OnnxNetwork(tmp_path / "generator.onnx").metadata["guidance"] is None
    for wanted, drawn in drawings(plain, tmp_path, request(3, 1, 32, 48)):
        assert np.abs(drawn - wanted).max() * 127.5 < 0.01


def test_it_is_compared_with_torch_and_described(tmp_path):
    def export(folder, **settings):
        config = ExportGeneratorConfig(**settings)
        run = Run.start(folder, "marsgen export", config, {})
        export_generator(config, run, on_cpu(untrained(3)), Painted(2))
        return run

    run = export(tmp_path / "out")
    assert 0 < run.said("largest_difference_levels", float) < 0.01
    metadata = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert metadata == OnnxNetwork(tmp_path / "out" / "style.onnx").metadata
    assert (metadata["generator"], metadata["guidance"], metadata["steps"]) == ("diffusion", 1.5, 5)
    assert len(metadata["levels"]) == 6 == len(metadata["weights"]) + 1
    (example,) = (
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S) if "sampler" in block
    )
    values: dict[str, Any] = {}
    exec(example.replace("outputs/diffusion-onnx", str(tmp_path / "out")), values)  # as it stands on the page
    assert values["drawn"].shape == (1, 1, 64, 128)
    with pytest.raises(RunError, match=r"more than the tolerance 1e-09; the file was not kept"):
        export(tmp_path / "refused", tolerance=1e-9)
    assert not list((tmp_path / "refused").glob("*.onnx"))
