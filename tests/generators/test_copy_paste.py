"""The baseline: composites come back as they are, and nothing heavy is loaded for it."""

import subprocess
import sys

import numpy as np
import pytest

from marsgen.generators import DrawRequest, find_generator
from marsgen.generators.copy_paste import CopyPaste
from marsgen.scenes.classes import ClassSet

CLASSES = ClassSet(("meadow", "boulder"), (1, 2), ((0, 90, 0), (90, 90, 90)), 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share_to_draw", [0.0, 0.5, 1.0])
def test_composites_come_back_as_they_are(channels, share_to_draw):
    rng = np.random.default_rng(0)
    composites = rng.integers(0, 256, (3, 32, 40, channels), dtype=np.uint8)
    request = DrawRequest(
        composites=composites.copy(),
        indices=rng.integers(0, 2, (3, 32, 40), dtype=np.uint8),
        inpainting_mask=(rng.random((3, 32, 40)) < share_to_draw).astype(np.float32),
        seeds=np.arange(3, dtype=np.uint64),
    )
    drawn = CopyPaste(CLASSES, channels).draw(request)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, composites)


def test_it_has_learned_nothing_and_says_who_it_is():
    generator = find_generator("copy-paste")(CLASSES, 3)
    assert (generator.name, generator.trained_on, generator.channels) == ("copy-paste", (), 3)
    assert generator.classes is CLASSES
    assert len(generator.fingerprint) == 16
    int(generator.fingerprint, 16)
    assert generator.fingerprint == CopyPaste(CLASSES, 1).fingerprint


def test_it_loads_without_torch():
    modules = "sys, marsgen.generators.copy_paste, marsgen.masks.blend"
    script = f"import {modules}; print(*{{'torch', 'skimage'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
