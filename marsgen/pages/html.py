"""What every html page needs: templates, colours, and pictures inside the file.

A page is one file without scripts that fetches nothing. templates/page.html.j2 is its frame, templates/page.css its
style, templates/parts.html.j2 holds macros that several pages use.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
PNG_PREFIX = "data:image/png;base64,"
"""start of every picture address that `png_address` returns"""


@dataclass(frozen=True)
class SampleFigure:
    """Pictures side by side with a caption; drawn by the macro `samples` of parts.html.j2."""

    pictures: tuple[str, ...]
    """addresses from `png_address`: one, two, or four in two rows"""
    caption: str
    detail: str = ""
    """second line of the caption"""


def open_template(name: str, folder: Path = TEMPLATES) -> Template:
    """Open a template. Text is escaped unless it is Markup; a variable that is not given is an error.

    Args:
        name: such as "report.html.j2".
        folder: where it lies; page.html.j2, page.css and parts.html.j2 of this package can be used in it.
    Raises:
        jinja2.TemplateNotFound: no such file.
    """
    return _environment(folder).get_template(name)


@cache
def _environment(folder: Path) -> Environment:
    """Keeps the templates that it has compiled."""
    return Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def hex_colour(colour: Sequence[int]) -> str:
    """(red, green, blue), each 0..255 -> such as "#aa7846"."""
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


def png_address(picture: np.ndarray) -> str:
    """A data address that holds the picture.

    Args:
        picture: (H, W, 1 or 3) uint8.
    """
    grey = (picture == picture[..., :1]).all()  # one channel then: a third of the bytes
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).save(buffer, "PNG")
    return PNG_PREFIX + base64.b64encode(buffer.getvalue()).decode("ascii")


def fit_width(picture: np.ndarray, width_px: int) -> np.ndarray:
    """Bring a picture near a width, without new colours: pixels are repeated, or only every n-th is kept.

    Args:
        picture: (H, W, channels) or (H, W), any type.
    Returns:
        array of the same type, between 2/3 and 3/2 of `width_px` wide.
    """
    up, down = max(1, round(width_px / picture.shape[1])), max(1, round(picture.shape[1] / width_px))
    return picture[::down, ::down].repeat(up, 0).repeat(up, 1)


def brighten(image: np.ndarray) -> np.ndarray:
    """A picture to look at: of a grey one, the darkest and the brightest hundredth become black and white.

    A colour picture keeps its colours, which black taken away would change, and differently in every picture: all
    channels are multiplied by one factor, so that the brightest hundredth becomes as bright as can be.

    Args:
        image: (H, W, 1 or 3) uint8.
    Returns:
        (H, W, 3) uint8.
    """
    grey = image.shape[2] == 1 or (image == image[..., :1]).all()
    low, high = np.percentile(image, [1, 99])
    low = low if grey else 0
    stretched = np.clip((image - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    return np.broadcast_to(stretched, (*image.shape[:2], 3))


def outline(picture: np.ndarray, mask: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    """Draw a line of two pixels around a mask, with a dark rim of one pixel; pixels of the mask stay as they are.

    Args:
        picture: (H, W, 3) uint8; for a scaled picture, scale the mask by `fit_width` too.
        mask: (H, W) bool; all False = nothing is drawn.
        colour: red, green, blue of the line.
    Returns:
        (H, W, 3) uint8, a copy.
    """
    from scipy import ndimage  # here: slow to import, and pages without pictures do not need it

    line = ndimage.binary_dilation(mask, iterations=2)
    drawn = picture.copy()
    drawn[ndimage.binary_dilation(line) & ~line] = 0
    drawn[line & ~mask] = colour
    return drawn
