"""Label maps in the folders of three well-known data sets.

Pascal VOC, CVAT's "segmentation mask":
    JPEGImages/a.jpg  SegmentationClass/a.png (colours)  labelmap.txt (name:red,green,blue::)
    ImageSets/Segmentation/train.txt
Cityscapes:
    leftImg8bit/train/ulm/X_leftImg8bit.png  gtFine/train/ulm/X_gtFine_labelIds.png
CamVid, as SegNet published it:
    train/X.png  trainannot/X.png (ids)  val/X.png  valannot/X.png

Sources: host.robots.ox.ac.uk/pascal/VOC/voc2012; docs.cvat.ai, "Segmentation mask";
github.com/mcordts/cityscapesScripts, helpers/labels.py; github.com/alexgkendall/SegNet-Tutorial.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_text
from marsgen.scenes.classes import ClassSet, default_colours
from marsgen.scenes.faults import Faults
from marsgen.scenes.files.finding import IMAGE_SUFFIXES
from marsgen.scenes.files.label_maps import ids_of_colours, read_colours, read_label_map, read_values
from marsgen.scenes.files.layout import read_names
from marsgen.scenes.files.pairs import plain_name
from marsgen.scenes.formats.config import ReadingConfig
from marsgen.scenes.formats.listing import Listing, composed, few, part_of
from marsgen.scenes.formats.reading import Labelling, Reading, Sample, id_of, number_classes

Colour = tuple[int, int, int]
_ReaderOf = Callable[[Path], Callable[[tuple[int, int]], Labelling]]

# Pascal VOC and CVAT

VOC_NAME = "Pascal VOC"
VOC_NAMES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
VOC_VOID: Colour = (224, 224, 192)
_MASK_FOLDER = "SegmentationClass"


def recognise_voc(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    masks = _voc_masks(listing)
    labelmap = " and labelmap.txt" if _labelmap_file(listing) else ""
    return f"{len(masks)} label maps in {_MASK_FOLDER}/{labelmap}" if masks else None


def read_voc(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read label maps by their colours; the border colour of Pascal VOC carries no label.

    Folders of this form hold other classes as well. Without a labelmap.txt a classes file says which: its ids are the
    numbers of grey and indexed pixels.

    Raises:
        DataError: colours without a name, or a label map without a picture.
    """
    labelmap = _labelmap_file(listing)
    if labelmap is None and classes is not None and not set(classes.names) <= set(VOC_NAMES):
        note = "there is no labelmap.txt: label maps are read by the ids, or in RGB by the colours, of the classes file"
        return Reading(VOC_NAME, classes, _voc_samples(listing, _reader_by_classes(classes)), [note])
    notes: list[str] = []
    if labelmap is not None:
        colours = _read_labelmap(listing.root / labelmap)
    else:
        colours = dict(zip(VOC_NAMES, [(0, 0, 0), *default_colours(20)], strict=True))
        notes.append(
            "there is no labelmap.txt: the colours are taken for those of Pascal VOC 2012 (1 aeroplane, 2 bicycle ...);"
            " where they mean other classes, give --classes FILE with name and id of each"
        )
    black = (0, 0, 0) in colours.values()
    known, ids, more = number_classes(
        list(colours),
        classes,
        config,
        background=not black,
        colours={n: c for n, c in colours.items() if c != (0, 0, 0)},
    )
    if not black:
        colours[""], ids[""] = (0, 0, 0), id_of(known, config.background)
    table = _byte_table({number: ids[name] for number, name in enumerate(colours)}, known.ignored)
    numbers = tuple(range(len(colours)))
    file_classes = ClassSet(
        tuple(f"{n}:{name}" for n, name in enumerate(colours)), numbers, tuple(colours.values()), 255
    )

    def reader(path: Path) -> Callable[[tuple[int, int]], Labelling]:
        def read(size: tuple[int, int]) -> Labelling:
            painted = read_colours(path)
            border = (painted == np.array(VOC_VOID, np.uint8)).all(2) & (VOC_VOID not in colours.values())
            painted[border] = (32, 32, 32)
            return Labelling(table[ids_of_colours(painted, file_classes, path)])

        return read

    table[255] = known.ignored
    return Reading(VOC_NAME, known, _voc_samples(listing, reader), notes + more)


def _reader_by_classes(classes: ClassSet) -> _ReaderOf:
    def reader(path: Path) -> Callable[[tuple[int, int]], Labelling]:
        def read(size: tuple[int, int]) -> Labelling:
            return Labelling(read_label_map(path, classes))

        return read

    return reader


def _voc_samples(listing: Listing, reader: _ReaderOf) -> list[Sample]:
    """A sample of each picture, with the part that the lists give it."""
    faults = Faults()
    masks = {composed(file.stem): file for file in _voc_masks(listing)}
    pictures = _pictures_by_stem(listing, ("JPEGImages", "images", "Images"), faults, masks)
    parts = _voc_parts(listing, faults)
    faults.raise_any(listing.root)
    samples = []
    for name, picture in pictures.items():
        used = [picture, *([masks[name]] if name in masks else [])]
        label = reader(listing.root / masks[name]) if name in masks else None
        samples.append(_sample(listing, name, used, label, parts.get(name, "")))
    return samples


def _voc_masks(listing: Listing) -> list[PurePosixPath]:
    return [file for file in listing.with_suffix(".png") if file.parent.name == _MASK_FOLDER]


def _labelmap_file(listing: Listing) -> PurePosixPath | None:
    return next((file for file in listing.files if file.name == "labelmap.txt"), None)


def _read_labelmap(path: Path) -> dict[str, Colour]:
    colours: dict[str, Colour] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = re.match(r"(?P<name>.+?):(?P<r>\d{1,3}),(?P<g>\d{1,3}),(?P<b>\d{1,3})(:|$)", line)
        if entry is None or max(int(entry[c]) for c in "rgb") > 255:
            raise DataError(f"{path}: line {number} is {line!r}; expected name:red,green,blue::")
        colour = (int(entry["r"]), int(entry["g"]), int(entry["b"]))
        if entry["name"] in colours or colour in colours.values():
            raise DataError(f"{path}: line {number}: the name or the colour {colour} has a line already")
        colours[entry["name"]] = colour
    return colours


def _voc_parts(listing: Listing, faults: Faults) -> dict[str, str]:
    """Part of each picture that ImageSets/Segmentation lists by name."""
    parts: dict[str, str] = {}
    for file in listing.with_suffix(".txt"):
        if file.parent.name == "Segmentation" and file.stem in ("train", "val", "test"):
            for text in read_names(listing.root / file):
                name = plain_name(text)
                if parts.setdefault(name, file.stem) != file.stem:
                    faults.add(f"{listing.root / file}: {name} is in {parts[name]}.txt too; keep it in one part")
    return parts


def _pictures_by_stem(
    listing: Listing, folders: tuple[str, ...], faults: Faults, masks: Mapping[str, PurePosixPath]
) -> dict[str, PurePosixPath]:
    """Pictures outside the folders of label maps, by name; every label map needs one."""
    among = [file for file in listing.pictures if file.parent.name in folders]
    among = among or [f for f in listing.pictures if not f.parent.name.startswith("Segmentation")]
    pictures: dict[str, PurePosixPath] = {}
    for file in among:
        other = pictures.setdefault(composed(file.stem), file)
        if other != file:
            faults.add(f"{listing.root / file}: {other} has the same name; rename one of the two")
    for name in sorted(masks.keys() - pictures.keys()):
        faults.add(f"{listing.root / masks[name]}: no picture of this name in {few(folders)}")
    return pictures


# Cityscapes

CITYSCAPES_NAME = "Cityscapes"
_CITYSCAPES: dict[str, tuple[int, Colour]] = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
"""the 19 classes that are scored, with the ids of *_labelIds.png"""
_CITYSCAPES_VALUES = (*range(34), 255)
_TRAIN_VALUES = (*range(len(_CITYSCAPES)), 255)
"""of *_labelTrainIds.png: the scored classes in their order, 255 = no label"""
_IMAGE_END, _LABEL_END, _TRAIN_END = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"


def recognise_cityscapes(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    labels, _ = _cityscapes_maps(listing)
    return f"{len(labels)} Cityscapes label maps ({few(list(labels.values()), 1)})" if labels else None


def _cityscapes_maps(listing: Listing) -> tuple[dict[str, PurePosixPath], bool]:
    """Name of a frame -> its label map, and whether those hold train ids; *_labelIds.png where both are there."""
    for end in (_LABEL_END, _TRAIN_END):
        if found := {f.stem.removesuffix(end): f for f in listing.pictures if f.stem.endswith(end)}:
            return found, end == _TRAIN_END
    return {}, False


def read_cityscapes(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read *_labelIds.png, else *_labelTrainIds.png, as the 19 scored classes; the other ids carry no label.

    Raises:
        DataError: a label map without a picture, or values that are no Cityscapes ids.
    """
    known, ids, notes = number_classes(
        list(_CITYSCAPES), classes, config, background=False, colours={n: c for n, (_, c) in _CITYSCAPES.items()}
    )
    labels, by_train_ids = _cityscapes_maps(listing)
    numbers = {name: place if by_train_ids else number for place, (name, (number, _)) in enumerate(_CITYSCAPES.items())}
    table = _byte_table({number: ids[name] for name, number in numbers.items()}, known.ignored)
    values = _TRAIN_VALUES if by_train_ids else _CITYSCAPES_VALUES
    pictures = {f.stem.removesuffix(_IMAGE_END): f for f in listing.pictures if f.stem.endswith(_IMAGE_END)}
    faults = Faults()
    for name in sorted(labels.keys() - pictures.keys()):
        faults.add(f"{listing.root / labels[name]}: no picture {name}{_IMAGE_END}.png")
    faults.raise_any(listing.root)
    notes.append(
        "ids are read as Cityscapes' train ids (0 road, 1 sidewalk ...), 255 carries no label"
        if by_train_ids
        else "the ids of Cityscapes that are not scored carry no label"
    )
    samples = []
    for name, picture in pictures.items():
        used = [picture, *([labels[name]] if name in labels else [])]
        label = _value_reader(listing.root / labels[name], table, values) if name in labels else None
        samples.append(_sample(listing, name, used, label, part_of(picture)))
    return Reading(CITYSCAPES_NAME, known, samples, notes)


# CamVid

CAMVID_NAME = "CamVid"
_CAMVID: dict[str, Colour] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""ids 0 to 10; 11 carries no label"""
_CAMVID_DRIVES = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_")
_ANNOT = "annot"


def recognise_camvid(listing: Listing) -> str | None:
    """Evidence in words, or None."""
    pairs = _annot_folders(listing)
    return f"folders {few([f'{image}/ and {image}{_ANNOT}/' for image in pairs])} as CamVid has them" if pairs else None


def read_camvid(listing: Listing, config: ReadingConfig, classes: ClassSet | None) -> Reading:
    """Read the label maps of X/ in Xannot/.

    Raises:
        DataError: label maps without picture, or frames of other drives than CamVid's without a classes file.
    """
    faults, labels, pictures = Faults(), {}, {}
    for folder in _annot_folders(listing):
        for file in listing.pictures:
            if str(file.parent) == folder:
                pictures[f"{folder}/{composed(file.stem)}"] = file
            elif str(file.parent) == f"{folder}{_ANNOT}":
                labels[f"{folder}/{composed(file.stem)}"] = file
    for key in sorted(labels.keys() - pictures.keys()):
        faults.add(f"{listing.root / labels[key]}: no picture {key}.png")
    faults.raise_any(listing.root)
    if all(_CAMVID_DRIVES.match(file.stem) for file in pictures.values()):
        known, ids, notes = number_classes(list(_CAMVID), classes, config, background=False, colours=_CAMVID)
        value_ids = {number: ids[name] for number, name in enumerate(_CAMVID)} | {11: known.ignored}
        notes.append(
            f"the frames have CamVid's names, so ids are read as its eleven classes: "
            f"{', '.join(f'{n} {name}' for n, name in enumerate(_CAMVID))}, 11 no label"
        )
    elif classes is not None:
        known, notes = classes, []
        value_ids = {i: i for i in (*classes.ids, classes.ignored)}
    else:
        values = sorted(set(np.unique(read_values(listing.root / next(iter(labels.values())))).tolist()))
        raise DataError(
            f"{listing.root}: folders as CamVid has them, but other frames; what the ids ({few(values, 8)}) mean "
            "stands nowhere, give --classes FILE with name and id of each class"
        )
    table = _byte_table(value_ids, known.ignored)
    samples = []
    stems = [composed(file.stem) for file in pictures.values()]
    for key, picture in pictures.items():
        used = [picture, *([labels[key]] if key in labels else [])]
        label = _value_reader(listing.root / labels[key], table, tuple(value_ids)) if key in labels else None
        name = picture.stem if len(set(stems)) == len(stems) else key.replace("/", "-")
        samples.append(_sample(listing, name, used, label, part_of(picture)))
    return Reading(CAMVID_NAME, known, sorted(samples, key=lambda sample: sample.name), notes)


def _annot_folders(listing: Listing) -> list[str]:
    """Folders X beside which there is Xannot, both with pictures."""
    folders = {str(file.parent) for file in listing.pictures}
    return sorted(folder for folder in folders if folder != "." and f"{folder}{_ANNOT}" in folders)


# all of them


def _byte_table(id_of_value: Mapping[int, int], otherwise: int) -> np.ndarray:
    table = np.full(256, otherwise, np.uint8)
    for value, class_id in id_of_value.items():
        table[value] = class_id
    return table


def _value_reader(path: Path, table: np.ndarray, known: tuple[int, ...]) -> Callable[[tuple[int, int]], Labelling]:
    def read(size: tuple[int, int]) -> Labelling:
        values = read_values(path)
        strange = np.setdiff1d(np.unique(values), known)
        if len(strange):
            row, column = np.argwhere(values == strange[0])[0]
            raise DataError(f"{path}: value {strange[0]} at row {row}, column {column} is none of this format's ids")
        return Labelling(table[values])

    return read


def _sample(
    listing: Listing,
    name: str,
    used: list[PurePosixPath],
    label: Callable[[tuple[int, int]], Labelling] | None,
    part: str,
) -> Sample:
    path = listing.root / used[0]
    assert path.suffix.lower() in IMAGE_SUFFIXES
    files = tuple((str(file), listing.root / file) for file in used)
    return Sample(composed(name), path, label, part, None, files)
