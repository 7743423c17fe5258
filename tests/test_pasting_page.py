"""The commands of docs/pasting.md, run as they stand there on simulated scenes."""

import json
import shlex
from pathlib import Path

import pytest
from test_flow import ROOT, call, commands_of


@pytest.mark.slow
def test_every_command_of_the_page_on_pasting_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    commands = commands_of(ROOT / "docs" / "pasting.md")
    assert len(commands) == 2
    said = []
    for command in commands:
        code = call(*shlex.split(command))
        printed = capsys.readouterr()
        assert code == 0, f"{command}\n{printed.out}\n{printed.err}"
        said.append(printed.out + printed.err)
    assert "paste big_rock: inferred min_region_px=" in said[0]
    assert "; given max_angle=10.0, seam=false" in said[1]
    assert "real / pasted big_rock (distance):" in said[0]
    found = json.loads((tmp_path / "pasted" / "pasted.json").read_text())["big_rock"]
    assert found["never"]["pasted"] == 0
    donors = [d for line in (tmp_path / "by_hand" / "manifest.jsonl").open() for d in json.loads(line)["donors"]]
    assert all(abs(donor["angle"]) <= 10 and donor["seam_px"] == 0 for donor in donors)
