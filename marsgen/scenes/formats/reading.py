"""What every reader gives back, and the scenes that are made of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet, default_colours
from marsgen.scenes.files.layout import IGNORED, PARTS, read_layout
from marsgen.scenes.files.names import plain_names
from marsgen.scenes.files.pictures import Header, check_all, follows_rotation, probe_image, read_image
from marsgen.scenes.formats.config import Part, ReadingConfig
from marsgen.scenes.proposals import propose_groups, propose_rare, rare_rule
from marsgen.scenes.readers.folder import check_side, fingerprint_sorted
from marsgen.scenes.scene import SceneSource, scene_key


class Labelling(NamedTuple):
    """A label map and what was decided on the way."""

    labels: np.ndarray
    """(H, W) uint8 ids"""
    decided: Mapping[str, int] = MappingProxyType({})
    """what -> how often, such as pixels that two classes claimed"""


@dataclass(frozen=True)
class Sample:
    """One picture and how its label map is made."""

    name: str
    image: Path | Callable[[], np.ndarray]
    """a file, or what gives (H, W, 1 or 3) uint8"""
    label: Callable[[tuple[int, int]], Labelling] | None
    """(height, width) of the upright picture -> its label map; None: unlabelled"""
    part: str = ""
    """train, val or test where the data set says it"""
    size: tuple[int, int] | None = None
    """(height, width) that the annotation states; tells whether a rotation tag was followed"""
    files: tuple[tuple[str, Path], ...] = ()
    """(relative name, path) of the files that it is made of, for the fingerprint"""
    raster: Path | None = None
    """the picture's file where it has a georeference"""
    shape: Callable[[], tuple[int, int, int]] | None = None
    """(height, width, channels) of a picture that is no file, where that can be had without reading it"""


@dataclass
class Reading:
    """A data set as a reader understood it."""

    format: str
    classes: ClassSet
    samples: list[Sample]
    notes: list[str] = field(default_factory=list)
    """what was decided or left out, a sentence each"""
    classes_are_given: bool = False
    """somebody wrote the classes down, and which of them are rare"""


class ReadScenes(SceneSource):
    """Scenes of a `Reading`. All label maps are made once on opening, to check them and to count what was decided."""

    def __init__(self, location: str, reading: Reading, config: ReadingConfig, *, labelled: bool = True) -> None:
        """Check every sample.

        Args:
            location: what the user typed.
            labelled: False gives every picture, the unlabelled ones too, without labels.
        Raises:
            DataError: pictures or label maps that cannot be used, all of them in one message.
        """
        self.location, self.classes, self.format = location, reading.classes, reading.format
        self._classes_are_given = reading.classes_are_given
        self._orientation = config.orientation
        self.reading = f"{reading.format} {config.model_dump_json()}"
        alone = [sample for sample in reading.samples if sample.label is None]
        self._samples = [s for s in reading.samples if not labelled or s.label is not None]
        if not self._samples:
            raise DataError(f"{location}: {len(alone)} pictures and no label map among these {reading.format} files")
        self._labelled = labelled
        _refuse_same_names(location, [sample.name for sample in self._samples])
        names, renamed = plain_names([sample.name for sample in self._samples])
        self.names = tuple(names)
        parts = _rename_parts(location, [sample.part for sample in self._samples], config.parts)
        self.parts = parts if labelled and any(parts) else None
        self.groups = _groups(location, self.names, config.groups) if config.groups else None
        found = check_all(self._check, range(len(self._samples)), "label maps", location)
        shapes, channels = {f.size for f in found}, [f.channels for f in found]
        self.shape = shapes.pop() if len(shapes) == 1 else None
        # tools mix grey and RGB files; grey is the same picture in RGB
        self.channels = max(channels)
        self._turned = [f.turned for f in found]
        self.pixels = np.array([f.pixels for f in found], np.int64).reshape(len(found), -1)
        """(N, C) pixels of each class in each scene; zeros without labels"""
        self.notes = (
            *reading.notes,
            *([renamed] if renamed else []),
            *_notes(found, channels, alone, self.parts, labelled),
            *self._absent(),
            *self._propose(config),
        )
        self._fingerprint = ""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        sample = self._samples[index]
        image = self._image(sample, self._turned[range(len(self))[index]])
        size = (image.shape[0], image.shape[1])
        if not self._labelled or sample.label is None:
            return image, np.full(size, self.classes.ignored, np.uint8)
        return image, sample.label(size).labels

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the files in use, or over the pixels where they come from a table."""
        if not self._fingerprint:
            files = sorted({name: path for s in self._samples for name, path in s.files}.items())
            keys = [scene_key(np.array(self.classes.ids, np.uint8)), fingerprint_sorted(files)]
            if any(not s.files for s in self._samples):
                keys += [scene_key(np.dstack([image, labels])) for image, labels in map(self.read, range(len(self)))]
            self._fingerprint = scene_key(np.frombuffer("".join(keys).encode(), np.uint8))
        return self._fingerprint

    def raster(self, index: int) -> Path | None:
        """See `SceneSource.raster`."""
        return self._samples[index].raster

    def _absent(self) -> list[str]:
        """Classes of a known list that these data never show: they stay, so that other parts of them fit."""
        if self._classes_are_given or not self._labelled:
            return []
        absent = [name for name, count in zip(self.classes.names, self.pixels.sum(0), strict=True) if not count]
        if not absent:
            return []
        return [
            f"no pixel of {len(absent)} of {len(self.classes)} classes ({', '.join(absent)}): they are kept, without a "
            "score; to leave them out, import the data and take them out of the classes.yaml of the copy"
        ]

    def _propose(self, config: ReadingConfig) -> list[str]:
        """Rare classes where nobody has named any, and a hint at groups."""
        notes = []
        if config.rare is not None:
            self.classes = changed(self.classes, rare=tuple(config.rare))
        elif self._labelled and not self._classes_are_given and not self.classes.rare:
            self.classes = changed(self.classes, rare=propose_rare(self.classes, self.pixels))
            names = ", ".join(self.classes.rare) or "none"
            notes.append(f"rare classes proposed ({rare_rule()}): {names}; others with `rare:` in classes.yaml")
        if self.groups is None and self.parts is None and self._labelled and (hint := propose_groups(self.names)):
            pattern, count = hint
            notes.append(
                f"the names hold {count} numbers that return (pattern {pattern!r}); if they name what was photographed,"
                f" keep its pictures in one part of a split with `groups: '{pattern}'` in classes.yaml"
            )
        return notes

    def _image(self, sample: Sample, turned: bool) -> np.ndarray:
        image = read_image(sample.image, turned=turned) if isinstance(sample.image, Path) else sample.image()
        return image.repeat(3, axis=2) if image.shape[2] == 1 and self.channels == 3 else image

    def _check(self, index: int) -> "_Checked":
        sample = self._samples[index]
        where = sample.image if isinstance(sample.image, Path) else Path(sample.name)
        if isinstance(sample.image, Path):
            header = probe_image(sample.image)
        else:
            height, width, channels = sample.image().shape if sample.shape is None else sample.shape()
            header = Header(height, width, channels, 1)
        turned = follows_rotation(where, header, sample.size, self._orientation)
        size = header.upright if turned else (header.height, header.width)
        check_side(where, *size)
        if sample.size is not None and sample.size != size:
            raise DataError(
                f"{where}: {size[0]} x {size[1]} pixels; its annotation says {sample.size[0]} x {sample.size[1]}, so "
                "the two do not belong together"
            )
        if sample.label is None or not self._labelled:
            return _Checked(size, header.channels, turned, {}, np.zeros(len(self.classes), np.int64))
        try:
            labels, decided = sample.label(size)
        except DataError as problem:
            text = str(problem)
            raise DataError(text if str(where.name) in text else f"{where}: {text}") from None
        if labels.shape != size:
            raise DataError(
                f"{where}: {size[0]} x {size[1]} pixels beside a label map of {labels.shape[0]} x {labels.shape[1]}; "
                "expected the same size"
            )
        self.classes.check_labels(labels, str(where))
        pixels = np.bincount(labels.ravel(), minlength=256)[list(self.classes.ids)]
        return _Checked(size, header.channels, turned, decided, pixels)


class _Checked(NamedTuple):
    size: tuple[int, int]
    channels: int
    turned: bool
    decided: Mapping[str, int]
    pixels: np.ndarray


def _refuse_same_names(location: str, names: Sequence[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise DataError(f"{location}: {len(twins)} names stand for two pictures each ({twins[0]}); rename one of them")


def _rename_parts(location: str, parts: Sequence[str], becomes: Mapping[Part, Part]) -> tuple[str, ...]:
    for part in becomes:
        if part not in parts:
            there = ", ".join(sorted({p for p in parts if p})) or "none"
            raise DataError(f"{location}: parts names {part!r}, and the data set ships {there}; leave it out")
    renamed: dict[str, str] = dict(becomes)  # type: ignore[arg-type]
    return tuple(renamed.get(part, part) for part in parts)


def _groups(location: str, names: Sequence[str], pattern: str) -> tuple[str, ...]:
    layout = read_layout({"groups": pattern})
    try:
        return layout.groups_of(names)
    except DataError as problem:
        raise DataError(f"{location}: {problem}") from None


def _notes(
    found: Sequence[_Checked],
    channels: Sequence[int],
    alone: Sequence[Sample],
    parts: Sequence[str] | None,
    labelled: bool,
) -> list[str]:
    notes = []
    totals: Counter[str] = Counter()
    scenes: Counter[str] = Counter()
    for each in found:
        totals.update(each.decided)
        scenes.update(key for key, count in each.decided.items() if count)
    notes += [f"{totals[what]} {what}, in {scenes[what]} pictures" for what in totals if totals[what]]
    if alone and labelled:
        notes.append(f"{len(alone)} pictures have no label ({alone[0].name}): unlabelled, not used here")
    if turned := sum(each.turned for each in found):
        notes.append(f"{turned} pictures are turned as their rotation tag says")
    if len(set(channels)) > 1:
        notes.append(f"{channels.count(1)} grey pictures among {channels.count(3)} in RGB: read as RGB")
    if parts is not None:
        counts = Counter(parts)
        listed = [f"{counts[part]} {part or 'in no part'}" for part in (*PARTS, "") if counts[part]]
        notes.append(f"the data set ships its split: {', '.join(listed)}")
    return notes


def number_classes(
    found: Sequence[str],
    given: ClassSet | None,
    config: ReadingConfig,
    *,
    background: bool = True,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> tuple[ClassSet, dict[str, int], list[str]]:
    """Classes for the names that stand in the data.

    Args:
        found: names in the data, in their order there.
        given: classes of --classes or classes.yaml; names are looked up there instead of numbered anew.
        background: whether there are pixels that no name covers.
        colours: of the names, where the data set has its own.
    Returns:
        the classes (background 0, then 1, 2, ...), the id of each name in the data, and what was decided.
    Raises:
        DataError: a name that `given` lacks, or names that cannot be classes.
    """
    unknown = [name for name in config.rename if name not in found]
    if unknown:
        raise DataError(f"rename names {unknown[0]!r}, which is no class of the data ({', '.join(found)})")
    new_name = {name: config.rename.get(name, name) for name in found}
    kept = list(dict.fromkeys(name for name in new_name.values() if name != IGNORED))
    notes = []
    for name in dict.fromkeys(new_name.values()):
        olds = [old for old in found if new_name[old] == name]
        if name == IGNORED:
            notes.append(f"{', '.join(olds)}: label taken away by 'rename'")
        elif olds != [name]:
            notes.append(f"{' and '.join(olds)}: {'merged into' if len(olds) > 1 else 'renamed'} {name}")
    if given is not None:
        needed = [*kept, *([config.background] if background and config.background != IGNORED else [])]
        if lacking := [name for name in needed if name not in given.names]:
            raise DataError(
                f"the data have the class {lacking[0]!r}, which is not among {', '.join(given.names)}; add it to the "
                "classes file, or rename it with --set rename.OLD=NEW"
            )
        classes = given
    else:
        names = [config.background, *kept] if background and config.background not in (IGNORED, *kept) else kept
        first = 0 if names[:1] == [config.background] else 1
        ids = tuple(range(first, first + len(names)))
        own = colours or {}
        free = iter([colour for colour in default_colours(511) if colour not in own.values()])
        painted = tuple(own[name] if name in own else next(free) for name in names)
        classes = ClassSet(tuple(names), ids, painted, 255, own_colours=bool(own))
    if background:
        fate = "carry no label" if config.background == IGNORED else f"are of class {config.background!r}"
        notes.append(f"pixels that no object covers {fate}")
    return classes, {old: id_of(classes, new) for old, new in new_name.items()}, notes


def id_of(classes: ClassSet, name: str) -> int:
    """Id of a class by name; the ignored id for "ignored"."""
    return classes.ignored if name == IGNORED else classes.ids[classes.index(name)]
