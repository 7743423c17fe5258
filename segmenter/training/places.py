"""Extra scenes that `segmenter train` is to learn from, looked for before anything slow is imported."""

from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.core.storage.places import SIMULATED


def refuse_no_extra(given: str | Path) -> None:
    """Refuse an --extra that is not there, or that is the run of a command that makes no scenes.

    Raises:
        DataError: nothing is there.
        RunError: a run of another command than `marsgen synthesize`, `marsgen export` and `segmenter pseudo-label`, or
            one that they have not finished.
    """
    folder = Path(given)
    if not folder.exists() and not str(given).startswith(SIMULATED):
        raise DataError(
            f"--extra {given}: no such folder; name one that `marsgen synthesize` or `segmenter pseudo-label` wrote"
        )
    if (folder / "config.yaml").is_file():
        from marsgen.core.runs import Run  # here: imports yaml

        Run.load(folder, "marsgen synthesize", "marsgen export", "segmenter pseudo-label")
