"""Gallery: test images that arms improved and regressed most, as pictures that the page holds in itself.

<results>/gallery.json      what was shown, of which arms, and the rows with their pictures as png data addresses; a
                            page made from it needs no weights
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.files import write_json
from marsgen.core.storage.reading import read_json
from marsgen.pages.html import PNG_PREFIX, fit_width, outline, png_address
from marsgen.scenes.scene import Scene, SceneSource, scene_key
from segmenter.evaluation.evaluate import Predict
from segmenter.inference.config import InferenceConfig
from segmenter.results.counts import StudyCounts

_SHOWN_WIDTH_PX = 384


@dataclass(frozen=True)
class Choice:
    """A test image of the gallery and why it is there."""

    image: int
    """position among the evaluated images"""
    reason: str


@dataclass(frozen=True)
class Row:
    """One row of pictures: data addresses with a caption each."""

    title: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gallery:
    """Prepared rows of pictures."""

    class_name: str
    """the class that improvements are counted in"""
    rows: tuple[Row, ...]
    lacks: str = ""
    """why there are no rows, in a sentence"""


OpenPredictor = Callable[[Path, InferenceConfig], Predict]
"""(run folder, inference settings) -> a function of images that returns label maps"""


def open_predictor(folder: Path, inference: InferenceConfig) -> Predict:
    """The network of a finished training run as a function of images."""
    from functools import partial

    from segmenter.inference.predict import load_segmenter, predict_indices

    network, _, _ = load_segmenter(folder)
    return partial(predict_indices, network, inference=inference)


def make_gallery(
    study: StudyCounts,
    runs: Mapping[str, Sequence[Path]],
    source: SceneSource,
    *,
    each: int = 3,
    predictor_of: OpenPredictor = open_predictor,
) -> Gallery:
    """Image, label map and predictions of the test images that arms improved and regressed most.

    Chosen by rule from the counts of each arm's first seed, whose networks the pictures show; see
    `choose_images`.

    Args:
        runs: by arm name, the run folder of its first seed in each fold (one folder where there are no folds); the
            study's baseline is among them. Few arms: each adds a column of pictures.
        source: the test images.
        each: at most this many of every kind: largest regions, and per arm the most improved and the most regressed.
        predictor_of: opens a run's network.
    Raises:
        DataError: the baseline is not among the arms, not one run per fold, or the source lacks a chosen image.
    """
    baseline, folds = study.metadata.baseline, study.images.folds
    if baseline not in runs:
        raise DataError(f"gallery of {', '.join(runs)}: the study's baseline, {baseline}, has to be among the arms")
    wanted = 1 if folds is None else max(folds) + 1
    for name, folders in runs.items():
        if len(folders) != wanted:
            raise DataError(f"gallery: {len(folders)} runs of arm {name}; one for each of {wanted} folds was expected")
    arms = [study.arm(name) for name in (baseline, *(name for name in runs if name != baseline))]
    titles, name = [arm.metadata.title for arm in arms], study.primary_class
    regions = arms[0].regions[arms[0].regions["seed_index"] == 0]
    shown = study.classes.index(name)
    choices = choose_images(titles, [arm.counts[0] for arm in arms], regions, shown, each)
    _refuse_lacking(choices, study, source)
    rows: dict[int, Row] = {}
    for fold in range(wanted):
        chosen = [choice for choice in choices if folds is None or folds[choice.image] == fold]
        if chosen:
            networks = [(arm.metadata, runs[arm.metadata.name][fold]) for arm in arms]
            predictors = [(arm.title, predictor_of(run, study.metadata.scoring)) for arm, run in networks]
            made = draw_rows(chosen, study.images.keys, source, shown, predictors)
            rows |= {choice.image: row for choice, row in zip(chosen, made, strict=True)}
    return Gallery(name, tuple(rows[choice.image] for choice in choices))


def _refuse_lacking(choices: Sequence[Choice], study: StudyCounts, source: SceneSource) -> None:
    there = {scene_key(scene.image) for scene in source}
    if lacking := next((c for c in choices if study.images.keys[c.image] not in there), None):
        raise DataError(
            f"{source.location} does not hold the test image {study.images.names[lacking.image]}; "
            f"give the data that the study was scored on, {study.metadata.test.location}"
        )


# which images


def choose_images(
    labels: Sequence[str], counts: Sequence[np.ndarray], regions: np.ndarray, class_index: int, each: int
) -> list[Choice]:
    """Test images by rule: the largest regions, then for each arm its most improved and its most regressed images.

    Counted in pixels of one run of each arm: what it gets right of the class, less what it falsely calls so, minus the
    same of the baseline's run.

    Args:
        labels: of the arms, the baseline first.
        counts: (N, C, C) of that run of each arm.
        regions: (R,) REGION, the true regions.
        each: at most this many of every kind; an image is taken once.
    """
    balances = [_balance(of_arm, class_index) for of_arm in counts]
    regions = regions[regions["class_index"] == class_index]
    by_size = regions[np.argsort(-regions["area_px"], kind="stable")]
    chosen: dict[int, str] = {}
    for region in by_size:
        if len(chosen) < each:
            chosen.setdefault(int(region["image"]), f"among the largest ({region['area_px']} px)")
    for label, balance in zip(labels[1:], balances[1:], strict=True):
        gained = balance - balances[0]
        for sign, word in ((1, "most improved"), (-1, "most regressed")):
            order = [int(i) for i in np.argsort(-sign * gained, kind="stable") if sign * gained[i] > 0]
            for image in [i for i in order if i not in chosen][:each]:
                chosen[image] = f"{word} by {label} ({gained[image]:+d} px)"
    return [Choice(image, reason) for image, reason in chosen.items()]


def _balance(counts: np.ndarray, class_index: int) -> np.ndarray:
    """(N,) right pixels of the class less false ones."""
    hit = counts[:, class_index, class_index].astype(np.int64)
    return 2 * hit - counts[:, :, class_index].sum(1, dtype=np.int64)


# pictures


def draw_rows(
    choices: Sequence[Choice],
    keys: Sequence[str],
    source: SceneSource,
    class_index: int,
    predictors: Sequence[tuple[str, Predict]],
) -> list[Row]:
    """Real image | label map | one prediction per arm, for each chosen image.

    The outline of the class in the label map is drawn into all of them, so that hits and misses are seen at once.

    Args:
        keys: content key of each evaluated image; the source holds all that were chosen.
    """
    wanted = {keys[choice.image]: choice for choice in choices}
    scenes = {wanted[key].image: scene for key, scene in _scenes_by_key(source, wanted)}
    rows = []
    for choice in choices:
        scene = scenes[choice.image]
        region = scene.indices == class_index
        pictures = [
            ("image", picture_address(scene.classes.show(scene.image), region, line=(255, 60, 60))),
            ("label", picture_address(scene.classes.paint(scene.labels), region)),
        ]
        for label, predict in predictors:
            painted = scene.classes.paint(scene.classes.to_ids(predict(scene.image[None])[0]))
            pictures.append((label, picture_address(painted, region)))
        rows.append(Row(f"{scene.name}: {choice.reason}", tuple(pictures)))
    return rows


def _scenes_by_key(source: SceneSource, wanted: Iterable[str]) -> list[tuple[str, Scene]]:
    left, found = set(wanted), []
    for scene in source:
        key = scene_key(scene.image)
        if key in left:
            left.remove(key)
            found.append((key, scene))
        if not left:
            break
    return found


def picture_address(
    image: np.ndarray, outlined: np.ndarray | None = None, line: tuple[int, int, int] = (255, 255, 255)
) -> str:
    """A data address (PNG) of an image at about 384 pixels of width.

    Args:
        image: (H, W, 1 or 3) uint8.
        outlined: (H, W) bool; a line is drawn around it.
        line: colour of the line.
    """
    shown = fit_width(np.broadcast_to(image, (*image.shape[:2], 3)), _SHOWN_WIDTH_PX)
    if outlined is not None and outlined.any():
        shown = outline(shown, fit_width(outlined, _SHOWN_WIDTH_PX), line)
    return png_address(shown)


# the file


def write_gallery(path: Path, gallery: Gallery) -> None:
    """Write gallery.json."""
    rows = [{"title": row.title, "pictures": row.pictures} for row in gallery.rows]
    write_json(path, {"class": gallery.class_name, "rows": rows})


def read_gallery(path: Path) -> Gallery | None:
    """Read gallery.json; None where there is none.

    Raises:
        DataError: damaged, or a picture is not a png data address (the page fetches nothing).
    """
    if not path.exists():
        return None
    try:
        content = read_json(path)
        rows = tuple(Row(str(r["title"]), tuple((str(c), str(a)) for c, a in r["pictures"])) for r in content["rows"])
        name = str(content["class"])
    except (DataError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: damaged; delete it and the page goes without pictures, or make the gallery again"
        ) from None
    for row in rows:
        if any(not address.startswith(PNG_PREFIX) for _, address in row.pictures):
            raise DataError(f"{path}: a picture of '{row.title}' is no png inside the file; make the gallery again")
    return Gallery(name, rows)
