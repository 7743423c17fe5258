"""Tables with a column of pictures and one of label maps: Parquet files, and what `datasets` saves.

    train-00000-of-00002.parquet     columns image, label: PNG or JPEG bytes, or {bytes, path} as Hugging Face writes it
    my_set/state.json, data-*.arrow  a dataset saved with save_to_disk; with dataset_dict.json: several, by split

Source: huggingface.co/docs/datasets/about_dataset_features.
"""

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from marsgen.core.errors import DataError, how_to_install
from marsgen.core.storage.reading import first_line
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.label_maps import read_label_map_and_way
from marsgen.scenes.files.names import is_plain
from marsgen.scenes.files.pairs import plain_name
from marsgen.scenes.files.pictures import decode_image
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import PART_WORDS, Listing, composed, few, part_of
from marsgen.scenes.formats.reading import Labelling, Reading, Sample

LABEL_WORDS = ("label", "labels", "mask", "masks", "annotation", "segmentation", "segmentation_mask", "label_map")
NAME_COLUMNS = ("name", "file_name", "filename", "image_id", "id")
Row = dict[str, Any]


def recognise_parquet(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    files = listing.with_suffix(".parquet")
    return f"{len(files)} Parquet file{'s' * (len(files) != 1)} ({few(files)})" if files else None


def recognise_huggingface(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    states = [file for file in listing.files if file.name == "state.json"]
    tables = listing.with_suffix(".arrow")
    return f"{len(states)} saved Hugging Face dataset{'s' * (len(states) != 1)}" if states and tables else None


def read_parquet(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read Parquet files row by row; a part is named by the words of a file's name.

    Raises:
        DataError: pyarrow is not installed, no column of pictures, several that could be, or no classes.
    """
    _need("pyarrow", "parquet")
    samples: list[Sample] = []
    notes: list[str] = []
    for file in listing.with_suffix(".parquet"):
        table = _ParquetRows(listing.root / file)
        samples += _samples(table, len(table), table.columns, config, classes, file, part_of(file), notes)
    assert classes is not None
    return Reading("Parquet", classes, samples, notes)


def read_huggingface(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read what `save_to_disk` of a Dataset or a DatasetDict wrote.

    Raises:
        DataError: datasets is not installed, no column of pictures, several that could be, or no classes.
    """
    _need("datasets", "huggingface")
    import datasets

    roots = [file.parent for file in listing.files if file.name == "state.json"]
    samples: list[Sample] = []
    notes: list[str] = []
    for root in roots:
        try:
            saved = datasets.load_from_disk(str(listing.root / root))
        except (OSError, ValueError) as problem:
            raise DataError(f"{listing.root / root}: not readable ({first_line(problem)})") from None
        part = PART_WORDS.get(root.name.lower(), "")
        samples += samples_of_dataset(saved, config, classes, root / "row", part, notes)
    assert classes is not None
    return Reading("Hugging Face", classes, samples, notes)


def read_loaded(dataset: Any, config: ReadingConfig, classes: ClassSet) -> Reading:
    """Read a `datasets.Dataset`, or each split of a `datasets.DatasetDict`.

    Raises:
        DataError: not such an object, or see `samples_of_dataset`.
    """
    _need("datasets", "huggingface")
    import datasets

    splits = dataset if isinstance(dataset, datasets.DatasetDict) else {"": dataset}
    samples: list[Sample] = []
    notes: list[str] = []
    for name, split in splits.items():
        if not isinstance(split, datasets.Dataset):
            raise DataError(f"a {type(split).__name__} was given; expected a datasets.Dataset or DatasetDict")
        where = PurePosixPath(name or "row")
        samples += samples_of_dataset(split, config, classes, where, PART_WORDS.get(name.lower(), ""), notes)
    return Reading("Hugging Face", classes, samples, notes, classes_are_given=True)


def samples_of_dataset(
    dataset: Any, config: ReadingConfig, classes: ClassSet | None, where: PurePosixPath, part: str, notes: list[str]
) -> list[Sample]:
    """Samples of a `datasets.Dataset`, opened or loaded.

    Raises:
        DataError: no column of pictures, several that could be, or no classes.
    """
    import datasets

    pictures = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    for name in pictures:
        dataset = dataset.cast_column(name, datasets.Image(decode=False))
    lock = threading.Lock()

    def row(index: int) -> Row:
        with lock:
            return dataset[index]

    columns = {name: name in pictures for name in dataset.column_names}
    return _samples(row, len(dataset), columns, config, classes, where, part, notes)


def _need(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise DataError(f"reading this needs {package}, which is not installed: {how_to_install(extra)}")


class _ParquetRows:
    """Rows of a Parquet file by index; the row group read last stays in memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            self._file = parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"{path}: not a readable Parquet file ({first_line(problem)})") from None
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._ends = np.cumsum(groups) if groups else np.zeros(1, np.int64)
        self.columns = {f.name: _holds_pictures(f.type) for f in self._file.schema_arrow}
        self._lock = threading.Lock()
        self._read: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __call__(self, index: int) -> Row:
        group = int(np.searchsorted(self._ends, index, side="right"))
        with self._lock:
            if self._read[0] != group:
                self._read = group, self._file.read_row_group(group)
            table = self._read[1]
        start = int(self._ends[group - 1]) if group else 0
        return table.slice(index - start, 1).to_pylist()[0]


def _holds_pictures(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _samples(
    row: Callable[[int], Row],
    count: int,
    columns: dict[str, bool],
    config: ReadingConfig,
    classes: ClassSet | None,
    where: PurePosixPath,
    part: str,
    notes: list[str],
) -> list[Sample]:
    image_column, label_column = _choose_columns(columns, config, where)
    words = f"columns: {image_column!r} holds the pictures, {label_column!r} the label maps"
    if words not in notes:
        notes.append(words)
    if classes is None:
        raise DataError(
            f"{where}: a table says what the ids of {label_column!r} mean nowhere; give --classes FILE with name and "
            "id of each class"
        )
    names = _names(row, count, list(columns), image_column, where)
    return [
        Sample(
            name=name,
            image=_image_reader(row, index, image_column, Path(f"{where}[{index}]")),
            label=_label_reader(row, index, label_column, classes, Path(f"{where}[{index}]")),
            part=part,
        )
        for index, name in enumerate(names)
    ]


def _choose_columns(columns: dict[str, bool], config: ReadingConfig, where: PurePosixPath) -> tuple[str, str]:
    for given in (config.image_column, config.label_column):
        if given and given not in columns:
            raise DataError(f"{where}: no column {given!r}; there are {', '.join(columns)}")
    pictures = [name for name, holds in columns.items() if holds]
    labels = [name for name in pictures if name.lower() in LABEL_WORDS]
    label = config.label_column or (labels[0] if len(labels) == 1 else "")
    others = [name for name in pictures if name != label and name not in labels]
    image = config.image_column or (others[0] if len(others) == 1 else "")
    if not label or not image:
        raise DataError(
            f"{where}: which columns hold pictures and label maps? There are {', '.join(columns)}; say it with "
            "--set image_column=NAME --set label_column=NAME"
        )
    return image, label


def _names(
    row: Callable[[int], Row], count: int, columns: Sequence[str], image_column: str, where: PurePosixPath
) -> list[str]:
    """Names from a column of names or the pictures' own file names, where they are there and differ; else numbers."""
    column = next((name for name in NAME_COLUMNS if name in columns), None)
    found = []
    for index in range(count):
        values = row(index)
        picture = values[image_column]
        stated = values[column] if column else picture.get("path") if isinstance(picture, dict) else None
        found.append(plain_name(str(stated)) if stated is not None else "")
    if len(set(found)) == count and all(is_plain(name) for name in found):
        return found
    digits = max(4, len(str(count - 1)))
    stem = composed("-".join(part for part in where.with_suffix("").parts if part != "."))
    return [f"{stem}-{index:0{digits}d}" for index in range(count)]


def _content(value: Any, where: Path) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{where}: no picture in the table but {type(content).__name__}; save it with its bytes")
    return content


def _image_reader(row: Callable[[int], Row], index: int, column: str, where: Path) -> Callable[[], np.ndarray]:
    return lambda: decode_image(_content(row(index)[column], where), where)


def _label_reader(
    row: Callable[[int], Row], index: int, column: str, classes: ClassSet, where: Path
) -> Callable[[tuple[int, int]], Labelling] | None:
    def read(size: tuple[int, int]) -> Labelling:
        value = row(index)[column]
        labels, way = read_label_map_and_way(where, classes, _content(value, where))
        return Labelling(labels, {"label maps are read by the colours of their palette": int(way == "palette")})

    return read
