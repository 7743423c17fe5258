"""STUDY: arms x seeds (x folds) as one resumable job, from generators to the report.

    <out>/generators/<name>/    `marsgen train-generator`
    <out>/sets/<name>/          `marsgen synthesize`; for a set with a teacher `segmenter pseudo-label`
    <out>/runs/<arm>-seed<s>/   `segmenter train`, with its evaluation inside
    <out>/jobs/                 settings, output and cost of each of these commands (jobs.py)
    <out>/power.json            the smallest detectable gain, from the baseline's runs, before another arm is trained
    <out>/counts/               raw counts of every run and image, small enough to commit (segmenter/results)
    <out>/results/              tables and report, made from the counts alone

With folds, each name ends in -fold<k>; generator, regions and segmenter of a fold never see the scenes that it tests.
Generators are trained and used through marsgen's command line alone.
"""

from functools import partial
from pathlib import Path

from marsgen.console import say, say_note
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_text
from marsgen.engines.task import Engine
from segmenter.results.counts import StudyCounts, write_counts
from segmenter.results.page.gallery import write_gallery
from segmenter.results.report import report_study
from segmenter.study.checks import check_data, check_settings
from segmenter.study.collect import collect_counts, draw_gallery
from segmenter.study.folder import Study
from segmenter.study.jobs import run_jobs
from segmenter.study.plan import as_yaml, plan_jobs
from segmenter.study.room import refuse_full_disk

EXTENDABLE_KEYS = (
    "title",
    "seeds",
    "baseline",
    "oracle",
    "generators",
    "sets",
    "arms",
    "curves",
    "gallery",
    "statistics",
    "power",
)
"""keys of the yaml that may change between two starts of one study; finished jobs check their own settings"""


def open_study(study: Study, engine: Engine) -> Run:
    """Open the study's folder, after everything was checked that can be checked without training.

    Raises:
        ConfigError, DataError: settings or data that cannot be used; nothing to score on.
        RunError: the folder holds something else, jobs that were finished with other settings, or another study; or
            the disk has too little room for what is left to do.
    """
    jobs = plan_jobs(study)
    data = check_data(study)
    refuse_full_disk(study, data, engine.width)
    if study.config.unused:
        say_note(f"no arm uses {', '.join(study.config.unused)}: not made")
    start = partial(
        Run.start, study.folder, "segmenter study", study.config, data.inputs, without_effect=EXTENDABLE_KEYS
    )
    run = start()
    if run.finished:  # arms may have been added; a finished run holds no lock, so it is opened again
        (study.folder / "DONE").unlink()
        run = start()
    write_text(study.folder / "study.yaml", as_yaml(study.config.model_dump(mode="json")))
    check_settings(jobs, study.folder, engine)
    return run


def train_and_count(study: Study, engine: Engine) -> StudyCounts:
    """Run the jobs that are not finished, then write the counts.

    Raises:
        RunError: jobs failed; finished ones are kept.
    """
    run_jobs(plan_jobs(study), study.folder, engine, counted="runs/")
    counts = collect_counts(study)
    write_counts(study.folder / "counts", counts)
    return counts


def run_study(study: Study, run: Run, engine: Engine) -> Path:
    """Run the jobs that are not finished, then write counts, tables and report.

    Args:
        run: from `open_study`.
    Returns:
        the report.
    Raises:
        RunError: jobs failed; finished ones are kept.
    """
    counts = train_and_count(study, engine)
    write_gallery(study.folder / "results" / "gallery.json", draw_gallery(study, counts))
    lines, page = report_study(study.folder)
    for line in lines:
        say(line)
    run.finish({"arms": len(study.config.arms), "seeds": len(study.config.seeds), "folds": len(study.folds)})
    return page
