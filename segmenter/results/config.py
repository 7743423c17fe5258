"""Settings of `segmenter compare` and `segmenter report`."""

from pydantic import Field

from segmenter.results.metadata import StatisticsSettings


class CompareConfig(StatisticsSettings):
    """Settings of `segmenter compare`: how gains, intervals and verdicts are computed."""

    listed_by = "`segmenter settings compare`"

    data: str = ""
    """which evaluation, where the runs share several: its data's location, or its folder name under evaluations/"""
    allow_different_steps: bool = False
    """compare runs although one was allowed more training steps than another"""


class ReportConfig(CompareConfig):
    """Settings of `segmenter report`: those of `segmenter compare`, and what the page shows."""

    listed_by = "`segmenter settings report`"

    gallery: int = Field(3, ge=0)
    """test scenes of each kind: the largest regions, and per arm the most improved and the most regressed; 0 = none"""
    samples: int = Field(6, ge=0)
    """synthetic scenes shown of each --extra folder, beside the nearest real ones; 0 = none"""
