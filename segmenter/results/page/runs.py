"""What the page shows of run folders: training curves, confusion, synthetic scenes, settings, and the gallery."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from PIL import Image

from marsgen.core.errors import InputError
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.provenance import read_split_keys
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import Scene, SceneSource, scene_key
from segmenter.results.arms import Arm, extras_of
from segmenter.results.counts import StudyCounts
from segmenter.results.page.figures import Curve, draw_confusion, draw_curves
from segmenter.results.page.gallery import Gallery, OpenPredictor, Row, make_gallery, picture_address

_MOST_ARMS_IN_GALLERY = 4
_THUMBNAIL = (32, 16)
"""width and height in pixels"""

OpenScenes = Callable[..., SceneSource]
"""`open_scenes`, or what stands in for it"""


@dataclass(frozen=True)
class Samples:
    """Synthetic scenes of one extra folder beside the nearest real ones."""

    location: str
    rows: tuple[Row, ...]
    lacks: str = ""
    """why there are no rows, in a sentence"""


@dataclass(frozen=True)
class RunText:
    """One run folder, with its summary and its settings as yaml."""

    folder: str
    summary: str
    config: str


@dataclass(frozen=True)
class RunSections:
    """What the page shows of run folders."""

    curves: str
    """svg"""
    confusions: tuple[str, ...]
    """svg of each arm, its seeds together"""
    samples: tuple[Samples, ...]
    runs: tuple[tuple[str, tuple[RunText, ...]], ...]
    """label and runs of each arm"""


def sections_of_arms(arms: Sequence[Arm], study: StudyCounts, samples: int, scenes_at: OpenScenes) -> RunSections:
    """Read the run folders of all arms.

    Args:
        study: `count_arms` of them.
        samples: number of synthetic scenes shown of each extra folder; 0 = none.
        scenes_at: opens data by location.
    """
    return RunSections(
        curves=draw_curves(_panels(arms, study.primary_class), [arm.label for arm in arms]),
        confusions=tuple(
            draw_confusion(arm.counts.sum((0, 1), dtype=np.int64), study.classes.names, arm.metadata.title)
            for arm in study.arms
        ),
        samples=tuple(_samples(arms, study.classes, samples, scenes_at)) if samples else (),
        runs=tuple((arm.label, tuple(_run_text(run) for run in arm.runs)) for arm in arms),
    )


def gallery_of_arms(
    arms: Sequence[Arm], study: StudyCounts, each: int, scenes_at: OpenScenes, predictor_of: OpenPredictor
) -> Gallery | None:
    """The gallery of the first few arms, or why the data cannot be shown; None where none is wanted (each = 0)."""
    if not each:
        return None
    test = study.metadata.test
    source, lacks = _open_again(test.location, test.fingerprint, study.classes, scenes_at)
    if source is None:
        return Gallery(study.primary_class, (), lacks)
    names = [arm.name for arm in study.metadata.arms]
    runs = {name: [arm.runs[0].folder] for name, arm in zip(names[:_MOST_ARMS_IN_GALLERY], arms, strict=False)}
    return make_gallery(study, runs, source, each=each, predictor_of=predictor_of)


def _run_text(run: Run) -> RunText:
    return RunText(
        folder=str(run.folder),
        summary=yaml.safe_dump(run.summary, sort_keys=False, allow_unicode=True),
        config=yaml.safe_dump({"inputs": run.inputs, "config": run.config}, sort_keys=False),
    )


# curves


def _panels(arms: Sequence[Arm], primary_class: str) -> list[tuple[str, list[Curve]]]:
    """Training loss, and the validation scores of the mean and of the primary class."""
    wanted = (
        ("train_loss", "training loss"),
        ("mean_iou", "mean IoU, validation"),
        (f"iou_{primary_class}", f"IoU {primary_class}, val."),
    )
    panels = [(title, [curve for arm in arms for curve in _curves(arm, key)]) for key, title in wanted]
    return [panel for panel in panels if panel[1]]


def _curves(arm: Arm, key: str) -> Iterator[Curve]:
    for run in arm.runs:
        logged = [(line["step"], line[key]) for line in run.metrics() if line.get(key) is not None]
        if logged:
            steps, values = zip(*logged, strict=True)
            yield Curve(arm.label, steps, values)


# synthetic scenes and the real ones nearest to them; the data may have moved since


def _samples(arms: Sequence[Arm], classes: ClassSet, count: int, scenes_at: OpenScenes) -> list[Samples]:
    """A section for each extra folder that any arm was trained on."""
    sections: dict[str, Samples] = {}
    for arm in arms:
        for extra in extras_of(arm.runs[0]):
            if extra["fingerprint"] not in sections:
                sections[extra["fingerprint"]] = _sample(arm.runs[0], extra, classes, count, scenes_at)
    return list(sections.values())


def _sample(run: Run, extra: dict[str, Any], classes: ClassSet, count: int, scenes_at: OpenScenes) -> Samples:
    data, location = (
        {key: run.stored(f"inputs.data.{key}", str) for key in ("location", "fingerprint")},
        extra["location"],
    )
    synthetic, lacks = _open_again(location, extra["fingerprint"], classes, scenes_at)
    real, lacks_too = _open_again(data["location"], data["fingerprint"], classes, scenes_at)
    if synthetic is None or real is None:
        return Samples(location, (), lacks or lacks_too)
    rows = nearest_rows(synthetic, real, read_split_keys(run.folder).train, count)
    if not rows:
        return Samples(location, (), f"{real.location} holds none of the scenes that {run.folder} was trained on")
    return Samples(location, tuple(rows))


def _open_again(
    location: str, fingerprint: str, classes: ClassSet, scenes_at: OpenScenes
) -> tuple[SceneSource | None, str]:
    """Data that a run named, or None and a sentence on why they cannot be shown."""
    lacks = f"not shown: {location} has changed since the runs used it"
    # a folder has classes of its own, or had them named with --classes: only one of the two is what the runs saw
    for given in (None, classes):
        try:
            source = scenes_at(location, classes=given)
        except InputError as problem:
            lacks = f"not shown: {problem}"
            continue
        if source.fingerprint() == fingerprint and source.classes.order_of(classes) is not None:
            return source, ""
    return None, lacks


def nearest_rows(synthetic: SceneSource, real: SceneSource, real_keys: Iterable[str], count: int) -> list[Row]:
    """Synthetic scenes spread evenly over a folder, each beside the real training scene that looks most like it.

    Args:
        real_keys: content keys of the scenes trained on; only those are searched.
        count: number of synthetic scenes.
    """
    numbers = np.unique(np.linspace(0, len(synthetic) - 1, count).round().astype(int)).tolist()
    samples = [synthetic[i] for i in numbers]
    thumbnails = np.stack([thumbnail(scene.image) for scene in samples])
    nearest, distance = np.zeros(len(samples), int), np.full(len(samples), np.inf)
    keys = frozenset(real_keys)
    for index, scene in enumerate(ProgressBar(real, desc="nearest real scenes", unit="scene", leave=False)):
        if scene_key(scene.image) in keys:
            apart = np.sqrt(((thumbnails - thumbnail(scene.image)) ** 2).mean(1))
            nearest = np.where(apart < distance, index, nearest)
            distance = np.minimum(apart, distance)
    if np.isinf(distance).any():
        return []
    return [_nearest_row(scene, real[int(i)], float(d)) for scene, i, d in zip(samples, nearest, distance, strict=True)]


def _nearest_row(scene: Scene, real: Scene, distance: float) -> Row:
    outline, real_outline = _rare(scene), _rare(real)
    return Row(
        scene.name,
        (
            ("synthetic", picture_address(scene.image)),
            ("its label", picture_address(scene.classes.paint(scene.labels), outline)),
            (f"nearest real: {real.name}", picture_address(real.image, real_outline, line=(255, 60, 60))),
            (f"its label; distance {distance:.3f}", picture_address(real.classes.paint(real.labels), real_outline)),
        ),
    )


def _rare(scene: Scene) -> np.ndarray:
    return np.isin(scene.labels, [scene.classes.ids[scene.classes.index(name)] for name in scene.classes.rare])


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, channels) uint8 -> (512,) float32 of mean 0 and deviation 1: small, whatever its brightness."""
    grey = Image.fromarray(image.mean(2).astype(np.uint8)).resize(_THUMBNAIL, Image.Resampling.BOX)
    values = np.asarray(grey, np.float32).ravel()
    return (values - values.mean()) / max(float(values.std()), 1.0)
