"""Runs to compare, and studies to report on, looked for before anything slow is imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marsgen.core.errors import DataError, RunError

if TYPE_CHECKING:
    from marsgen.core.runs import Run


def find_study(folder: Path) -> tuple[Path, Path]:
    """Where a study's counts and its results are kept.

    Args:
        folder: a study's folder, or the folder of its counts.
    Returns:
        folder of counts, folder of results beside it.
    Raises:
        DataError: neither of the two.
    """
    if (folder / "study.json").is_file():
        return folder, folder.resolve().parent / "results"
    if (folder / "counts" / "study.json").is_file():
        return folder / "counts", folder / "results"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a finished study, or its folder of counts")
    raise DataError(
        f"{folder}: neither a finished study (counts/study.json is missing) nor a folder of counts (study.json is "
        "missing); `segmenter study` writes both"
    )


def refuse_no_study(folder: Path) -> None:
    """Raise DataError where no counts of a study are, or its study.json is damaged."""
    counts, _ = find_study(folder)
    from segmenter.results.metadata import read_metadata  # here: imports pydantic

    read_metadata(counts)


def open_runs(folders: Sequence[Path], *, allow_different_steps: bool = False) -> "list[Run]":
    """Open the finished training runs that are to be compared.

    Raises:
        RunError: fewer than two, one named twice or not finished, or (unless allowed) trained for different steps.
    """
    from marsgen.core.runs import Run  # here: imports yaml

    runs, seen = [], {}
    for folder in folders:
        if folder.resolve() in seen:
            raise RunError(f"{folder} is named twice; name each run once")
        seen[folder.resolve()] = folder
        runs.append(Run.load(folder, "segmenter train"))
    if len(runs) < 2:
        raise RunError("one run was named; a comparison needs at least two")
    for run in runs[1:]:
        steps, first = run.stored("config.steps", int), runs[0].stored("config.steps", int)
        if steps != first and not allow_different_steps:
            raise RunError(
                f"{run.folder} was trained for {steps} steps and {runs[0].folder} for {first}: more training alone "
                "could be the gain; train both alike, or use --set allow_different_steps=true"
            )
    return runs
