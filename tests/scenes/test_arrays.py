"""Arrays in memory as a data set."""

import numpy as np
import pytest

from marsgen.core.errors import DataError
from marsgen.scenes.readers.arrays import ArrayScenes, class_set

CLASSES = class_set(["ok", "crack"], rare=["crack"])


def pairs(count: int = 3, shape: tuple[int, ...] = (32, 40)) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, np.uint8) for _ in range(count)]
    return images, [rng.integers(0, 2, shape[:2], np.uint8) for _ in range(count)]


def test_names_alone_make_a_class_set():
    assert (CLASSES.ids, CLASSES.ignored, CLASSES.rare) == ((0, 1), 255, ("crack",))
    many = class_set([f"c{i}" for i in range(255)])
    assert len(set(many.colours)) == 255


def test_what_goes_in_comes_out():
    images, labels = pairs()
    scenes = ArrayScenes(images, labels, CLASSES)
    assert (len(scenes), scenes.channels, scenes.shape) == (3, 1, (32, 40))
    for scene, image, ids in zip(scenes, images, labels, strict=True):
        np.testing.assert_array_equal(scene.image[..., 0], image)
        np.testing.assert_array_equal(scene.labels, ids)
    assert (ArrayScenes(images, None, CLASSES)[1].labels == 255).all()


def test_sizes_may_differ_and_colour_counts_may_not():
    (first, second), (one, two) = pairs(2, (32, 40, 3)), pairs(1, (48, 33, 3))
    assert ArrayScenes(first + one, second + two, CLASSES).shape is None
    with pytest.raises(DataError, match="scene-2 has 1 channels and scene-0 3"):
        ArrayScenes([*first, one[0][..., :1]], [*second, two[0]], CLASSES)


def test_one_other_pixel_is_another_fingerprint():
    images, labels = pairs()
    same = ArrayScenes(np.stack(images), np.stack(labels), CLASSES).fingerprint()
    assert same == ArrayScenes(images, labels, CLASSES).fingerprint()
    labels[2] = labels[2].copy()
    labels[2][0, 0] ^= 1
    assert same != ArrayScenes(images, labels, CLASSES).fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, k: ([], []), "no image"),
        (lambda i, k: (i, k[:1]), "1 label maps for 3 images"),
        (lambda i, k: ([x.astype(float) for x in i], k), "image is float64"),
        (lambda i, k: (i, [x + 5 for x in k]), r"label [56] at row 0, column 0 is not one of \[0, 1\]"),
        (lambda i, k: ([x[:20] for x in i], [x[:20] for x in k]), "20 x 40 pixels; at least 32 x 32"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    with pytest.raises(DataError, match=message):
        ArrayScenes(*change(*pairs()), CLASSES)


def test_names_are_unique_and_rare_classes_exist():
    images, labels = pairs()
    with pytest.raises(DataError, match="same name"):
        ArrayScenes(images, labels, CLASSES, names=["a", "b", "a"])
    with pytest.raises(DataError, match=r"no class 'craks' \(did you mean 'crack'\?\)"):
        class_set(["ok", "crack"], rare=["craks"])
