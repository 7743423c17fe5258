"""Put one region into a scene: its labels exactly, its pixels blended in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from marsgen.core.config import Config

if TYPE_CHECKING:
    from marsgen.masks.regions import Region

LEAST_MARGIN_PX = 6
"""least surroundings cut out with a region: fewer say nothing about the ground there"""
GAIN_LIMITS = (0.4, 3.0)
GLARE = 2.5
"""a region is not brightened beyond this many times the ground: a donor in deep shadow would turn white elsewhere"""
SEAM_LIMITS = (0.6, 1.6)
SEAM_WIDTH = 1.6
"""reach of the brightness along the outline, in widths of the soft edge"""
SEAM_FADE = 0.1
"""share of ground among the pixels nearby at which the outline's brightness counts half"""
MIN_DISTANCE = 0.05
"""feet nearer to the horizon than this share of the image height count as this far below it"""


class PasteConfig(Config):
    """How regions of a rare class are cut out and pasted; the `paste` block of configs/synthesize.yaml."""

    # what is cut out
    min_region_px: int = Field(64, ge=1)
    """smaller regions are dropped as annotation crumbs"""
    max_region_fraction: float = Field(0.3, gt=0, le=1)
    """larger regions, as a share of their scene, are dropped: a wall is not a thing that stands on the ground"""
    min_solidity: float = Field(0.75, ge=0, le=1)
    """area of a region divided by that of its convex hull; below it the label is a rim or a patchwork"""
    min_thickness: float = Field(0.27, ge=0, le=0.6)
    """largest inscribed radius divided by the root of the area (a disc has 0.56); below it the label is a strip"""

    # how many, how large, how turned
    regions_per_scene: tuple[int, int] = (1, 2)
    """fewest and most regions pasted into one scene"""
    horizon: float = Field(-0.5, lt=1)
    """row of the horizon as a share of the image height where the label map shows no sky; < 0 is above the image"""
    scale: tuple[float, float] = (0.5, 1.2)
    """smallest and largest size of a pasted region beside the original; within it perspective decides, and what is
    enlarged much more looks blurred"""
    scale_jitter: float = Field(0.15, ge=0, lt=1)
    """relative spread of the size around what perspective asks for"""
    flip: float = Field(0.5, ge=0, le=1)
    """probability of mirroring left to right; the side the light comes from differs between donor and scene anyway"""
    max_angle: float = Field(6.0, ge=0, le=45)
    """largest rotation in degrees; regions cut off by the border of their scene are never rotated"""
    warp: float = Field(0.03, ge=0, le=0.1)
    """largest smooth shift of the outline as a share of the region's size"""
    recombine: float = Field(0.0, ge=0, le=1)
    """probability of a new outline, mixed from those of two regions of the class and bent at random; the pixels stay
    the first one's, stretched to fill it"""

    # how it looks
    feather_px: float = Field(2.5, gt=0, le=20)
    """width of the soft edge outside the region; its own surroundings, with their shadow, fade into the scene there"""
    match_brightness: float = Field(0.8, ge=0, le=1)
    """0 keeps the donor's brightness, 1 scales it by the full ratio of the ground here to the ground there"""
    match_seam: float = Field(0.7, ge=0, le=1)
    """how far the brightness along the outline bends towards the ground beside it; 0 leaves rims of donor ground"""

    # where it may stand
    placement: Literal["uniform", "class", "focus"] = "uniform"
    """uniform: scenes and places alike; class: those where the class occurs in real scenes; focus: those where the
    segmenter of --focus errs"""
    ground_classes: tuple[str, ...] = ()
    """classes that a region may stand on; empty means every class that is not pasted"""
    gap_px: int = Field(2, ge=0)
    """pixels that stay free between a pasted region and anything of a pasted class"""
    max_ignored_fraction: float = Field(0.1, ge=0, le=1)
    """largest share of a region that may cover pixels without a label (sky, rover, unlabelled ground)"""
    min_visible_px: int = Field(48, ge=1)
    """fewest pixels of a pasted region inside the image"""
    min_visible_fraction: float = Field(0.5, gt=0, le=1)
    """smallest share of a pasted region inside the image; the rest is cut off by the border"""
    tries: int = Field(30, ge=1)
    """places tried for the regions of one scene before another scene is drawn"""
    max_parents: int = Field(60, ge=1)
    """scenes drawn for one sample before giving up with an error"""

    @model_validator(mode="after")
    def _check_ranges(self) -> PasteConfig:
        if not 1 <= self.regions_per_scene[0] <= self.regions_per_scene[1]:
            raise ValueError(f"regions_per_scene {list(self.regions_per_scene)}: expected 1 <= fewest <= most")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: expected 0 < smallest <= largest")
        return self

    @property
    def margin_px(self) -> int:
        """Pixels of surroundings cut out with a region: enough for the soft edge and the gap at the smallest scale."""
        reach = max(self.feather_px, self.gap_px)
        return max(LEAST_MARGIN_PX, math.ceil(reach / self.scale[0]) + 1)


Slices = tuple[slice, slice]


class Box(NamedTuple):
    """Rows top..bottom-1 and columns left..right-1 of an image."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> Slices:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, eq=False)
class EditedMask:
    """A scene's label map and image after pasting, and what was changed."""

    labels: np.ndarray
    """(H, W) uint8 class ids: the edited label map"""
    image: np.ndarray
    """(H, W, channels) uint8: the scene with the regions' pixels blended in"""
    changed: np.ndarray
    """(H, W) bool: exactly the pixels whose label was set"""
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
        tops, lefts, bottoms, rights = zip(*self.boxes, strict=True)
        return Box(min(tops), min(lefts), max(bottoms), max(rights))


@dataclass(frozen=True, eq=False)
class Stamp:
    """A region scaled and turned, ready to be pressed into a scene."""

    pixels: np.ndarray
    """(h, w, channels) float32 in [0, 255]: the region and a margin of its surroundings"""
    depth: np.ndarray
    """(h, w) float32: distance in px to the region's outline, positive inside"""
    cut: tuple[str, ...]
    """sides on which the region was cut off by the border of its scene: left, right, top, bottom; flips are applied"""
    reach_px: float
    """distance from the outline to the outermost pixels on the other sides"""

    @property
    def foot(self) -> tuple[int, int]:
        """Row and column in the stamp of the middle of the region's lowest row."""
        rows = np.flatnonzero((self.depth > 0).any(axis=1))
        row = int(rows[-1]) if rows.size else 0
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
    rows_out = math.ceil(tall * cosine + wide * abs(sine))
    columns_out = math.ceil(wide * cosine + tall * abs(sine))
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
    layers = region.layers
    if angle or any(warp[:2]) or (tall, wide) != (height, width):
        # fitted on real rocks: keeps their Laplacian between sizes 0.8 and 1.1; smaller ones are crisp by themselves
        sharpen = min(max(2.75 * (tall / height - 0.75), 0.0), 1.2)
        layers = layers.copy()
        layers[..., :-1] += np.float32(sharpen) * region.detail
    sampled = sample_bilinear(layers, rows, columns)
    cut = tuple({"left": "right", "right": "left"}.get(side, side) for side in region.cut) if flip else region.cut
    grown = tall / height
    # the centre of the last pixel lies half a pixel inside the stamp's edge
    reach = max(region.margin_px * grown - 0.5, 0.5)
    return Stamp(sampled[..., :-1], sampled[..., -1] * np.float32(grown), cut, reach)


def sample_bilinear(layers: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of (h, w, L) layers at float positions; positions outside take the nearest edge."""
    height, width = layers.shape[:2]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top = np.minimum(rows.astype(np.intp), height - 2)
    left = np.minimum(columns.astype(np.intp), width - 2)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    flat, corner = layers.reshape(height * width, -1), top * width + left
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + width] * (1 - right) + flat[corner + width + 1] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Mean over the channels: (..., channels) -> (...) float32."""
    return pixels[..., 0].astype(np.float32) if pixels.shape[-1] == 1 else pixels.mean(axis=-1, dtype=np.float32)


def horizon_row(labels: np.ndarray, ignored: int, config: PasteConfig) -> float:
    """Row of the horizon in a label map: where the sky ends, or `config.horizon` where no sky can be seen.

    Sky is never labelled, so rows without a label at the top of the picture are taken for it; one or two of them are
    the rim that annotators leave, hence the twelfth of the height.
    """
    height, width = labels.shape
    for row in range(height):
        if np.count_nonzero(labels[row] == ignored) < 0.95 * width:
            break
    return float(row) if row >= height / 12 else config.horizon * height


def match_brightness(
    stamp: Stamp,
    top: int,
    left: int,
    ground: np.ndarray,
    region: Region,
    edited: EditedMask,
    config: PasteConfig,
) -> tuple[float, np.ndarray]:
    """Factors that make a stamp as bright as the place it is put.

    One factor for the whole stamp is the ratio of the ground's brightness here to that around the donor: light is
    multiplied, so shadows stay dark. Along the outline it bends towards the ground right beside it (the donor's own
    ground inside a generous outline would glow otherwise): a membrane between the two rings as in seamless cloning
    (Perez, Gangnet, Blake 2003, doi:10.1145/882262.882269), but of ratios, damped, and fading towards the middle, so
    that the region keeps its contrast. Gaussian weights give it in six small matrix products.

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

    weight = (on_ground & (stamp.depth[inside] < 0)).astype(np.float32)
    down, across = (_gaussian(side, SEAM_WIDTH * config.feather_px) for side in weight.shape)
    # channels first, so that a matrix product smooths each: (channels, h, w)
    level_here = down @ (here.transpose(2, 0, 1) * weight) @ across.T
    level_there = down @ (stamp.pixels[inside].transpose(2, 0, 1) * weight) @ across.T * gain
    near = down @ weight @ across.T
    seam = np.clip((level_here + 1e-3) / (level_there + 1e-3), *SEAM_LIMITS)
    factors = gain * seam ** (config.match_seam * near / (near + SEAM_FADE))
    return gain, factors.transpose(1, 2, 0).astype(np.float32)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """(side, side) float32 matrix that smooths along one axis; rows sum to 1, so borders count as what lies inside."""
    offsets = np.arange(side, dtype=np.float32)
    weights = np.exp(-((offsets[:, None] - offsets) ** 2) / (2 * sigma**2))
    return weights / weights.sum(axis=1, keepdims=True)


def paste(
    stamp: Stamp, top: int, left: int, class_id: int, gain: float | np.ndarray, edited: EditedMask, config: PasteConfig
) -> Box:
    """Press a stamp into `edited`, whose arrays are changed in place: only the stamp's window is read or written.

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
    ramp = np.clip(1 + depth / min(config.feather_px, stamp.reach_px), 0, 1)
    alpha = ramp * ramp * (3 - 2 * ramp)
    mask = depth > 0
    if not mask.any():
        raise ValueError(f"a stamp at row {top}, column {left} has no pixel in an image of {edited.labels.shape}")
    here = edited.image[window]
    blend = here + alpha[..., None] * (stamp.pixels[inside] * gain - here)
    here[...] = np.clip(blend + 0.5, 0, 255)  # the cast cuts off, so this rounds, and alpha 0 changes nothing
    edited.labels[window][mask] = class_id
    edited.changed[window] |= mask
    edited.alpha[window] += (1 - edited.alpha[window]) * alpha
    return _box_around(alpha > 0, window)


def clip_window(stamp: Stamp, top: int, left: int, shape: tuple[int, ...]) -> tuple[Slices, Slices]:
    """Slices of the image and of the stamp where the two meet, for a stamp whose first pixel is at (top, left)."""
    height, width = stamp.depth.shape
    rows = _overlap(top, height, shape[0])
    columns = _overlap(left, width, shape[1])
    return (rows, columns), (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))


def _overlap(start: int, length: int, limit: int) -> slice:
    first = max(0, start)
    return slice(first, max(first, min(limit, start + length)))


def _box_around(touched: np.ndarray, window: Slices) -> Box:
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    top, left = window[0].start, window[1].start
    return Box(top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)
