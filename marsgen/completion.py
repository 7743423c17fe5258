"""Words that a shell offers where the tab key is pressed: files, runs and names that are cheap to find."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from marsgen.core.errors import InputError
from marsgen.core.storage.places import configs_folder

Offer = Callable[[str], list[str]]
"""word begun -> words"""


def offer_words(words: Iterable[str], folders: bool = False) -> Offer:
    """These words; with `folders`, those on the disk too."""
    known = tuple(words)

    def offer(incomplete: str) -> list[str]:
        found = [word for word in known if word.startswith(incomplete)]
        return [*found, *(_on_disk(incomplete) if folders else ())]

    return offer


def offer_configs(*parts: str) -> Offer:
    """Shipped yaml files of a folder in configs/, and yaml files and folders on the disk."""

    def offer(incomplete: str) -> list[str]:
        shipped = configs_folder().joinpath(*parts)
        if shipped.is_relative_to(Path.cwd()):
            shipped = shipped.relative_to(Path.cwd())
        named = (str(path) for path in sorted(shipped.glob("*.yaml")) if not path.stem.startswith("classes"))
        found = [path for path in named if path.startswith(incomplete)]
        return list(dict.fromkeys([*found, *_on_disk(incomplete, ".yaml")]))

    return offer


def offer_runs(record: str, *words: str) -> Offer:
    """Folders under outputs/ that hold a file, and words that may stand there instead."""

    def offer(incomplete: str) -> list[str]:
        runs = (str(path.parent) for path in sorted(Path("outputs").glob(f"*/{record}")))
        found = [word for word in (*words, *runs) if word.startswith(incomplete)]
        return list(dict.fromkeys([*found, *_on_disk(incomplete)]))

    return offer


def offer_classes(ctx: Any, incomplete: str) -> list[str]:
    """Names of the classes that --classes or --data state, else of Mars."""
    from marsgen.scenes.stated import mars_classes, stated_classes  # here: --help needs neither

    data, file = ctx.params.get("data"), ctx.params.get("classes")
    try:
        known = stated_classes(data or "", file and Path(file)) if data or file else None
    except InputError:
        return []
    return [name for name in (known or mars_classes()).names if name.startswith(incomplete)]


def _on_disk(incomplete: str, suffix: str | None = None) -> Iterator[str]:
    """Folders, and files that end with `suffix`, whose path begins with a word."""
    folder, slash, begun = incomplete.rpartition("/")
    try:
        paths = sorted(Path(folder + slash).iterdir())
    except OSError:
        return
    for path in paths:
        hidden = path.name.startswith(".") and not begun
        if path.name.startswith(begun) and not hidden and (path.is_dir() or (suffix and path.name.endswith(suffix))):
            yield f"{folder}{slash}{path.name}" + ("/" if path.is_dir() else "")
