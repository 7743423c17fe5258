"""Two real data sets, opened as their authors publish them."""

from pathlib import Path

import numpy as np
import pytest

from marsgen.scenes.sources import open_scenes


@pytest.mark.real_data
@pytest.mark.slow
def test_magnetic_tiles_open_as_they_are(real_data: Path):
    scenes = open_scenes(str(real_data / "magnetic_tiles"))
    assert scenes.classes.names == ("background", "Blowhole", "Break", "Crack", "Fray", "Uneven")
    counts = np.array([[(scene.labels == number).any() for number in range(1, 6)] for scene in scenes]).sum(0)
    assert (len(scenes), counts.tolist()) == (796, [69, 54, 36, 17, 56])  # as the folders count them
    assert any("MT_Free: all masks are empty, so its 564 pictures show no class" in note for note in scenes.notes)


@pytest.mark.real_data
def test_camvid_opens_as_it_is(real_data: Path):
    scenes = open_scenes(str(real_data / "camvid_half"))
    assert scenes.parts is not None
    assert (scenes.parts.count("train"), scenes.parts.count("val"), scenes.shape) == (367, 101, (180, 240))
    assert scenes.classes.names[-1] == "bicyclist"
