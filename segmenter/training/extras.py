"""The --extra folders of `segmenter train`: opened, checked and described."""

from collections.abc import Sequence
from pathlib import Path

from marsgen.cleaning.dataset import Dataset
from marsgen.console import say_note
from marsgen.core.errors import DataError
from marsgen.core.runs import Run
from marsgen.provenance import read_set_head, refuse_leaking_extra
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes


def open_extras(locations: Sequence[str], dataset: Dataset) -> list[SceneSource]:
    """Open the --extra folders and refuse what must not join training on `dataset`.

    Raises:
        DataError: other classes, channels or size than the real scenes; no scene; or a leak, see
            `marsgen.provenance.refuse_leaking_extra`.
        RunError: a folder that `marsgen synthesize` or `segmenter pseudo-label` has not finished.
    """
    return [_open_extra(location, dataset) for location in locations]


def _open_extra(location: str, dataset: Dataset) -> SceneSource:
    folder = Path(location)
    if not folder.exists() and not location.startswith("sim:"):
        raise DataError(
            f"--extra {location}: no such folder; name one that `marsgen synthesize` or `segmenter pseudo-label` wrote"
        )
    if (folder / "config.yaml").is_file():
        Run.load(folder, "marsgen synthesize", "marsgen export", "segmenter pseudo-label")
    own_classes = (folder / "classes.yaml").is_file() or not folder.is_dir()
    extra = open_scenes(location, classes=None if own_classes else dataset.scenes.classes)
    check_extra(extra, dataset)
    return extra


def check_extra(extra: SceneSource, dataset: Dataset) -> None:
    """Raise DataError unless every scene of `extra` may join training on `dataset`; see `open_extras`."""
    real, where = dataset.scenes, f"--extra {extra.location}"
    if not len(extra):
        raise DataError(f"{where}: no scene in it; name a folder that `marsgen synthesize` has filled")
    for what, there, here in (
        ("classes", extra.classes.describe(), real.classes.describe()),
        ("channels", extra.channels, real.channels),
        ("height and width", extra.shape, real.shape),
    ):
        if there != here and (what != "height and width" or real.shape is not None):
            raise DataError(
                f"{where}: its {what} are {there}, those of {real.location} are {here}; "
                "extra scenes have to be made from the same kind of data"
            )
    if caution := refuse_leaking_extra(extra, dataset):
        say_note(caution)


def describe_extra(extra: SceneSource) -> dict[str, object]:
    """What a run records of an extra source: location, fingerprint and, where synth.json says it, what made it."""
    head = read_set_head(Path(extra.location))
    keys = ("generator", "mode", "drawing", "n", "recipe", "teachers", "keep")
    made: dict[str, object] = {key: head[key] for key in keys if key in head}
    return {"location": extra.location, "fingerprint": extra.fingerprint(), **made}
