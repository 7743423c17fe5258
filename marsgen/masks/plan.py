"""Which scene gets which region, where: a pure function of (inputs, seed, sample index)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.canvas import Canvas, draw_foot, fits, ground_table, id_table, push_to_border, scale_at
from marsgen.masks.config import PasteConfig
from marsgen.masks.paste import EditedMask, match_brightness, paste, shape_stamp
from marsgen.masks.perspective import horizon_row
from marsgen.masks.placement import PlacementPrior
from marsgen.masks.regions import Region, RegionLibrary
from marsgen.scenes.geometry import Box
from marsgen.scenes.scene import SceneSource, scene_key


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

    def record(self) -> dict:
        """The same content in json's types, as it stands in a manifest."""
        return {
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
        """Content keys of the parent and of every donor, each once, for Origin.ancestors."""
        return tuple(dict.fromkeys([self.parent_key, *(place.donor_key for place in self.places)]))

    def record(self) -> dict:
        """Everything but the arrays in json's types: keys `index`, `seed`, `parent`, `donors` of a manifest line."""
        return {
            "index": self.index,
            "seed": self.seed,
            "parent": {"name": self.parent_name, "key": self.parent_key},
            "donors": [place.record() for place in self.places],
        }


class NoPlaceError(DataError):
    """No region fits into any scene that was tried."""


def repeat_sample(
    index: int,
    seed: int,
    scenes: SceneSource,
    parents: Sequence[int],
    class_indices: Sequence[int],
    zoom: tuple[float, float] = (1.0, 1.0),
    attempt: int = 0,
) -> PlannedSample:
    """Choose a scene and paste nothing into it: the generator is to redraw its own label map, whole or enlarged.

    Args:
        index, seed, attempt: as in `edit_sample`.
        parents: scenes of the train part that show one of the wanted classes.
        class_indices: the wanted classes; an enlarged window holds a pixel of one of them.
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
    factor = float(np.exp(rng.uniform(*np.log(zoom))))  # uniform in the logarithm
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
    placement: PlacementPrior | None = None,
    attempt: int = 0,
) -> PlannedSample:
    """Draw a parent scene and paste regions of the library into it.

    Args:
        index: number of the sample; together with `seed`, `attempt` and the other inputs it decides everything.
        parents: scenes that may be edited: the train part, nothing else.
        placement: weights of `parents`, in their order, and of places in them; None = all alike.
        attempt: 0, or the number of earlier plans of this sample that were rejected.
    Raises:
        DataError: no parents, or a scene whose channels differ from the regions'.
        NoPlaceError: no place found in many parents.
    """
    if not len(parents):
        raise DataError("no scene to paste into; the train part is empty")
    rng = np.random.default_rng([seed, index, attempt] if attempt else [seed, index])
    ground, pasted = ground_table(library, config), id_table(library.classes, library.class_names)
    fewest, most = config.regions_per_scene
    for _ in range(config.max_parents):
        position = placement.draw_parent(rng) if placement else int(rng.integers(len(parents)))
        parent_index = int(parents[position])
        scene = scenes[parent_index]
        if scene.image.shape[2] != library.channels:
            raise DataError(f"{scene.name}: {scene.image.shape[2]} channels, but the regions have {library.channels}")
        horizon = horizon_row(scene.labels, scene.classes.ignored, config)
        foot_weights = partial(placement.feet, parent_index) if placement else None
        edited = EditedMask.of(scene.image, scene.labels)
        canvas = Canvas(edited, ground, pasted, scene.classes.ignored, horizon, foot_weights)
        places = _fill(canvas, library, int(rng.integers(fewest, most + 1)), config, rng)
        if len(places) >= fewest:
            key = scene_key(scene.image)
            edited = replace(edited, boxes=tuple(place.box for place in places))
            return PlannedSample(index, seed, parent_index, scene.name, key, tuple(places), edited)
    raise NoPlaceError(
        f"sample {index}: no place for {fewest} regions of {', '.join(library.class_names)} in "
        f"{config.max_parents} scenes with {config.tries} tries each; raise paste.tries, paste.max_parents or "
        "paste.max_ignored_fraction, or name other paste.ground_classes"
    )


def _fill(
    canvas: Canvas, library: RegionLibrary, count: int, config: PasteConfig, rng: np.random.Generator
) -> list[Place]:
    """Paste up to `count` regions; fewer when the tries run out."""
    places: list[Place] = []
    for _ in range(config.tries):
        name = library.class_names[int(rng.integers(len(library.class_names)))]
        region = library.regions[name][int(rng.integers(len(library.regions[name])))]
        place = _try_place(canvas, region, config, rng)
        if place is not None:
            places.append(place)
        if len(places) == count:
            break
    return places


def _try_place(canvas: Canvas, region: Region, config: PasteConfig, rng: np.random.Generator) -> Place | None:
    """Draw one place for a region and paste it there if it fits."""
    flip = bool(rng.random() < config.flip)
    foot = draw_foot(canvas, region, flip, rng)
    if foot is None:
        return None
    row, column = foot
    scale = scale_at(row, region, canvas, config, rng)
    angle = 0.0
    warp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    if not region.cut:  # a cut side has to stay straight on the border
        angle = float(rng.uniform(-config.max_angle, config.max_angle))
        down, across = rng.uniform(-config.warp, config.warp, 2)
        warp = (down, across, rng.uniform(0, 2 * math.pi))
    stamp = shape_stamp(region, scale=scale, flip=flip, angle=angle, warp=warp)
    top, left = push_to_border(stamp, row - stamp.foot[0], column - stamp.foot[1], canvas.shape, rng)
    if not fits(stamp, top, left, canvas, config):
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
    )
