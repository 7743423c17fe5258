"""Ai4MarsScenes: Navcam pictures of the rover Curiosity in the folder layout of NASA's AI4Mars release.

    msl/ncam/images/edr/NLB_...EDR_....JPG                                   pictures
    msl/ncam/images/mxy/NLB_...MXY_....png                                   not 0 = rover (may be absent)
    msl/ncam/images/rng-30m/NLB_...RNG_....png                               not 0 = farther than 30 m (may be absent)
    msl/ncam/labels/train/NLB_...EDR_....png                                 label maps of the crowd
    msl/ncam/labels/test/masked-gold-min3-100agree/NLB_...EDR_..._merged.png label maps that three experts agree on

Source: Swan et al., "AI4MARS: A Dataset for Terrain-Aware Autonomous Driving on Mars", CVPR Workshops 2021.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.files.finding import list_pictures
from marsgen.scenes.files.label_maps import read_label_map
from marsgen.scenes.files.pairs import and_more
from marsgen.scenes.files.pictures import check_all, probe_image, read_grey, read_mask
from marsgen.scenes.readers.folder import check_same_size, check_side, fingerprint_files
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.stated import find_navcam

FILE_CLASSES = ClassSet(
    names=("soil", "bedrock", "sand", "big_rock"),
    ids=(0, 1, 2, 3),
    colours=((170, 120, 70), (120, 150, 200), (230, 200, 120), (220, 40, 40)),
    ignored=255,
)
"""Ids as the release writes them; they are mapped by name to those of the classes in use."""

_GOLD = "masked-gold-min3-100agree"
_GOLD_SUFFIX = "_merged"
# Navcam product name: camera, spacecraft clock, product type, frame, site (3), drive (4), sequence
_PRODUCT = re.compile(r"N[LR][AB]_\d{9}EDR_[A-Z](?P<site>\w{3})(?P<drive>\w{4})\w+")


@dataclass(frozen=True)
class _Files:
    """The files of one scene."""

    image: Path
    labels: Path | None
    masks: tuple[Path, ...]
    part: str


class Ai4MarsScenes(SceneSource):
    """Scenes of an AI4Mars folder: grey, grouped by rover stop (site-drive), gold label maps as the test part.

    Pixels that the rover or range mask marks become ignored. Headers and label maps are checked on opening.
    """

    def __init__(self, root: Path, classes: ClassSet, *, labelled: bool = True, location: str | None = None) -> None:
        """Open the release under `root`.

        Args:
            classes: has the classes of FILE_CLASSES by name; gives their ids and the ignored id.
            labelled: False gives every picture, without labels, the unlabelled ones too.
            location: what the user typed, if not the root.
        Raises:
            DataError: no such layout, a label map without picture, a file name that names no site and drive, a file
                that cannot be used.
        """
        folder = find_navcam(root)
        if folder is None:
            raise DataError(f"{root}: no msl/ncam/images/edr in this folder; expected the AI4Mars release layout")
        self.location = location or str(root)
        self.classes = classes
        self.channels = 1
        self._folder = folder
        self._scenes = _find_scenes(folder, labelled)
        self.names = tuple(files.image.stem for files in self._scenes)
        self.groups = tuple(_stop(files.image) for files in self._scenes)
        self.parts = tuple(files.part for files in self._scenes) if labelled else None
        try:
            self._new_ids = _id_table(classes)
        except DataError as problem:
            raise DataError(f"{self.location}: AI4Mars labels cannot be named ({problem})") from None
        shapes = set(check_all(_check_files, self._scenes, "label maps", root))
        self.shape = shapes.pop() if len(shapes) == 1 else None
        self._fingerprint = ""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See `SceneSource.read`."""
        files = self._scenes[index]
        image = read_grey(files.image)
        if files.labels is None:
            return image, np.full(image.shape[:2], self.classes.ignored, np.uint8)
        labels = self._new_ids[read_label_map(files.labels, FILE_CLASSES)]
        for mask in files.masks:
            labels[read_mask(mask)] = self.classes.ignored
        return image, labels

    def fingerprint(self) -> str:
        """See `SceneSource.fingerprint`; over the names and contents of pictures, label maps and masks in use."""
        if not self._fingerprint:
            used = [p for f in self._scenes for p in (f.image, f.labels, *f.masks) if p is not None]
            self._fingerprint = fingerprint_files(self._folder, used)
        return self._fingerprint


def _find_scenes(folder: Path, labelled: bool) -> list[_Files]:
    images = list_pictures(folder / "images" / "edr", inside=folder)
    if not labelled:
        return [_Files(image, None, (), "") for image in images.values()]
    train, gold = _train_label_maps(folder), _gold_label_maps(folder)
    if both := sorted(train.keys() & gold.keys()):
        raise DataError(f"{train[both[0]]}: also among the gold test label maps; keep one of the two")
    label_maps = {**train, **gold}
    if not label_maps:
        raise DataError(f"{folder}/labels: no label maps in train/ or test/; expected those of the AI4Mars release")
    if alone := sorted(label_maps.keys() - images.keys()):
        raise DataError(
            f"{label_maps[alone[0]]}: no picture {alone[0]}.JPG in images/edr{and_more(alone)}; "
            "add it or remove the label map"
        )
    return [
        _Files(images[name], label_maps[name], _masks(folder, name), "test" if name in gold else "train")
        for name in sorted(label_maps)
    ]


def _train_label_maps(folder: Path) -> dict[str, Path]:
    train = folder / "labels" / "train"
    return list_pictures(train, (".png",), inside=folder) if train.is_dir() else {}


def _gold_label_maps(folder: Path) -> dict[str, Path]:
    """The strictest gold set there is: pixels on which three experts agree, else two, else one."""
    sets = sorted(p for p in (folder / "labels" / "test").glob("masked-gold-*") if p.is_dir())
    if not sets:
        return {}
    chosen = next((p for p in sets if p.name == _GOLD), sets[-1])
    return {
        name.removesuffix(_GOLD_SUFFIX): path for name, path in list_pictures(chosen, (".png",), inside=folder).items()
    }


def _masks(folder: Path, name: str) -> tuple[Path, ...]:
    rover = folder / "images" / "mxy" / f"{name.replace('EDR_', 'MXY_')}.png"
    far = folder / "images" / "rng-30m" / f"{name.replace('EDR_', 'RNG_')}.png"
    return tuple(path for path in (rover, far) if path.is_file())


def _stop(image: Path) -> str:
    product = _PRODUCT.fullmatch(image.stem)
    if product is None:
        raise DataError(
            f"{image}: the name gives no site and drive; expected one such as NLA_398561766EDR_F0030004NCAM00400M1.JPG"
        )
    return f"{product['site']}-{product['drive']}"


def _id_table(classes: ClassSet) -> np.ndarray:
    """(256,) uint8: id in the release's files -> id of the class of that name."""
    table = np.full(256, classes.ignored, np.uint8)
    for name, file_id in zip(FILE_CLASSES.names, FILE_CLASSES.ids, strict=True):
        table[file_id] = classes.ids[classes.index(name)]
    return table


def _check_files(files: _Files) -> tuple[int, int]:
    height, width = probe_image(files.image)[:2]
    check_side(files.image, height, width)
    if files.labels is not None:
        check_same_size(files.image, (height, width), files.labels, read_label_map(files.labels, FILE_CLASSES).shape)
    for mask in files.masks:
        check_same_size(files.image, (height, width), mask, probe_image(mask)[:2])
    return height, width
