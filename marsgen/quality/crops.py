"""Square crops round regions of a rare class: real ones by their connected labels, pasted ones by the manifest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.geometry import Box, connected_regions
from marsgen.scenes.scene import Scene, SceneSource

__all__ = ["RareRegion", "crop_window", "find_pasted", "find_real"]


@dataclass(frozen=True, eq=False)
class RareRegion:
    """One connected region of a class in one scene."""

    scene: int
    """index of the scene in its source"""
    class_name: str
    box: Box
    """the smallest box that holds the region"""
    mask: np.ndarray
    """(h, w) bool: its pixels within the box"""
    pixels: np.ndarray
    """(h, w, channels) uint8: the image within the box"""
    crop: np.ndarray
    """(side, side, channels) uint8 of the scene round the region; smaller only where the scene is"""
    touches: tuple[bool, bool, bool, bool]
    """whether the scene's border cuts it off at the top, left, bottom, right"""


def find_real(
    scenes: SceneSource, indices: Sequence[int], class_name: str, min_px: int, side: int, border_px: int = 3
) -> list[RareRegion]:
    """Every connected region (8 neighbours) of a class with at least `min_px` pixels, in the order of `indices`.

    Args:
        side: of the crops in pixels.
        border_px: a region this near to the scene's border counts as cut off by it; annotators leave a rim.
    """
    class_id = scenes.classes.ids[scenes.classes.index(class_name)]
    found = []
    for index in indices:
        scene = scenes[index]
        for mask, box in connected_regions(scene.labels == class_id):
            if mask.sum() >= min_px:
                found.append(_region(scene, index, class_name, box, mask, side, border_px))
    return found


def find_pasted(
    scene: Scene, index: int, donors: Iterable[dict], class_name: str, side: int, border_px: int = 3
) -> list[RareRegion]:
    """The regions of a class that a manifest line says were pasted into its scene.

    Args:
        donors: of the manifest line; `box` is the changed window [top, left, bottom, right], `class` what was pasted.
    Returns:
        for each of them the largest connected region of the class inside its window: a soft edge may reach into the
        window of a neighbour. A window that shows none of the class any more gives none.
    Raises:
        DataError: a box is no window of the scene.
    """
    class_id = scene.classes.ids[scene.classes.index(class_name)]
    found = []
    for donor in donors:
        if donor.get("class") != class_name:
            continue
        window = _read_box(donor.get("box"), scene)
        regions = list(connected_regions(scene.labels[window.slices] == class_id))
        if regions:
            mask, inner = max(regions, key=lambda region: region[0].sum())
            box = inner.shifted(window.top, window.left)
            found.append(_region(scene, index, class_name, box, mask, side, border_px))
    return found


def isolate(region: RareRegion, side: int) -> np.ndarray:
    """(side, side, channels) uint8: a region resized to a square, its surroundings replaced by its mean."""
    from skimage.transform import resize  # here: slow to import

    inside = region.pixels[region.mask].mean(0)
    picture = np.where(region.mask[..., None], region.pixels, inside).astype(np.float32)
    resized = resize(picture, (side, side), order=1, preserve_range=True, anti_aliasing=True)
    return resized.round().clip(0, 255).astype(np.uint8)


def crop_window(box: Box, shape: tuple[int, int], side: int) -> Box:
    """The square of `side` pixels round the middle of a box, moved inside a (height, width) scene where it would leave.

    Along an axis on which the scene is smaller than `side` it is the scene: pixels beyond are never invented.
    """
    top, bottom = _inside((box.top + box.bottom) / 2, shape[0], side)
    left, right = _inside((box.left + box.right) / 2, shape[1], side)
    return Box(top, left, bottom, right)


def _inside(middle: float, length: int, side: int) -> tuple[int, int]:
    side = min(side, length)
    start = min(max(round(middle - side / 2), 0), length - side)
    return start, start + side


def _region(
    scene: Scene, index: int, class_name: str, box: Box, mask: np.ndarray, side: int, border_px: int
) -> RareRegion:
    height, width = scene.labels.shape
    touched = box.touched_sides((height, width), border_px)
    crop = scene.image[crop_window(box, (height, width), side).slices]
    top, left, bottom, right = (name in touched for name in Box._fields)
    return RareRegion(
        # copies: a view would keep the whole scene in memory
        index,
        class_name,
        box,
        mask.copy(),
        scene.image[box.slices].copy(),
        crop.copy(),
        (top, left, bottom, right),
    )


def _read_box(box: object, scene: Scene) -> Box:
    height, width = scene.labels.shape
    if isinstance(box, list) and len(box) == 4 and all(isinstance(side, int) for side in box):
        window = Box(*box)
        if 0 <= window.top < window.bottom <= height and 0 <= window.left < window.right <= width:
            return window
    raise DataError(
        f"{scene.name}: box {box} in its manifest line is no window [top, left, bottom, right] of a scene of "
        f"{height} x {width} pixels; make the synthetic scenes again"
    )
