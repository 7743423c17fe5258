"""Options of the command `marsgen`: words to choose from, and all that `marsgen synthesize` takes."""

from enum import StrEnum
from typing import Annotated

import typer

from marsgen.completion import offer_classes, offer_runs
from marsgen.console import check_data, check_runs


class Mode(StrEnum):
    """What the generator draws."""

    region = "region"
    scene = "scene"
    variation = "variation"


class Format(StrEnum):
    """How a set of pairs is stored."""

    png = "png"
    shards = "shards"


class Target(StrEnum):
    """What a data set is turned into; onnx, a trained generator."""

    png = "png"
    webdataset = "webdataset"
    parquet = "parquet"
    hf = "hf"
    coco = "coco"
    yolo = "yolo"
    nnunet = "nnunet"
    onnx = "onnx"


class Kind(StrEnum):
    """The generators that can be trained."""

    pix2pix = "pix2pix"
    diffusion = "diffusion"


# of `marsgen synthesize`

ClassNames = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        help="Class to add more of; repeatable. Default: the rare classes of the data.",
        metavar="NAME",
        autocompletion=offer_classes,
    ),
]
Pairs = Annotated[int | None, typer.Option("--n", help="Pairs to make.", min=1, show_default="1000")]
GeneratorFolder = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help="Folder of `marsgen train-generator`, or copy-paste (no training). Default: the last trained one.",
        metavar="DIR|copy-paste",
        callback=check_runs("marsgen train-generator", "copy-paste"),
        autocompletion=offer_runs("generator.json", "copy-paste"),
    ),
]
DrawMode = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="region: draw only around what is pasted; scene: the whole picture; variation: paste nothing, redraw real "
        "scenes of the class.",
        show_default="region",
    ),
]
StoreFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", help="png: two files per pair; shards: large .npy files, for millions.", show_default="png"
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        help="0: pasted pixels stay as they are; 1: the generator draws them from noise.",
        min=0,
        max=1,
        show_default="the generator's",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        help="How much a diffusion generator exaggerates the label map; 1: not at all.",
        min=0,
        max=20,
        show_default="the generator's",
    ),
]
JudgeRun = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Run of `segmenter train` on real scenes: keep only samples in which it finds what was pasted.",
        metavar="RUN",
    ),
]
FocusRun = Annotated[
    str | None,
    typer.Option(
        "--focus", help="Run of `segmenter train` on real scenes: paste where its loss is high.", metavar="RUN"
    ),
]
MapSet = Annotated[
    str | None,
    typer.Option(
        "--maps",
        help="Label maps to draw as they are, instead of pasting: a set saved by `marsgen playground`, or any data "
        "set. Default for --n: one of each.",
        metavar="WHERE",
        callback=check_data,
    ),
]
Keep = Annotated[
    float | None,
    typer.Option("--keep", help="With --judge: fraction of the drawn samples to keep.", metavar="FRACTION"),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement", help="With --judge, instead of --keep: least IoU with the label map.", metavar="IOU"
    ),
]
ParentData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Real scenes to paste into. Default: the generator's training data.",
        metavar="WHERE",
        callback=check_data,
    ),
]
SYNTHESIZE_SETTINGS = {
    "class_": "classes",
    "n": "n",
    "mode": "mode",
    "format_": "format",
    "strength": "draw.strength",
    "guidance": "draw.guidance",
    "judge": "select.judge",
    "keep": "select.keep",
    "min_agreement": "select.min_agreement",
}
"""parameter of `synthesize` -> the setting that it sets"""
