"""What a picture may be: its least side and its channels; and how many pixels go through a network at once."""

MIN_SIDE_PX = 32
MOST_CHANNELS = 16
MOST_BATCH_PX = 2**22
"""pixels that go through a network together without being learned from, at most: 32 scenes of 256 x 512, two of 1200 x
1500; a U-Net of 32 channels takes about half a gigabyte for them"""


def is_channels(count: int) -> bool:
    """Whether a picture may have that many channels: grey, RGB, or 4 to 16 bands of a multispectral camera."""
    return count in (1, 3) or 4 <= count <= MOST_CHANNELS


def name_channels(count: int) -> str:
    """How messages call pictures of that many channels."""
    return {1: "grey", 3: "RGB"}.get(count, f"{count} bands")
