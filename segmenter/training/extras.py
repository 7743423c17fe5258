"""The --extra folders of `segmenter train`: opened, checked and described."""

import copy
from collections.abc import Sequence
from pathlib import Path

from marsgen.cleaning.dataset import Data, Dataset, scenes_of
from marsgen.console import say_note
from marsgen.core.errors import DataError
from marsgen.provenance import read_set_head, refuse_leaking_extra
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.reviewed import open_kept
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes
from segmenter.training.places import refuse_no_extra


def open_extras(given: Sequence[Data], dataset: Dataset) -> list[SceneSource]:
    """Open extra scenes and refuse what must not join training on `dataset`.

    Raises:
        DataError, RunError: see `open_extra` and `check_extra`.
    """
    extras = [open_extra(one, dataset.scenes.classes) for one in given]
    for extra in extras:
        check_extra(extra, dataset)
    return extras


def open_extra(given: Data, classes: ClassSet) -> SceneSource:
    """Open the scenes of one --extra; scenes that are open already stay as they are.

    Args:
        given: scenes, or the folder of a command that writes such, or a kept.json of `marsgen playground`.
        classes: of the real scenes: their order, and what the ids of a folder without classes.yaml mean.
    Raises:
        DataError: no such folder, or one that cannot be used.
        RunError: a folder that `marsgen synthesize` or `segmenter pseudo-label` has not finished.
    """
    if not isinstance(given, (str, Path)):
        return _in_order(copy.copy(scenes_of(given)), classes)
    if Path(given).suffix == ".json" and Path(given).is_file():
        return _in_order(open_kept(Path(given), lambda place: open_extra(place, classes)), classes)
    location, folder = str(given), Path(given)
    refuse_no_extra(location)
    own_classes = (folder / "classes.yaml").is_file() or not folder.is_dir()
    return _in_order(open_scenes(location, classes=None if own_classes else classes), classes)


def _in_order(extra: SceneSource, classes: ClassSet) -> SceneSource:
    """`extra` with its classes listed as `classes` lists them, so that their indices agree; ids stay its own."""
    extra.classes = extra.classes.ordered_like(classes)
    return extra


def check_extra(extra: SceneSource, dataset: Dataset) -> None:
    """Refuse scenes that must not join training on `dataset`.

    Raises:
        DataError: classes of other names, other channels or size than the real scenes; no scene; or a leak, see
            `marsgen.provenance.refuse_leaking_extra`.
    """
    real, where = dataset.scenes, f"--extra {extra.location}"
    if not len(extra):
        raise DataError(f"{where}: no scene in it; name a folder that `marsgen synthesize` has filled")
    for what, there, here in (
        ("classes", ", ".join(extra.classes.names), ", ".join(real.classes.names)),
        ("channels", extra.channels, real.channels),
        ("height and width", extra.shape, real.shape),
    ):
        if there != here and (what != "height and width" or real.shape is not None):
            raise DataError(
                f"{where}: its {what} are {there}, those of {real.location} are {here}; "
                "extra scenes have to be made from the same kind of data"
            )
    if read_set_head(Path(extra.location)).get("undrawn"):
        raise DataError(
            f"{where}: label maps that were painted, beside pictures that do not show them yet; draw them first: "
            f"marsgen synthesize --maps {extra.location}"
        )
    if caution := refuse_leaking_extra(extra, dataset):
        say_note(caution)


def describe_extra(extra: SceneSource) -> dict[str, object]:
    """What a run records of an extra source: location, fingerprint and, where synth.json says it, what made it."""
    head = read_set_head(Path(extra.location))
    keys = ("generator", "mode", "drawing", "n", "recipe", "teachers", "keep")
    made: dict[str, object] = {key: head[key] for key in keys if key in head}
    return {"location": extra.location, "fingerprint": extra.fingerprint(), **made}
