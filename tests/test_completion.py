"""What a shell offers where the tab key is pressed: commands, options, names; and nothing heavy is imported for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_startup import HEAVY

PROGRAM = """
import importlib, json, os, sys
place = sys.argv[1]
sys.argv = [os.environ["PROGRAM"]]
try:
    importlib.import_module(os.environ["PROGRAM"] + ".cli").main()
finally:
    with open(place, "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def offered(line: str, cwd: Path) -> tuple[list[str], set[str]]:
    """What bash would offer at the end of a command line, and the modules that were imported for it."""
    words = line.split(" ")
    given = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "PROGRAM": words[0]}
    environment = os.environ | given | {f"_{words[0].upper()}_COMPLETE": "complete_bash"}
    command = [sys.executable, "-c", PROGRAM, str(cwd / "modules.json")]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split(), set(json.loads((cwd / "modules.json").read_text()))


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
    (folder / "mine.yaml").write_text("")
    return folder


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("marsgen synth", ["synthesize"]),
        ("marsgen train-generator --ki", ["--kind"]),
        ("marsgen train-generator --kind d", ["diffusion", "distilled"]),
        ("marsgen synthesize --generator c", ["copy-paste"]),
        ("marsgen synthesize --generator outputs/g", ["outputs/gen", "outputs/gen/"]),
        ("marsgen synthesize --class big", ["big_rock"]),
        ("marsgen synthesize --data own --class ", ["crack", "hole"]),
        ("segmenter auto --data own --class h", ["hole"]),
        ("segmenter auto --data absent --class big", ["big_rock"]),
        ("segmenter settings pre", ["predict"]),
        ("segmenter train --config mi", ["mine.yaml"]),
        ("segmenter evaluate nothing-of-this-name", []),
    ],
)
def test_a_shell_is_offered_what_fits(line, expected, place):
    words, imported = offered(line, place)
    assert words == expected
    assert imported & {*HEAVY, "numpy", "PIL"} == set()


@pytest.mark.parametrize(
    ("line", "name"), [("segmenter study ", "studies/rare_class.yaml"), ("marsgen demo --config ", "demo.yaml")]
)
def test_shipped_recipes_are_offered(line, name, place):
    words, _ = offered(line, place)
    (shipped,) = [word for word in words if word.endswith(name)]
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
