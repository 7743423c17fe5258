"""The numbers that docs/results.md quotes stand in the generated tables under docs/results/.

tests/segmenter/results/test_published_results.py holds those tables to the committed counts.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "results.md").read_text(encoding="utf-8")
STUDIES = {folder.name: (folder / "results.md").read_text(encoding="utf-8") for folder in (DOCS / "results").iterdir()}
FROM_COMPARE = {"[+1.2, +5.0]", "[-0.4, +3.8]"}
"""intervals between two arms of which none is the baseline (`segmenter compare`), which no study's tables hold"""


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def rows(text: str) -> list[list[str]]:
    return [cells(line) for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def test_every_study_is_linked_and_every_link_leads_to_a_study():
    assert set(re.findall(r"\(results/(\w+)/results\.md\)", PAGE)) == set(STUDIES)


def test_the_main_table_comes_from_the_generated_ones():
    """Scores and gains cell by cell; false alarms are rounded."""
    made = rows(STUDIES["rare_class"])
    for name, *shown, alarms in (row for row in rows(PAGE) if len(row) == 6 and row[0]):
        found = {cell for row in made if row[0] == name for cell in row}
        assert set(shown) - {""} <= found, name
        assert int(alarms.replace(",", "")) in {round(float(c)) for c in found if c.replace(".", "").isdigit()}, name


def test_the_readmes_rows_are_those_of_the_main_table():
    main = {row[0]: row for row in rows(PAGE) if len(row) == 6}
    assert len(main) == 15
    readme = rows((DOCS.parent / "README.md").read_text(encoding="utf-8"))
    quoted = [row for row in readme if len(row) == 3 and row[1][:1].isdigit()]
    assert len(quoted) == 3
    for name, score, gain in quoted:
        assert [score, gain] == main[name.removesuffix(" (no generator)")][1:3]


def test_every_interval_stands_in_a_generated_table():
    intervals = set(re.findall(r"\[[+-][\d.]+, [+-][\d.]+\]", PAGE)) - FROM_COMPARE
    assert len(intervals) > 20
    missing = {interval for interval in intervals if not any(interval in text for text in STUDIES.values())}
    assert not missing


def test_each_row_of_the_comparison_of_studies_comes_from_its_study():
    compared = [row for row in rows(PAGE) if len(row) == 4 and row[0] != "study"]
    assert len(compared) == 7
    study = ""
    for name, baseline, crops, gain in compared:
        study = next(iter(re.findall(r"\(results/(\w+)/results\.md\)", name)), study)
        scores, gains = STUDIES[study].split("**Gains over", 1)
        column = rows(scores)[0].index("IoU big_rock")
        found = {row[0]: row[column].split(" [")[0] for row in rows(scores)[1:] if len(row) > column}
        assert found["rock tiles oversampled"] == baseline, name
        arms = {row[0] for row in rows(gains) if any(cell.startswith(gain) for cell in row)}
        assert crops in {found.get(arm) for arm in arms}, name
