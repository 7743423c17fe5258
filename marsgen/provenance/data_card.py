"""Data cards: README.md of a written set, yaml front matter and text as on huggingface.co/docs/hub/datasets-cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from marsgen.core.storage.files import write_text
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.limits import name_channels
from marsgen.scenes.scene import SceneSource

CARD_FILE = "README.md"
UNKNOWN = "unknown"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class DataCard:
    """What a set says about itself. Nothing in it depends on where the set lies or on how it is stored."""

    title: str
    classes: ClassSet
    pairs: int
    shape: Sequence[int] | None
    """(height, width) in pixels; None where they differ"""
    channels: int
    source: Mapping[str, Any]
    """`SceneSource.identity` of the data that it was made from"""
    head: Mapping[str, Any] = field(default_factory=dict)
    """synth.json; {} for real scenes"""
    shown: Mapping[str, int] = field(default_factory=dict)
    """class -> number of pairs"""
    shown_words: str = "pairs that show it"
    gain: str = ""
    """what training on it gained, in words"""
    front: Mapping[str, Any] = field(default_factory=dict)
    """more front matter, such as which files a loader reads"""

    def text(self) -> str:
        """The content of README.md."""
        front = {
            "license": self.classes.license or UNKNOWN,
            "pretty_name": self.title,
            "task_categories": ["image-segmentation"],
            "tags": ["semantic-segmentation", *(["synthetic"] if self.head else [])],
            "size_categories": [next((words for most, words in _SIZES if self.pairs < most), "n>1M")],
            **self.front,
        }
        size = "sizes differ" if self.shape is None else f"{self.shape[0]} x {self.shape[1]} pixels"
        lines = [
            *front_matter(front),
            "",
            f"# {self.title}",
            "",
            f"{self.pairs} pairs of picture and label map, {size}, {name_channels(self.channels)}. Written by marsgen.",
            "",
            *class_table(self.classes, {self.shown_words: self.shown} if self.shown else {}),
            "",
            *(f"- {what}: {value}" for what, value in self._facts()),
            "",
        ]
        return "\n".join(lines)

    def _facts(self) -> list[tuple[str, str]]:
        head = self.head
        facts = []
        if "generator" in head:
            drawing = ", ".join(f"{key} {value}" for key, value in (head.get("drawing") or {}).items())
            mode = f"mode {head['mode']}" if "mode" in head else ""
            details = "; ".join(part for part in (mode, drawing) if part)
            facts.append(("Generator", f"{head['generator']}{f' ({details})' if details else ''}"))
            facts.append(
                ("Generator's fingerprint", str(head.get("generator_fingerprint") or "none, it is not trained"))
            )
        elif "teachers" in head:
            facts.append(("Labels", f"predicted by {len(head['teachers'])} trained segmenters"))
        else:
            facts.append(("Generator", "none: real scenes"))
        data = head.get("data")
        if not isinstance(data, Mapping) or not {"location", "fingerprint"} <= data.keys():
            data = self.source
        # the name alone: where it lay on somebody's disk is nobody else's business
        facts.append(("Source data", f"{Path(str(data['location'])).name} (fingerprint {data['fingerprint']})"))
        if head:
            facts.append(("Parents", "manifest.jsonl names the parent and the donors of each pair, where there is one"))
        licence = self.classes.license or f"{UNKNOWN}; say `license:` in classes.yaml"
        facts.append(("Licence of the source", licence))
        facts.append(("Measured gain", self.gain or "none was measured"))
        return facts


def front_matter(front: Mapping[str, Any]) -> list[str]:
    """The yaml at the head of a card, in lines."""
    return ["---", yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True).rstrip(), "---"]


def class_table(classes: ClassSet, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names and ids in lines of markdown.

    Args:
        columns: title of one more column -> class -> what stands there; 0 where a class is missing.
    """
    rows = [["class", "id", "rare", *columns]]
    rows.append(["---"] * len(rows[0]))
    for name, number in zip(classes.names, classes.ids, strict=True):
        rare = "yes" if name in classes.rare else ""
        rows.append([_cell(name), str(number), rare, *(str(values.get(name, 0)) for values in columns.values())])
    table = [f"| {' | '.join(row)} |" for row in rows]
    return [*table, "", f"Pixels of id {classes.ignored} carry no label."]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def write_data_card(folder: Path, card: DataCard) -> None:
    """Write README.md."""
    write_text(folder / CARD_FILE, card.text())


def card_of(scenes: SceneSource, title: str, **more: Any) -> DataCard:
    """The card of scenes that are written again; see `DataCard` for `more`."""
    facts = {"pairs": len(scenes), "shape": scenes.shape, "channels": scenes.channels, "source": scenes.identity()}
    return DataCard(title, scenes.classes, **{**facts, **more})
