"""What is looked for while the options of a command are read, before anything slow is imported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from marsgen.core.errors import nearest
from marsgen.core.storage.places import refuse_missing, refuse_no_classes, refuse_no_run
from marsgen.scenes.places import refuse_no_data

Places = TypeVar("Places", Path, Path | None, str, str | None, list[str] | None)


def check_data(given: Places) -> Places:
    """Refuse data that are not there while options are read, before anything slow is imported."""
    for place in given if isinstance(given, list) else [] if given is None else [given]:
        refuse_no_data(str(place))
    return given


def check_place(given: str) -> str:
    """The same for what may be data or a run."""
    refuse_missing([given])
    return given


def check_each(refuse: Callable[[Path], object]) -> Callable[[typer.Context, Any], Any]:
    """The same for places of another kind, each of which `refuse` looks for; it imports nothing heavy.

    Not before the settings of a study's command are printed: what it names may not be there yet.
    """

    def check(context: typer.Context, given: Any) -> Any:
        if not context.params.get("check_settings"):
            for place in given if isinstance(given, list) else [] if given is None else [given]:
                refuse(Path(place))
        return given

    return check


def check_runs(
    command: str, other: str | None = None, use: Callable[[Path], object] | None = None
) -> Callable[[typer.Context, Any], Any]:
    """The same for the folders of finished runs that `command` made; `other` is a word that stands for none.

    What is a file, has the name of an exported model, or looks like that word misspelt, is left to the command, which
    says more about it. `use` refuses what is there and cannot be used.
    """

    def refuse(folder: Path) -> None:
        if folder.is_file() or folder.suffix == ".onnx" or (other and nearest(str(folder), [other])):
            return
        refuse_no_run(folder, command)
        from marsgen.core.runs import Run  # here: imports yaml

        Run.load(folder, command)
        if use is not None:
            use(folder)

    return check_each(refuse)


def check_out(context: typer.Context, given: Path | None) -> Path | None:
    """Refuse a folder to write into that holds something else; those of these commands are no runs."""
    if given is not None and context.info_name not in ("demo", "doctor"):
        from marsgen.core.runs import refuse_taken  # here: imports pydantic

        # not command_path: that is what the process was started as, which for a job of a study is another program
        refuse_taken(given, f"{context.find_root().command.name} {context.info_name}")
    return given


def check_classes_file(file: Path) -> None:
    """Refuse a file that names no classes."""
    refuse_no_classes(file)
    from marsgen.scenes.classes import read_classes  # here: --help needs none

    read_classes(file)
