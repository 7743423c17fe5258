"""The procedural Mars keeps its promises: repeatable, of the right form, as rare and as noisy as it says."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from marsgen.scenes.simulate import MARS_IDS, SimulationConfig, is_outlier, simulate_scene, simulate_stop

BIG_ROCK = MARS_IDS["big_rock"]
CONFIG = SimulationConfig()


@pytest.fixture(scope="module")
def label_maps() -> np.ndarray:
    """(700, 64, 128) label maps of the default config."""
    return np.stack([simulate_scene(index, CONFIG)[1] for index in range(700)])


@pytest.fixture(scope="module")
def outlier_flags() -> np.ndarray:
    return np.array([is_outlier(index, CONFIG) for index in range(700)])


def digest(index: int, config: SimulationConfig) -> str:
    image, labels = simulate_scene(index, config)
    return hashlib.sha256(image.tobytes() + labels.tobytes()).hexdigest()


def test_same_bytes_in_any_order():
    forward = [digest(index, CONFIG) for index in range(12)]
    backward = [digest(index, CONFIG) for index in reversed(range(12))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 12


@pytest.mark.slow
def test_same_bytes_in_another_process():
    code = (
        "import hashlib; from marsgen.scenes.simulate import *; image, labels = simulate_scene(9, SimulationConfig());"
        "print(hashlib.sha256(image.tobytes() + labels.tobytes()).hexdigest())"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest(9, CONFIG)


def test_seed_changes_every_scene():
    other = SimulationConfig(seed=1)
    assert all(digest(index, CONFIG) != digest(index, other) for index in range(6))


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what must not change
    simulate_scene(3, CONFIG)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(64, 128, 1), (32, 32, 1), (32, 32, 3), (48, 33, 3), (33, 150, 1), (256, 256, 3)]
)
def test_form_at_every_size(height, width, channels):
    config = SimulationConfig(height, width, channels, rock_scene_fraction=1, outlier_fraction=0.2)
    ids = set()
    for index in range(12):
        image, labels = simulate_scene(index, config)
        assert image.shape == (height, width, channels)
        assert labels.shape == (height, width)
        assert image.dtype == labels.dtype == np.uint8
        assert image.std() > 1
        assert (labels == BIG_ROCK).any() != is_outlier(index, config)
        ids |= set(np.unique(labels).tolist())
    assert ids == set(MARS_IDS.values())


def test_colour_is_that_of_mars():
    config = SimulationConfig(channels=3)
    red, green, blue = np.mean([simulate_scene(index, config)[0].mean((0, 1)) for index in range(30)], 0)
    assert red > 1.15 * green > 1.15 * 1.15 * blue


@pytest.mark.slow
def test_every_ground_is_common_and_big_rocks_are_rare(label_maps, outlier_flags):
    shares = np.bincount(label_maps[~outlier_flags].ravel(), minlength=5) / label_maps[~outlier_flags].size
    assert shares.shape == (5,)
    assert all(0.15 < share < 0.42 for share in shares[:4])
    assert 0.0005 < shares[BIG_ROCK] < 0.004


@pytest.mark.slow
def test_share_of_rock_scenes(label_maps, outlier_flags):
    with_rock = (label_maps == BIG_ROCK).any((1, 2))
    assert not with_rock[outlier_flags].any()
    # 3 standard deviations of a share of 0.028 among some 1440 scenes
    assert abs(with_rock[~outlier_flags].mean() - CONFIG.rock_scene_fraction) < 0.013


def test_share_of_outliers(outlier_flags):
    assert abs(outlier_flags.mean() - CONFIG.outlier_fraction) < 0.016


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_none_and_all(share):
    config = SimulationConfig(32, 32, rock_scene_fraction=share, outlier_fraction=0)
    assert {bool((simulate_scene(index, config)[1] == BIG_ROCK).any()) for index in range(60)} == {share == 1}
    assert {is_outlier(index, SimulationConfig(outlier_fraction=share)) for index in range(60)} == {share == 1}


@pytest.mark.slow
def test_outliers_share_one_label_map_that_no_other_scene_has(label_maps, outlier_flags):
    nonsense = label_maps[outlier_flags]
    assert len(nonsense) > 20
    same = (label_maps == nonsense[0]).all((1, 2))
    assert np.array_equal(same, outlier_flags)
    other = SimulationConfig(seed=5, outlier_fraction=1)
    assert np.array_equal(simulate_scene(0, other)[1], nonsense[0])


def test_a_caller_may_change_what_it_gets():
    config = SimulationConfig(outlier_fraction=1)
    labels = simulate_scene(0, config)[1]
    expected = labels.copy()
    labels[:] = 0
    assert np.array_equal(simulate_scene(0, config)[1], expected)


def test_outliers_show_something_foreign():
    plain, pasted = SimulationConfig(outlier_fraction=0, rock_scene_fraction=0), SimulationConfig(outlier_fraction=1)
    for index in range(8):
        changed = simulate_scene(index, plain)[0].astype(int) - simulate_scene(index, pasted)[0]
        assert (abs(changed) > 10).mean() > 0.03


def test_label_noise_changes_labels_not_pictures():
    perfect = SimulationConfig(label_noise=0, rock_scene_fraction=0.5, outlier_fraction=0)
    crowd = SimulationConfig(label_noise=1, rock_scene_fraction=0.5, outlier_fraction=0)
    unlabelled = []
    for index in range(40):
        (clean_image, truth), (image, marked) = simulate_scene(index, perfect), simulate_scene(index, crowd)
        assert np.array_equal(clean_image, image)
        assert (truth == BIG_ROCK).any() == (marked == BIG_ROCK).any()
        unlabelled.append([(truth == 0).mean(), (marked == 0).mean()])
    clean_fraction, crowd_fraction = np.mean(unlabelled, 0)
    assert crowd_fraction > clean_fraction + 0.08


def test_big_rocks_are_not_given_away_by_brightness():
    config = SimulationConfig(label_noise=0, rock_scene_fraction=1, outlier_fraction=0, scenes_per_stop=1)
    brighter, rougher = [], []
    for index in range(60):
        image, labels = simulate_scene(index, config)
        rock, ground = image[labels == BIG_ROCK].astype(float), image[(labels > 0) & (labels != BIG_ROCK)].astype(float)
        brighter.append(rock.mean() > ground.mean())
        rougher.append(rock.std() > ground.std())
    assert 0.1 < np.mean(brighter) < 0.9
    assert np.mean(rougher) > 0.5  # shaded sides and grain


def test_scenes_of_a_stop_are_consecutive_and_alike():
    config = SimulationConfig(scenes_per_stop=5, outlier_fraction=0)
    stops = [simulate_stop(index, config) for index in range(100)]
    assert stops[0] == stops[4] != stops[5]
    assert len(set(stops)) == 20
    brightness = np.array([simulate_scene(index, config)[0].mean() for index in range(100)]).reshape(20, 5)
    assert brightness.std(1).mean() < 0.6 * brightness.mean(1).std()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 31}, "height is 31; expected an integer of at least 32"),
        ({"width": 0}, "width is 0; expected an integer of at least 32"),
        ({"channels": 2}, "channels is 2; expected 1"),
        ({"seed": -1}, "seed is -1; expected an integer of at least 0"),
        ({"scenes_per_stop": 0}, "scenes_per_stop is 0; expected an integer of at least 1"),
        ({"rock_scene_fraction": 1.1}, r"rock_scene_fraction is 1.1; expected a share in 0\.\.1"),
        ({"outlier_fraction": -0.1}, r"outlier_fraction is -0.1; expected a share in 0\.\.1"),
        ({"label_noise": float("nan")}, r"label_noise is nan; expected a share in 0\.\.1"),
    ],
)
def test_bad_config_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        SimulationConfig(**change)


@pytest.mark.parametrize("function", [simulate_scene, simulate_stop, is_outlier])
def test_negative_index_is_named(function):
    with pytest.raises(ValueError, match="scene index is -1; expected 0 or more"):
        function(-1, CONFIG)
