"""Where the counts and the results of a study lie, found before anything slow is imported."""

from pathlib import Path

from marsgen.core.errors import DataError


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
