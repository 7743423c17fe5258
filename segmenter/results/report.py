"""REPORT: one page from finished runs; nothing is trained and no score computed again.

<out>/report.html       gains, curves, confusion, gallery, synthetic samples, settings: one file, no address in it
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup
from pydantic import Field

from marsgen.core.config import Config
from marsgen.core.errors import InputError
from marsgen.core.files import write_text
from marsgen.core.runs import Run
from marsgen.provenance import read_split_keys
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes
from segmenter.evaluation.summary import percent, sum_counts
from segmenter.inference.config import InferenceConfig
from segmenter.results.arms import Arm
from segmenter.results.compare import CompareConfig, Comparison, compare_runs
from segmenter.results.figures import ARM_COLOURS, Curve, draw_confusion, draw_curves, draw_gains
from segmenter.results.gain_tables import (
    false_alarms_per_class,
    gain_rows,
    interval_text,
    points,
    score_rows,
    score_text,
    value_text,
)
from segmenter.results.gallery import (
    OpenPredictor,
    Row,
    choose_images,
    gallery_class,
    gallery_rows,
    nearest_rows,
    open_predictor,
)
from segmenter.results.pages import open_template

_MOST_ARMS_IN_GALLERY = 4

OpenScenes = Callable[..., SceneSource]
"""`open_scenes`, or what stands in for it"""


class ReportConfig(Config):
    """Settings of `segmenter report`: what the page shows."""

    compare: CompareConfig = CompareConfig()
    gallery: int = Field(3, ge=0)
    """test scenes of each kind: the largest regions, and per arm the most won and the most lost; 0 = no gallery"""
    samples: int = Field(6, ge=0)
    """synthetic scenes shown of each --extra folder, beside the nearest real ones; 0 = none"""


def report(
    folders: Sequence[Path],
    config: ReportConfig,
    out: Path,
    *,
    replace: bool = False,
    scenes_at: OpenScenes = open_scenes,
    predictor_of: OpenPredictor = open_predictor,
) -> Path:
    """Write the page.

    Args:
        folders: evaluated runs of `segmenter train`, at least two arms; see `compare_runs`.
        replace: see `Run.start`.
        scenes_at: opens data by location; data that are no longer there, or have changed, are said to be missing.
        predictor_of: opens a run's network for the gallery.
    Returns:
        the page's path.
    Raises:
        RunError, DataError: see `compare_runs`.
    """
    comparison = compare_runs(folders, config.compare)
    fingerprint = comparison.arms[0].evaluations[0].record["data"]["fingerprint"]
    inputs = {"runs": [str(f) for f in folders], "fingerprint": fingerprint}
    run = Run.start(out, "segmenter report", config, inputs, replace=replace)
    page = out / "report.html"
    gallery, gallery_lacks = _gallery(comparison, config, scenes_at, predictor_of)
    samples = _samples(comparison, config, scenes_at)
    write_text(page, render(comparison, gallery, gallery_lacks, samples))
    run.finish({"page": page.name, "arms": [arm.label for arm in comparison.arms]})
    return page


def render(
    comparison: Comparison, gallery: Sequence[Row], gallery_lacks: str, samples: Sequence[dict[str, Any]]
) -> str:
    """The page as text.

    Args:
        gallery: rows of the gallery; empty with a sentence in `gallery_lacks`, or with none where it was not wanted.
        samples: per extra folder: location, rows, lacks (a sentence where rows could not be made).
    """
    evaluation = comparison.arms[0].evaluations[0]
    labels = [arm.label for arm in comparison.arms]
    rows = [{**row, "name": score_text(row)} for row in gain_rows(comparison)]
    names = list(dict.fromkeys(row["name"] for row in rows))
    return open_template("report.html.j2").render(
        test=evaluation.record,
        classes=_legend(comparison.classes),
        shown_class=comparison.classes.names[gallery_class(comparison.classes, evaluation)],
        arms=_arm_cards(comparison),
        baseline=labels[0],
        headlines=_headlines(comparison, rows),
        gains=[{**r, "points": points(r["gain"]), "interval": interval_text(r)} for r in rows],
        gains_figure=Markup(draw_gains(rows, names, labels)),
        score_table=_score_table(comparison),
        curves=Markup(draw_curves(_panels(comparison), labels)),
        confusions=[Markup(figure) for figure in _confusions(comparison)],
        gallery=gallery,
        gallery_lacks=gallery_lacks,
        samples=samples,
        notes=comparison.notes,
        percent=percent,
    )


def _legend(classes: ClassSet) -> list[tuple[str, str]]:
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in classes.colours]
    return [*zip(classes.names, colours, strict=True), ("no label", "#202020")]


def _arm_cards(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "label": arm.label,
            "colour": ARM_COLOURS[number % len(ARM_COLOURS)],
            "seeds": ", ".join(str(seed) for seed in arm.seeds),
            "runs": [
                {
                    "folder": str(run.folder),
                    "summary": yaml.safe_dump(run.summary, sort_keys=False, allow_unicode=True),
                    "config": yaml.safe_dump({"inputs": run.inputs, "config": run.config}, sort_keys=False),
                }
                for run in arm.runs
            ],
        }
        for number, arm in enumerate(comparison.arms)
    ]


def _headlines(comparison: Comparison, rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The verdict on what the page is about: the shown class of every arm."""
    name = comparison.classes.names[gallery_class(comparison.classes, comparison.arms[0].evaluations[0])]
    return [
        {**row, "points": points(row["gain"]), "interval": interval_text(row)}
        for row in rows
        if row["score"] == "IoU" and row["class"] == name
    ]


def _score_table(comparison: Comparison) -> list[list[str]]:
    """Score, then each arm's value with its interval."""
    rows, labels = score_rows(comparison), [arm.label for arm in comparison.arms]
    table = []
    for name in dict.fromkeys(score_text(row) for row in rows):
        of_arm = {row["arm"]: row for row in rows if score_text(row) == name}
        table.append([name, *(value_text(of_arm.get(label)) for label in labels)])
    for c in comparison.arms[0].evaluations[0].scored_classes:
        alarms = [f"{false_alarms_per_class(arm, c):.1f}" for arm in comparison.arms]
        table.append([f"false alarms {comparison.classes.names[c]} (number)", *alarms])
    return table


def _panels(comparison: Comparison) -> list[tuple[str, list[Curve]]]:
    """Training loss, and the validation scores of the mean and of the class the page is about."""
    shown = comparison.classes.names[gallery_class(comparison.classes, comparison.arms[0].evaluations[0])]
    wanted = (
        ("train_loss", "training loss"),
        ("mean_iou", "mean IoU, validation"),
        (f"iou_{shown}", f"IoU {shown}, val."),
    )
    panels = []
    for key, title in wanted:
        curves = [curve for arm in comparison.arms for curve in _curves(arm, key)]
        if curves:
            panels.append((title, curves))
    return panels


def _curves(arm: Arm, key: str) -> Iterator[Curve]:
    for run in arm.runs:
        logged = [(line["step"], line[key]) for line in run.metrics() if line.get(key) is not None]
        if logged:
            steps, values = zip(*logged, strict=True)
            yield Curve(arm.label, steps, values)


def _confusions(comparison: Comparison) -> Iterator[str]:
    for arm in comparison.arms:
        summed = np.sum([sum_counts(evaluation.counts) for evaluation in arm.evaluations], axis=0)
        yield draw_confusion(summed, comparison.classes.names, arm.label)


# pictures: they need data that may have moved since


def _gallery(
    comparison: Comparison, config: ReportConfig, scenes_at: OpenScenes, predictor_of: OpenPredictor
) -> tuple[list[Row], str]:
    if not config.gallery:
        return [], ""
    arms = comparison.arms[:_MOST_ARMS_IN_GALLERY]
    evaluation = arms[0].evaluations[0]
    location, fingerprint = evaluation.record["data"]["location"], evaluation.record["data"]["fingerprint"]
    source, lacks = _open_again(location, fingerprint, comparison.classes, scenes_at)
    if source is None:
        return [], lacks
    shown = gallery_class(comparison.classes, evaluation)
    ask = InferenceConfig.of(evaluation.record["settings"])
    predictors = [(arm.label, predictor_of(arm.runs[0].folder, ask)) for arm in arms]
    return gallery_rows(choose_images(arms, shown, config.gallery), evaluation.keys, source, shown, predictors), ""


def _samples(comparison: Comparison, config: ReportConfig, scenes_at: OpenScenes) -> list[dict[str, Any]]:
    """A section for each extra folder that any run was trained on."""
    sections: dict[str, dict[str, Any]] = {}
    for arm in comparison.arms if config.samples else ():
        for extra in arm.runs[0].inputs.get("extra") or ():
            if extra["fingerprint"] not in sections:
                rows, lacks = _sample_rows(arm.runs[0], extra, comparison.classes, config.samples, scenes_at)
                sections[extra["fingerprint"]] = {"location": extra["location"], "rows": rows, "lacks": lacks}
    return list(sections.values())


def _sample_rows(
    run: Run, extra: dict[str, Any], classes: ClassSet, count: int, scenes_at: OpenScenes
) -> tuple[list[Row], str]:
    data = run.inputs["data"]
    synthetic, lacks = _open_again(extra["location"], extra["fingerprint"], classes, scenes_at)
    real, lacks_too = _open_again(data["location"], data["fingerprint"], classes, scenes_at)
    if synthetic is None or real is None:
        return [], lacks or lacks_too
    rows = nearest_rows(synthetic, real, read_split_keys(run.folder).train, count)
    return rows, "" if rows else f"{real.location} holds none of the scenes that {run.folder} was trained on"


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
        if source.fingerprint() == fingerprint and source.classes.names == classes.names:
            return source, ""
    return None, lacks
