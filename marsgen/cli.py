"""The `marsgen` command: parse, open the run, call one stage, print the summary."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from marsgen.console import (
    OUTPUTS,
    Classes,
    ConfigFile,
    Data,
    Out,
    Overrides,
    read_class_set,
    run_app,
    say,
    say_data,
    show_version,
)
from marsgen.errors import RunError, nearest

# stages are imported inside the commands: torch takes seconds, --help should not
app = typer.Typer(
    name="marsgen",
    help="Draw more scenes of a rare class, for a segmenter to learn from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Mode(StrEnum):
    """What the generator draws."""

    region = "region"
    scene = "scene"


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version("marsgen"), is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    data: Data,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Another data set, such as the test set: name what both hold.", metavar="WHERE"),
    ] = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Say what is in a data set and what is wrong with it; write a page with pictures."""
    from marsgen.config import load_config
    from marsgen.inspection import InspectConfig, inspect_dataset

    settings = load_config(InspectConfig, config, overrides or ())
    folder, named = out or OUTPUTS / "inspect", out is not None
    known = read_class_set(classes)
    for line in inspect_dataset(data, settings, known, folder, against=against, replace=not named).lines:
        say(line)
    say(f"wrote {folder / 'inspect.html'}")


@app.command("train-generator")
def train_generator(
    data: Data, classes: Classes = None, config: ConfigFile = None, overrides: Overrides = None, out: Out = None
) -> None:
    """Train a network that draws pictures from label maps (pix2pix); a repeated command goes on where it was."""
    from marsgen.config import load_config
    from marsgen.generators.train_pix2pix import TrainGeneratorConfig, train
    from marsgen.runs import Run
    from marsgen.scenes.dataset import open_dataset

    settings = load_config(TrainGeneratorConfig, config, overrides or ())
    dataset = open_dataset(data, settings.data, read_class_set(classes))
    folder = out or OUTPUTS / "generator"
    run = Run.start(folder, "marsgen train-generator", settings, _inputs(data, classes, dataset))
    say_data(dataset)
    if not run.finished:
        train(settings, run, dataset)
    _say_finished(run)


@app.command()
def synthesize(
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Class to add more of; repeatable. Default: the rare classes of the data.", metavar="NAME"
        ),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Pairs to make.", min=1, show_default="1000")] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator",
            help="Folder of `marsgen train-generator`, or copy-paste (no training). Default: the last trained one.",
            metavar="DIR|copy-paste",
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            "--mode", help="region: draw only around what is pasted; scene: the whole picture.", show_default="region"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Real scenes to start from. Default: those the generator was trained on.", metavar="WHERE"
        ),
    ] = None,
    classes: Classes = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    out: Out = None,
) -> None:
    """Paste regions of a rare class into real scenes and draw the pictures that belong to the new label maps."""
    from marsgen.config import DataConfig, load_config
    from marsgen.generators import load_generator
    from marsgen.masks.plan import edit_sample
    from marsgen.masks.regions import cut_regions
    from marsgen.runs import Run, latest_run
    from marsgen.scenes.dataset import open_dataset
    from marsgen.synthesis import BATCH_SIZE, SynthesizeConfig, class_names
    from marsgen.synthesis import synthesize as make
    from marsgen.team import join_team

    given: list[str] = [f"classes=[{','.join(class_)}]"] if class_ else []
    given += [f"n={n}"] if n else []
    given += [f"mode={mode.value}"] if mode else []
    settings = load_config(SynthesizeConfig, config, [*(overrides or ()), *given])

    where = generator or str(latest_run(OUTPUTS, "marsgen train-generator"))
    if where != "copy-paste" and not Path(where).exists() and (hint := nearest(where, ["copy-paste"])):
        raise RunError(f"--generator {where}: no such folder{hint}")
    trained = None if where == "copy-paste" else Run.load(Path(where), "marsgen train-generator")
    if data is None:
        if trained is None:
            raise RunError("--generator copy-paste knows no data of its own; name them with --data")
        data, classes = trained.inputs["data"]["location"], _path(trained.inputs["data"]["classes"])
    if settings.data is None:
        split = DataConfig.model_validate(trained.config["data"]) if trained else DataConfig()
        settings = settings.model_copy(update={"data": split})
    assert settings.data is not None

    dataset = open_dataset(data, settings.data, read_class_set(classes))
    drawer = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    names = class_names(settings, dataset.scenes)
    library = cut_regions(dataset.scenes, dataset.split.train, names, settings.paste, dataset.survey.keys)
    edit_sample(0, settings.seed, dataset.scenes, library, settings.paste, dataset.split.train)  # fail before writing
    inputs = _inputs(data, classes, dataset) | {"generator": {"name": drawer.name, "fingerprint": drawer.fingerprint}}
    team = join_team()
    folder = out or OUTPUTS / "synth"
    with team.main_process_first():
        run = Run.start(
            folder,
            "marsgen synthesize",
            settings,
            inputs,
            without_effect=(BATCH_SIZE,),
            writes=team.is_main_process,
        )
    say(f"{drawer.name}: {where}" if trained else f"{drawer.name} of {data}")
    say_data(dataset)
    if not run.finished:
        make(settings, run, dataset, library, drawer, team)
    team.wait_for_everyone()
    _say_finished(run)


@app.command()
def demo(config: ConfigFile = None, overrides: Overrides = None, out: Out = None) -> None:
    """Run the whole flow on simulated scenes, small, and end with a report to open."""
    from marsgen.config import load_config
    from marsgen.demo import DemoConfig, run_demo

    report = run_demo(load_config(DemoConfig, config, overrides or ()), out or OUTPUTS / "demo")
    say(f"\nopen {report}")


def _inputs(data: str, classes: Path | None, dataset: Any) -> dict[str, Any]:
    return {
        "data": {"location": data, "fingerprint": dataset.scenes.fingerprint(), "classes": classes and str(classes)}
    }


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _say_finished(run: Any) -> None:
    parts = [f"{key} {value}" for key, value in _flat(run.summary)]
    say("   ".join(parts))
    say(f"wrote {run.folder}")


def _flat(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in summary.items():
        pairs += _flat(value) if isinstance(value, dict) else [(key, value)]
    return pairs


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "marsgen")


if __name__ == "__main__":
    main()
