"""Everything that `segmenter train` opens and checks before its folder exists."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core.process_group import join_process_group
from marsgen.core.runs import Run
from marsgen.scenes.classes import read_classes
from marsgen.scenes.scene import SceneSource
from segmenter.training.batches import TrainingBatches
from segmenter.training.config import TrainConfig
from segmenter.training.extras import describe_extra, open_extras
from segmenter.training.model import init_network
from segmenter.training.train import check_best_metric


@dataclass(frozen=True, eq=False)
class Training:
    """The arguments of `train` beside the settings."""

    run: Run
    dataset: Dataset
    extras: list[SceneSource]


def open_training(config: TrainConfig, data: str, extra: Sequence[str], classes: Path | None, folder: Path) -> Training:
    """Open data and run folder; what cannot be trained on is refused before a folder is made.

    Args:
        data, extra: locations of the real scenes and of the --extra folders.
        classes: file of --classes, or None.
        folder: of the run.
    Raises:
        ConfigError, DataError, RunError: see `open_dataset`, `open_extras`, `check_best_metric`, `TrainingBatches`,
            `load_pretrained` and `Run.start`.
    """
    dataset = open_dataset(data, config.data, None if classes is None else read_classes(classes))
    extras = open_extras(extra, dataset)
    check_best_metric(config, dataset)
    process_group = join_process_group()
    TrainingBatches(config, dataset, extras, process_group)
    _, pretrained = init_network(config, dataset.scenes.channels, len(dataset.scenes.classes))
    inputs: dict[str, Any] = {
        "data": {"location": data, "fingerprint": dataset.scenes.fingerprint(), "classes": classes and str(classes)},
        "extra": [describe_extra(source) for source in extras],
    }
    if pretrained:  # other weights under the same name are another run
        inputs["pretrained"] = pretrained
    with process_group.main_process_first():
        run = Run.start(
            folder,
            "segmenter train",
            config,
            inputs,
            without_effect=("workers", "cuda_graph"),
            writes=process_group.is_main_process,
        )
    return Training(run, dataset, extras)
