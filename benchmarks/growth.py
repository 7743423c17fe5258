"""Time and memory per scene, per pair and per run of a study at 1, 10 and 100 times the number.

    python benchmarks/growth.py
    python benchmarks/growth.py --parts candidates survey

Each number runs in a process of its own; printed are CPU time per item and by how much the most memory held grew, after
imports and the making of the data. What grows in proportion to the number has equal times. Scenes are noise of 32 x 64
pixels, so that files and networks count little.

    survey      reading, keys, pixels per class and thumbnails of each scene
    candidates  thumbnails that are near enough for a closer look, among N random ones
    pairs       copy-paste pairs in shards
    runs        300 resamples of the scores of N runs on 500 test scenes, as a study's report draws them
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {"survey": 100, "candidates": 1000, "pairs": 40, "runs": 2}
"""part -> the number of items that is 1x"""


def random_source(number: int, folder: Path) -> Any:
    """An npz of noise with a rare class in every tenth scene."""
    import numpy as np

    from marsgen.scenes.sources import open_scenes

    rng = np.random.default_rng(0)
    labels = np.ones((number, 32, 64), np.uint8)
    labels[::10, 12:22, 20:34] = 4
    np.savez(folder / "data.npz", images=rng.integers(0, 255, labels.shape, np.uint8), labels=labels)
    return open_scenes(str(folder / "data.npz"))


def survey(number: int, folder: Path) -> Callable[[], object]:
    from marsgen.cleaning.survey import survey_scenes

    scenes = random_source(number, folder)
    return lambda: survey_scenes(scenes)


def candidates(number: int, folder: Path) -> Callable[[], object]:
    import numpy as np

    from marsgen.cleaning.near_duplicates import _candidates

    thumbnails = np.random.default_rng(0).normal(size=(number, 128)).astype(np.float32)
    thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)
    return lambda: _candidates(thumbnails, thumbnails, same=True)


def pairs(number: int, folder: Path) -> Callable[[], object]:
    import marsgen.synthesis.synthesize  # noqa: F401  # torch and all that the work imports
    from marsgen import api

    scenes = random_source(100, folder)
    settings = {"format": "shards", "data.suspects": "keep", "data.near_duplicate_similarity": 1.0}
    return lambda: api.synthesize(
        scenes, "copy-paste", classes=["big_rock"], n=number, out=folder / "set", settings=settings
    )


def runs(number: int, folder: Path) -> Callable[[], object]:
    import numpy as np

    from segmenter.results.statistics.bootstrap import resample_arms

    arms = list(np.random.default_rng(0).integers(0, 500, (number, 1, 500, 5, 4)).astype(np.float64))
    return lambda: resample_arms(arms, 300, 0)


PARTS = {"survey": survey, "candidates": candidates, "pairs": pairs, "runs": runs}


def measure(part: str, number: int) -> None:
    """In this process: print CPU seconds of the work, and by how many bytes the most memory held grew."""
    with tempfile.TemporaryDirectory() as folder:
        work = PARTS[part](number, Path(folder))
        start = _used()
        work()
        end = _used()
    print(json.dumps([end[0] - start[0], end[1] - start[1]]))


def _used() -> tuple[float, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--times", nargs="+", type=int, default=[1, 10, 100])
    parser.add_argument("--measure", nargs=2, metavar=("PART", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure[0], int(options.measure[1]))
    for part in options.parts:
        first = 0.0
        for times in options.times:
            number = SIZES[part] * times
            words = [sys.executable, __file__, "--measure", part, str(number)]
            environment = {**os.environ, "MARSGEN_CACHE": os.devnull, "TQDM_DISABLE": "1"}
            done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            seconds, memory = json.loads(done.stdout.splitlines()[-1])
            first = first or seconds / number
            print(
                f"{part:<10} {number:>6}  {1e3 * seconds / number:8.3f} ms each ({seconds / number / first:5.2f} times "
                f"the first)  {memory / 2**20:6.1f} MB more, {memory / 1024 / number:8.2f} kB each",
                flush=True,
            )


if __name__ == "__main__":
    main()
