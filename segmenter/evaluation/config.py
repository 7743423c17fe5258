"""Settings of `segmenter evaluate`; configs/evaluate.yaml holds the defaults."""

from typing import Literal

from pydantic import Field

from marsgen.core.config import BatchSize
from segmenter.inference.config import InferenceConfig


class EvaluateConfig(InferenceConfig):
    """`segmenter evaluate`: inference settings, which scenes are scored, and what counts as found."""

    listed_by = "`segmenter settings evaluate`"

    part: Literal["auto", "test", "val", "train", "all"] = "auto"
    """which scenes: auto = the test part where the data are the run's own, else all scenes"""
    batch_size: BatchSize = 64
    """images per forward pass"""
    found_fraction: float = Field(0.25, gt=0, le=1)
    """a region counts as found where at least this fraction of its pixels is predicted as its class"""
    min_region_px: int = Field(16, ge=1)
    """smaller connected regions are left out of the region counts, but count in every IoU"""
