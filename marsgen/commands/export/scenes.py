"""`marsgen export`: a data set in another format: PNG pairs, tars, tables, objects, or what nnU-Net reads.

Scenes are read, encoded and written one after the other; memory does not grow with their number. classes.yaml is
written too, a data card (README.md), and for synthetic scenes synth.json, which says what their generator was trained
on.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from marsgen.commands.config import ExportConfig
from marsgen.commands.export.huggingface import front_matter, plan_files, row_of, schema
from marsgen.commands.export.nnunet import refuse_reserved_names, write_nnunet
from marsgen.commands.export.objects import write_coco, write_yolo
from marsgen.commands.import_data import count_scenes
from marsgen.core.errors import ConfigError, DataError, how_to_install
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.storage.files import filling_bytes, write_stream
from marsgen.core.storage.seen import HEAD_FILE, read_set_head
from marsgen.provenance.data_card import CARD_FILE, card_of, write_data_card
from marsgen.scenes.files.label_maps import encode_label_map
from marsgen.scenes.files.manifest import MANIFEST_FILE
from marsgen.scenes.files.pictures import encode_image
from marsgen.scenes.readers.folder import image_path, write_classes, write_pair
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes

ROW_GROUP = 1_000
"""rows of a Parquet file that are read together"""
_BLOCK = 256  # scenes encoded ahead of what is written
_PIECE_BYTES = 4 * 2**20

Made = TypeVar("Made")


def check_writable(config: ExportConfig) -> None:
    """Raise ConfigError where a package for this format is not installed."""
    if config.to in ("parquet", "hf") and find_spec("pyarrow") is None:
        raise ConfigError(f"--to {config.to} needs pyarrow, which is not installed: {how_to_install('parquet')}")


def check_fits(config: ExportConfig, scenes: SceneSource) -> None:
    """Raise DataError where a format has no place for these scenes."""
    if scenes.channels not in (1, 3) and config.to not in ("png", "nnunet"):
        raise DataError(
            f"--to {config.to}: pictures of {scenes.channels} bands; it takes grey and RGB, use png or nnunet"
        )
    if config.to == "nnunet":
        refuse_reserved_names(scenes.classes)


def export_data(data: str, config: ExportConfig, out: Path, *, classes: Path | None = None) -> Run:
    """Open a data set, then `export`.

    Args:
        data: its location, see `open_scenes`.
        out: folder to write into.
        classes: file that says what the ids mean, where the data set does not.
    Returns:
        the finished run.
    Raises:
        ConfigError, DataError, RunError: a package is missing, the data cannot be used, or `out` holds something else.
    """
    check_writable(config)
    scenes = open_scenes(data, classes=classes)
    check_fits(config, scenes)
    with closing(Run.start(out, "marsgen export", config, {"data": scenes.identity()})) as run:
        if not run.finished:
            export(config, run, scenes)
    return run


def export(config: ExportConfig, run: Run, scenes: SceneSource) -> None:
    """Write every scene of `scenes` into `run.folder` and finish the run; files that are there already are kept."""
    write_classes(run.folder, scenes.classes)
    for name in (HEAD_FILE, MANIFEST_FILE, "preview.png", "pasted.json") if config.to == "png" else (HEAD_FILE,):
        if (source := Path(scenes.location) / name).is_file():
            write_stream(run.folder / name, _pieces(source))
    bar = ProgressBar(total=len(scenes), unit="pair", desc="export")
    with bar, ThreadPoolExecutor(2) as pool:  # PNG coding releases the interpreter's lock
        if config.to == "png":
            _write_folder(run.folder, scenes, pool, bar)
            summary = {"pairs": len(scenes)}
        elif config.to in ("coco", "yolo", "nnunet"):
            write = {"coco": write_coco, "yolo": write_yolo, "nnunet": write_nnunet}[config.to]
            summary = write(run.folder, scenes, config.background, bar.update)
        else:
            summary = {"pairs": len(scenes), "files": _write_files(config, run.folder, scenes, pool, bar)}
    _write_card(config, run, scenes)
    run.finish(summary)


def _write_card(config: ExportConfig, run: Run, scenes: SceneSource) -> None:
    """Write README.md; that of a set which is stored otherwise stays as it is."""
    place = Path(scenes.location)
    if config.to == "png" and not config.gain and (place / HEAD_FILE).is_file() and (place / CARD_FILE).is_file():
        write_stream(run.folder / CARD_FILE, _pieces(place / CARD_FILE))
        return
    pairs_of_class = (count_scenes(scenes) > 0).sum(0).tolist()
    card = card_of(
        scenes,
        f"{Path(scenes.location).name} as {config.to}",
        head=read_set_head(place),
        shown=dict(zip(scenes.classes.names, pairs_of_class, strict=True)),
        gain=config.gain,
        front=front_matter(scenes) if config.to == "hf" else {},
    )
    write_data_card(run.folder, card)


def _write_folder(folder: Path, scenes: SceneSource, pool: ThreadPoolExecutor, bar: ProgressBar) -> None:
    def write(index: int) -> None:
        name = scenes.names[index]
        # its label map was written before: an image that is there belongs to a whole pair
        if not image_path(folder, name, scenes.channels).exists():
            write_pair(folder, name, *scenes.read(index), scenes.classes)

    for _ in _in_order(write, range(len(scenes)), pool):
        bar.update()


def _write_files(
    config: ExportConfig, folder: Path, scenes: SceneSource, pool: ThreadPoolExecutor, bar: ProgressBar
) -> int:
    """Write scenes-00000.tar or .parquet and so on; return how many there are."""
    dotted = config.to == "webdataset" and any("." in name for name in scenes.names)
    write = {"webdataset": _write_tar, "parquet": _write_table, "hf": _write_hub_table}[config.to]

    def encode(index: int) -> dict[str, Any]:
        scene = scenes[index]
        return {
            # WebDataset ends the name of a sample at its first dot
            "name": f"{index:07d}" if dotted else scene.name,
            "image": encode_image(scene.image),
            "labels": encode_label_map(scene.labels, scenes.classes),
            "manifest": json.dumps(scenes.record(index)),
        }

    files = list(_plan_files(config, scenes))
    for name, indices in files:
        if (folder / name).exists():
            bar.update(len(indices))
        else:
            write(folder / name, _counted(_in_order(encode, indices, pool), bar))
    return len(files)


def _plan_files(config: ExportConfig, scenes: SceneSource) -> Iterator[tuple[str, Sequence[int]]]:
    """(file name, indices of its scenes)."""
    if config.to == "hf":
        yield from plan_files(scenes, config.scenes_per_file)
        return
    suffix = "tar" if config.to == "webdataset" else "parquet"
    for number, start in enumerate(range(0, len(scenes), config.scenes_per_file)):
        yield f"scenes-{number:05d}.{suffix}", range(start, min(start + config.scenes_per_file, len(scenes)))


def _write_tar(path: Path, samples: Iterator[dict[str, Any]]) -> None:
    with filling_bytes(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for sample in samples:
            members = {
                "image.png": sample["image"],
                "label.png": sample["labels"],
                "json": sample["manifest"].encode("utf-8"),
            }
            for kind, content in members.items():
                info = tarfile.TarInfo(f"{sample['name']}.{kind}")  # time 0 and no owner: same scenes, same bytes
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _write_table(path: Path, samples: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa

    binary = ("image", "labels")
    columns = pa.schema([(key, pa.binary() if key in binary else pa.string()) for key in ("name", *binary, "manifest")])
    # PNG bytes are packed already
    _write_parquet(path, samples, columns, {key: "NONE" if key in binary else "ZSTD" for key in columns.names})


def _write_hub_table(path: Path, samples: Iterator[dict[str, Any]]) -> None:
    _write_parquet(path, map(row_of, samples), schema(), "NONE")


def _write_parquet(path: Path, samples: Iterator[dict[str, Any]], schema: Any, compression: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with (
        filling_bytes(path) as file,
        parquet.ParquetWriter(file, schema, compression=compression, use_dictionary=False) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for sample in samples:
            rows.append(sample)
            if len(rows) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _in_order(make: Callable[[int], Made], indices: Sequence[int], pool: ThreadPoolExecutor) -> Iterator[Made]:
    """`make` of each index, several at a time; memory holds one block of them."""
    for start in range(0, len(indices), _BLOCK):
        yield from pool.map(make, indices[start : start + _BLOCK])


def _counted(items: Iterator[Made], bar: ProgressBar) -> Iterator[Made]:
    for item in items:
        yield item
        bar.update()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
