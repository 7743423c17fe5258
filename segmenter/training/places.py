"""Extra scenes and runs that `segmenter train` is to start from, looked for before anything slow is imported."""

from pathlib import Path

from marsgen.core.errors import DataError, RunError
from marsgen.core.storage.places import SIMULATED
from marsgen.core.storage.seen import read_set_head
from marsgen.scenes.places import refuse_no_data

FORK, LAST = "fork", "last.safetensors"
"""folder and file of the state that a run keeps for others, see fork.py"""


def refuse_no_extra(given: str | Path) -> None:
    """Refuse an --extra that is not there, or that is the run of a command that makes no scenes.

    Raises:
        DataError: nothing is there, or no data set, or its synth.json or classes.yaml is damaged.
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
    refuse_no_data(str(given))
    read_set_head(folder)
    from marsgen.scenes.stated import classes_of  # here: --help needs none

    classes_of(folder)


def refuse_no_state(trunk: Path) -> None:
    """Raise RunError where a run keeps no state that another one could go on from, or a damaged one."""
    from marsgen.core.storage.checkpoints import read_record
    from marsgen.core.storage.files import is_written

    if not is_written(trunk / FORK / LAST):
        raise RunError(
            f"--fork {trunk}: it keeps no state to start from; train it anew with fork_at, such as --set fork_at=0.6"
        )
    read_record(trunk / FORK / LAST)
