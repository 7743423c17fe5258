"""Trained models for the Hugging Face hub: what others need of a finished run, and a model card, in one folder.

The folder is a run folder without what only training needed, so every command takes it where it takes a run. Weights
are safetensors; whatever is opened, from a disk or from the hub, is checked as any run is, and nothing in it is
executed.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from marsgen.core.errors import RunError
from marsgen.core.runs import Run, as_yaml
from marsgen.core.storage.files import write_bytes, write_text
from marsgen.core.storage.reading import first_line, shorten
from marsgen.provenance.data_card import CARD_FILE, UNKNOWN, class_table, front_matter
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.limits import name_channels

_HUB_FILES = (CARD_FILE, ".gitattributes", ".cache", ".git")
"""what may stand in a folder beside the files of a model"""


@dataclass(frozen=True)
class ModelDescription:
    """What a model card says."""

    title: str
    classes: ClassSet
    channels: int
    task: str
    """pipeline tag of the hub"""
    usage: str
    """Python that opens it"""
    facts: Sequence[tuple[str, str]]
    limits: Sequence[str]
    class_scores: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """column of the table of classes -> class -> value"""

    def text(self) -> str:
        """The content of README.md, as on huggingface.co/docs/hub/model-cards."""
        licence = self.classes.license or UNKNOWN
        front = {
            "license": licence,
            "library_name": "marsgen",
            "pipeline_tag": self.task,
            "tags": ["semantic-segmentation", "rare-classes", "safetensors"],
        }
        facts = [*self.facts, ("Pictures", name_channels(self.channels)), ("Licence of the training data", licence)]
        lines = [
            *front_matter(front),
            *("", f"# {self.title}", ""),
            *("```python", *self.usage.splitlines(), "```", ""),
            *class_table(self.classes, self.class_scores),
            "",
            *(f"- {what}: {value}" for what, value in facts),
            *("", "## Limits", ""),
            *(f"- {sentence}" for sentence in self.limits),
            "",
        ]
        return "\n".join(lines)


@dataclass
class TrainedModel(Run, ModelHubMixin):
    """A finished training run that can be saved for others, put on the hub, and opened from there."""

    COMMAND: ClassVar[str]
    """that made the run"""
    FILES: ClassVar[tuple[str, ...]]
    """what a saved model consists of, as far as the run has it; DONE comes last"""

    def __post_init__(self) -> None:
        self._hub_mixin_config = None  # no config.json: config.yaml says it all, and is checked when it is read

    @abstractmethod
    def describe_model(self) -> ModelDescription:
        """What the card says; opens the model.

        Raises:
            RunError: the files do not make a model.
        """

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path | Run,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Open a model and check it.

        Args:
            pretrained_model_name_or_path: a finished run, its folder, a folder that `save_pretrained` wrote, or the
                name of a repository on the hub, such as "me/rocks".
            force_download, token, cache_dir, local_files_only, revision: see `huggingface_hub.snapshot_download`.
        Raises:
            RunError: nothing there, or no model of this kind.
        """
        where = pretrained_model_name_or_path
        folder = where.folder if isinstance(where, Run) else Path(where)
        if not folder.exists():
            try:
                found = snapshot_download(
                    str(where),
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                    allow_patterns=[*cls.FILES, CARD_FILE],
                )
            except (OSError, ValueError) as problem:  # of its http library, of its cache, of the name
                reason = f"{type(problem).__name__}: {first_line(problem)}"
                raise RunError(
                    f"{where}: no such folder, and not to be had from the Hugging Face hub ({shorten(reason)}); "
                    "give the folder of a run, or a repository such as name/model"
                ) from None
            folder = Path(found)
        model = cls.load(folder, cls.COMMAND)
        model.describe_model()
        return model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model and its card, README.md; a card that is there stays.

        Args:
            save_directory: a new or empty folder, or one with a saved model, which is replaced.
            options: see `ModelHubMixin.save_pretrained`, such as push_to_hub=True.
        Raises:
            RunError: a folder with other files, or the files of this run do not make a model.
        """
        folder = Path(save_directory)
        if folder.exists():
            known = {name.partition("/")[0] for name in (*self.FILES, *_HUB_FILES)}
            if not folder.is_dir() or (other := sorted({path.name for path in folder.iterdir()} - known)):
                what = f"holds {other[0]}, which is no part of a model" if folder.is_dir() else "is a file"
                raise RunError(f"{folder} {what}; choose a new folder")
            if folder.samefile(self.folder):
                raise RunError(f"{folder} is the folder of the model itself; choose a new folder")
        self.describe_model()  # what does not open is not given away
        return super().save_pretrained(folder, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / "DONE").unlink(missing_ok=True)
        for name in self.FILES:
            if name == "config.yaml":
                write_text(save_directory / name, as_yaml(_without_folders(self._identity)))
            elif (path := self.folder / name).is_file():
                write_bytes(save_directory / name, path.read_bytes())
        card, own = save_directory / CARD_FILE, self.folder / CARD_FILE
        if not card.exists() and own.is_file():  # somebody may have written more into it
            write_bytes(card, own.read_bytes())

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card of a model that has none yet."""
        return ModelCard(self.describe_model().text())

    @property
    def trained_on(self) -> str:
        """Name and fingerprint of the training data; where they lay is nobody else's business."""
        location = Path(self.stored("inputs.data.location", str)).name
        return f"{in_one_line(location)} (fingerprint {in_one_line(self.stored('inputs.data.fingerprint', str))})"


def in_one_line(text: str) -> str:
    """A text of somebody else's file for a markdown line."""
    return shorten(" ".join(text.split()).replace("`", "'"))


def _without_folders(content: Any) -> Any:
    """Nested values with the names of absolute paths only."""
    if isinstance(content, dict):
        return {key: _without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_folders(value) for value in content]
    return Path(content).name if isinstance(content, str) and Path(content).is_absolute() else content
