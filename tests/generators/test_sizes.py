"""Windows and batches that follow from the data."""

import numpy as np
import pytest
from listed_scenes import ListedScenes
from painted import Painted, painted_dataset

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.splits import Split
from marsgen.cleaning.survey import survey_scenes
from marsgen.generators.config import TrainPix2PixConfig
from marsgen.generators.sizes import sizes_of

OPEN = TrainPix2PixConfig()


def scenes_with(sides: list[int], shape: tuple[int, int] = (200, 300)) -> Dataset:
    """Scenes that show a rock of each side, 0 = none; one pixel of rock stands in a corner of all others."""
    maps = []
    for side in sides:
        labels = np.full(shape, 1, np.uint8)
        labels[20 : 20 + side, 30 : 30 + side // 2] = 4
        labels[-1, -1] = 4 if side else 1
        maps.append(labels)
    scenes = ListedScenes([np.random.default_rng(i).integers(0, 99, shape, np.uint8) for i in range(len(maps))], maps)
    return Dataset(scenes, survey_scenes(scenes), {}, Split(tuple(range(len(maps))), (), ()))


@pytest.mark.parametrize(
    ("sides", "crop", "batch"),
    [
        ([10] * 9, 64, 32),  # the smallest window
        ([60] * 9, 96, 12),
        ([40] * 18 + [66, 150], 80, 20),  # one in ten may be larger than the window
        ([150] * 9, 128, 8),  # the largest window
        ([0] * 9, 128, 8),  # nothing to go by
    ],
)
def test_windows_hold_regions_with_their_surroundings_and_a_step_has_as_many_pixels_as_ever(sides, crop, batch):
    found = sizes_of(OPEN, scenes_with(sides))
    assert (found.crop_px, found.batch_size) == (crop, batch)
    assert f"windows of {crop} x {crop} px (" in found.why
    assert f"{batch} a step" in found.why


def test_it_says_how_many_regions_fit():
    assert (
        "92% of the regions of big_rock fit with 16 px round them" in sizes_of(OPEN, scenes_with([60] * 11 + [150])).why
    )
    assert "no region of a rare class to go by" in sizes_of(OPEN, scenes_with([0] * 4)).why


def test_small_scenes_are_learned_from_whole_without_being_looked_at():
    scenes = Painted(8, shapes=((64, 128),))
    dataset = painted_dataset(scenes, 6)

    def refuse(index: int) -> None:
        raise AssertionError("a scene was read")

    scenes.before_read = refuse
    found = sizes_of(OPEN, dataset)
    assert (found.crop_px, found.batch_size) == (128, 16)
    assert found.why == "windows of 64 x 128 px (whole scenes), 16 a step"


def test_scenes_of_several_sizes_are_looked_at():
    found = sizes_of(OPEN, painted_dataset(Painted(9, shapes=((64, 300), (80, 300), (300, 64))), 9))
    assert (found.crop_px, found.batch_size) == (64, 32)


def test_what_is_set_stays():
    dataset = scenes_with([60] * 9)
    both = OPEN.model_copy(update={"crop_px": 40, "batch_size": 5})
    assert (sizes_of(both, dataset).crop_px, sizes_of(both, dataset).batch_size, sizes_of(both, dataset).why) == (
        40,
        5,
        "",
    )
    assert sizes_of(OPEN.model_copy(update={"crop_px": 64}), dataset).batch_size == 32
    assert sizes_of(OPEN.model_copy(update={"batch_size": 5}), dataset).crop_px == 96
