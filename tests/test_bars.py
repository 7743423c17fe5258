"""Progress bars where nobody watches: a log gets a line a minute, not one every tenth of a second."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marsgen import console
from marsgen.core.progress import ProgressBar

BARS = """
from marsgen.console import _set_bars
_set_bars()
from marsgen.core.progress import ProgressBar
import time
for _ in ProgressBar(range(30), desc="watched", mininterval=0.01, delay=0, disable=False):
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("given", "shown"), [({}, False), ({"TQDM_DELAY": "0", "TQDM_MININTERVAL": "0.01"}, True)])
def test_a_log_holds_no_bars_of_short_work_unless_asked_for(given, shown):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("TQDM")}
    done = subprocess.run(
        [sys.executable, "-c", BARS], env=plain | given, capture_output=True, text=True, check=True, timeout=60
    )
    assert ("watched" in done.stderr) == shown


def test_a_log_gets_a_state_per_interval_whatever_a_loop_asks_for():
    # as with the minute, in a hundredth of the time
    program = "import marsgen.console; marsgen.console.LOG_INTERVAL_S = 0.3" + BARS.replace("range(30)", "range(130)")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("TQDM")}
    done = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=True)
    states = done.stderr.count("watched")
    assert 1 <= states <= 8  # and not 130
    assert "130/130" in done.stderr


def test_quiet_shows_no_bar_that_a_loop_asks_for(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(ProgressBar(range(3), desc="watched", disable=False)) == [0, 1, 2]
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert capsys.readouterr().err == ""
    assert list(ProgressBar(range(3), desc="watched", disable=False)) == [0, 1, 2]
    assert "watched" in capsys.readouterr().err


def test_every_loop_uses_this_bar():
    root = Path(console.__file__).parent.parent
    files = [path for package in ("marsgen", "segmenter") for path in (root / package).rglob("*.py")]
    users = [path.name for path in files if re.search(r"^\s*(import|from) tqdm", path.read_text("utf-8"), flags=re.M)]
    assert users == ["progress.py"]
    assert sum("ProgressBar(" in path.read_text("utf-8") for path in files) > 15


def test_a_terminal_shows_bars_as_ever(monkeypatch):
    for key in ("TQDM_DELAY", "TQDM_MININTERVAL", "TQDM_DISABLE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    console._set_bars()
    assert not {"TQDM_DELAY", "TQDM_MININTERVAL", "TQDM_DISABLE"} & set(os.environ)
    monkeypatch.setenv("RANK", "1")
    console._set_bars()
    assert os.environ["TQDM_DISABLE"] == "1"
    os.environ.pop("TQDM_DISABLE")
