"""ClassSet: the names, ids and colours of a data set's classes, and the id that means "no label"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsgen.core.errors import DataError, nearest
from marsgen.core.storage.places import refuse_no_classes
from marsgen.core.storage.reading import is_printable_name, read_yaml, shorten
from marsgen.scenes.files.layout import IGNORED, Layout, read_layout, value_table
from marsgen.scenes.files.layout import KEYS as LAYOUT_KEYS
from marsgen.scenes.files.raster_source import RasterSource, read_raster_source

if TYPE_CHECKING:  # numpy is imported where it is used: names are asked for before
    import numpy as np

CLASSES_FILE = "classes.yaml"
"""of a folder of scenes: says what the ids of its label maps mean"""
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
    layout: Layout = field(default_factory=Layout, compare=False)
    """where the files lie, as the classes.yaml says it; no part of what the classes are"""
    own_colours: bool = field(default=True, compare=False)
    """whether somebody chose the colours; False = they are the default ones and say nothing about a label map"""
    bands: tuple[int, ...] = field(default=(), compare=False)
    """channels that stand for red, green and blue on pages and in overlays, counted from 1; () = the first three"""
    license: str = field(default="", compare=False)
    """of the data, for data cards: an identifier of the hub, such as cc-by-4.0; "" = unknown"""
    rasters: RasterSource | None = field(default=None, compare=False)
    """how the pictures were made from rasters; None = they were not"""

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
        if any(not name.strip() or name == IGNORED for name in self.names):
            raise DataError(f"a class is named {next(n for n in self.names if not n.strip() or n == IGNORED)!r}")
        if self.bands and (len(self.bands) != 3 or min(self.bands) < 1):
            raise DataError(f"bands is {list(self.bands)}; expected the three channels to show, counted from 1")
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

    def spell(self, name: str) -> str:
        """The name of the class as the data spell it: the only one that differs from `name` in upper and lower case.

        Raises:
            DataError: see `index`.
        """
        alike = [known for known in self.names if known.casefold() == name.casefold()]
        return self.names[self.index(name if name in alike or len(alike) != 1 else alike[0])]

    def ordered_like(self, other: "ClassSet") -> "ClassSet":
        """The same classes, listed as `other` lists them; self where the two do not have the same names."""
        order = self.order_of(other)
        return self if order is None else self._reordered(order)

    def order_of(self, other: "ClassSet") -> list[int] | None:
        """Index here of each class of `other`, in the order of `other`; None where the two do not have the same names.

        So `probs[:, here.order_of(there)]` has the channels of `there`. Ids play no part: indices stand in all tensors.
        """
        if set(self.names) != set(other.names):
            return None
        return [self.names.index(name) for name in other.names]

    def _reordered(self, order: Sequence[int]) -> "ClassSet":
        return replace(
            self,
            names=tuple(self.names[i] for i in order),
            ids=tuple(self.ids[i] for i in order),
            colours=tuple(self.colours[i] for i in order),
        )

    @cached_property
    def index_of_id(self) -> "np.ndarray":
        """(256,) uint8 table id -> index; the ignored id and unknown ids give 255. `check_labels` tells them apart."""
        import numpy as np

        table = np.full(256, IGNORED_INDEX, np.uint8)
        table[list(self.ids)] = np.arange(len(self.ids), dtype=np.uint8)
        return table

    @cached_property
    def id_of_index(self) -> "np.ndarray":
        """(256,) uint8 table index -> id; 255 gives the ignored id."""
        import numpy as np

        table = np.full(256, self.ignored, np.uint8)
        table[: len(self.ids)] = self.ids
        return table

    @cached_property
    def _known_id(self) -> "np.ndarray":
        import numpy as np

        known = np.zeros(256, bool)
        known[[*self.ids, self.ignored]] = True
        return known

    def to_indices(self, labels: "np.ndarray") -> "np.ndarray":
        """Label map of ids -> label map of indices, same shape, uint8; ignored pixels become 255."""
        return self.index_of_id[labels]

    def to_ids(self, indices: "np.ndarray") -> "np.ndarray":
        """Label map of indices -> label map of ids, same shape, uint8; 255 becomes the ignored id."""
        return self.id_of_index[indices]

    def describe(self) -> str:
        """Ids and names in words, such as 1=soil, 4=big_rock, 0=ignored."""
        pairs = [f"{i}={name}" for i, name in zip(self.ids, self.names, strict=True)]
        return ", ".join([*pairs, f"{self.ignored}=ignored"])

    @cached_property
    def id_of_value(self) -> "np.ndarray":
        """(256,) uint8 table pixel value in a label map file -> id, see `Layout.map`."""
        return value_table(self.layout, dict(zip(self.names, self.ids, strict=True)), self.ignored)

    def knows(self, labels: "np.ndarray") -> bool:
        """Whether every pixel of a label map is a class or ignored."""
        return bool(self._known_id[labels].all())

    def check_labels(self, labels: "np.ndarray", name: str) -> None:
        """Raise DataError naming the first pixel of (H, W) `labels` whose id is neither a class nor ignored."""
        known = self._known_id[labels]
        if not known.all():
            row, column = (places[0] for places in (~known).nonzero())
            raise DataError(
                f"{name}: label {labels[row, column]} at row {row}, column {column} is not one of {sorted(self.ids)} "
                f"nor the ignored id {self.ignored}; add it to the classes file or map it to the ignored id"
            )

    def paint(self, labels: "np.ndarray") -> "np.ndarray":
        """(..., H, W) label map of ids -> (..., H, W, 3) uint8 colours; ignored pixels are near-black."""
        import numpy as np

        table = np.full((256, 3), 32, np.uint8)
        table[list(self.ids)] = self.colours
        return table[labels]

    def show(self, image: "np.ndarray") -> "np.ndarray":
        """(..., channels) -> (..., 1 or 3) to look at: grey and RGB as they are, else the channels that `bands` names.

        Raises:
            DataError: a channel that is not there.
        """
        channels = image.shape[-1]
        if channels in (1, 3):
            return image
        bands = self.bands or (1, 2, 3)
        if max(bands) > channels:
            raise DataError(f"bands is {list(bands)} in classes.yaml; the pictures have {channels} channels")
        return image[..., [band - 1 for band in bands]]

    def to_dict(self) -> dict:
        """The same content as a classes yaml file."""
        return {
            "ignored": self.ignored,
            "rare": list(self.rare),
            **({"bands": list(self.bands)} if self.bands else {}),
            **({"license": self.license} if self.license else {}),
            **({"rasters": self.rasters.to_dict()} if self.rasters else {}),
            "classes": [
                {"name": n, "id": i, "colour": list(c)}
                for n, i, c in zip(self.names, self.ids, self.colours, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, content: object, where: str) -> "ClassSet":
        """Read what `to_dict` wrote, or somebody by hand: only `classes`, each with `name` and `id`, is needed.

        Args:
            content: scalars are texts (a yaml file) or numbers (json).
        Raises:
            DataError: a key is missing, misspelt or of the wrong type; `where` names the file.
        """
        try:
            if not isinstance(content, dict):
                raise DataError("a mapping with keys ignored, rare and classes was expected")
            _refuse_unknown(content, ("ignored", "rare", "classes", "bands", "license", "rasters", *LAYOUT_KEYS), "")
            if "classes" not in content:
                raise DataError("key 'classes' is missing; see configs/classes_mars.yaml for an example")
            entries = content["classes"]
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise DataError("'classes' is a list with name and id, and colour if you like, for each class")
            for entry in entries:
                _refuse_unknown(entry, ("name", "id", "colour", "color"), " of a class")
                for key in ("name", "id"):
                    if key not in entry:
                        raise DataError(
                            f"key '{key}' is missing in {shorten(repr(entry))}; see configs/classes_mars.yaml"
                        )
            ids = tuple(_byte(e["id"], f"the id of {e['name']}") for e in entries)
            colours = _colours(entries)
            return cls(
                names=tuple(_name(e["name"]) for e in entries),
                ids=ids,
                colours=colours,
                ignored=_ignored(content.get("ignored"), ids),
                rare=_rare(content.get("rare")),
                layout=read_layout(content),
                own_colours=all(_colour_of(e) is not None for e in entries),
                license="" if content.get("license") in (None, "", *_NOTHING) else _name(content["license"], "license"),
                bands=tuple(_byte(band, "a number in bands") for band in _list(content.get("bands"), "bands")),
                rasters=read_raster_source(content.get("rasters")),
            )
        except (DataError, TypeError, ValueError) as problem:
            raise DataError(f"{where}: {problem}") from None


def _refuse_unknown(content: dict, known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise DataError(
                f"unknown key '{shorten(str(key), 60)}'{where}{nearest(str(key), known)}; the keys there are "
                f"{', '.join(known)}"
            )


def _list(value: Any, what: str) -> list:
    if not isinstance(value or [], (list, tuple)):
        raise DataError(f"{what} is {shorten(repr(value))}; expected a list")
    return list(value or ())


def _name(value: object, what: str = "a class") -> str:
    if not is_printable_name(value):
        raise DataError(
            f"{what} is named {shorten(repr(value), 60)}; expected one line of text, without blanks around it"
        )
    return str(value)


def _rare(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value and value not in _NOTHING else ()
    if not isinstance(value or [], (list, tuple)):
        raise DataError(f"rare is {shorten(repr(value))}; expected a class or a list of classes")
    return tuple(_name(name) for name in value or ())


_NOTHING = ("~", "null")
"""how yaml writes that there is no value; class names are texts, so these stand for it only where no name is needed"""


def _ignored(value: Any, ids: Sequence[int]) -> int:
    if value is None or value in ("", *_NOTHING):
        return next(i for i in (255, *range(255)) if i not in ids)
    return _byte(value, "ignored")


def _byte(value: object, what: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"0|[1-9]\d*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{what} is {shorten(repr(value), 60)}; a whole number in 0..255 was expected")
    return value


def _colour_of(entry: dict) -> Any:
    if "colour" in entry and "color" in entry:
        raise DataError(f"class {entry['name']} has colour and color; keep one of the two")
    return entry.get("colour", entry.get("color"))


def _colours(entries: Sequence[dict]) -> tuple[tuple[int, int, int], ...]:
    """The colours given, and for the other classes ones that nobody has."""
    given = {i: _colour(value, e["name"]) for i, e in enumerate(entries) if (value := _colour_of(e)) is not None}
    free = iter([colour for colour in default_colours(511) if colour not in given.values()])
    return tuple(given[i] if i in given else next(free) for i in range(len(entries)))


def _colour(value: Any, name: str) -> tuple[int, int, int]:
    if isinstance(value, str) and (code := re.fullmatch(r"#?([0-9a-fA-F]{6})", value)):
        red, green, blue = bytes.fromhex(code[1])
        return red, green, blue
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise DataError(
            f"the colour of {name} is {shorten(repr(value))}; expected three values in 0..255, or '#rrggbb'"
        )
    red, green, blue = (_byte(part, f"a colour value of {name}") for part in value)
    return red, green, blue


@lru_cache
def default_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """`count` distinct colours, at most 511, none of them black: those of Pascal VOC, which alternate bits of red,
    green and blue (VOCdevkit/VOCcode/VOClabelcolormap.m)."""
    colours = []
    for number in range(1, count + 1):
        channels = [sum((number >> (3 * bit + c) & 1) << (7 - bit) for bit in range(8)) for c in range(3)]
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)


def read_classes(path: Path) -> ClassSet:
    """Read a classes yaml file (see configs/classes_mars.yaml); the classes come in the order of their ids, so that
    the order in which the file lists them means nothing.

    Raises:
        DataError: the file is missing, is not yaml, or does not describe classes.
    """
    refuse_no_classes(path)
    classes = ClassSet.from_dict(read_yaml(path, as_texts=True), str(path))
    return classes._reordered(sorted(range(len(classes)), key=classes.ids.__getitem__))
