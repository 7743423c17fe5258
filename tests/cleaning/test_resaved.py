"""Copies in another file are found with the picture they are of; other pictures are not."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed_scenes import ListedScenes, fingerprint_scenes, noise_images
from PIL import Image

from marsgen.cleaning.fingerprints import FINGERPRINT_BYTES, fingerprint_picture
from marsgen.cleaning.resaved import (
    SAME_PICTURE,
    SURELY_SAME,
    PictureCopy,
    find_copies,
    least_agreement,
    more_than_chance,
)
from marsgen.scenes.simulate import SimulationConfig, simulate_scene


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """24 simulated pictures of different ground, (96, 160, 1)."""
    config = SimulationConfig(height=96, width=160, outlier_fraction=0, scenes_per_stop=1)
    return [simulate_scene(index, config)[0] for index in range(24)]


@pytest.fixture(scope="module")
def known(pictures) -> list[bytes]:
    return fingerprint_scenes(ListedScenes(pictures))


def saved_again(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))[..., None]


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image[..., 0]).resize(size, Image.Resampling.BILINEAR))[..., None]


def cropped(image: np.ndarray, top: int = 4, left: int = 7, bottom: int = 3, right: int = 6) -> np.ndarray:
    return image[top : image.shape[0] - bottom, left : image.shape[1] - right]


CHANGES = {
    "the file as it is": lambda image: image,
    "jpeg": lambda image: saved_again(image, 75),
    "half the size": lambda image: resized(image, 0.5),
    "larger jpeg": lambda image: saved_again(resized(image, 1.6), 80),
    "crop": cropped,
    "small crop of one side": lambda image: cropped(image, 0, 0, 9, 0),
    "crop, half the size, jpeg": lambda image: saved_again(resized(cropped(image), 0.5), 85),
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "colour": lambda image: image.repeat(3, 2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_with_its_original(change, pictures, known):
    asked = ListedScenes([np.ascontiguousarray(change(image)) for image in pictures])
    found = find_copies(known, asked)
    assert all(copy.asked == copy.known for copy in found)
    assert len(found) >= 22  # of 24: a picture of bland ground may be lost
    assert all(SAME_PICTURE <= copy.agreement <= 1 for copy in found)


def test_the_original_of_a_known_crop_is_found(pictures):
    known = fingerprint_scenes(ListedScenes([np.ascontiguousarray(cropped(image)) for image in pictures]))
    found = find_copies(known, ListedScenes(pictures))
    assert all(copy.asked == copy.known for copy in found)
    assert len(found) >= 22


def test_other_pictures_are_not_taken_for_copies(pictures, known):
    config = SimulationConfig(height=96, width=160, outlier_fraction=0, scenes_per_stop=1, seed=8)
    others = ListedScenes([simulate_scene(index, config)[0] for index in range(24)])
    assert find_copies(known, others) == []
    assert find_copies(known, ListedScenes(noise_images(10))) == []


def test_only_the_scenes_named_are_looked_at(pictures, known):
    assert find_copies(known[:3], ListedScenes(pictures), [2, 5]) == [PictureCopy(2, 2, 1.0)]
    assert find_copies([], ListedScenes(pictures)) == []


def test_flat_pictures_match_nothing(known):
    flat = np.full((64, 64, 1), 90, np.uint8)
    assert fingerprint_picture(flat) == bytes(FINGERPRINT_BYTES)
    assert find_copies([*known, fingerprint_picture(flat)], ListedScenes([flat, flat + 1])) == []


@settings(max_examples=25)
@given(st.integers(32, 200), st.integers(32, 200), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_any_picture_is_its_own_copy(height, width, channels, seed):
    cells = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), channels), np.uint8)
    image = cells.repeat(8, 0).repeat(8, 1)[:height, :width]
    fingerprint = fingerprint_picture(image)
    assert len(fingerprint) == FINGERPRINT_BYTES
    assert find_copies([fingerprint], ListedScenes([image])) == [PictureCopy(0, 0, 1.0)]


def parts_lit_alike(number: int, seed: int) -> list[np.ndarray]:
    """Pictures of one kind of part: the same light on all, and scratches of their own that are fainter."""
    rng = np.random.default_rng(seed)
    light = 40 * noise_images(1, (96, 96), seed=5)[0].astype(float) / 200
    pictures = [light + 12 * noise.astype(float) / 200 for noise in noise_images(number, (96, 96), seed=seed)]
    return [np.clip(90 + p + rng.normal(0, 1, p.shape), 0, 255).astype(np.uint8)[..., None] for p in pictures]


def test_what_counts_as_the_same_is_learned_where_all_pictures_are_alike():
    """Met on magnetic tiles: other tiles under the same light agreed by 0.8, and no score was given on them."""
    first, second = parts_lit_alike(40, seed=1), parts_lit_alike(40, seed=2)
    known = fingerprint_scenes(ListedScenes(first))
    by_constant = find_copies(known, ListedScenes(second), least=SAME_PICTURE)
    assert more_than_chance(len(by_constant), 40)
    assert least_agreement(known) > SAME_PICTURE
    assert not more_than_chance(len(find_copies(known, ListedScenes(second))), 40)
    again = ListedScenes([saved_again(image, 90) for image in first])
    assert [copy.known for copy in find_copies(known, again)] == list(range(40))


def test_what_counts_as_the_same_is_not_learned_from_few_or_varied_pictures(known):
    alike = fingerprint_scenes(ListedScenes(parts_lit_alike(20, seed=1)))
    assert least_agreement(alike) == SAME_PICTURE
    assert least_agreement(known * 2) == SAME_PICTURE
    assert least_agreement(fingerprint_scenes(ListedScenes(parts_lit_alike(1, seed=1) * 40))) == SURELY_SAME


def test_single_matches_may_be_chance_and_many_are_not():
    assert not more_than_chance(0, 10)
    assert not more_than_chance(3, 300)
    assert more_than_chance(12, 300)
    assert more_than_chance(3, 10)


@pytest.mark.real_data
def test_tiles_of_other_places_are_no_more_alike_than_chance(real_data):
    train = np.load(real_data / "mars_for_students.npz")["training_set"][::5, 0]
    test = np.load(real_data / "mars_dev_test.npz")["images"][::30]
    found = find_copies(fingerprint_scenes(ListedScenes(list(train))), ListedScenes(list(test)))
    assert not more_than_chance(len(found), len(test))
    again = ListedScenes([saved_again(image[..., None], 75) for image in train[:60]])
    found = find_copies(fingerprint_scenes(ListedScenes(list(train))), again)
    assert len(found) >= 57
    assert sum(copy.asked == copy.known for copy in found) >= len(found) - 1
