"""What a run runs on: versions, threads, device, memory."""

import ctypes
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


_MOST_KEPT = 2**31 - 1  # bytes, the most that mallopt takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


@cache
def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed arrays for the next ones, up to 2 GiB; nothing where it is not glibc.

    Else it maps each activation of more than 32 MB anew, and the system clears its pages: a third of the time of an
    evaluation on a CPU. The process holds what it has used once, at most about a fifth more than without.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None, "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MOST_KEPT)
        mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
