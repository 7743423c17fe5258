"""What a run ran on: versions, threads, device."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_VERSIONED = (
    *("marsgen", "torch", "torchvision", "accelerate", "diffusers", "numpy", "scikit-image"),
    *("segmentation-models-pytorch", "timm"),
)


@cache
def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in _VERSIONED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def environment() -> dict[str, Any]:
    """The content of environment.json."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": dict(_versions()),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
