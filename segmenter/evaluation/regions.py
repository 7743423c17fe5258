"""Regions found and false alarms: connected regions of a class in truth and prediction, as rows of a table."""

import numpy as np

from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.geometry import label_regions

REGION = np.dtype(
    [
        ("image", "<i4"),  # position of the image among those evaluated
        ("class_index", "<i4"),
        ("area_px", "<i4"),
        ("hit_px", "<i4"),  # pixels of the region that are predicted as its class; 0 for a false alarm
        ("foot_row", "<i4"),  # lowest row of the region in the picture: the nearer, the larger
        ("row", "<f4"),  # centre
        ("column", "<f4"),
    ]
)
"""One connected region of a class; `regions.npy` and `false_alarms.npy` hold arrays of it."""


def true_regions(
    truth: np.ndarray, predicted: np.ndarray, class_index: int, *, image: int = 0, min_region_px: int = 1
) -> np.ndarray:
    """The 8-connected regions of a class in the truth, each with the number of its pixels predicted as the class.

    Args:
        truth, predicted: (H, W) class indices; 255 in the truth = ignored.
        image: number written into the rows.
        min_region_px: smaller regions are left out: pieces of a rough annotation rather than objects.
    Returns:
        (R,) array of REGION, in reading order of each region's first pixel.
    """
    regions, sizes = label_regions(truth == class_index)
    if len(sizes) == 1:  # a rare class is in few pictures
        return np.zeros(0, REGION)
    hits = np.bincount(regions[predicted == class_index], minlength=len(sizes))
    return _rows(regions, np.flatnonzero(sizes >= min_region_px), sizes, hits, image, class_index)


def false_alarms(
    truth: np.ndarray, predicted: np.ndarray, class_index: int, *, image: int = 0, min_region_px: int = 1
) -> np.ndarray:
    """The 8-connected regions of a class in the prediction without a single true pixel of that class.

    Only regions with at least half of their pixels labelled count: where there is no label, the class may be there.

    Args and returns: as `true_regions`; hit_px is 0.
    """
    regions, sizes = label_regions(predicted == class_index)
    if len(sizes) == 1:
        return np.zeros(0, REGION)
    hits = np.bincount(regions[truth == class_index], minlength=len(sizes))
    labelled = np.bincount(regions[truth != IGNORED_INDEX], minlength=len(sizes))
    counted = (sizes >= min_region_px) & (hits == 0) & (2 * labelled >= sizes)
    return _rows(regions, np.flatnonzero(counted), sizes, hits, image, class_index)


def region_classes(classes: ClassSet) -> list[int]:
    """Indices of the classes whose connected regions are counted: the rare ones, or all where none is named rare."""
    return [classes.index(name) for name in (classes.rare or classes.names)]


def found_regions(regions: np.ndarray, found_fraction: float) -> np.ndarray:
    """(R,) REGION -> (R,) bool: at least `found_fraction` of the region's pixels are predicted as its class."""
    return regions["hit_px"] >= found_fraction * regions["area_px"]


def _rows(
    regions: np.ndarray, numbers: np.ndarray, sizes: np.ndarray, hits: np.ndarray, image: int, class_index: int
) -> np.ndarray:
    rows = np.zeros(len(numbers), REGION)
    if not len(numbers):
        return rows
    rows["image"], rows["class_index"] = image, class_index
    rows["area_px"], rows["hit_px"] = sizes[numbers], hits[numbers]
    row, column = np.nonzero(regions)
    of_region = regions[row, column]
    foot = np.zeros(len(sizes), np.int64)
    foot[of_region] = row  # in reading order, so that the lowest row is written last
    rows["foot_row"] = foot[numbers]
    for name, places in (("row", row), ("column", column)):
        rows[name] = np.bincount(of_region, places, len(sizes))[numbers] / sizes[numbers]
    return rows
