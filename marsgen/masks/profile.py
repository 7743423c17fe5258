"""What a rare class is like, measured on the real scenes that show it: before anything of it is pasted.

One pass over the scenes measures every connected region; `ClassProfile` summarises them: sizes, shape, direction,
place, neighbours, the unlabelled seam around them, and whether size follows the row (perspective). Each claim that
could be chance carries the p-value of its test. `infer_settings.py` turns a profile into proposals for `paste`.

Groups of scenes (one rover stop, one part under several exposures) are the units of all tests, since regions of one
group are not independent.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage, stats
from skimage.measure import label, regionprops_table
from tqdm import tqdm

from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.scene import SceneSource

SEAM_EDGES_PX = (2, 4, 8, 16)
"""distances from a region that bound the rings in which unlabelled pixels are counted"""
GRID = 8
"""rows and columns of the map of where the class occurs"""
SIGNIFICANT = 0.01
"""p-value below which a difference is taken for real"""
NO_LABEL = "no label"
_BORDER_PX = 3  # a region this close to the border is cut off by it: annotators leave a rim unlabelled
_SHAPED_PX = 16  # smaller regions have no shape to speak of
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_MOST_BINS = 5
_REGIONS_PER_BIN = 5
_RING_PX = (3, 6, 12, 16)  # reach in which neighbours are looked for: the first with enough labelled pixels counts
_RING_LEAST = 24
_ELONGATED = 1.5  # major axis / minor axis from which a region has a direction
_FEWEST = 8  # groups without which no test is made
_TIE = 0.02  # smaller differences between sides come from the rounding of outlines to pixels
_NEVER = 0.01  # share of regions next to a class that wrong labels explain
_MOST_REGIONS = 50_000  # kept for the statistics, drawn evenly from all: memory stays below 20 MB per class
_PERMUTATIONS = 999
_MOST_PERMUTED = 500
_SIDES = ("top", "left", "bottom", "right")


@dataclass(frozen=True)
class Quantiles:
    """Smallest, 10 %, 25 %, 50 %, 75 %, 90 % and largest of a quantity; NaN where nothing was measured."""

    least: float
    q10: float
    q25: float
    median: float
    q75: float
    q90: float
    most: float

    @classmethod
    def of(cls, values: Any) -> "Quantiles":
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        return cls(*(float(v) for v in np.quantile(values, _QUANTILES))) if values.size else cls(*[math.nan] * 7)


@dataclass(frozen=True)
class SizeProfile:
    """How large the regions are."""

    px: Quantiles
    """area of a region in pixels"""
    scene_fraction: Quantiles
    """area of a region as a share of its scene"""
    edges_px: tuple[float, ...]
    """inner edges of the size bins, increasing; learned so that each bin holds about the same share of the pixels"""
    region_shares: tuple[float, ...]
    """share of the regions in each bin"""
    pixel_shares: tuple[float, ...]
    """share of the class's pixels in each bin"""


@dataclass(frozen=True)
class ShapeProfile:
    """What the regions of at least 16 px look like."""

    solidity: Quantiles
    """area divided by the area of the convex hull; 1 = convex"""
    thickness: Quantiles
    """largest inscribed radius divided by the root of the area; 0.56 = disc, 0.5 = square, 0.1 = line"""
    width_px: Quantiles
    """diameter of the largest inscribed circle"""
    elongation: Quantiles
    """major axis divided by minor axis of the ellipse of equal moments, at least 1"""


@dataclass(frozen=True)
class DirectionProfile:
    """Whether a region may be turned."""

    mean_angle: float
    """degrees of the major axis of elongated regions, counterclockwise from horizontal, -90..90"""
    concentration: float
    """0 = axes point everywhere, 1 = all point to `mean_angle`"""
    axis_p: float
    """Rayleigh test on doubled angles, one per group: small = the axes have a preferred direction"""
    up_down_p: float
    """signed-rank test over groups: small = top and bottom differ, in outline or in what lies above and below"""
    left_right_p: float
    """the same of left and right"""

    @property
    def isotropic(self) -> bool | None:
        """Whether free rotation keeps the class as it is; None = too few groups to tell."""
        tested = [p for p in (self.axis_p, self.up_down_p) if not math.isnan(p)]
        if any(p < SIGNIFICANT for p in tested):
            return False
        return True if not math.isnan(self.up_down_p) else None


@dataclass(frozen=True)
class PlaceProfile:
    """Where the regions are."""

    grid: tuple[tuple[float, ...], ...]
    """share of the class's pixels in each of 8 x 8 cells of the picture, from the top left"""
    foot_row: Quantiles
    """lowest row of a region as a share of the height, of regions that the lower border does not cut off"""
    cut_share: float
    """share of the regions that the border of the scene cuts off"""
    cut_pixel_share: float
    """share of the class's pixels in such regions"""
    cut_sides: dict[str, float]
    """side -> share of the regions that it cuts off"""
    beside: dict[str, float]
    """class -> its share of the labelled pixels next to a region, mean over regions"""
    above: dict[str, float]
    """the same of the pixels straight above"""
    below: dict[str, float]
    """the same of the pixels straight below"""
    touched: dict[str, float]
    """class -> share of the regions of at least 16 px, with a label within 3 px, that have a pixel of it there"""
    available: dict[str, float]
    """class -> share of the labelled pixels in the scenes that show the profiled one, itself left out"""
    distance: dict[str, float]
    """class -> median distance over scenes from the profiled class, as a share of the scene's height"""

    @property
    def never_touched(self) -> tuple[str, ...]:
        """Classes that occur in the same scenes but next to less than 1 % of the regions."""
        if not self.touched:
            return ()
        return tuple(name for name, share in self.available.items() if share > 0 and self.touched[name] < _NEVER)


@dataclass(frozen=True)
class RowProfile:
    """Whether a region's size follows the row of its foot, as things do that stand on the ground."""

    correlation: float
    """Spearman's rank correlation of size and foot row, over regions that no border cuts off"""
    by_chance: float
    """what the correlation would be if place did not depend on size: a large region cannot have a high foot"""
    p: float
    """permutation test with one region of each group: small = size follows the row"""
    horizon: float
    """row at which the fitted size becomes 0, as a share of the height; negative = above the picture; NaN = none"""

    @property
    def perspective(self) -> bool:
        return self.p < SIGNIFICANT and self.correlation > self.by_chance


@dataclass(frozen=True)
class SeamProfile:
    """Pixels without a label around the regions."""

    shares: tuple[float, ...]
    """share without a label at distances of 0-2, 2-4, 4-8 and 8-16 px, over all pixels there"""
    shares_by_size: tuple[tuple[float, ...], ...]
    """the same for each size bin"""
    width_px: Quantiles
    """per region, the distance up to which at least half of each one-pixel ring has no label; 0 = labels touch it"""
    width_by_size: tuple[Quantiles, ...]
    elsewhere: float
    """share without a label in the same scenes, farther away than 16 px"""


@dataclass(frozen=True)
class ClassProfile:
    """What the regions of one class in the real scenes are like."""

    name: str
    scenes: int
    """scenes that were searched"""
    holders: int
    """scenes that show the class"""
    regions: int
    pixels: int
    pixel_fraction: float
    """of all pixels that were searched"""
    per_scene: Quantiles
    """regions in a scene that shows the class"""
    size: SizeProfile
    shape: ShapeProfile
    direction: DirectionProfile
    place: PlaceProfile
    rows: RowProfile
    seam: SeamProfile
    limits: tuple[str, ...] = ()
    """what so few regions cannot tell, one sentence each"""

    def to_dict(self) -> dict[str, Any]:
        """The same content in json's types; NaN becomes None."""
        return _plain(asdict(self))

    def describe(self) -> str:
        """The profile in one line."""
        if not self.regions:
            return f"{self.name}: in none of {self.scenes} scenes"
        size, shape = self.size.px, self.shape
        parts = [
            f"{_count(self.regions, 'region')} in {self.holders} of {self.scenes} scenes "
            f"({self.pixel_fraction:.2%} of the pixels, {self.per_scene.median:.0f} per scene, "
            f"at most {self.per_scene.most:.0f})",
            f"{size.q10:.0f} to {size.q90:.0f} px (median {size.median:.0f})",
        ]
        if not math.isnan(shape.thickness.median):
            parts.append(
                f"{_shape_word(shape)} ({shape.width_px.median:.0f} px wide, thickness {shape.thickness.median:.2f}, "
                f"solidity {shape.solidity.median:.2f})"
            )
        parts.append(_direction_text(self.direction))
        parts.append(f"{self.place.cut_share:.0%} cut off by the border")
        if self.place.beside:
            parts.append(f"next to {_largest(self.place.beside)}, on {_largest(self.place.below)}")
        if self.place.never_touched:
            parts.append(f"never next to {', '.join(self.place.never_touched)}")
        parts.append(_row_text(self.rows))
        parts.append(
            "no unlabelled seam"
            if self.seam.shares[0] < 0.05
            else "without a label "
            + ", ".join(
                f"{share:.0%} at {low}-{high} px"
                for share, low, high in zip(self.seam.shares, (0, *SEAM_EDGES_PX), SEAM_EDGES_PX, strict=False)
                if not math.isnan(share)
            )
        )
        return "; ".join([f"{self.name}: {parts[0]}", *parts[1:], *self.limits])


def profile_classes(
    scenes: SceneSource, indices: Sequence[int], class_names: Sequence[str], groups: Sequence[Hashable] | None = None
) -> dict[str, ClassProfile]:
    """Measure classes in one pass over scenes; progress goes to stderr.

    Args:
        indices: scenes to look at: the train part, nothing else.
        class_names: for example `scenes.classes.rare`.
        groups: name of the group of each scene of `scenes`; default: the data set's own, else every scene by itself.
    Raises:
        DataError: an unknown class.
    """
    collectors = [_Collector(scenes, name) for name in class_names]
    groups = groups or scenes.groups
    numbers: dict[Hashable, int] = {}
    for index in tqdm(indices, desc="profile", unit=" scenes", leave=False):
        class_map = scenes.classes.to_indices(scenes.read(int(index))[1])
        group = numbers.setdefault(groups[index] if groups is not None else index, len(numbers))
        for collector in collectors:
            collector.add(class_map, group)
    return {name: collector.profile() for name, collector in zip(class_names, collectors, strict=True)}


def share_by_size(
    areas: Sequence[float] | np.ndarray, edges: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How regions and their pixels are spread over bins of size.

    Args:
        areas: (R,) sizes in pixels.
        edges: (B - 1,) inner edges, increasing; a size on an edge is in the upper bin.
    Returns:
        share of the regions and share of the pixels in each bin, (B,) each; NaN without a region.
    """
    areas = np.asarray(areas, np.float64)
    which = np.searchsorted(np.asarray(edges, np.float64), areas, side="right")
    counts = np.bincount(which, minlength=len(edges) + 1)
    pixels = np.bincount(which, areas, minlength=len(edges) + 1)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(), pixels / pixels.sum()


# measuring

_COLUMNS = (
    "group", "area", "scene_fraction", "solidity", "radius", "elongation", "angle", "foot", "height", "scene_height",
    "cut_top", "cut_left", "cut_bottom", "cut_right", "skew_down", "skew_right",
)  # fmt: skip


class _Collector:
    """Regions of one class, measured scene by scene."""

    def __init__(self, scenes: SceneSource, name: str) -> None:
        self.name = name
        self.class_names = scenes.classes.names
        self.index = scenes.classes.index(name)
        self.scenes = self.searched_px = self.pixels = self.regions = 0
        self.per_scene: list[int] = []
        self.grid = np.zeros((GRID, GRID))
        self.available = np.zeros(len(self.class_names))
        self.elsewhere = np.zeros(2)  # unlabelled, all
        self.distances: list[np.ndarray] = []  # (C,) for each holder
        self.sided: list[np.ndarray] = []  # (4, C) shares above, below, left, right for each holder
        self.groups: list[int] = []  # of each holder
        self.rng = np.random.default_rng(0)
        width = len(_COLUMNS) + 4 * len(self.class_names) + 2 * SEAM_EDGES_PX[-1] + 1
        self.rows = np.zeros((0, width), np.float32)
        self.waiting: list[np.ndarray] = []

    def add(self, class_map: np.ndarray, group: int) -> None:
        """Measure one (H, W) map of class indices."""
        self.scenes += 1
        self.searched_px += class_map.size
        mask = class_map == self.index
        if not mask.any():
            return
        numbered = label(mask, connectivity=2)
        count = int(numbered.max())
        self.pixels += int(mask.sum())
        self.regions += count
        self.per_scene.append(count)
        rows, columns = np.nonzero(mask)
        cells = rows * GRID // mask.shape[0] * GRID + columns * GRID // mask.shape[1]
        self.grid += np.bincount(cells, minlength=GRID**2).reshape(GRID, GRID)
        self.groups.append(group)
        table = _measure_regions(numbered, group)
        around = self._look_around(class_map, mask, numbered, count)
        found = np.concatenate([table, around, self.rng.random((count, 1))], axis=1).astype(np.float32)
        self.waiting.append(found)
        if sum(map(len, self.waiting)) > _MOST_REGIONS:
            self._thin_out()

    def _thin_out(self) -> None:
        """Keep an even sample: the regions with the smallest random numbers, of which each has one."""
        rows = np.concatenate([self.rows, *self.waiting])
        self.waiting = []
        if len(rows) > _MOST_REGIONS:
            rows = rows[np.sort(np.argpartition(rows[:, -1], _MOST_REGIONS)[:_MOST_REGIONS])]
        self.rows = rows

    def _look_around(self, class_map: np.ndarray, mask: np.ndarray, numbered: np.ndarray, count: int) -> np.ndarray:
        """(R, 4C + 32): labelled neighbours touching, beside, above, below by class; bare and all pixels by distance."""
        classes = len(self.class_names)
        labelled = (class_map != IGNORED_INDEX) & ~mask
        ids = np.minimum(class_map, classes)  # classes, then "no label"
        self.available += np.bincount(class_map[labelled], minlength=classes)[:classes]
        if mask.all():
            self.distances.append(np.full(classes, np.nan))
            self.sided.append(np.full((4, classes), np.nan))
            return np.zeros((count, 4 * classes + 2 * SEAM_EDGES_PX[-1]))
        distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
        far = distance > SEAM_EDGES_PX[-1]
        self.elsewhere += [np.count_nonzero(far & (class_map == IGNORED_INDEX)), np.count_nonzero(far)]
        least = ndimage.minimum(distance, ids, np.arange(classes)) if labelled.any() else np.full(classes, np.nan)
        present = np.bincount(ids[~mask], minlength=classes + 1)[:classes] > 0
        self.distances.append(np.where(present, np.asarray(least), np.nan) / mask.shape[0])

        row, column = np.nonzero(~mask & ~far)
        at_row, at_column = nearest[0][row, column], nearest[1][row, column]
        region = numbered[at_row, at_column] - 1
        steps = np.ceil(distance[row, column]).astype(int) - 1  # 0 = the ring of adjacent pixels
        bare = class_map[row, column] == IGNORED_INDEX
        reach = SEAM_EDGES_PX[-1]
        rings = np.bincount(region * reach + steps, minlength=count * reach).reshape(count, reach)
        seams = np.bincount((region * reach + steps)[bare], minlength=count * reach).reshape(count, reach)

        here = labelled[row, column]
        region, steps, kind = region[here], steps[here], class_map[row, column][here].astype(int)
        down, right = (row - at_row)[here], (column - at_column)[here]
        reached = self._enough(region, steps, count)
        near = steps < reached[region]
        region, steps, kind, down, right = region[near], steps[near], kind[near], down[near], right[near]

        def shares(chosen: np.ndarray) -> np.ndarray:
            table = np.bincount(region[chosen] * classes + kind[chosen], minlength=count * classes)
            return table.reshape(count, classes)

        above, below = shares((down < 0) & (abs(down) >= abs(right))), shares((down > 0) & (abs(down) >= abs(right)))
        left, to_right = shares((right < 0) & (abs(right) > abs(down))), shares((right > 0) & (abs(right) > abs(down)))
        sides = [np.nanmean(_normalised(side), axis=0) if side.any() else np.full(classes, np.nan)
                 for side in (above, below, left, to_right)]  # fmt: skip
        self.sided.append(np.stack(sides))
        touched, beside = shares(steps < _RING_PX[0]), shares(np.ones(len(region), bool))
        return np.concatenate([touched, beside, above, below, seams, rings], axis=1)

    @staticmethod
    def _enough(region: np.ndarray, steps: np.ndarray, count: int) -> np.ndarray:
        """(R,) reach in px within which each region has enough labelled pixels, of those in `_RING_PX`."""
        reached = np.full(count, _RING_PX[-1])
        for reach in reversed(_RING_PX[:-1]):
            enough = np.bincount(region[steps < reach], minlength=count) >= _RING_LEAST
            reached[enough] = reach
        return reached

    def profile(self) -> ClassProfile:
        """Everything that was measured, summarised."""
        self._thin_out()
        of = {name: self.rows[:, number].astype(np.float64) for number, name in enumerate(_COLUMNS)}
        classes, reach, start = len(self.class_names), SEAM_EDGES_PX[-1], len(_COLUMNS)
        touched, *around = (self.rows[:, start + k * classes : start + (k + 1) * classes] for k in range(4))
        seams, rings = (self.rows[:, start + 4 * classes + k * reach :][:, :reach] for k in range(2))
        shaped = of["area"] >= _SHAPED_PX
        size = _size_profile(of)
        return ClassProfile(
            name=self.name,
            scenes=self.scenes,
            holders=len(self.per_scene),
            regions=self.regions,
            pixels=self.pixels,
            pixel_fraction=self.pixels / max(self.searched_px, 1),
            per_scene=Quantiles.of(self.per_scene),
            size=size,
            shape=ShapeProfile(
                solidity=Quantiles.of(of["solidity"][shaped]),
                thickness=Quantiles.of((of["radius"] / np.sqrt(np.maximum(of["area"], 1)))[shaped]),
                width_px=Quantiles.of(2 * of["radius"][shaped]),
                elongation=Quantiles.of(of["elongation"][shaped]),
            ),
            direction=self._direction(of, shaped),
            place=self._place(of, touched[shaped], *around),
            rows=_row_profile(of, shaped),
            seam=_seam_profile(of, size.edges_px, seams, rings, self.elsewhere),
            limits=self._limits(int(shaped.sum())),
        )

    def _direction(self, of: Mapping[str, np.ndarray], shaped: np.ndarray) -> DirectionProfile:
        cut = _is_cut(of)
        pointing = shaped & (of["elongation"] >= _ELONGATED)
        vectors = np.exp(2j * of["angle"])
        per_group = _group_means(vectors, of["group"], pointing)
        per_group = per_group[np.abs(per_group) > 1e-9]
        units = per_group / np.abs(per_group)
        resultant = units.mean() if len(units) else complex(math.nan, math.nan)
        whole = shaped & ~cut
        sided = _nan_means(np.array(self.sided).reshape(-1, 4, len(self.class_names)), np.array(self.groups, int))
        return DirectionProfile(
            mean_angle=float(np.degrees(np.angle(resultant)) / 2),
            concentration=float(abs(resultant)),
            axis_p=_rayleigh_p(float(abs(resultant)), len(units)),
            up_down_p=_combined_p(
                _group_means(of["skew_down"], of["group"], whole).real, sided[:, 0] - sided[:, 1], self.index
            ),
            left_right_p=_combined_p(
                _group_means(of["skew_right"], of["group"], whole).real, sided[:, 2] - sided[:, 3], self.index
            ),
        )

    def _place(
        self,
        of: Mapping[str, np.ndarray],
        touched: np.ndarray,
        beside: np.ndarray,
        above: np.ndarray,
        below: np.ndarray,
    ) -> PlaceProfile:
        cut, area = _is_cut(of), of["area"]
        names = self.class_names
        others = np.arange(len(names)) != self.index
        touched = touched[touched.sum(1) > 0]
        distance = np.array(self.distances).reshape(-1, len(names))
        return PlaceProfile(
            grid=tuple(tuple(float(v) for v in row) for row in self.grid / max(self.grid.sum(), 1)),
            foot_row=Quantiles.of((of["foot"] / np.maximum(of["scene_height"], 1))[of["cut_bottom"] == 0]),
            cut_share=float(cut.mean()) if len(cut) else math.nan,
            cut_pixel_share=float(area[cut].sum() / area.sum()) if len(cut) else math.nan,
            cut_sides={side: float(of[f"cut_{side}"].mean()) if len(cut) else math.nan for side in _SIDES},
            beside=_mean_shares(beside, names),
            above=_mean_shares(above, names),
            below=_mean_shares(below, names),
            touched={names[i]: float((touched[:, i] > 0).mean()) for i in np.flatnonzero(others)}
            if len(touched)
            else {},
            available={
                names[i]: float(self.available[i] / max(self.available.sum(), 1)) for i in np.flatnonzero(others)
            },
            distance={
                names[i]: float(np.nanmedian(distance[:, i]))
                for i in np.flatnonzero(others & np.isfinite(distance).any(0))
            }
            if len(distance)
            else {},
        )

    def _limits(self, shaped: int) -> tuple[str, ...]:
        holders, regions = len(self.per_scene), self.regions
        if not regions:
            return ("nothing can be measured or pasted",)
        said = []
        if regions == 1:
            said.append("one region only: every pasted one is a copy of it")
        elif holders == 1:
            said.append("all regions are in one scene: how scenes differ is unknown")
        elif (groups := len(set(self.groups))) < _FEWEST:
            what = "scenes" if groups == holders else "groups of scenes"
            said.append(f"only {groups} {what}: too few for tests of direction and perspective")
        if not shaped:
            said.append(f"no region has {_SHAPED_PX} px: no shape to measure")
        return tuple(said)


def _measure_regions(numbered: np.ndarray, group: int) -> np.ndarray:
    """(R, 16) float64: the columns `_COLUMNS` of each region of a map of region numbers; no shape of the small ones."""
    height, width = numbered.shape
    area = np.bincount(numbered.ravel())[1:].astype(float)
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in ndimage.find_objects(numbered)]
    top, left, bottom, right = np.array(boxes, float).T
    inside = numbered > 0
    depth = ndimage.distance_transform_edt(inside)
    if inside.all():
        depth = np.full(numbered.shape, min(height, width) / 2 + 0.5)
    # the outline runs half a pixel outside the last pixel of the region
    radius = np.asarray(ndimage.maximum(depth, numbered, np.arange(1, len(area) + 1))) - 0.5

    shape = np.full((5, len(area)), np.nan)
    shaped = np.flatnonzero(area >= _SHAPED_PX)
    if len(shaped):
        table = regionprops_table(
            np.where(np.isin(numbered, shaped + 1), numbered, 0),
            properties=("solidity", "axis_major_length", "axis_minor_length", "orientation", "centroid"),
        )
        skew_down = (table["centroid-0"] - (top + bottom - 1)[shaped] / 2) / (bottom - top)[shaped]
        skew_right = (table["centroid-1"] - (left + right - 1)[shaped] / 2) / (right - left)[shaped]
        elongation = table["axis_major_length"] / np.maximum(table["axis_minor_length"], 1.0)
        # skimage counts from the vertical axis
        shape[:, shaped] = table["solidity"], elongation, table["orientation"] + math.pi / 2, skew_down, skew_right
    solidity, elongation, angle, skew_down, skew_right = shape
    cut = top <= _BORDER_PX, left <= _BORDER_PX, height - bottom <= _BORDER_PX, width - right <= _BORDER_PX
    same = np.ones(len(area))
    columns = [
        *(group * same, area, area / numbered.size, solidity, radius, elongation, angle, bottom, bottom - top),
        *(height * same, *cut, skew_down, skew_right),
    ]
    return np.stack(columns, axis=1)


# summarising


def _is_cut(of: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.any([of[f"cut_{side}"] > 0 for side in _SIDES], axis=0)


def _size_profile(of: Mapping[str, np.ndarray]) -> SizeProfile:
    area = of["area"]
    edges = _size_edges(area)
    regions, pixels = share_by_size(area, edges)
    return SizeProfile(
        px=Quantiles.of(area),
        scene_fraction=Quantiles.of(of["scene_fraction"]),
        edges_px=tuple(float(edge) for edge in edges),
        region_shares=tuple(float(share) for share in regions),
        pixel_shares=tuple(float(share) for share in pixels),
    )


def _size_edges(areas: np.ndarray) -> np.ndarray:
    """Inner edges of up to 5 bins of about equal shares of the pixels, for at least 5 regions each on average."""
    bins = min(_MOST_BINS, len(areas) // _REGIONS_PER_BIN)
    if bins < 2:
        return np.zeros(0)
    ordered = np.sort(areas)
    reached = np.cumsum(ordered) / ordered.sum()
    edges = np.unique(ordered[np.searchsorted(reached, np.arange(1, bins) / bins)])
    return edges[edges > ordered[0]]


def _seam_profile(
    of: Mapping[str, np.ndarray], edges: Sequence[float], seams: np.ndarray, rings: np.ndarray, elsewhere: np.ndarray
) -> SeamProfile:
    bins = np.searchsorted(np.asarray(edges), of["area"], side="right")
    with np.errstate(invalid="ignore", divide="ignore"):
        bare = np.where(rings > 0, seams / np.maximum(rings, 1), 0)
    # a ring outside the picture ends the seam, too
    width = np.where((bare >= 0.5).all(1), rings.shape[1], np.argmin(bare >= 0.5, axis=1)).astype(float)
    width[rings[:, 0] == 0] = math.nan

    def shares(chosen: np.ndarray) -> tuple[float, ...]:
        starts = (0, *SEAM_EDGES_PX[:-1])
        counted = [
            (seams[chosen, low:high].sum(dtype=np.float64), rings[chosen, low:high].sum(dtype=np.float64))
            for low, high in zip(starts, SEAM_EDGES_PX, strict=True)
        ]
        return tuple(float(part / whole) if whole else math.nan for part, whole in counted)

    every = np.ones(len(bins), bool)
    return SeamProfile(
        shares=shares(every),
        shares_by_size=tuple(shares(bins == number) for number in range(len(edges) + 1)),
        width_px=Quantiles.of(width),
        width_by_size=tuple(Quantiles.of(width[bins == number]) for number in range(len(edges) + 1)),
        elsewhere=float(elsewhere[0] / elsewhere[1]) if elsewhere[1] else math.nan,
    )


def _row_profile(of: Mapping[str, np.ndarray], shaped: np.ndarray) -> RowProfile:
    """Rank correlation of size and foot, against places shuffled between regions.

    A region of height h has its top at a share t of the H - h rows that are free; if place does not depend on size, the
    t of any other region would do as well, and the foot would be at h + t (H - h).
    """
    chosen = np.flatnonzero(shaped & ~_is_cut(of))
    rng = np.random.default_rng(0)
    # one region of each group, drawn at random
    tested = rng.permutation(chosen)
    tested = tested[np.unique(of["group"][tested], return_index=True)[1]][:_MOST_PERMUTED]
    unknown = RowProfile(math.nan, math.nan, math.nan, math.nan)
    if len(tested) < _FEWEST:
        return unknown
    side, foot, tall = (values / of["scene_height"] for values in (np.sqrt(of["area"]), of["foot"], of["height"]))
    if np.ptp(side[tested]) == 0 or np.ptp(foot[tested]) == 0:
        return unknown
    free = np.maximum(1 - tall, 1e-6)
    place = ((foot - tall) / free)[tested]
    shuffled = np.stack([rng.permutation(place) for _ in range(_PERMUTATIONS)])
    measured = _rank_correlation(side[tested], foot[tested])
    chance = _rank_correlation(side[tested], tall[tested] + shuffled * free[tested])
    beyond = np.count_nonzero(chance >= measured - 1e-12)
    fitted = chosen if len(chosen) <= _MOST_PERMUTED else np.sort(rng.choice(chosen, _MOST_PERMUTED, replace=False))
    slope = float(stats.theilslopes(side[fitted], foot[fitted]).slope)
    horizon = float(np.median(foot[fitted]) - np.median(side[fitted]) / slope) if slope > 0 else math.nan
    return RowProfile(float(measured), float(np.mean(chance)), (beyond + 1) / (_PERMUTATIONS + 1), horizon)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of (N,) with each row of (..., N)."""
    first, second = (stats.rankdata(values, axis=-1) for values in (first, second))
    first, second = (ranks - ranks.mean(-1, keepdims=True) for ranks in (first, second))
    return second @ first / np.maximum(np.sqrt((second**2).sum(-1) * (first**2).sum()), 1e-12)


def _group_means(values: np.ndarray, group: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(G,) complex: mean over the chosen regions of each group that has one."""
    _, which, counts = np.unique(group[chosen], return_inverse=True, return_counts=True)
    real = np.bincount(which, values[chosen].real, minlength=len(counts))
    imaginary = np.bincount(which, values[chosen].imag, minlength=len(counts))
    return (real + 1j * imaginary) / np.maximum(counts, 1)


def _nan_means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(S, ...) -> (G, ...): mean over the scenes of each group, NaN left out."""
    means = [values[group == number] for number in np.unique(group)]
    known = [np.isfinite(part).sum(0) for part in means]
    totals = [np.nansum(part, axis=0) / np.maximum(count, 1) for part, count in zip(means, known, strict=True)]
    return np.array([np.where(count > 0, total, np.nan) for total, count in zip(totals, known, strict=True)]).reshape(
        -1, *values.shape[1:]
    )


def _rayleigh_p(resultant: float, count: int) -> float:
    """p-value of the Rayleigh test of uniform directions; Zar, Biostatistical Analysis, equation 27.4."""
    if count < _FEWEST:
        return math.nan
    total = count * resultant
    return min(1.0, math.exp(math.sqrt(1 + 4 * count + 4 * (count**2 - total**2)) - (1 + 2 * count)))


def _combined_p(skews: np.ndarray, sided: np.ndarray, own: int) -> float:
    """Smallest p of signed-rank tests over groups, times their number: outline, then each neighbouring class.

    Args:
        skews: (G,) how far the centre of mass lies off the middle of the box.
        sided: (G, C) share of each class on one side minus that on the other; NaN where a side has no label.
        own: index of the class itself.
    """
    samples = [skews, *(sided[:, number] for number in range(sided.shape[1]) if number != own)]
    found = []
    for sample in samples:
        sample = sample[np.isfinite(sample)]
        different = sample[np.abs(sample) >= _TIE]
        if len(different) >= _FEWEST:
            found.append(float(stats.wilcoxon(different).pvalue))
    if not found:
        enough = any(np.isfinite(sample).sum() >= _FEWEST for sample in samples)
        return 1.0 if enough else math.nan  # the sides never differ; or nothing to test
    return min(1.0, min(found) * len(found))


def _normalised(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of each row; NaN in a row of zeros."""
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def _mean_shares(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Class -> mean over regions of its share, largest first; classes of no share are left out."""
    counts = counts[counts.sum(1) > 0]
    if not len(counts):
        return {}
    means = _normalised(counts.astype(np.float64)).mean(0)
    return {names[i]: float(means[i]) for i in np.argsort(-means, kind="stable") if means[i] > 0}


# words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _shape_word(shape: ShapeProfile) -> str:
    if shape.thickness.median < 0.2:
        return "thin"
    return "compact" if shape.solidity.median >= 0.8 else "ragged"


def _direction_text(direction: DirectionProfile) -> str:
    if direction.isotropic is None:
        return "direction unknown"
    if direction.isotropic:
        return f"isotropic (p {min(1.0, np.nanmin([direction.axis_p, direction.up_down_p])):.2g})"
    reasons = []
    if direction.axis_p < SIGNIFICANT:
        reasons.append(f"axes at {direction.mean_angle:.0f} degrees, p {direction.axis_p:.1g}")
    if direction.up_down_p < SIGNIFICANT:
        reasons.append(f"top and bottom differ, p {direction.up_down_p:.1g}")
    return f"not to be turned ({'; '.join(reasons)})".replace("; ", " and ")


def _row_text(rows: RowProfile) -> str:
    if math.isnan(rows.p):
        return "size by row unknown"
    figures = f"rank correlation {rows.correlation:.2f}, by chance {rows.by_chance:.2f}, p {rows.p:.2g}"
    return f"size {'follows' if rows.perspective else 'does not follow'} the row ({figures})"


def _largest(shares: Mapping[str, float], most: int = 3) -> str:
    shown = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {share:.0%}" for name, share in shown if share >= 0.01) or "nothing labelled"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
