"""Settings of pasting: the `paste` block of configs/synthesize.yaml."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from marsgen.core.config import Config

MIN_SCALE, MAX_SCALE = 0.01, 16
"""a smaller one needs a margin larger than any picture, a larger one more memory"""
MOST_REGIONS = 1000
MIN_MARGIN_PX = 6
"""least surroundings cut out with a region: fewer say nothing about the ground there"""


class PasteConfig(Config):
    """How regions of a rare class are cut out and pasted; the `paste` block of configs/synthesize.yaml."""

    # what is cut out
    min_region_px: int = Field(64, ge=1)
    """smaller regions are dropped: small components of a rough annotation"""
    max_region_fraction: float = Field(0.3, gt=0, le=1)
    """larger regions, as a share of their scene, are dropped: they are a background, not an object"""
    min_solidity: float = Field(0.75, ge=0, le=1)
    """area of a region divided by that of its convex hull; below it the label is a rim or a patchwork"""
    min_thickness: float = Field(0.27, ge=0, le=0.6)
    """largest inscribed radius divided by the root of the area (a disc has 0.56); below it the label is a strip"""

    # how many, how large, how turned
    regions_per_scene: tuple[int, int] = (1, 2)
    """fewest and most regions pasted into one scene"""
    horizon: float = Field(-0.5, lt=1)
    """row of the horizon as a share of the image height where the label map shows no sky; < 0 is above the image"""
    scale: tuple[float, float] = (0.5, 1.2)
    """smallest and largest size of a pasted region relative to the original; perspective decides within this range.
    Regions enlarged much more look blurred"""
    scale_jitter: float = Field(0.15, ge=0, lt=1)
    """relative spread of the size around the one that perspective gives"""
    flip: float = Field(0.5, ge=0, le=1)
    """probability of mirroring left to right; the side the light comes from differs between donor and scene anyway"""
    max_angle: float = Field(6.0, ge=0, le=45)
    """largest rotation in degrees; regions cut off by the border of their scene are never rotated"""
    warp: float = Field(0.03, ge=0, le=0.1)
    """largest smooth shift of the outline as a share of the region's size"""

    # how it looks
    feather_px: float = Field(2.5, gt=0, le=20)
    """width of the soft edge outside the region; its own surroundings, with their shadow, fade into the scene there"""
    match_brightness: float = Field(0.8, ge=0, le=1)
    """0 keeps the donor's brightness, 1 scales it by the full ratio of the ground in the scene to that in the donor"""
    match_seam: float = Field(0.7, ge=0, le=1)
    """how far the brightness along the outline is moved towards the ground beside it; 0 leaves rims of donor ground"""

    # where it may be put
    placement: Literal["uniform", "class", "focus"] = "uniform"
    """uniform: every scene and place is equally likely; class: where the class occurs in real scenes; focus: where the
    segmenter of --focus has a high loss"""
    ground_classes: tuple[str, ...] = ()
    """classes that a region may stand on; empty means every class that is not pasted"""
    gap_px: int = Field(2, ge=0)
    """least distance in px between a pasted region and any other region of a pasted class"""
    max_ignored_fraction: float = Field(0.1, ge=0, le=1)
    """largest share of a region that may cover pixels without a label (sky, rover, unlabelled ground)"""
    min_visible_px: int = Field(48, ge=1)
    """fewest pixels of a pasted region inside the image"""
    min_visible_fraction: float = Field(0.5, gt=0, le=1)
    """smallest share of a pasted region inside the image; the rest is cut off by the border"""
    tries: int = Field(30, ge=1)
    """places tried for the regions of one scene before another scene is drawn"""
    max_parents: int = Field(60, ge=1)
    """scenes drawn for one sample before giving up with an error"""

    @model_validator(mode="after")
    def _check_ranges(self) -> PasteConfig:
        if not 1 <= self.regions_per_scene[0] <= self.regions_per_scene[1]:
            raise ValueError(f"regions_per_scene {list(self.regions_per_scene)}: expected 1 <= fewest <= most")
        if self.regions_per_scene[1] > MOST_REGIONS:
            raise ValueError(f"regions_per_scene {list(self.regions_per_scene)}: at most {MOST_REGIONS}")
        if not MIN_SCALE <= self.scale[0] <= self.scale[1] <= MAX_SCALE:
            raise ValueError(f"scale {list(self.scale)}: expected {MIN_SCALE} <= smallest <= largest <= {MAX_SCALE}")
        return self

    @property
    def margin_px(self) -> int:
        """Pixels of surroundings cut out with a region: enough for the soft edge and the gap at the smallest scale."""
        reach = max(self.feather_px, self.gap_px)
        return max(MIN_MARGIN_PX, math.ceil(reach / self.scale[0]) + 1)
