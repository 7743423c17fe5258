"""What the generator is given to draw: a soft inpainting mask, and windows around its patches."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from marsgen.scenes.geometry import Box, connected_regions

MULTIPLE_PX = 32
"""sides of windows are multiples of this, so that windows of many samples share a size and are drawn together"""


def soft_inpainting_mask(changed: np.ndarray, soft_edge_px: float) -> np.ndarray:
    """(H, W) bool pixels whose label was set -> (H, W) float32: 1 there, falling to 0 over `soft_edge_px` outside."""
    inpainting_mask = np.zeros(changed.shape, np.float32)
    if changed.any():
        # distances are only needed near the region, not in the whole image
        near = Box.around(changed).grown(int(np.ceil(soft_edge_px)) + 1, changed.shape).slices
        distance = ndimage.distance_transform_edt(~changed[near])
        inpainting_mask[near] = np.clip(1 - distance / (soft_edge_px + 1), 0, 1)
    return inpainting_mask


def windows_around(inside: np.ndarray, context_px: int) -> list[Box]:
    """Windows that hold each connected patch of `inside`, (H, W) bool, with `context_px` of surroundings.

    A window never leaves the image, and patches whose windows would overlap share one.
    """
    windows = [_fit(_with_context(box, context_px), inside.shape) for _, box in connected_regions(inside)]
    while (pair := _overlapping(windows)) is not None:
        union = windows[pair[0]].union(windows[pair[1]])
        windows = [w for i, w in enumerate(windows) if i not in pair] + [_fit(union, inside.shape)]
    return sorted(windows)


def _with_context(box: Box, context_px: int) -> Box:
    return Box(box.top - context_px, box.left - context_px, box.bottom + context_px, box.right + context_px)


def _fit(box: Box, shape: tuple[int, ...]) -> Box:
    top, bottom = _fit_side(box.top, box.bottom, shape[0])
    left, right = _fit_side(box.left, box.right, shape[1])
    return Box(top, left, bottom, right)


def _fit_side(start: int, stop: int, length: int) -> tuple[int, int]:
    size = min(length, -(-(stop - start) // MULTIPLE_PX) * MULTIPLE_PX)
    start = min(max((start + stop - size) // 2, 0), length - size)
    return start, start + size


def _overlapping(windows: Sequence[Box]) -> tuple[int, int] | None:
    for i, a in enumerate(windows):
        for j, b in enumerate(windows[:i]):
            if a.overlaps(b):
                return j, i
    return None
