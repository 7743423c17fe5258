"""Parts of pages: templates that escape, pictures that decode to what they were made of."""

import base64
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from marsgen.pages.html import PNG_PREFIX, brighten, fit_width, hex_colour, open_template, outline, png_address


def decoded(address: str) -> np.ndarray:
    assert address.startswith(PNG_PREFIX)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix(PNG_PREFIX)))))


def test_a_template_of_another_folder_uses_the_shared_frame_and_escapes(tmp_path):
    text = '{% extends "page.html.j2" %}{% block title %}{{ name }}{% endblock %}{% block content %}<p>{% endblock %}'
    (tmp_path / "mine.html.j2").write_text(text)
    template = open_template("mine.html.j2", tmp_path)
    page = template.render(name="<script>")
    assert "<title>&lt;script&gt;</title>" in page
    assert ".verdict.helps {" in page  # page.css, unescaped
    assert "<p>" in page
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        template.render()


def test_a_picture_survives_its_address():
    rng = np.random.default_rng(0)
    colours, grey = rng.integers(0, 256, (5, 7, 3), np.uint8), rng.integers(0, 256, (5, 7, 1), np.uint8)
    np.testing.assert_array_equal(decoded(png_address(colours)), colours)
    np.testing.assert_array_equal(decoded(png_address(grey)), grey[..., 0])
    np.testing.assert_array_equal(decoded(png_address(grey.repeat(3, 2))), grey[..., 0])


@pytest.mark.parametrize(("width", "fitted"), [(128, 256), (100, 300), (256, 256), (300, 300), (512, 256), (1000, 250)])
def test_pictures_come_near_the_width_asked_for(width, fitted):
    picture = np.arange(width, dtype=np.int32)[None].repeat(4, 0)
    scaled = fit_width(picture, 256)
    assert scaled.shape[1] == fitted
    assert set(scaled.ravel()) <= set(picture.ravel())
    assert (np.diff(scaled, axis=1) >= 0).all()


def test_an_outline_lies_around_the_mask():
    picture, mask = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), bool)
    mask[4, 4] = True
    drawn = outline(picture, mask, (255, 0, 0))
    steps = abs(np.arange(9) - 4)[:, None] + abs(np.arange(9) - 4)[None]  # city blocks from the middle
    red, rim = (steps == 1) | (steps == 2), steps == 3
    assert (drawn[red] == (255, 0, 0)).all()
    assert (drawn[rim] == 0).all()
    assert (drawn[~red & ~rim] == 100).all()
    assert (picture == 100).all()
    np.testing.assert_array_equal(outline(picture, np.zeros((9, 9), bool), (255, 0, 0)), picture)


def test_grey_pictures_are_stretched_to_black_and_white():
    image = np.linspace(100, 140, 1000).astype(np.uint8).reshape(20, 50, 1)
    stretched = brighten(image)
    assert stretched.shape == (20, 50, 3)
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert (np.diff(stretched[..., 0].ravel().astype(int)) >= 0).all()
    assert (brighten(np.full((4, 4, 1), 7, np.uint8)) == 0).all()  # no contrast, no division by zero
    in_three = image.repeat(3, 2)
    assert (brighten(in_three) == stretched).all()


def test_colour_pictures_keep_their_colours():
    stained = np.zeros((20, 50, 3), np.uint8)
    stained[:, :40] = (120, 60, 60)  # all of it far from black
    stained[:, 40:] = (100, 50, 120)
    shown = brighten(stained).astype(float)
    assert shown.max() == 255
    assert np.allclose(shown / shown.sum(2, keepdims=True), stained / stained.sum(2, keepdims=True), atol=0.01)
    bright = np.where(stained > 0, 250, 20).astype(np.uint8)
    bright[:10] = (200, 100, 100)
    other = bright.copy()
    other[15:] = (60, 20, 80)  # a dark thing elsewhere
    assert (brighten(bright)[:10] == brighten(other)[:10]).all()


def test_a_colour_in_hex():
    assert hex_colour((170, 8, 255)) == "#aa08ff"
