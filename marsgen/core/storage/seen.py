"""The two files that say who has seen which scene (marsgen/provenance), read without anything heavy.

split.json   of a run of `segmenter train`
synth.json   of a set of made scenes
"""

from pathlib import Path
from typing import Any

from marsgen.core.errors import DataError, RunError
from marsgen.core.storage.reading import read_json, shorten

SPLIT_FILE = "split.json"
HEAD_FILE = "synth.json"
SPLIT_REMEDY = "without it nobody knows which scenes this run has seen; train it again"


def read_split(folder: Path) -> dict[str, Any]:
    """What split.json of a training run says, with lists of keys train, val, test and extra.

    Raises:
        RunError: missing or damaged.
    """
    path = folder / SPLIT_FILE
    content = read_json(path, fault=RunError, remedy=SPLIT_REMEDY)
    if not all(_are_keys(content.get(part)) for part in ("train", "val", "test", "extra")):
        raise RunError(f"{path}: expected lists of scene keys for train, val, test and extra; {SPLIT_REMEDY}")
    return content


def read_set_head(folder: Path) -> dict[str, Any]:
    """What `marsgen synthesize` or `segmenter pseudo-label` wrote about a set; {} for a folder without synth.json.

    Raises:
        DataError: damaged, or without a list of keys `trained_on`.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        return {}
    head = read_json(path, remedy="make the folder again")
    if not _are_keys(head.get("trained_on")):
        found = shorten(repr(head.get("trained_on")), 60)
        raise DataError(f"{path}: 'trained_on' is {found}; expected a list of scene keys, make the folder again")
    return head


def _are_keys(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(key, str) for key in value)
