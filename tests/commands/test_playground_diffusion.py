"""A diffusion generator on the playground: its sampler in JavaScript draws what torch draws for the same noise."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playground_pages import NO_BROWSER, WHY_NO_BROWSER, open_page, ort_here

from marsgen.cleaning.dataset import clean_scenes
from marsgen.commands.playground import PlaygroundConfig, make_playground
from marsgen.core.config import DataConfig
from marsgen.core.runs import Run
from marsgen.generators import DrawConfig
from marsgen.generators.config import TrainDiffusionConfig
from marsgen.generators.diffusion.diffusion import Diffusion
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.tensors import image_array, image_tensor, label_tensor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NO_BROWSER, reason=WHY_NO_BROWSER)]
DRAW = """
const [pixels, indices, mask, height, width, settings, done] = arguments;
const from = (name) => import(new URL(name, location.href));
(async () => {
  const { openNetworks } = await from("networks.js");
  const { normals, uniform } = await from("noise.js");
  const { draw, generator } = await openNetworks({ channels: 1 });
  const given = [Uint8Array.from(pixels), Uint8Array.from(indices), Float32Array.from(mask)];
  const drawn = await draw(...given, height, width, settings);
  const [rows, columns] = [height, width].map((side) => Math.ceil(side / generator.stride) * generator.stride);
  const ended = await draw(...given, height, width, { ...settings, stale: () => true });
  done([[...drawn], [...normals(settings.seed)(rows * columns)], uniform(settings.seed), rows, ended]);
})().catch((problem) => done(String(problem)));
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_npz) -> Path:
    """A folder with gen/ (diffusion of six large steps) and page/."""
    from marsgen.generators.diffusion.train import train

    folder = tmp_path_factory.mktemp("diffusion")
    tiny = TrainDiffusionConfig(
        steps=6, batch_size=2, widths=(8, 8), blocks=1, lr=0.05, warmup_steps=0, ema_decay=0.0, label_dropout=0.5
    )
    dataset = clean_scenes(open_scenes(str(tiny_npz)), DataConfig())
    run = Run.start(folder / "gen", "marsgen train-generator", tiny, {"data": dataset.scenes.identity()})
    train(tiny, run, dataset)
    run.close()
    config = PlaygroundConfig(scenes=1, regions=0)
    make_playground(str(folder / "gen"), config, folder / "page", ort=ort_here())
    return folder


def test_the_page_draws_what_torch_draws_and_shows_the_controls_of_the_generator(place, tiny_npz, tmp_path):
    from selenium.webdriver.common.by import By

    scene = open_scenes(str(tiny_npz))[3]
    shapes = [((64, 128), 1.0, 1.5, True), ((64, 128), 0.6, 2.0, False), ((37, 50), 1.0, 1.0, True)]
    with open_page(place / "page", tmp_path) as browser:
        browser.set_script_timeout(120)
        end = time.monotonic() + 60
        while not browser.execute_script("return document.body.dataset.ready") and time.monotonic() < end:
            time.sleep(0.1)
        guidance = browser.find_element(By.ID, "guidance")
        assert guidance.is_displayed()
        assert float(guidance.get_attribute("value")) == 1.5
        assert browser.find_element(By.ID, "strength").is_displayed()
        answers = []
        for seed, ((height, width), strength, guided, whole) in enumerate(shapes):
            mask = np.ones((height, width), np.float32)
            mask[:, : width // 3] = float(whole)
            mask[:, width // 3] = 0.5
            image, indices = scene.image[:height, :width], scene.indices[:height, :width]
            settings = {"seed": seed, "strength": strength, "guidance": guided}
            values = [array.ravel().tolist() for array in (image, indices, mask)]
            found: Any = browser.execute_async_script(DRAW, *values, height, width, settings)
            assert not isinstance(found, str), found
            assert found.pop() is None  # nobody waited for that drawing any more
            answers.append((image, indices, mask, found))
        errors = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
        assert errors == []

    torch_drawn = []
    for (_, strength, guided, _), (image, indices, mask, (drawn, noise, choice, rows)) in zip(
        shapes, answers, strict=True
    ):
        draw = DrawConfig(strength=strength, guidance=guided)
        trained = Diffusion.load(place / "gen", draw)
        generator = Diffusion(trained.network.cpu(), trained.styles, trained.classes, draw, precision="fp32")
        tensors = (image_tensor(image[None]), label_tensor(indices[None]), torch.from_numpy(mask)[None, None])
        field = torch.tensor(noise, dtype=torch.float32).reshape(1, 1, rows, -1)
        with torch.inference_mode():
            wanted = image_array(generator.draw_tensors(*tensors, torch.tensor([choice]), field))[0]
        found = np.array(drawn, np.uint8).reshape(wanted.shape)
        # one grey level of rounding, and seldom
        assert np.abs(found.astype(int) - wanted).max() <= 1
        assert (found == wanted).mean() > 0.99
        assert wanted.std() > 3
        assert (wanted != image).mean() > 0.5
        torch_drawn.append(wanted)
    assert (torch_drawn[0] != torch_drawn[1]).mean() > 0.5
