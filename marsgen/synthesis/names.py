"""Whether what `marsgen synthesize` is to use is there and goes together, asked before any data are opened."""

from pathlib import Path
from typing import TYPE_CHECKING

from marsgen.core.errors import ConfigError, DataError, RunError, nearest
from marsgen.core.storage.seen import read_set_head
from marsgen.generators import RECORD, kind_of, refuse_other_drawing
from marsgen.masks.config import PasteConfig
from marsgen.quality.places import refuse_no_judge
from marsgen.scenes.stated import stated_classes
from marsgen.synthesis.config import SynthesizeConfig, refuse_unknown_classes

if TYPE_CHECKING:
    from marsgen.core.runs import Run
    from marsgen.scenes.classes import ClassSet

COPY_PASTE = "copy-paste"
"""the generator that needs no training"""


def data_of(run: "Run") -> tuple[str, Path | None]:
    """Where the data of a run lie, and the file of their classes where one was named."""
    classes = run.stored("inputs.data.classes", (str, type(None)))
    return run.stored("inputs.data.location", str), Path(classes) if classes else None


def refuse_unfit(
    config: SynthesizeConfig,
    generator: str,
    data: str | None,
    classes: Path | None,
    focus: str | None,
    maps: str | None,
) -> None:
    """Refuse what cannot be made, as far as that is known without opening the data.

    Args:
        generator, data, classes: see `refuse_misspelt_classes`.
        focus, maps: see `marsgen.api.synthesize`.
    Raises:
        InputError: see the functions of this module and `refuse_no_judge`.
    """
    if maps is not None:
        refuse_beside_maps(config, generator, focus)
        read_set_head(Path(maps))
    refuse_no_source(generator, data is not None)
    kind = kind_of(Path(generator)) if (Path(generator) / RECORD).is_file() else generator
    refuse_other_drawing(kind, config.draw)
    refuse_same_scenes(config, kind, config.draw.strength)
    if maps is None and config.mode != "variation":
        refuse_other_placement(focus, config.paste)
    if config.select.judge is not None:
        refuse_no_judge(Path(config.select.judge))
    refuse_misspelt_classes(config, generator, data, classes, maps)


def refuse_no_source(generator: str, has_data: bool) -> None:
    """Raise RunError where copy-paste is given no data, or misspelt."""
    if generator == COPY_PASTE:
        if not has_data:
            raise RunError("--generator copy-paste knows no data of its own; name them with --data")
    elif not Path(generator).exists() and (hint := nearest(generator, [COPY_PASTE])):
        raise RunError(f"--generator {generator}: no such folder{hint}")


def refuse_beside_maps(config: SynthesizeConfig, generator: str, focus: str | None) -> None:
    """Raise ConfigError for what has no meaning where label maps are drawn as they are."""
    if generator == COPY_PASTE:
        raise ConfigError("--maps beside --generator copy-paste, which draws nothing: name a trained generator")
    for given, words in (
        (config.mode == "variation", "mode variation, which redraws real scenes"),
        (bool(config.classes), "--class: the maps say what is drawn"),
        (focus is not None, "--focus, which says where to paste"),
        (config.paste != PasteConfig(), "settings under paste"),
    ):
        if given:
            raise ConfigError(f"--maps beside {words}; nothing is pasted, leave one of the two out")


def refuse_other_placement(focus: str | None, config: PasteConfig) -> None:
    """Raise ConfigError for placement focus without a segmenter, or a segmenter without placement focus."""
    if focus is None and config.placement == "focus":
        raise ConfigError("paste.placement is focus, but --focus is missing; name a run of `segmenter train` with it")
    if focus is not None and config.placement != "focus":
        raise ConfigError(f"--focus {focus} beside paste.placement {config.placement}: leave one of the two out")


def refuse_same_scenes(config: SynthesizeConfig, kind: str, strength: float | None) -> None:
    """Raise ConfigError where mode variation would give the real scenes back, or is given settings of pasting.

    Args:
        kind: of the generator.
        strength: at which it draws; None = its own.
    """
    if config.mode != "variation":
        return
    if config.zoom == (1, 1) and (kind == COPY_PASTE or strength == 0):
        raise ConfigError(
            f"mode is variation, and {kind} at strength 0 gives the real scenes back; use a trained one "
            "with --strength above 0, or oversample them (segmenter train --set rare_fraction=0.25)"
        )
    if config.paste != PasteConfig():
        raise ConfigError("mode is variation, which pastes nothing; leave out --focus and the settings under paste")


def refuse_other(what: str, maps: tuple[str, str], data: tuple[str, str]) -> None:
    """Raise DataError where something differs between the maps and the real scenes: two pairs of place and value."""
    (where, there), (real, here) = maps, data
    if there != here:
        raise DataError(f"--maps {where}: its {what} are {there}, those of {real} are {here}")


def refuse_other_classes(where: str, there: "ClassSet", real: str, here: "ClassSet") -> None:
    """Raise DataError where maps have other classes than the real scenes, in whatever order."""
    names = there.ordered_like(here).names
    refuse_other("classes", (where, ", ".join(names)), (real, ", ".join(here.names)))


def refuse_misspelt_classes(
    config: SynthesizeConfig, generator: str | None, data: str | None, classes: Path | None, maps: str | None = None
) -> None:
    """Refuse names that the data do not have, as far as it is stated which they have.

    Args:
        generator: copy-paste, or the folder of a run.
        data: place of the real scenes; None = those that this run was trained on.
        classes: file of their classes.
        maps: place of label maps, whose classes have to be those of the data; nothing is pasted.
    Raises:
        DataError: see `refuse_unknown_classes`, `refuse_other_classes` and `stated_classes`.
        RunError: no data are named, and the folder holds no finished generator.
    """
    if data is None:
        if generator is None or generator == COPY_PASTE or not Path(generator).exists():
            return
        from marsgen.core.runs import Run  # here: data that are named need none

        data, classes = data_of(Run.load(Path(generator), "marsgen train-generator"))
    if (known := stated_classes(data, classes)) is None:
        return
    if maps is None:
        refuse_unknown_classes(config, known)
    elif (drawn := stated_classes(maps)) is not None:
        refuse_other_classes(maps, drawn, data, known)
