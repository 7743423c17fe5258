"""Measure the regions of rare classes in one pass over scenes: `profile_classes` gives a `ClassProfile` for each.

Groups of scenes (one rover stop, one part under several exposures) are the units of all tests, since regions of one
group are not independent.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops_table

from marsgen.core.progress import ProgressBar
from marsgen.masks.profiles.profile import (
    GRID,
    SEAM_EDGES_PX,
    ClassProfile,
    DirectionProfile,
    PlaceProfile,
    Quantiles,
    ShapeProfile,
)
from marsgen.masks.profiles.statistics import FEWEST_GROUPS, group_means, nan_means, rayleigh_p, sides_p
from marsgen.masks.profiles.summaries import (
    SIDES,
    is_cut,
    mean_shares,
    meeting_shares,
    normalised,
    row_profile,
    seam_profile,
    size_profile,
)
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import SceneSource

_BORDER_PX = 3  # a region this close to the border is cut off by it: annotators leave a rim unlabelled
_SHAPED_PX = 16  # smaller regions have no shape to speak of
_RING_PX = (3, 6, 12, 16)  # reach in which neighbours are looked for: the first with enough labelled pixels counts
_RING_LEAST = 24
_ELONGATED = 1.5  # major axis / minor axis from which a region has a direction
_MOST_REGIONS = 50_000  # kept for the statistics, drawn evenly from all: memory stays below 20 MB per class


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
    for index in ProgressBar(indices, desc="profile", unit=" scenes", leave=False):
        class_map = scenes.classes.to_indices(scenes.read(int(index))[1])
        group = numbers.setdefault(groups[index] if groups is not None else index, len(numbers))
        for collector in collectors:
            collector.add(class_map, group)
    return {name: collector.profile() for name, collector in zip(class_names, collectors, strict=True)}


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
        self.shown_elsewhere = np.zeros(len(self.class_names))
        self.elsewhere = np.zeros(2)  # unlabelled, all
        self.distances: list[np.ndarray] = []  # (C,) for each holder
        self.sided: list[np.ndarray] = []  # (4, C) shares above, below, left, right for each holder
        self.groups: list[int] = []  # of each holder
        self.rng = np.random.default_rng(0)
        width = len(_COLUMNS) + 5 * len(self.class_names) + 2 * SEAM_EDGES_PX[-1] + 1
        self.rows = np.zeros((0, width), np.float32)
        self.waiting: list[np.ndarray] = []

    def add(self, class_map: np.ndarray, group: int) -> None:
        """Measure one (H, W) map of class indices."""
        self.scenes += 1
        self.searched_px += class_map.size
        mask = class_map == self.index
        if not mask.any():
            present = np.unique(class_map)
            self.shown_elsewhere[present[present != IGNORED_INDEX]] += 1
            return
        numbered, sizes = label_regions(mask)
        count = len(sizes) - 1
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
        """(R, 5C + 32): neighbours touching, under, beside, above, below by class; bare and all by distance."""
        classes = len(self.class_names)
        labelled = (class_map != IGNORED_INDEX) & ~mask
        ids = np.minimum(class_map, classes)  # classes, then "no label"
        self.available += np.bincount(class_map[labelled], minlength=classes)[:classes]
        if mask.all():
            self.distances.append(np.full(classes, np.nan))
            self.sided.append(np.full((4, classes), np.nan))
            return np.zeros((count, 5 * classes + 2 * SEAM_EDGES_PX[-1]))
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
        sides = [np.nanmean(normalised(side), axis=0) if side.any() else np.full(classes, np.nan)
                 for side in (above, below, left, to_right)]  # fmt: skip
        self.sided.append(np.stack(sides))
        touching, under = shares(steps < _RING_PX[0]), shares((steps < _RING_PX[0]) & (down > 0) & (right == 0))
        beside = shares(np.ones(len(region), bool))
        return np.concatenate([touching, under, beside, above, below, seams, rings], axis=1)

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
        counts = [self.rows[:, start + k * classes : start + (k + 1) * classes] for k in range(5)]
        seams, rings = (self.rows[:, start + 5 * classes + k * reach :][:, :reach] for k in range(2))
        shaped = of["area"] >= _SHAPED_PX
        size = size_profile(of)
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
            place=self._place(of, of["group"][shaped], *(count[shaped] for count in counts[:2]), *counts[2:]),
            rows=row_profile(of, shaped),
            seam=seam_profile(of, size.edges_px, seams, rings, self.elsewhere),
            limits=self._limits(int(shaped.sum())),
        )

    def _direction(self, of: Mapping[str, np.ndarray], shaped: np.ndarray) -> DirectionProfile:
        cut = is_cut(of)
        pointing = shaped & (of["elongation"] >= _ELONGATED)
        vectors = np.exp(2j * of["angle"])
        per_group = group_means(vectors, of["group"], pointing)
        per_group = per_group[np.abs(per_group) > 1e-9]
        units = per_group / np.abs(per_group)
        resultant = units.mean() if len(units) else complex(math.nan, math.nan)
        whole = shaped & ~cut
        sided = nan_means(np.array(self.sided).reshape(-1, 4, len(self.class_names)), np.array(self.groups, int))
        return DirectionProfile(
            mean_angle=float(np.degrees(np.angle(resultant)) / 2),
            concentration=float(abs(resultant)),
            axis_p=rayleigh_p(float(abs(resultant)), len(units)),
            up_down_p=sides_p(
                group_means(of["skew_down"], of["group"], whole).real, sided[:, 0] - sided[:, 1], self.index
            ),
            left_right_p=sides_p(
                group_means(of["skew_right"], of["group"], whole).real, sided[:, 2] - sided[:, 3], self.index
            ),
        )

    def _place(
        self,
        of: Mapping[str, np.ndarray],
        groups: np.ndarray,
        touching: np.ndarray,
        under: np.ndarray,
        beside: np.ndarray,
        above: np.ndarray,
        below: np.ndarray,
    ) -> PlaceProfile:
        cut, area = is_cut(of), of["area"]
        names = self.class_names
        others = np.arange(len(names)) != self.index
        distance = np.array(self.distances).reshape(-1, len(names))
        return PlaceProfile(
            grid=tuple(tuple(float(v) for v in row) for row in self.grid / max(self.grid.sum(), 1)),
            foot_row=Quantiles.of((of["foot"] / np.maximum(of["scene_height"], 1))[of["cut_bottom"] == 0]),
            cut_share=float(cut.mean()) if len(cut) else math.nan,
            cut_pixel_share=float(area[cut].sum() / area.sum()) if len(cut) else math.nan,
            cut_sides={side: float(of[f"cut_{side}"].mean()) if len(cut) else math.nan for side in SIDES},
            beside=mean_shares(beside, names),
            above=mean_shares(above, names),
            below=mean_shares(below, names),
            touched=meeting_shares(touching, names, self.index),
            stood_on=meeting_shares(under, names, self.index),
            available={
                names[i]: float(self.available[i] / max(self.available.sum(), 1)) for i in np.flatnonzero(others)
            },
            distance={
                names[i]: float(np.nanmedian(distance[:, i]))
                for i in np.flatnonzero(others & np.isfinite(distance).any(0))
            }
            if len(distance)
            else {},
            elsewhere={names[i]: float(self.shown_elsewhere[i] / max(self.scenes, 1)) for i in np.flatnonzero(others)},
            groups=len(np.unique(groups[touching.sum(1) > 0])),
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
        elif (groups := len(set(self.groups))) < FEWEST_GROUPS:
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
