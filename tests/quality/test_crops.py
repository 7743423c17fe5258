"""Crops round regions: square, inside their scene, one for each region that is there."""

import numpy as np
import pytest

from marsgen.core.errors import DataError
from marsgen.quality.crops import RareRegion, crop_window, find_pasted, find_real, isolate
from marsgen.scenes.geometry import Box
from marsgen.scenes.scene import Scene, SceneSource
from marsgen.scenes.stated import mars_classes


class Painted(SceneSource):
    """Scenes of 64 x 128 with rocks (id 4) in given boxes on soil (id 1); pixels tell their row."""

    location, channels, shape = "painted", 1, (64, 128)

    def __init__(self, *rocks: tuple[Box, ...]) -> None:
        self.rocks, self.classes = rocks, mars_classes()
        self.names = tuple(str(i) for i in range(len(rocks)))

    def read(self, index):
        labels = np.ones((64, 128), np.uint8)
        for box in self.rocks[index]:
            labels[box.slices] = 4
        return np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 128, 1), labels

    def fingerprint(self):
        return "0" * 16


def test_a_crop_lies_round_the_middle_and_is_moved_inside_the_scene():
    assert crop_window(Box(30, 50, 34, 60), (200, 200), 64) == (0, 23, 64, 87)
    assert crop_window(Box(190, 190, 200, 200), (200, 200), 64) == (136, 136, 200, 200)


def test_pixels_beyond_a_small_scene_are_never_invented():
    assert crop_window(Box(10, 90, 20, 100), (40, 128), 64) == (0, 63, 40, 127)


def test_every_real_region_of_enough_pixels_is_found_once():
    scenes = Painted((Box(10, 20, 20, 30), Box(40, 100, 45, 105)), (), (Box(50, 60, 64, 70),))
    found = find_real(scenes, [0, 1, 2], "big_rock", min_px=26, side=32)
    assert [(region.scene, region.box) for region in found] == [(0, (10, 20, 20, 30)), (2, (50, 60, 64, 70))]
    assert [region.crop.shape for region in found] == [(32, 32, 1)] * 2
    np.testing.assert_array_equal(found[0].pixels[:, 0, 0], np.arange(10, 20))
    assert found[0].touches == (False,) * 4
    assert found[1].touches == (False, False, True, False)


def test_corners_that_meet_are_one_region():
    scenes = Painted((Box(10, 10, 20, 20), Box(20, 20, 30, 30)))
    (found,) = find_real(scenes, [0], "big_rock", 64, 32)
    assert found.box == (10, 10, 30, 30)
    assert found.mask.sum() == 200


def pasted(scene: Scene, *boxes):
    return find_pasted(scene, 3, [{"class": "big_rock", "box": box} for box in boxes], "big_rock", 32)


def test_a_pasted_region_is_what_its_window_shows_of_the_class():
    scene = Painted((Box(10, 20, 20, 30), Box(10, 32, 20, 40), Box(50, 100, 60, 110)))[0]
    (found,) = pasted(scene, [7, 17, 23, 33])  # its soft edge reaches into the next rock
    assert (found.scene, found.box) == (3, (10, 20, 20, 30))
    assert found.mask.all()


def test_real_rocks_and_other_classes_of_a_synthetic_scene_are_not_pasted_ones():
    scene = Painted((Box(10, 20, 20, 30), Box(50, 100, 60, 110)))[0]
    donors = [{"class": "sand", "box": [48, 98, 62, 112]}, {"class": "big_rock", "box": [8, 18, 22, 32]}]
    assert [region.box for region in find_pasted(scene, 0, donors, "big_rock", 32)] == [(10, 20, 20, 30)]


def test_a_window_without_the_class_gives_no_region():
    assert pasted(Painted(())[0], [0, 0, 10, 10]) == []


@pytest.mark.parametrize("box", [[0, 0, 65, 10], [5, 5, 5, 9], [1, 2, 3], None, ["a", 0, 1, 1]])
def test_a_box_that_is_no_window_of_its_scene_is_named(box):
    with pytest.raises(DataError, match=r"0: box .* is no window .* of a scene of 64 x 128 pixels"):
        pasted(Painted(())[0], box)


def test_an_isolated_region_shows_nothing_of_its_surroundings():
    mask = np.zeros((6, 10), bool)
    mask[1:5, 2:8] = True
    pixels = np.where(mask, 100, 255).astype(np.uint8)[..., None]
    region = RareRegion(0, "rock", Box(0, 0, 6, 10), mask, pixels, pixels, (False,) * 4)
    assert isolate(region, 16).shape == (16, 16, 1)
    assert (isolate(region, 16) == 100).all()
