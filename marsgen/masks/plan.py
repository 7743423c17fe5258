"""Which scene gets which region, where: a pure function of (inputs, seed, sample index)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from marsgen.core.errors import DataError
from marsgen.masks.blend import EditedMask, Stamp, clip_window, match_brightness, paste, shape_stamp
from marsgen.masks.canvas import AVOID_PX, Canvas, draw_foot, fits, move_to_border, rows_of_size
from marsgen.masks.donors import TOLERANCE, Donor, Target, draw_donor, draw_target, span_scene
from marsgen.masks.perspective import horizon_row
from marsgen.masks.placement import PlacementPrior
from marsgen.masks.regions import RegionLibrary, cut_sides, inscribed_radius
from marsgen.masks.seams import clear_seam
from marsgen.scenes.geometry import Box
from marsgen.scenes.scene import SceneSource, scene_key

DONORS_PER_REGION = 3
"""donors of one size tried in a scene before another scene is drawn: each wants surroundings like its own"""
PARENTS_PER_DRAW = 40
"""scenes in which the same sizes are tried before others are drawn"""


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
    area_px: int
    """pixels inside the image"""
    thickness: float
    """of the part inside the image, see `PasteConfig.min_thickness`"""
    cut: tuple[str, ...]
    """sides on which the border of the parent cuts it off"""
    seam_px: int
    """width of the unlabelled seam that was put around it: the distance up to which half of each ring lost its label"""
    beside: tuple[str, ...]
    """classes that it covers or comes within 3 px of"""

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
            "area_px": self.area_px,
            "thickness": round(self.thickness, 4),
            "cut": list(self.cut),
            "seam_px": self.seam_px,
            "beside": list(self.beside),
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
    parents: Sequence[int],
    *,
    placement: PlacementPrior | None = None,
    attempt: int = 0,
) -> PlannedSample:
    """Draw a parent scene and paste regions of the library into it.

    How many regions of which classes and of which sizes is drawn first; then scenes are drawn until all of them fit.
    What fits in no scene of many is drawn again.

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
    tries, most_parents = (max(getattr(s, key) for s in library.settings.values()) for key in ("tries", "max_parents"))
    wanted: list[tuple[str, Target]] = []
    for number in range(most_parents):
        if number % PARENTS_PER_DRAW == 0:
            wanted = _draw_wanted(library, rng)
        position = placement.draw_parent(rng) if placement else int(rng.integers(len(parents)))
        parent_index = int(parents[position])
        scene = scenes[parent_index]
        if scene.image.shape[2] != library.channels:
            raise DataError(f"{scene.name}: {scene.image.shape[2]} channels, but the regions have {library.channels}")
        if not _has_room(scene.labels, wanted, library):
            continue
        foot_weights = partial(placement.feet, scene) if placement else None
        edited = EditedMask.of(scene.image, scene.labels)
        canvas = Canvas(edited, library, foot_weights)
        places = _fill(canvas, wanted, tries, rng)
        if len(places) == len(wanted):
            key = scene_key(scene.image)
            edited = replace(edited, boxes=tuple(place.box for place in places))
            return PlannedSample(index, seed, parent_index, scene.name, key, tuple(places), edited)
    names = ", ".join(library.class_names)
    raise NoPlaceError(
        f"sample {index}: no place for regions of {names} in {most_parents} scenes with {tries} tries each; raise "
        "paste.tries, paste.max_parents or paste.max_ignored_fraction, or name other paste.ground_classes"
    )


def _draw_wanted(library: RegionLibrary, rng: np.random.Generator) -> list[tuple[str, Target]]:
    """Classes and sizes of the regions of one scene, the largest first: it has the fewest places."""
    names = library.class_names
    first = names[int(rng.integers(len(names)))]
    fewest, most = library.settings[first].regions_per_scene
    count = int(rng.integers(fewest, most + 1))
    chosen = [first, *(names[int(rng.integers(len(names)))] for _ in range(count - 1))]
    return sorted(((name, draw_target(library, name, rng)) for name in chosen), key=lambda item: -item[1].area_px)


def _has_room(labels: np.ndarray, wanted: Sequence[tuple[str, Target]], library: RegionLibrary) -> bool:
    """Whether the scene has enough labelled ground for the largest region; a cheap test before places are tried."""
    name, largest = wanted[0]
    labelled = np.count_nonzero(~library.pasted[labels] & (labels != library.classes.ignored))
    return bool(labelled >= largest.area_px / TOLERANCE * (1 - library.settings[name].max_ignored_fraction))


def _fill(canvas: Canvas, wanted: Sequence[tuple[str, Target]], tries: int, rng: np.random.Generator) -> list[Place]:
    """Paste the wanted regions; fewer when the tries run out."""
    places: list[Place] = []
    for name, target in wanted:
        place = next(
            (place for _ in range(DONORS_PER_REGION) if (place := _paste_one(canvas, name, target, tries, rng))), None
        )
        if place is None:
            break
        places.append(place)
    return places


def _paste_one(canvas: Canvas, name: str, target: Target, tries: int, rng: np.random.Generator) -> Place | None:
    """Draw a donor and paste it; None when the tries run out."""
    shaped = _draw_shaped(canvas, name, target, rng)
    if shaped is None:
        return None
    for _ in range(tries if len(shaped[0].cut) < 2 else 1):  # a corner is one place
        place = _try_place(canvas, *shaped, target, rng)
        if place is not None:
            return place
    return None


def _draw_shaped(canvas: Canvas, name: str, target: Target, rng: np.random.Generator) -> tuple[Donor, Stamp] | None:
    """Draw a donor, and turn and warp it; None where it cannot span the scene as its target does."""
    settings = canvas.library.settings[name]
    drawn = draw_donor(canvas.library, name, target, canvas.suits(name), rng)
    donor = drawn and span_scene(drawn, canvas.shape, settings)
    if donor is None:
        return None
    angle = 0.0
    warp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    if not donor.region.cut:  # a cut side has to stay straight on the border
        angle = float(rng.uniform(-settings.max_angle, settings.max_angle))
        down, across = rng.uniform(-settings.warp, settings.warp, 2)
        warp = (down, across, rng.uniform(0, 2 * math.pi))
    stamp = shape_stamp(donor.region, scale=donor.scale, flip=donor.flip, angle=angle, warp=warp)
    return replace(donor, angle=angle), stamp


def _try_place(canvas: Canvas, donor: Donor, stamp: Stamp, target: Target, rng: np.random.Generator) -> Place | None:
    """Draw one place for a donor, and paste it there if it fits."""
    library, edited, region = canvas.library, canvas.edited, donor.region
    name, ignored = region.class_name, library.classes.ignored
    settings = library.settings[name]
    horizon = horizon_row(edited.labels, ignored, settings.horizon)
    foot = draw_foot(canvas, donor, rows_of_size(donor, horizon), rng)
    if foot is None:
        return None
    top, left = move_to_border(stamp, foot[0] - stamp.foot[0], foot[1] - stamp.foot[1], donor, canvas.shape)
    if not fits(stamp, top, left, donor, target, canvas):
        return None
    gain, gains = match_brightness(stamp, top, left, library.ground[name], region, edited, settings)
    window, part = clip_window(stamp, top, left, canvas.shape)
    mask = stamp.depth[part] > 0
    near = np.bincount(edited.labels[window][stamp.depth[part] > -AVOID_PX], minlength=256) > 0
    classes = library.classes
    beside = tuple(n for n, i in zip(classes.names, classes.ids, strict=True) if near[i] and i != region.class_id)
    box = paste(stamp, top, left, region.class_id, gains, edited, settings)
    edited.labels[window][mask & stamp.hollow[part]] = ignored
    shown = Box.around(mask)
    inside = shown.shifted(max(top, 0), max(left, 0))
    seam_px = (
        clear_seam(edited.labels, mask[shown.slices], inside, target.seam, library.pasted, ignored)
        if any(target.seam)
        else 0
    )
    mask &= ~stamp.hollow[part]
    area = int(np.count_nonzero(mask))
    cut = cut_sides(inside, canvas.shape)
    radius = inscribed_radius(mask[shown.slices], cut)  # as in real regions
    return Place(
        donor_name=region.donor_name,
        donor_key=region.donor_key,
        class_name=region.class_name,
        donor_box=region.box,
        box=box,
        row=top + stamp.foot[0],
        column=left + stamp.foot[1],
        scale=donor.scale,
        flip=donor.flip,
        angle=donor.angle,
        gain=gain,
        area_px=area,
        thickness=radius / math.sqrt(area),
        cut=cut,
        seam_px=seam_px,
        beside=beside,
    )
