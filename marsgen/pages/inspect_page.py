"""The page of `marsgen inspect`: one html file with its pictures inside, without scripts; nothing is fetched."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from marsgen.cleaning.findings import Findings
from marsgen.cleaning.near_duplicates import DuplicatePair
from marsgen.masks.infer_settings import infer_paste_settings, value_text
from marsgen.masks.profiles.profile import SEAM_EDGES_PX, ClassProfile
from marsgen.pages.html import (
    SampleFigure,
    brighten,
    fit_width,
    hex_colour,
    open_template,
    outline,
    png_address,
)
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import Scene

_SHOWN_WIDTH_PX = 256
_BACKDROP = (32, 32, 32)  # what ClassSet.paint gives to ignored pixels


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    label: str
    length: float
    """0..1 of the longest bar"""
    text: str
    colour: str


def draw_page(
    findings: Findings, profiles: Mapping[str, ClassProfile], lines: tuple[str, ...], pictures: int, seed: int
) -> str:
    """The page as html.

    Args:
        profiles: of the rare classes, by name.
        lines: what the command prints.
        pictures: most figures in each section.
        seed: of the choice among more.
    """
    rng = np.random.default_rng(seed)
    dataset = findings.dataset
    rare = findings.rare
    return open_template("inspect.html.j2").render(
        location=dataset.scenes.location,
        lines=lines,
        classes=_legend(findings),
        pixel_bars=_class_bars(findings, "pixel_fraction"),
        scene_bars=_class_bars(findings, "scenes"),
        size_charts=[(dataset.scenes.classes.names[c], _size_bars(findings, c)) for c in rare],
        profiles=[_profile_section(findings, profile) for profile in profiles.values() if profile.regions],
        random_scenes=[_pair_figure(dataset.scenes[i]) for i in _sample(findings.good, pictures, rng)],
        rare=[_rare_section(findings, c, pictures, rng) for c in rare],
        repeated=[
            (
                _label_map(dataset.scenes[found.scenes[0]]),
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


def _sample(indices: Iterable[int], count: int, rng: np.random.Generator) -> list[int]:
    indices = list(indices)
    chosen = rng.choice(len(indices), min(count, len(indices)), replace=False)
    return [indices[i] for i in sorted(chosen)]


def _pair_figure(scene: Scene) -> SampleFigure:
    return SampleFigure((png_address(_picture(scene)), _label_map(scene)), scene.name)


def _scene_figure(scene: Scene, detail: str = "") -> SampleFigure:
    return SampleFigure((png_address(_picture(scene)),), scene.name, detail)


def _rare_section(findings: Findings, class_index: int, count: int, rng: np.random.Generator) -> tuple:
    """Name of the class, scenes that show it, and pictures with its regions outlined."""
    dataset = findings.dataset
    showing = [scene for scene in findings.good if dataset.survey.shows[scene, class_index]]
    figures = []
    for index in _sample(showing, count, rng):
        scene = dataset.scenes[index]
        mask = scene.indices == class_index
        picture = _picture(scene)
        outlined = outline(picture, fit_width(mask, _SHOWN_WIDTH_PX), scene.classes.colours[class_index])
        regions = len(label_regions(mask)[1]) - 1
        detail = f"{int(mask.sum())} px in {regions} region{'s' * (regions != 1)}"
        figures.append(SampleFigure((png_address(picture), png_address(outlined)), scene.name, detail))
    return dataset.scenes.classes.names[class_index], len(showing), figures


def _worst_figures(findings: Findings, count: int) -> list[SampleFigure]:
    """Scenes with the largest reconstruction errors that are not suspects."""
    if findings.autoencoding is None:
        return []
    errors = findings.autoencoding.errors
    worst = [int(i) for i in np.argsort(-errors, kind="stable") if int(i) not in findings.dataset.suspects][:count]
    marks = ["unusual" if findings.autoencoding.unusual[i] else "usual" for i in worst]
    return [
        _scene_figure(findings.dataset.scenes[i], f"error {errors[i]:.4f}, {mark}")
        for i, mark in zip(worst, marks, strict=True)
    ]


def _copy_figures(
    findings: Findings, pairs: list[DuplicatePair], count: int, *, other: bool = False
) -> list[SampleFigure]:
    """The most similar pairs; with `other`, the second of each is in the data set compared with."""
    scenes = findings.dataset.scenes
    second_scenes = findings.others if other and findings.others is not None else scenes
    figures = []
    for pair in sorted(pairs, key=lambda pair: -pair.similarity)[:count]:
        first, second = scenes[pair.first], second_scenes[pair.second]
        kind = "exact copy" if pair.exact else f"similarity {pair.similarity:.2f}"
        parts = [findings.part_of(pair.first), *([] if other else [findings.part_of(pair.second)])]
        pictures = (png_address(_picture(scene)) for scene in (first, second))
        figures.append(SampleFigure(tuple(pictures), f"{first.name} | {second.name}", f"{kind}; {' | '.join(parts)}"))
    return figures


# charts


def _colours(findings: Findings) -> list[str]:
    return [hex_colour(colour) for colour in (*findings.dataset.scenes.classes.colours, _BACKDROP)]


def _legend(findings: Findings) -> list[tuple[str, str]]:
    return [(count.name, colour) for count, colour in zip(findings.classes, _colours(findings), strict=True)]


def _class_bars(findings: Findings, field: str) -> list[Bar]:
    values = [getattr(count, field) for count in findings.classes]
    longest = max(max(values), 1e-12)
    texts = [f"{value:.2%}" if field == "pixel_fraction" else f"{value}" for value in values]
    rows = zip(findings.classes, values, texts, _colours(findings), strict=True)
    return [Bar(count.name, value / longest, text, colour) for count, value, text, colour in rows]


def _profile_section(findings: Findings, profile: ClassProfile) -> dict[str, Any]:
    """Charts and the map of one class, for the template."""
    classes = findings.dataset.scenes.classes
    colour = hex_colour(classes.colours[classes.index(profile.name)])
    edges = [0, *(round(edge) for edge in profile.size.edges_px)]
    sizes = [f"{low} to {high - 1} px" for low, high in pairwise(edges)] + [f"{edges[-1]} px and more"]
    seams = [f"{low} to {high} px" for low, high in zip((0, *SEAM_EDGES_PX), SEAM_EDGES_PX, strict=False)]
    below = sorted(profile.place.below.items(), key=lambda item: -item[1])
    charts = [
        ("Share of the regions by size", _share_bars(sizes, profile.size.region_shares, colour)),
        ("Share of the pixels by size of region", _share_bars(sizes, profile.size.pixel_shares, colour)),
        ("Unlabelled pixels by distance", _share_bars(seams, profile.seam.shares, hex_colour(_BACKDROP))),
        (
            "What lies below",
            [
                Bar(name, share, f"{share:.0%}", hex_colour(classes.colours[classes.index(name)]))
                for name, share in below
            ],
        ),
    ]
    return {
        "name": profile.name,
        "text": profile.describe(),
        "map": png_address(_density_picture(np.array(profile.place.grid))),
        "charts": charts,
        "settings": [(key, value_text(value), why) for key, (value, why) in infer_paste_settings(profile).items()],
    }


def _share_bars(labels: Sequence[str], shares: Sequence[float], colour: str) -> list[Bar]:
    pairs = zip(labels, shares, strict=True)
    return [Bar(label, share, f"{share:.0%}", colour) for label, share in pairs if not math.isnan(share)]


def _density_picture(grid: np.ndarray) -> np.ndarray:
    """(8, 8) shares -> (128, 256, 3) uint8: white where most of the class is, black where nothing."""
    grey = np.rint(255 * grid / max(float(grid.max()), 1e-12)).astype(np.uint8)
    return np.broadcast_to(grey.repeat(16, 0).repeat(32, 1)[..., None], (128, 256, 3))


def _size_bars(findings: Findings, class_index: int) -> list[Bar]:
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


def _picture(scene: Scene) -> np.ndarray:
    return fit_width(brighten(scene.classes.show(scene.image)), _SHOWN_WIDTH_PX)


def _label_map(scene: Scene) -> str:
    return png_address(fit_width(scene.classes.paint(scene.labels), _SHOWN_WIDTH_PX))
