"""Which scene gets which region, where: a pure function of (inputs, seed, sample index)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.outlines import OutlineLender, recombine
from marsgen.masks.paste import (
    MIN_DISTANCE,
    Box,
    EditedMask,
    PasteConfig,
    Slices,
    Stamp,
    clip_window,
    horizon_row,
    match_brightness,
    paste,
    shape_stamp,
)
from marsgen.masks.placement import Placement, draw_from
from marsgen.masks.regions import Region, RegionLibrary
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource, scene_key

FOOT_SHARE = 0.2
"""lowest share of a region's rows in which its outline touches the ground"""
FOOT_ON_GROUND = 0.9
"""share of that outline that has to lie on a ground class; labels have small inpainting masks"""
CUT_DEEPER = 0.3
"""a region that its donor's border cuts off is pushed out of the picture by up to this share of its size"""


@dataclass(frozen=True)
class Place:
    """One pasted region: where it came from and what was done to it."""

    donor_name: str
    donor_key: str
    class_name: str
    donor_box: Box
    """the region in the donor scene"""
    box: Box
    """the changed window of the parent scene, soft edge included"""
    row: int
    """row and column of the middle of the region's foot in the parent; outside the image where the foot is cut off"""
    column: int
    scale: float
    flip: bool
    angle: float
    """degrees, counterclockwise"""
    gain: float
    """factor on the donor's brightness"""
    lender: OutlineLender | None = None
    """who shares in a mixed outline; None for the donor's own"""

    def record(self) -> dict:
        """The same content in json's types, as it stands in a manifest."""
        record = {
            "name": self.donor_name,
            "key": self.donor_key,
            "class": self.class_name,
            "donor_box": list(self.donor_box),
            "box": list(self.box),
            "row": self.row,
            "column": self.column,
            "scale": round(self.scale, 4),
            "flip": self.flip,
            "angle": round(self.angle, 3),
            "gain": round(self.gain, 4),
        }
        return record | {"outline": self.lender.record()} if self.lender else record


@dataclass(frozen=True, eq=False)
class PlannedSample:
    """Sample `index` of a seed: the parent scene, what was pasted where, and the edited arrays."""

    index: int
    seed: int
    parent_index: int
    parent_name: str
    parent_key: str
    places: tuple[Place, ...]
    edited: EditedMask

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Content keys of the parent, every donor and every lender of an outline, each once, for Origin.ancestors."""
        lenders = [place.lender.key for place in self.places if place.lender]
        return tuple(dict.fromkeys([self.parent_key, *(place.donor_key for place in self.places), *lenders]))

    def record(self) -> dict:
        """Everything but the arrays in json's types: keys `index`, `seed`, `parent`, `donors` of a manifest line."""
        return {
            "index": self.index,
            "seed": self.seed,
            "parent": {"name": self.parent_name, "key": self.parent_key},
            "donors": [place.record() for place in self.places],
        }


def repeat_sample(
    index: int,
    seed: int,
    scenes: SceneSource,
    parents: Sequence[int],
    class_indices: Sequence[int],
    zoom: tuple[float, float] = (1.0, 1.0),
    attempt: int = 0,
) -> PlannedSample:
    """Draw a scene and paste nothing into it: its own label map is to be drawn again, whole or enlarged.

    Args:
        index, seed, attempt: as in `edit_sample`.
        parents: scenes of the train part that show what more pictures are wanted of.
        class_indices: classes of which a pixel stays in the picture.
        zoom: smallest and largest factor by which a window of the scene is enlarged to the scene's size.
    Raises:
        DataError: no parents.
    """
    if not len(parents):
        raise DataError("no training scene shows the class; a variation needs at least one, see `marsgen inspect`")
    rng = np.random.default_rng([seed, index, attempt] if attempt else [seed, index])
    parent_index = int(parents[int(rng.integers(len(parents)))])
    scene = scenes[parent_index]
    image, labels = scene.image, scene.labels
    factor = float(np.exp(rng.uniform(*np.log(zoom))))  # twice as large is as likely as half as large
    if factor > 1:
        image, labels = _enlarge(image, labels, np.isin(scene.indices, class_indices), factor, rng)
    edited = EditedMask.of(image, labels)
    return PlannedSample(index, seed, parent_index, scene.name, scene_key(scene.image), (), edited)


def _enlarge(
    image: np.ndarray, labels: np.ndarray, shown: np.ndarray, factor: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A window with one of the `shown` pixels in it, `factor` times as large: the scene's own size again."""
    from skimage.transform import resize

    shape = labels.shape
    height, width = (max(round(side / factor), 1) for side in shape)
    row, column = (int(v) for v in rng.choice(np.argwhere(shown)))
    top = int(np.clip(row - rng.integers(height), 0, shape[0] - height))
    left = int(np.clip(column - rng.integers(width), 0, shape[1] - width))
    inside = (slice(top, top + height), slice(left, left + width))
    larger = resize(image[inside], shape, order=1, preserve_range=True, anti_aliasing=False)
    # order 0: between ids 1 and 3 lies no id 2
    ids = resize(labels[inside], shape, order=0, preserve_range=True, anti_aliasing=False)
    return larger.round().clip(0, 255).astype(np.uint8), ids.round().astype(np.uint8)


def edit_sample(
    index: int,
    seed: int,
    scenes: SceneSource,
    library: RegionLibrary,
    config: PasteConfig,
    parents: Sequence[int],
    *,
    placement: Placement | None = None,
    attempt: int = 0,
) -> PlannedSample:
    """Draw a parent scene and paste regions of the library into it.

    Args:
        index: number of the sample; together with `seed`, `attempt` and the other inputs it decides everything.
        parents: scenes that may be edited: the train part, nothing else.
        placement: odds of `parents`, in their order, and of places in them; None = all alike.
        attempt: 0, or how many other plans of this sample were turned down.
    Raises:
        DataError: no parents, a scene whose channels differ from the regions', or no place found in many parents.
    """
    if not len(parents):
        raise DataError("no scene to paste into; the train part is empty")
    rng = np.random.default_rng([seed, index, attempt] if attempt else [seed, index])
    ground = _ground_table(library, config)
    fewest, most = config.regions_per_scene
    pasted = _table(library.classes, library.class_names)
    for _ in range(config.max_parents):
        position = placement.draw_parent(rng) if placement else int(rng.integers(len(parents)))
        parent_index = int(parents[position])
        scene = scenes[parent_index]
        if scene.image.shape[2] != library.channels:
            raise DataError(f"{scene.name}: {scene.image.shape[2]} channels, but the regions have {library.channels}")
        horizon = horizon_row(scene.labels, scene.classes.ignored, config)
        feet = partial(placement.feet, parent_index) if placement else None
        edited = EditedMask.of(scene.image, scene.labels)
        canvas = _Canvas(edited, ground, pasted, scene.classes.ignored, horizon, feet)
        places = _fill(canvas, library, int(rng.integers(fewest, most + 1)), config, rng)
        if len(places) >= fewest:
            key = scene_key(scene.image)
            edited = replace(edited, boxes=tuple(place.box for place in places))
            return PlannedSample(index, seed, parent_index, scene.name, key, tuple(places), edited)
    raise DataError(
        f"sample {index}: no place for {fewest} regions of {', '.join(library.class_names)} in "
        f"{config.max_parents} scenes with {config.tries} tries each; raise paste.tries, paste.max_parents or "
        "paste.max_ignored_fraction, or name other paste.ground_classes"
    )


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A parent scene being edited, and what its ids mean for a place."""

    edited: EditedMask
    ground: np.ndarray
    """(256,) bool: ids that a region may stand on"""
    pasted: np.ndarray
    """(256,) bool: ids that a region must not touch"""
    ignored: int
    horizon: float
    feet: Callable[[str], np.ndarray] | None = None
    """class name -> (H, W) odds of a foot at each pixel; None = all alike"""
    odds: dict[str, np.ndarray] = field(default_factory=dict)
    """what `feet` gave, once per class; 0 off the ground"""

    def odds_of(self, class_name: str) -> np.ndarray | None:
        if self.feet is not None and class_name not in self.odds:
            self.odds[class_name] = self.feet(class_name) * self.ground[self.edited.labels]
        return self.odds.get(class_name)


def _ground_table(library: RegionLibrary, config: PasteConfig) -> np.ndarray:
    """(256,) bool: ids that a region may stand on."""
    classes = library.classes
    names = config.ground_classes or tuple(name for name in classes.names if name not in library.class_names)
    pasted = [name for name in names if name in library.class_names]
    if pasted or not names:
        raise DataError(
            f"nothing to stand on: {', '.join(library.class_names)} are pasted and the ground is "
            f"{', '.join(names) or 'empty'}; name classes that are not pasted in paste.ground_classes"
        )
    return _table(classes, names)


def _table(classes: ClassSet, names: Sequence[str]) -> np.ndarray:
    table = np.zeros(256, bool)
    table[[classes.ids[classes.index(name)] for name in names]] = True
    return table


def _fill(
    canvas: _Canvas, library: RegionLibrary, count: int, config: PasteConfig, rng: np.random.Generator
) -> list[Place]:
    """Paste up to `count` regions; fewer when the tries run out."""
    places: list[Place] = []
    for _ in range(config.tries):
        name = library.class_names[int(rng.integers(len(library.class_names)))]
        region = library.regions[name][int(rng.integers(len(library.regions[name])))]
        place = _try_place(canvas, region, library, config, rng)
        if place is not None:
            places.append(place)
        if len(places) == count:
            break
    return places


def _try_place(
    canvas: _Canvas, region: Region, library: RegionLibrary, config: PasteConfig, rng: np.random.Generator
) -> Place | None:
    """Draw one place for a region and paste it there if it fits."""
    labels = canvas.edited.labels
    flip = bool(rng.random() < config.flip)
    odds = canvas.odds_of(region.class_name)
    if odds is None:
        row, column = _draw_foot(region, flip, labels.shape, rng)
    else:
        drawn = _draw_by_odds(region, flip, odds, rng)
        if drawn is None:
            return None
        row, column = drawn
    if not canvas.ground[labels[min(row, labels.shape[0] - 1), column]]:
        return None
    scale = _scale_at(row, region, canvas.horizon, labels.shape[0], config, rng)
    # a turned or bent region would leave the border that cuts it off
    angle = 0.0 if region.cut else float(rng.uniform(-config.max_angle, config.max_angle))
    warp = (0.0, 0.0, 0.0) if region.cut else (*rng.uniform(-config.warp, config.warp, 2), rng.uniform(0, 2 * math.pi))
    shape = partial(shape_stamp, scale=scale, flip=flip, angle=angle, warp=warp)
    stamp, lender = shape(region), None
    top, left = _push_to_border(stamp, row - stamp.foot[0], column - stamp.foot[1], labels.shape, rng)
    if not _fits(stamp, top, left, canvas, config):
        return None
    # only now: most places are turned down, and a new outline takes longer than all of the above
    if config.recombine and rng.random() < config.recombine:
        mixed = recombine(region, library.regions[region.class_name], rng)
        if mixed is not None:
            (region, lender), foot = mixed, stamp.foot
            stamp = shape(region)
            # the new foot stands where the old one stood; a cut side stays on its border
            top += 0 if {"top", "bottom"} & set(stamp.cut) else foot[0] - stamp.foot[0]
            left += 0 if {"left", "right"} & set(stamp.cut) else foot[1] - stamp.foot[1]
            if not _fits(stamp, top, left, canvas, config):
                return None
    gain, gains = match_brightness(stamp, top, left, canvas.ground, region, canvas.edited, config)
    box = paste(stamp, top, left, region.class_id, gains, canvas.edited, config)
    return Place(
        donor_name=region.donor_name,
        donor_key=region.donor_key,
        class_name=region.class_name,
        donor_box=region.box,
        box=box,
        row=top + stamp.foot[0],
        column=left + stamp.foot[1],
        scale=scale,
        flip=flip,
        angle=angle,
        gain=gain,
        lender=lender,
    )


def _draw_foot(region: Region, flip: bool, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a foot: anywhere for whole regions, at the cut side for regions that a border cuts off."""
    height, width = shape
    # a foot below the picture makes a region that the lower border cuts off, as often happens in real scenes
    row, column = int(rng.integers(height + height // 8)), int(rng.integers(width))
    fixed_row, fixed_column = _fixed_foot(region, flip, shape)
    return row if fixed_row is None else fixed_row, column if fixed_column is None else fixed_column


def _draw_by_odds(region: Region, flip: bool, odds: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """The same by (H, W) odds; None where they leave no place."""
    row, column = _fixed_foot(region, flip, odds.shape)
    rows = slice(None) if row is None else slice(row, row + 1)
    columns = slice(None) if column is None else slice(column, column + 1)
    allowed = odds[rows, columns]
    if not allowed.any():
        return None
    down, across = divmod(draw_from(allowed.ravel(), rng), allowed.shape[1])
    return down + (row or 0), across + (column or 0)


def _fixed_foot(region: Region, flip: bool, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Row and column that a cut side leaves no choice of; None = anywhere."""
    height, width = shape
    row = column = None
    if "bottom" in region.cut:
        row = height - 1
    elif "top" in region.cut:
        row = min(int(region.foot * height), height - 1)
    if "left" in region.cut or "right" in region.cut:
        column = 0 if ("left" in region.cut) != flip else width - 1
    return row, column


def _scale_at(
    row: int, region: Region, horizon: float, height: int, config: PasteConfig, rng: np.random.Generator
) -> float:
    """Size beside the donor's own pixels: things grow in proportion to how far below the horizon they stand."""
    distance = max((row + 1 - horizon) / height, MIN_DISTANCE)
    jitter = 1 + config.scale_jitter * float(rng.uniform(-1, 1))
    scale = min(max(jitter * distance / region.distance, config.scale[0]), config.scale[1])
    return scale * height / region.donor_height


def _push_to_border(
    stamp: Stamp, top: int, left: int, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int]:
    """Lay cut sides on the same side of the picture, or a little beyond it."""
    tall, wide = stamp.depth.shape
    down, across = (int(share * CUT_DEEPER * side) for share, side in zip(rng.random(2), (tall, wide), strict=True))
    if "top" in stamp.cut:
        top = -down
    if "bottom" in stamp.cut:
        top = shape[0] - tall + down
    if "left" in stamp.cut:
        left = -across
    if "right" in stamp.cut:
        left = shape[1] - wide + across
    return top, left


def _fits(stamp: Stamp, top: int, left: int, canvas: _Canvas, config: PasteConfig) -> bool:
    """Enough of it visible, clear of its own kind, little of it on unlabelled pixels, its foot on ground."""
    window, inside = clip_window(stamp, top, left, canvas.edited.labels.shape)
    labels, depth = canvas.edited.labels[window], stamp.depth[inside]
    mask = depth > 0
    visible = np.count_nonzero(mask)
    if visible < max(config.min_visible_px, config.min_visible_fraction * np.count_nonzero(stamp.depth > 0)):
        return False
    if canvas.pasted[labels[depth > -config.gap_px]].any() or _crowded(window, stamp, canvas, config):
        return False
    if np.count_nonzero(labels[mask] == canvas.ignored) > config.max_ignored_fraction * visible:
        return False
    standing = canvas.ground[labels[_foot_outline(mask)]]
    return bool(standing.mean() >= FOOT_ON_GROUND)


def _crowded(window: Slices, stamp: Stamp, canvas: _Canvas, config: PasteConfig) -> bool:
    """Its own kind just outside the window of a stamp shrunk so much (a larger donor scene) that the gap leaves it."""
    beyond = math.ceil(config.gap_px - stamp.reach_px)
    if beyond <= 0:
        return False
    rows, columns = (slice(max(0, side.start - beyond), side.stop + beyond) for side in window)
    return bool(canvas.pasted[canvas.edited.labels[rows, columns]].any())


def _foot_outline(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of a non-empty mask with nothing of it below, in its lowest rows."""
    below = np.zeros_like(mask)
    below[:-1] = mask[1:]
    outline = mask & ~below
    rows = np.flatnonzero(mask.any(axis=1))
    outline[: rows[-1] - int(FOOT_SHARE * (rows[-1] - rows[0]))] = False
    return outline
