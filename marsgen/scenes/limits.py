"""What a picture may be: its least side, and how many channels it has."""

MIN_SIDE_PX = 32
MOST_CHANNELS = 16


def is_channels(count: int) -> bool:
    """Whether a picture may have that many channels: grey, RGB, or 4 to 16 bands of a multispectral camera."""
    return count in (1, 3) or 4 <= count <= MOST_CHANNELS


def name_channels(count: int) -> str:
    """How messages call pictures of that many channels."""
    return {1: "grey", 3: "RGB"}.get(count, f"{count} bands")
