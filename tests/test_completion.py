"""What a shell offers where the tab key is pressed: commands, options, names; and nothing heavy is imported for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_startup import HEAVY

PROGRAM = """
import contextlib, importlib, io, json, os, sys
for line in json.loads(sys.argv[1]):
    words, before, out, err, code = line.split(" "), set(sys.modules), io.StringIO(), io.StringIO(), None
    os.environ.update({"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)})
    os.environ["_" + words[0].upper() + "_COMPLETE"] = "complete_bash"
    sys.argv = words[:1]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(words[0] + ".cli").main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, err.getvalue(), out.getvalue().split(), sorted(set(sys.modules) - before)]))
"""
OFFERED = {
    "marsgen synth": ["synthesize"],
    "marsgen train-generator --ki": ["--kind"],
    "marsgen train-generator --kind d": ["diffusion", "distilled"],
    "marsgen synthesize --generator c": ["copy-paste"],
    "marsgen synthesize --generator outputs/g": ["outputs/gen", "outputs/gen/"],
    "marsgen synthesize --class big": ["big_rock"],
    "marsgen synthesize --data own --class ": ["crack", "hole"],
    "segmenter auto --data own --class h": ["hole"],
    "segmenter auto --data absent --class big": ["big_rock"],
    "segmenter settings pre": ["predict"],
    "segmenter train --config mi": ["mine.yaml"],
    "segmenter evaluate nothing-of-this-name": [],
}
"""command line -> what is offered at its end"""
RECIPES = {"segmenter study ": "studies/rare_class.yaml", "marsgen demo --config ": "demo.yaml"}
"""command line -> the end of a path that is offered"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a trained generator, data with classes of their own, and a yaml file."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("outputs/gen", "outputs/other", "own"):
        (folder / name).mkdir(parents=True)
    (folder / "outputs" / "gen" / "generator.json").write_text("{}")
    (folder / "own" / "classes.yaml").write_text(
        "ignored: 0\nclasses:\n  - {name: crack, id: 1}\n  - {name: hole, id: 2}\n"
    )
    (folder / "own" / "a.png").touch()
    (folder / "mine.yaml").write_text("")
    return folder


@pytest.fixture(scope="module")
def offered(place) -> dict[str, tuple[list[str], set[str]]]:
    """What bash would offer at the end of each command line, and the modules that it was first to import."""
    lines = [*OFFERED, *RECIPES]
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert [answer[:2] for answer in answers] == [[0, ""]] * len(lines)
    return {line: (words, set(imported)) for line, (_, _, words, imported) in zip(lines, answers, strict=True)}


@pytest.mark.parametrize("line", OFFERED)
def test_a_shell_is_offered_what_fits(line, offered):
    words, imported = offered[line]
    assert words == OFFERED[line]
    assert imported & {*HEAVY, "numpy", "PIL"} == set()


@pytest.mark.parametrize("line", RECIPES)
def test_shipped_recipes_are_offered(line, offered):
    words, _ = offered[line]
    (shipped,) = [word for word in words if word.endswith(RECIPES[line])]
    assert Path(shipped).is_file()
    assert "mine.yaml" in words


@pytest.mark.parametrize("program", ["marsgen", "segmenter"])
def test_completion_is_a_line_of_the_help_and_its_script_asks_the_program(program, tmp_path):
    def said(*words: str) -> str:
        start = [sys.executable, "-m", f"{program}.cli", *words]
        # typer looks for a shell among this process's parents, where a test may have none
        there = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        return subprocess.run(start, cwd=tmp_path, env=there, capture_output=True, text=True, check=True).stdout

    shown = said("--help")
    assert shown.count("-completion") == 1
    assert f"_{program.upper()}_COMPLETE=complete_bash" in said("--show-completion", "bash")
