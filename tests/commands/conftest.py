"""One generator for all tests of the playground."""

from pathlib import Path

import pytest
from playground_pages import make_place


@pytest.fixture(scope="session")
def place(tmp_path_factory, tiny_npz) -> Path:
    """See `make_place`."""
    return make_place(tmp_path_factory.mktemp("playground"), tiny_npz)
