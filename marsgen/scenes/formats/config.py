"""Settings of reading a data set in somebody else's format: `marsgen settings import`."""

from typing import Literal

from pydantic import Field

from marsgen.core.config import Config
from marsgen.core.errors import DataError, nearest
from marsgen.scenes.limits import MIN_SIDE_PX, MOST_CHANNELS

KEYS = (
    "labelme",
    "coco",
    "yolo",
    "voc",
    "cityscapes",
    "camvid",
    "class-folders",
    "kind-masks",
    "huggingface",
    "parquet",
    "geotiff",
)
"""the formats that are read, in the order of recognise.py"""
Overlap = Literal["smaller", "larger", "first", "last"]
Part = Literal["train", "val", "test"]


class ReadingConfig(Config):
    """How a data set in somebody else's format is read; `marsgen settings import` lists it."""

    listed_by = "`marsgen settings import`"

    format: str | None = None
    """needed only where a folder looks like more than one; null = the one that is recognised"""
    background: str = "background"
    """class of the pixels that no object covers; ignored = they carry no label"""
    rename: dict[str, str] = Field(default_factory=dict)
    """class in the data -> class in the scenes; two to one merges them, "ignored" takes the label away"""
    overlap: Overlap = "smaller"
    """which object keeps the pixels of two: the smaller or larger one, or the first or last one listed"""
    threshold: int = Field(128, ge=1, le=255)
    """masks of 0 to 255: pixel values from here on belong to the class"""
    orientation: Literal["", "follow", "ignore"] = ""
    """rotation tags of pictures; "" = as the sizes of label maps and annotations tell"""
    groups: str = ""
    """regular expression with one group: scenes whose names agree in it stay in one part of a split"""
    rare: list[str] | None = None
    """rare classes; null = proposed by their pixels and scenes, and said"""
    bands: list[int] | None = Field(None, min_length=1, max_length=MOST_CHANNELS)
    """bands of a raster to read, counted from 1: one as grey, three as red, green, blue, or 4 to 16; null = all"""
    range: list[float] | None = Field(None, min_length=2, max_length=2)
    """values of a raster that become 0 and 255; others are clipped. Needed for more than 8 bits"""
    longest_side: int | None = Field(None, ge=MIN_SIDE_PX)
    """larger scenes are made smaller, in proportion, to this many pixels on the longer side: images by area averages,
    label maps by the nearest pixel; null = all keep their size"""
    parts: dict[Part, Part] = Field(default_factory=dict)
    """part that the data set ships -> part that it becomes, such as {val: test}"""
    image_column: str = ""
    """column of the pictures in a table; "" = the only one that can be"""
    label_column: str = ""
    """column of the label maps in a table; "" = the only one that can be"""


def refuse_unknown_format(config: ReadingConfig) -> None:
    """Raise DataError where the settings name a format that is not read."""
    if config.format is not None and config.format not in KEYS:
        raise DataError(f"format is {config.format!r}{nearest(config.format, KEYS)}; there are {', '.join(KEYS)}")
