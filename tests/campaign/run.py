"""The campaign: bad inputs, kills and a lock race, counted by kind; see docs/reliability.md.

python tests/campaign/run.py --inputs 1000 --kills 100 --rounds 1000 --table docs/reliability.md
python tests/campaign/run.py --inputs 40 --only "weights"        a part, with what was answered
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import answers
import materials
from case import LEFT_OUT, Case
from folders import is_chosen, remove
from kills import try_kills
from kinds import KINDS
from million import LIMIT_MB, find_fault
from race import count_double_holders
from studies import try_study
from writers import race_commands, race_runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=0, help="bad inputs")
    parser.add_argument("--kills", type=int, default=0, help="kills of commands that are then repeated")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of the lock race")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of a set whose memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name holds this; several, separated by commas")
    parser.add_argument("--part", action="store_true", help="no cases that take long, kills of four commands alone")
    parser.add_argument("--table", type=Path, help="markdown file whose table is replaced")
    parser.add_argument("--state", type=Path, help="file that keeps finished kinds, so that the campaign can go on")
    parser.add_argument("--json", type=Path, help="file for the counts")
    parser.add_argument("--verbose", action="store_true", help="print every answer")
    given = parser.parse_args()
    if given.part:
        LEFT_OUT.append("zip bomb")
    answers.import_everything()
    record = Record(given)
    with tempfile.TemporaryDirectory(prefix="campaign-") as place:
        os.chmod(place, 0o755)
        os.environ["MARSGEN_CACHE"] = str(Path(place) / "cache")
        root = Path(place) / "materials"
        materials.make(root)
        for row in try_all(given, root, Path(place), record.is_done):
            record.add(row)
        for path in Path(place).iterdir():
            remove(path) if path.is_dir() else path.unlink()
    table = as_table(record.rows)
    print(table)
    for row in record.rows:
        for fault in row["faults"]:
            print(f"{row['kind']}: {fault}")
    if given.json:
        given.json.write_text(json.dumps(record.rows), encoding="utf-8")
    if given.table:
        replace_table(given.table, table)
    return 0 if record.close() else 1


class Record:
    """The rows of the table; with --state they are kept in a file, and a repeated campaign leaves their kinds out."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._path: Path | None = given.state
        self._of = [given.inputs, given.kills, given.rounds, given.seed]
        kept = [json.loads(line) for line in given.state.read_text().splitlines()] if self._exists() else []
        # what failed is tried again
        self.rows = [row for row in kept if row["of"] == self._of and row["tried"] == row["well"]]

    def _exists(self) -> bool:
        return self._path is not None and self._path.exists()

    def close(self) -> bool:
        """Whether nothing failed; the file is then removed, so that the next campaign is a new one."""
        failed = any(row["tried"] != row["well"] for row in self.rows)
        if not failed and self._path is not None:
            self._path.unlink(missing_ok=True)
        return not failed

    def is_done(self, kind: str) -> bool:
        return any(row["kind"] == kind for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row | {"of": self._of})
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")


def try_all(
    given: argparse.Namespace, root: Path, place: Path, is_done: Callable[[str], bool]
) -> Iterator[dict[str, Any]]:
    """Bad inputs, kills, writers and the lock race, as many as `given` says; a row of counts for each kind."""
    if given.inputs:
        yield from try_inputs(given, root, place, is_done)
    if given.kills:
        yield from try_kills(given, root, place, is_done)

    def counted(kind: str, number: int, find_faults: Callable[[], list[str]]) -> Iterator[dict[str, Any]]:
        if number and is_chosen(kind, given.only) and not is_done(kind):
            faults = find_faults()
            print(f"{kind}: {number} tried, {len(faults)} faults", file=sys.stderr, flush=True)
            yield {"kind": kind, "tried": number, "well": number - len(faults), "faults": faults}

    rounds, seed = given.rounds, given.seed
    yield from counted("two writers, rounds", rounds, lambda: race_runs(rounds, seed, place))
    few = rounds // 25
    yield from counted("two commands, rounds", few, lambda: race_commands(few, seed, root, place))
    yield from counted("lock race, rounds", rounds, lambda: race_lock(rounds, place))
    if given.pairs:
        kind = f"memory of {given.pairs:,} pairs within {LIMIT_MB} MB, rounds"
        yield from counted(kind, 1, lambda: find_fault(given.pairs, root / "png" / "manifest.jsonl", place / "million"))
    # last, because it takes longest
    studies_killed = 0 if given.part else given.kills // 25
    kind = "kill: segmenter study, two workers"
    yield from counted(kind, studies_killed, lambda: try_study(studies_killed, given.seed, root, place))


def race_lock(rounds: int, place: Path) -> list[str]:
    """The lock race of race.py; a fault for each time that a lock had two holders."""
    (place / "raced").mkdir()
    _, doubled = count_double_holders(place / "raced", rounds)
    return ["two holders"] * doubled


def try_inputs(
    given: argparse.Namespace, root: Path, place: Path, is_done: Callable[[str], bool]
) -> Iterator[dict[str, Any]]:
    """Run bad inputs, shared among the kinds; a row of counts for each kind."""
    chosen = {kind: maker for kind, maker in KINDS.items() if is_chosen(kind, given.only)}
    total = sum(weight for _, weight in chosen.values())
    for kind, (maker, weight) in chosen.items():
        if is_done(kind):
            continue
        rng = random.Random(f"{given.seed} {kind}")
        number = max(1, -(-given.inputs * weight // total))
        refused, faults = 0, []
        for index in range(number):
            folder = place / "case"
            remove(folder)
            folder.mkdir()
            before = _listing(place)
            case: Case = maker(rng, root, folder)
            answer = answers.run(case.words, folder, ordinary=case.ordinary)
            fault = answers.find_fault(answer, folder, may_pass=case.may_pass)
            changed = sorted(_listing(place) - before - {"cache", "case-victim"})
            victim = place / "case-victim"
            if not fault and changed:
                fault = f"wrote {changed[0]} outside"
            if victim.exists():
                if victim.read_text() != "precious":
                    fault = "overwrote a file behind a link"
                victim.unlink()
            refused += answer.code == 2
            last = (answer.err.strip().replace("\r", "\n").splitlines() or [""])[-1][:300]
            if given.verbose:
                print(f"[{kind} {index}] {case.note} -> {answer.code} {answer.seconds:.1f}s {last}", flush=True)
            if fault:
                faults.append(f"{index}: {case.note} | {' '.join(case.words)[:200]} -> {fault}")
                print(f"FAULT {kind} {faults[-1]}", flush=True)
        print(f"{kind}: {number} tried, {refused} refused, {len(faults)} faults", file=sys.stderr, flush=True)
        yield {"kind": kind, "tried": number, "well": number - len(faults), "refused": refused, "faults": faults}


def _listing(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def as_table(rows: list[dict]) -> str:
    """The counts as a markdown table, with a sum of the bad inputs and of the kills."""
    lines = ["| kind | tried | answered well | failed |", "|---|---:|---:|---:|"]
    for row in rows:
        lines.append(f"| {row['kind']} | {row['tried']:,} | {row['well']:,} | {row['tried'] - row['well']:,} |")
    groups: Counter[str] = Counter()
    for row in rows:
        kind = row["kind"]
        group = "kills" if kind.startswith("kill") else "races" if kind.endswith("rounds") else "bad inputs"
        groups[group] += row["tried"]
        groups[f"{group} failed"] += row["tried"] - row["well"]
    for group in ("bad inputs", "kills"):
        if groups[group]:
            failed = groups[f"{group} failed"]
            lines.append(f"| **all {group}** | {groups[group]:,} | {groups[group] - failed:,} | {failed:,} |")
    return "\n".join(lines)


def replace_table(path: Path, table: str) -> None:
    """Put the table between the marks of a markdown file."""
    start, end = "<!-- campaign -->\n", "\n<!-- end of campaign -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{start}{table}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
