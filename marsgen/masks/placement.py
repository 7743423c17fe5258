"""Where regions are pasted: which scenes are drawn, and where in them a region may stand."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from marsgen.cleaning.details import block_means
from marsgen.masks.regions import cut_sides
from marsgen.scenes.geometry import connected_regions
from marsgen.scenes.scene import Scene, SceneSource

MIN_REGION_PX = 16
"""smaller components are not counted"""
GRID = (24, 24)
"""cells, down and across, in which feet are counted"""
FOOT_SIGMA = 0.08
"""standard deviation to which a foot is smoothed, as a share of the height and of the width"""
RING_PX = 3
"""width of the ring around a region in which the neighbouring classes are counted"""
BANDWIDTH = 0.1
"""standard deviation of the kernel density of scenes, in class fractions"""
MAX_COMPARED = 2048
"""scenes from which a kernel density is estimated"""
PSEUDO_COUNT = 2.0
"""weight of the uniform prior, in regions: a few real regions change the weights a little"""
_DOWNWARD = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 0]], bool)  # a pixel is set where the one above it is


@dataclass(frozen=True, eq=False)
class PlacementPrior:
    """Weights of parent scenes and of the places in them; without one, all are equally likely."""

    parents: np.ndarray
    """(P,) float64 >= 0, at least one positive: entry i belongs to the i-th scene that may be edited"""
    feet: Callable[[Scene, str], np.ndarray]
    """a scene, name of the class to paste -> (H, W) weights >= 0 of a foot at each pixel; those off the ground are
    ignored. A pure function, called from several threads"""
    fingerprint: str = ""
    """of the segmenter that the weights come from; "" = of none"""
    trained_on: tuple[str, ...] = ()
    """keys of all scenes that it has seen"""

    def draw_parent(self, rng: np.random.Generator) -> int:
        """Position among the scenes that may be edited."""
        return min(int(np.searchsorted(self._sums, rng.random() * self._sums[-1], side="right")), len(self._sums) - 1)

    @cached_property
    def _sums(self) -> np.ndarray:
        return np.cumsum(self.parents, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Occurrences:
    """Where a class occurs in the scenes that hold it, and where else it could be."""

    holders: list[int]
    """scenes with at least one region of it"""
    feet: np.ndarray
    """GRID float64: whole regions by the cell in which their foot stands"""
    room: np.ndarray
    """GRID float64: share of ground in each cell, summed over the holders"""
    beside: np.ndarray
    """(256,) float64: regions by the ids around them, each region's shares summing to 1"""
    ground: np.ndarray
    """(256,) float64: pixels of each id in the holders"""


def learn_placement(
    scenes: SceneSource,
    parents: Sequence[int],
    pixels: np.ndarray,
    class_names: Sequence[str],
    standing: Collection[str] = (),
) -> PlacementPrior:
    """Learn from real scenes where regions of the named classes occur.

    Weights are ratios of densities, real regions over ground where they could be. Within a scene, the row and column of
    the foot and the class of the ground beside it decide. Between scenes, the class fractions decide, compared with
    those of the scenes that hold the class. With several classes a parent's weight is the mean over them.

    Args:
        parents: scenes to learn from and to paste into: the train part, nothing else.
        pixels: (N, C + 1) pixels per class index in all scenes, ignored ones last (`Survey.pixels`).
        standing: classes whose regions stand on something: what lies below them counts, not what lies beside them.
    """
    classes = scenes.classes
    pasted = [classes.index(name) for name in class_names]
    fractions = _class_fractions(pixels[np.asarray(parents)], pasted)
    position = {scene: i for i, scene in enumerate(parents)}
    weights, grids, grounds = np.zeros(len(fractions)), {}, {}
    for name, column in zip(class_names, pasted, strict=True):
        candidates = [scene for scene in parents if pixels[scene, column] >= MIN_REGION_PX]
        ids = [classes.ids[i] for i in pasted]
        found = _count_occurrences(scenes, candidates, classes.ids[column], ids, name in standing)
        similarity = _scene_weights(fractions, np.array([position[scene] for scene in found.holders], np.intp))
        weights += similarity / similarity.mean() / len(pasted)
        grids[name] = _grid_weights(found)
        grounds[name] = _ground_weights(found)

    @lru_cache(maxsize=8)
    def over_image(name: str, shape: tuple[int, int]) -> np.ndarray:
        at = [(np.arange(side) + 0.5) / side * cells - 0.5 for side, cells in zip(shape, GRID, strict=True)]
        where = np.meshgrid(*at, indexing="ij")
        return ndimage.map_coordinates(grids[name], where, order=1, mode="nearest").astype(np.float32)

    def feet(scene: Scene, name: str) -> np.ndarray:
        return over_image(name, scene.labels.shape) * grounds[name][scene.labels]

    return PlacementPrior(weights, feet)


def _class_fractions(pixels: np.ndarray, pasted: Sequence[int]) -> np.ndarray:
    """(P, C + 1) pixels per class -> (P, ...) float64 fractions of the classes that are not pasted."""
    rest = np.delete(pixels, pasted, axis=1).astype(np.float64)
    return rest / np.maximum(rest.sum(axis=1, keepdims=True), 1)


def _count_occurrences(
    scenes: SceneSource, candidates: Sequence[int], class_id: int, pasted: Sequence[int], stands: bool
) -> _Occurrences:
    holders, feet, room = [], np.zeros(GRID), np.zeros(GRID)
    beside, ground = np.zeros(256), np.zeros(256)
    no_ground = [*pasted, scenes.classes.ignored]
    for scene in candidates:
        labels = scenes[scene].labels
        regions = [
            (region, box)
            for region, box in connected_regions(labels == class_id)
            if np.count_nonzero(region) >= MIN_REGION_PX
        ]
        if not regions:
            continue
        holders.append(scene)
        on_ground = ~np.isin(labels, no_ground)
        room += block_means(on_ground[..., None].astype(np.uint8), *GRID)
        ground += np.bincount(labels[on_ground], minlength=256)
        for region, box in regions:
            if not {"left", "bottom", "right"} & set(cut_sides(box, labels.shape)):
                lowest = np.flatnonzero(region[-1])
                row = (box.bottom - 0.5) / labels.shape[0]
                column = (box.left + lowest[lowest.size // 2] + 0.5) / labels.shape[1]
                feet[int(row * GRID[0]), int(column * GRID[1])] += 1
            around = box.grown(RING_PX, labels.shape)
            mask = np.zeros(around.shape, bool)
            mask[box.shifted(-around.top, -around.left).slices] = region
            ring = ndimage.binary_dilation(mask, _DOWNWARD if stands else None, RING_PX) & on_ground[around.slices]
            neighbours = np.bincount(labels[around.slices][ring], minlength=256)
            beside += neighbours / max(neighbours.sum(), 1)
    return _Occurrences(holders, feet, room, beside, ground)


def _grid_weights(found: _Occurrences) -> np.ndarray:
    """GRID float64: weight of a foot in each cell, 1 = no preference."""
    sigma = [FOOT_SIGMA * cells for cells in GRID]
    feet, room = (ndimage.gaussian_filter(counts, sigma, mode="nearest") for counts in (found.feet, found.room))
    return _shrink(_ratio(feet, room), found.feet.sum())


def _ground_weights(found: _Occurrences) -> np.ndarray:
    """(256,) float32: weight of each id of the ground, 1 = no preference."""
    return _shrink(_ratio(found.beside, found.ground), found.beside.sum()).astype(np.float32)


def _scene_weights(fractions: np.ndarray, holders: np.ndarray) -> np.ndarray:
    """(P,) weight of each scene by its class fractions: density of the holders over density of all scenes."""
    some = _spread(np.arange(len(fractions)), MAX_COMPARED)
    ratio = _ratio(_density(fractions, fractions[_spread(holders, MAX_COMPARED)]), _density(fractions, fractions[some]))
    return _shrink(ratio, len(holders))


def _spread(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the numbers, evenly spaced."""
    return numbers if len(numbers) <= most else numbers[np.linspace(0, len(numbers) - 1, most).astype(np.intp)]


def _density(points: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(P,) Gaussian kernel density of the (M, C) rows `of` at the (P, C) points, up to a factor; 0 when M is 0."""
    density = np.zeros(len(points))
    for start in range(0, len(points) if len(of) else 0, 1024):  # bounds the memory
        squares = cdist(points[start : start + 1024], of, "sqeuclidean")
        density[start : start + 1024] = np.exp(-squares / (2 * BANDWIDTH**2)).mean(axis=1)
    return density


def _ratio(real: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Ratio of two densities, each scaled to a sum of 1; 1 where there is no room, and everywhere without a region."""
    if not real.sum() or not room.sum():
        return np.ones(real.shape)
    room = room / room.sum()
    return np.divide(real / real.sum(), room, out=np.ones(real.shape), where=room > 1e-9)


def _shrink(ratio: np.ndarray, regions: float) -> np.ndarray:
    """Weighted mean of the ratio, by the number of regions, and of 1, by PSEUDO_COUNT."""
    return (regions * ratio + PSEUDO_COUNT) / (regions + PSEUDO_COUNT)
