"""Whether the classes that `marsgen synthesize` is to paste are there, asked before any data are opened."""

from pathlib import Path
from typing import TYPE_CHECKING

from marsgen.scenes.stated import stated_classes
from marsgen.synthesis.config import SynthesizeConfig, refuse_unknown_classes

if TYPE_CHECKING:
    from marsgen.core.runs import Run

COPY_PASTE = "copy-paste"
"""the generator that needs no training"""


def data_of(run: "Run") -> tuple[str, Path | None]:
    """Where the data of a run lie, and the file of their classes where one was named."""
    classes = run.stored("inputs.data.classes", (str, type(None)))
    return run.stored("inputs.data.location", str), Path(classes) if classes else None


def refuse_misspelt_classes(
    config: SynthesizeConfig, generator: str | None, data: str | None, classes: Path | None
) -> None:
    """Refuse names that the data do not have, as far as it is stated which they have.

    Args:
        generator: copy-paste, or the folder of a run.
        data: place of the real scenes; None = those that this run was trained on.
        classes: file of their classes.
    Raises:
        DataError: see `refuse_unknown_classes` and `stated_classes`.
        RunError: no data are named, and the folder holds no finished generator.
    """
    if data is None:
        if generator is None or generator == COPY_PASTE or not Path(generator).exists():
            return  # `find_sources` says more
        from marsgen.core.runs import Run  # here: data that are named need none

        data, classes = data_of(Run.load(Path(generator), "marsgen train-generator"))
    if (known := stated_classes(data, classes)) is not None:
        refuse_unknown_classes(config, known)
