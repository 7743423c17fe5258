"""`marsgen doctor`: it measures, knows every extra, and names what is slow."""

import copy
import json
import tomllib
from pathlib import Path

import pytest
from forked_commands import say

from marsgen.commands.doctor import EXTRAS, PACKAGES, describe, examine, slow_here

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    return examine(tmp_path_factory.mktemp("place") / "not" / "there")


def test_it_measures_this_machine(found):
    assert found["gflops"] > 0.1
    assert found["disk"]["mb_per_s"] > 0.1
    assert found["disk"]["free"] > 0
    assert found["threads"] >= 1
    assert all(found["versions"][name] for name in PACKAGES)


def test_every_extra_has_its_line(found):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"docs", "dev"}
    lines = describe(found)
    for name in EXTRAS:
        assert any(line.startswith(f"extra    {name}: ") for line in lines)


FAST = {"gpu_memory": 8 * 10**10, "bf16": True, "threads": 8, "cores": 8, "busy": 1.0, "memory": 10**11}
SLOW = {
    "gpu_memory": (None, "no GPU"),
    "busy": (20.0, "20.0 processes want 8 cores"),
    "memory": (4 * 10**9, "4.0 GB of memory"),
    "disk": ({"mb_per_s": 9.0}, "the disk writes 9 MB/s"),
}


def test_nothing_is_slow_on_a_fast_machine():
    assert slow_here({**FAST, "disk": {"mb_per_s": 900.0}}) == []


@pytest.mark.parametrize("what", SLOW)
def test_what_is_slow_is_named(what):
    machine = {**copy.deepcopy(FAST), "disk": {"mb_per_s": 900.0}, what: SLOW[what][0]}
    (reason,) = slow_here(machine)
    assert SLOW[what][1] in reason


def test_the_command_prints_lines_and_json(tmp_path):
    done = say("marsgen", "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert lines[0].startswith("marsgen ")
    assert json.loads(last)["summaries"][0]["cores"] >= 1
    assert list(tmp_path.iterdir()) == []
