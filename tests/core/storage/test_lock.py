"""The run lock: one holder, whatever is done to its file meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.lock import take_lock

CAMPAIGN = Path(__file__).parents[2] / "campaign"


def test_a_lock_that_is_held_is_not_given_again(tmp_path):
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    assert take_lock(tmp_path / ".lock") is None
    lock.release()
    assert take_lock(tmp_path / ".lock") is not None


def test_a_lock_whose_file_was_replaced_guards_nothing(tmp_path):
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    assert lock.in_place
    (tmp_path / ".lock").unlink()
    assert not lock.in_place
    again = take_lock(tmp_path / ".lock")
    assert again is not None
    assert again.in_place


def test_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match=r"\.lock: a link or no plain file"):
        take_lock(tmp_path / ".lock")
    assert (tmp_path / "precious").read_text() == "content"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_is_refused(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(RunError, match=r"\.lock: .*no plain file where a lock file belongs"):
        take_lock(tmp_path / ".lock")


def test_a_run_whose_folder_was_replaced_stops(tmp_path):
    run = Run.start(tmp_path / "run", "train", Config())
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="removed or replaced while this command was writing"):
        run.log(1, loss=0.0)
    assert list((tmp_path / "run").iterdir()) == []


NAIVE = """
import fcntl, os
def take(path):  # removes the file, then closes it
    file = open(path, "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    def release():
        path.unlink(missing_ok=True)
        file.close()
    return release
"""
RACE = """
import sys; from pathlib import Path; sys.path.insert(0, {campaign!r})
from race import count_double_holders, try_once as take
{take}
folder = Path({folder!r}); folder.mkdir()
print(*count_double_holders(folder, {rounds}, take=take))
"""


def race(folder: Path, rounds: int, take: str = "") -> tuple[int, int]:
    code = RACE.format(campaign=str(CAMPAIGN), take=take, folder=str(folder), rounds=rounds)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    held, doubled = done.stdout.split()
    return int(held), int(doubled)


def test_processes_that_race_never_hold_it_together(tmp_path):
    held, doubled = race(tmp_path / "raced", 300)
    assert held >= 300
    assert doubled == 0


def test_the_race_finds_a_lock_that_removes_its_file(tmp_path):
    assert race(tmp_path / "raced", 3000, NAIVE)[1] > 0
