"""The `marsgen` command: parse, open the run, call one stage, print the summary."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from marsgen.completion import offer_words
from marsgen.console import (
    OUTPUTS,
    CheckSettings,
    Classes,
    Commands,
    ConfigFile,
    Data,
    DiskNeed,
    DryRun,
    On,
    Out,
    Overrides,
    PerJob,
    Workers,
    add_summary,
    given_settings,
    read_class_set,
    run_app,
    say,
    say_dry_run,
    say_finished,
    say_settings,
    say_wrote,
    show_version,
)
from marsgen.options import (
    SETTINGS,
    SYNTHESIZE_SETTINGS,
    ClassNames,
    DrawMode,
    ExportData,
    ExportGain,
    ExportTo,
    FocusRun,
    GeneratorFolder,
    Guidance,
    ImportDryRun,
    ImportFormat,
    ImportLongestSide,
    ImportSource,
    InspectAgainst,
    JudgeRun,
    Keep,
    MapSet,
    MinAgreement,
    Pairs,
    ParentData,
    PlaygroundBrowse,
    PlaygroundCompare,
    PlaygroundData,
    PlaygroundGenerator,
    PlaygroundOrt,
    PlaygroundScores,
    PlaygroundSegmenter,
    PlaygroundTest,
    PreviewGenerator,
    ScoreData,
    ScoreFeatures,
    ScoreFolder,
    ScoreJudge,
    ScoreReference,
    StoreFormat,
    Strength,
    Target,
    TrainGeneratorKind,
    TrainGeneratorTeacher,
    TrainGeneratorUnlabelled,
)

# stages are imported inside the commands: torch takes seconds, --help should not
app = typer.Typer(
    name="marsgen",
    help="Make synthetic scenes of a rare class, to train a segmenter on.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # boxes take longer to import than the rest of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version("marsgen"), is_eager=True, hidden=True)
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    data: Data,
    against: InspectAgainst = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Report what is in a data set and what is wrong with it; write a page with pictures."""
    from marsgen.commands.config import InspectConfig
    from marsgen.core.config import load_config

    settings = load_config(InspectConfig, config, overrides or ())
    from marsgen.commands.inspect import inspect_dataset

    folder, named = out or OUTPUTS / "inspect", out is not None
    known = read_class_set(classes)
    for line in inspect_dataset(data, settings, known, folder, against=against, replace=not named).lines:
        say(line)
    say_wrote(folder / "inspect.html")


@app.command("import")
def import_(
    source: ImportSource,
    format_: ImportFormat = None,
    longest_side: ImportLongestSide = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: ImportDryRun = False,
) -> None:
    """Turn somebody else's data set into images/, labels/ and a classes.yaml, and say what was decided on the way."""
    from marsgen.core.config import load_config
    from marsgen.scenes.formats.config import ReadingConfig, refuse_unknown_format

    given = [f"format={format_}"] if format_ else []
    given += [f"longest_side={longest_side}"] if longest_side is not None else []
    settings = load_config(ReadingConfig, config, [*(overrides or ()), *given])
    refuse_unknown_format(settings)
    from marsgen.commands.draft_classes import draft_classes
    from marsgen.commands.import_data import import_source, preview_import
    from marsgen.core.storage.places import find_path
    from marsgen.scenes.sources import needs_classes, open_source

    known = read_class_set(classes)
    if dry_run and known is None and settings.format is None and needs_classes(find_path(source)):
        for line in draft_classes(find_path(source)):
            say(line)
        return
    scenes = open_source(source, settings, known)
    if dry_run:
        for line in preview_import(scenes, settings):
            say(line)
        return
    folder = out or OUTPUTS / f"{find_path(source).resolve().name}-import"
    run, lines = import_source(source, scenes, settings, folder, classes)
    for line in lines:
        say(line)
    say_finished(run)


@app.command("train-generator")
def train_generator(
    data: Data,
    kind: TrainGeneratorKind = None,
    teacher: TrainGeneratorTeacher = None,
    unlabelled: TrainGeneratorUnlabelled = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
    check_settings: CheckSettings = False,
    disk_need: DiskNeed = False,
) -> None:
    """Train a network that draws pictures from label maps; a repeated command resumes."""
    from marsgen.generators import load_training_config, refuse_unfit

    settings = load_training_config(config, [*(overrides or ()), *([f"kind={kind.value}"] if kind else [])])
    if check_settings:
        return say_settings(settings)
    refuse_unfit(settings.kind, teacher=teacher is not None, unlabelled=bool(unlabelled))
    from marsgen import api
    from marsgen.scenes.sources import open_scenes

    scenes = open_scenes(data, classes=classes)
    if disk_need:
        from marsgen.generators.room import room_of

        return add_summary(asdict(room_of(settings, scenes)))
    if dry_run:
        from marsgen.dry_run import train_generator as rehearse

        return say_dry_run(settings, lambda: rehearse(scenes, settings, unlabelled or (), teacher))
    run = api.train_generator(scenes, teacher=teacher, unlabelled=unlabelled or (), out=out, config=settings)
    say_finished(run)


@app.command()
def synthesize(
    context: typer.Context,
    class_: ClassNames = None,
    n: Pairs = None,
    generator: GeneratorFolder = None,
    mode: DrawMode = None,
    format_: StoreFormat = None,
    strength: Strength = None,
    guidance: Guidance = None,
    judge: JudgeRun = None,
    focus: FocusRun = None,
    maps: MapSet = None,
    keep: Keep = None,
    min_agreement: MinAgreement = None,
    data: ParentData = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    workers: Workers = None,
    on: On = None,
    per_job: PerJob = None,
    dry_run: DryRun = False,
    check_settings: CheckSettings = False,
) -> None:
    """Paste regions of a rare class into real scenes and draw the pictures that belong to the new label maps."""
    from marsgen.commands.places import latest_generator
    from marsgen.core.config import load_config
    from marsgen.synthesis.config import SynthesizeConfig

    given = given_settings(context.params, SYNTHESIZE_SETTINGS) + (["paste.placement=focus"] if focus else [])
    settings = load_config(SynthesizeConfig, config, [*(overrides or ()), *given])
    from marsgen.synthesis.names import refuse_misspelt_classes, refuse_unfit

    if check_settings:
        if maps is None and (data or generator):
            refuse_misspelt_classes(settings, generator, data, classes)
        return say_settings(settings)
    from marsgen.engines.choose import open_engine_if_named, refuse_idle_needs

    refuse_idle_needs(workers, on, per_job)
    refuse_unfit(settings, generator or latest_generator(OUTPUTS), data, classes, focus, maps)
    from marsgen import api
    from marsgen.core.runs import Run
    from marsgen.scenes.sources import open_scenes

    scenes = None if data is None else open_scenes(data, classes=classes)
    if dry_run:
        from marsgen.dry_run import synthesize as rehearse

        return say_dry_run(settings, lambda: rehearse(scenes, generator, settings, focus, maps))
    with open_engine_if_named(workers, on, per_job, out or OUTPUTS / "synth") as engine:
        made = api.synthesize(scenes, generator, focus=focus, maps=maps, out=out, config=settings, engine=engine)
    say_finished(Run.load(Path(made.location)))


@app.command("synthesize-part", hidden=True)
def synthesize_part(
    folder: Annotated[Path, typer.Argument(help="The set's folder.")],
    generator: Annotated[str, typer.Option("--generator", help="Folder of the generator, or copy-paste.")],
    chunks: Annotated[str, typer.Option("--chunks", help="FIRST:END, numbers of chunks.")],
    number: Annotated[int, typer.Option("--number", help="Number of the part.")],
    batch_size: Annotated[int, typer.Option("--batch-size", help="The setting, which the set does not record.")],
) -> None:
    """Make a part of a set for `marsgen synthesize --workers` or `--on`."""
    from marsgen.synthesis.inputs import reopen_inputs

    inputs = reopen_inputs(folder, generator, batch_size)
    from marsgen.synthesis.synthesize import make_part

    make_part(inputs, folder, number, range(*map(int, chunks.split(":"))))


@app.command()
def preview(
    generator: PreviewGenerator = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Show what a trained generator draws on validation scenes: sheets of strengths, guidance and noise."""
    from marsgen.commands.config import PreviewConfig
    from marsgen.commands.places import find_generator
    from marsgen.core.config import load_config

    settings = load_config(PreviewConfig, config, overrides or ())
    where = find_generator(generator, OUTPUTS)
    from marsgen.commands.preview import preview_generator

    folder = out or OUTPUTS / f"preview-{Path(where).name}"
    say_finished(preview_generator(where, settings, folder, replace=out is None))


@app.command()
def export(
    data: ExportData,
    to: ExportTo = None,
    classes: Classes = None,
    gain: ExportGain = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Write a data set in another format: PNG folder, WebDataset, Parquet, Hugging Face, COCO, YOLO or nnU-Net.

    With --to onnx, write a trained generator as files that draw without this toolkit.
    """
    from marsgen.core.config import load_config

    if to is Target.onnx:
        return _export_generator(data, classes, gain, config, overrides, out)
    from marsgen.commands.config import ExportConfig
    from marsgen.core.storage.seen import read_set_head
    from marsgen.scenes.places import refuse_no_data

    given = given_settings({"to": to and to.value, "gain": gain}, {"to": "to", "gain": "gain"})
    settings = load_config(ExportConfig, config, [*(overrides or ()), *given])
    refuse_no_data(data)
    read_set_head(Path(data))  # the data card is made of it in the end
    from marsgen.commands.export.scenes import export_data

    name = Path(data).name.removesuffix(".npz").replace(":", "-")
    say_finished(export_data(data, settings, out or OUTPUTS / f"{name}-{settings.to}", classes=classes))


def _export_generator(
    where: str, classes: Path | None, gain: str | None, config: ConfigFile, overrides: Overrides, out: Path | None
) -> None:
    from marsgen.commands.places import find_generator
    from marsgen.core.config import load_config
    from marsgen.core.errors import ConfigError
    from marsgen.generators.config import ExportGeneratorConfig

    for name, value in (("--classes", classes), ("--gain", gain)):
        if value is not None:
            raise ConfigError(f"{name} is for data sets, and --to onnx writes a generator; leave it out")
    settings = load_config(ExportGeneratorConfig, config, overrides or ())
    find_generator(where, OUTPUTS)
    from marsgen.commands.export.generator import export_trained, summary_line

    run = export_trained(where, settings, out or OUTPUTS / f"{Path(where).name}-onnx")
    say(summary_line(run))
    say_wrote(run.folder, run.summary)


@app.command()
def score(
    folder: ScoreFolder,
    judge: ScoreJudge = None,
    features: ScoreFeatures = None,
    data: ScoreData = None,
    reference: ScoreReference = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
    dry_run: DryRun = False,
) -> None:
    """Measure a synthetic set: realism, variety, agreement with a judge, near-copies; write a page with pictures."""
    from marsgen.commands.config import ScoreConfig
    from marsgen.core.config import load_config
    from marsgen.quality.places import read_scored_head, refuse_features_of_none, refuse_lost_parents

    settings = load_config(ScoreConfig, config, overrides or ())
    refuse_features_of_none(features, judge)
    refuse_lost_parents(folder, read_scored_head(folder), data)
    target = out or OUTPUTS / "score" / folder.resolve().name
    given: dict[str, Any] = {"judge": judge, "features": features, "data": data, "reference": reference}
    given["classes"] = read_class_set(classes)
    if dry_run:
        from marsgen.dry_run import score as rehearse

        return say_dry_run(settings, lambda: rehearse(folder, settings, given))
    from marsgen.commands.score import score_set

    for line in score_set(folder, settings, target, **given, replace=out is None):
        say(line)
    say_wrote(target / "gallery.html")


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def auto(context: typer.Context) -> None:
    """Find the recipe that finds a rare class best, under a budget of time: the same as `segmenter auto`."""
    import os
    import subprocess
    import sys

    words = [sys.executable, "-m", "segmenter.cli", "auto", *context.args]
    if os.name == "nt":
        raise typer.Exit(subprocess.run(words, check=False).returncode)
    os.execv(sys.executable, words)  # in place of this process: Ctrl-C then has the answer so far written


@app.command()
def playground(
    generator: PlaygroundGenerator = None,
    data: PlaygroundData = None,
    browse: PlaygroundBrowse = None,
    scores: PlaygroundScores = None,
    segmenter: PlaygroundSegmenter = None,
    compare: PlaygroundCompare = None,
    test: PlaygroundTest = None,
    ort: PlaygroundOrt = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Write a page on which a generator draws as you paint, sets are looked through and predictions compared."""
    from marsgen.commands.config import PlaygroundConfig
    from marsgen.core.config import load_config

    settings = load_config(PlaygroundConfig, config, overrides or ())
    from marsgen.commands.places import find_generator, find_ort, refuse_lone_comparison

    refuse_lone_comparison(compare or (), test)
    find_ort(ort)
    where = find_generator(generator, OUTPUTS, data)
    from marsgen.commands.playground import make_playground

    run = make_playground(
        where,
        settings,
        out or OUTPUTS / f"playground-{Path(where).name}",
        data=data,
        browse=browse or (),
        scores=scores or (),
        segmenter=segmenter,
        compare=compare or (),
        test=test,
        ort=ort,
        replace=out is None,
    )
    say_finished(run)
    say(f"open http://localhost:8000 after: python -m http.server --directory {shlex.quote(str(run.folder))}")


@app.command()
def demo(config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Run the whole flow on few simulated scenes; ends with a report to open."""
    from marsgen.commands.config import DemoConfig
    from marsgen.commands.places import refuse_run
    from marsgen.core.config import load_config

    settings = load_config(DemoConfig, config, overrides or ())
    folder = out or OUTPUTS / "demo"
    refuse_run(folder)
    from marsgen.commands.demo import playground_command, run_demo

    report = run_demo(settings, folder)
    say(f"\nopen {report}")
    needs = "the extra `export`, and `npm pack onnxruntime-web && tar xzf onnxruntime-web-*.tgz`"
    say(f"to paint with its generator in a browser ({needs}): {shlex.join(playground_command(folder))}")


@app.command()
def doctor(out: Out = None) -> None:
    """Say what this machine offers: versions, device, memory, disk, extras, and what will be slow here and why."""
    from marsgen.commands.doctor import describe, examine

    found = examine(out or OUTPUTS)
    add_summary(found)
    for line in describe(found):
        say(line)


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
    run_app(app, "marsgen")


if __name__ == "__main__":
    main()
