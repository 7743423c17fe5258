"""--quiet, --json and --version, which every command takes."""

import json
import subprocess
import sys

import pytest
import typer
from forked_commands import say
from test_startup import answers

import marsgen.cli
import segmenter.cli


@pytest.fixture(scope="module")
def spoken(tiny_npz, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("spoken")
    words = ["marsgen", "synthesize", "--generator", "copy-paste", "--data", str(tiny_npz), "--n", "3", "--out", "set"]
    return say(*words, "--quiet", "--json", cwd=folder)


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
    done = say(program, "--json", "settings", "trian", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    content = json.loads(done.stdout)
    assert content["exit_code"] == 2
    assert done.stderr == f"error: {content['error']}\n"


def test_json_is_the_last_line_beside_the_usual_ones(tmp_path):
    done = say("segmenter", "settings", "train", "--json", cwd=tmp_path)
    *usual, last = done.stdout.splitlines()
    assert len(usual) > 20
    assert json.loads(last)["wrote"] == []


def test_quiet_says_nothing(tmp_path):
    done = say("segmenter", "settings", "train", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


WALK = """
import contextlib, importlib, io, json, sys
for words in json.loads(sys.argv[1]):
    out, err, code, sys.argv = io.StringIO(), io.StringIO(), None, words
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(words[0] + ".cli").main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def every_command() -> list[tuple[str, str]]:
    """All commands of both programs; `marsgen auto` hands its words on to `segmenter auto`."""
    programs = {"marsgen": marsgen.cli.app, "segmenter": segmenter.cli.app}
    named = [(p, name) for p, app in programs.items() for name in typer.main.get_command(app).commands]
    return [pair for pair in named if pair != ("marsgen", "auto")]


def test_every_command_takes_quiet_json_and_version_wherever_they_stand(tmp_path):
    lines: list[list[str]] = []
    for program, name in every_command():
        lines += [
            [program, name, "--quiet", "--json", "--no-such-option"],
            [program, "--json", name, "--no-such-option", "--quiet"],
            [program, name, "--version"],
            [program, name, "--help", "--quiet"],
        ]
    assert len(lines) > 90
    start = [sys.executable, "-c", WALK, json.dumps(lines)]
    done = subprocess.run(start, capture_output=True, text=True, cwd=tmp_path, check=True)
    for words, (code, out, err) in zip(lines, map(json.loads, done.stdout.splitlines()), strict=True):
        program, name = words[0], next(word for word in words[1:] if not word.startswith("-"))
        if "--json" in words:
            content = json.loads(out)
            assert (content["command"], content["exit_code"], code) == (f"{program} {name}", 2, 2)
            assert "--no-such-option" in content["error"]
            assert err == f"error: {content['error']}\n"
        elif "--version" in words:
            assert (code, out, err) == (0, f"{program} {marsgen.__version__}\n", "")
        else:
            assert (code, err) == (0, "")
    assert not list(tmp_path.iterdir())


def test_marsgen_auto_takes_them_too(tmp_path):
    done = say("marsgen", "auto", "--quiet", "--json", "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["command"] == "segmenter auto"
    assert say("marsgen", "auto", "--version", cwd=tmp_path).stdout == f"segmenter {marsgen.__version__}\n"


def test_what_follows_two_dashes_is_no_flag(tmp_path):
    ((code, err, _),) = answers([("segmenter", "settings", "--", "--json")], tmp_path)
    assert code == 2
    assert "--json" in err
