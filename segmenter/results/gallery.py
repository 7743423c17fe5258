"""Pictures of the report: test scenes under two or more networks, and synthetic scenes beside real training scenes."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import Scene, SceneSource, scene_key
from segmenter.evaluation.evaluate import Predict
from segmenter.evaluation.reader import Evaluation
from segmenter.inference.config import InferenceConfig
from segmenter.results.arms import Arm

_SHOWN_WIDTH_PX = 384
_THUMBNAIL = (32, 16)
"""width and height in pixels"""


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


# which test scenes


def gallery_class(classes: ClassSet, evaluation: Evaluation) -> int:
    """Index of the class the gallery is about: the rare class with most regions, else the class with fewest pixels."""
    scores = evaluation.record["per_class"]
    if classes.rare:
        return max((classes.index(name) for name in classes.rare), key=lambda c: scores[c]["regions"])
    return min(range(len(classes)), key=lambda c: scores[c]["true_px"] or np.inf)


def choose_images(arms: Sequence[Arm], class_index: int, each: int) -> list[Choice]:
    """Test images by rule, not by taste: largest regions, then for each arm its largest wins and its largest losses.

    A win is counted in pixels: what the arm's first run gets right of the class, less what it falsely calls so, minus
    the same of the baseline's first run, because those two are the runs that the pictures show.

    Args:
        each: at most this many of every kind; an image is taken once.
    """
    first = [arm.evaluations[0] for arm in arms]
    return choose_by_counts([arm.label for arm in arms], [e.counts for e in first], first[0].regions, class_index, each)


def choose_by_counts(
    labels: Sequence[str], counts: Sequence[np.ndarray], regions: np.ndarray, class_index: int, each: int
) -> list[Choice]:
    """`choose_images` from what it reads of the arms' first runs.

    Args:
        labels: of the arms, the baseline first.
        counts: (N, C, C) of each arm's first run.
        regions: (R,) REGION, the true regions.
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
        for sign, word in ((1, "most won"), (-1, "most lost")):
            order = [int(i) for i in np.argsort(-sign * gained, kind="stable") if sign * gained[i] > 0]
            for image in [i for i in order if i not in chosen][:each]:
                chosen[image] = f"{word} by {label} ({gained[image]:+d} px)"
    return [Choice(image, reason) for image, reason in chosen.items()]


def _balance(counts: np.ndarray, class_index: int) -> np.ndarray:
    """(N,) right pixels of the class less false ones."""
    hit = counts[:, class_index, class_index].astype(np.int64)
    return 2 * hit - counts[:, :, class_index].sum(1, dtype=np.int64)


def gallery_rows(
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
        outline = scene.indices == class_index
        pictures = [
            ("image", picture_address(scene.image, outline, line=(255, 60, 60))),
            ("label", picture_address(scene.classes.paint(scene.labels), outline)),
        ]
        for label, predict in predictors:
            painted = scene.classes.paint(scene.classes.to_ids(predict(scene.image[None])[0]))
            pictures.append((label, picture_address(painted, outline)))
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


# synthetic scenes and the real ones nearest to them


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
    for index, scene in enumerate(tqdm(real, desc="nearest real scenes", unit="scene", leave=False)):
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


# pictures in a page


def picture_address(
    image: np.ndarray, outlined: np.ndarray | None = None, line: tuple[int, int, int] = (255, 255, 255)
) -> str:
    """A data address (PNG) of an image enlarged to about 384 pixels of width, or thinned out to that.

    Args:
        image: (H, W, 1 or 3) uint8.
        outlined: (H, W) bool; its border is drawn, within it, in `line`'s colour over a dark rim.
    """
    image = np.broadcast_to(image, (*image.shape[:2], 3))
    factor = max(1, _SHOWN_WIDTH_PX // image.shape[1])
    step = max(1, image.shape[1] // _SHOWN_WIDTH_PX)
    image = _enlarge(image[::step, ::step], factor).copy()
    if outlined is not None and outlined.any():
        mask = _enlarge(outlined[::step, ::step], factor)
        image[ndimage.binary_dilation(mask) & ~mask] = 0
        image[mask & ~ndimage.binary_erosion(mask, iterations=1 if factor < 3 else 2)] = line
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, 0).repeat(factor, 1)


OpenPredictor = Callable[[Path, InferenceConfig], Predict]
"""(run folder, how it is asked) -> the network's images -> label maps"""


def open_predictor(folder: Path, ask: InferenceConfig) -> Predict:
    """The network of a finished training run as a function of images."""
    from functools import partial

    from segmenter.inference.predict import load_segmenter, predict_indices

    network, _, _ = load_segmenter(folder)
    return partial(predict_indices, network, inference=ask)
