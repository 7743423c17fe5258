"""`marsgen preview`: sheets of pictures drawn by a trained generator, and how much they change with the noise."""

import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from marsgen.cleaning.dataset import Dataset, clean_scenes
from marsgen.commands.config import PreviewConfig
from marsgen.core.errors import DataError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_bytes
from marsgen.generators import DEFAULT_SAMPLING, DrawConfig, load_generator
from marsgen.synthesis.config import SynthesizeConfig, class_names
from marsgen.synthesis.inputs import find_sources

if TYPE_CHECKING:
    import torch

CELL_PX = 64
"""side of the part of a scene that is shown around a pasted region"""
ZOOM = 2
GAP_PX = 3
LABEL_MAP = "label map"
BLOCK_PX = 4
"""pictures are compared by the means of blocks of this side, so that grain does not count"""


def preview_generator(where: str, config: PreviewConfig, out: Path, *, replace: bool = False) -> Run:
    """Open a generator and the data that it was trained on, then `preview`.

    Args:
        where: folder of a `marsgen train-generator` run.
        out: folder to write into.
        replace: see `Run.start`.
    Returns:
        the finished run.
    Raises:
        RunError, DataError: no such generator, or its data are no longer there.
    """
    sources = find_sources(SynthesizeConfig(data=config.data), where, None)
    dataset = clean_scenes(sources.scenes, sources.split)
    generator = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    inputs = {
        "data": dataset.scenes.identity(),
        "generator": {"name": generator.name, "fingerprint": generator.fingerprint},
    }
    with closing(Run.start(out, "marsgen preview", config, inputs, replace=replace)) as run:
        if not run.finished:
            preview(config, run, dataset, where)
    return run


def preview(config: PreviewConfig, run: Run, dataset: Dataset, where: str) -> dict[str, Any]:
    """Write strength.png, guidance.png (diffusion) and scenes.png, and finish the run.

    Args:
        dataset: split as the generator was trained.
        where: see `load_generator`.
    Returns:
        the summary: mean distance between drawings of one label map, and between as many real scenes.
    Raises:
        DataError: no validation scene, or nothing to paste.
    """
    # here: torch and scipy take seconds to import
    from marsgen.masks.library import open_library
    from marsgen.synthesis.scene_maker import SceneMaker

    if not dataset.split.val:
        raise DataError(f"{dataset.scenes.location}: no validation scene to draw into; raise data.val_fraction")
    plain = SynthesizeConfig(seed=config.seed)
    names = class_names(plain, dataset.scenes.classes)
    library = open_library(dataset, names, plain.paste)
    # parents that the generator has never seen
    unseen = replace(dataset, split=replace(dataset.split, train=dataset.split.val, val=()))

    def pictures(draw: DrawConfig = DEFAULT_SAMPLING, mode: str = "region", attempt: int = 0) -> list[Any]:
        generator = load_generator(where, dataset.scenes.classes, dataset.scenes.channels, draw)
        maker = SceneMaker(plain.model_copy(update={"mode": mode}), unseen, library, generator)
        drafts = [maker.draft(index) for index in range(config.rows)]
        for draft in drafts:
            draft.attempt = attempt  # of the noise alone: the plan is made
        return list(maker.draw(drafts))

    drafts = pictures(DrawConfig(strength=0.0))
    boxes = [_cell(draft.plan.edited.boxes[0], draft.indices.shape) for draft in drafts]
    real, show = [dataset.scenes[d.plan.parent_index].image for d in drafts], dataset.scenes.classes.show

    def shown(drafts: Sequence[Any]) -> list[np.ndarray]:
        return [show(draft.image) for draft in drafts]

    given = [
        ("real", [show(image) for image in real]),
        (LABEL_MAP, [dataset.scenes.classes.paint(d.plan.edited.labels) for d in drafts]),
    ]
    columns = [(f"strength {s:g}", shown(pictures(DrawConfig(strength=s)))) for s in config.strengths]
    write_sheet(run.folder / "strength.png", [*given, *columns], boxes)
    usual = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    if usual.drawing.get("guidance", 1) != 1:
        columns = [(f"guidance {g:g}", shown(pictures(DrawConfig(guidance=g)))) for g in config.guidances]
        write_sheet(run.folder / "guidance.png", [*given, *columns], boxes)
    variants = [_images(pictures(DrawConfig(strength=1.0), "scene", attempt)) for attempt in range(config.variants)]
    columns = [(f"noise {number}", [show(image) for image in images]) for number, images in enumerate(variants)]
    write_sheet(run.folder / "scenes.png", [*given, *columns])

    summary = {"generator": usual.name, "distance": _distances(variants, real)}
    run.finish(summary)
    return summary


def write_sheet(
    path: Path,
    columns: Sequence[tuple[str, Sequence[np.ndarray]]],
    boxes: Sequence[tuple[slice, slice]] | None = None,
) -> None:
    """Write a sheet of pictures: a titled column for each setting, a row for each scene with one brightness.

    Args:
        columns: title and (H, W, 1 or 3) uint8 pictures of each column.
        boxes: rows and columns of each scene to show; None = all of it.
    """
    strips = []
    # Martian tiles use a tenth of the grey range; the last column sets the brightness: it shows drawn pictures
    gains = [235 / max(np.percentile(picture, 99.5), 30) for picture in columns[-1][1]]
    for title, pictures in columns:
        shown = list(pictures) if boxes is None else [p[box] for p, box in zip(pictures, boxes, strict=True)]
        if title != LABEL_MAP:
            shown = [(cell * gain).clip(0, 255).astype(np.uint8) for cell, gain in zip(shown, gains, strict=True)]
        cells = [_framed(np.broadcast_to(cell, (*cell.shape[:2], 3))) for cell in shown]
        width = max(cell.shape[1] for cell in cells)
        cells = [_padded(cell, cell.shape[0], width) for cell in cells]
        strips.append(np.concatenate([_headline(title, width), *cells]))
    height = max(strip.shape[0] for strip in strips)
    sheet = np.concatenate([_padded(strip, height, strip.shape[1]) for strip in strips], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def mean_distance(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """How different the two pictures of a pair are: root mean square difference of block means of normalised pictures.

    Args:
        pairs: (H, W, channels) uint8 pictures of one shape.
    Returns:
        mean over the pairs; 0 = equal, about 1.4 = as different as two independent noise pictures.
    """
    return float(np.mean([(_blocks(a) - _blocks(b)).square().mean().sqrt().item() for a, b in pairs]))


def _distances(variants: Sequence[Sequence[np.ndarray]], real: Sequence[np.ndarray]) -> dict[str, float]:
    """Between drawings of one label map; between pictures of different real scenes of one size."""
    one_map = [pair for row in zip(*variants, strict=True) for pair in combinations(row, 2)]
    scenes = [(a, b) for a, b in combinations(real, 2) if a.shape == b.shape and not np.array_equal(a, b)]
    found = {"same label map": round(mean_distance(one_map), 3)}
    return found | ({"real scenes": round(mean_distance(scenes), 3)} if scenes else {})


def _blocks(image: np.ndarray) -> "torch.Tensor":
    import torch
    import torch.nn.functional as F

    from marsgen.generators.style import measure_style, normalise
    from marsgen.scenes.tensors import image_tensor

    picture = image_tensor(image[None])
    return F.avg_pool2d(normalise(picture, measure_style(picture, torch.ones_like(picture[:, :1]))), BLOCK_PX)


def _images(drafts: Sequence[Any]) -> list[np.ndarray]:
    return [draft.image for draft in drafts]


def _cell(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The square of CELL_PX round a box (top, left, bottom, right), moved into the picture; larger for a larger box."""
    sides = []
    for first, last, whole in ((box[0], box[2], shape[0]), (box[1], box[3], shape[1])):
        size = min(whole, max(CELL_PX, last - first))
        start = min(max((first + last - size) // 2, 0), whole - size)
        sides.append(slice(start, start + size))
    return sides[0], sides[1]


def _framed(cell: np.ndarray) -> np.ndarray:
    zoomed = cell.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    return np.pad(zoomed, ((GAP_PX, GAP_PX), (GAP_PX, GAP_PX), (0, 0)), constant_values=255)


def _padded(cell: np.ndarray, height: int, width: int) -> np.ndarray:
    margin = ((0, height - cell.shape[0]), (0, width - cell.shape[1]), (0, 0))
    return np.pad(cell, margin, constant_values=255)


def _headline(title: str, width: int) -> np.ndarray:
    line = Image.new("RGB", (width, 18), "white")
    ImageDraw.Draw(line).text((GAP_PX, 3), title, fill="black")
    return np.asarray(line)
