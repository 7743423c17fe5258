"""Everything that `segmenter train` opens and checks before its folder exists; nothing heavy is imported for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Data, Dataset, dataset_of, scenes_of, split_of
from marsgen.core.errors import DataError
from marsgen.core.process_group import join_process_group
from marsgen.core.runs import Run
from marsgen.core.storage.places import refuse_no_room
from marsgen.core.tracking import refuse_no_tracker
from marsgen.scenes.scene import SceneSource
from segmenter.training.config import TrainConfig, refuse_unknown_metric
from segmenter.training.extras import check_extra, describe_extra, open_extra
from segmenter.training.fork import refuse_other_trunk, start_from


@dataclass(frozen=True, eq=False)
class Training:
    """The arguments of `train`."""

    config: TrainConfig
    run: Run
    dataset: Dataset
    extras: list[SceneSource]


def open_training(
    config: TrainConfig, data: Data, extra: Sequence[Data], folder: Path, fork: Path | None = None
) -> Training:
    """Open data and run folder; what cannot be trained on is refused before a folder is made.

    Args:
        data: the real scenes.
        extra: synthetic or pseudo-labelled scenes, or their folders.
        folder: of the run.
        fork: a finished run whose kept state (`fork_at`) this one goes on from.
    Raises:
        ConfigError, DataError, RunError: see `refuse_no_tracker`, `dataset_of`, `open_extra`, `check_best_metric`,
            `TrainingBatches`, `load_pretrained`, `refuse_other_trunk` and `Run.start`.
    """
    refuse_no_tracker(config.track)
    scenes = scenes_of(data)
    config = config.model_copy(update={"data": split_of(data, config.data)})
    refuse_unknown_metric(config, scenes.classes, scenes.location)
    extras = [open_extra(source, scenes.classes) for source in extra]
    dataset = dataset_of(data, scenes, config.data)
    for source in extras:
        check_extra(source, dataset)
    check_best_metric(config, dataset)

    # here: torch takes seconds to import
    from segmenter.training.batches import TrainingBatches
    from segmenter.training.model import init_network, room_of

    process_group = join_process_group()
    TrainingBatches(config, dataset, extras, process_group)
    _, pretrained = init_network(config, scenes.channels, len(scenes.classes))
    seen = len(scenes) + sum(map(len, extras))
    room = room_of(config, scenes.channels, len(scenes.classes), seen).most
    refuse_no_room(folder, room, "weights and checkpoints", "make the network smaller")
    inputs: dict[str, Any] = {
        "data": scenes.identity(),
        "extra": [describe_extra(source) for source in extras],
    }
    if pretrained:  # other weights under the same name are another run
        inputs["pretrained"] = pretrained
    if fork is not None:
        refuse_other_trunk(fork, config, inputs)
    with process_group.main_process_first():
        run = Run.start(
            folder,
            "segmenter train",
            config,
            inputs,
            without_effect=("workers", "cuda_graph", "fork_at", "track"),
            writes=process_group.is_main_process,
        )
        if fork is not None:
            start_from(run, fork)
    run.track(config.track)
    return Training(config, run, dataset, extras)


def check_best_metric(config: TrainConfig, dataset: Dataset) -> None:
    """Raise before training where `config.best_metric` is no score, or cannot be measured on the validation scenes."""
    classes = dataset.scenes.classes
    refuse_unknown_metric(config, classes, dataset.scenes.location)
    labelled = dataset.survey.pixels[list(dataset.split.val), : len(classes)].sum(0)
    if config.best_metric.startswith("iou_"):
        labelled = labelled[[classes.index(config.best_metric.removeprefix("iou_"))]]
    if not labelled.sum():
        raise DataError(
            f"{dataset.scenes.location}: no validation scene has a pixel to measure {config.best_metric} on; "
            "raise data.val_fraction or choose another best_metric"
        )
