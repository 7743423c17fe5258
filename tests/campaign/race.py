"""Processes that race for one lock, and whoever holds it looks whether another one does too."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from marsgen.core.storage.lock import take_lock


def try_once(path: Path) -> Callable[[], None] | None:
    """Take the lock; what releases it, or None."""
    lock = take_lock(path)
    return None if lock is None else lock.release


def count_double_holders(
    folder: Path, rounds: int, writers: int = 3, take: Callable[[Path], Callable[[], None] | None] = try_once
) -> tuple[int, int]:
    """Let `writers` processes take the lock of `folder` `rounds` times in all.

    Returns:
        (times that the lock was held, times that somebody else held it then).
    """
    held, doubled = multiprocessing.Value("l", 0), multiprocessing.Value("l", 0)
    context = multiprocessing.get_context("fork")
    racers = [
        context.Process(target=_race, args=(folder, rounds, seed, held, doubled, take), daemon=True)
        for seed in range(writers)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return held.value, doubled.value


def _race(folder: Path, rounds: int, seed: int, held, doubled, take) -> None:  # type: ignore[no-untyped-def]
    # without the lock's own means: a file that can be made only once
    witness = folder.parent / f"{folder.name}.held"
    rng = random.Random(seed)
    while held.value < rounds:
        release = take(folder / ".lock")
        if release is None:
            time.sleep(rng.random() * 1e-4)
            continue
        with held.get_lock():
            held.value += 1
        try:
            os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            with doubled.get_lock():
                doubled.value += 1
        else:
            time.sleep(rng.random() * 3e-4)
            witness.unlink(missing_ok=True)
        release()
