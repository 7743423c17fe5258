"""copy-paste: no network, the blended pixels as they are; the baseline of every generator."""

from hashlib import blake2b
from typing import Any

import numpy as np

from marsgen.generators import DEFAULT_SAMPLING, DrawConfig, DrawRequest, refuse_other_drawing
from marsgen.scenes.classes import ClassSet

VERSION = 2
"""raised when the look of composites changes, so that manifests tell the old from the new"""


class CopyPaste:
    """A `Generator` that returns the composites unchanged, in scene mode too."""

    name = "copy-paste"
    fingerprint = blake2b(f"copy-paste {VERSION}".encode(), digest_size=8).hexdigest()
    trained_on: tuple[str, ...] = ()

    drawing: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def __init__(self, classes: ClassSet, channels: int, draw: DrawConfig = DEFAULT_SAMPLING) -> None:
        """Raises: RunError: `draw` sets anything."""
        refuse_other_drawing(self.name, draw)
        self.classes = classes
        self.channels = channels

    def draw(self, request: DrawRequest) -> np.ndarray:
        """(B, h, w, channels) uint8: `request.composites`, whatever `request.inpainting_mask` says."""
        return request.composites
