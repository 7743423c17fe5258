"""Focus: regions are pasted where a trained segmenter has a high loss on the real scenes."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from marsgen.cleaning.dataset import Dataset
from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.progress import ProgressBar
from marsgen.masks.config import PasteConfig
from marsgen.masks.placement import PlacementPrior, learn_placement
from marsgen.provenance import refuse_leaking_judge
from marsgen.quality.agreement import pixel_losses
from marsgen.quality.judges import Judge, open_judge
from marsgen.scenes.scene import Scene
from marsgen.synthesis.names import refuse_other_placement

__all__ = ["find_placement", "focus_placement", "open_focus"]

BLUR_SIGMA = 0.06
"""standard deviation to which a loss map is smoothed, as a share of the picture's height"""
MIN_WEIGHT = 0.02
"""every scene and every place keeps at least this share of the mean weight"""


def open_focus(where: str | None, config: PasteConfig, dataset: Dataset) -> Judge | None:
    """The segmenter whose loss says where to paste; None where `config.placement` is not focus.

    Args:
        where: folder of a `segmenter train` run.
    Raises:
        ConfigError: placement focus without a segmenter, or a segmenter without placement focus.
        RunError: no finished segmenter there, one of other classes or channels, or one trained on scenes outside
            the train part.
    """
    refuse_other_placement(where, config)
    if where is None:
        return None
    judge = open_judge(Path(where), dataset.scenes.classes, dataset.scenes.channels)
    refuse_leaking_judge(judge.trained_on, where, dataset)
    return judge


def find_placement(
    config: PasteConfig,
    dataset: Dataset,
    class_names: Sequence[str],
    judge: Judge | None = None,
    standing: Collection[str] = (),
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> PlacementPrior | None:
    """The prior that `config.placement` names, by default where the class occurs; None = uniform.

    Args:
        class_names: what is pasted.
        judge: from `open_focus`.
        standing: see `learn_placement`.
    """
    if judge is not None:
        return focus_placement(judge, dataset, process_group)
    if config.placement in (None, "class"):
        return learn_placement(dataset.scenes, dataset.split.train, dataset.survey.pixels, class_names, standing)
    return None


def focus_placement(judge: Judge, dataset: Dataset, process_group: ProcessGroup = SINGLE_PROCESS) -> PlacementPrior:
    """Weight of a parent: its mean loss over labelled pixels; weight of a foot: the loss around it.

    Loss maps are computed one picture at a time, so that each depends on its picture alone, and again when needed, so
    that memory holds one number per scene.
    """
    scenes, train = dataset.scenes, dataset.split.train
    means = np.zeros(len(train))
    bar = ProgressBar(
        train, desc="focus", unit=" scenes", leave=False, disable=None if process_group.is_main_process else True
    )
    for position, index in enumerate(bar):
        scene = scenes[index]
        means[position] = _loss_map(judge, scene).sum() / max(np.count_nonzero(_labelled(scene)), 1)

    def feet(scene: Scene, class_name: str) -> np.ndarray:
        labelled = _labelled(scene).astype(np.float32)
        losses, weights = (
            ndimage.gaussian_filter(array, BLUR_SIGMA * labelled.shape[0])
            for array in (_loss_map(judge, scene), labelled)
        )
        return _never_zero(losses / np.maximum(weights, 1e-3))

    return PlacementPrior(_never_zero(means), feet, judge.fingerprint, judge.trained_on)


def _loss_map(judge: Judge, scene: Scene) -> np.ndarray:
    """(H, W) float32 cross-entropy, 0 where ignored."""
    return pixel_losses(judge, scene.image[None], scene.indices[None])[0]


def _labelled(scene: Scene) -> np.ndarray:
    return scene.labels != scene.classes.ignored


def _never_zero(weights: np.ndarray) -> np.ndarray:
    mean = float(weights.mean())
    return weights + MIN_WEIGHT * mean if mean > 0 else np.ones_like(weights)
