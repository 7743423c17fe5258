"""How large a pasted region is to be, and which real region it is made of.

Sizes are drawn from the real regions first and a donor second, so that pasted regions have the sizes of real ones
whatever is hard to place: a size that finds no place in a scene is tried in another.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from marsgen.masks.config import PasteSettings
from marsgen.masks.regions import Region, RegionLibrary

MAX_PUSH_OUT = 0.3
"""a region that its donor's border cuts off is pushed out of the image by up to this share of its size"""
TOLERANCE = 1.5
"""factor by which the visible area may miss the one that was drawn"""
_LEAST_OVERHANG = 0.1  # of the side of a whole region that is to be cut off by the border


@dataclass(frozen=True)
class Target:
    """Size of a real region, to be reached by a pasted one."""

    area_px: float
    cut: tuple[str, ...]
    """sides on which the border cut it off"""
    seam: tuple[int, ...] = ()
    """px without a label around it, see `measure_seam`; () = none is drawn"""


@dataclass(frozen=True, eq=False)
class Donor:
    """A real region and how it becomes as large as a target."""

    region: Region
    flip: bool
    scale: float
    jitter: float
    """the part of `scale` that has nothing to do with perspective"""
    cut: tuple[str, ...]
    """sides on which it lies at the border of the scene; flips are applied"""
    overhang: tuple[float, float]
    """down and across, how far it reaches beyond that border, as a share of its height and width"""
    angle: float = 0.0
    """degrees by which it is turned, counterclockwise"""


def draw_target(library: RegionLibrary, name: str, rng: np.random.Generator) -> Target:
    """The size, the cut sides and the seam of one of the real regions of a class, all alike."""
    real = library.real[name]
    number = int(rng.integers(len(real)))
    return Target(float(real.areas[number]), real.cut[number], real.seams[number])


def draw_donor(
    library: RegionLibrary, name: str, target: Target, suits: np.ndarray, rng: np.random.Generator
) -> Donor | None:
    """A region of the class that reaches the target within `PasteSettings.scale`, else the one that comes nearest.

    A target that a border cut off is made of such a region, else of a whole one that reaches across the border; a whole
    target is made of whole regions as long as there are any.

    Args:
        suits: (R,) bool, regions that the scene has a place for (`Canvas.suits`).
    Returns:
        None where no region of that size suits.
    """
    settings = library.settings[name]
    jitter = 1 + settings.scale_jitter * float(rng.uniform(-1, 1))
    wanted = np.sqrt(target.area_px / library.donor_areas[name]) * jitter
    within = (wanted >= settings.scale[0]) & (wanted <= settings.scale[1])
    is_cut = library.donor_cut[name]
    alike = is_cut if target.cut else ~is_cut
    pool = within & alike
    if not pool.any() and not _spans(target.cut):
        # a whole region stands in for a cut one only if the target does not lie at opposite borders
        pool = within & ~alike
    if not pool.any():
        usable = alike if alike.any() else np.ones_like(alike)
        miss = np.where(usable, np.abs(np.log(wanted)), np.inf)
        pool = miss <= miss.min() + 0.1  # those that come nearest
    chosen = np.flatnonzero(pool & suits)  # sizes first, so that what a scene has no place for changes none
    if not chosen.size:
        return None
    region = library.regions[name][int(chosen[int(rng.integers(len(chosen)))])]
    flip = bool(rng.random() < settings.flip)
    cut = _mirrored(region.cut) if flip else region.cut
    overhang = (0.0, 0.0)
    if cut:
        down, across = rng.random(2) * MAX_PUSH_OUT
        overhang = (float(down), float(across))
    elif target.cut:
        cut = target.cut
        most = 1 - settings.min_visible_fraction ** (1 / len(cut))
        down, across = rng.uniform(min(_LEAST_OVERHANG, most), most, 2)
        overhang = (float(down), float(across))
    visible = _visible_share(region, flip, cut, overhang)
    scale = math.sqrt(target.area_px / max(visible * region.area_px, 1.0)) * jitter
    if region.cut and scale > settings.scale[1]:  # all of it is needed
        scale, overhang = math.sqrt(target.area_px / region.area_px) * jitter, (0.0, 0.0)
    return Donor(region, flip, min(max(scale, settings.scale[0]), settings.scale[1]), jitter, cut, overhang)


def span_scene(donor: Donor, shape: tuple[int, ...], settings: PasteSettings) -> Donor | None:
    """The donor, enlarged to reach both borders where borders on opposite sides cut it off.

    None where it would have to be enlarged more than `scale` allows.
    """
    needed = 0.0
    for sides, side, own in zip((("top", "bottom"), ("left", "right")), shape, donor.region.box.shape, strict=True):
        if set(sides) <= set(donor.cut):
            needed = max(needed, (side + 1) / own)
    if donor.scale >= needed:
        return donor
    return replace(donor, scale=needed) if needed <= settings.scale[1] else None


def _spans(cut: tuple[str, ...]) -> bool:
    return {"left", "right"} <= set(cut) or {"top", "bottom"} <= set(cut)


def _mirrored(cut: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({"left": "right", "right": "left"}.get(side, side) for side in cut)


def _visible_share(region: Region, flip: bool, cut: tuple[str, ...], overhang: tuple[float, float]) -> float:
    """Share of the donor's pixels that lie inside the scene."""
    if not cut or _spans(cut):
        return 1.0
    mask = region.mask[:, ::-1] if flip else region.mask
    down, across = round(overhang[0] * mask.shape[0]), round(overhang[1] * mask.shape[1])
    top, bottom = down if "top" in cut else 0, mask.shape[0] - (down if "bottom" in cut else 0)
    left, right = across if "left" in cut else 0, mask.shape[1] - (across if "right" in cut else 0)
    return max(float(mask[top:bottom, left:right].sum()), 1.0) / float(mask.sum())
