"""The numbers of docs/results.md and of the pages of studies are those that the raw counts beside them give."""

from pathlib import Path

import pytest

from segmenter.results.counts import read_counts
from segmenter.results.places import find_study
from segmenter.results.summary import summarise
from segmenter.results.tables import write_results

DOCS = Path(__file__).parents[3] / "docs"
STUDIES = sorted(folder.name for folder in (DOCS / "results").iterdir())
SHORT = ("long_cpu", "donors_cpu")
"""studies of few arms, whose tables take a second"""


def rows(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("| ")}


@pytest.mark.parametrize("study", [s if s in SHORT else pytest.param(s, marks=pytest.mark.slow) for s in STUDIES])
def test_every_row_of_the_published_tables_comes_from_the_counts(tmp_path, study):
    counts, _ = find_study(DOCS / "results" / study)
    write_results(summarise(read_counts(counts)), tmp_path)  # what `segmenter study-report` writes
    made = rows((tmp_path / "results.md").read_text(encoding="utf-8"))
    pages = [DOCS / "results.md", DOCS / "results" / study / "results.md"]
    published = {row for page in pages if page.is_file() for row in rows(page.read_text(encoding="utf-8"))}
    assert made
    assert not made - published
