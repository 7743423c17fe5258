"""Where regions go: which scenes are drawn, and where in them a foot may fall."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from marsgen.cleaning.survey import block_means
from marsgen.masks.paste import Box
from marsgen.masks.regions import cut_sides
from marsgen.scenes.scene import SceneSource

SEEN_PX = 16
"""smaller patches of a class are taken for annotation crumbs"""
GRID = (24, 24)
"""cells, down and across, in which feet are counted"""
SPREAD = 0.08
"""standard deviation to which a foot is smoothed, as a share of the height and of the width"""
BESIDE_PX = 3
"""reach around a region in which the ground beside it is looked at"""
LIKENESS = 0.1
"""standard deviation, in shares of ground, within which two scenes count as alike"""
MOST_COMPARED = 2048
"""scenes that each parent is held against; more add time, not knowledge"""
DOUBT = 2.0
"""regions' worth of belief that a class occurs anywhere alike: a few real regions move the odds a little"""


@dataclass(frozen=True, eq=False)
class Placement:
    """Odds of parents and of feet; without one, both are drawn evenly."""

    parents: np.ndarray
    """(P,) float64 >= 0, at least one positive: entry i belongs to the i-th scene that may be edited"""
    feet: Callable[[int, str], np.ndarray]
    """number of a scene in its source, name of the class to paste -> (H, W) odds >= 0 of a foot at each pixel; those
    off the ground are not looked at. A pure function, called from several threads"""
    fingerprint: str = ""
    """of the segmenter that the odds come from; "" = of none"""
    trained_on: tuple[str, ...] = ()
    """scene keys of all that it has seen"""

    def draw_parent(self, rng: np.random.Generator) -> int:
        """Position among the scenes that may be edited."""
        return draw_from(self.parents, rng)


def draw_from(odds: np.ndarray, rng: np.random.Generator) -> int:
    """Position in (N,) odds, at least one of which is positive."""
    total = np.cumsum(odds, dtype=np.float64)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right").clip(0, np.flatnonzero(odds)[-1]))


@dataclass(frozen=True, eq=False)
class _Habitat:
    """Where a class occurs in the scenes that were looked at, beside where there would be room for it."""

    holders: list[int]
    """scenes with at least one region of it"""
    feet: np.ndarray
    """GRID float64: whole regions by the cell their foot stands in"""
    room: np.ndarray
    """GRID float64: share of ground in each cell, summed over the holders"""
    beside: np.ndarray
    """(256,) float64: regions by the ids around them, each shared out to a sum of 1"""
    ground: np.ndarray
    """(256,) float64: pixels of each id in the holders"""


def learn_placement(
    scenes: SceneSource, parents: Sequence[int], pixels: np.ndarray, class_names: Sequence[str]
) -> Placement:
    """Learn from real scenes where regions of the named classes occur.

    Odds are ratios of densities, real regions over room for them: the row and column of the foot, and the ground
    beside it, decide where in a scene; how much of each ground a scene shows, compared with the scenes that hold the
    class, decides which scene. With several classes a parent's odds are the mean over them.

    Args:
        parents: scenes to learn from and to paste into: the train part, nothing else.
        pixels: (N, C + 1) pixels per class index in all scenes, ignored ones last (`Survey.pixels`).
    """
    classes = scenes.classes
    pasted = [classes.index(name) for name in class_names]
    shares = _shares(pixels[np.asarray(parents)], pasted)
    position = {scene: i for i, scene in enumerate(parents)}
    odds, grids, grounds = np.zeros(len(shares)), {}, {}
    for name, column in zip(class_names, pasted, strict=True):
        candidates = [scene for scene in parents if pixels[scene, column] >= SEEN_PX]
        found = _look_around(scenes, candidates, classes.ids[column], [classes.ids[i] for i in pasted])
        alike = _likeness(shares, np.array([position[scene] for scene in found.holders], np.intp))
        odds += alike / alike.mean() / len(pasted)
        grids[name] = _grid_odds(found)
        grounds[name] = _ground_odds(found)

    @lru_cache(maxsize=8)
    def over_picture(name: str, shape: tuple[int, int]) -> np.ndarray:
        at = [(np.arange(side) + 0.5) / side * cells - 0.5 for side, cells in zip(shape, GRID, strict=True)]
        where = np.meshgrid(*at, indexing="ij")
        return ndimage.map_coordinates(grids[name], where, order=1, mode="nearest").astype(np.float32)

    def feet(scene: int, name: str) -> np.ndarray:
        labels = scenes[scene].labels
        return over_picture(name, labels.shape) * grounds[name][labels]

    return Placement(odds, feet)


def _shares(pixels: np.ndarray, pasted: Sequence[int]) -> np.ndarray:
    """(P, C + 1) pixels per class -> (P, ...) float64 shares of what is not pasted; the pasted classes are left out."""
    rest = np.delete(pixels, pasted, axis=1).astype(np.float64)
    return rest / np.maximum(rest.sum(axis=1, keepdims=True), 1)


def _look_around(scenes: SceneSource, candidates: Sequence[int], class_id: int, pasted: Sequence[int]) -> _Habitat:
    holders, feet, room = [], np.zeros(GRID), np.zeros(GRID)
    beside, ground = np.zeros(256), np.zeros(256)
    for scene in candidates:
        labels = scenes[scene].labels
        no_ground = [*pasted, scenes.classes.ignored]
        patches, _ = ndimage.label(labels == class_id, structure=np.ones((3, 3)))
        seen = [
            (number, window)
            for number, window in enumerate(ndimage.find_objects(patches), start=1)
            if np.count_nonzero(patches[window] == number) >= SEEN_PX
        ]
        if not seen:
            continue
        holders.append(scene)
        on_ground = ~np.isin(labels, no_ground)
        room += block_means(on_ground[..., None].astype(np.uint8), *GRID)
        ground += np.bincount(labels[on_ground], minlength=256)
        for number, (rows, columns) in seen:
            box = Box(rows.start, columns.start, rows.stop, columns.stop)
            if not {"left", "bottom", "right"} & set(cut_sides(box, labels.shape)):
                lowest = np.flatnonzero(patches[box.bottom - 1] == number)
                row, column = (box.bottom - 0.5) / labels.shape[0], (lowest[lowest.size // 2] + 0.5) / labels.shape[1]
                feet[int(row * GRID[0]), int(column * GRID[1])] += 1
            near = (slice(max(rows.start - BESIDE_PX, 0), rows.stop + BESIDE_PX),
                    slice(max(columns.start - BESIDE_PX, 0), columns.stop + BESIDE_PX))  # fmt: skip
            ring = ndimage.binary_dilation(patches[near] == number, iterations=BESIDE_PX) & on_ground[near]
            around = np.bincount(labels[near][ring], minlength=256)
            beside += around / max(around.sum(), 1)
    return _Habitat(holders, feet, room, beside, ground)


def _grid_odds(found: _Habitat) -> np.ndarray:
    """GRID float64: odds of a foot in each cell, 1 = as if it could stand on any ground alike."""
    sigma = [SPREAD * cells for cells in GRID]
    feet, room = (ndimage.gaussian_filter(counts, sigma, mode="nearest") for counts in (found.feet, found.room))
    return _doubted(_ratio(feet, room), found.feet.sum())


def _ground_odds(found: _Habitat) -> np.ndarray:
    """(256,) float64: odds of each id of the ground, 1 = as if it were all the same."""
    return _doubted(_ratio(found.beside, found.ground), found.beside.sum()).astype(np.float32)


def _likeness(shares: np.ndarray, holders: np.ndarray) -> np.ndarray:
    """(P,) odds of each scene by its shares of ground: density of the holders' over density of all."""
    some = _evenly(np.arange(len(shares)), MOST_COMPARED)
    ratio = _ratio(_density(shares, shares[_evenly(holders, MOST_COMPARED)]), _density(shares, shares[some]))
    return _doubted(ratio, len(holders))


def _evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    return numbers if len(numbers) <= most else numbers[np.linspace(0, len(numbers) - 1, most).astype(np.intp)]


def _density(points: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(P,) Gaussian kernel density of the (M, C) rows `of` at the (P, C) points, up to a factor; 0 when M is 0."""
    density = np.zeros(len(points))
    for start in range(0, len(points) if len(of) else 0, 1024):  # memory stays the same however many there are
        some = points[start : start + 1024]
        squares = (some**2).sum(1)[:, None] + (of**2).sum(1) - 2 * some @ of.T
        density[start : start + 1024] = np.exp(-squares / (2 * LIKENESS**2)).mean(axis=1)
    return density


def _ratio(real: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Ratio of two densities, each scaled to a sum of 1; 1 where there is no room, and everywhere without a region."""
    if not real.sum() or not room.sum():
        return np.ones(real.shape)
    room = room / room.sum()
    return np.divide(real / real.sum(), room, out=np.ones(real.shape), where=room > 1e-9)


def _doubted(ratio: np.ndarray, regions: float) -> np.ndarray:
    return (regions * ratio + DOUBT) / (regions + DOUBT)
