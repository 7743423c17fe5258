"""Settings of pasting: the `paste` block of configs/synthesize.yaml, and what becomes of it for one class."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from marsgen.core.config import Config

MIN_SCALE, MAX_SCALE = 0.01, 16
"""a smaller one needs a margin larger than any picture, a larger one more memory"""
MOST_REGIONS = 1000
MIN_MARGIN_PX = 6
"""least surroundings cut out with a region: fewer say nothing about the ground there"""
NO_PERSPECTIVE: Literal["none"] = "none"
"""value of `horizon` where size does not depend on the row"""

Pixels = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Row = Annotated[float, Field(lt=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class PasteConfig(Config):
    """How regions of rare classes are cut out and pasted; the `paste` block of configs/synthesize.yaml.

    null or `auto` means: inferred for each class from its regions in the train part (`infer_settings.py`). A value
    holds for every class.
    """

    # what is cut out
    min_region_px: Pixels | None = None
    """smaller regions are dropped: small components of a rough annotation"""
    max_region_fraction: PositiveShare | None = None
    """larger regions, as a share of their scene, are dropped: they are a background, not an object"""
    min_solidity: Share | None = None
    """area of a region divided by that of its convex hull; below it the label is a rim or a patchwork"""
    min_thickness: Annotated[float, Field(ge=0, le=0.6)] | None = None
    """largest inscribed radius divided by the root of the area (a disc has 0.56); below it the label is a strip"""

    # how many, how large, how turned
    regions_per_scene: tuple[int, int] | None = None
    """fewest and most regions pasted into one scene"""
    horizon: Row | Literal["none"] | None = None
    """row of the horizon as a share of the image height where the label map shows no unlabelled sky; < 0 is above the
    image; none = size does not depend on the row"""
    scale: tuple[float, float] = (0.5, 1.5)
    """smallest and largest size relative to the donor. The size itself is drawn from those of real regions, and a donor
    that reaches it within these limits is taken where there is one; regions enlarged much more look blurred"""
    scale_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """relative spread of the size around the real one that was drawn"""
    flip: Share | None = None
    """probability of mirroring left to right; the side the light comes from differs between donor and scene anyway"""
    max_angle: Degrees | None = None
    """largest rotation in degrees; regions cut off by the border of their scene are never rotated"""
    warp: Annotated[float, Field(ge=0, le=0.1)] = 0.03
    """largest smooth shift of the outline as a share of the region's size"""

    # how it looks
    feather_px: Annotated[float, Field(gt=0, le=20)] | None = None
    """width of the soft edge outside the region; its own surroundings, with their shadow, fade into the scene there"""
    match_brightness: Share = 0.8
    """0 keeps the donor's brightness, 1 scales it by the full ratio of the ground in the scene to that in the donor"""
    match_seam: Share = 0.7
    """how far the brightness along the outline is moved towards the ground beside it; 0 leaves rims of donor ground"""
    seam: bool | None = None
    """whether pixels around a pasted region lose their label, as far as around real ones of that size"""

    # where it may be put
    placement: Literal["uniform", "class", "focus"] | None = None
    """uniform: every scene and place is equally likely; class (the default): where the class occurs in real scenes;
    focus: where the segmenter of --focus has a high loss"""
    ground_classes: tuple[str, ...] | None = None
    """classes that a region may stand on; an empty list means every class that is not pasted"""
    avoid_classes: tuple[str, ...] | None = None
    """classes that a region neither covers nor comes within 3 px of"""
    match_surroundings: Share = 0.5
    """least share of the labelled pixels around a pasted region with the class that they had around the donor; where
    top and bottom of the class differ, of those straight below it as well. 0 = anywhere"""
    gap_px: Annotated[int, Field(ge=0)] = 2
    """least distance in px between a pasted region and any other region of a pasted class"""
    max_ignored_fraction: Share | None = None
    """largest share of a region that may cover pixels without a label (sky, rover, unlabelled ground)"""
    min_visible_px: Pixels | None = None
    """fewest pixels of a pasted region inside the image"""
    min_visible_fraction: PositiveShare | None = None
    """smallest share of a pasted region inside the image; the rest is cut off by the border"""
    tries: Pixels = 9
    """places tried for each region in one scene before another scene is drawn"""
    max_parents: Pixels = 1000
    """scenes drawn for one sample before giving up with an error"""

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {key: None if value == "auto" else value for key, value in content.items()}

    @model_validator(mode="after")
    def _check_ranges(self) -> PasteConfig:
        if self.regions_per_scene is not None:
            fewest, most = self.regions_per_scene
            if not 1 <= fewest <= most:
                raise ValueError(f"regions_per_scene {[fewest, most]}: expected 1 <= fewest <= most")
            if most > MOST_REGIONS:
                raise ValueError(f"regions_per_scene {[fewest, most]}: at most {MOST_REGIONS}")
        if not MIN_SCALE <= self.scale[0] <= self.scale[1] <= MAX_SCALE:
            raise ValueError(f"scale {list(self.scale)}: expected {MIN_SCALE} <= smallest <= largest <= {MAX_SCALE}")
        return self


class PasteSettings(PasteConfig):
    """The settings of one class, nothing left open. The defaults hold where neither yaml nor profile says anything."""

    min_region_px: Pixels = 1
    max_region_fraction: PositiveShare = 1.0
    min_solidity: Share = 0.0
    min_thickness: Annotated[float, Field(ge=0, le=0.6)] = 0.0
    regions_per_scene: tuple[int, int] = (1, 1)
    horizon: Row | Literal["none"] = NO_PERSPECTIVE
    flip: Share = 0.5
    max_angle: Degrees = 6.0
    feather_px: Annotated[float, Field(gt=0, le=20)] = 1.0
    seam: bool = False
    placement: Literal["uniform", "class", "focus"] = "class"
    ground_classes: tuple[str, ...] = ()
    avoid_classes: tuple[str, ...] = ()
    max_ignored_fraction: Share = 0.1
    min_visible_px: Pixels = 1
    min_visible_fraction: PositiveShare = 0.5

    @property
    def margin_px(self) -> int:
        """Pixels of surroundings cut out with a region: enough for the soft edge and the gap at the smallest scale."""
        reach = max(self.feather_px, self.gap_px)
        return max(MIN_MARGIN_PX, math.ceil(reach / self.scale[0]) + 1)
