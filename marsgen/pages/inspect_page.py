"""The page of `marsgen inspect`: one file of html with its pictures inside, no script, nothing to fetch."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from scipy import ndimage

from marsgen.cleaning.lookalikes import LookalikePair
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import Scene

if TYPE_CHECKING:
    from marsgen.commands.inspect import Findings

_SHOWN_WIDTH = 256
_BACKDROP = (32, 32, 32)  # what ClassSet.paint gives to ignored pixels


@dataclass(frozen=True)
class Figure:
    """One or two pictures side by side and the words below."""

    pictures: tuple[str, ...]
    """png data URIs"""
    caption: str
    detail: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    label: str
    share: float
    """length, 0..1 of the longest"""
    text: str
    colour: str


def draw_page(findings: "Findings", lines: tuple[str, ...], pictures: int, seed: int) -> str:
    """The page as html.

    Args:
        lines: what the command prints.
        pictures: most figures in each section.
        seed: of the choice among more.
    """
    rng = np.random.default_rng(seed)
    dataset = findings.dataset
    rare = _rare_classes(findings)
    templates = Environment(
        loader=PackageLoader("marsgen", "pages/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("inspect.html.j2").render(
        location=dataset.scenes.location,
        lines=lines,
        legend=_legend(findings),
        pixel_bars=_class_bars(findings, "pixel_fraction"),
        scene_bars=_class_bars(findings, "scenes"),
        size_charts=[(dataset.scenes.classes.names[c], _size_bars(findings, c)) for c in rare],
        samples=[_pair_figure(dataset.scenes[i]) for i in _sample(findings.good, pictures, rng)],
        rare=[_rare_section(findings, c, pictures, rng) for c in rare],
        repeated=[
            (
                _png(_enlarged(dataset.scenes.classes.paint(dataset.scenes[found.scenes[0]].labels))),
                found,
                [_scene_figure(dataset.scenes[i]) for i in _sample(found.scenes, pictures, rng)],
            )
            for found in findings.repeated[:5]
        ],
        autoencoding=findings.autoencoding,
        worst=_worst_figures(findings, pictures),
        copies=_copy_figures(findings, findings.pairs, pictures),
        num_pairs=len(findings.pairs),
        others=findings.others and findings.others.location,
        overlap=_copy_figures(findings, findings.overlap, pictures, other=True),
        num_overlap=len(findings.overlap),
    )


# what is shown


def _rare_classes(findings: "Findings") -> list[int]:
    """The rare classes that the data set names, else the one with the fewest pixels of those that occur."""
    classes = findings.dataset.scenes.classes
    if classes.rare:
        return [classes.index(name) for name in classes.rare]
    present = [(count.pixels, index) for index, count in enumerate(findings.classes[:-1]) if count.pixels]
    return [min(present)[1]] if present else []


def _sample(indices: Iterable[int], count: int, rng: np.random.Generator) -> list[int]:
    indices = list(indices)
    chosen = rng.choice(len(indices), min(count, len(indices)), replace=False)
    return [indices[i] for i in sorted(chosen)]


def _pair_figure(scene: Scene) -> Figure:
    pictures = _enlarged(_stretched(scene.image)), _enlarged(scene.classes.paint(scene.labels))
    return Figure(tuple(_png(picture) for picture in pictures), scene.name)


def _scene_figure(scene: Scene, detail: str = "") -> Figure:
    return Figure((_png(_enlarged(_stretched(scene.image))),), scene.name, detail)


def _rare_section(findings: "Findings", class_index: int, count: int, rng: np.random.Generator) -> tuple:
    """Name of the class, scenes that show it, and pictures with its regions outlined."""
    dataset = findings.dataset
    showing = [scene for scene in findings.good if dataset.survey.shows[scene, class_index]]
    figures = []
    for index in _sample(showing, count, rng):
        scene = dataset.scenes[index]
        mask = scene.indices == class_index
        outlined = _outline(_enlarged(_stretched(scene.image)), mask, scene.classes.colours[class_index])
        regions = len(label_regions(mask)[1]) - 1
        detail = f"{int(mask.sum())} px in {regions} region{'s' * (regions != 1)}"
        figures.append(Figure((_png(_enlarged(_stretched(scene.image))), _png(outlined)), scene.name, detail))
    return dataset.scenes.classes.names[class_index], len(showing), figures


def _worst_figures(findings: "Findings", count: int) -> list[Figure]:
    """What the autoencoder drew worst, beside the scenes that are suspects anyway."""
    if findings.autoencoding is None:
        return []
    errors = findings.autoencoding.errors
    worst = [int(i) for i in np.argsort(-errors, kind="stable") if int(i) not in findings.dataset.suspects][:count]
    marks = ["unusual" if findings.autoencoding.unusual[i] else "usual" for i in worst]
    return [
        _scene_figure(findings.dataset.scenes[i], f"error {errors[i]:.4f}, {mark}")
        for i, mark in zip(worst, marks, strict=True)
    ]


def _copy_figures(findings: "Findings", pairs: list[LookalikePair], count: int, *, other: bool = False) -> list[Figure]:
    """The most similar pairs; with `other`, the second of each is in the data set compared with."""
    scenes = findings.dataset.scenes
    second_scenes = findings.others if other and findings.others is not None else scenes
    figures = []
    for pair in sorted(pairs, key=lambda pair: -pair.similarity)[:count]:
        first, second = scenes[pair.first], second_scenes[pair.second]
        kind = "exact copy" if pair.exact else f"similarity {pair.similarity:.2f}"
        parts = [findings.part_of(pair.first), *([] if other else [findings.part_of(pair.second)])]
        pictures = (_png(_enlarged(_stretched(scene.image))) for scene in (first, second))
        figures.append(Figure(tuple(pictures), f"{first.name} | {second.name}", f"{kind}; {' | '.join(parts)}"))
    return figures


# charts


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _colours(findings: "Findings") -> list[str]:
    return [_hex(colour) for colour in (*findings.dataset.scenes.classes.colours, _BACKDROP)]


def _legend(findings: "Findings") -> list[tuple[str, str]]:
    return [(count.name, colour) for count, colour in zip(findings.classes, _colours(findings), strict=True)]


def _class_bars(findings: "Findings", field: str) -> list[Bar]:
    values = [getattr(count, field) for count in findings.classes]
    longest = max(max(values), 1e-12)
    texts = [f"{value:.2%}" if field == "pixel_fraction" else f"{value}" for value in values]
    rows = zip(findings.classes, values, texts, _colours(findings), strict=True)
    return [Bar(count.name, value / longest, text, colour) for count, value, text, colour in rows]


def _size_bars(findings: "Findings", class_index: int) -> list[Bar]:
    """Regions by size: bins from one power of two to the next."""
    sizes = findings.regions[class_index]
    if not len(sizes):
        return []
    bins = np.bincount(np.log2(sizes).astype(int))
    colour = _colours(findings)[class_index]
    first = int(np.flatnonzero(bins)[0])
    return [
        Bar(f"{2**power} to {2 ** (power + 1) - 1} px" if power else "1 px", count / bins.max(), str(count), colour)
        for power, count in enumerate(bins)
        if power >= first
    ]


# pictures


def _stretched(image: np.ndarray) -> np.ndarray:
    """(H, W, channels) uint8 -> (H, W, 3) uint8 whose darkest and brightest hundredth are black and white."""
    low, high = np.percentile(image, [1, 99])
    stretched = np.clip((image - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    return np.broadcast_to(stretched, (*image.shape[:2], 3))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> about 256 pixels wide: repeated pixels where it is small, every n-th pixel where it is large."""
    up, down = max(1, round(_SHOWN_WIDTH / picture.shape[1])), max(1, round(picture.shape[1] / _SHOWN_WIDTH))
    return picture[::down, ::down].repeat(up, 0).repeat(up, 1)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw a line of two pixels around a (H, W) bool mask on the enlarged picture."""
    area = _enlarged(np.broadcast_to(mask[..., None], (*mask.shape, 3)))[..., 0]
    drawn = picture.copy()
    drawn[ndimage.binary_dilation(area, iterations=2) & ~area] = colour
    return drawn


def _png(picture: np.ndarray) -> str:
    grey = (picture == picture[..., :1]).all()  # one channel then, a third of the bytes
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
