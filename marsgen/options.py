"""Options of the command `marsgen`: words to choose from, and what belongs to one command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from marsgen.checks import check_data, check_each, check_place, check_runs
from marsgen.commands.places import find_ort, refuse_no_generator, refuse_no_teacher
from marsgen.completion import offer_classes, offer_runs
from marsgen.core.storage.places import refuse_no_network
from marsgen.quality.places import read_scored_head, refuse_no_features, refuse_no_judge

SETTINGS = {
    "inspect": "marsgen.commands.config:InspectConfig",
    "train-generator": "marsgen.generators.config:TrainPix2PixConfig",
    "diffusion": "marsgen.generators.config:TrainDiffusionConfig",
    "distilled": "marsgen.generators.config:TrainDistilledConfig",
    "synthesize": "marsgen.synthesis.config:SynthesizeConfig",
    "preview": "marsgen.commands.config:PreviewConfig",
    "export": "marsgen.commands.config:ExportConfig",
    "onnx": "marsgen.generators.config:ExportGeneratorConfig",
    "import": "marsgen.scenes.formats.config:ReadingConfig",
    "score": "marsgen.commands.config:ScoreConfig",
    "playground": "marsgen.commands.config:PlaygroundConfig",
    "demo": "marsgen.commands.config:DemoConfig",
}
"""command -> the model of its settings; diffusion and distilled are `train-generator --kind ...`, onnx is
`export --to onnx`"""


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
    distilled = "distilled"


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
        callback=check_runs("marsgen train-generator", "copy-paste", refuse_no_generator),
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
        callback=check_each(refuse_no_judge),
    ),
]
FocusRun = Annotated[
    str | None,
    typer.Option(
        "--focus",
        help="Run of `segmenter train` on real scenes: paste where its loss is high.",
        metavar="RUN",
        callback=check_each(refuse_no_judge),
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
# of the others, whose names they begin with

InspectAgainst = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="Another data set, such as the test set: list the pictures that both hold.",
        metavar="WHERE",
        callback=check_data,
    ),
]
ImportSource = Annotated[
    str,
    typer.Argument(
        help="Folder or file of another tool: LabelMe, COCO, YOLO, Pascal VOC, CVAT, Cityscapes, CamVid, class "
        "folders, Hugging Face, Parquet, GeoTIFF.",
        metavar="SOURCE",
        callback=check_data,
        show_default=False,
    ),
]
ImportFormat = Annotated[
    str | None,
    typer.Option("--format", help="Which format it is, where it looks like more than one.", metavar="NAME"),
]
ImportLongestSide = Annotated[
    int | None,
    typer.Option(
        "--longest-side", help="Make larger scenes smaller, to this many pixels on the longer side.", metavar="PX"
    ),
]
ImportDryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be read and decided, print the classes.yaml, and stop.")
]
TrainGeneratorKind = Annotated[
    Kind | None, typer.Option("--kind", help="Which generator to train.", show_default="pix2pix")
]
TrainGeneratorUnlabelled = Annotated[
    list[str] | None,
    typer.Option(
        "--unlabelled",
        help="Pictures without labels to train on too (diffusion); repeatable. An .npz has its own test_set.",
        metavar="WHERE",
        callback=check_data,
    ),
]
TrainGeneratorTeacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        help="With --kind distilled: folder of the diffusion generator whose drawings are learned.",
        metavar="DIR",
        callback=check_runs("marsgen train-generator", use=refuse_no_teacher),
        autocompletion=offer_runs("generator.json"),
    ),
]
PreviewGenerator = Annotated[
    str | None,
    typer.Argument(
        help="Folder of `marsgen train-generator`. Default: the last trained one.",
        metavar="DIR",
        callback=check_runs("marsgen train-generator", use=refuse_no_generator),
        show_default=False,
    ),
]
ExportData = Annotated[
    str,
    typer.Argument(
        help="Folder of `marsgen synthesize`, or any other data set; with --to onnx, of `marsgen train-generator`.",
        metavar="WHERE",
        show_default=False,
        callback=check_place,
    ),
]
ExportTo = Annotated[
    Target | None,
    typer.Option(
        "--to",
        help="What to write: PNG pairs, tars, tables, objects, nnU-Net's raw data; onnx: a generator.",
        show_default="png",
    ),
]
ExportGain = Annotated[
    str | None,
    typer.Option("--gain", help="What training on the set gained, in words, for its data card.", metavar="TEXT"),
]
ScoreFolder = Annotated[
    Path,
    typer.Argument(help="What `marsgen synthesize` wrote.", metavar="DIR", callback=check_each(read_scored_head)),
]
ScoreJudge = Annotated[
    Path | None,
    typer.Option(
        "--judge",
        help="Folder of `segmenter train`: measure its agreement with the label maps.",
        metavar="RUN",
        callback=check_each(refuse_no_judge),
    ),
]
ScoreFeatures = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="What pictures are compared by: judge, imagenet, or a safetensors file of resnet18 or resnet50. "
        "Default: the judge if there is one, else imagenet.",
        metavar="judge|imagenet|FILE",
        callback=check_each(refuse_no_features),
    ),
]
ScoreData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Real scenes it was made from. Default: where they were then.",
        metavar="WHERE",
        callback=check_data,
    ),
]
ScoreReference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="Other real scenes to compare with, or the same data: then its test part. Default: the train part.",
        metavar="WHERE",
        callback=check_data,
    ),
]
PlaygroundGenerator = Annotated[
    str | None,
    typer.Argument(
        help="Folder of `marsgen train-generator`. Default: the last trained one.",
        metavar="DIR",
        show_default=False,
        callback=check_runs("marsgen train-generator", use=refuse_no_generator),
    ),
]
PlaygroundData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Real scenes to paint on. Default: the generator's training data.",
        metavar="WHERE",
        callback=check_data,
    ),
]
PlaygroundBrowse = Annotated[
    list[str] | None,
    typer.Option(
        "--browse",
        help="Set of `marsgen synthesize` to look through; repeatable.",
        metavar="SET",
        callback=check_data,
    ),
]
PlaygroundScores = Annotated[
    list[Path] | None,
    typer.Option(
        "--scores",
        help="Folder of `marsgen score` of one of these sets; repeatable.",
        metavar="DIR",
        callback=check_runs("marsgen score"),
    ),
]
PlaygroundSegmenter = Annotated[
    Path | None,
    typer.Option(
        "--segmenter",
        help="File of `segmenter export`: what it sees in the drawn picture.",
        metavar="MODEL.onnx",
        callback=check_each(refuse_no_network),
    ),
]
PlaygroundCompare = Annotated[
    list[Path] | None,
    typer.Option(
        "--compare",
        help="Folder of `segmenter predict`; repeat it for each network whose predictions are compared.",
        metavar="DIR",
        callback=check_runs("segmenter predict"),
    ),
]
PlaygroundTest = Annotated[
    str | None,
    typer.Option(
        "--test",
        help="Labelled scenes that these are for. Default: those that they name.",
        metavar="WHERE",
        callback=check_data,
    ),
]
PlaygroundOrt = Annotated[
    Path | None,
    typer.Option(
        "--ort",
        help="Folder of the npm package onnxruntime-web. Default: node_modules/onnxruntime-web.",
        metavar="DIR",
        callback=check_each(find_ort),
    ),
]
