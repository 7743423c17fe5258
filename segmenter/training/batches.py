"""The training batches: real, rare and extra scenes mixed at stated fractions, cut into windows and augmented."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from marsgen.cleaning.dataset import Dataset
from marsgen.core.errors import DataError
from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.training import share_batch
from marsgen.provenance import labelled_by_people
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.geometry import Box
from marsgen.scenes.scene import Scene, SceneSource
from marsgen.scenes.tensors import image_tensor, label_tensor, one_thread
from segmenter.inference.sliding_window import resize_images, resize_labels
from segmenter.training.augment import augment
from segmenter.training.config import RARE_FRACTION, TrainConfig

CROP_OF_MIXED_SIZES = (128, 128)
"""(height, width) in pixels of training windows where scenes differ in size and the config names no crop"""
WHOLE_PX = 2**18
"""pixels of the largest scenes of one size that are trained on whole where the config names no crop: 512 x 512. A batch
of 16 such takes about 2 GB; of aerial pictures of 1200 x 1500 it would take 20"""
CROP_OF_LARGE_SCENES = (256, 256)
"""(height, width) in pixels of training windows of larger scenes"""


def window_of(shape: tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) of training windows where the config names no crop; None = whole scenes.

    Args:
        shape: of every scene; None where they differ.
    """
    if shape is None:
        return CROP_OF_MIXED_SIZES
    return None if shape[0] * shape[1] <= WHOLE_PX else CROP_OF_LARGE_SCENES


class ShuffledScenes:
    """Scenes of one kind in shuffled order, epoch after epoch: each once before any is repeated.

    Several lists take turns, each with an order of its own: a short one gets as many places as a long one.

    Args:
        name: real, rare or extra; each name has its own order.
        lists: (N, 2) integers each, none empty: number of the source, index of the scene in it.
        fraction: of each batch, in [0, 1].
        steps: (first, last): such scenes are in the batches of steps first+1..last only; None = in all.
    """

    def __init__(
        self,
        name: str,
        lists: Sequence[np.ndarray],
        fraction: float,
        seed: int,
        steps: tuple[int, int] | None = None,
    ) -> None:
        self.lists, self.fraction, self.steps = lists, fraction, steps
        self.entropy = (seed, *name.encode())

    def count_before(self, step: int, batch_size: int) -> int:
        """Scenes used in steps 1..step-1: the stated fraction of all between `steps`, rounded down."""
        done = step - 1
        if self.steps is not None:
            first, last = self.steps
            done = min(max(done, first), last) - first
        return math.floor(done * batch_size * self.fraction + 1e-6)

    def take(self, first: int, count: int) -> list[tuple[int, int]]:
        """(source, index) of the positions first..first+count-1 in the order."""
        taken = []
        for position in range(first, first + count):
            turn = self.turn(position)
            members, own = self.lists[turn], (turn,) if turn else ()
            epoch, place = divmod(position // len(self.lists), len(members))
            source, index = members[_permutation(len(members), *self.entropy, *own, epoch)[place]]
            taken.append((int(source), int(index)))
        return taken

    def turn(self, position: int) -> int:
        """Number of the list that the scene at a position is from."""
        return position % len(self.lists)


@lru_cache(maxsize=32)
def _permutation(length: int, *entropy: int) -> np.ndarray:
    return np.random.default_rng(entropy).permutation(length)


def _members(source: int, indices: Sequence[int]) -> np.ndarray:
    return np.stack([np.full(len(indices), source), np.asarray(indices, np.int64)], axis=1)


class TrainingBatches(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Item s is the batch of step s (1..steps), a pure function of (config, scenes, s), or one process's part of it.

    The parts of all processes, one after the other, are the batch that a single process would get. Scenes are read when
    they are needed, so memory does not grow with their number.

    Args:
        config: steps, batch_size, extra_fraction, extra_steps, rare_fraction, void_weight, crop, scales, augment and
            seed are read.
        dataset: real scenes; only those of the train part are used.
        extras: checked sources (`open_extras`), together `extra_fraction` of each batch.
        process_group: the processes that share each batch.
    Raises:
        ConfigError: the batch does not divide among the processes.
        DataError: no scene to train on, rare_fraction without a rare class in any training scene, or void_weight where
            pixels without a label cannot be learned.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        extras: Sequence[SceneSource] = (),
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        if config.void_weight:
            refuse_unlearnable_void(dataset)
        self.config = config
        self.mine = share_batch(config.batch_size, process_group)
        self.sources: list[SceneSource] = [dataset.scenes, *extras]
        self.window = config.crop or window_of(dataset.scenes.shape)
        self.rare_classes, self.rare = self._rare_scenes(dataset)
        self.extra = self._extra_scenes(extras)
        self.real = ShuffledScenes("real", [_members(0, dataset.split.train)], 1.0, config.seed)
        if not dataset.split.train:
            raise DataError(
                f"{dataset.scenes.location}: no scene is left to train on; lower data.val_fraction or test_fraction"
            )

    def _rare_scenes(self, dataset: Dataset) -> tuple[list[str], ShuffledScenes]:
        """The rare classes that training scenes show, and for each of them those scenes."""
        classes, showing = dataset.scenes.classes, dataset.rare_train_scenes()
        fraction = self.config.most_rare if showing else 0.0
        if self.config.rare_fraction and not showing:
            raise DataError(
                f"{dataset.scenes.location}: rare_fraction is {self.config.rare_fraction}, but no training scene shows "
                f"a rare class ({', '.join(classes.rare) or 'the classes file names none'}); set rare_fraction=0"
            )
        if self.config.rare_fraction is None:
            # a class that scenes as they come show that often would be drawn no more often by its turns
            most = RARE_FRACTION * len(dataset.split.train)
            showing = {name: indices for name, indices in showing.items() if len(indices) < most}
            fraction = fraction if showing else 0.0
        lists = [_members(0, indices) for indices in showing.values()]
        return list(showing), ShuffledScenes("rare", lists, fraction, self.config.seed)

    def _extra_scenes(self, extras: Sequence[SceneSource]) -> ShuffledScenes:
        members = [_members(number, range(len(extra))) for number, extra in enumerate(extras, start=1)]
        steps = self.config.steps_with_extra
        lists = [np.concatenate(members)] if members else []
        return ShuffledScenes("extra", lists, self.config.extra_fraction if extras else 0.0, self.config.seed, steps)

    def __len__(self) -> int:
        return self.config.steps

    def describe(self) -> str:
        """Which part of a batch is drawn for rare classes, how often each of their scenes; which is extra, and when."""
        return self._describe_windows() + self._describe_rare() + self._describe_extra()

    def _describe_windows(self) -> str:
        if self.window is None or self.config.crop is not None:
            return ""
        height, width = self.window
        shape = self.sources[0].shape
        why = "scenes of several sizes" if shape is None else f"scenes of {shape[0]} x {shape[1]}"
        return f"windows of {height} x {width} px of {why} (another size with crop); "

    def _describe_extra(self) -> str:
        if not self.extra.fraction:
            return ""
        first, last = self.config.steps_with_extra
        return f"; extra_fraction: {self.extra.fraction:g} of the batches of steps {first + 1:,} to {last:,} is extra"

    def _describe_rare(self) -> str:
        if not self.rare.fraction:
            return "rare_fraction: 0, real scenes are drawn as they come"
        drawn = self.config.steps * self.config.batch_size * self.rare.fraction / len(self.rare_classes)
        showing = ", ".join(
            f"{name} (in {len(scenes)} of {len(self.real.lists[0])} scenes, each drawn about "
            f"{max(1, round(drawn / len(scenes))):,} times)"
            for name, scenes in zip(self.rare_classes, self.rare.lists, strict=True)
        )
        turns = ", in turns" * (len(self.rare_classes) > 1)
        return f"rare_fraction: {self.rare.fraction:g} of each batch is drawn for {showing}{turns}"

    def plan(self, step: int) -> list[tuple[int, int]]:
        """(source, index) of each scene in the batch of `step`; source 0 = real, 1.. = the extras in order.

        Extra scenes take the places of real ones, and no other place changes: runs with and without them, or with
        different ones, see the same real scenes in the same steps, so that their scores differ by less chance.
        """
        batch_size = self.config.batch_size
        rare_before, rare = self._used(self.rare, step)
        extra_before, extra = self._used(self.extra, step)
        real = self.real.take((step - 1) * batch_size - rare_before, batch_size - rare)
        extra = min(extra, len(real))  # both fractions may round up in one step
        return real[: len(real) - extra] + self.extra.take(extra_before, extra) + self.rare.take(rare_before, rare)

    def _used(self, scenes: ShuffledScenes, step: int) -> tuple[int, int]:
        """How many of `scenes` were used before `step`, and how many are in it."""
        before, after = (scenes.count_before(number, self.config.batch_size) for number in (step, step + 1))
        return before, after - before

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, channels, H, W) float32 in [-1, 1] and labels (B, H, W) int64, 255 = ignored.

        With `config.void_weight`, unlabelled pixels of real scenes have the index C, the number of classes.
        """
        members = self.plan(step)
        pairs = [self._window(*members[place], (step, place), self._rare_class(step, place)) for place in self.mine]
        seed = int(np.random.default_rng([self.config.seed, step]).integers(2**63))
        with one_thread():
            images = torch.from_numpy(np.stack([image for image, _ in pairs])).movedim(-1, 1).contiguous()
            labels = torch.from_numpy(np.stack([indices for _, indices in pairs]))
            images, labels = augment(images, labels, self.config.augment, seed, self.mine.start)
            # its own random generator, so that the windows do not depend on the scales
            scale = float(np.random.default_rng([self.config.seed, step, 2]).choice(self.config.scales))
            pictures = resize_images(image_tensor(images.movedim(1, -1).numpy()), scale)
            return pictures, resize_labels(label_tensor(labels.numpy()), scale)

    def _rare_class(self, step: int, place: int) -> str | None:
        """The class that the scene at a place of a batch was drawn for; None = for none."""
        before, count = self._used(self.rare, step)
        number = place - (self.config.batch_size - count)  # they come last
        return self.rare_classes[self.rare.turn(before + number)] if number >= 0 else None

    def _window(
        self, source: int, index: int, step_and_place: tuple[int, int], shown: str | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One scene, or a window of it: (H, W, channels) uint8 image and (H, W) uint8 class indices.

        Args:
            step_and_place: step, and place in its batch; each pair has its own random numbers, so that a window depends
                neither on the number of processes nor on what stands in other places.
            shown: class that the scene shows and the window is centred on, as far as the border allows; None = see
                `_pixels_to_show`.
        """
        scene = self.sources[source][index]
        image, indices = scene.image, scene.indices
        if self.config.void_weight and source == 0:
            # not in extra scenes: there, no label may only mean an uncertain one
            indices = np.where(indices == IGNORED_INDEX, len(scene.classes), indices).astype(np.uint8)
        if self.window is None:
            return image, indices
        rng = np.random.default_rng([self.config.seed, *step_and_place, 3])
        corner = [
            int(rng.integers(max(have - want, 0) + 1)) for want, have in zip(self.window, indices.shape, strict=True)
        ]
        pixels = self._pixels_to_show(source, index, scene, shown, rng)
        if len(pixels):
            centre = pixels[int(rng.random(2)[1] * len(pixels))]
            corner = [
                min(max(int(middle) - want // 2, 0), max(have - want, 0))
                for middle, want, have in zip(centre, self.window, indices.shape, strict=True)
            ]
        short = [max(want - have, 0) for want, have in zip(self.window, indices.shape, strict=True)]
        # a scene smaller than the window is padded with its edge, and the padding ignored
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
        indices = np.pad(indices, ((0, short[0]), (0, short[1])), constant_values=IGNORED_INDEX)
        (top, left), (height, width) = corner, self.window
        inside = slice(top, top + height), slice(left, left + width)
        return image[inside], indices[inside]

    def _pixels_to_show(
        self, source: int, index: int, scene: Scene, shown: str | None, rng: np.random.Generator
    ) -> np.ndarray:
        """(N, 2) rows and columns, on one of which a window is centred; none = it may lie anywhere.

        A window of a synthetic scene shows one of the regions that were pasted there, or where nothing was pasted, a
        rare class: of a large scene, most windows would show neither.
        """
        labels, classes = scene.labels, scene.classes
        if shown is not None:
            return np.argwhere(scene.indices == classes.index(shown))
        none = np.zeros((0, 2), np.intp)
        if not source or not any(have > want for want, have in zip(self.window or (), labels.shape, strict=True)):
            return none
        record = self.sources[source].record(index)
        if "donors" not in record:  # not made by `marsgen synthesize`
            return none
        pasted = [
            (classes.ids[classes.index(name)], box) for name, box in _pasted_boxes(record) if name in classes.names
        ]
        if not pasted:
            return np.argwhere(np.isin(labels, [classes.ids[classes.index(name)] for name in classes.rare]))
        class_id, box = pasted[int(rng.integers(len(pasted)))]
        return np.argwhere(labels[box.slices] == class_id) + (box.top, box.left)


def _pasted_boxes(record: dict[str, Any]) -> list[tuple[str, Box]]:
    """Class and changed window of each region that the manifest line of a scene says was pasted (`Place.record`)."""
    found = []
    for donor in record["donors"]:
        with suppress(KeyError, TypeError, ValueError):  # lines of other makers know no more than name and key
            top, left, bottom, right = (int(side) for side in donor["box"])
            found.append((str(donor["class"]), Box(max(top, 0), max(left, 0), max(bottom, 0), max(right, 0))))
    return found


def iterate_batches(batches: TrainingBatches, first: int) -> Iterator[tuple[int, tuple[torch.Tensor, torch.Tensor]]]:
    """(step, batch) for steps first..steps, prepared by `config.workers` processes."""
    steps = range(first, len(batches) + 1)
    # batch_size=None: an item is already a batch; the sampler is the list of remaining steps
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=batches.config.workers)
    return zip(steps, loader, strict=True)


def refuse_unlearnable_void(dataset: Dataset) -> None:
    """Raise DataError where unlabelled pixels of the train part do not mean "nothing to label here"."""
    where, train = dataset.scenes.location, dataset.split.train
    if not labelled_by_people(dataset):
        raise DataError(
            f"{where}: void_weight is set, but these scenes were not labelled by people: an unlabelled pixel may "
            "only be an uncertain one; set void_weight=0, or give the real scenes with --data"
        )
    if not dataset.survey.pixels[list(train), len(dataset.scenes.classes) :].any():
        raise DataError(
            f"{where}: void_weight is set, but every pixel of the {len(train)} training scenes has a label; "
            "set void_weight=0"
        )
