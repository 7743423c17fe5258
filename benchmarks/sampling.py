"""Pairs per second and kernel distance of region sampling, beside diffusers' own loop over whole images.

    python benchmarks/sampling.py --generator outputs/diffusion --n 128

Ours: `marsgen synthesize` in region mode, a few DPM-Solver++ steps inside a window round each pasted region. The peer:
diffusers' DDIMPipeline, 50 steps on the whole image, with the same network, label maps, style and guidance. Both draw
the same plans in chunks of 16, in turn, in one process; planning and writing are not counted. KID (times 1000) compares
crops of 64 px round the rocks with those of all training rocks, features by EfficientNet-Lite0.
"""

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.runs import Run
from marsgen.generators import DrawConfig, load_generator
from marsgen.generators.diffusion.diffusion import draw_noise
from marsgen.generators.style import FARTHEST, denormalise
from marsgen.masks.library import open_library
from marsgen.quality.crops import crop_window, find_real
from marsgen.quality.distances import compare_sets
from marsgen.quality.features import open_features
from marsgen.scenes.tensors import image_array, label_tensor, one_hot
from marsgen.synthesis.config import CHUNK, SynthesizeConfig
from marsgen.synthesis.scene_maker import SceneMaker

CROP_PX = 64


class NoisePredictor(ModelMixin, ConfigMixin):
    """Our network as diffusers' pipeline wants one: variance-preserving noise in, noise out."""

    @register_to_config
    def __init__(self, in_channels: int = 1, sample_size: tuple[int, int] = (64, 128)) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor) -> SimpleNamespace:
        """Pictures are divided by FARTHEST here, since the pipeline cuts what lies beyond [-1, 1]."""
        share = self.given["scheduler"].alphas_cumprod[timestep]
        # a picture/FARTHEST + s noise = (s / t) ((1 - t) picture + t noise)
        ratio = FARTHEST * ((1 - share) / share).sqrt()
        t = ratio / (1 + ratio)
        x = noisy * t / (1 - share).sqrt()
        drawer = self.given["drawer"]
        with torch.autocast(drawer.device.type, drawer.dtype, enabled=drawer.dtype != torch.float32):
            velocity = drawer.velocity(x, t, self.given["condition"])
        return SimpleNamespace(sample=x + (1 - t) * velocity)


def draw_whole(drawer: Any, pipeline: DDIMPipeline, indices: np.ndarray, seeds: list[int], steps: int) -> np.ndarray:
    """(B, H, W) class indices -> (B, H, W, channels) uint8 by diffusers' loop."""
    labels = label_tensor(indices)
    choice, _ = draw_noise(seeds, (1, 8, 8))
    style = drawer.styles.choose(one_hot(labels, len(drawer.classes)).mean(dim=(2, 3)), choice)
    hidden = torch.zeros(len(labels), drawer.channels, *labels.shape[1:])
    inpainting_mask = torch.ones_like(hidden[:, :1])
    with torch.inference_mode():
        with torch.autocast(drawer.device.type, drawer.dtype, enabled=drawer.dtype != torch.float32):
            condition = drawer.condition(labels, hidden, inpainting_mask, style)
        pipeline.unet.given = {"drawer": drawer, "condition": condition, "scheduler": pipeline.scheduler}
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        found = pipeline(len(labels), streams, num_inference_steps=steps, output_type="pt").images
    return image_array(denormalise((found * 2 - 1) * FARTHEST, style).clamp(-1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="folder of `marsgen train-generator --kind diffusion`")
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50, help="of the peer")
    parser.add_argument("--our-steps", type=int, default=5, help="of ours at full strength")
    parser.add_argument("--strength", type=float, default=1.0, help="of ours; 1 draws the region from noise")
    options = parser.parse_args()
    trained = Run.load(Path(options.generator), "marsgen train-generator")
    dataset = open_dataset(trained.inputs["data"]["location"], DataConfig.model_validate(trained.config["data"]))
    scenes = dataset.scenes
    draw = DrawConfig(strength=options.strength, sampling_steps=options.our_steps)
    drawer: Any = load_generator(options.generator, draw=draw)
    config = SynthesizeConfig(n=options.n)
    library = open_library(dataset, scenes.classes.rare, config.paste)
    maker = SceneMaker(config, dataset, library, drawer)
    scheduler = DDIMScheduler(prediction_type="epsilon", clip_sample=False, timestep_spacing="trailing")
    pipeline = DDIMPipeline(NoisePredictor(scenes.channels, scenes.shape), scheduler)
    pipeline.set_progress_bar_config(disable=True)

    seconds, crops = {"ours": 0.0, "diffusers": 0.0}, {"ours": [], "diffusers": []}
    maker.draw(maker.plan(10_000_000))  # warm-up
    for chunk in range(-(-options.n // CHUNK)):
        drafts = maker.plan(chunk)
        indices = np.stack([draft.indices for draft in drafts])
        start = time.perf_counter()
        whole = draw_whole(drawer, pipeline, indices, [draft.plan.index for draft in drafts], options.steps)
        between = time.perf_counter()
        drawn = np.stack([draft.image for draft in maker.draw(drafts)])
        seconds["diffusers"] += between - start
        seconds["ours"] += time.perf_counter() - between
        for name, pictures in (("ours", drawn), ("diffusers", whole)):
            for draft, picture in zip(drafts, pictures, strict=True):
                box = crop_window(draft.plan.edited.boxes[0], picture.shape[:2], CROP_PX)
                crops[name].append(picture[box.slices])
        print(f"{len(crops['ours'])} pairs", flush=True)

    features = open_features("imagenet", None)
    real = [
        region
        for name in scenes.classes.rare
        for region in find_real(scenes, dataset.split.train, name, config.paste.min_region_px, CROP_PX)
    ]
    real_features = features.features(np.stack([region.crop for region in real]))
    families = np.array([region.scene for region in real])
    for name, made in crops.items():
        found = np.concatenate([features.features(np.stack(made[i : i + 64])) for i in range(0, len(made), 64)])
        kid = compare_sets(real_features, found, families, np.arange(len(found)))["kid"]
        print(
            f"{name}: {len(made) / seconds[name]:.2f} pairs/s, KID x 1000 = {1000 * kid.value:.1f} "
            f"[{1000 * kid.low:.1f}, {1000 * kid.high:.1f}], real against real {1000 * kid.floor:.1f}"
        )
    print(f"ours / diffusers: {seconds['diffusers'] / seconds['ours']:.1f} times the pairs/s")


if __name__ == "__main__":
    main()
