"""The `segmenter` command: parse, open the run, call one stage, print the summary."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from marsgen.console import (
    OUTPUTS,
    Classes,
    ConfigFile,
    Data,
    DryRun,
    Out,
    Overrides,
    read_class_set,
    run_app,
    say,
    say_data,
    say_settings,
    show_version,
)
from marsgen.core.errors import ConfigError

# stages are imported inside the commands: torch takes seconds, --help should not
app = typer.Typer(
    name="segmenter",
    help="Train segmentation networks on real and synthetic scenes, and measure per class what was gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SETTINGS = {
    "train": "segmenter.config:TrainConfig",
    "evaluate": "segmenter.evaluation.evaluate:EvaluateConfig",
    "predict": "segmenter.config:PredictConfig",
    "pseudo-label": "segmenter.config:PseudoLabelConfig",
    "compare": "segmenter.results.compare:CompareConfig",
    "report": "segmenter.results.report:ReportConfig",
}
"""command -> the model of its settings; those of `study` are described in docs/studies.md"""


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version("segmenter"), is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


RunFolders = Annotated[
    list[Path], typer.Argument(help="Folders that `segmenter train` wrote.", metavar="RUN...", show_default=False)
]


@app.command()
def train(
    data: Data,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--extra", help="Folders of synthetic or pseudo-labelled scenes that join training.", metavar="DIR..."
        ),
    ] = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train a segmenter on real scenes, and on synthetic ones where given; a repeated command goes on where it was."""
    from marsgen.cleaning.dataset import open_dataset
    from marsgen.core.config import load_config
    from marsgen.core.process_group import join_process_group
    from marsgen.core.runs import Run
    from segmenter.config import TrainConfig
    from segmenter.training.batches import TrainingBatches, describe_extra, open_extras
    from segmenter.training.train import check_best_metric, draw_network
    from segmenter.training.train import train as fit

    settings = load_config(TrainConfig, config, overrides or ())
    if dry_run:
        return say_settings(settings)
    dataset = open_dataset(data, settings.data, read_class_set(classes))
    extras = open_extras(extra or (), dataset)
    check_best_metric(settings, dataset)
    process_group = join_process_group()
    TrainingBatches(
        settings, dataset, extras, process_group
    )  # what cannot be trained on is refused before a folder exists
    _, pretrained = draw_network(settings, dataset.scenes.channels, len(dataset.scenes.classes))
    folder = out or OUTPUTS / _run_name(extra or (), settings.seed)
    inputs: dict[str, Any] = {
        "data": {"location": data, "fingerprint": dataset.scenes.fingerprint(), "classes": classes and str(classes)},
        "extra": [describe_extra(source) for source in extras],
    }
    if pretrained:  # other weights under the same name are another run
        inputs["pretrained"] = pretrained
    with process_group.main_process_first():
        run = Run.start(
            folder,
            "segmenter train",
            settings,
            inputs,
            without_effect=("workers", "cuda_graph"),
            writes=process_group.is_main_process,
        )
    say_data(dataset)
    for source in extras:
        say(f"extra: {len(source)} scenes of {source.location}")
    if not run.finished:
        fit(settings, run, dataset, extras)
    summary = run.summary
    score = f"{settings.best_metric} {summary['best_score']:.3f} on val"
    say(f"best step {summary['best_step']} of {summary['steps']}   {score}")
    say(f"wrote {folder}")


def _run_name(extra: Sequence[str], seed: int) -> str:
    material = "+".join(Path(location).name for location in extra) or "real"
    return f"segmenter-{material}-seed{seed}"


@app.command()
def evaluate(
    runs: RunFolders,
    data: Data,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to write into. Default: in the run, where `segmenter compare` finds it.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Score runs on labelled test scenes: IoU, precision and recall per class, and the share of regions found."""
    from functools import partial

    from marsgen.core.config import load_config
    from marsgen.core.errors import RunError
    from marsgen.core.runs import Run
    from marsgen.scenes.sources import open_scenes
    from segmenter.evaluation.evaluate import EvaluateConfig, choose_scenes, evaluation_folder, evaluation_lines
    from segmenter.evaluation.evaluate import evaluate as score
    from segmenter.inference.predict import load_segmenter, predict_indices

    settings = load_config(EvaluateConfig, config, overrides or ())
    if out is not None and len(runs) > 1:
        raise RunError("--out names one folder, and several runs were given; leave it out and each run keeps its own")
    source = open_scenes(data, classes=read_class_set(classes))
    for folder in runs:
        run = Run.load(folder, "segmenter train")
        network, known, record = load_segmenter(folder)
        chosen = choose_scenes(run, source, settings.part)
        predict = partial(predict_indices, network, ask=settings)
        evaluation = score(run, source, chosen, known, predict, settings, out, channels=record["channels"])
        say(f"{folder} on {data}")
        for line in evaluation_lines(evaluation):
            say(line)
        say(f"wrote {out or evaluation_folder(run, source, chosen.part, settings)}\n")


@app.command()
def compare(runs: RunFolders, config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Say per class what one arm gained over another, with intervals. The first run's arm is the baseline."""
    from marsgen.core.config import load_config
    from segmenter.results.compare import CompareConfig
    from segmenter.results.compare import compare as measure

    folder = out or OUTPUTS / "compare"
    settings = load_config(CompareConfig, config, overrides or ())
    for line in measure(runs, settings, folder, replace=out is None):
        say(line)
    say(f"wrote {folder}")


@app.command()
def report(runs: RunFolders, config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Write one page from evaluated runs: gains, curves, confusion, and pictures of what was won and lost."""
    from marsgen.core.config import load_config
    from segmenter.results.report import ReportConfig
    from segmenter.results.report import report as write

    settings = load_config(ReportConfig, config, overrides or ())
    say(f"wrote {write(runs, settings, out or OUTPUTS / 'report', replace=out is None)}")


@app.command("study-report")
def study_report(
    study: Annotated[
        Path,
        typer.Argument(
            help="Folder of a finished study, or only its folder of raw counts.", metavar="DIR", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write into. Default: results/ beside the counts.", metavar="DIR"),
    ] = None,
) -> None:
    """Write a study's page and tables again from its raw counts: no data, no weights and no training are needed."""
    from segmenter.results.study_page import report_study

    lines, page = report_study(study, out)
    for line in lines:
        say(line)
    say(f"wrote {page}")


@app.command()
def study(
    config: Annotated[
        Path,
        typer.Argument(
            help="Yaml of arms, seeds and sets, such as configs/studies/rare_class.yaml.",
            metavar="STUDY.yaml",
            show_default=False,
        ),
    ],
    data: Data,
    test: Annotated[
        str | None,
        typer.Option(
            "--test",
            help="Labelled scenes to score on. Default: the test part or the folds of --data.",
            metavar="WHERE",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", help="Cross-validation: test every scene of --data once, in one of K folds.", min=2, metavar="K"
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            "--unlabelled",
            help="Pictures to pseudo-label, for sets with a teacher. Default: the test_set of --data, if it has one.",
            metavar="WHERE",
        ),
    ] = None,
    classes: Classes = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train every arm of a study with every seed and report what each gained; repeat the command to resume."""
    from marsgen.core.config import configs_folder, load_config
    from marsgen.core.process_group import join_controllers
    from segmenter.study.config import StudyConfig
    from segmenter.study.folder import Study
    from segmenter.study.run import open_study, run_study

    if not config.is_file():
        shipped = ", ".join(sorted(path.name for path in (configs_folder() / "studies").glob("*.yaml")))
        raise ConfigError(f"{config}: no such study; shipped ones are {shipped} in configs/studies/")
    settings = load_config(StudyConfig, config, [*(overrides or ()), *([f"folds={folds}"] if folds else [])])
    folder = out or OUTPUTS / f"study-{config.stem}"
    study = Study(settings, folder, data, test, None if classes is None else str(classes), unlabelled)
    if dry_run:
        return say_settings(settings)
    process_group = join_controllers()
    run = open_study(study, process_group)
    page = run_study(study, run, process_group)
    say(f"wrote {page}")


@app.command()
def predict(
    run: Annotated[
        Path, typer.Argument(help="Folder that `segmenter train` wrote.", metavar="RUN", show_default=False)
    ],
    data: Data,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Label images: the course's CSV for its npz, PNG label maps for everything else."""
    from marsgen.core.config import load_config
    from marsgen.core.files import file_fingerprint
    from marsgen.core.runs import Run
    from marsgen.scenes.sources import open_scenes
    from segmenter.config import PredictConfig
    from segmenter.inference.predict import check_images
    from segmenter.inference.predict import predict as label

    settings = load_config(PredictConfig, config, overrides or ())
    Run.load(run, "segmenter train")
    scenes = open_scenes(data, classes=read_class_set(classes), labelled=False)
    check_images(settings, run, scenes)
    inputs = {
        "run": str(run),
        "weights_fingerprint": file_fingerprint(run / "best.safetensors"),
        "data": {"location": data, "fingerprint": scenes.fingerprint(), "classes": classes and str(classes)},
    }
    folder = out or OUTPUTS / f"predictions-{run.name}-{Path(data).stem.replace(':', '-')}"
    result = label(settings, Run.start(folder, "segmenter predict", settings, inputs), run, scenes)
    say(f"{len(scenes)} images labelled")
    say(f"wrote {result}")


@app.command("pseudo-label")
def pseudo_label(
    runs: RunFolders,
    data: Data,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Label images with trained runs, and keep what they are surest of as a folder for `segmenter train --extra`.

    Of an npz with a test_set, that is labelled; labels that the images have are not looked at.
    """
    from marsgen.core.config import load_config
    from marsgen.core.runs import Run
    from marsgen.scenes.sources import open_scenes
    from segmenter.config import PseudoLabelConfig
    from segmenter.inference.pseudo_labels import open_teachers, summary_lines
    from segmenter.inference.pseudo_labels import pseudo_label as label

    settings = load_config(PseudoLabelConfig, config, overrides or ())
    if dry_run:
        return say_settings(settings)
    for folder in runs:
        Run.load(folder, "segmenter train")
    scenes = open_scenes(data, labelled=False)
    teachers = open_teachers(runs, scenes)
    inputs = {"teachers": teachers.runs, "data": {"location": data, "fingerprint": scenes.fingerprint()}}
    more = f"-and-{len(runs) - 1}-more" if len(runs) > 1 else ""
    folder = out or OUTPUTS / f"pseudo-{runs[0].name}{more}-{Path(data).stem.replace(':', '-')}"
    run = Run.start(folder, "segmenter pseudo-label", settings, inputs)
    label(settings, run, teachers, scenes)
    for line in summary_lines(run.summary):
        say(line)
    say(f"wrote {folder}")


def _expand_extra(arguments: Sequence[str]) -> list[str]:
    """`--extra A B` -> `--extra A --extra B`: the command line library knows only one value per option."""
    expanded: list[str] = []
    takes_more = False
    for argument in arguments:
        if takes_more and not argument.startswith("-") and expanded[-1] != "--extra":
            expanded.append("--extra")
        elif argument.startswith("-"):
            if expanded[-1:] == ["--extra"]:
                raise ConfigError("--extra needs at least one folder of synthetic scenes")
            takes_more = argument == "--extra"
        expanded.append(argument)
    return expanded


@app.command()
def settings(
    command: Annotated[
        str, typer.Argument(help=f"One of {', '.join(SETTINGS)}.", metavar="COMMAND", show_default=False)
    ],
) -> None:
    """List every setting of a command with its meaning and default, as yaml for --config."""
    from marsgen.core.settings import find_settings, list_settings

    say(list_settings(find_settings(command, SETTINGS)))


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "segmenter", prepare=_expand_extra if sys.argv[1:2] == ["train"] else list)


if __name__ == "__main__":
    main()
