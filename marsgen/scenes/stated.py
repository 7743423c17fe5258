"""What the ids of a data set mean, as far as that is stated outside its pictures and annotations.

Commands ask for it before they open the data, so that a misspelt class is answered at once; `open_scenes` takes the
classes from here too. Nothing that reads pictures is imported.
"""

from functools import cache
from pathlib import Path

from marsgen.core.storage.places import IN_MEMORY, SIMULATED, configs_folder, find_path
from marsgen.scenes.classes import CLASSES_FILE, ClassSet, read_classes


def stated_classes(location: str, given: ClassSet | Path | None = None) -> ClassSet | None:
    """The classes of the data at a place.

    Args:
        location: see `open_scenes`.
        given: what the ids mean, or the file that says it; it holds whatever the data say.
    Returns:
        the classes that `open_scenes` gives the data; None where only their annotations say, or nothing does.
    Raises:
        DataError: nothing is there, or the file of the classes cannot be used.
    """
    if given is not None:
        return read_classes(given) if isinstance(given, Path) else given
    if location.startswith(SIMULATED):
        return mars_classes()
    if location == IN_MEMORY:
        return None
    path = find_path(location)
    if path.is_dir():
        return mars_classes() if find_navcam(path) is not None else classes_of(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        return mars_classes()
    return classes_of(path.parent)


@cache
def mars_classes() -> ClassSet:
    """The terrains of configs/classes_mars.yaml, the meaning of ids where a data set does not state its own."""
    return read_classes(configs_folder() / "classes_mars.yaml")


def classes_of(folder: Path) -> ClassSet | None:
    """What the classes.yaml of a folder says, or None."""
    path = folder / CLASSES_FILE
    return read_classes(path) if path.is_file() else None


def find_navcam(root: Path) -> Path | None:
    """The ncam folder of an AI4Mars release given as its root, msl/ or msl/ncam/ folder; None for any other folder."""
    candidates = (root / "msl" / "ncam", root / "ncam", root)
    return next((folder for folder in candidates if (folder / "images" / "edr").is_dir()), None)
