"""The campaign: bad inputs, kills and a lock race, counted by kind; see docs/reliability.md.

python tests/campaign/run.py --inputs 1000 --kills 100 --rounds 1000 --table docs/reliability.md
python tests/campaign/run.py --inputs 40 --only "weights"        a part, with what was answered
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import answers
import materials
from inputs import KINDS, Case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=0, help="bad inputs")
    parser.add_argument("--kills", type=int, default=0, help="kills of commands that are then repeated")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of the lock race")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--table", type=Path, help="markdown file whose table is replaced")
    parser.add_argument("--json", type=Path, help="file for the counts")
    parser.add_argument("--verbose", action="store_true", help="print every answer")
    given = parser.parse_args()
    answers.import_everything()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="campaign-") as place:
        os.chmod(place, 0o755)
        os.environ["MARSGEN_CACHE"] = str(Path(place) / "cache")
        root = Path(place) / "materials"
        materials.make(root)
        if given.inputs:
            rows += try_inputs(given.inputs, given.seed, given.only, root, Path(place), given.verbose)
        if given.kills:
            from kills import try_kills

            rows += try_kills(given.kills, given.seed, given.only, root, Path(place), given.verbose)
        if given.rounds:
            from race import count_double_holders

            (Path(place) / "raced").mkdir()
            held, doubled = count_double_holders(Path(place) / "raced", given.rounds)
            rows.append({"kind": "lock race, rounds", "tried": held, "well": held - doubled, "faults": []})
    table = as_table(rows)
    print(table)
    for row in rows:
        for fault in row["faults"]:
            print(f"{row['kind']}: {fault}")
    if given.json:
        given.json.write_text(json.dumps(rows), encoding="utf-8")
    if given.table:
        replace_table(given.table, table)
    return 1 if any(row["tried"] != row["well"] for row in rows) else 0


def try_inputs(count: int, seed: int, only: str, root: Path, place: Path, verbose: bool) -> list[dict]:
    """Run `count` bad inputs, shared among the kinds; a row of counts for each kind."""
    chosen = {kind: maker for kind, maker in KINDS.items() if only in kind}
    total = sum(weight for _, weight in chosen.values())
    rows = []
    for kind, (maker, weight) in chosen.items():
        rng = random.Random(f"{seed} {kind}")
        number = max(1, -(-count * weight // total))
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
            if verbose:
                print(f"[{kind} {index}] {case.note} -> {answer.code} {answer.seconds:.1f}s {last}", flush=True)
            if fault:
                faults.append(f"{index}: {case.note} | {' '.join(case.words)[:200]} -> {fault}")
                print(f"FAULT {kind} {faults[-1]}", flush=True)
        rows.append({"kind": kind, "tried": number, "well": number - len(faults), "refused": refused, "faults": faults})
        print(f"{kind}: {number} tried, {refused} refused, {len(faults)} faults", file=sys.stderr, flush=True)
    return rows


def remove(folder: Path) -> None:
    """Delete a folder, whatever permissions were taken from what is in it."""
    for where, folders, _ in os.walk(folder):
        for name in folders:
            if not Path(where, name).is_symlink():
                Path(where, name).chmod(0o755)
    if folder.exists():
        folder.chmod(0o755)
        shutil.rmtree(folder)


def _listing(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def as_table(rows: list[dict]) -> str:
    """The counts as a markdown table, with a sum of the bad inputs and of the kills."""
    lines = ["| kind | tried | answered well | failed |", "|---|---:|---:|---:|"]
    for row in rows:
        lines.append(f"| {row['kind']} | {row['tried']:,} | {row['well']:,} | {row['tried'] - row['well']:,} |")
    groups: Counter[str] = Counter()
    for row in rows:
        group = (
            "kills" if row["kind"].startswith("kill") else "lock" if row["kind"].startswith("lock") else "bad inputs"
        )
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
