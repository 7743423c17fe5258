"""What a rare class is like in real scenes, before anything of it is pasted: the figures and one line of text.

`measure_classes.py` measures them in one pass over the scenes; `infer_settings.py` turns them into paste settings.
Each claim that could be chance carries the p-value of its test.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SEAM_EDGES_PX = (2, 4, 8, 16)
"""distances from a region that bound the rings in which unlabelled pixels are counted"""
GRID = 8
"""rows and columns of the map of where the class occurs"""
SIGNIFICANT = 0.01
"""p-value below which a difference is taken for real"""
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_NEVER = 0.01  # share of regions next to a class that wrong labels explain


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
    small_px: float
    """smaller regions hold 3 % of the class's pixels together: crumbs of a rough annotation"""
    small_share: float
    """share of the regions that are smaller"""
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
    stood_on: dict[str, float]
    """class -> share of the same regions that have a pixel of it straight below within 3 px"""
    available: dict[str, float]
    """class -> share of the labelled pixels in the scenes that show the profiled one, itself left out"""
    distance: dict[str, float]
    """class -> median distance over scenes from the profiled class, as a share of the scene's height"""
    elsewhere: dict[str, float]
    """class -> share of all scenes that show it and not the profiled one"""
    groups: int
    """groups of scenes that the regions behind `touched` and `stood_on` are from"""

    @property
    def untouched(self) -> tuple[str, ...]:
        """Classes next to less than 1 % of the regions, and not by chance, whether the same scenes show them or not."""
        return tuple(name for name in self.available if self._avoided(name, self.touched))

    @property
    def never_touched(self) -> tuple[str, ...]:
        """Classes that occur in the same scenes but next to less than 1 % of the regions, and not by chance."""
        return self._never(self.touched)

    @property
    def never_stood_on(self) -> tuple[str, ...]:
        """Classes that occur in the same scenes but straight below less than 1 % of the regions, and not by chance."""
        return self._never(self.stood_on)

    def _never(self, shares: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(name for name, share in self.available.items() if share > 0 and self._avoided(name, shares))

    def _avoided(self, name: str, shares: Mapping[str, float]) -> bool:
        """Whether regions keep away from a class: regions of few scenes may just not have met it.

        A region that did not mind what it lies next to would miss a class with a share a of the ground with a
        probability of 1 - a at most, and a class that the same scenes do not show with that of 1 minus its share of all
        scenes.
        """
        return shares.get(name, 1.0) < _NEVER and (1 - self.meets(name)) ** self.groups < SIGNIFICANT

    def meets(self, name: str) -> float:
        """Share of the ground of the same scenes that is of a class, or else of the scenes that show it."""
        return self.available[name] or self.elsewhere.get(name, 0.0)


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
        if never := [name for name in self.place.never_stood_on if name not in self.place.never_touched]:
            parts.append(f"never on {', '.join(never)}")
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
