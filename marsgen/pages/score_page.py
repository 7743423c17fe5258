"""The gallery of `marsgen score`: one file of html with its pictures inside, no script, nothing to fetch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from marsgen.core.files import plain
from marsgen.pages.inspect_page import Figure, _enlarged, _hex, _outline, _png, _stretched
from marsgen.quality.crops import RareRegion, crop_window
from marsgen.scenes.scene import Scene, SceneSource

if TYPE_CHECKING:
    from marsgen.commands.score import Sample, Scores


@dataclass(frozen=True)
class Section:
    """Samples in the order of one score."""

    title: str
    text: str
    figures: tuple[Figure, ...]


def draw_page(scores: "Scores", pictures: int) -> str:
    """The page as html, with at most `pictures` figures in each section."""
    from marsgen.commands.score import describe_fidelity, measure_rows

    summary, material = scores.summary, scores.material
    tables = [(f"Crops of {name}", found, measure_rows(found)) for name, found in summary["crops"].items()]
    tables.append(("Whole scenes", summary["scenes"], measure_rows(summary["scenes"])))
    templates = Environment(
        loader=PackageLoader("marsgen", "pages/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    classes = material.dataset.scenes.classes
    return templates.get_template("score.html.j2").render(
        location=material.synthetic.location,
        summary=summary,
        lines=describe_fidelity(plain(summary)),
        tables=tables,
        legend=[(name, _hex(classes.colours[classes.index(name)])) for name in material.class_names],
        sections=_sections(scores, pictures),
    )


def _sections(scores: "Scores", pictures: int) -> list[Section]:
    samples = scores.material.samples
    near, far = _ends(samples, lambda sample: sample.distance, pictures)
    like, unlike = _ends(samples, lambda sample: -sample.realism, pictures)
    matched = [_match_figure(scores, sample) for sample in near], [_match_figure(scores, sample) for sample in far]
    shown = [_sample_figure(scores, sample) for sample in like], [_sample_figure(scores, sample) for sample in unlike]
    beside = "Left: the sample and its outline. Right: the training region that it is nearest to."
    sections = [
        Section("Nearest to a training region", f"The likeliest copies first. {beside}", tuple(matched[0])),
        Section("Farthest from every training region", f"The newest first. {beside}", tuple(matched[1])),
        Section("Least real", "Crops that are farthest from every real one in features, worst first.", tuple(shown[1])),
        Section("Most real", "Crops that are nearest to a real one in features, best first.", tuple(shown[0])),
    ]
    best, worst = _ends(samples, lambda sample: -sample.mean_agreement, pictures)
    if best:
        low, high = ([_sample_figure(scores, sample) for sample in some] for some in (worst, best))
        sections += [
            Section("Least agreement", "The judge does not see what was asked for, worst first.", tuple(low)),
            Section("Most agreement", "The judge sees what was asked for, best first.", tuple(high)),
        ]
    return [section for section in sections if section.figures]


def _ends(
    samples: "list[Sample]", score: "Callable[[Sample], float]", count: int
) -> "tuple[list[Sample], list[Sample]]":
    """The samples with the lowest scores, lowest first, and those with the highest, highest first; NaN is left out."""
    known = sorted((sample for sample in samples if not np.isnan(score(sample))), key=lambda s: (score(s), s.index))
    return known[:count], known[::-1][:count]


def _sample_figure(scores: "Scores", sample: "Sample") -> Figure:
    scene = scores.material.synthetic[sample.index]
    return Figure(tuple(_scene_pictures(scores, scene)), sample.name, _words(sample))


def _match_figure(scores: "Scores", sample: "Sample") -> Figure:
    """The sample's outline, its region and the training region, the two enlarged alike."""
    assert sample.region is not None
    assert sample.nearest is not None
    material = scores.material
    scene = material.synthetic[sample.index]
    close = [
        _close_up(scores, material.synthetic, sample.region),
        _close_up(scores, material.dataset.scenes, sample.nearest),
    ]
    caption = f"{sample.name} | {material.dataset.scenes.names[sample.nearest.scene]}"
    return Figure((*_scene_pictures(scores, scene), *close), caption, _words(sample))


def _scene_pictures(scores: "Scores", scene: Scene) -> list[str]:
    """A scene, and the same with its rare classes outlined."""
    picture = _enlarged(_stretched(scene.image))
    return [_png(picture), _png(_outlined(scores, scene, picture))]


def _outlined(scores: "Scores", scene: Scene, picture: np.ndarray) -> np.ndarray:
    for name in scores.material.class_names:
        index = scene.classes.index(name)
        picture = _outline(picture, scene.indices == index, scene.classes.colours[index])
    return picture


def _close_up(scores: "Scores", source: SceneSource, region: RareRegion) -> str:
    """The surroundings of a region, a square at least as wide as its box and its outline."""
    scene = source[region.scene]
    side = max(16, round(1.3 * max(region.mask.shape)))
    window = crop_window(region.box, scene.labels.shape, side).slices
    picture = _enlarged(_stretched(scene.image[window]))
    index = scene.classes.index(region.class_name)
    return _png(_outline(picture, scene.indices[window] == index, scene.classes.colours[index]))


def _words(sample: "Sample") -> str:
    from marsgen.commands.score import number

    words = [f"distance {number(sample.distance)}{', a copy' if sample.copy else ''}"]
    words += [f"realism {number(sample.realism)}"]
    words += [f"agreement {name} {number(iou)}" for name, iou in sample.agreement.items()]
    return "; ".join(words)
