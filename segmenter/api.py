"""segmenter from Python: `import segmenter as sg`. The command line calls these functions too.

Settings, errors, resuming and logging are as in marsgen/api.py; the logger is "segmenter".
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Data, Dataset, scenes_of
from marsgen.core.config import make_config
from marsgen.core.errors import ConfigError, DataError
from marsgen.core.runs import Run
from marsgen.core.storage.files import file_fingerprint
from marsgen.core.storage.onnx_files import refuse_no_onnx
from marsgen.core.storage.places import refuse_missing
from marsgen.scenes.classes import ClassSet, read_classes
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.readers.arrays import ArrayScenes
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_pictures, open_scenes
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import choose_scenes, evaluate_run
from segmenter.evaluation.reader import Evaluation
from segmenter.inference.config import ExportConfig, InferenceConfig, PredictConfig, PseudoLabelConfig
from segmenter.inference.weights import find_weights, name_of
from segmenter.training.config import TrainConfig
from segmenter.training.start import open_training

__all__ = ["evaluate", "export", "predict", "predict_data", "pseudo_label", "train"]

OUTPUTS = Path("outputs")
_BATCH = PredictConfig.model_fields["batch_size"].default

_log = logging.getLogger(__name__)


def train(
    data: Data,
    *,
    extra: Sequence[Data] = (),
    fork: str | Path | None = None,
    out: str | Path | None = None,
    config: TrainConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Train a segmenter (`segmenter train`) on the train part of the data and on extra scenes.

    Args:
        data: from `marsgen.from_arrays` or `marsgen.from_folder`; or scenes, or their place.
        extra: from `marsgen.synthesize`, or folders of `marsgen synthesize` or `segmenter pseudo-label`.
        fork: a finished run, trained with `fork_at`, whose steps until then this one shares instead of repeating them.
        out: folder of the run; default: one under outputs/, named after the extra scenes and the seed.
        config, settings, more: settings of the command, see marsgen/api.py.
    Returns:
        the finished run; `run.summary` has the validation scores.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    config = make_config(TrainConfig, config, {**(settings or {}), **more})
    folder = Path(out or OUTPUTS / _run_name(extra, config.seed))
    training = open_training(config, data, extra, folder, None if fork is None else Path(fork))
    with closing(training.run):
        training.dataset.log(_log)
        for source in training.extras:
            _log.info("extra: %d scenes of %s", len(source), source.location)
        # here: torch takes seconds to import
        from segmenter.training.train import train as fit

        fit(training.config, training.run, training.dataset, training.extras)
    return training.run


def _run_name(extra: Sequence[Data], seed: int) -> str:
    places = [given if isinstance(given, (str, Path)) else scenes_of(given).location for given in extra]
    return f"segmenter-{'+'.join(Path(place).name for place in places) or 'real'}-seed{seed}"


def evaluate(
    run: Run | str | Path,
    data: Data,
    *,
    out: str | Path | None = None,
    config: EvaluateConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Evaluation:
    """Score a trained segmenter (`segmenter evaluate`) on labelled scenes that it has not seen.

    Args:
        run: from `train`, or its folder.
        data: the scenes; where they are those that the run was trained on, their test part is scored.
        out: folder of the evaluation; default: in the run.
        config, settings, more: settings of the command, see marsgen/api.py.
    Returns:
        the counts of every image; `record` has the scores, such as record["mean_iou"].
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    config = make_config(EvaluateConfig, config, {**(settings or {}), **more})
    folder = Run.load(_folder(run), "segmenter train").folder
    # a copy: its classes may be put into the order of the network's
    return evaluate_run(folder, copy.copy(scenes_of(data)), config, None if out is None else Path(out))


Picture = np.ndarray | str | Path
"""pixels, or a file"""


def predict(
    run: Run | str | Path,
    images: Picture | Sequence[Picture],
    *,
    probs: bool = False,
    config: InferenceConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> np.ndarray | list[np.ndarray]:
    """Label images and write nothing. The weights are read at every call, so give many images at once.

    Args:
        run: from `train`, or its folder; or an ONNX file of `export`.
        images: one image, (H, W) or (H, W, channels) uint8 or a picture file; or several of any sizes; or a folder.
        probs: give probabilities instead of labels.
        config, settings, more: of `InferenceConfig`, such as flip=True; see marsgen/api.py.
    Returns:
        (H, W) uint8 label ids of the image; with `probs`, (C, H, W) float32 in [0, 1] in the order of the run's
        classes. A list of such for several images.
    Raises:
        ConfigError, DataError, RunError: an unknown setting; images of another kind; no finished run.
    """
    config = make_config(InferenceConfig, config, {**(settings or {}), **more})
    folder = _folder(run)
    find_weights(folder)
    # here: torch takes seconds to import
    from segmenter.inference.picture_kind import check_kind
    from segmenter.inference.predict import as_exported, image_batches, load_segmenter, predict_indices, predict_probs

    network, classes, record = load_segmenter(folder)
    config = as_exported(config, record)
    is_one, scenes = _open_given(images, classes, record["channels"])
    check_kind(scenes, folder, record["channels"], classes)
    found: list[np.ndarray] = []
    for _, batch in image_batches(scenes, _BATCH):
        found += list(
            predict_probs(network, batch, config) if probs else classes.to_ids(predict_indices(network, batch, config))
        )
    return found[0] if is_one else found


def _open_given(images: Picture | Sequence[Picture], classes: ClassSet, channels: int) -> tuple[bool, SceneSource]:
    """Whether one image was given, and the images as scenes."""
    if isinstance(images, (str, Path)):
        return Path(images).is_file(), open_pictures([images], classes, channels=channels)
    if len(images) and all(isinstance(image, (str, Path)) for image in images):
        return False, open_pictures(images, classes, channels=channels)  # type: ignore[arg-type]
    # (H, W, channels) and (N, H, W) are told apart by the last side: no picture has so many channels
    is_one = isinstance(images, np.ndarray) and (images.ndim == 2 or (images.ndim == 3 and _is_picture(images)))
    return is_one, ArrayScenes([images] if is_one else images, None, classes)  # type: ignore[arg-type, list-item]


def _is_picture(images: np.ndarray) -> bool:
    return images.shape[2] < MIN_SIDE_PX


def predict_data(
    run: Run | str | Path,
    data: Data | Sequence[str | Path],
    *,
    classes: str | Path | None = None,
    out: str | Path | None = None,
    config: PredictConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Label pictures and write the label maps (`segmenter predict`).

    Args:
        run: from `train`, or its folder; or an ONNX file of `export`.
        data: a data set, whose labels are not read; or a picture file, a folder of pictures, or a list of those.
        classes: file that says what the ids of a data set mean, where its own classes.yaml does not.
        out: folder to write into; default: one under outputs/, named after run and data.
        config, settings, more: settings of the command, see marsgen/api.py.
    Returns:
        the finished run; summary["wrote"] is what was written in its folder.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    config = make_config(PredictConfig, config, {**(settings or {}), **more})
    segmenter = _folder(run)
    weights = find_weights(segmenter)
    if not isinstance(data, Dataset | SceneSource):
        refuse_missing([data] if isinstance(data, (str, Path)) else data)
    elif classes is not None:
        raise ConfigError("classes is a file for data that are named by their place; these scenes have classes")
    stated = None if classes is None else read_classes(Path(classes))
    # here: torch takes seconds to import
    from segmenter.inference.predict import check_images, load_segmenter
    from segmenter.inference.predict import predict as label

    if isinstance(data, Dataset | SceneSource):
        scenes = scenes_of(data)
    else:
        places = [data] if isinstance(data, (str, Path)) else data
        _, trained, record = load_segmenter(segmenter)
        reading = ReadingConfig(bands=config.bands, range=config.range)
        scenes = open_pictures(places, trained, channels=record["channels"], reading=reading, stated=stated)
        scenes.classes_file = None if classes is None else Path(classes)
    check_images(config, segmenter, scenes)
    inputs = {
        "run": str(segmenter),
        "weights_fingerprint": file_fingerprint(weights),
        "data": scenes.identity(),
    }
    folder = Path(out or OUTPUTS / f"predictions-{name_of(segmenter)}-{_stem(scenes)}")
    with closing(Run.start(folder, "segmenter predict", config, inputs)) as labelling:
        label(config, labelling, segmenter, scenes)
    return labelling


def export(
    run: Run | str | Path,
    data: Data | None = None,
    *,
    out: str | Path | None = None,
    config: ExportConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Write a trained segmenter as ONNX or for torch.export.load (`segmenter export`), checked against torch.

    Args:
        run: from `train`, or its folder.
        data: labelled real scenes to check on; default: the validation part of the run's own data.
        out: folder to write into; default: one under outputs/, named after the run.
        config, settings, more: settings of the command, see marsgen/api.py.
    Returns:
        the finished run; summary["wrote"] is the file in its folder.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    config = make_config(ExportConfig, config, {**(settings or {}), **more})
    trained = Run.load(_folder(run), "segmenter train")
    if config.to == "onnx":
        refuse_no_onnx("--to onnx")
    source = copy.copy(scenes_of(trained.stored("inputs.data.location", str) if data is None else data))
    own = source.fingerprint() == trained.stored("inputs.data.fingerprint", str)
    checked = choose_scenes(trained, source, "val" if own else "all").indices
    if own and config.int8:
        seen = choose_scenes(trained, source, "train").indices
    elif config.int8:  # ranges and cost come from different scenes
        checked, seen = checked[::2], checked[1::2]
        if not seen:
            raise DataError(f"{source.location}: one scene; int8 needs one for its ranges and another to measure it on")
    else:
        seen = ()
    # here: torch takes seconds to import
    from segmenter.inference.export.write import export_segmenter

    inputs = {
        "run": str(trained.folder),
        "weights_fingerprint": file_fingerprint(find_weights(trained.folder)),
        "data": source.identity(),
    }
    folder = Path(out or OUTPUTS / f"export-{trained.folder.name}-{config.to}")
    with closing(Run.start(folder, "segmenter export", config, inputs)) as writing:
        if not writing.finished:
            export_segmenter(config, writing, trained.folder, source, checked, seen)
    return writing


def pseudo_label(
    runs: Sequence[Run | str | Path],
    data: Data,
    *,
    out: str | Path | None = None,
    config: PseudoLabelConfig | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Label images with trained runs and keep the most confident labels (`segmenter pseudo-label`).

    Args:
        runs: from `train`, or their folders; their probabilities are averaged.
        data: images; labels that they have are not read.
        out: folder of the set; default: one under outputs/, named after runs and data.
        config, settings, more: settings of the command, see marsgen/api.py.
    Returns:
        the finished run; its folder is for `train(extra=[...])`.
    Raises:
        InputError: see `marsgen.core.errors`.
    """
    config = make_config(PseudoLabelConfig, config, {**(settings or {}), **more})
    teachers = [Run.load(_folder(run), "segmenter train").folder for run in runs]
    scenes = open_images(data)
    # here: torch takes seconds to import
    from segmenter.inference.pseudo_labels import open_teachers
    from segmenter.inference.pseudo_labels import pseudo_label as label

    opened = open_teachers(teachers, scenes)
    others = f"-and-{len(teachers) - 1}-more" if len(teachers) > 1 else ""
    folder = Path(out or OUTPUTS / f"pseudo-{teachers[0].name}{others}-{_stem(scenes)}")
    inputs = {"teachers": opened.runs, "data": {"location": scenes.location, "fingerprint": scenes.fingerprint()}}
    with closing(Run.start(folder, "segmenter pseudo-label", config, inputs)) as labelling:
        label(config, labelling, opened, scenes)
    return labelling


def open_images(data: Data) -> SceneSource:
    """Images to label: of a place, those without labels where it has such (npz: test_set); else all of them."""
    if isinstance(data, Dataset | SceneSource):
        return scenes_of(data)
    return open_scenes(str(data), labelled=False)


def _folder(run: Run | str | Path) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def _stem(scenes: SceneSource) -> str:
    return Path(scenes.location).stem.replace(":", "-")
