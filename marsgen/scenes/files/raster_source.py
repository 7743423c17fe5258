"""How the pictures of a data set were made from rasters: classes.yaml and every trained model remember it.

So a new raster of the same camera is read in the same way, and one of another kind is refused instead of misread.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import shorten
from marsgen.scenes.limits import is_channels

_KEYS = ("type", "of", "bands", "range")


@dataclass(frozen=True)
class RasterSource:
    """Pixel type, bands and range of the rasters that 8-bit pictures were made from."""

    kind: str
    """numpy's name of the pixel type, such as uint16"""
    stored: int
    """bands in a file"""
    bands: tuple[int, ...]
    """those that were read, counted from 1"""
    low: float
    high: float
    """values that became 0 and 255"""

    @property
    def is_plain(self) -> bool:
        """Whether every band was read as it is: the pixels of a picture file of 8 bits would be the same."""
        return (self.kind, self.low, self.high) == ("uint8", 0, 255) and self.bands == tuple(range(1, self.stored + 1))

    def to_dict(self) -> dict[str, Any]:
        """The value of `rasters` in classes.yaml."""
        values = (self.kind, self.stored, list(self.bands), [self.low, self.high])
        return dict(zip(_KEYS, values, strict=True))

    def describe(self) -> str:
        """In words, such as: bands 4, 3, 2 of 5, uint16, 0 to 4000 as 0 to 255."""
        bands = ", ".join(map(str, self.bands))
        return f"bands {bands} of {self.stored}, {self.kind}, {self.low:g} to {self.high:g} as 0 to 255"


def read_raster_source(content: Any) -> RasterSource | None:
    """What `to_dict` wrote, its scalars as texts (yaml) or numbers (json); None where there is nothing.

    Raises:
        DataError: anything else.
    """
    if content is None or content in ("", "~", "null"):
        return None
    try:
        if not isinstance(content, Mapping) or set(content) != set(_KEYS):
            raise ValueError
        kind, stored, bands = str(content["type"]), int(content["of"]), tuple(int(band) for band in content["bands"])
        low, high = (float(value) for value in content["range"])
        fits = is_channels(len(bands)) and min(bands) >= 1 and max(bands) <= stored <= 65_535
        lists = isinstance(content["bands"], list) and isinstance(content["range"], list)
        if not fits or not lists or not re.fullmatch(r"u?int(8|16|32|64)|float(16|32|64)", kind):
            raise ValueError
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        example = "{type: uint16, of: 5, bands: [4, 3, 2], range: [0, 4000]}"
        raise DataError(f"rasters is {shorten(repr(content), 100)}; expected something like {example}") from None
    return RasterSource(kind, stored, bands, low, high)
