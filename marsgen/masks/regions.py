"""Cut connected regions of a class out of real scenes, with their pixels and a margin of their surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.config import PasteConfig
from marsgen.masks.perspective import distance_below, horizon_row
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.geometry import Box, label_regions
from marsgen.scenes.scene import Scene, SceneSource, scene_key

BORDER_PX = 3
"""a region this close to the border of its scene is cut off by it: annotators leave a rim unlabelled"""
DETAIL_PX = 0.8
"""size of the detail that bilinear sampling blurs: measured on rocks, it loses 30 % of their Laplacian at scale 1"""
MIN_RING_PX = 24
"""with fewer labelled pixels around a region, unlabelled ones are used too to measure the ground's brightness"""


@dataclass(frozen=True, eq=False)
class Region:
    """One connected region of a class, cut out of a real scene."""

    donor_name: str
    donor_key: str
    """content key of the scene it was cut from (see `scene_key`)"""
    class_name: str
    class_id: int
    box: Box
    """where its pixels were in the donor scene, without the margin"""
    area_px: int
    foot: float
    """row below its lowest pixel as a share of the donor's height, (0, 1]"""
    distance: float
    """rows from the horizon down to the foot as a share of the donor's height"""
    donor_height: int
    cut: tuple[str, ...]
    """sides on which the donor's border cuts it off: top, left, bottom, right"""
    margin_px: int
    """surroundings in `layers` on the sides that are not cut off"""
    ground_level: float
    """mean brightness in [0, 255] of the labelled ground around it"""
    highlight: float
    """95th percentile of the brightness of its own pixels, in [0, 255]"""
    layers: np.ndarray
    """(h, w, channels + 1) float32: pixels in [0, 255], last the distance in px to its outline, positive inside"""
    detail: np.ndarray
    """(h, w, channels) float32: pixels minus their blurred selves; added where sampling would blur them"""

    @property
    def pixels(self) -> np.ndarray:
        """(h, w, channels) float32 in [0, 255]."""
        return self.layers[..., :-1]

    @property
    def depth(self) -> np.ndarray:
        """(h, w) float32 distance to the outline in px, positive inside."""
        return self.layers[..., -1]


@dataclass(frozen=True, eq=False)
class RegionLibrary:
    """The regions that may be pasted, by class."""

    classes: ClassSet
    channels: int
    regions: dict[str, tuple[Region, ...]]
    """class name -> its regions, in the order of the scenes"""
    found: dict[str, int] = field(default_factory=dict)
    """class name -> connected regions in the scenes, those unfit for pasting included"""

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.regions)

    @property
    def counts(self) -> dict[str, int]:
        """Class name -> regions kept."""
        return {name: len(kept) for name, kept in self.regions.items()}

    def __len__(self) -> int:
        return sum(self.counts.values())


def cut_regions(
    scenes: SceneSource,
    indices: Sequence[int],
    class_names: Sequence[str],
    config: PasteConfig,
    keys: Sequence[str] | None = None,
) -> RegionLibrary:
    """Find every region of the named classes that is fit for pasting.

    Args:
        indices: scenes to search: the train part, nothing else.
        class_names: classes to cut out.
        keys: content key of each scene of `scenes` where already known (`Survey.keys`); hashed here otherwise.
    Raises:
        DataError: an unknown class, no class at all, or a class without a single fit region.
    """
    from skimage.measure import regionprops  # here: slow to import, and not needed before the data are opened

    if not class_names:
        raise DataError(f"no class to paste was named; the classes are {', '.join(scenes.classes.names)}")
    ids = {name: scenes.classes.ids[scenes.classes.index(name)] for name in class_names}
    kept: dict[str, list[Region]] = {name: [] for name in ids}
    areas: dict[str, list[int]] = {name: [] for name in ids}
    for index in indices:
        scene = scenes[index]
        for name, class_id in ids.items():
            for found in regionprops(label_regions(scene.labels == class_id)[0]):
                areas[name].append(int(found.area))
                cut = cut_sides(Box(*found.bbox), scene.labels.shape)
                if _is_fit(found, cut, scene.labels.size, config):
                    key = keys[index] if keys is not None else scene_key(scene.image)
                    kept[name].append(_cut_one(scene, found, cut, name, list(ids.values()), key, config))
    for name in ids:
        if not kept[name]:
            raise DataError(_no_region(name, areas[name], len(indices), config))
    regions = {name: tuple(found) for name, found in kept.items()}
    return RegionLibrary(scenes.classes, scenes.channels, regions, {name: len(found) for name, found in areas.items()})


def _no_region(name: str, areas: Sequence[int], scenes: int, config: PasteConfig) -> str:
    if max(areas, default=0) < config.min_region_px:
        largest = f"the largest has {max(areas)} px" if areas else "none has a single pixel of it"
        advice = "lower paste.min_region_px" if areas else "name another class"
        return (
            f"class {name} has no region of at least {config.min_region_px} px in the {scenes} train scenes "
            f"({largest}); {advice}"
        )
    return (
        f"class {name} has {len(areas)} regions in the {scenes} train scenes, but none of a shape fit for pasting; "
        "lower paste.min_solidity or paste.min_thickness, or raise paste.max_region_fraction"
    )


def cut_sides(box: Box, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Sides on which a region in `box` is cut off by the border of its (height, width) scene."""
    return box.touched_sides(shape, BORDER_PX)


def _is_fit(found: Any, cut: tuple[str, ...], scene_px: int, config: PasteConfig) -> bool:
    if not config.min_region_px <= found.area <= config.max_region_fraction * scene_px:
        return False
    if {"left", "right"} <= set(cut) or {"top", "bottom"} <= set(cut):
        return False  # it spans its scene from border to border: its true extent is unknown
    thickness = signed_depth(found.image, cut, 1).max() / np.sqrt(found.area)
    return found.solidity >= config.min_solidity and thickness >= config.min_thickness


def _margins(cut: tuple[str, ...], margin: int) -> list[tuple[int, int]]:
    top, left, bottom, right = (0 if side in cut else margin for side in Box._fields)
    return [(top, bottom), (left, right)]


def signed_depth(image: np.ndarray, cut: tuple[str, ...], margin: int) -> np.ndarray:
    """Signed distance to the outline of a (h, w) bool mask, extended by `margin` on sides that are not cut off.

    A region is assumed to continue across a cut side, so that its outline does not run along the border.
    """
    from scipy import ndimage

    padded = np.pad(np.pad(image, _margins(cut, margin)), margin, mode="edge")
    # between the last pixel inside and the first outside lies the outline, half a pixel from either
    inner, outer = ndimage.distance_transform_edt(padded), ndimage.distance_transform_edt(~padded)
    depth = np.where(padded, inner - 0.5, 0.5 - outer)
    return depth[margin:-margin, margin:-margin].astype(np.float32)


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Mean over the channels: (..., channels) -> (...) float32."""
    return pixels[..., 0].astype(np.float32) if pixels.shape[-1] == 1 else pixels.mean(axis=-1, dtype=np.float32)


def _cut_one(
    scene: Scene,
    found: Any,
    cut: tuple[str, ...],
    name: str,
    pasted_ids: Sequence[int],
    key: str,
    config: PasteConfig,
) -> Region:
    from scipy import ndimage

    height = scene.labels.shape[0]
    box = Box(*(int(side) for side in found.bbox))
    margin = config.margin_px
    depth = signed_depth(found.image, cut, margin)
    pixels = _with_margin(scene.image, box, cut, margin)
    labels = _with_margin(scene.labels, box, cut, margin)
    around = (depth < 0) & ~np.isin(labels, pasted_ids)
    labelled = around & (labels != scene.classes.ignored)
    values = pixels.astype(np.float32)
    ring = labelled if labelled.sum() >= MIN_RING_PX else around
    # a region that fills its window has no ring: its own brightness has to do
    ground_level = float(luminance(pixels)[ring if ring.any() else np.ones_like(ring)].mean())
    foot_row = height if "bottom" in cut else box.bottom
    horizon = horizon_row(scene.labels, scene.classes.ignored, config)
    return Region(
        donor_name=scene.name,
        donor_key=key,
        class_name=name,
        class_id=scene.classes.ids[scene.classes.index(name)],
        box=box,
        area_px=int(found.area),
        foot=foot_row / height,
        distance=distance_below(horizon, foot_row, height),
        donor_height=height,
        cut=cut,
        margin_px=margin,
        ground_level=max(ground_level, 1.0),
        highlight=max(float(np.percentile(luminance(pixels)[depth > 0], 95)), 1.0),
        layers=np.concatenate([values, depth[..., None]], axis=-1),
        detail=values - ndimage.gaussian_filter(values, DETAIL_PX, axes=(0, 1)),
    )


def _with_margin(array: np.ndarray, box: Box, cut: tuple[str, ...], margin: int) -> np.ndarray:
    """The box and its margin; where the margin leaves the image, the image's edge is repeated."""
    (top, bottom), (left, right) = _margins(cut, margin)
    rows = np.arange(box.top - top, box.bottom + bottom).clip(0, array.shape[0] - 1)
    columns = np.arange(box.left - left, box.right + right).clip(0, array.shape[1] - 1)
    return array[np.ix_(rows, columns)]
