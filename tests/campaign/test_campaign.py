"""A part of the campaign, in one process that imports torch once: `pytest -m campaign`; all of it: `make campaign`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "run.py"


@pytest.mark.campaign
@pytest.mark.timeout(240)
def test_bad_inputs_are_answered_and_killed_commands_go_on(tmp_path):
    words = [sys.executable, str(RUN), "--inputs", "16", "--kills", "4", "--rounds", "25", "--part", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(RUN.parent.parent.parent), *sys.path])}
    counts = tmp_path / "counts.json"
    done = subprocess.run([*words, str(counts)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = json.loads(counts.read_text())
    assert sum(row["tried"] for row in rows) >= 16
    assert [fault for row in rows for fault in row["faults"]] == []
