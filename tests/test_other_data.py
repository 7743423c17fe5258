"""The whole path on somebody else's data: RGB, an odd size, other ids, palette label maps, two rare classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_flow import ROOT, call

CLASSES = """
ignored: 255
rare: [coin, key]
classes:
  - {name: table, id: 7, colour: [120, 80, 40]}
  - {name: cloth, id: 200, colour: [40, 90, 160]}
  - {name: coin, id: 9, colour: [250, 210, 60]}
  - {name: key, id: 0, colour: [200, 30, 30]}
"""
COLOURS = {"table": (120, 80, 40), "cloth": (40, 90, 160), "coin": (250, 210, 60), "key": (200, 30, 30)}
HEIGHT, WIDTH = 50, 70


def paint(index: int) -> tuple[Image.Image, Image.Image]:
    """A picture with noise and its label map in palette colours; every third has a coin, every fourth a key."""
    rng = np.random.default_rng(index)
    labels = Image.new("RGB", (WIDTH, HEIGHT), COLOURS["table"])
    draw = ImageDraw.Draw(labels)
    draw.rectangle([0, int(rng.integers(20, 40)), WIDTH, HEIGHT], fill=COLOURS["cloth"])
    x, y = (int(v) for v in rng.integers(12, 36, 2))
    if index % 3 == 0:
        draw.ellipse([x, y, x + 13, y + 11], fill=COLOURS["coin"])
    elif index % 4 == 0:
        draw.rectangle([x, y, x + 14, y + 9], fill=COLOURS["key"])
    draw.rectangle([0, 0, WIDTH, 3], fill=(32, 32, 32))  # no label
    pixels = np.asarray(labels, np.int16) * 0.7 + rng.normal(30, 12, (HEIGHT, WIDTH, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), labels


@pytest.fixture(scope="module")
def table_top(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table_top")
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for index in range(60):
        image, labels = paint(index)
        image.save(folder / "images" / f"photo_{index:02d}.png")
        labels.save(folder / "labels" / f"photo_{index:02d}.png")
    (folder / "classes.yaml").write_text(CLASSES)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_whole_path_on_rgb_folders_with_two_rare_classes(table_top, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny, share = ROOT / "configs" / "tiny", ["--set", "data.test_fraction=0.2"]
    data = ["--data", str(table_top)]
    steps = [
        ["marsgen", "inspect", *data, "--set", "autoencoder_steps=0"],
        [
            "marsgen",
            "train-generator",
            *data,
            *share,
            "--config",
            str(tiny / "train-generator.yaml"),
            "--set",
            "steps=3",
        ],
        ["marsgen", "synthesize", "--class", "coin", "--class", "key", "--n", "20", "--mode", "scene"],
        ["segmenter", "train", *data, *share, "--config", str(tiny / "segmenter.yaml"), "--set", "steps=8"]
        + ["--extra", "outputs/synth", "--out", "outputs/with"],
        ["segmenter", "evaluate", "outputs/with", *data],
        ["segmenter", "predict", "outputs/with", *data],
    ]
    for words in steps:
        assert call(*words) == 0, capsys.readouterr().err

    from marsgen.scenes.sources import open_scenes

    made = open_scenes("outputs/synth")
    assert (made.shape, made.channels, len(made)) == ((HEIGHT, WIDTH), 3, 20)
    pasted = np.array([[(scene.labels == number).sum() for number in (9, 0)] for scene in made])
    assert (pasted.sum(1) > 40).all()
    assert (pasted.sum(0) > 200).all()  # both classes were pasted

    first = np.asarray(Image.open(next(Path("outputs").glob("predictions-with-*/labels/*.png"))))
    assert first.shape == (HEIGHT, WIDTH)
    assert set(np.unique(first)) <= {7, 200, 9, 0}
