"""Whether pictures are of the kind that a network was trained on; nothing heavy is imported for it."""

import logging
from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.raster_source import RasterSource
from marsgen.scenes.scene import SceneSource

_log = logging.getLogger(__name__)


def check_kind(scenes: SceneSource, segmenter: Path, channels: int, classes: ClassSet) -> None:
    """Refuse pictures of other channels, and warn of pictures that were made from other rasters, or from none.

    Args:
        segmenter: folder of the network's run, for the messages.
        channels, classes: what the network was trained on.
    Raises:
        DataError: other channels.
    """
    if scenes.channels != channels:
        raise DataError(
            f"{scenes.location}: images of {scenes.channels} channels; {segmenter} was trained on {channels}"
        )
    theirs, ours = _told_apart(scenes.classes.rasters), _told_apart(classes.rasters)
    if theirs != ours:
        words = "%s: %s; %s was trained on %s. What it predicts is right only for pictures read or made in that way"
        _log.warning(words, scenes.location, _describe(theirs), segmenter, _describe(ours))


def _told_apart(source: RasterSource | None) -> RasterSource | None:
    """None for rasters whose bytes are the pixels: a PNG holds the same."""
    return None if source is None or source.is_plain else source


def _describe(source: RasterSource | None) -> str:
    return "8-bit pictures without a known range or choice of bands" if source is None else source.describe()
