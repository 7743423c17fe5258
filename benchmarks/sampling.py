"""Pairs per second and kernel distance of region sampling, beside diffusers' own loop over whole images.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py --generator outputs/diffusion --other outputs/distilled --n 128

Ours: `marsgen synthesize` in region mode, a few DPM-Solver++ steps inside a window round each pasted region, by a
generator with its default steps and by others (--other), such as those that were distilled from it. The peer:
diffusers' DDIMPipeline, 50 steps on the whole image, with the first generator's network, label maps, style and
guidance. All draw the same plans in chunks of 16, in turn, in one process; medians of CPU seconds over the chunks;
planning and writing are timed on their own. KID (times 1000) compares crops of 64 px round the rocks with those of all
training rocks, features by EfficientNet-Lite0.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
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


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what the work gave."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="folder of `marsgen train-generator --kind diffusion`")
    parser.add_argument("--other", action="append", default=[], metavar="DIR[:STEPS]", help="another one; repeatable")
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--peer-n", type=int, help="pairs of the peer; default: as many")
    parser.add_argument("--steps", type=int, default=50, help="of the peer")
    parser.add_argument("--our-steps", type=int, help="of --generator at full strength; default: its own")
    parser.add_argument("--strength", type=float, default=1.0, help="of ours; 1 draws the region from noise")
    options = parser.parse_args()
    trained = Run.load(Path(options.generator), "marsgen train-generator")
    dataset = open_dataset(trained.inputs["data"]["location"], DataConfig.model_validate(trained.config["data"]))
    scenes = dataset.scenes
    config = SynthesizeConfig(n=options.n)
    library = open_library(dataset, scenes.classes.rare, config.paste)

    def maker_of(where: str, steps: int | None) -> SceneMaker:
        draw = DrawConfig(strength=options.strength, sampling_steps=steps)
        return SceneMaker(config, dataset, library, load_generator(where, draw=draw))

    makers = {"ours": maker_of(options.generator, options.our_steps)}
    for other in options.other:
        where, _, steps = other.partition(":")
        makers[other] = maker_of(where, int(steps) if steps else None)
    maker = makers["ours"]
    drawer: Any = maker.generator
    scheduler = DDIMScheduler(prediction_type="epsilon", clip_sample=False, timestep_spacing="trailing")
    pipeline = DDIMPipeline(NoisePredictor(scenes.channels, scenes.shape), scheduler)
    pipeline.set_progress_bar_config(disable=True)

    seconds: dict[str, list[float]] = defaultdict(list)  # of each chunk
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    for one in makers.values():
        one.draw(one.plan(10_000_000))  # warm-up

    def draw_by_peer(drafts: Any) -> Any:
        indices, seeds = np.stack([draft.indices for draft in drafts]), [draft.plan.index for draft in drafts]
        drawn = draw_whole(drawer, pipeline, indices, seeds, options.steps)
        return [replace(draft, image=image) for draft, image in zip(drafts, drawn, strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        for kind in ("images", "labels"):
            (Path(folder) / kind).mkdir()
        for chunk in range(-(-options.n // CHUNK)):
            took, planned = seconds_of(lambda chunk=chunk: maker.plan(chunk))
            seconds["planning"].append(took)
            ways: dict[str, Callable[[Any], Any]] = {name: one.draw for name, one in makers.items()}
            if chunk * CHUNK < (options.n if options.peer_n is None else options.peer_n):
                ways["diffusers"] = draw_by_peer
            for name, way in ways.items():
                drafts = [replace(draft, image=draft.image.copy()) for draft in planned]
                took, drawn = seconds_of(lambda way=way, drafts=drafts: way(drafts))
                seconds[name].append(took)
                for draft in drawn:
                    box = crop_window(draft.plan.edited.boxes[0], draft.image.shape[:2], CROP_PX)
                    crops[name].append(draft.image[box.slices])
                if name == "ours":
                    took, _ = seconds_of(lambda drawn=drawn: [maker.write(Path(folder), draft) for draft in drawn])
                    seconds["writing"].append(took)
            print(f"{len(crops['ours'])} pairs", flush=True)

    for name in ("planning", "writing"):
        print(f"{name}: {1000 * statistics.median(seconds[name]) / CHUNK:.2f} CPU ms a pair")
    beside = sum(statistics.median(seconds[name]) for name in ("planning", "writing"))
    for name in crops:
        usual = statistics.median(seconds[name])
        ratio, peer = (
            statistics.median(a / b for a, b in zip(seconds[other], seconds[name], strict=False))
            for other in ("ours", "diffusers")
        )
        print(
            f"{name}: {CHUNK / usual:.2f} pairs/s drawn, {ratio:.2f} times ours, {peer:.1f} times the peer; with "
            f"planning and writing {CHUNK / (usual + beside):.2f}",
            flush=True,
        )
    features = open_features("imagenet", None)
    real = [
        region
        for name in scenes.classes.rare
        for region in find_real(scenes, dataset.split.train, name, library.settings[name].min_region_px, CROP_PX)
    ]
    real_features = features.features(np.stack([region.crop for region in real]))
    families = np.array([region.scene for region in real])
    for name, made in crops.items():
        found = np.concatenate([features.features(np.stack(made[i : i + 64])) for i in range(0, len(made), 64)])
        kid = compare_sets(real_features, found, families, np.arange(len(found)))["kid"]
        print(
            f"{name}: KID x 1000 of {len(made)} = {1000 * kid.value:.1f} "
            f"[{1000 * kid.low:.1f}, {1000 * kid.high:.1f}], real against real {1000 * kid.floor:.1f}"
        )


if __name__ == "__main__":
    main()
