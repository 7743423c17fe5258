"""Numbers of numpy among plain values, told without importing numpy, which takes a third of a short command."""

import sys
from typing import Any


def is_numpy(value: Any, kind: str) -> bool:
    """Whether a value is of a type of numpy, by its name there; numpy is not imported for it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, kind))
