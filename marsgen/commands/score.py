"""`marsgen score`: measure a synthetic set; write scores per sample, the summary and a page with pictures."""

import json
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Dataset
from marsgen.commands.config import ScoreConfig
from marsgen.console import say_note
from marsgen.core.runs import Run
from marsgen.core.storage.files import plain, write_text
from marsgen.pages.score_page import draw_page
from marsgen.quality.features import open_features
from marsgen.quality.judges import open_judge
from marsgen.quality.score import measure_set
from marsgen.quality.score_text import describe
from marsgen.quality.scored_set import Sample, open_scored_set
from marsgen.scenes.classes import ClassSet


def score_set(
    folder: Path,
    config: ScoreConfig,
    out: Path,
    *,
    judge: Path | None = None,
    features: str | None = None,
    data: str | None = None,
    classes: ClassSet | None = None,
    reference: str | None = None,
    replace: bool = False,
) -> tuple[str, ...]:
    """Measure a synthetic set and write out/scores.jsonl, out/gallery.html and out/DONE, in a run folder.

    Args:
        folder: what `marsgen synthesize` wrote.
        judge: a trained segmenter, for the agreement; see `open_judge`.
        features: see `open_features`; None = the judge if there is one, else imagenet.
        data: the real scenes that the set was made from, if they are no longer where they were.
        classes: what the ids of `data` mean, where the data set does not say it.
        reference: other real scenes to compare with instead of the train part.
        replace: see `Run.start`.
    Returns:
        the lines that the command prints.
    Raises:
        DataError, RunError: something named here cannot be used.
    """
    scored = open_scored_set(
        folder, config.max_samples, split=config.data, data=data, classes=classes, reference=reference
    )
    scenes = scored.dataset.scenes
    if scored.left_out:
        where = f"{scenes.location}, outside of its test part" if scored.dataset.split.test else scenes.location
        say_note(f"{scored.left_out} pictures of {reference} are also in {where}; they are left out")
    opened = None if judge is None else open_judge(judge, scenes.classes, scenes.channels)
    if opened is not None and opened.saw_synthetic:
        say_note(f"{judge} was trained on synthetic scenes; its agreement with similar ones may be too high")
    kind = features or ("judge" if opened else "imagenet")
    network = open_features(kind, opened)
    inputs: dict[str, Any] = {
        "set": {"location": str(folder), "fingerprint": scored.synthetic.fingerprint()},
        "data": {"location": scenes.location, "fingerprint": scenes.fingerprint()},
        "reference": None,
        "judge": opened and {"location": str(judge), "fingerprint": opened.fingerprint},
        "features": {"kind": kind, "fingerprint": network.fingerprint},
    }
    if scored.reference is not None:
        inputs["reference"] = {"location": reference, "fingerprint": scored.reference.fingerprint()}
    run = Run.start(out, "marsgen score", config, inputs, replace=replace)
    if not run.finished:
        scores = measure_set(scored, config, opened, network, run.folder)
        records = [_record(sample, scored.dataset) for sample in scored.samples]
        write_text(out / "scores.jsonl", "".join(json.dumps(plain(record)) + "\n" for record in records))
        write_text(out / "gallery.html", draw_page(scores, config.pictures))
        run.finish(scores.summary)
    return run.describe(lambda summary: describe(summary, str(folder)))


def _record(sample: Sample, dataset: Dataset) -> dict[str, Any]:
    """A line of scores.jsonl."""
    record: dict[str, Any] = {
        "name": sample.name,
        "agreement": sample.agreement or None,
        "realism": sample.realism,
        "copy": sample.copy,
        "distance": sample.distance,
        "region": None,
        "nearest": None,
    }
    if sample.nearest is not None and sample.region is not None:
        name, key = dataset.scenes.names[sample.nearest.scene], dataset.survey.keys[sample.nearest.scene]
        record["region"] = {"class": sample.region.class_name, "box": list(sample.region.box)}
        record["nearest"] = {"name": name, "key": key, "box": list(sample.nearest.box)}
    return record
