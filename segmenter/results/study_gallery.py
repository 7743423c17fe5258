"""Gallery of a study: test images that chosen arms won and lost, kept as a file so that the page needs no weights.

<results>/gallery.json      what was shown, of which arms, and the rows with their pictures as png data addresses
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.core.files import write_json
from marsgen.scenes.scene import SceneSource, scene_key
from segmenter.results.counts import StudyCounts
from segmenter.results.gallery import Choice, OpenPredictor, Row, choose_by_counts, gallery_rows, open_predictor
from segmenter.results.study_results import headline_class

_PICTURE = "data:image/png;base64,"


@dataclass(frozen=True)
class Gallery:
    """Prepared rows of pictures."""

    class_name: str
    """the class that wins and losses are counted in"""
    rows: tuple[Row, ...]


def study_gallery(
    study: StudyCounts,
    runs: Mapping[str, Sequence[Path]],
    source: SceneSource,
    *,
    each: int = 3,
    predictor_of: OpenPredictor = open_predictor,
) -> Gallery:
    """Picture, truth and predictions of the images that arms won and lost most against the study's baseline.

    Chosen by rule from the counts of each arm's first seed, whose networks the pictures show; see
    `gallery.choose_images`.

    Args:
        runs: by arm name, the run folder of its first seed in each fold (one folder where there are no folds); the
            study's baseline is among them. Few arms: each adds a column of pictures.
        source: the test images.
        each: at most this many of every kind: largest regions, and per arm the most won and the most lost.
        predictor_of: opens a run's network.
    Raises:
        DataError: the baseline is not among the arms, not one run per fold, or the source lacks a chosen image.
    """
    baseline, folds = study.card.baseline, study.images.folds
    if baseline not in runs:
        raise DataError(f"gallery of {', '.join(runs)}: the study's baseline, {baseline}, has to be among the arms")
    wanted = 1 if folds is None else max(folds) + 1
    for name, folders in runs.items():
        if len(folders) != wanted:
            raise DataError(f"gallery: {len(folders)} runs of arm {name}; one for each of {wanted} folds was expected")
    arms = [study.arm(name) for name in (baseline, *(name for name in runs if name != baseline))]
    titles, name = [arm.card.title for arm in arms], headline_class(study)
    regions = arms[0].regions[arms[0].regions["seed_index"] == 0]
    shown = study.classes.index(name)
    choices = choose_by_counts(titles, [arm.counts[0] for arm in arms], regions, shown, each)
    _refuse_lacking(choices, study, source)
    rows: dict[int, Row] = {}
    for fold in range(wanted):
        chosen = [choice for choice in choices if folds is None or folds[choice.image] == fold]
        if chosen:
            asked = study.card.scoring
            predictors = [(arm.card.title, predictor_of(runs[arm.card.name][fold], asked)) for arm in arms]
            made = gallery_rows(chosen, study.images.keys, source, shown, predictors)
            rows |= {choice.image: row for choice, row in zip(chosen, made, strict=True)}
    return Gallery(name, tuple(rows[choice.image] for choice in choices))


def _refuse_lacking(choices: Sequence[Choice], study: StudyCounts, source: SceneSource) -> None:
    there = {scene_key(scene.image) for scene in source}
    if lacking := next((c for c in choices if study.images.keys[c.image] not in there), None):
        raise DataError(
            f"{source.location} does not hold the test image {study.images.names[lacking.image]}; "
            f"give the data that the study was scored on, {study.card.test.location}"
        )


def write_gallery(path: Path, gallery: Gallery) -> None:
    """Write gallery.json."""
    rows = [{"title": row.title, "pictures": row.pictures} for row in gallery.rows]
    write_json(path, {"class": gallery.class_name, "rows": rows})


def read_gallery(path: Path) -> Gallery | None:
    """Read gallery.json; None where there is none.

    Raises:
        DataError: damaged, or a picture is not a png data address (the page fetches nothing).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(str(r["title"]), tuple((str(c), str(a)) for c, a in r["pictures"])) for r in content["rows"])
        name = str(content["class"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: damaged; delete it and the page goes without pictures, or make the gallery again"
        ) from None
    for row in rows:
        if any(not address.startswith(_PICTURE) for _, address in row.pictures):
            raise DataError(f"{path}: a picture of '{row.title}' is no png inside the file; make the gallery again")
    return Gallery(name, rows)
