"""copy-paste: no network at all, the blended pixels as they are; the baseline that every generator has to beat."""

from hashlib import blake2b

import numpy as np

from marsgen.generators import DrawRequest
from marsgen.scenes.classes import ClassSet

VERSION = 1
"""raised when the look of composites changes, so that manifests tell the old from the new"""


class CopyPaste:
    """A `Generator` that hands the composites back; in scene mode too, where everything may be drawn."""

    name = "copy-paste"
    fingerprint = blake2b(f"copy-paste {VERSION}".encode(), digest_size=8).hexdigest()
    trained_on: tuple[str, ...] = ()

    def __init__(self, classes: ClassSet, channels: int) -> None:
        self.classes = classes
        self.channels = channels

    def draw(self, request: DrawRequest) -> np.ndarray:
        """(B, h, w, channels) uint8: `request.composites`, whatever is asked for in `request.hole`."""
        return request.composites
