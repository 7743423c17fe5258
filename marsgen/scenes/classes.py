"""ClassSet: the names, ids and colours of a data set's classes, and the id that means "no label"."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError, nearest
from marsgen.core.reading import is_printable_name, read_yaml, shorten

IGNORED_INDEX = 255
"""Class index of pixels without a label, in every tensor and table; at most 255 classes can therefore exist."""


@dataclass(frozen=True)
class ClassSet:
    """The classes of a label map. The ignored id is not a class: it has no name, no index and no score.

    Two numberings exist. *Ids* are what stands in label maps on disk (any of 0..255). *Indices* are 0..C-1 in the
    order of `names`, what networks, counts and confusion matrices use; ignored pixels have index 255 there.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    colours: tuple[tuple[int, int, int], ...]
    ignored: int
    rare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= 255:
            raise DataError(f"{len(self.names)} classes; between 2 and 255 are possible")
        if not len(self.names) == len(self.ids) == len(self.colours):
            raise DataError(
                f"{len(self.names)} names, {len(self.ids)} ids, {len(self.colours)} colours: one of each per class"
            )
        if len(set(self.names)) != len(self.names):
            raise DataError(f"two classes have the same name among {', '.join(self.names)}")
        if len({*self.ids, self.ignored}) != len(self.ids) + 1:
            raise DataError(f"class ids {list(self.ids)} and ignored id {self.ignored} must all differ")
        if not all(0 <= i <= 255 for i in (*self.ids, self.ignored)):
            raise DataError(f"class ids {list(self.ids)} and ignored id {self.ignored} must lie in 0..255")
        if not all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in self.colours):
            raise DataError("every class colour needs three values in 0..255")
        for name in self.rare:
            self.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Index (0..C-1) of a class by name.

        Raises:
            DataError: no such class; the message lists those there are.
        """
        if name not in self.names:
            raise DataError(f"no class '{name}'{nearest(name, self.names)}; the classes are {', '.join(self.names)}")
        return self.names.index(name)

    @cached_property
    def index_of_id(self) -> np.ndarray:
        """(256,) uint8 table id -> index; the ignored id and unknown ids give 255. `check_labels` tells them apart."""
        table = np.full(256, IGNORED_INDEX, np.uint8)
        table[list(self.ids)] = np.arange(len(self.ids), dtype=np.uint8)
        return table

    @cached_property
    def id_of_index(self) -> np.ndarray:
        """(256,) uint8 table index -> id; 255 gives the ignored id."""
        table = np.full(256, self.ignored, np.uint8)
        table[: len(self.ids)] = self.ids
        return table

    @cached_property
    def _known_id(self) -> np.ndarray:
        known = np.zeros(256, bool)
        known[[*self.ids, self.ignored]] = True
        return known

    def to_indices(self, labels: np.ndarray) -> np.ndarray:
        """Label map of ids -> label map of indices, same shape, uint8; ignored pixels become 255."""
        return self.index_of_id[labels]

    def to_ids(self, indices: np.ndarray) -> np.ndarray:
        """Label map of indices -> label map of ids, same shape, uint8; 255 becomes the ignored id."""
        return self.id_of_index[indices]

    def check_labels(self, labels: np.ndarray, name: str) -> None:
        """Raise DataError naming the first pixel of (H, W) `labels` whose id is neither a class nor ignored."""
        known = self._known_id[labels]
        if not known.all():
            row, column = np.argwhere(~known)[0]
            raise DataError(
                f"{name}: label {labels[row, column]} at row {row}, column {column} is not one of {sorted(self.ids)} "
                f"nor the ignored id {self.ignored}; add it to the classes file or map it to the ignored id"
            )

    def paint(self, labels: np.ndarray) -> np.ndarray:
        """(..., H, W) label map of ids -> (..., H, W, 3) uint8 colours; ignored pixels are near-black."""
        table = np.full((256, 3), 32, np.uint8)
        table[list(self.ids)] = self.colours
        return table[labels]

    def to_dict(self) -> dict:
        """The same content as a classes yaml file."""
        return {
            "ignored": self.ignored,
            "rare": list(self.rare),
            "classes": [
                {"name": n, "id": i, "colour": list(c)}
                for n, i, c in zip(self.names, self.ids, self.colours, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, content: object, where: str) -> "ClassSet":
        """Read what `to_dict` wrote.

        Raises:
            DataError: a key is missing, misspelt or of the wrong type; `where` names the file.
        """
        try:
            if not isinstance(content, dict):
                raise DataError("a mapping with keys ignored, rare and classes was expected")
            for key in content:
                if key not in ("ignored", "rare", "classes"):
                    hint = nearest(str(key), ("ignored", "rare", "classes"))
                    raise DataError(f"unknown key '{shorten(str(key), 60)}'{hint}")
            entries = content["classes"]
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise DataError("'classes' is a list with name, id and colour for each class")
            return cls(
                names=tuple(_name(e["name"]) for e in entries),
                ids=tuple(_whole(e["id"], f"the id of {e['name']}") for e in entries),
                colours=tuple(
                    tuple(_whole(v, f"a colour value of {e['name']}") for v in e["colour"])  # type: ignore[misc]
                    for e in entries
                ),
                ignored=_whole(content["ignored"], "ignored"),
                rare=tuple(_name(name) for name in _list(content.get("rare") or [], "rare")),
            )
        except KeyError as missing:
            raise DataError(
                f"{where}: key {missing} is missing; see configs/classes_mars.yaml for an example"
            ) from None
        except (DataError, TypeError, ValueError) as problem:
            raise DataError(f"{where}: {problem}") from None


def _name(value: object) -> str:
    if not is_printable_name(value):
        raise DataError(
            f"a class is called {shorten(repr(value), 60)}; expected one line of text, in quotes if need be"
        )
    return str(value)


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise DataError(f"'{what}' is {shorten(repr(value), 60)}; a list was expected")
    return value


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{what} is {shorten(repr(value), 60)}; a whole number in 0..255 was expected")
    return value


def read_classes(path: Path) -> ClassSet:
    """Read a classes yaml file (see configs/classes_mars.yaml).

    Raises:
        DataError: the file is missing, is not yaml, or does not describe classes.
    """
    if path.is_dir() or not path.exists():
        raise DataError(f"{path}: no such classes file; --classes takes one like configs/classes_mars.yaml")
    return ClassSet.from_dict(read_yaml(path), str(path))
