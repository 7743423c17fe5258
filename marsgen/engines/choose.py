"""The engine that --workers, --on and --per-job ask for."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

from marsgen.core.config import build_config
from marsgen.core.errors import ConfigError
from marsgen.engines.task import Engine, PerJob


def open_engine(workers: int | None, on: str | None, per_job: str | None, folder: Path) -> Engine:
    """A local pool, or with `on` a Ray cluster.

    Args:
        workers: tasks side by side on this machine; None = as many as fit.
        on: ray, or ray://HOST:PORT.
        per_job: what each task needs, such as "cpus=2,gpus=0.25".
        folder: what the tasks write into; one engine on a cluster works in it at a time.
    Raises:
        ConfigError: options that no engine understands, or no Ray here.
        RunError: no cluster there, or another engine works in the folder.
    """
    needs = read_needs(workers, on, per_job)
    if on is None:
        from marsgen.engines.local_pool import LocalPool

        return LocalPool(workers, needs)
    from marsgen.engines.ray_cluster import RayCluster

    return RayCluster(on, needs, folder)


def read_needs(workers: int | None, on: str | None, per_job: str | None) -> PerJob:
    """What each task needs; nothing is opened yet.

    Raises:
        ConfigError: see `open_engine`.
    """
    needs = build_config(PerJob, _parse(per_job), "--per-job") if per_job else PerJob()
    if on is not None and workers is not None:
        raise ConfigError("--workers is of this machine, and --on names a cluster; say with --per-job how many fit")
    if on is not None and on != "ray" and not on.startswith("ray://"):
        raise ConfigError(f"--on {on}: expected ray, or ray://HOST:10001")
    return needs


def refuse_idle_needs(workers: int | None, on: str | None, per_job: str | None) -> None:
    """Raise ConfigError for options that no engine understands, and for needs of jobs where none is named."""
    if workers is None and on is None and per_job is not None:
        raise ConfigError("--per-job: nothing is started without --workers or --on; give one of them")
    read_needs(workers, on, per_job)


@contextmanager
def open_engine_if_named(
    workers: int | None, on: str | None, per_job: str | None, folder: Path
) -> Iterator[Engine | None]:
    """The engine of `open_engine`, or None where no option names one."""
    refuse_idle_needs(workers, on, per_job)
    if workers is None and on is None:
        yield None
        return
    refuse_torchrun()
    with closing(open_engine(workers, on, per_job, folder)) as engine:
        yield engine


def refuse_torchrun() -> None:
    """Raise ConfigError where torchrun has started several of this command."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("this command starts its own processes; leave out torchrun and say how many with --workers")


def _parse(text: str) -> dict[str, object]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key.strip() and value.strip() for key, _, value in pairs):
        raise ConfigError(f"--per-job {text}: expected a list such as cpus=1,gpus=0.25,memory_gb=4")
    try:
        return {key.strip(): yaml.safe_load(value) for key, _, value in pairs}
    except yaml.YAMLError:
        raise ConfigError(f"--per-job {text}: expected a list such as cpus=1,gpus=0.25,memory_gb=4") from None
