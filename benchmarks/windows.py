"""Sliding windows over pictures one by one: several windows of a picture at a time beside one at a time.

    python benchmarks/windows.py outputs/tiles --data magnetic_tiles --n 3

Both take turns in one process; printed are the ratios of CPU seconds of one thread, turn by turn, and how many pixels
get another class, since a pass of eight windows rounds in another way than one of one.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from marsgen.scenes.sources import open_scenes
from segmenter.config import InferenceConfig
from segmenter.inference import sliding_window
from segmenter.inference.predict import load_segmenter, predict_probs


def main() -> None:
    """Print a line for each size of window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `segmenter train`")
    parser.add_argument("--data", required=True, help="pictures larger than the windows")
    parser.add_argument("--n", type=int, default=3, help="pictures, spread over all")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--windows", type=int, nargs="+", default=[64, 128], help="sides in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, scenes = load_segmenter(options.run)[0], open_scenes(options.data)
    pictures = [scenes.read(int(index))[0] for index in np.linspace(0, len(scenes) - 1, options.n)]
    several = sliding_window.WINDOWS
    for side in options.windows:
        ask, ratios, probs = InferenceConfig(window=(side, side)), [], {}
        for _ in range(options.turns):
            taken = {}
            for sliding_window.WINDOWS in (1, several):
                began = time.process_time()
                probs[sliding_window.WINDOWS] = [predict_probs(network, picture[None], ask)[0] for picture in pictures]
                taken[sliding_window.WINDOWS] = time.process_time() - began
            ratios.append(taken[1] / taken[several])
        pairs = list(zip(probs[1], probs[several], strict=True))
        other = sum(int((one.argmax(0) != eight.argmax(0)).sum()) for one, eight in pairs)
        most = max(float(np.abs(one - eight).max()) for one, eight in pairs)
        print(
            f"windows of {side} px: {statistics.median(ratios):.2f} times as fast, {min(ratios):.2f} to "
            f"{max(ratios):.2f}; {other} of {sum(one[0].size for one, _ in pairs):,} pixels of another class, "
            f"probabilities differ by {most:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
