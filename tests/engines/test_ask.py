"""Several commands are asked in one process, and answer as each would alone."""

import json
import subprocess
import sys

import pytest

from marsgen.core.errors import ConfigError
from marsgen.engines.ask import ask


@pytest.mark.slow
def test_one_process_answers_for_all_as_each_would_alone(tiny_npz, tmp_path, monkeypatch):
    commands = [["marsgen", "import", str(tiny_npz), "--out", str(tmp_path / name)] for name in ("a", "b")]
    alone = [sys.executable, "-m", "marsgen.cli", *commands[0][1:-1], str(tmp_path / "c"), "--quiet", "--json"]
    said = json.loads(subprocess.run(alone, capture_output=True, text=True, check=True).stdout)
    started, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: started.append(words) or run(*words, **more))
    assert ask(commands) == [*said["summaries"]] * 2
    assert len(started) == 1
    assert (tmp_path / "b" / "DONE").is_file()


def test_the_first_mistake_ends_it_with_its_own_words(tmp_path, tiny_npz):
    absent = ["marsgen", "import", str(tmp_path / "absent")]
    with pytest.raises(ConfigError, match="absent: no such file or folder"):
        ask([absent, ["marsgen", "import", str(tiny_npz), "--out", str(tmp_path / "b")]])
    assert not (tmp_path / "b").exists()


def test_nobody_is_asked_nothing(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert ask([]) == []
