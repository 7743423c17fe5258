"""Training batches of the generators: windows of scenes, rare ones more often, each with an inpainting mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.scene import SceneSource


@dataclass(frozen=True, eq=False)
class InpaintingBatch:
    """B equal-sized windows, each with an inpainting mask."""

    images: np.ndarray
    """(B, h, w, channels) uint8 real pixels"""
    indices: np.ndarray
    """(B, h, w) uint8 class indices, 255 = ignored"""
    inpainting_mask: np.ndarray
    """(B, h, w) float32 in [0, 1], 1 = to be generated"""
    seeds: np.ndarray
    """(B,) uint64 for the noise of each sample"""
    labelled: np.ndarray
    """(B,) bool: False where the picture comes without a label map, and `indices` are all 255"""


@dataclass(frozen=True)
class InpaintingSampler:
    """Training batches; sample b of step s is a pure function of (seed, s, b)."""

    scenes: SceneSource
    train: Sequence[int]
    """indices of the scenes to learn from"""
    rare_train: Mapping[int, Sequence[int]]
    """those of them that show a rare class: index of the class -> indices of the scenes, at least one"""
    rare: tuple[int, ...]
    """class indices of the rare classes"""
    rare_fraction: float
    scene_fraction: float
    crop_px: int
    seed: int
    unlabelled: Sequence[SceneSource] = ()
    """more pictures, without label maps"""
    unlabelled_fraction: float = 0.0

    def batch(self, step: int, samples: Sequence[int]) -> InpaintingBatch:
        """The samples of step `step` whose numbers are listed."""
        streams = [np.random.default_rng([self.seed, step, sample]) for sample in samples]
        scenes = [self._pick(rng) for rng in streams]
        # scenes may differ in size, windows of one batch may not
        height, width = (min(self.crop_px, *(s.shape[axis] for _, s, *_ in scenes)) for axis in (0, 1))
        windows = [
            cut_window(image, indices, (height, width), () if wanted is None else (wanted,), rng)
            for (image, indices, _, wanted), rng in zip(scenes, streams, strict=True)
        ]
        inpainting_masks = [
            np.ones((height, width), np.float32)
            if rng.random() < self.scene_fraction
            else soft_window(indices, self.rare, rng)
            for (_, indices), rng in zip(windows, streams, strict=True)
        ]
        labelled = [found for _, _, found, _ in scenes]
        seeds = [rng.integers(2**63) for rng in streams]
        return InpaintingBatch(
            np.stack([image for image, _ in windows]),
            np.stack([indices for _, indices in windows]),
            np.stack(inpainting_masks),
            np.array(seeds, np.uint64),
            np.array(labelled),
        )

    def _pick(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool, int | None]:
        """Picture, class indices, whether it has labels, the rare class that was wanted."""
        labelled = not (self.unlabelled and rng.random() < self.unlabelled_fraction)
        wanted = None
        if labelled and rng.random() < self.rare_fraction and self.rare_train:
            # the class before the scene, so that one that many scenes show does not hide one that few do
            classes = list(self.rare_train)
            wanted = classes[int(rng.integers(len(classes)))]
        image, indices = self._pick_labelled(wanted, rng) if labelled else self._pick_unlabelled(rng)
        if rng.random() < 0.5:
            image, indices = image[:, ::-1], indices[:, ::-1]
        return image, indices, labelled, wanted

    def _pick_unlabelled(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        number = int(rng.integers(sum(map(len, self.unlabelled))))
        for source in self.unlabelled:
            if number < len(source):
                break
            number -= len(source)
        image, _ = source.read(number)
        return image, np.full(image.shape[:2], IGNORED_INDEX, np.uint8)

    def _pick_labelled(self, wanted: int | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pool = self.train if wanted is None else self.rare_train[wanted]
        scene = self.scenes[pool[int(rng.integers(len(pool)))]]
        return scene.image, scene.indices


def cut_window(
    image: np.ndarray, indices: np.ndarray, size: tuple[int, int], rare: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A window of `size`: centred on a pixel of a rare class as far as the border allows, else anywhere.

    The class is drawn first and the pixel second, so that a large class does not hide a small one (nnU-Net, Isensee et
    al. 2021, doi:10.1038/s41592-020-01008-z, oversamples in this way).

    Args:
        rare: class indices that the window has to show; empty, or none of them in the scene = a random window.
    """
    centre = None
    if indices.shape != size and (shown := [number for number in rare if (indices == number).any()]):
        pixels = np.argwhere(indices == shown[int(rng.integers(len(shown)))])
        centre = pixels[int(rng.integers(len(pixels)))]
    corner = []
    for axis in (0, 1):
        last = indices.shape[axis] - size[axis]
        first = int(rng.integers(last + 1)) if centre is None else int(centre[axis]) - size[axis] // 2
        corner.append(min(max(first, 0), last))
    where = np.s_[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    return image[where], indices[where]


def soft_window(indices: np.ndarray, rare: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """A random inpainting mask with a soft edge; half of them surround a region of a rare class where there is one.

    Returns:
        (h, w) float32: 1 up to a random margin around the region (or its bounding box, or a random box), then
        falling to 0 over a random width.
    """
    regions, _ = label(np.isin(indices, rare))
    pixels = np.argwhere(regions)
    if len(pixels) and rng.random() < 0.5:
        core = regions == regions[tuple(pixels[rng.integers(len(pixels))])]
        distance = distance_transform_edt(~core) if rng.random() < 0.5 else _distance_to_box(core.shape, _box(core))
    else:
        sides = [rng.integers(4, max(5, side // 2)) for side in indices.shape]
        corner = [int(rng.integers(-side // 2, whole)) for side, whole in zip(sides, indices.shape, strict=True)]
        box = [(c, c + int(s) - 1) for c, s in zip(corner, sides, strict=True)]
        distance = _distance_to_box(indices.shape, box)
    # often no margin: synthesis fills masks without one
    margin, rim = max(0.0, rng.uniform(-4, 8)), rng.uniform(0.5, 8)
    return np.clip(1 - (distance - margin) / rim, 0, 1).astype(np.float32)


def _box(core: np.ndarray) -> list[tuple[int, int]]:
    """First and last row, first and last column of the true pixels."""
    return [(int(where.min()), int(where.max())) for where in np.nonzero(core)]


def _distance_to_box(shape: tuple[int, ...], box: list[tuple[int, int]]) -> np.ndarray:
    rows, columns = (
        np.maximum(0, np.maximum(first - np.arange(side), np.arange(side) - last))
        for side, (first, last) in zip(shape, box, strict=True)
    )
    return np.hypot(rows[:, None], columns[None, :])
