"""What a process runs on."""

import subprocess
import sys

import pytest

LOOP = """
import platform, resource, sys
import numpy as np
from marsgen.core.environment import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def fill():
    np.empty(64 << 20, np.uint8).fill(1)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_used_again_and_not_mapped_anew():
    faults = {
        word: int(subprocess.run([sys.executable, "-c", LOOP, word], check=True, capture_output=True, text=True).stdout)
        for word in ("keep", "leave")
    }
    assert 20 * faults["keep"] < faults["leave"]
