"""Real and extra scenes in one training stream at a stated share, and the refusal of extras that would leak."""

import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from marsgen.cleaning.dataset import Dataset
from marsgen.console import say_note
from marsgen.core.errors import ConfigError, DataError
from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.runs import Run
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.scene import SceneSource, scene_key
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.tensors import image_tensor, label_tensor, one_thread
from segmenter.config import TrainConfig
from segmenter.inference.sliding_window import resize_images, resize_labels
from segmenter.training.augment import augment, build_augmentation

CROP_OF_MIXED_SIZES = (128, 128)
"""(height, width) in pixels of training windows where scenes differ in size and the config names no crop"""


# what may join


def open_extras(locations: Sequence[str], dataset: Dataset) -> list[SceneSource]:
    """Open the --extra folders and refuse what must not join training on `dataset`.

    Raises:
        DataError: other classes, channels or size than the real scenes; nothing in it; a scene that was grown from (or
            is) one of the run's validation or test scenes, or that was made by something that has learned from one.
        RunError: a folder that `marsgen synthesize` or `segmenter pseudo-label` has not finished.
    """
    return [_open_extra(location, dataset) for location in locations]


def _open_extra(location: str, dataset: Dataset) -> SceneSource:
    folder = Path(location)
    if not folder.exists() and not location.startswith("sim:"):
        raise DataError(
            f"--extra {location}: no such folder; name one that `marsgen synthesize` or `segmenter pseudo-label` wrote"
        )
    if (folder / "config.yaml").is_file():
        Run.load(folder, "marsgen synthesize", "marsgen export", "segmenter pseudo-label")
    own_classes = (folder / "classes.yaml").is_file() or not folder.is_dir()
    extra = open_scenes(location, classes=None if own_classes else dataset.scenes.classes)
    check_extra(extra, dataset)
    return extra


def describe_extra(extra: SceneSource) -> dict[str, object]:
    """What a run records of an extra source: where it lay, what was in it and, where known, what made it."""
    head = _read_head(Path(extra.location))
    keys = ("generator", "mode", "drawing", "n", "recipe", "teachers", "keep")
    made: dict[str, object] = {key: head[key] for key in keys if key in head}
    return {"location": extra.location, "fingerprint": extra.fingerprint(), **made}


def check_extra(extra: SceneSource, dataset: Dataset) -> None:
    """Raise DataError unless every scene of `extra` may join training on `dataset`; see `open_extras`."""
    real, where = dataset.scenes, f"--extra {extra.location}"
    if not len(extra):
        raise DataError(f"{where}: no scene in it; name a folder that `marsgen synthesize` has filled")
    for what, there, here in (
        ("classes", numbering(extra.classes), numbering(real.classes)),
        ("channels", extra.channels, real.channels),
        ("height and width", extra.shape, real.shape),
    ):
        if there != here and (what != "height and width" or real.shape is not None):
            raise DataError(
                f"{where}: its {what} are {there}, those of {real.location} are {here}; "
                "extra scenes have to be made from the same kind of data"
            )
    _refuse_leaks(extra, dataset, where)


def numbering(classes: ClassSet) -> str:
    """Ids and names in words, such as 1=soil, 4=big_rock, 0=ignored."""
    pairs = [f"{i}={n}" for i, n in zip(classes.ids, classes.names, strict=True)]
    return ", ".join([*pairs, f"{classes.ignored}=ignored"])


def _refuse_leaks(extra: SceneSource, dataset: Dataset, where: str) -> None:
    held_out = {
        dataset.survey.keys[i]: f"{dataset.scenes.names[i]}, a {part} scene of this run"
        for part, indices in (("validation", dataset.split.val), ("test", dataset.split.test))
        for i in indices
    }
    # scenes beyond the limit come back in by this door too; an exact copy of one may be a training scene
    train = {dataset.survey.keys[i] for i in dataset.split.train}
    held_out |= {
        dataset.survey.keys[i]: f"{dataset.scenes.names[i]}, a scene beyond data.rare_scenes of this run"
        for i in dataset.split.beyond_limit
        if dataset.survey.keys[i] not in train
    }
    how = "this data with the same data settings (val_fraction, folds, split_seed and so on)"
    made_again = f"train its teachers again on {how}" if "teachers" in _read_head(Path(extra.location)) else ""
    remedy = made_again or f"make it again from {how}"
    for key in trained_on(Path(extra.location)):
        if key in held_out:
            raise DataError(f"{where}: what made it has learned from {held_out[key]}; {remedy}")
    unknown = 0
    for index, name in enumerate(extra.names):
        origin = extra.origin(index)
        if origin.kind == "synthetic":
            relation, keys = "was grown from", origin.ancestors
        else:
            unknown += 1
            relation, keys = "is the same picture as", (scene_key(extra.read(index)[0]),)
        for key in keys:
            if key in held_out:
                raise DataError(f"{where}: scene {name} {relation} {held_out[key]}; {remedy}")
    if unknown:
        head = _read_head(Path(extra.location))
        labelled = "teachers" in head and not head.get("synthetic")
        real = f"its {unknown} pictures are real ones that networks have labelled"
        other = f"nothing says what {unknown} of its {len(extra)} scenes were made from"
        say_note(
            f"{where}: {real if labelled else other}; none of them is a validation scene, but an altered copy of one "
            "would not be noticed"
        )


def trained_on(folder: Path) -> list[str]:
    """Keys of the scenes that what made a folder (generator, judge, teachers) has learned from; [] if nothing says."""
    return [str(key) for key in _read_head(folder).get("trained_on", [])]


def _read_head(folder: Path) -> dict[str, Any]:
    """What `marsgen synthesize` or `segmenter pseudo-label` wrote about a folder (synth.json); {} for other folders."""
    path = folder / "synth.json"
    if not path.is_file():
        return {}
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(head["trained_on"], list):
            return head
        problem = f"'trained_on' is {head['trained_on']!r}"
    except (OSError, ValueError, KeyError, TypeError) as raised:
        problem = str(raised)
    raise DataError(f"{path}: not readable json with a list 'trained_on' ({problem}); make the folder again")


# how it is drawn


def _refuse_unlearnable_ignored(dataset: Dataset) -> None:
    where, train = dataset.scenes.location, dataset.split.train
    made = any(dataset.scenes.origin(index).kind == "synthetic" for index in train)
    if made or "teachers" in _read_head(Path(where)):
        raise DataError(
            f"{where}: void_weight is set, but these scenes were not labelled by people: no label may mean no "
            "more than that nobody was sure; set void_weight=0, or give the real scenes with --data"
        )
    if not dataset.survey.pixels[list(train), len(dataset.scenes.classes) :].any():
        raise DataError(
            f"{where}: void_weight is set, but every pixel of the {len(train)} training scenes has a label; "
            "set void_weight=0"
        )


class Stream:
    """Scenes of one kind, drawn in shuffled order: each once before any comes again.

    Args:
        name: one of real, rare, extra; streams of different names are shuffled differently.
        members: (N, 2) integers: number of the source, index of the scene in it.
        share: of each batch, in [0, 1].
    """

    def __init__(self, name: str, members: np.ndarray, share: float, seed: int) -> None:
        self.name, self.members, self.share = name, members, share
        self.entropy = (seed, *name.encode())

    def count_before(self, step: int, batch_size: int) -> int:
        """Scenes drawn in steps 1..step-1; the running total never strays a whole scene from the stated share."""
        return math.floor((step - 1) * batch_size * self.share + 1e-6)

    def draw(self, first: int, count: int) -> list[tuple[int, int]]:
        """(source, index) of the draws first..first+count-1."""
        drawn = []
        for position in range(first, first + count):
            epoch, place = divmod(position, len(self.members))
            source, index = self.members[_shuffled(len(self.members), *self.entropy, epoch)[place]]
            drawn.append((int(source), int(index)))
        return drawn


@lru_cache(maxsize=6)
def _shuffled(length: int, *entropy: int) -> np.ndarray:
    return np.random.default_rng(entropy).permutation(length)


class TrainingBatches(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Item s is the batch of step s (1..steps), a pure function of (config, scenes, s), or one process's share of it.

    The shares of all processes, one after the other, are the batch that one process would get.

    Scenes are read when they are needed, so memory does not grow with their number.

    Args:
        config: batch_size, extra_fraction, rare_fraction, void_weight, crop, augment and seed are read.
        dataset: real scenes; only those of the train part of its split are ever drawn.
        extras: checked sources (`open_extras`) that share `extra_fraction` of each batch.
        process_group: the processes that share each batch.
    Raises:
        ConfigError: the batch does not divide among the processes.
        DataError: no scene to train on, rare_fraction without a rare class in any training scene, or void_weight where
            no pixel without a label means that there is nothing to label.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        extras: Sequence[SceneSource] = (),
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        if config.void_weight:
            _refuse_unlearnable_ignored(dataset)
        self.config = config
        self.mine = share_batch(config.batch_size, process_group)
        self.sources: list[SceneSource] = [dataset.scenes, *extras]
        self.window = config.crop
        if self.window is None and dataset.scenes.shape is None:
            self.window = CROP_OF_MIXED_SIZES
        self.augmentation = build_augmentation(config.augment)
        self.rare = self._rare_stream(dataset)
        self.extra = self._extra_stream(extras)
        self.real = self._stream("real", 0, dataset.split.train, 1.0)
        if not len(self.real.members):
            raise DataError(
                f"{dataset.scenes.location}: no scene is left to train on; lower data.val_fraction or data.test_fraction"
            )

    def _stream(self, name: str, source: int, indices: Sequence[int], share: float) -> Stream:
        members = np.stack([np.full(len(indices), source), np.asarray(indices, np.int64)], axis=1)
        return Stream(name, members, share, self.config.seed)

    def _rare_stream(self, dataset: Dataset) -> Stream:
        classes = dataset.scenes.classes
        rare = [classes.index(name) for name in classes.rare]
        showing = [i for i in dataset.split.train if dataset.survey.pixels[i, rare].any()]
        if self.config.rare_fraction and not showing:
            raise DataError(
                f"{dataset.scenes.location}: rare_fraction is {self.config.rare_fraction}, but no training scene shows a "
                f"rare class ({', '.join(classes.rare) or 'the classes file names none'}); set rare_fraction=0"
            )
        return self._stream("rare", 0, showing, self.config.rare_fraction)

    def _extra_stream(self, extras: Sequence[SceneSource]) -> Stream:
        parts = [self._stream("extra", n, range(len(e)), 0.0).members for n, e in enumerate(extras, start=1)]
        members = np.concatenate([np.empty((0, 2), np.int64), *parts])
        return Stream("extra", members, self.config.extra_fraction if extras else 0.0, self.config.seed)

    def __len__(self) -> int:
        return self.config.steps

    def plan(self, step: int) -> list[tuple[int, int]]:
        """(source, index) of each scene in the batch of `step`; source 0 = real, 1.. = the extras in order."""
        batch_size, drawn = self.config.batch_size, []
        total_before, total_after = (step - 1) * batch_size, step * batch_size
        for stream in (self.extra, self.rare):
            before, after = stream.count_before(step, batch_size), stream.count_before(step + 1, batch_size)
            drawn += stream.draw(before, after - before)
            total_before, total_after = total_before - before, total_after - after
        # what the other two leave over
        return self.real.draw(total_before, total_after - total_before) + drawn

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, channels, H, W) float32 in [-1, 1] and labels (B, H, W) int64, 255 = ignored.

        With `config.void_weight`, pixels of real scenes without a label are C, the number of the classes.
        """
        rng = np.random.default_rng([self.config.seed, step])
        # random numbers are drawn for the whole batch: each window has its own, whoever takes it
        windows = [self._window(*member, rng, place in self.mine) for place, member in enumerate(self.plan(step))]
        pairs = [window for window in windows if window is not None]
        seed = int(rng.integers(2**63))
        with one_thread():
            images = torch.from_numpy(np.stack([image for image, _ in pairs])).movedim(-1, 1).contiguous()
            labels = torch.from_numpy(np.stack([indices for _, indices in pairs]))
            samples_per_draw = self.config.augment.samples_per_draw
            images, labels = augment(images, labels, self.augmentation, samples_per_draw, seed, self.mine.start)
            # a stream of its own: one scale alone draws nothing, and the windows stay what they were
            scale = float(np.random.default_rng([self.config.seed, step, 2]).choice(self.config.scales))
            pictures = resize_images(image_tensor(images.movedim(1, -1).numpy()), scale)
            return pictures, resize_labels(label_tensor(labels.numpy()), scale)

    def _window(
        self, source: int, index: int, rng: np.random.Generator, mine: bool
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """One scene, or a random window of it: (H, W, channels) uint8 image and (H, W) uint8 class indices.

        None where it is another process's; such a scene is read only if nothing else tells its size.
        """
        scenes = self.sources[source]
        scene = scenes[index] if mine or scenes.shape is None else None
        if self.window is not None:
            size = scene.labels.shape if scene else scenes.shape
            assert size is not None
            corner = [int(rng.integers(max(have - want, 0) + 1)) for want, have in zip(self.window, size, strict=True)]
        if scene is None or not mine:
            return None
        image, indices = scene.image, scene.indices
        if self.config.void_weight and source == 0:
            # in extra scenes no label may mean no more than that nobody was sure
            indices = np.where(indices == IGNORED_INDEX, len(scene.classes), indices).astype(np.uint8)
        if self.window is None:
            return image, indices
        short = [max(want - have, 0) for want, have in zip(self.window, indices.shape, strict=True)]
        # a scene smaller than the window: the rim repeats the edge and is ignored
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
        indices = np.pad(indices, ((0, short[0]), (0, short[1])), constant_values=IGNORED_INDEX)
        (top, left), (height, width) = corner, self.window
        inside = slice(top, top + height), slice(left, left + width)
        return image[inside], indices[inside]


def share_batch(batch_size: int, process_group: ProcessGroup) -> range:
    """The places in each batch that fall to this process; neighbours stay together, as they share augmentation.

    Raises:
        ConfigError: the batch does not divide among the processes.
    """
    share, rest = divmod(batch_size, process_group.num_processes)
    if rest:
        raise ConfigError(
            f"batch_size is {batch_size}; it has to be a multiple of the {process_group.num_processes} processes"
        )
    return range(share * process_group.process_index, share * (process_group.process_index + 1))


def iterate_batches(batches: TrainingBatches, first: int) -> Iterator[tuple[int, tuple[torch.Tensor, torch.Tensor]]]:
    """(step, batch) for steps first..steps, prepared by `config.workers` processes."""
    steps = range(first, len(batches) + 1)
    # batch_size=None: an item is a batch already; the sampler is the list of steps still to do
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=batches.config.workers)
    return zip(steps, loader, strict=True)
