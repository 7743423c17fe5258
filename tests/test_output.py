"""--quiet and --json, which every command takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_startup import answers


def said(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", f"{words[0]}.cli", *words[1:]]
    return subprocess.run(start, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def spoken(tiny_npz, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("spoken")
    words = ["marsgen", "synthesize", "--generator", "copy-paste", "--data", str(tiny_npz), "--n", "3", "--out", "set"]
    return said([*words, "--quiet", "--json"], folder)


def test_quiet_json_is_one_line_that_says_what_was_made(spoken):
    assert spoken.returncode == 0
    assert spoken.stderr == ""
    content = json.loads(spoken.stdout)
    assert content["command"] == "marsgen synthesize"
    assert content["exit_code"] == 0
    assert content["wrote"] == ["set"]
    assert content["summaries"][0]["pairs"] == 3
    assert content["notes"] == []


@pytest.mark.parametrize("program", ["marsgen", "segmenter"])
def test_a_mistake_is_a_line_of_json_too(program, tmp_path):
    done = said([program, "--json", "settings", "trian"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    content = json.loads(done.stdout)
    assert content["exit_code"] == 2
    assert done.stderr == f"error: {content['error']}\n"


def test_json_is_the_last_line_beside_the_usual_ones(tmp_path):
    done = said(["segmenter", "settings", "train", "--json"], tmp_path)
    *usual, last = done.stdout.splitlines()
    assert len(usual) > 20
    assert json.loads(last)["wrote"] == []


def test_quiet_says_nothing(tmp_path):
    done = said(["segmenter", "settings", "train", "--quiet"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_follows_two_dashes_is_no_flag(tmp_path):
    ((code, err, _),) = answers([("segmenter", "settings", "--", "--json")], tmp_path)
    assert code == 2
    assert "--json" in err
