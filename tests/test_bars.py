"""Progress bars where nobody watches: a log gets a line a minute, not one every tenth of a second."""

import os
import subprocess
import sys

import pytest

from marsgen import console

BARS = """
from marsgen.console import _set_bars
_set_bars()
from tqdm import tqdm
import time
for _ in tqdm(range(30), desc="watched"):
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("given", "shown"), [({}, False), ({"TQDM_DELAY": "0", "TQDM_MININTERVAL": "0.01"}, True)])
def test_a_log_holds_no_bars_of_short_work_unless_asked_for(given, shown):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("TQDM")}
    done = subprocess.run(
        [sys.executable, "-c", BARS], env=plain | given, capture_output=True, text=True, check=True, timeout=60
    )
    assert ("watched" in done.stderr) == shown


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
