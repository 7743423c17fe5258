"""Several studies as one table: a line for each study and rare class, to see which recipe helps where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from marsgen.core.errors import DataError
from marsgen.core.storage.files import write_text
from segmenter.evaluation.summary import percent
from segmenter.results.counts import read_counts
from segmenter.results.gains.gains import Gain
from segmenter.results.gains.oracle import TOO_SMALL, OracleShare, share_interval, share_text
from segmenter.results.labels import interval_text, points
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import markdown_row, rows_as_csv, verdict_text


@dataclass(frozen=True, kw_only=True)
class DomainRow:
    """What a study says of one rare class, in IoU; texts as the table shows them."""

    study: str
    class_name: str
    baseline: str
    """title and IoU in %"""
    oracle_gain: str
    """points, with the interval of the oracle alone"""
    without_generator: str
    """the arm of the highest IoU among those without a trained generator, and its share of the oracle's gain"""
    with_generator: str
    """the same among those with one; "-" where there is none"""
    over_bar: str
    """gain of the second over the first in points, corrected interval, verdict"""
    detectable: str
    """smallest detectable gain in points"""


HEAD = (
    "study",
    "class",
    "baseline, IoU %",
    "oracle's gain, points",
    "best without a generator, share of it",
    "best with a generator, share of it",
    "generator over the best without, points",
    "smallest detectable gain, points",
)


def domain_rows(results: StudyResults) -> list[DomainRow]:
    """One row for each rare class that was scored.

    Raises:
        DataError: the study names no oracle.
    """
    oracle, baseline = results.metadata.oracle, results.metadata.baseline
    if oracle is None:
        raise DataError(
            f"the study '{results.metadata.title}' names no oracle, so gains have no common measure; a table of "
            "several studies needs `oracle: ARM` in each (docs/studies.md)"
        )
    rows = []
    for name in results.classes.rare:
        values = {row.arm: row.value for row in results.scores if (row.score, row.class_name) == ("IoU", name)}
        gain = next((g for g in results.gains_in("IoU", name) if g.arm == oracle), None)
        if gain is None:
            continue
        has_generator = {arm.name: arm.has_generator for arm in results.metadata.arms if arm.name != oracle}
        best = {
            kind: max((arm for arm, own in has_generator.items() if own == kind), key=values.__getitem__, default=None)
            for kind in (False, True)
        }
        over = next((g for g in results.over_bar if (g.arm, g.class_name) == (best[True], name)), None)
        power = results.metadata.power
        smallest = None if power is None else power.smallest_gain.get(f"IoU {name}")
        rows.append(
            DomainRow(
                study=results.metadata.title,
                class_name=name,
                baseline=f"{results.titles[baseline]} {percent(values[baseline])}",
                oracle_gain=f"{points(gain.gain)} {interval_text(gain.low, gain.high)}",
                without_generator=_arm_text(results, best[False], name),
                with_generator=_arm_text(results, best[True], name),
                over_bar="-" if over is None else _gain_text(over),
                detectable="-" if smallest is None else percent(smallest),
            )
        )
    return rows


def _arm_text(results: StudyResults, arm: str | None, class_name: str) -> str:
    if arm is None:
        return "-"
    if arm == results.metadata.baseline:
        return f"{results.titles[arm]}: 0 %"
    rows = results.oracle_shares
    row: OracleShare = next(r for r in rows if (r.arm, r.score, r.class_name) == (arm, "IoU", class_name))
    if row.share != row.share:
        return f"{row.title}: {TOO_SMALL}"
    return f"{row.title}: {share_text(row.share)} {share_interval(row.low, row.high)}"


def _gain_text(row: Gain) -> str:
    return f"{points(row.gain)} {interval_text(row.simultaneous_low, row.simultaneous_high)} {verdict_text(row)}"


def report_domains(
    folders: Sequence[Path], counts_of: Callable[[Path], tuple[Path, Path]], out: Path | None = None
) -> list[str]:
    """The table of several studies, line by line as markdown.

    Args:
        folders, counts_of: see `report.find_study`.
        out: folder to write domains.md and domains.csv into; None = nothing is written.
    Raises:
        DataError: counts are missing or damaged, or a study has no oracle.
    """
    rows = [row for folder in folders for row in domain_rows(summarise(read_counts(counts_of(folder)[0])))]
    lines = [markdown_row(HEAD), markdown_row(["---"] * len(HEAD))]
    lines += [markdown_row([str(cell) for cell in vars(row).values()]) for row in rows]
    if out is not None:
        write_text(out / "domains.md", "\n".join(lines) + "\n")
        write_text(out / "domains.csv", rows_as_csv(rows))
    return lines
