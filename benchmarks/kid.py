"""Kernel distances of what several generators draw from the same plans, beside the first one's pictures.

    python benchmarks/kid.py outputs/diffusion outputs/distilled outputs/diffusion:1 --reference mars_dev_test.npz

For each generator (DIR or DIR:STEPS) and seed, at full strength: crops of 64 px round pasted rocks, against the rocks
of the training scenes and of --reference; and whole validation scenes drawn from their label maps alone, against 800
training scenes and against the validation scenes themselves. Features by EfficientNet-Lite0. Values of all seeds
together with intervals, and of each; how far the pictures are from the first generator's, which has the same noise, and
their grain (mean step between neighbours), both in grey levels. --picture writes some of them side by side.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core.config import DataConfig
from marsgen.core.runs import Run
from marsgen.generators import DrawConfig, DrawRequest, load_generator
from marsgen.masks.library import open_library
from marsgen.quality.crops import crop_window, find_real
from marsgen.quality.distances import compare_sets
from marsgen.quality.features import open_features
from marsgen.scenes.sources import open_scenes
from marsgen.synthesis.config import CHUNK, SynthesizeConfig
from marsgen.synthesis.scene_maker import SceneMaker

CROP_PX, MIN_PX, SCENES = 64, 64, 800
Pictures = list[np.ndarray]


def draw_crops(dataset: Dataset, library: Any, generator: Any, seed: int, n: int) -> Pictures:
    """n crops round regions that were pasted and drawn."""
    maker = SceneMaker(SynthesizeConfig(seed=seed), dataset, library, generator)
    drafts = [draft for chunk in range(-(-n // CHUNK)) for draft in maker.draw(maker.plan(chunk))]
    boxes = [crop_window(draft.plan.edited.boxes[0], draft.image.shape[:2], CROP_PX) for draft in drafts]
    return [draft.image[box.slices] for draft, box in zip(drafts, boxes, strict=True)][:n]


def draw_scenes(dataset: Dataset, generator: Any, seed: int, n: int) -> Pictures:
    """n validation scenes, drawn whole."""
    order = np.random.default_rng(seed).permutation(len(dataset.split.val))[:n]
    drawn: Pictures = []
    for start in range(0, len(order), CHUNK):
        scenes = [dataset.scenes[dataset.split.val[int(i)]] for i in order[start : start + CHUNK]]
        indices = np.stack([scene.indices for scene in scenes])
        seeds = np.arange(start, start + len(scenes), dtype=np.uint64) + np.uint64(1000 * seed)
        images, everywhere = np.stack([scene.image for scene in scenes]), np.ones(indices.shape, np.float32)
        drawn += list(generator.draw(DrawRequest(images, indices, everywhere, seeds)))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+", metavar="DIR[:STEPS]")
    parser.add_argument("--reference", required=True, help="other labelled scenes")
    parser.add_argument("--n", type=int, default=48, help="pictures of a kind and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture", type=Path, metavar="PNG")
    options = parser.parse_args()
    trained = Run.load(Path(options.generators[0].partition(":")[0]), "marsgen train-generator")
    dataset = open_dataset(trained.inputs["data"]["location"], DataConfig.model_validate(trained.config["data"]))
    scenes = dataset.scenes
    library = open_library(dataset, scenes.classes.rare, SynthesizeConfig().paste)
    network = open_features("imagenet", None)

    def features(pictures: Pictures) -> np.ndarray:
        return np.concatenate([network.features(np.stack(pictures[i : i + 64])) for i in range(0, len(pictures), 64)])

    other, train, val = open_scenes(options.reference), dataset.split.train, list(dataset.split.val)
    some = [train[int(i)] for i in np.linspace(0, len(train) - 1, min(SCENES, len(train)))]
    real: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, source, where in (("training", scenes, train), ("reference", other, range(len(other)))):
        rocks = [rock for name in scenes.classes.rare for rock in find_real(source, where, name, MIN_PX, CROP_PX)]
        real[f"crops, {kind}"] = features([rock.crop for rock in rocks]), np.array([rock.scene for rock in rocks])
    for kind, chosen in (("training", some), ("validation", val)):
        real[f"scenes, {kind}"] = features([scenes[i].image for i in chosen]), np.array(chosen)

    first: dict[str, np.ndarray] = {}
    rows = []
    for where in options.generators:
        folder, _, steps = where.partition(":")
        draw = DrawConfig(strength=1.0, sampling_steps=int(steps) if steps else None)
        generator = load_generator(folder, scenes.classes, scenes.channels, draw)
        made = {
            "crops": [draw_crops(dataset, library, generator, seed, options.n) for seed in range(options.seeds)],
            "scenes": [draw_scenes(dataset, generator, seed, options.n) for seed in range(options.seeds)],
        }
        print(f"{where}: {options.seeds} x {options.n}")
        for kind, drawn in made.items():
            found, together = [features(part) for part in drawn], np.concatenate(drawn).astype(float)
            for name in (name for name in real if name.startswith(kind)):
                pictures, groups = real[name]

                def kid(part: np.ndarray, resamples: int, real: Any = (pictures, groups)) -> Any:
                    more = {"resamples": resamples, "splits": 2}
                    return compare_sets(real[0], part, real[1], np.arange(len(part)), **more)["kid"]

                whole = kid(np.concatenate(found), 200)
                each = ", ".join(f"{kid(part, 2).value:.3f}" for part in found)
                print(f"  {name}: KID {whole.value:.3f} [{whole.low:.3f}, {whole.high:.3f}]; of each seed {each}")
            apart = np.abs(together - first.setdefault(kind, together)).mean()
            grain = np.abs(np.diff(together, axis=2)).mean()
            print(f"  {kind}: {apart:.2f} grey levels from the first, grain {grain:.2f}", flush=True)
            shown = [scenes.classes.show(image) for image in drawn[0][:8]]
            rows.append(np.concatenate([np.broadcast_to(image, (*image.shape[:2], 3)) for image in shown], axis=1))
    if options.picture:
        width = max(row.shape[1] for row in rows)
        sheet = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
        gain = 235 / np.percentile(sheet[sheet > 0], 99.5)
        Image.fromarray((sheet * gain).clip(0, 255).astype(np.uint8)).save(options.picture)


if __name__ == "__main__":
    main()
