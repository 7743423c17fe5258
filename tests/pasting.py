"""Pasting with one set of settings for all classes, as tests of single functions need it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from marsgen.masks import plan, regions
from marsgen.masks.config import PasteSettings
from marsgen.masks.regions import RegionLibrary
from marsgen.scenes.scene import SceneSource


def rock_settings(**changes: Any) -> PasteSettings:
    """Settings that suit compact regions of 64 px and more, seen in perspective."""
    given = {
        "min_region_px": 64, "max_region_fraction": 0.3, "min_solidity": 0.75, "min_thickness": 0.27,
        "regions_per_scene": (1, 2), "horizon": -0.5, "feather_px": 2.5, "min_visible_px": 48,
    }  # fmt: skip
    return PasteSettings.model_validate(given | changes)


def cut_regions(
    scenes: SceneSource,
    indices: Sequence[int],
    names: Sequence[str],
    settings: PasteSettings,
    keys: Sequence[str] | None = None,
) -> RegionLibrary:
    """`regions.cut_regions` with the same settings for every class."""
    return regions.cut_regions(scenes, indices, dict.fromkeys(names, settings), keys)


def edit_sample(
    index: int,
    seed: int,
    scenes: SceneSource,
    library: RegionLibrary,
    config: PasteSettings,
    parents: Sequence[int],
    **more: Any,
) -> plan.PlannedSample:
    """`plan.edit_sample` with other settings than those that the regions were cut with."""
    library = replace(library, settings=dict.fromkeys(library.class_names, config))
    return plan.edit_sample(index, seed, scenes, library, parents, **more)
