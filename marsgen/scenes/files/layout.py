"""Layout: where a data set keeps its pictures and label maps, as its classes.yaml says it.

images: photos                  # folder of the pictures, default images
labels: masks                   # folder of the label maps, default labels; may be the same folder
suffix: _mask                   # photos/a.jpg belongs to masks/a_mask.png; default none
map: {255: crack, 7: ignored}   # pixel value in the files -> class; other values are ids as they stand
threshold: 128                  # soft masks: pixel values from here on count as 255, those below as 0
groups: 'num_(\\d+)'            # scenes whose names agree in this part stay in one part of a split
splits:                         # parts that the data set ships: folders, a file of names, or names
  train: {images: train, labels: trainannot}
  val: lists/val.txt
  test: [a, b]
orientation: follow             # pictures with a rotation tag: follow or ignore it; default: as the label maps fit
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import first_line, read_text, shorten

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "val", "test")
KEYS = ("images", "labels", "suffix", "map", "threshold", "groups", "splits", "orientation")
PATTERN_SECONDS = 30.0
"""most time that the pattern of `groups` may take over all names; a million names take 2 s"""
IGNORED = "ignored"
"""stands in `map` for pixels without a label"""


@dataclass(frozen=True)
class Folders:
    """Where one part of a data set lies, relative to the data set's folder."""

    images: str = "images"
    labels: str = "labels"


@dataclass(frozen=True)
class Layout:
    """Where pictures and label maps lie and how pixel values become ids; the default is images/ and labels/."""

    folders: Folders = Folders()
    suffix: str = ""
    map: Mapping[int, str] = field(default_factory=dict)
    """pixel value -> class name, or `IGNORED`"""
    threshold: int | None = None
    groups: str = ""
    """regular expression with one group, searched in the name of a scene"""
    splits: Mapping[str, "Folders | str | tuple[str, ...]"] = field(default_factory=dict)
    """part -> its folders, a file of names, or names"""
    orientation: str = ""

    def places(self) -> str:
        """The folders of the pictures, in words."""
        own = [place for place in self.splits.values() if isinstance(place, Folders)]
        return ", ".join(f"{place.images}/" for place in own or [self.folders])

    def find_groups(self, names: Sequence[str]) -> list[str | None]:
        """The group of each scene; None where the pattern is not found in its name.

        Raises:
            DataError: the pattern takes longer than `PATTERN_SECONDS`.
        """
        return _find_groups(self.groups, names)

    def groups_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """`find_groups` where every name has a group.

        Raises:
            DataError: see `find_groups`; or the pattern is not found in a name.
        """
        found = self.find_groups(names)
        if None in found:
            raise DataError(self.no_group(names[found.index(None)]))
        return tuple(group or "" for group in found)

    def no_group(self, name: str) -> str:
        """What is said of a name without a group."""
        pattern = shorten(self.groups, 80)
        return f"{name}: 'groups: {pattern}' is not found in this name; correct the pattern"

    def to_dict(self) -> dict[str, Any]:
        """The same content as keys of classes.yaml; what has its default is left out."""
        default = Layout()
        content: dict[str, Any] = {
            "images": self.folders.images,
            "labels": self.folders.labels,
            "suffix": self.suffix,
            "map": dict(self.map),
            "threshold": self.threshold,
            "groups": self.groups,
            "splits": {
                part: {"images": place.images, "labels": place.labels} if isinstance(place, Folders) else place
                for part, place in self.splits.items()
            },
            "orientation": self.orientation,
        }
        usual = {"images": default.folders.images, "labels": default.folders.labels}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in content.items()
            if value not in (usual.get(key, ""), None, {})
        }


# json in, json out; run as a program of its own, because nothing else can stop a search that takes exponential time
_SEARCH = """
import json, re, sys
pattern, names = json.loads(sys.stdin.read())
found = map(re.compile(pattern).search, names)
print(json.dumps([match and (match.group(1) or "") for match in found]))
"""


def _find_groups(pattern: str, names: Sequence[str]) -> list[str | None]:
    command, given = [sys.executable, "-I", "-c", _SEARCH], json.dumps([pattern, list(names)])
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=True, timeout=PATTERN_SECONDS, encoding="ascii"
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"groups is {shorten(repr(pattern), 80)}, which takes more than {PATTERN_SECONDS:g} s on {len(names):,} "
            "names; write it without repeats inside repeats, as in 'num_(\\d+)'"
        ) from None
    except subprocess.CalledProcessError as problem:
        raise DataError(
            f"groups is {shorten(repr(pattern), 80)}, which cannot be searched for ({shorten(problem.stderr[-160:])})"
        ) from None
    return list(json.loads(done.stdout))


def read_layout(content: Mapping[str, Any]) -> Layout:
    """The layout keys of a classes.yaml whose scalars are texts.

    Raises:
        DataError: a value that means nothing there.
    """
    layout = Layout(
        folders=Folders(_folder(content, "images"), _folder(content, "labels")),
        suffix=_text(content, "suffix"),
        map=_value_map(content.get("map") or {}),
        threshold=_threshold(content.get("threshold")),
        groups=_text(content, "groups"),
        orientation=_text(content, "orientation"),
    )
    if layout.orientation not in ("", "follow", "ignore"):
        raise DataError(f"orientation is {layout.orientation!r}; expected follow or ignore")
    if layout.groups:
        try:
            groups = re.compile(layout.groups).groups
        except (re.error, OverflowError, RecursionError) as problem:
            said = shorten(repr(layout.groups), 80)
            raise DataError(f"groups is {said}, no regular expression ({first_line(problem)})") from None
        if groups != 1:
            raise DataError(
                f"groups is {shorten(repr(layout.groups), 80)}, with {groups} groups; expected one, as in 'num_(\\d+)'"
            )
    splits = content.get("splits") or {}
    if not isinstance(splits, Mapping) or not set(splits) <= set(PARTS):
        raise DataError(f"splits is {shorten(repr(splits))}; expected a mapping with keys among train, val and test")
    layout = replace(layout, splits={part: _place(part, splits[part], layout) for part in PARTS if part in splits})
    kinds = {isinstance(place, Folders) for place in layout.splits.values()}
    if len(kinds) > 1:
        raise DataError("splits names folders for one part and scenes for another; use one of the two for all")
    return layout


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{key} is {shorten(repr(value))}; expected a text")
    return value


def _folder(content: Mapping[str, Any], key: str) -> str:
    return _inside(_text(content, key) or key, key)


def _inside(folder: str, key: str) -> str:
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or "\\" in folder:
        raise DataError(
            f"{key} is {shorten(repr(folder))}; expected a path inside the data set's folder, written with /"
        )
    return str(path)


def _value_map(content: Any) -> dict[int, str]:
    if not isinstance(content, Mapping):
        raise DataError(f"map is {shorten(repr(content))}; expected pixel value: class, as in map: {{255: crack}}")
    return {_byte(value, "a pixel value of map"): str(name) for value, name in content.items()}


def _threshold(value: Any) -> int | None:
    return None if value is None else _byte(value, "threshold")


def _byte(value: Any, what: str) -> int:
    text = str(value)
    if not re.fullmatch(r"0|[1-9]\d{0,2}", text) or int(text) > 255:
        raise DataError(f"{what} is {shorten(repr(value))}; a whole number in 0..255 was expected")
    return int(text)


def _place(part: str, value: Any, layout: Layout) -> "Folders | str | tuple[str, ...]":
    if isinstance(value, Mapping):
        if not set(value) <= {"images", "labels"} or not value:
            raise DataError(
                f"splits.{part} is {shorten(repr(dict(value)))}; expected {{images: FOLDER, labels: FOLDER}}"
            )
        default = {"images": layout.folders.images, "labels": layout.folders.labels}
        return Folders(**{key: _inside(str(value.get(key, usual)), key) for key, usual in default.items()})
    if isinstance(value, str) and value:
        if value.endswith(".txt"):
            return _inside(value, f"splits.{part}")
        inside = _inside(value, f"splits.{part}")
        return Folders(_join(layout.folders.images, inside), _join(layout.folders.labels, inside))
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise DataError(
        f"splits.{part} is {shorten(repr(value))}; expected a folder, a .txt file of names, or a list of names"
    )


def _join(folder: str, inner: str) -> str:
    return str(PurePosixPath(folder) / inner)


def read_names(path: Path) -> list[str]:
    """The names in a list file, one a line, without a picture's suffix.

    Raises:
        DataError: no such file, or no text.
    """
    lines = read_text(path, remedy="it lists names, one a line").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def value_table(layout: Layout, id_of_name: Mapping[str, int], ignored: int) -> "np.ndarray":
    """(256,) uint8: pixel value in a file -> id, after `threshold`.

    Raises:
        DataError: `map` names no class.
    """
    import numpy as np

    table = np.arange(256, dtype=np.uint8)
    for value, name in layout.map.items():
        if name != IGNORED and name not in id_of_name:
            raise DataError(f"map: {value} is {name!r}, which is no class; the classes are {', '.join(id_of_name)}")
        table[value] = id_of_name.get(name, ignored)
    return table
