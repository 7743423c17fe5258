"""Put one region into a scene: its labels exactly, its pixels blended in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, reduce

import numpy as np
from scipy import ndimage

from marsgen.masks.config import PasteSettings
from marsgen.masks.regions import Region, luminance
from marsgen.scenes.geometry import Box

GAIN_LIMITS = (0.4, 3.0)
GLARE = 2.5
"""a region is not brightened beyond this many times the ground: a donor cut from deep shadow would turn white"""
SEAM_LIMITS = (0.25, 4.0)
"""of the brightness along the outline: a head before the sky that is put before a wall has a rim of sky to lose"""
SEAM_WIDTH = 1.6
"""reach of the brightness along the outline, in widths of the soft edge"""
SEAM_FADE = 0.1
"""share of surroundings among the pixels nearby at which the outline's brightness counts half"""

Slices = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class EditedMask:
    """A scene's label map and image after pasting, and what was changed."""

    labels: np.ndarray
    """(H, W) uint8 class ids: the edited label map"""
    image: np.ndarray
    """(H, W, channels) uint8: the scene with the regions' pixels blended in"""
    changed: np.ndarray
    """(H, W) bool: exactly the pixels that a pasted region covers"""
    alpha: np.ndarray
    """(H, W) float32 in [0, 1]: share of pasted pixels in `image`; where 0, the image is the scene's own"""
    boxes: tuple[Box, ...] = ()
    """one per pasted region: the smallest box around its alpha > 0, inside the image"""

    @classmethod
    def of(cls, image: np.ndarray, labels: np.ndarray) -> EditedMask:
        """Copies of a scene's arrays with nothing pasted yet."""
        return cls(labels.copy(), image.copy(), np.zeros(labels.shape, bool), np.zeros(labels.shape, np.float32))

    @property
    def box(self) -> Box:
        """The smallest box around everything that was pasted."""
        return reduce(Box.union, self.boxes)


@dataclass(frozen=True, eq=False)
class Stamp:
    """A region scaled and turned, ready to be pasted into a scene."""

    sample_pixels: Callable[[], np.ndarray]
    """gives `pixels`; called when the stamp fits somewhere, since most places that are tried do not"""
    sample_labels: Callable[[], np.ndarray]
    """gives `labels`"""
    sample_hollow: Callable[[], np.ndarray]
    """gives `hollow`"""
    depth: np.ndarray
    """(h, w) float32: distance in px to the region's outline, positive inside"""
    cut: tuple[str, ...]
    """sides on which the border of its scene cut the region off: top, left, bottom, right; flips are applied"""
    reach_px: float
    """distance from the outline to the outermost pixels on the other sides"""

    @cached_property
    def pixels(self) -> np.ndarray:
        """(h, w, channels) float32 in [0, 255]: the region and a margin of its surroundings."""
        return self.sample_pixels()

    @cached_property
    def labels(self) -> np.ndarray:
        """(h, w) uint8 class ids of the donor scene."""
        return self.sample_labels()

    @cached_property
    def hollow(self) -> np.ndarray:
        """(h, w) bool: pixels of the region that carry no label, see `Region.hollow`."""
        return self.sample_hollow()

    @cached_property
    def box(self) -> Box:
        """The smallest box around the region in the stamp; one pixel where sampling left nothing of it."""
        mask = self.depth > 0
        return Box.around(mask) if mask.any() else Box(0, 0, 1, 1)

    @cached_property
    def foot(self) -> tuple[int, int]:
        """Where the region stands: row and column in the stamp of the middle of the region's lowest row."""
        row = self.box.bottom - 1
        columns = np.flatnonzero(self.depth[row] > 0)
        return row, int(columns[columns.size // 2]) if columns.size else 0


def shape_stamp(
    region: Region,
    *,
    scale: float,
    flip: bool = False,
    angle: float = 0.0,
    warp: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Stamp:
    """Scale, mirror, rotate and warp a region.

    Args:
        scale: size beside the original.
        angle: degrees, counterclockwise; 0 for regions that are cut off by a border.
        warp: largest shift of a row and of a column as shares of the region's height and width, and a phase in radians.
    Returns:
        pixels and outline are sampled bilinearly; the outline is a distance, so thresholding it gives a crisp mask
        without invented ids. The identity gives back exactly the region's pixels and mask.
    """
    height, width = region.depth.shape
    tall, wide = max(2, round(height * scale)), max(2, round(width * scale))
    radians = math.radians(angle)
    cosine, sine = math.cos(radians), math.sin(radians)
    rows_out = math.ceil(tall * abs(cosine) + wide * abs(sine))
    columns_out = math.ceil(wide * abs(cosine) + tall * abs(sine))
    y = (np.arange(rows_out, dtype=np.float32) - (rows_out - 1) / 2)[:, None]
    x = (np.arange(columns_out, dtype=np.float32) - (columns_out - 1) / 2)[None, :]
    # rotation about the centre, then from target to donor pixels; edges fall on edges when the angle is 0
    rows = (cosine * y + sine * x) * (height / tall) + (height - 1) / 2
    columns = (cosine * x - sine * y) * (width / wide) + (width - 1) / 2
    if warp[0] or warp[1]:
        rows = rows + warp[0] * height * np.sin(x * (2 * math.pi / wide) + warp[2])
        columns = columns + warp[1] * width * np.sin(y * (2 * math.pi / tall) - warp[2])
    if flip:
        columns = (width - 1) - columns
    layers = region.layers[..., :-1]
    sharpen = 0.0
    if angle or any(warp[:2]) or (tall, wide) != (height, width):
        # fitted on real rocks: keeps their Laplacian between sizes 0.8 and 1.1; smaller ones stay crisp without it
        sharpen = min(max(2.75 * (tall / height - 0.75), 0.0), 1.2)

    def sample_pixels() -> np.ndarray:
        return _sample_bilinear(layers + np.float32(sharpen) * region.detail if sharpen else layers, rows, columns)

    def sample_nearest(layer: np.ndarray) -> np.ndarray:
        at_row, at_column = (
            at.round().astype(np.intp).clip(0, side - 1)
            for at, side in zip(np.broadcast_arrays(rows, columns), layer.shape, strict=True)
        )
        return layer[at_row, at_column]

    depth = _sample_bilinear(region.layers[..., -1:], rows, columns)[..., 0]
    cut = tuple({"left": "right", "right": "left"}.get(side, side) for side in region.cut) if flip else region.cut
    grown = tall / height
    # the centre of the last pixel lies half a pixel inside the stamp's edge
    reach = max(region.margin_px * grown - 0.5, 0.5)
    return Stamp(
        sample_pixels,
        partial(sample_nearest, region.labels),
        partial(sample_nearest, region.hollow),
        depth * np.float32(grown),
        cut,
        reach,
    )


def _sample_bilinear(layers: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of (h, w, L) layers at float positions; positions outside take the nearest edge."""
    positions = np.stack(np.broadcast_arrays(rows, columns))
    sampled = np.empty((*positions.shape[1:], layers.shape[-1]), np.float32)
    for layer in range(layers.shape[-1]):
        ndimage.map_coordinates(layers[..., layer], positions, order=1, mode="nearest", output=sampled[..., layer])
    return sampled


def match_brightness(
    stamp: Stamp,
    top: int,
    left: int,
    ground: np.ndarray,
    region: Region,
    edited: EditedMask,
    config: PasteSettings,
) -> tuple[float, np.ndarray]:
    """Factors that make a stamp as bright as the place it is put.

    The factor of the whole stamp is the ratio of the ground's brightness here to that around the donor: a factor, not
    an offset, so that shadows stay dark. Along the outline the factors approach the ratio of whatever lies right beside
    it, ground or not, because the soft edge and a generous outline hold some of what lay beside the donor, which would
    stay visible otherwise: the sky around a head as well as the ground around a foot. This is the
    membrane of seamless cloning (Perez, Gangnet, Blake 2003, doi:10.1145/882262.882269), but of ratios, damped, and
    fading towards the middle, so that the region keeps its contrast; it is computed by Gaussian smoothing.

    Args:
        top, left: row and column of the stamp's first pixel in the image.
        ground: (256,) bool: ids whose pixels show the ground.
        region: what the stamp was made of.
    Returns:
        the one factor, and (h, w, channels) float32 factors of the part of the stamp that lies in the image. At least
        one pixel there has to show ground.
    """
    window, inside = clip_window(stamp, top, left, edited.labels.shape)
    here, on_ground = edited.image[window], ground[edited.labels[window]]
    level = max(float(luminance(here)[on_ground].mean()), 1.0)
    gain = min(max((level / region.ground_level) ** config.match_brightness, GAIN_LIMITS[0]), GAIN_LIMITS[1])
    gain = min(gain, max(1.0, GLARE * level / region.highlight))

    own = (edited.labels[window] == region.class_id) | (stamp.labels[inside] == region.class_id)
    weight = (~own & (stamp.depth[inside] < 0)).astype(np.float32)
    down, across = (_gaussian(side, SEAM_WIDTH * config.feather_px) for side in weight.shape)
    # channels first, so that a matrix product smooths each: (channels, h, w)
    level_here = down @ (here.transpose(2, 0, 1) * weight) @ across.T
    level_there = down @ (stamp.pixels[inside].transpose(2, 0, 1) * weight) @ across.T * gain
    near = down @ weight @ across.T
    seam = np.clip((level_here + 1e-3) / (level_there + 1e-3), *SEAM_LIMITS)
    factors = gain * seam ** (config.match_seam * near / (near + SEAM_FADE))
    return gain, factors.transpose(1, 2, 0).astype(np.float32)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """(side, side) float32 matrix that smooths along one axis; rows sum to 1, so that borders need no padding."""
    offsets = np.arange(side, dtype=np.float32)
    weights = np.exp(-((offsets[:, None] - offsets) ** 2) / (2 * sigma**2))
    return weights / weights.sum(axis=1, keepdims=True)


def paste(
    stamp: Stamp,
    top: int,
    left: int,
    class_id: int,
    gain: float | np.ndarray,
    edited: EditedMask,
    config: PasteSettings,
) -> Box:
    """Paste a stamp into `edited`, whose arrays are changed in place: only the stamp's window is read or written.

    Args:
        top, left: row and column of the stamp's first pixel in the image; parts outside the image are cut off.
        class_id: id that the region's pixels get in the label map.
        gain: factor on the stamp's brightness, or (h, w, channels) factors of the part that lies in the image.
    Returns:
        the smallest box around alpha > 0, inside the image.
    Raises:
        ValueError: nothing of the stamp lies in the image.
    """
    window, inside = clip_window(stamp, top, left, edited.labels.shape)
    depth = stamp.depth[inside]
    mask = depth > 0
    if not mask.any():
        raise ValueError(f"a stamp at row {top}, column {left} has no pixel in an image of {edited.labels.shape}")
    # no wider than half of the region: a soft edge would hide what is thin
    feather = min(config.feather_px, stamp.reach_px, max(float(depth.max()), 0.5))
    ramp = np.clip(1 + depth / feather, 0, 1)
    alpha = ramp * ramp * (3 - 2 * ramp)
    here = edited.image[window]
    blend = here + alpha[..., None] * (stamp.pixels[inside] * gain - here)
    here[...] = np.clip(blend + 0.5, 0, 255)  # the cast truncates, so this rounds; alpha 0 changes nothing
    edited.labels[window][mask] = class_id
    edited.changed[window] |= mask
    edited.alpha[window] += (1 - edited.alpha[window]) * alpha
    return Box.around(alpha > 0).shifted(window[0].start, window[1].start)


def clip_window(stamp: Stamp, top: int, left: int, shape: tuple[int, ...]) -> tuple[Slices, Slices]:
    """Slices of the image and of the stamp where the two meet, for a stamp whose first pixel is at (top, left)."""
    height, width = stamp.depth.shape
    rows = _overlap(top, height, shape[0])
    columns = _overlap(left, width, shape[1])
    return (rows, columns), (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))


def _overlap(start: int, length: int, limit: int) -> slice:
    first = max(0, start)
    return slice(first, max(first, min(limit, start + length)))
