"""New outlines for old rocks: the shapes of two regions of a class mixed, filled with the pixels of the first."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from marsgen.masks.paste import Box, sample_bilinear
from marsgen.masks.regions import DETAIL_PX, Region, signed_depth

WEIGHTS = (0.3, 0.7)
"""least and largest share of the second outline: beyond them lies a copy of one of the two"""
ASPECTS = 2.0
"""a second outline is stretched no more than this in one direction beside the other: its dents would become gashes"""
SMOOTH = 0.03
"""outlines are rounded off by this share of the root of the area: the corner of a label is no spike of rock"""
BEYOND = (0.1, 0.5)
"""share of its size by which a whole second outline is pushed out of the picture where the first one is cut off"""
BEND = 0.05
"""typical random shift of an outline as a share of the root of the area"""
WAVES = 5
"""plane waves in the random shift, of half to two periods across the region"""
RAYS = 96
"""directions in which the pixels of the first region are stretched to the new outline"""
STEPS = 3
"""steps along the gradient for pixels that the rays miss"""
SOFTEN_PX = 1.2
"""how far neighbouring pixels are moved together"""
LEAST_OVERLAP_PX = 1.5
"""the two outlines share a core at least this deep; else there is no middle to stretch from"""


@dataclass(frozen=True)
class OutlineLender:
    """The second region of a mixed outline."""

    name: str
    key: str
    box: Box
    """where it lies in its scene"""
    weight: float
    """its share in the outline, (0, 1)"""

    def record(self) -> dict:
        """The same content in json's types, as it stands in a manifest."""
        return {"name": self.name, "key": self.key, "donor_box": list(self.box), "weight": round(self.weight, 4)}


def recombine(
    region: Region, others: Sequence[Region], rng: np.random.Generator
) -> tuple[Region, OutlineLender] | None:
    """Give a region an outline of its own, mixed from its own and another one's.

    The second outline is fitted to the first one's box and the signed distances to both are blended by a random weight
    (Cohen-Or, Levin, Solomovici 1998, doi:10.1145/274363.274366), bent by a smooth random field, shifted to the
    area between the two, and fitted to the box again. The first region's pixels are stretched along rays until they
    fill the new outline, so that no ground of the donor scene gets inside.

    Args:
        others: regions of its class; those cut off on no side where `region` is whole can lend their outline.
    Returns:
        the region with the new outline, and who lent it; None where nobody fits.
    """
    partners = [
        (other, mirror)
        for other in others
        if other.donor_key != region.donor_key or other.box != region.box
        for mirror in (False, True)
        if _sides(other, mirror) <= set(region.cut) and 1 / ASPECTS < _aspect(other) / _aspect(region) < ASPECTS
    ]
    if not partners:
        return None
    second, mirror = partners[int(rng.integers(len(partners)))]
    weight = float(rng.uniform(*WEIGHTS))
    own, lent = region.depth, _fitted(second, mirror, region, rng)
    size = math.sqrt(region.area_px)
    blend = (1 - weight) * own + weight * lent + BEND * size * _waves(own.shape, rng)
    blend = ndimage.gaussian_filter(blend, SMOOTH * size, mode="nearest")
    core = _core(own, lent)
    if min(own[core], lent[core]) < LEAST_OVERLAP_PX:
        return None
    area = math.exp((1 - weight) * math.log(region.area_px) + weight * math.log(np.count_nonzero(lent > 0)))
    blend -= np.partition(blend.ravel(), -round(area))[-round(area)]
    mask = _fit_to_box(blend, region, core)
    if mask is None:
        return None
    depth = signed_depth(mask, region.cut, region.margin_px)
    pixels = _stretch(region, depth)
    mixed = replace(
        region,
        area_px=int(np.count_nonzero(mask)),
        layers=np.concatenate([pixels, depth[..., None]], axis=-1),
        detail=pixels - ndimage.gaussian_filter(pixels, DETAIL_PX, axes=(0, 1)),
    )
    return mixed, OutlineLender(second.donor_name, second.donor_key, second.box, weight)


def _sides(region: Region, mirror: bool) -> set[str]:
    return {{"left": "right", "right": "left"}.get(side, side) if mirror else side for side in region.cut}


def _aspect(region: Region) -> float:
    return (region.box.bottom - region.box.top) / (region.box.right - region.box.left)


def _fitted(second: Region, mirror: bool, region: Region, rng: np.random.Generator) -> np.ndarray:
    """(h, w) float32: signed distance to the second outline, its box laid over that of `region`, in layers of that.

    Where only `region` is cut off, the second box reaches beyond the border.
    """
    height, width = region.depth.shape
    lent_sides = _sides(second, mirror)
    lines = []
    for length, low, high in ((height, "top", "bottom"), (width, "left", "right")):
        start, stop = _inner(region.cut, low, high, length, region.margin_px)
        before, after = rng.uniform(*BEYOND, 2) * (stop - start)
        start -= before if low in region.cut and low not in lent_sides else 0
        stop += after if high in region.cut and high not in lent_sides else 0
        lines.append((np.arange(length) + 0.5 - start) / (stop - start))  # 0..1 across the second box
    depth = second.depth[:, ::-1] if mirror else second.depth
    first_row, last_row = _inner(lent_sides, "top", "bottom", depth.shape[0], second.margin_px)
    first_column, last_column = _inner(lent_sides, "left", "right", depth.shape[1], second.margin_px)
    rows = first_row + lines[0] * (last_row - first_row) - 0.5
    columns = first_column + lines[1] * (last_column - first_column) - 0.5
    inside_rows, inside_columns = rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)
    # past its own margin the distance goes on falling; across a cut side it goes on as it is
    past = np.hypot((rows - inside_rows)[:, None], (columns - inside_columns)[None, :])
    sampled = ndimage.map_coordinates(depth, np.meshgrid(inside_rows, inside_columns, indexing="ij"), order=1)
    size = math.sqrt(height * width / (depth.shape[0] * depth.shape[1]))
    return ((sampled - np.where(sampled < 0, past, 0)) * size).astype(np.float32)


def _inner(cut: Collection[str], low: str, high: str, length: int, margin_px: int) -> tuple[float, float]:
    """Where a region begins and ends along an axis of its layers: a margin lies on the sides that are not cut off."""
    return (0 if low in cut else margin_px), length - (0 if high in cut else margin_px)


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(h, w) float32 smooth random field of mean square 1."""
    y, x = (np.arange(side, dtype=np.float32) / side for side in shape)
    periods, angles, phases = rng.uniform(0.5, 2, WAVES), rng.uniform(0, math.pi, WAVES), rng.uniform(0, 1, WAVES)
    field = np.zeros(shape, np.float32)
    for period, angle, phase in zip(periods, angles, phases, strict=True):
        across, down = period * math.cos(angle) * x, period * math.sin(angle) * y
        field += np.sin(2 * math.pi * (down[:, None] + across[None, :] + phase), dtype=np.float32)
    return field * np.float32(math.sqrt(2 / WAVES))


def _fit_to_box(blend: np.ndarray, region: Region, core: tuple[int, int]) -> np.ndarray | None:
    """(box height, box width) bool: the patch of `blend` > 0 at the core, stretched to the box of `region`.

    None where there is none, or where it does not reach a side on which `region` is cut off.
    """
    patch = _patch_at(blend > 0, core)
    if patch is None:
        return None
    frames = []
    for axis, (low, high) in enumerate((("top", "bottom"), ("left", "right"))):
        length = blend.shape[axis]
        taken = np.flatnonzero(patch.any(axis=1 - axis))
        start, stop = _inner(region.cut, low, high, length, region.margin_px)
        if (low in region.cut and taken[0] > 0) or (high in region.cut and taken[-1] < length - 1):
            return None
        grown = (taken[-1] + 1 - taken[0]) / (stop - start)
        frames.append(taken[0] + (np.arange(int(stop - start)) + 0.5) * grown - 0.5)
    where = np.meshgrid(*frames, indexing="ij")
    # nearest: across a cut side the region goes on, half a pixel past its layers too
    fitted, nearby = (
        ndimage.map_coordinates(field, where, order=1, mode="nearest") for field in (blend, patch.astype(np.float32))
    )
    labelled, _ = ndimage.label((fitted > 0) & (nearby > 0))
    sizes = np.bincount(labelled.ravel())[1:]
    return ndimage.binary_fill_holes(labelled == 1 + int(sizes.argmax())) if sizes.size else None


def _core(own: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel that lies deepest in both outlines."""
    row, column = divmod(int(np.minimum(own, other).argmax()), own.shape[1])
    return row, column


def _patch_at(mask: np.ndarray, core: tuple[int, int]) -> np.ndarray | None:
    labelled, _ = ndimage.label(mask)
    return ndimage.binary_fill_holes(labelled == labelled[core]) if labelled[core] else None


def _stretch(region: Region, depth: np.ndarray) -> np.ndarray:
    """(h, w, channels) float32: the region's pixels, moved along rays so that its outline falls on that of `depth`.

    Inside, a ray's pixels are spread evenly; outside, they are pushed, so that the surroundings keep their scale. What
    the rays miss (an outline that a ray crosses more than once) is moved on along the gradient of the distance.
    """
    own = region.depth
    height, width = own.shape
    core = _core(own, depth)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    down, across = y - core[0], x - core[1]
    radius = np.hypot(down, across)
    turn = np.arctan2(down, across) * np.float32(RAYS / (2 * math.pi)) % RAYS
    before, share = turn.astype(np.intp) % RAYS, turn % 1
    was, now = (
        reach[before] * (1 - share) + reach[(before + 1) % RAYS] * share
        for reach in (_reach(own, core), _reach(depth, core))
    )
    moved = np.where(radius < now, radius * (was / now), radius - now + was) / np.maximum(radius, 1e-6)
    rows, columns = core[0] + down * moved, core[1] + across * moved

    rows, columns = _home(own, depth, rows, columns, steps=STEPS)
    # neighbours move together, or a crack runs through the rock; what that takes across the outline is put back
    rows, columns = (grid + ndimage.gaussian_filter(at - grid, SOFTEN_PX) for grid, at in ((y, rows), (x, columns)))
    rows, columns = _home(own, depth, rows, columns, steps=1)
    at = np.stack([rows.clip(0, height - 1), columns.clip(0, width - 1)])
    pixels = [
        ndimage.map_coordinates(layer, at, order=3, mode="nearest") for layer in np.moveaxis(region.pixels, -1, 0)
    ]
    return np.clip(np.stack(pixels, axis=-1), 0, 255)


def _home(
    own: np.ndarray, depth: np.ndarray, rows: np.ndarray, columns: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the first region, moved along the gradient of its distance to the right side of its outline."""
    down, across = np.gradient(own)
    steep = np.maximum(np.hypot(down, across), 0.3)
    fields = np.stack([own, down / steep, across / steep], axis=-1)
    for _ in range(steps):
        found = sample_bilinear(fields, rows, columns)
        lacks = np.maximum(np.minimum(depth, 1) - found[..., 0], 0)
        exceeds = np.maximum(found[..., 0] - np.maximum(depth, -1), 0)
        step = np.where(depth > 0, lacks, -exceeds)
        rows, columns = rows + step * found[..., 1], columns + step * found[..., 2]
    return rows, columns


def _reach(depth: np.ndarray, core: tuple[int, int]) -> np.ndarray:
    """(RAYS,) float32: distance from the core to where each ray first leaves the region or the layers."""
    height, width = depth.shape
    angles = np.arange(RAYS) * (2 * math.pi / RAYS)
    steps = np.arange(0, math.hypot(height, width) + 1, 0.5)
    rows = core[0] + np.sin(angles)[:, None] * steps
    columns = core[1] + np.cos(angles)[:, None] * steps
    inside = sample_bilinear(depth[..., None], rows, columns)[..., 0] > 0
    inside &= (rows >= -0.5) & (rows <= height - 0.5) & (columns >= -0.5) & (columns <= width - 0.5)
    reach = np.maximum(steps[np.argmin(inside, axis=1)], 0.5)
    # a ray beside a dent sees a step where its neighbour sees none
    return ndimage.gaussian_filter1d(reach, 1.5, mode="wrap").astype(np.float32)
