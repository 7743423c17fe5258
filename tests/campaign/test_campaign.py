"""A part of the campaign, in a fork of a process that knows torch: `pytest -m campaign`; all: `make campaign`."""

import json
from pathlib import Path

import forked_commands
import pytest

RUN = Path(__file__).parent / "run.py"


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(240)
def test_bad_inputs_are_answered_and_killed_commands_go_on(tmp_path):
    words = ["--inputs", "16", "--kills", "4", "--rounds", "25", "--part", "--json"]
    counts, said = tmp_path / "counts.json", tmp_path / "said"
    code = forked_commands.run_script(RUN, *words, str(counts), stdout=said, stderr=said)
    assert code == 0, said.read_text(errors="replace")[-6000:]
    rows = json.loads(counts.read_text())
    assert sum(row["tried"] for row in rows) >= 16
    assert [fault for row in rows for fault in row["faults"]] == []
