"""Options of the command `segmenter`: what belongs to one command, and words to choose from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from marsgen.checks import check_data, check_each, check_out, check_runs
from marsgen.completion import offer_classes, offer_configs
from segmenter.results.places import refuse_no_study
from segmenter.training.places import refuse_no_extra, refuse_no_state


class ExportTarget(StrEnum):
    """What a trained network is written as."""

    onnx = "onnx"
    torch_export = "torch-export"


def refuse_no_weights(segmenter: Path) -> None:
    """See `find_weights`."""
    from segmenter.inference.weights import find_weights  # here: imports yaml

    find_weights(segmenter)


RunFolders = Annotated[
    list[Path],
    typer.Argument(
        help="Folders that `segmenter train` wrote.",
        metavar="RUN...",
        show_default=False,
        callback=check_runs("segmenter train"),
    ),
]


TrainExtra = Annotated[
    list[str] | None,
    typer.Option(
        "--extra",
        help="Folder of synthetic or pseudo-labelled scenes to train on too, or the kept.json of one from "
        "`marsgen playground`. Repeatable.",
        metavar="DIR|kept.json",
        callback=check_each(refuse_no_extra),
    ),
]
TrainFork = Annotated[
    Path | None,
    typer.Option(
        "--fork",
        help="Finished run, trained with fork_at, whose first steps this one shares instead of repeating them.",
        metavar="RUN",
        callback=check_runs("segmenter train", use=refuse_no_state),
    ),
]
EvaluateOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder to write into. Default: in the run, where `segmenter compare` finds it.",
        metavar="DIR",
        callback=check_out,
    ),
]
StudyReportStudies = Annotated[
    list[Path],
    typer.Argument(
        help="Folder of a finished study, or only its folder of raw counts. Of several, a table with a line for "
        "each rare class.",
        metavar="DIR...",
        callback=check_each(refuse_no_study),
        show_default=False,
    ),
]
StudyReportOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder to write into. Default: results/ beside the counts; of several studies nothing is written.",
        metavar="DIR",
    ),
]
StudyYaml = Annotated[
    Path,
    typer.Argument(
        help="Yaml of arms, seeds and sets, such as configs/studies/rare_class.yaml.",
        metavar="STUDY.yaml",
        show_default=False,
        autocompletion=offer_configs("studies"),
    ),
]
StudyTest = Annotated[
    str | None,
    typer.Option(
        "--test",
        help="Labelled scenes to score on. Default: the test part or the folds of --data.",
        metavar="WHERE",
        callback=check_data,
    ),
]
StudyFolds = Annotated[
    int | None,
    typer.Option(
        "--folds", help="Cross-validation: test every scene of --data once, in one of K folds.", min=2, metavar="K"
    ),
]
StudyUnlabelled = Annotated[
    str | None,
    typer.Option(
        "--unlabelled",
        help="Pictures to pseudo-label, for sets with a teacher. Default: the test_set of --data, if it has one.",
        metavar="WHERE",
        callback=check_data,
    ),
]
AutoClassName = Annotated[
    str | None,
    typer.Option(
        "--class",
        help="The class to find. Default: the only rare class of the data.",
        metavar="NAME",
        autocompletion=offer_classes,
    ),
]
AutoTest = Annotated[
    str | None,
    typer.Option(
        "--test",
        help="Labelled scenes for the confirmation. Default: the test part of --data, else one set aside.",
        metavar="WHERE",
        callback=check_data,
    ),
]
AutoRecipes = Annotated[
    Path | None,
    typer.Option(
        "--recipes",
        help="Yaml of a study whose arms race. Default: configs/studies/auto.yaml.",
        metavar="STUDY.yaml",
        autocompletion=offer_configs("studies"),
    ),
]
AutoUnlabelled = Annotated[
    str | None,
    typer.Option(
        "--unlabelled",
        help="Pictures to pseudo-label. Default: the test_set of --data, if it has one.",
        metavar="WHERE",
        callback=check_data,
    ),
]
PredictRun = Annotated[
    Path,
    typer.Argument(
        help="Folder that `segmenter train` wrote, or an ONNX file of `segmenter export`.",
        metavar="RUN",
        show_default=False,
        callback=check_each(refuse_no_weights),
    ),
]
PredictPictures = Annotated[
    list[str] | None,
    typer.Argument(
        help="Picture files, and folders of pictures.",
        metavar="[PICTURE...]",
        show_default=False,
        callback=check_data,
    ),
]
PredictData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A data set, whose labels are not read; instead of PICTURE.",
        metavar="WHERE",
        callback=check_data,
    ),
]
PredictProbs = Annotated[
    bool | None,
    typer.Option("--probs", help="Also write the probability of each class at each pixel.", show_default=False),
]
PredictOverlay = Annotated[
    bool | None,
    typer.Option("--overlay", help="Also write the pictures under the class colours.", show_default=False),
]
ExportRun = Annotated[
    Path,
    typer.Argument(
        help="Folder that `segmenter train` wrote.",
        metavar="RUN",
        show_default=False,
        callback=check_runs("segmenter train"),
    ),
]
ExportTo = Annotated[
    ExportTarget | None,
    typer.Option("--to", help="onnx: for onnxruntime; torch-export: for torch.export.load.", show_default="onnx"),
]
ExportData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Labelled scenes to check the file on. Default: the validation part of the run's own data.",
        metavar="WHERE",
        callback=check_data,
    ),
]
ExportInt8 = Annotated[
    bool | None,
    typer.Option("--int8", help="Also write an int8 file, and say what it costs.", show_default=False),
]
