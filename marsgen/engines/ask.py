"""What commands answer in their line of json, asked one after the other in one process: imports are paid for once."""

import contextlib
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from marsgen.core.errors import ConfigError


def ask(commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The summary that each command says with --json.

    Args:
        commands: words of command lines; the first word is marsgen or segmenter. None may depend on what runs before.
    Raises:
        ConfigError: one fails; the message is its own. Those after it are not asked.
    """
    if not commands:
        return []
    given = json.dumps([[*words, "--quiet", "--json"] for words in commands])
    program = [sys.executable, "-m", "marsgen.engines.ask"]
    done = subprocess.run(program, input=given, capture_output=True, text=True, check=False, encoding="utf-8")
    try:
        answers = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"{' and '.join(' '.join(words) for words in commands)}: {done.stderr}") from None
    for answer in answers:
        if answer["exit_code"]:
            raise ConfigError(answer["error"])
    return [answer["summaries"][0] for answer in answers]


def _answer(words: list[str]) -> dict[str, Any]:
    """Run a command in this process; its line of json."""
    sys.argv = words
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        importlib.import_module(f"{words[0]}.cli").main()
    line: dict[str, Any] = json.loads(said.getvalue())
    return line


def _answer_all() -> None:
    answers = []
    for words in json.load(sys.stdin):
        answers.append(_answer(words))
        if answers[-1]["exit_code"]:
            break
    print(json.dumps(answers))


if __name__ == "__main__":
    _answer_all()
