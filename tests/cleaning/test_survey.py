"""The survey: numbers written down by hand, and slow loops that have to agree."""

import numpy as np
import pytest
from listed_scenes import ListedScenes, fingerprint_scenes, noise_images

from marsgen.cleaning.details import block_means
from marsgen.cleaning.survey import survey_scenes, thumbnail
from marsgen.scenes.scene import scene_key


def test_pixels_and_keys_of_a_scene_counted_by_hand():
    labels = np.zeros((32, 40), np.uint8)
    labels[:, :10] = 1
    labels[4:6, 20:23] = 4
    image = noise_images(1, (32, 40))[0]
    survey = survey_scenes(ListedScenes([image, image], [labels, np.full_like(labels, 3)]))
    assert survey.pixels.tolist() == [[320, 0, 0, 6, 32 * 40 - 326], [0, 0, 32 * 40, 0, 0]]
    assert survey.shows.tolist() == [[True, False, False, True], [False, False, True, False]]
    assert survey.keys == (scene_key(image[..., None]),) * 2
    assert survey.label_keys[0] != survey.label_keys[1]
    assert len(survey) == 2


def test_a_thumbnail_knows_neither_exposure_nor_brightness():
    image = noise_images(1)[0][..., None]
    darker = (image // 2 + 7).astype(np.uint8)
    assert np.linalg.norm(thumbnail(image)) == pytest.approx(1, abs=1e-5)
    assert thumbnail(image).sum() == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(thumbnail(image), thumbnail(darker), atol=0.01)
    other = noise_images(1, seed=1)[0][..., None]
    assert abs(thumbnail(image) @ thumbnail(other)) < 0.5


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_a_flat_picture_has_a_thumbnail_of_zeros(grey):
    assert not thumbnail(np.full((50, 70, 3), grey, np.uint8)).any()


def test_block_means_of_a_size_that_does_not_divide():
    image = np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8)
    # every pixel as 8 x 16 small ones: then the cells hold whole numbers of them
    fine = image.mean(2).repeat(8, 0).repeat(16, 1)
    expected = fine.reshape(8, 33, 16, 50).mean((1, 3))
    np.testing.assert_allclose(block_means(image, 8, 16), expected, rtol=1e-4)


def test_sizes_may_differ_within_a_data_set():
    images = [noise_images(1, shape)[0] for shape in ((32, 32), (64, 128), (41, 333))]
    survey = survey_scenes(ListedScenes(images))
    assert survey.thumbnails.shape == (3, 128)
    assert survey.pixels[:, 0].tolist() == [1024, 8192, 41 * 333]


def test_fingerprints_are_those_of_each_picture():
    images = [noise_images(1, shape)[0] for shape in ((32, 32), (64, 128), (41, 333))]
    scenes = ListedScenes([*images, np.zeros((40, 40), np.uint8)])
    survey = survey_scenes(scenes)
    assert [row.tobytes() for row in survey.fingerprints] == fingerprint_scenes(scenes)
    assert not survey.fingerprints[3].any()
