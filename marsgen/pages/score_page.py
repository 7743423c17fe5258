"""The page of `marsgen score`: one html file with its pictures inside, without scripts; nothing is fetched."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marsgen.core.storage.files import plain
from marsgen.pages.html import (
    SampleFigure,
    brighten,
    fit_width,
    hex_colour,
    open_template,
    outline,
    png_address,
)
from marsgen.quality.crops import RareRegion, crop_window
from marsgen.quality.score import Scores
from marsgen.quality.score_text import describe_fidelity, measure_rows, number
from marsgen.quality.scored_set import Sample
from marsgen.scenes.scene import Scene, SceneSource

_SHOWN_WIDTH_PX = 256


@dataclass(frozen=True)
class Section:
    """Samples in the order of one score."""

    title: str
    text: str
    figures: tuple[SampleFigure, ...]


def draw_page(scores: Scores, pictures: int) -> str:
    """The page as html, with at most `pictures` figures in each section."""
    summary, scored = scores.summary, scores.scored
    tables = [(f"Crops of {name}", found, measure_rows(found)) for name, found in summary["crops"].items()]
    tables.append(("Whole scenes", summary["scenes"], measure_rows(summary["scenes"])))
    classes = scored.dataset.scenes.classes
    return open_template("score.html.j2").render(
        location=scored.synthetic.location,
        summary=summary,
        lines=describe_fidelity(plain(summary)),
        tables=tables,
        classes=[(name, hex_colour(classes.colours[classes.index(name)])) for name in scored.class_names],
        sections=_sections(scores, pictures),
    )


def _sections(scores: Scores, pictures: int) -> list[Section]:
    samples = scores.scored.samples
    near, far = _ends(samples, lambda sample: sample.distance, pictures)
    like, unlike = _ends(samples, lambda sample: -sample.realism, pictures)
    matched = [_match_figure(scores, sample) for sample in near], [_match_figure(scores, sample) for sample in far]
    shown = [_sample_figure(scores, sample) for sample in like], [_sample_figure(scores, sample) for sample in unlike]
    layout = "Top: the sample, and its outline. Bottom: the region, and the training region that it is nearest to."
    sections = [
        Section(
            "Nearest to a training region",
            f"Smallest distance first: the most likely copies. {layout}",
            tuple(matched[0]),
        ),
        Section("Farthest from every training region", f"Largest distance first. {layout}", tuple(matched[1])),
        Section(
            "Lowest realism",
            "Samples whose crops are farthest from all real crops in features, lowest first.",
            tuple(shown[1]),
        ),
        Section(
            "Highest realism",
            "Samples whose crops are nearest to a real crop in features, highest first.",
            tuple(shown[0]),
        ),
    ]
    best, worst = _ends(samples, lambda sample: -sample.mean_agreement, pictures)
    if best:
        low, high = ([_sample_figure(scores, sample) for sample in some] for some in (worst, best))
        sections += [
            Section(
                "Lowest agreement", "The judge's prediction differs most from the label map, lowest first.", tuple(low)
            ),
            Section(
                "Highest agreement",
                "The judge's prediction agrees best with the label map, highest first.",
                tuple(high),
            ),
        ]
    return [section for section in sections if section.figures]


def _ends(samples: list[Sample], score: Callable[[Sample], float], count: int) -> tuple[list[Sample], list[Sample]]:
    """The samples with the lowest scores, lowest first, and those with the highest, highest first; NaN is left out."""
    known = sorted((sample for sample in samples if not np.isnan(score(sample))), key=lambda s: (score(s), s.index))
    return known[:count], known[::-1][:count]


def _sample_figure(scores: Scores, sample: Sample) -> SampleFigure:
    scene = scores.scored.synthetic[sample.index]
    return SampleFigure(tuple(_scene_pictures(scores, scene)), sample.name, _words(sample))


def _match_figure(scores: Scores, sample: Sample) -> SampleFigure:
    """The sample's outline, its region and the training region, both regions as close-ups."""
    assert sample.region is not None
    assert sample.nearest is not None
    scored = scores.scored
    scene = scored.synthetic[sample.index]
    close = [
        _close_up(scores, scored.synthetic, sample.region),
        _close_up(scores, scored.dataset.scenes, sample.nearest),
    ]
    caption = f"{sample.name} | {scored.dataset.scenes.names[sample.nearest.scene]}"
    return SampleFigure((*_scene_pictures(scores, scene), *close), caption, _words(sample))


def _scene_pictures(scores: Scores, scene: Scene) -> list[str]:
    """A scene, and the same with its rare classes outlined."""
    picture = fit_width(brighten(scene.classes.show(scene.image)), _SHOWN_WIDTH_PX)
    return [png_address(picture), png_address(_outlined(scores, scene, picture))]


def _outlined(scores: Scores, scene: Scene, picture: np.ndarray) -> np.ndarray:
    for name in scores.scored.class_names:
        index = scene.classes.index(name)
        mask = fit_width(scene.indices == index, _SHOWN_WIDTH_PX)
        picture = outline(picture, mask, scene.classes.colours[index])
    return picture


def _close_up(scores: Scores, source: SceneSource, region: RareRegion) -> str:
    """The surroundings of a region, a square at least as wide as its box and its outline."""
    scene = source[region.scene]
    side = max(16, round(1.3 * max(region.mask.shape)))
    window = crop_window(region.box, scene.labels.shape, side).slices
    picture = fit_width(brighten(scene.classes.show(scene.image[window])), _SHOWN_WIDTH_PX)
    index = scene.classes.index(region.class_name)
    mask = fit_width(scene.indices[window] == index, _SHOWN_WIDTH_PX)
    return png_address(outline(picture, mask, scene.classes.colours[index]))


def _words(sample: Sample) -> str:
    words = [f"distance {number(sample.distance)}{', a copy' if sample.copy else ''}"]
    words += [f"realism {number(sample.realism)}"]
    words += [f"agreement {name} {number(iou)}" for name, iou in sample.agreement.items()]
    return "; ".join(words)
