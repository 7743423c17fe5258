"""The `segmenter` command: parse, open the run, call one stage, print the summary."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from marsgen.completion import offer_words
from marsgen.console import (
    OUTPUTS,
    CheckSettings,
    Classes,
    Commands,
    ConfigFile,
    Data,
    DryRun,
    On,
    Out,
    Overrides,
    PerJob,
    Workers,
    given_settings,
    run_app,
    say,
    say_dry_run,
    say_settings,
    say_wrote,
    show_version,
)
from marsgen.core.errors import ConfigError
from segmenter.options import (
    AutoClassName,
    AutoRecipes,
    AutoTest,
    AutoUnlabelled,
    EvaluateOut,
    ExportData,
    ExportInt8,
    ExportRun,
    ExportTo,
    PredictData,
    PredictOverlay,
    PredictPictures,
    PredictProbs,
    PredictRun,
    RunFolders,
    StudyFolds,
    StudyReportOut,
    StudyReportStudies,
    StudyTest,
    StudyUnlabelled,
    StudyYaml,
    TrainExtra,
    TrainFork,
)

# stages are imported inside the commands: torch takes seconds, --help should not
app = typer.Typer(
    name="segmenter",
    help="Train segmentation networks on real and synthetic scenes, and measure per class what was gained.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # boxes take longer to import than the rest of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SETTINGS = {
    "train": "segmenter.config:TrainConfig",
    "evaluate": "segmenter.config:EvaluateConfig",
    "predict": "segmenter.config:PredictConfig",
    "pseudo-label": "segmenter.config:PseudoLabelConfig",
    "export": "segmenter.config:ExportConfig",
    "compare": "segmenter.results.config:CompareConfig",
    "report": "segmenter.results.config:ReportConfig",
    "auto": "segmenter.auto.config:AutoConfig",
}
"""command -> the model of its settings; those of `study` are described in docs/studies.md"""


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version("segmenter"), is_eager=True, hidden=True)
    ] = False,
) -> None:
    pass


@app.command()
def train(
    data: Data,
    extra: TrainExtra = None,
    fork: TrainFork = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Train a segmenter on real scenes, and on synthetic ones where given; a repeated command resumes."""
    from marsgen.core.config import load_config
    from marsgen.core.storage.seen import read_set_head
    from marsgen.scenes.stated import stated_classes
    from segmenter.training.config import TrainConfig, refuse_unknown_metric

    settings = load_config(TrainConfig, config, overrides or ())
    read_set_head(Path(data))  # where scenes to train on are made ones
    if (known := stated_classes(data, classes)) is not None:
        refuse_unknown_metric(settings, known, data)
    from marsgen.scenes.sources import open_scenes
    from segmenter import api

    scenes = open_scenes(data, classes=classes)
    if dry_run:
        from segmenter.dry_run import train as rehearse

        return say_dry_run(settings, lambda: rehearse(scenes, settings, extra or (), fork))
    run = api.train(scenes, extra=extra or (), fork=fork, out=out, config=settings)
    score = f"{settings.best_metric} {run.said('best_score', float):.3f} on val"
    say(f"best step {run.said('best_step', int)} of {run.said('steps', int)}   {score}")
    say_wrote(run.folder, run.summary)


@app.command()
def evaluate(
    runs: RunFolders,
    data: Data,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: EvaluateOut = None,
) -> None:
    """Score runs on labelled test scenes: IoU, precision and recall per class, and the regions found."""
    from marsgen.core.config import load_config
    from marsgen.core.errors import RunError
    from marsgen.core.runs import Run
    from marsgen.core.storage.seen import read_split
    from segmenter.evaluation.config import EvaluateConfig

    settings = load_config(EvaluateConfig, config, overrides or ())
    if out is not None and len(runs) > 1:
        raise RunError("--out names one folder, and several runs were given; leave it out and each run keeps its own")
    for folder in runs:
        Run.load(folder, "segmenter train").refuse_no_weights()
        read_split(folder)
    from marsgen.scenes.sources import open_scenes
    from segmenter import api
    from segmenter.evaluation.summary import evaluation_lines

    source = open_scenes(data, classes=classes)
    for folder in runs:
        evaluation = api.evaluate(folder, source, out=out, config=settings)
        say(f"{folder} on {data}")
        for line in evaluation_lines(evaluation):
            say(line)
        say_wrote(evaluation.folder, evaluation.record)
        say("")


@app.command()
def compare(runs: RunFolders, config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Say per class what one arm gained over another, with intervals. The first run's arm is the baseline."""
    from marsgen.core.config import load_config
    from segmenter.results.config import CompareConfig
    from segmenter.results.places import open_runs

    folder = out or OUTPUTS / "compare"
    settings = load_config(CompareConfig, config, overrides or ())
    open_runs(runs, allow_different_steps=settings.allow_different_steps)
    from segmenter.results.compare import compare as measure

    for line in measure(runs, settings, folder, replace=out is None):
        say(line)
    say_wrote(folder)


@app.command()
def report(runs: RunFolders, config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Write the tables of `segmenter compare` and a page: gains, curves, confusion, improved and regressed images."""
    from marsgen.core.config import load_config
    from segmenter.results.config import ReportConfig
    from segmenter.results.places import open_runs

    settings = load_config(ReportConfig, config, overrides or ())
    open_runs(runs, allow_different_steps=settings.allow_different_steps)
    from segmenter.results.report import report as write

    say_wrote(write(runs, settings, out or OUTPUTS / "report", replace=out is None))


@app.command("study-report")
def study_report(
    studies: StudyReportStudies,
    out: StudyReportOut = None,
) -> None:
    """Write a study's tables and page again from its raw counts: no data, no weights and no training are needed."""
    from segmenter.results.domains import report_domains
    from segmenter.results.places import find_study
    from segmenter.results.report import report_study

    if len(studies) > 1:
        for line in report_domains(studies, find_study, out):
            say(line)
        return
    lines, page = report_study(studies[0], out)
    for line in lines:
        say(line)
    say_wrote(page)


@app.command()
def study(
    config: StudyYaml,
    data: Data,
    test: StudyTest = None,
    folds: StudyFolds = None,
    unlabelled: StudyUnlabelled = None,
    classes: Classes = None,
    overrides: Overrides = None,
    out: Out = None,
    workers: Workers = None,
    on: On = None,
    per_job: PerJob = None,
    dry_run: DryRun = False,
    check_settings: CheckSettings = False,
) -> None:
    """Train every arm of a study with every seed and report what each gained; repeat the command to resume."""
    from marsgen.core.config import configs_folder, load_config
    from marsgen.scenes.stated import stated_classes
    from segmenter.study.config import StudyConfig
    from segmenter.study.names import refuse_misspelt_classes

    if not config.is_file():
        shipped = ", ".join(sorted(path.name for path in (configs_folder() / "studies").glob("*.yaml")))
        raise ConfigError(f"{config}: no such study; shipped ones are {shipped} in configs/studies/")
    settings = load_config(StudyConfig, config, [*(overrides or ()), *([f"folds={folds}"] if folds else [])])
    if (known := stated_classes(data, classes)) is not None:
        refuse_misspelt_classes(settings, known, data)
    from marsgen.engines.choose import open_engine, read_needs, refuse_torchrun

    read_needs(workers, on, per_job)
    settings.refuse_test(test)
    from segmenter.study.folder import Study
    from segmenter.study.run import open_study, run_study

    folder = out or OUTPUTS / f"study-{config.stem}"
    study = Study(settings, folder, data, test, None if classes is None else str(classes), unlabelled)
    if check_settings:
        return say_settings(settings)
    refuse_torchrun()
    if dry_run:
        from segmenter.dry_run import study as rehearse

        return say_dry_run(settings, lambda: rehearse(study))
    with closing(open_engine(workers, on, per_job, folder)) as engine:
        page = run_study(study, open_study(study, engine), engine)
    say_wrote(page)


@app.command()
def auto(
    data: Data,
    class_name: AutoClassName = None,
    budget: Annotated[str, typer.Option("--budget", help="Time that it may take, such as 45m or 2h.")] = "2h",
    test: AutoTest = None,
    recipes: AutoRecipes = None,
    unlabelled: AutoUnlabelled = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    workers: Workers = None,
    on: On = None,
    per_job: PerJob = None,
    dry_run: DryRun = False,
) -> None:
    """Find the recipe that finds a rare class best: race recipes, confirm the winner, train it on all data."""
    from marsgen.core.config import configs_folder, load_config
    from marsgen.scenes.stated import stated_classes
    from segmenter.auto.config import AutoConfig, choose_class, read_budget, refuse_unknown_arms
    from segmenter.study.config import StudyConfig

    settings = load_config(AutoConfig, config, overrides or ())
    seconds = read_budget(budget)
    path = recipes or configs_folder() / "studies" / "auto.yaml"
    if not path.is_file():
        raise ConfigError(f"--recipes {path}: no such file; it is the yaml of a study, see docs/studies.md")
    raced = load_config(StudyConfig, path)
    refuse_unknown_arms(settings.arms, raced)
    if (known := stated_classes(data, classes)) is not None:
        choose_class(known, class_name)
    from marsgen.engines.choose import open_engine, read_needs, refuse_torchrun

    read_needs(workers, on, per_job)
    refuse_torchrun()
    from marsgen.scenes.sources import open_scenes

    scenes = open_scenes(data, classes=classes)
    name = choose_class(scenes.classes, class_name)
    tested = None if test is None else open_scenes(test, classes=classes)
    if dry_run:
        from segmenter.dry_run import auto as rehearse

        return say_dry_run(settings, lambda: rehearse(scenes, raced, seconds))
    from segmenter.auto.run import Question, run_auto
    from segmenter.auto.studies import with_titles_for_sentences

    folder = out or OUTPUTS / "auto"
    question = Question(
        data=scenes,
        test=tested,
        class_name=name,
        pictures=unlabelled,
        seconds=seconds,
        recipes=with_titles_for_sentences(raced),
        config=settings,
        folder=folder,
    )
    run_auto(question, lambda: open_engine(workers, on, per_job, folder))


@app.command()
def predict(
    context: typer.Context,
    run: PredictRun,
    pictures: PredictPictures = None,
    data: PredictData = None,
    probs: PredictProbs = None,
    overlay: PredictOverlay = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Label pictures: files, folders or a data set; PNG label maps, GeoTIFF for GeoTIFF, CSV for the course's npz."""
    from marsgen.core.config import load_config
    from segmenter.inference.config import PredictConfig

    given = given_settings(context.params, {"probs": "probs", "overlay": "overlay"})
    settings = load_config(PredictConfig, config, [*(overrides or ()), *given])
    if bool(pictures) == bool(data):
        raise ConfigError("what is to be labelled? Name pictures or folders after RUN, or one data set with --data")
    if pictures and classes is not None:
        raise ConfigError(
            "--classes says what the ids of a data set mean; pictures have none: leave it out, or name a "
            "data set with --data"
        )
    if dry_run:
        from segmenter.dry_run import predict as rehearse

        return say_dry_run(settings, lambda: rehearse(run, data or pictures or (), settings, classes))
    from segmenter import api

    done = api.predict_data(run, data or pictures or (), classes=classes, out=out, config=settings)
    say(f"{done.said('images', int)} images labelled")
    say_wrote(done.folder / done.said("wrote", str), done.summary)


@app.command()
def export(
    context: typer.Context,
    run: ExportRun,
    to: ExportTo = None,
    data: ExportData = None,
    int8: ExportInt8 = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Write a trained network as a file that runs without this toolkit, checked against torch on real scenes."""
    from marsgen.core.config import load_config
    from segmenter.inference.config import ExportConfig

    values = {"to": to and to.value, "int8": int8}
    settings = load_config(ExportConfig, config, [*(overrides or ()), *given_settings(values, {k: k for k in values})])
    from marsgen.core.runs import Run

    trained = Run.load(run, "segmenter train").refuse_no_weights()
    if data is None:
        trained.refuse_lost_data()
    from segmenter import api

    scenes = None
    if data is not None:
        from marsgen.scenes.sources import open_scenes

        scenes = open_scenes(data, classes=classes)
    done = api.export(run, scenes, out=out, config=settings)
    from segmenter.inference.export.write import summary_lines

    for line in done.describe(summary_lines):
        say(line)
    say_wrote(done.folder, done.summary)


@app.command("pseudo-label")
def pseudo_label(
    runs: RunFolders,
    data: Data,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Label images with trained runs, and keep the most confident labels as a folder for `segmenter train --extra`.

    Labels that the images already have are not read. Of an npz with a test_set, the test_set is labelled.
    """
    from marsgen.core.config import load_config
    from marsgen.core.runs import Run
    from marsgen.core.storage.seen import read_set_head, read_split
    from segmenter.inference.config import PseudoLabelConfig

    settings = load_config(PseudoLabelConfig, config, overrides or ())
    read_set_head(Path(data))  # written into what is made
    for folder in runs:
        Run.load(folder, "segmenter train").refuse_no_weights()
        read_split(folder)
    if dry_run:
        from segmenter.dry_run import pseudo_label as rehearse

        return say_dry_run(settings, lambda: rehearse(runs, data, settings))
    from segmenter import api

    done = api.pseudo_label(runs, data, out=out, config=settings)
    from segmenter.inference.pseudo_labels import summary_lines

    for line in done.describe(summary_lines):
        say(line)
    say_wrote(done.folder, done.summary)


@app.command()
def settings(
    command: Annotated[
        str,
        typer.Argument(
            help=f"One of {', '.join(SETTINGS)}.",
            metavar="COMMAND",
            show_default=False,
            autocompletion=offer_words(SETTINGS),
        ),
    ],
) -> None:
    """List every setting of a command with its meaning and default, as yaml for --config."""
    from marsgen.core.settings import find_settings, list_settings

    say(list_settings(find_settings(command, SETTINGS)))


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "segmenter")


if __name__ == "__main__":
    main()
