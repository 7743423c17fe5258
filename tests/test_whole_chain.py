"""Every format from its files to a prediction and out again: written here, imported, trained on, predicted, exported.

The twelve pictures and regions are the same in all formats; each writer says what its classes are called and where it
keeps pixels only nearly (JPEG).
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_flow import call

import segmenter as sg
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes

SIZE = (40, 48)
NUMBERS = range(12)
VALIDATION = range(9, 12)
SMALL = {"steps": 2, "batch_size": 4, "validate_every": 2, "unet": {"width": 4}, "precision": "fp32"}
SPLIT = {"data.val_fraction": 0.25, "data.near_duplicate_similarity": 1}


@dataclass(frozen=True)
class Chain:
    """A format and how it goes out again."""

    write: Callable[[Path], None]
    ground: str
    """class of what no region covers"""
    region: str
    """class of the regions"""
    exported_as: str
    words: tuple[str, ...] = ()
    """more words of `marsgen import`"""
    grey: bool = False
    jpeg: bool = False
    """the pictures lost something in the format itself"""


def name(index: int) -> str:
    return f"p{index:02d}"


def picture(index: int, grey: bool = False) -> np.ndarray:
    smooth = np.random.default_rng(index).integers(60, 190, (5, 6, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(smooth).resize(SIZE[::-1], Image.Resampling.BICUBIC))
    return pixels[..., :1].copy() if grey else pixels


def box(index: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    left, top = (int(value) for value in np.random.default_rng(100 + index).integers(4, 20, 2))
    return left, top, left + 14, top + 11


def regions(index: int) -> np.ndarray:
    left, top, right, bottom = box(index)
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def ids(index: int, ground: int, region: int) -> np.ndarray:
    return np.where(regions(index), region, ground).astype(np.uint8)


def corners(index: int) -> list[list[int]]:
    left, top, right, bottom = box(index)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(path, **options)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def part_of(index: int) -> str:
    return "val" if index in VALIDATION else "train"


# writers


def write_labelme(folder: Path) -> None:
    for index in NUMBERS:
        save(folder / f"{name(index)}.png", picture(index))
        shapes = [{"label": "crack", "points": corners(index), "shape_type": "polygon"}]
        content = {"shapes": shapes, "imagePath": f"{name(index)}.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (folder / f"{name(index)}.json").write_text(json.dumps(content))


def write_coco(folder: Path) -> None:
    """By supervision; its outlines run through the centres of the outer pixels, so those of the boxes replace them."""
    supervision = pytest.importorskip("supervision")
    images, annotations = {}, {}
    for index in NUMBERS:
        path = folder / f"{name(index)}.png"
        save(path, picture(index))
        images[str(path)] = picture(index)
        annotations[str(path)] = supervision.Detections(
            xyxy=np.array([box(index)], float), mask=regions(index)[None], class_id=np.array([0])
        )
    data = supervision.DetectionDataset(classes=["crack"], images=images, annotations=annotations)
    data.as_coco(annotations_path=str(folder / "annotations.json"))
    content = json.loads((folder / "annotations.json").read_text())
    for entry in content["annotations"]:
        number = int(content["images"][entry["image_id"] - content["images"][0]["id"]]["file_name"][1:3])
        entry["segmentation"] = [[float(value) for value in np.ravel(corners(number))]]
    (folder / "annotations.json").write_text(json.dumps(content))


def write_yolo(folder: Path) -> None:
    for index in NUMBERS:
        part = part_of(index)
        save(folder / "images" / part / f"{name(index)}.png", picture(index))
        points = (np.array(corners(index)) / SIZE[::-1]).ravel()
        text = folder / "labels" / part / f"{name(index)}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("0 " + " ".join(f"{value:.8f}" for value in points) + "\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: crack}\n")


def write_voc(folder: Path) -> None:
    colours = np.array([(0, 0, 0), (250, 50, 83)], np.uint8)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for index in NUMBERS:
        save(folder / "JPEGImages" / f"{name(index)}.png", picture(index))
        save(folder / "SegmentationClass" / f"{name(index)}.png", colours[ids(index, 0, 1)])
        with (lists / f"{part_of(index)}.txt").open("a") as file:
            file.write(f"{name(index)}\n")
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:250,50,83::\n")


def write_cityscapes(folder: Path) -> None:
    for index in NUMBERS:
        stem = f"ulm_{index:06d}_000019"
        save(folder / "leftImg8bit" / part_of(index) / "ulm" / f"{stem}_leftImg8bit.png", picture(index))
        save(folder / "gtFine" / part_of(index) / "ulm" / f"{stem}_gtFine_labelIds.png", ids(index, 7, 26))


def write_camvid(folder: Path) -> None:
    for index in NUMBERS:
        save(folder / part_of(index) / f"0001TP_{index:06d}.png", picture(index))
        save(folder / f"{part_of(index)}annot" / f"0001TP_{index:06d}.png", ids(index, 3, 8))


def write_class_folders(folder: Path) -> None:
    for index in NUMBERS:
        stem = folder / ("MT_Crack" if index % 2 else "MT_Break") / "Imgs" / f"exp1_num_{index:02d}"
        save(stem.with_suffix(".jpg"), picture(index, grey=True), quality=98)
        save(stem.with_suffix(".png"), ids(index, 0, 255))


def rows(numbers: range) -> list[dict]:
    return [
        {
            "image": {"bytes": png(picture(i)), "path": f"{name(i)}.png"},
            "label": {"bytes": png(ids(i, 0, 1)), "path": None},
        }
        for i in numbers
    ]


def write_names(folder: Path) -> None:
    classes = "classes: [{name: ground, id: 0}, {name: crack, id: 1}]\nrare: crack\n"
    (folder / "classes.yaml").write_text(classes)


def write_parquet(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for part, numbers in (("train", range(9)), ("validation", VALIDATION)):
        parquet.write_table(pa.Table.from_pylist(rows(numbers)), folder / f"{part}-00000-of-00001.parquet")
    write_names(folder)


def write_huggingface(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    parts = {"train": range(9), "validation": VALIDATION}
    splits = {part: datasets.Dataset.from_list(rows(numbers), features) for part, numbers in parts.items()}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    write_names(folder)


def write_geotiff(folder: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    for index in NUMBERS:
        for part, pixels in (("images", picture(index)), ("labels", ids(index, 0, 1)[..., None])):
            (folder / part).mkdir(exist_ok=True)
            shape = {"height": SIZE[0], "width": SIZE[1], "count": pixels.shape[2], "dtype": "uint8"}
            with rasterio.open(folder / part / f"{name(index)}.tif", "w", driver="GTiff", **shape, **place) as file:
                file.write(pixels.transpose(2, 0, 1))
    write_names(folder)


MERGED = ("--set", "rename.Break=Crack")
CHAINS = {
    "labelme": Chain(write_labelme, "background", "crack", "hf"),
    "coco": Chain(write_coco, "background", "crack", "coco"),
    "yolo": Chain(write_yolo, "background", "crack", "yolo"),
    "voc": Chain(write_voc, "background", "crack", "nnunet"),
    "cityscapes": Chain(write_cityscapes, "road", "car", "png"),
    "camvid": Chain(write_camvid, "road", "car", "parquet"),
    "class-folders": Chain(
        write_class_folders, "background", "Crack", "coco", ("--set", "rename.Break=Crack"), True, True
    ),
    "parquet": Chain(write_parquet, "ground", "crack", "webdataset"),
    "huggingface": Chain(write_huggingface, "ground", "crack", "hf"),
    "geotiff": Chain(write_geotiff, "ground", "crack", "nnunet", ("--format", "geotiff")),
}
SHORT = ("labelme", "voc", "parquet")
"""those that `make test` runs: drawn outlines, colours, rows of a table"""


def compare(scenes: SceneSource, chain: Chain) -> None:
    """Fail where a picture or a label map differs from what was written; each is found by its regions."""
    assert len(scenes) == len(NUMBERS)
    ground, region = (scenes.classes.ids[scenes.classes.index(word)] for word in (chain.ground, chain.region))
    order = sorted(range(len(scenes)), key=lambda position: scenes.names[position][-6:])
    for index, position in enumerate(order) if scenes.parts is None else enumerate(in_parts(scenes, order)):
        image, labels = scenes.read(position)
        np.testing.assert_array_equal(labels, ids(index, ground, region))
        wanted = picture(index, chain.grey)
        assert np.abs(image.astype(int) - wanted).max() <= (12 if chain.jpeg else 0)


def in_parts(scenes: SceneSource, order: list[int]) -> list[int]:
    """Positions, the training part first, as the pictures are numbered."""
    return sorted(order, key=lambda position: (scenes.parts or ())[position] == "val")


def compare_nnunet(folder: Path, chain: Chain) -> None:
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    ground = labels["background" if chain.ground == "background" else chain.ground]
    for index in NUMBERS:
        seen = np.asarray(Image.open(folder / "labelsTr" / f"{name(index)}.png"))
        np.testing.assert_array_equal(seen, ids(index, ground, labels[chain.region]))
        np.testing.assert_array_equal(
            np.asarray(Image.open(folder / "imagesTr" / f"{name(index)}_0000.png")), picture(index)
        )


def compare_tars(folder: Path, chain: Chain) -> None:
    import tarfile

    with tarfile.open(folder / "scenes-00000.tar") as tar:
        for index in NUMBERS:
            image, labels = (tar.extractfile(f"{name(index)}.{kind}.png") for kind in ("image", "label"))
            assert image is not None
            assert labels is not None
            np.testing.assert_array_equal(np.asarray(Image.open(image)), picture(index))
            np.testing.assert_array_equal(np.asarray(Image.open(labels)), ids(index, 0, 1))


@pytest.mark.parametrize("key", [key if key in SHORT else pytest.param(key, marks=pytest.mark.slow) for key in CHAINS])
def test_a_format_goes_all_the_way(key: str, tmp_path: Path):
    chain = CHAINS[key]
    source, data, out = tmp_path / "source", tmp_path / "data", tmp_path / "out"
    source.mkdir()
    chain.write(source)
    assert call("marsgen", "import", str(source), *chain.words, "--out", str(data)) == 0
    copy = open_scenes(str(data))
    compare(copy, chain)

    run = sg.train(data, out=tmp_path / "run", settings=SPLIT, **SMALL)
    assert run.summary["steps"] == 2
    found = sg.predict(run, copy.read(0)[0])
    assert found.shape == SIZE
    assert set(np.unique(found)) <= set(copy.classes.ids)

    assert call("marsgen", "export", str(data), "--to", chain.exported_as, "--out", str(out)) == 0
    if chain.exported_as == "nnunet":
        compare_nnunet(out, chain)
    elif chain.exported_as == "webdataset":
        compare_tars(out, chain)
    else:
        compare(open_scenes(str(out)), chain)
