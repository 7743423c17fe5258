"""Measure the regions of rare classes in one pass over scenes: `profile_classes` gives a `ClassProfile` for each.

Groups of scenes (one rover stop, one part under several exposures) are the units of all tests, since regions of one
group are not independent.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy import ndimage, stats
from skimage.measure import regionprops_table

from marsgen.core.progress import ProgressBar
from marsgen.masks.profiles.profile import (
    GRID,
    SEAM_EDGES_PX,
    ClassProfile,
    DirectionProfile,
    PlaceProfile,
    Quantiles,
    RowProfile,
    SeamProfile,
    ShapeProfile,
    SizeProfile,
)
from marsgen.masks.profiles.statistics import (
    FEWEST_GROUPS,
    group_means,
    nan_means,
    rank_correlation,
    rayleigh_p,
    sides_p,
)
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import SceneSource

_BORDER_PX = 3  # a region this close to the border is cut off by it: annotators leave a rim unlabelled
_SHAPED_PX = 16  # smaller regions have no shape to speak of
_SMALL_PIXELS = 0.03  # of a class's pixels are left out with its smallest regions
_MOST_BINS = 5
_REGIONS_PER_BIN = 5
_RING_PX = (3, 6, 12, 16)  # reach in which neighbours are looked for: the first with enough labelled pixels counts
_RING_LEAST = 24
_ELONGATED = 1.5  # major axis / minor axis from which a region has a direction
_MOST_REGIONS = 50_000  # kept for the statistics, drawn evenly from all: memory stays below 20 MB per class
_PERMUTATIONS = 999
_MOST_PERMUTED = 500
_SIDES = ("top", "left", "bottom", "right")


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
        width = len(_COLUMNS) + 5 * len(self.class_names) + 2 * SEAM_EDGES_PX[-1] + 1
        self.rows = np.zeros((0, width), np.float32)
        self.waiting: list[np.ndarray] = []

    def add(self, class_map: np.ndarray, group: int) -> None:
        """Measure one (H, W) map of class indices."""
        self.scenes += 1
        self.searched_px += class_map.size
        mask = class_map == self.index
        if not mask.any():
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
        sides = [np.nanmean(_normalised(side), axis=0) if side.any() else np.full(classes, np.nan)
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
            place=self._place(of, *(count[shaped] for count in counts[:2]), *counts[2:]),
            rows=_row_profile(of, shaped),
            seam=_seam_profile(of, size.edges_px, seams, rings, self.elsewhere),
            limits=self._limits(int(shaped.sum())),
        )

    def _direction(self, of: Mapping[str, np.ndarray], shaped: np.ndarray) -> DirectionProfile:
        cut = _is_cut(of)
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
        touching: np.ndarray,
        under: np.ndarray,
        beside: np.ndarray,
        above: np.ndarray,
        below: np.ndarray,
    ) -> PlaceProfile:
        cut, area = _is_cut(of), of["area"]
        names = self.class_names
        others = np.arange(len(names)) != self.index
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
            touched=_meeting_shares(touching, names, self.index),
            stood_on=_meeting_shares(under, names, self.index),
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


# summarising


def _is_cut(of: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.any([of[f"cut_{side}"] > 0 for side in _SIDES], axis=0)


def _size_profile(of: Mapping[str, np.ndarray]) -> SizeProfile:
    area = of["area"]
    edges = _size_edges(area)
    regions, pixels = share_by_size(area, edges)
    ordered = np.sort(area)
    small = int(np.searchsorted(np.cumsum(ordered), _SMALL_PIXELS * area.sum(), side="right")) if len(area) else 0
    return SizeProfile(
        px=Quantiles.of(area),
        scene_fraction=Quantiles.of(of["scene_fraction"]),
        small_px=float(ordered[small]) if len(area) else math.nan,
        small_share=float((area < ordered[small]).mean()) if len(area) else math.nan,
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
    if len(tested) < FEWEST_GROUPS:
        return unknown
    side, foot, tall = (values / of["scene_height"] for values in (np.sqrt(of["area"]), of["foot"], of["height"]))
    if np.ptp(side[tested]) == 0 or np.ptp(foot[tested]) == 0:
        return unknown
    free = np.maximum(1 - tall, 1e-6)
    place = ((foot - tall) / free)[tested]
    shuffled = np.stack([rng.permutation(place) for _ in range(_PERMUTATIONS)])
    measured = rank_correlation(side[tested], foot[tested])
    chance = rank_correlation(side[tested], tall[tested] + shuffled * free[tested])
    beyond = np.count_nonzero(chance >= measured - 1e-12)
    fitted = chosen if len(chosen) <= _MOST_PERMUTED else np.sort(rng.choice(chosen, _MOST_PERMUTED, replace=False))
    slope = float(stats.theilslopes(side[fitted], foot[fitted]).slope)
    horizon = float(np.median(foot[fitted]) - np.median(side[fitted]) / slope) if slope > 0 else math.nan
    return RowProfile(float(measured), float(np.mean(chance)), (beyond + 1) / (_PERMUTATIONS + 1), horizon)


def _normalised(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of each row; NaN in a row of zeros."""
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def _meeting_shares(counts: np.ndarray, names: Sequence[str], own: int) -> dict[str, float]:
    """Class -> share of the regions with a pixel of it; of regions with any pixel, and of other classes."""
    counts = counts[counts.sum(1) > 0]
    return {name: float((counts[:, i] > 0).mean()) for i, name in enumerate(names) if i != own and len(counts)}


def _mean_shares(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Class -> mean over regions of its share, largest first; classes of no share are left out."""
    counts = counts[counts.sum(1) > 0]
    if not len(counts):
        return {}
    means = _normalised(counts.astype(np.float64)).mean(0)
    return {names[i]: float(means[i]) for i in np.argsort(-means, kind="stable") if means[i] > 0}
