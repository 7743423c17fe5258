"""Cut connected regions of a class out of real scenes, with their pixels and a margin of their surroundings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.config import PasteSettings
from marsgen.masks.infer_settings import stands_on
from marsgen.masks.perspective import distance_below, horizon_row
from marsgen.masks.profiles.profile import SIGNIFICANT, ClassProfile
from marsgen.masks.seams import measure_seam
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.geometry import Box, label_regions
from marsgen.scenes.scene import Scene, SceneSource, scene_key

BORDER_PX = 3
"""a region this close to the border of its scene is cut off by it: annotators leave a rim unlabelled"""
DETAIL_PX = 0.8
"""size of the detail that bilinear sampling blurs: measured on rocks, it loses 30 % of their Laplacian at scale 1"""
FOOT_FRACTION = 0.2
"""lowest share of a region's rows in which its outline touches the ground"""
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
    """rows from the horizon down to the foot as a share of the donor's height; 1 without a perspective"""
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
    labels: np.ndarray
    """(h, w) uint8 class ids, its own and those of its surroundings"""
    surroundings: np.ndarray
    """(256,) float64 share of each id among the labelled pixels around it; all 0 where none has a label"""
    hollow: np.ndarray
    """(h, w) bool: pixels that it encloses and that carry no label. They are pasted with it, since what the other scene
    shows there lies behind it, and stay without a label"""
    detail: np.ndarray
    """(h, w, channels) float32: pixels minus their blurred selves; added where sampling would blur them"""

    @cached_property
    def mask(self) -> np.ndarray:
        """(h, w) bool: its own pixels in `box`."""
        mask = self.depth > 0
        return mask[Box.around(mask).slices]

    @property
    def pixels(self) -> np.ndarray:
        """(h, w, channels) float32 in [0, 255]."""
        return self.layers[..., :-1]

    @property
    def depth(self) -> np.ndarray:
        """(h, w) float32 distance to the outline in px, positive inside."""
        return self.layers[..., -1]


@dataclass(frozen=True, eq=False)
class RealRegions:
    """Sizes and shapes of the real regions of a class, those unfit for pasting included."""

    areas: np.ndarray
    """(R,) float64 pixels"""
    thickness: np.ndarray
    """(R,) float64, see `PasteConfig.min_thickness`"""
    cut: tuple[tuple[str, ...], ...]
    """sides on which the border of its scene cuts off each"""
    seams: tuple[tuple[int, ...], ...]
    """px without a label around each, see `measure_seam`; () where no seam is drawn"""

    def __len__(self) -> int:
        return len(self.areas)


@dataclass(frozen=True, eq=False)
class RegionLibrary:
    """The regions that may be pasted, by class, and how."""

    classes: ClassSet
    channels: int
    regions: dict[str, tuple[Region, ...]]
    """class name -> its regions, in the order of the scenes; only classes with a fit one"""
    settings: dict[str, PasteSettings]
    """class name -> how its regions are pasted"""
    real: dict[str, RealRegions] = field(default_factory=dict)
    """class name -> its regions of at least `min_region_px` and at most `max_region_fraction`"""
    found: dict[str, int] = field(default_factory=dict)
    """class name -> connected regions in the scenes, those unfit for pasting included"""
    unfit: dict[str, str] = field(default_factory=dict)
    """class name -> why it is not pasted, for classes that were asked for"""
    profiles: dict[str, ClassProfile] = field(default_factory=dict)
    """class name -> what its regions are like; where missing, no seam is drawn"""
    notes: tuple[str, ...] = ()
    """one line for each class: which settings were inferred"""

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.regions)

    @property
    def counts(self) -> dict[str, int]:
        """Class name -> regions kept."""
        return {name: len(kept) for name, kept in self.regions.items()}

    def __len__(self) -> int:
        return sum(self.counts.values())

    @property
    def standing(self) -> tuple[str, ...]:
        """Classes whose regions stand on something, see `stands_on`."""
        return tuple(name for name, profile in self.profiles.items() if stands_on(profile))

    @cached_property
    def upright(self) -> frozenset[str]:
        """Classes whose top and bottom differ."""
        return frozenset(n for n, profile in self.profiles.items() if profile.direction.up_down_p < SIGNIFICANT)

    @cached_property
    def pasted(self) -> np.ndarray:
        """(256,) bool: ids of the pasted classes."""
        return id_table(self.classes, self.class_names)

    @cached_property
    def ground(self) -> dict[str, np.ndarray]:
        """Class name -> (256,) bool: ids that its regions may stand on.

        Raises:
            DataError: none is left, or `ground_classes` names a pasted class.
        """
        return {name: self._ground_of(settings.ground_classes) for name, settings in self.settings.items()}

    @cached_property
    def avoided(self) -> dict[str, np.ndarray]:
        """Class name -> (256,) bool: ids that its regions keep away from."""
        return {name: id_table(self.classes, settings.avoid_classes) for name, settings in self.settings.items()}

    @cached_property
    def donor_areas(self) -> dict[str, np.ndarray]:
        """Class name -> (R,) float64 pixels of its regions."""
        return {name: np.array([r.area_px for r in found], float) for name, found in self.regions.items()}

    @cached_property
    def donor_cut(self) -> dict[str, np.ndarray]:
        """Class name -> (R,) bool: whether a border cuts its regions off."""
        return {name: np.array([bool(r.cut) for r in found]) for name, found in self.regions.items()}

    @cached_property
    def donor_surroundings(self) -> dict[str, np.ndarray]:
        """Class name -> (R, 256) shares of the ids around its regions; all 1 where nothing around one is known."""
        return {
            name: np.array([r.surroundings if r.surroundings.any() else np.ones(256) for r in found])
            for name, found in self.regions.items()
        }

    def _ground_of(self, wanted: Sequence[str]) -> np.ndarray:
        names = wanted or tuple(name for name in self.classes.names if name not in self.class_names)
        if not names or any(name in self.class_names for name in names):
            raise DataError(
                f"nothing to stand on: {', '.join(self.class_names)} are pasted and the ground is "
                f"{', '.join(names) or 'empty'}; name classes that are not pasted in paste.ground_classes"
            )
        return id_table(self.classes, names)


def id_table(classes: ClassSet, names: Sequence[str]) -> np.ndarray:
    """(256,) bool: the ids of the named classes."""
    table = np.zeros(256, bool)
    table[[classes.ids[classes.index(name)] for name in names]] = True
    return table


def cut_regions(
    scenes: SceneSource,
    indices: Sequence[int],
    settings: Mapping[str, PasteSettings],
    keys: Sequence[str] | None = None,
    profiles: Mapping[str, ClassProfile] | None = None,
    notes: Sequence[str] = (),
) -> RegionLibrary:
    """Find every region of the named classes that is fit for pasting.

    Args:
        indices: scenes to search: the train part, nothing else.
        settings: of each class to cut out, see `resolve_settings`.
        keys: content key of each scene of `scenes` where already known (`Survey.keys`); hashed here otherwise.
        profiles, notes: kept in the library.
    Raises:
        DataError: an unknown class, no class at all, or none with a single fit region.
    """
    from skimage.measure import regionprops  # here: slow to import, and not needed before the data are opened

    if not settings:
        raise DataError(f"no class to paste was named; the classes are {', '.join(scenes.classes.names)}")
    ids = {name: scenes.classes.ids[scenes.classes.index(name)] for name in settings}
    # whether a foot shows is told by what real regions stand on, whatever ground yaml names
    ground = {name: _usual_ground(scenes.classes, (profiles or {}).get(name)) for name in settings}
    kept: dict[str, list[Region]] = {name: [] for name in ids}
    areas: dict[str, list[int]] = {name: [] for name in ids}
    real: dict[str, list[tuple[float, float, tuple[str, ...], tuple[int, ...]]]] = {name: [] for name in ids}
    pasted = id_table(scenes.classes, tuple(ids))
    for index in indices:
        scene = scenes[index]
        for name, class_id in ids.items():
            mask = scene.labels == class_id
            for found in regionprops(label_regions(mask)[0]) if mask.any() else ():
                areas[name].append(int(found.area))
                if not settings[name].min_region_px <= found.area <= settings[name].max_region_fraction * mask.size:
                    continue
                cut = cut_sides(Box(*found.bbox), mask.shape)
                thickness = float(inscribed_radius(found.image, cut) / np.sqrt(found.area))
                seam: tuple[int, ...] = ()
                if settings[name].seam:
                    seam = measure_seam(scene.labels, found.image, Box(*found.bbox), scenes.classes.ignored, pasted)
                real[name].append((float(found.area), thickness, cut, seam))
                if (
                    thickness >= settings[name].min_thickness
                    and found.solidity >= settings[name].min_solidity
                    and ("bottom" in cut or _stands_on(scene, found, ground[name]))
                ):
                    key = keys[index] if keys is not None else scene_key(scene.image)
                    kept[name].append(_cut_one(scene, found, cut, name, list(ids.values()), key, settings[name]))
    unfit = {name: _no_region(name, areas[name], len(indices), settings[name]) for name in ids if not kept[name]}
    if len(unfit) == len(ids):
        raise DataError("; ".join(unfit.values()))
    fit = [name for name in ids if name not in unfit]
    return RegionLibrary(
        classes=scenes.classes,
        channels=scenes.channels,
        regions={name: tuple(kept[name]) for name in fit},
        settings={name: settings[name] for name in fit},
        real={name: _real_regions(real[name]) for name in fit},
        found={name: len(found) for name, found in areas.items()},
        unfit=unfit,
        profiles={name: profile for name, profile in (profiles or {}).items() if name in fit},
        notes=tuple(notes),
    )


def _usual_ground(classes: ClassSet, profile: ClassProfile | None) -> np.ndarray:
    """(256,) bool: ids that real regions stand on; none where they do not stand or nothing is known."""
    return id_table(classes, stands_on(profile) if profile else ())


def _real_regions(rows: Sequence[tuple[float, float, tuple[str, ...], tuple[int, ...]]]) -> RealRegions:
    areas, thickness, cut, seams = zip(*rows, strict=True)
    return RealRegions(np.array(areas), np.array(thickness), cut, seams)


def _no_region(name: str, areas: Sequence[int], scenes: int, config: PasteSettings) -> str:
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


def _stands_on(scene: Scene, found: Any, ground: np.ndarray) -> bool:
    """Whether the foot shows: at least half of what has a label straight below the region is ground."""
    if not ground.any():
        return True
    top, left, _, right = found.bbox
    lowest = found.image.shape[0] - 1 - np.argmax(found.image[::-1], axis=0)  # of each column
    near = lowest >= found.image.shape[0] * (1 - FOOT_FRACTION) - 1
    rows = np.minimum(top + lowest[near] + 1, scene.labels.shape[0] - 1)
    labels = scene.labels[rows, np.arange(left, right)[near]]
    labels = labels[labels != scene.classes.ignored]
    return not len(labels) or bool(ground[labels].mean() >= 0.5)


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


def inscribed_radius(image: np.ndarray, cut: tuple[str, ...]) -> float:
    """Largest `signed_depth` of a (h, w) bool mask; half of its shorter side where all of it is cut off."""
    from scipy import ndimage

    (top, bottom), (left, right) = _margins(cut, 1)
    padded = np.zeros((image.shape[0] + top + bottom, image.shape[1] + left + right), bool)
    padded[top : top + image.shape[0], left : left + image.shape[1]] = image
    if padded.all():
        return min(image.shape) / 2
    return float(ndimage.distance_transform_edt(padded).max()) - 0.5


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
    config: PasteSettings,
) -> Region:
    from scipy import ndimage

    height = scene.labels.shape[0]
    box = Box(*(int(side) for side in found.bbox))
    margin = config.margin_px
    enclosed = ndimage.binary_fill_holes(found.image) & ~found.image
    bare = enclosed & (scene.labels[box.slices] == scene.classes.ignored)
    depth = signed_depth(found.image | bare, cut, margin)
    pixels = _with_margin(scene.image, box, cut, margin)
    labels = _with_margin(scene.labels, box, cut, margin)
    around = (depth < 0) & ~np.isin(labels, pasted_ids)
    labelled = around & (labels != scene.classes.ignored)
    values = pixels.astype(np.float32)
    ring = labelled if labelled.sum() >= MIN_RING_PX else around
    # a region that fills its window has no ring: its own brightness has to do
    ground_level = float(luminance(pixels)[ring if ring.any() else np.ones_like(ring)].mean())
    foot_row = height if "bottom" in cut else box.bottom
    horizon = horizon_row(scene.labels, scene.classes.ignored, config.horizon)
    return Region(
        donor_name=scene.name,
        donor_key=key,
        class_name=name,
        class_id=scene.classes.ids[scene.classes.index(name)],
        box=box,
        area_px=int(found.area),
        foot=foot_row / height,
        distance=1.0 if horizon is None else distance_below(horizon, foot_row, height),
        donor_height=height,
        cut=cut,
        margin_px=margin,
        ground_level=max(ground_level, 1.0),
        highlight=max(float(np.percentile(luminance(pixels)[depth > 0], 95)), 1.0),
        layers=np.concatenate([values, depth[..., None]], axis=-1),
        labels=labels,
        surroundings=np.bincount(labels[labelled], minlength=256) / max(labelled.sum(), 1),
        hollow=np.pad(bare, _margins(cut, margin)),
        detail=values - ndimage.gaussian_filter(values, DETAIL_PX, axes=(0, 1)),
    )


def _with_margin(array: np.ndarray, box: Box, cut: tuple[str, ...], margin: int) -> np.ndarray:
    """The box and its margin; where the margin leaves the image, the image's edge is repeated."""
    (top, bottom), (left, right) = _margins(cut, margin)
    rows = np.arange(box.top - top, box.bottom + bottom).clip(0, array.shape[0] - 1)
    columns = np.arange(box.left - left, box.right + right).clip(0, array.shape[1] - 1)
    return array[np.ix_(rows, columns)]
