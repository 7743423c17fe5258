"""Settings of measuring synthetic sets, and of selection: the `select` block of configs/synthesize.yaml."""

from pydantic import Field, model_validator

from marsgen.core.config import MOST_SIDE_PX, BatchSize, Config, Seed


class SelectConfig(Config):
    """Which candidates are kept; the `select` block of configs/synthesize.yaml."""

    judge: str | None = None
    """folder of a finished `segmenter train` run that has seen real scenes only; null = every candidate is kept"""
    keep: float | None = Field(None, gt=0, lt=1)
    """fraction of candidates to keep; the threshold is the agreement that this fraction of the first 128 reaches"""
    min_agreement: float | None = Field(None, gt=0, le=1)
    """the threshold itself, instead of `keep`: least IoU between the judge's segmentation and the label map, of every
    pasted class, in the windows around what was pasted"""
    soft: bool = False
    """IoU of the judge's probabilities instead of its labels; ranks candidates even where a weak judge never predicts
    the class"""
    tries: int = Field(8, ge=1)
    """candidates drawn for one sample; if none of them reaches the threshold, the best is kept"""

    @model_validator(mode="after")
    def _check_combination(self) -> "SelectConfig":
        if self.keep is not None and self.min_agreement is not None:
            raise ValueError("keep (--keep) and min_agreement (--min-agreement) both set the threshold; give one")
        has_threshold = self.keep is not None or self.min_agreement is not None
        if has_threshold and self.judge is None:
            raise ValueError("no judge; name a run of `segmenter train` with --judge")
        if self.judge is not None and not has_threshold:
            raise ValueError("a judge without a threshold; add --keep 0.8 or --min-agreement 0.3")
        return self


class MeasureConfig(Config):
    """How a synthetic set is measured."""

    max_real: int = Field(2000, ge=8)
    """most real scenes, and most real regions of each class, evenly spaced"""
    crop_px: int = Field(64, ge=32, le=MOST_SIDE_PX)
    """side of the square crop around a region"""
    min_region_px: int = Field(64, ge=1)
    """real regions with fewer pixels are left out: most are slips of annotation"""
    scene_px: int = Field(256, ge=32)
    """whole scenes are shrunk to at most this many pixels on their longer side before features are taken"""
    neighbours: int = Field(5, ge=1)
    """k of density and coverage"""
    max_dimensions: int = Field(32, ge=1)
    """most principal components of the features in the Frechet distance"""
    resamples: int = Field(1000, ge=20)
    """bootstrap resamples behind the 95 % intervals"""
    splits: int = Field(20, ge=1)
    """random halvings of the real pictures behind the floor"""
    copy_fraction: float = Field(0.01, gt=0, lt=0.5)
    """a region is a copy when it is nearer to a training region than all but this fraction of different real ones"""
    batch_size: BatchSize = 64
    """pictures in a network at once"""
    seed: Seed = 0
    """of resamples and halvings"""
