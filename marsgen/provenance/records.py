"""The two files that say who has seen which scene: split.json of training runs, synth.json of made sets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.fingerprints import FINGERPRINT_BYTES
from marsgen.core.errors import RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json
from marsgen.core.storage.seen import HEAD_FILE, SPLIT_FILE, SPLIT_REMEDY, read_set_head, read_split
from marsgen.scenes.scene import SceneSource, scene_key

# keys


def keys_of_part(dataset: Dataset, indices: Iterable[int]) -> list[str]:
    """Content keys of some scenes of a data set, in their order."""
    return [dataset.survey.keys[index] for index in indices]


def keys_of_pictures(source: SceneSource) -> Iterator[str]:
    """Content keys of all pictures of a source, in their order; reads one picture at a time."""
    return (scene_key(source.read(index)[0]) for index in range(len(source)))


def fingerprints_of_part(dataset: Dataset, indices: Iterable[int]) -> dict[str, str]:
    """Content key -> fingerprint in hex digits of some scenes of a data set."""
    survey = dataset.survey
    return {survey.keys[index]: survey.fingerprints[index].tobytes().hex() for index in indices}


def real_keys(source: SceneSource, index: int) -> tuple[str, ...]:
    """Keys of the real scenes in a scene: its parents and donors where a synthetic one names any, else its own."""
    return source.origin(index).ancestors or (scene_key(source.read(index)[0]),)


# synth.json


def write_set_head(
    folder: Path, head: Mapping[str, Any], *trained_on: Iterable[str], pictures: Mapping[str, str] | None = None
) -> None:
    """Write synth.json.

    Args:
        head: what made the set.
        trained_on: keys of the scenes that its makers have seen; one iterable for each maker.
        pictures: fingerprints of those scenes, see `fingerprints_of_part`; as far as they are known.
    """
    seen = sorted({key for keys in trained_on for key in keys})
    write_json(folder / HEAD_FILE, {**head, "trained_on": seen} | ({"pictures": dict(pictures)} if pictures else {}))


def pictures_of(content: Mapping[str, Any]) -> dict[str, bytes] | None:
    """Content key -> fingerprint in the json of split.json or synth.json; {} if none were written, None if damaged."""
    try:
        found = {str(key): bytes.fromhex(text) for key, text in content.get("pictures", {}).items()}
    except (AttributeError, TypeError, ValueError):
        return None
    return found if all(len(fingerprint) == FINGERPRINT_BYTES for fingerprint in found.values()) else None


def set_trained_on(folder: Path) -> list[str]:
    """Keys of the scenes that the makers of a set have seen; [] for a folder without synth.json."""
    return list(read_set_head(folder).get("trained_on", []))


# split.json


@dataclass(frozen=True)
class SplitKeys:
    """Content keys of the scenes that a training run has seen."""

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]
    extra: frozenset[str]
    """of the real scenes behind its extra scenes, and of what their makers were trained on"""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """key -> fingerprint of the scenes above but the test part, as far as they are known"""

    def part(self, name: str) -> frozenset[str]:
        """Keys of the part "train", "val" or "test"."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Everything that influenced the weights, sorted."""
        return tuple(sorted(self.train | self.extra))


def write_split_keys(run: Run, dataset: Dataset, extras: Sequence[SceneSource]) -> None:
    """Write split.json of a training run: real scenes of each part, and all that is behind synthetic or labelled ones.

    Args:
        extras: they join training beside the train part of `dataset`, which may itself be synthetic.
    """
    if not run.writes:
        return
    behind = {key for extra in extras for index in range(len(extra)) for key in real_keys(extra, index)}
    behind |= {key for index in dataset.split.train for key in dataset.scenes.origin(index).ancestors}
    behind |= {key for source in (dataset.scenes, *extras) for key in set_trained_on(Path(source.location))}
    parts = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}
    keys = {part: keys_of_part(dataset, indices) for part, indices in parts.items()}
    pictures = fingerprints_of_part(dataset, (*dataset.split.train, *dataset.split.val))
    for source in (dataset.scenes, *extras):
        pictures |= read_set_head(Path(source.location)).get("pictures", {})
    write_json(run.folder / SPLIT_FILE, keys | {"extra": sorted(behind), "pictures": pictures})


def read_split_keys(folder: Path) -> SplitKeys:
    """Read split.json of a training run.

    Raises:
        RunError: missing or damaged.
    """
    content = read_split(folder)
    if (pictures := pictures_of(content)) is None:
        raise RunError(f"{folder / SPLIT_FILE}: its 'pictures' are damaged; {SPLIT_REMEDY}")
    train, val, test, extra = (frozenset(content[part]) for part in ("train", "val", "test", "extra"))
    return SplitKeys(train, val, test, extra, pictures)
