"""Mistakes that a user can mend: one sentence each, printed without a traceback, exit code 2.

A message says what was found, where, what was expected and what to do. A bug of ours is any other exception.
"""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave (file, folder, config, option) cannot be used as it is."""


class ConfigError(InputError):
    """A config file or a --set override says something that no command understands."""


class DataError(InputError):
    """An image, a label map or a data set is not what it should be."""


class RunError(InputError):
    """A run folder cannot be opened, continued or read, or a run had to stop."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint ready to append: " (did you mean 'steps'?)", or "" when nothing is close."""
    close = difflib.get_close_matches(word[:100], list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def how_to_install(extra: str) -> str:
    """How an optional part of this project is installed; not by a name, which may be another's on an index."""
    return f"pip install '.[{extra}]' in this project's folder"
