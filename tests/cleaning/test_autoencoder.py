"""The autoencoder: a picture unlike the others is drawn worst; the same seed draws the same."""

import math

import numpy as np
import pytest
import torch

from marsgen.cleaning.autoencoder import flag_errors, precision_and_recall, reconstruction_errors, shrink_scenes
from marsgen.scenes.sources import open_scenes


@pytest.fixture(scope="module")
def ramps() -> np.ndarray:
    """60 smooth pictures, (60, 32, 64) uint8; number 17 is a chessboard."""
    rng = np.random.default_rng(0)
    x, y = np.linspace(-1, 1, 64)[None, None], np.linspace(-1, 1, 32)[None, :, None]
    slope = rng.uniform(-30, 30, (60, 2, 1, 1))
    pictures = (100 + slope[:, 0] * x + slope[:, 1] * y).astype(np.uint8)
    pictures[17] = np.kron(np.indices((8, 16)).sum(0) % 2, np.ones((4, 4))) * 200 + 20
    return pictures


def test_what_is_unlike_the_rest_has_the_largest_error(ramps):
    errors = reconstruction_errors(ramps, steps=30, seed=0)
    assert errors.shape == (60,)
    assert errors.argmax() == 17
    assert flag_errors(errors, 1.5)[17]


def test_equal_seeds_give_equal_errors_and_leave_the_global_state_alone(ramps):
    before = torch.get_rng_state().clone(), torch.get_num_threads()
    first, again, other = (reconstruction_errors(ramps, steps=3, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_flags_by_hand():
    errors = np.exp(np.array([0.0, 1.0, 2.0, 3.0, 9.0]))  # median 2, median deviation 1, spread 1.4826
    assert flag_errors(errors, 1.5).tolist() == [False, False, False, False, True]
    assert not flag_errors(errors, 4.8).any()
    assert flag_errors(errors, 4.7).any()
    assert not flag_errors(np.ones(5), 1.0).any()


def test_precision_and_recall_by_hand():
    truth = np.array([True, True, False, False])
    assert precision_and_recall(np.array([True, False, True, False]), truth) == (0.5, 0.5)
    assert precision_and_recall(truth, truth) == (1, 1)
    precision, recall = precision_and_recall(np.zeros(4, bool), truth)
    assert math.isnan(precision)
    assert recall == 0
    assert math.isnan(precision_and_recall(truth, np.zeros(4, bool))[1])


def test_scenes_of_any_size_are_shrunk():
    assert shrink_scenes(open_scenes("sim:3,size=45x70,channels=3")).shape == (3, 32, 64)
