"""segmenter: segmentation networks trained on real and synthetic scenes, and the gain of each class measured.

Data flow one way, and each folder stands for one stage; CONTRIBUTING.md has the order of imports:

    networks/       U-Net, U-Net on a ready-made encoder, MarsSeg, the single-layer baseline; wrappers of their logits
    inference/      label maps from trained networks: sliding window, calibration, pseudo-labels, export, judge
    training/       the training loop and validation, batches, extra scenes, augmentation, losses, several processes
    evaluation/     a confusion matrix per image, and which regions of a class were found
    results/        counts -> scores and gains with intervals -> verdict.py (the rule) -> text, tables, figures, page
    study/          experiments of many runs (arms x seeds x folds) as one resumable job
    auto/           which recipe finds a rare class best under a budget of time: a race of studies
    config.py       the settings of every command, listed; each stands in the folder that reads it
    api.py          what `import segmenter` offers: train, evaluate, predict, predict_data, export, pseudo_label; beside
                    it TrainedSegmenter of inference/export/hub.py
    cli.py          the command `segmenter`; SETTINGS lists the settings of every command

Of marsgen it imports core, scenes, cleaning, provenance, hub, console and pages.html, nothing else; marsgen never
imports segmenter.
"""

from importlib import import_module
from typing import Any

__all__ = ["TrainedSegmenter", "evaluate", "export", "predict", "predict_data", "pseudo_label", "train"]


def __getattr__(name: str) -> Any:
    """The functions of api.py, imported when one is used: `import segmenter` alone stays quick."""
    if name in __all__:
        module = "segmenter.inference.export.hub" if name == "TrainedSegmenter" else "segmenter.api"
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
