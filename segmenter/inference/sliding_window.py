"""Sliding windows over large images: where they lie, how their predictions are blended; and resizing."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from marsgen.scenes.limits import MOST_BATCH_PX

WINDOWS = 8
"""of an image that go through the network together, at most; more take hardly less time a window"""
WINDOWS_PX = 2**18
"""their pixels, at most: of large windows, several take as long as one after the other, and more memory"""
LARGE_WINDOW = (1024, 1024)
"""height and width in pixels of the windows of an image that is too large to be predicted whole"""
LARGE_OVERLAP = 0.25
"""fraction of such a window that the next one covers too: its border is a small part of it"""


def place_windows(length: int, window: int, overlap: float) -> tuple[list[int], np.ndarray]:
    """Windows along one side of an image, evenly spread from its beginning to its end.

    Args:
        length: L, pixels of that side.
        window: w, pixels of a window; no more than L.
        overlap: least fraction of a window, in [0, 1), that the next one covers too.
    Returns:
        the first pixel of each of N windows, and their weights (N, L) float64: 0 outside a window, sine squared inside,
        so that no border is visible; at every pixel they add up to 1.
    """
    count = int(np.ceil((length - window) / max(window * (1 - overlap), 1))) + 1
    starts = np.linspace(0, length - window, count).round().astype(int).tolist()
    weights = np.zeros((count, length))
    for row, start in zip(weights, starts, strict=True):
        row[start : start + window] = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    return starts, weights / weights.sum(0)


def predict_in_windows(
    probs_of: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, window: tuple[int, int], overlap: float
) -> torch.Tensor:
    """The predictions of overlapping windows, blended into one map.

    The network sees as many windows at a time as there are images, each at the same place. Where those are few, each
    image goes on its own, up to `WINDOWS` places at a time, and its bytes depend on nothing else: a pass of one window
    rounds in another way than one of eight, but what the other seven show makes no difference.

    Args:
        probs_of: (B, channels, h, w) -> (B, C, h, w).
        images: (B, channels, H, W).
        window: largest h and w; an image no larger is predicted whole.
    Returns:
        (B, C, H, W).
    """
    size = images.shape[2:]
    height, width = (min(want, have) for want, have in zip(window, size, strict=True))
    if (height, width) == tuple(size):
        return probs_of(images)
    at_once = min(WINDOWS, max(1, WINDOWS_PX // (height * width)))
    if 1 < len(images) < at_once:
        return torch.cat([predict_in_windows(probs_of, image, window, overlap) for image in images.split(1)])
    rows, columns = place_windows(size[0], height, overlap), place_windows(size[1], width, overlap)
    places = [
        (
            (..., slice(top, top + height), slice(left, left + width)),
            np.outer(down[top:][:height], across[left:][:width]),
        )
        for top, down in zip(*rows, strict=True)
        for left, across in zip(*columns, strict=True)
    ]
    at_once, found = at_once if len(images) == 1 else 1, images.new_zeros(0)
    for first in range(0, len(places), at_once):
        some = places[first : first + at_once]
        probs = probs_of(torch.cat([images[inside] for inside, _ in some]))
        if not first:
            found = probs.new_zeros(len(images), probs.shape[1], *size)
        for (inside, weights), of_window in zip(some, probs.split(len(images)), strict=True):
            found[inside] += of_window * torch.from_numpy(weights).to(probs)
    return found


def predict_whole(probs_of: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """What `probs_of` makes of whole images; of images beyond `MOST_BATCH_PX` in windows that the memory holds.

    Args:
        probs_of: (B, channels, h, w) -> (B, C, h, w).
        images: (B, channels, H, W).
    Returns:
        (B, C, H, W).
    """
    if images.shape[2] * images.shape[3] <= MOST_BATCH_PX:
        return probs_of(images)
    return predict_in_windows(probs_of, images, LARGE_WINDOW, LARGE_OVERLAP)


def resize_images(images: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, channels, H, W) float -> the same pictures, sides times `scale`, bilinear, without aliasing when shrunk."""
    if scale == 1:
        return images
    size = [max(round(side * scale), 1) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=scale < 1)


def resize_labels(labels: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, H, W) integers -> the same maps, sides times `scale`, each pixel the label nearest to it."""
    if scale == 1:
        return labels
    size = [max(round(side * scale), 1) for side in labels.shape[1:]]
    # float32 holds every label exactly
    return F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(labels.dtype)
