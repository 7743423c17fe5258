"""COMPARE: do the extra scenes help? Runs of several arms on the same test images: gain, interval, verdict.

An arm is a recipe; its runs differ by their seed alone. The first run given belongs to the baseline.

<out>/      the tables that tables.py lists: results.json, results.md and csv files
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from segmenter.results.arms import Arm, count_arms, find_evaluations, group_arms
from segmenter.results.config import CompareConfig
from segmenter.results.places import open_runs
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import result_lines, write_results


def compare(folders: Sequence[Path], config: CompareConfig, out: Path, *, replace: bool = False) -> list[str]:
    """Compare finished and evaluated runs, write the tables, and return the gains as lines of text.

    Args:
        folders, config: see `open_arms`.
        replace: see `Run.start`.
    """
    arms = open_arms(folders, config)
    results = summarise(count_arms(arms, config), *limitations_of_runs(arms))
    run = Run.start(out, "segmenter compare", config, inputs_of(folders, results), replace=replace)
    write_results(results, out)
    run.finish({"verdicts": Counter(str(row.verdict) for row in results.gains)})
    return result_lines(results, every_score=True)


def open_arms(folders: Sequence[Path], config: CompareConfig) -> list[Arm]:
    """Group runs into arms with their evaluations.

    Args:
        folders: finished runs of `segmenter train`, each evaluated on the same labelled data.
    Raises:
        RunError: a run is named twice, not finished or not evaluated; runs of different length; a single arm.
        DataError: the evaluations are of different scenes or classes.
    """
    runs = open_runs(folders, allow_different_steps=config.allow_different_steps)
    arms = group_arms(runs, find_evaluations(runs, config.data))
    if len(arms) < 2:
        raise RunError(
            f"all {len(runs)} runs are of one recipe ({arms[0].label}) and differ by their seed alone; "
            "add runs trained with other --extra folders or settings"
        )
    return arms


def limitations_of_runs(arms: Sequence[Arm]) -> list[str]:
    """Sentences on what is known of the runs and is not in their counts."""
    stopped = [run.folder.name for arm in arms for run in arm.runs if run.summary.get("stopped_early")]
    return [f"Stopped early, so trained for fewer steps: {', '.join(stopped)}."] if stopped else []


def inputs_of(folders: Sequence[Path], results: StudyResults) -> dict[str, object]:
    """What identifies a comparison: its runs and the test data."""
    return {"runs": [str(folder) for folder in folders], "fingerprint": results.metadata.test.fingerprint}
