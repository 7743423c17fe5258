"""Pairs per second written and read in shuffled order: PNG folder and shards beside plain peers; memory of a large set.

    python benchmarks/storage.py --n 4096
    python benchmarks/storage.py --memory 200000

The peers: `pil`, a loop over numbered PNG files with Pillow's defaults, as torchvision's ImageFolder reads them; and
`webdataset`, tars written by its TarWriter, read through its shuffle buffer of 1,000 samples and decoded with Pillow.
All hold the same simulated scenes of 64 x 128 and run on one thread in this process; reading comes from the page cache,
and the forms take turns, `--rounds` times, so that a busy moment of the machine hits them alike. The best round counts.

--memory N writes N tiny scenes (32 x 32) as shards and, in a process of its own, does what `segmenter train --extra`
does with them before and while it trains: opens them, refuses leaks, fingerprints them, and draws batches.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from marsgen.scenes.readers.folder import MadeScenes, write_classes, write_pair
from marsgen.scenes.readers.shards import SHARD_LENGTH, allocate_shards, write_slot
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes

Pair = tuple[np.ndarray, np.ndarray]
"""(H, W, 1) uint8 image and (H, W) uint8 label map"""


# ours


def write_png(folder: Path, pairs: list[Pair]) -> None:
    for index, (image, labels) in enumerate(pairs):
        write_pair(folder, f"{index:07d}", image, labels, mars_classes())


def write_shards(folder: Path, pairs: list[Pair]) -> None:
    image, labels = pairs[0]
    allocate_shards(folder, len(pairs), labels.shape, image.shape[2])
    for index, (image, labels) in enumerate(pairs):
        write_slot(folder, index, image, labels, mars_classes())


def describe(folder: Path, n: int) -> None:
    """The files beside the pixels that make the folder a finished run."""
    write_classes(folder, mars_classes())
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for index in range(n):
            # keys of 2,000 real scenes, as long as real ones
            parent = {"name": f"training_set[{index % 2000:04d}]", "key": f"{index % 2000:016x}"}
            donor = {"name": "training_set[0007]", "key": f"{index % 70:016x}", "class": "big_rock"}
            file.write(json.dumps({"name": f"{index:07d}", "index": index, "parent": parent, "donors": [donor]}) + "\n")
    (folder / "synth.json").write_text(json.dumps({"shape": [64, 128], "channels": 1, "trained_on": []}))
    (folder / "config.yaml").write_text("command: marsgen synthesize\ninputs: {}\nconfig: {}\n")
    (folder / "environment.json").write_text("{}")
    (folder / "DONE").write_text("{}")


def read_ours(folder: Path, order: np.ndarray) -> Iterator[Pair]:
    scenes = open_scenes(str(folder))
    assert isinstance(scenes, MadeScenes)
    return ((scene.image, scene.labels) for scene in (scenes[int(index)] for index in order))


# peers


def write_pil(folder: Path, pairs: list[Pair]) -> None:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index, (image, labels) in enumerate(pairs):
        Image.fromarray(image[..., 0]).save(folder / "images" / f"{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{index}.png")


def read_pil(folder: Path, order: np.ndarray) -> Iterator[Pair]:
    for index in order:
        image = np.array(Image.open(folder / "images" / f"{index}.png"))[..., None]
        yield image, np.array(Image.open(folder / "labels" / f"{index}.png"))


def write_webdataset(folder: Path, pairs: list[Pair]) -> None:
    import webdataset

    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    folder.mkdir(parents=True)
    with webdataset.TarWriter(str(folder / "pairs.tar")) as tar:
        for index, (image, labels) in enumerate(pairs):
            sample = {"image.png": encode(image[..., 0]), "label.png": encode(labels)}
            tar.write({"__key__": f"{index:07d}", **sample})


def read_webdataset(folder: Path, order: np.ndarray) -> Iterator[Pair]:
    import webdataset

    samples = webdataset.WebDataset(str(folder / "pairs.tar"), shardshuffle=False).shuffle(min(1000, len(order)))
    for sample in samples:
        image, labels = (np.array(Image.open(io.BytesIO(sample[key]))) for key in ("image.png", "label.png"))
        yield image[..., None], labels


Writer = Callable[[Path, list[Pair]], None]
Reader = Callable[[Path, np.ndarray], Iterator[Pair]]
FORMS: dict[str, tuple[Writer, Reader]] = {
    "png": (write_png, read_ours),
    "shards": (write_shards, read_ours),
    "pil": (write_pil, read_pil),
    "webdataset": (write_webdataset, read_webdataset),
}


def measure_rates(n: int, rounds: int) -> None:
    """Write and read n pairs in every form; print pairs/s, bytes a pair, and ratios to both peers."""
    drawn = open_scenes("sim:256")
    pairs = [drawn.read(index % 256) for index in range(n)]
    checksum = sum(int(image.sum(dtype=np.int64)) + int(labels.sum(dtype=np.int64)) for image, labels in pairs)
    best: dict[tuple[str, str], float] = {}
    size: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        for turn in range(rounds):
            order = np.random.default_rng(turn).permutation(n)
            for form, (write, read) in FORMS.items():
                folder = Path(root) / f"{form}-{turn}"
                start = time.perf_counter()
                write(folder, pairs)
                seconds = {"write": time.perf_counter() - start}
                size[form] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / n
                if read is read_ours:
                    describe(folder, n)
                # opening, once for any number of epochs, is not counted: the first pair starts the clock
                reader, total = read(folder, order), 0
                start = time.perf_counter()
                for image, labels in reader:
                    total += int(image.sum(dtype=np.int64)) + int(labels.sum(dtype=np.int64))
                seconds["read"] = time.perf_counter() - start
                assert total == checksum, f"{form} did not give back the pairs that were written"
                for what, took in seconds.items():
                    best[form, what] = max(best.get((form, what), 0.0), n / took)
    for form in FORMS:
        rates = "   ".join(f"{what} {best[form, what]:8,.0f} pairs/s" for what in ("write", "read"))
        print(f"{form:11} {rates}   {size[form]:8,.0f} bytes a pair")
    for form, peer in (("png", "pil"), ("png", "webdataset"), ("shards", "pil"), ("shards", "webdataset")):
        ratios = "   ".join(f"{what} {best[form, what] / best[peer, what]:.2f}" for what in ("write", "read"))
        print(f"{form} / {peer}: {ratios} times the pairs/s")
    ratios = "   ".join(f"{what} {best['shards', what] / best['png', what]:.2f}" for what in ("write", "read"))
    print(f"shards / png: {ratios} times the pairs/s")


def measure_memory(n: int) -> None:
    """Write n tiny scenes as shards; let processes of their own use few and all of them; print what they needed."""
    with tempfile.TemporaryDirectory() as root:
        for count in (n // 100, n):
            folder = Path(root) / str(count)
            allocate_shards(folder, count, (32, 32), 1)
            noise = np.random.default_rng(0).integers(1, 4, (SHARD_LENGTH, 32, 32), dtype=np.uint8)
            for path in sorted((folder / "shards").iterdir()):
                array = np.load(path, mmap_mode="r+")
                array[:] = noise[: len(array)].reshape(array.shape)
                array.flush()
            describe(folder, count)
            for traced in ("", "--traced"):
                command = [sys.executable, __file__, "--use", str(folder), *([traced] if traced else [])]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(f"{count:,} scenes: {done.stdout.splitlines()[-1]}")


def use(folder: str, traced: bool) -> None:
    """What `segmenter train --extra` does with a set; print seconds and megabytes."""
    from marsgen.cleaning.dataset import open_dataset
    from marsgen.core.config import DataConfig
    from segmenter.config import TrainConfig
    from segmenter.training.batches import TrainingBatches
    from segmenter.training.extras import describe_extra, open_extras

    dataset = open_dataset("sim:200,size=32x32", DataConfig())
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here; opening the real scenes has its own
    before_mb = rss_mb("VmRSS")
    if traced:
        tracemalloc.start()
    start = time.perf_counter()
    extras = open_extras([folder], dataset)
    opened = time.perf_counter() - start
    describe_extra(extras[0])
    grown_from = {key for index in range(len(extras[0])) for key in extras[0].origin(index).ancestors}
    batches = TrainingBatches(TrainConfig(steps=50, batch_size=16, extra_fraction=0.5), dataset, extras)
    for step in range(1, 51):
        batches[step]
    result = {"opening_s": round(opened, 2), "all_s": round(time.perf_counter() - start, 2), "keys": len(grown_from)}
    if traced:
        held, peak = tracemalloc.get_traced_memory()
        result |= {"held_mb": round(held / 2**20, 1), "peak_mb": round(peak / 2**20, 1)}
    else:
        result |= {"before_mb": round(before_mb, 1), "peak_above_it_mb": round(rss_mb("VmHWM") - before_mb, 1)}
    print(json.dumps(result))


def rss_mb(which: str) -> float:
    """Memory of this process now (VmRSS) or at its peak (VmHWM); Linux only."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{which}:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4096, help="pairs to write and read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="N", help="measure the memory of N tiny scenes instead")
    parser.add_argument("--use", help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.use:
        use(options.use, options.traced)
    elif options.memory:
        measure_memory(options.memory)
    else:
        measure_rates(options.n, options.rounds)


if __name__ == "__main__":
    main()
