"""Names of scenes: which of them can be file names on every system, and what the others are called."""

import re
from collections.abc import Sequence
from typing import Any

_RESERVED = re.compile(r"[/\\:\0]")


def is_plain(name: Any) -> bool:
    """A file name that cannot point elsewhere, and that `list_pictures` finds again."""
    return (
        isinstance(name, str)
        and bool(name)
        and not name.startswith(".")
        and name.isprintable()
        and _RESERVED.search(name) is None
    )


def plain_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Names under which scenes can be written, and a sentence on those that are changed ("" for none).

    Colons, which are common in rover products, backslashes, and characters that are not printable or no UTF-8 become
    an underscore; a number is added where two names would be the same.
    """
    changed: dict[str, str] = {}
    taken = {name for name in names if is_plain(name)}
    for name in names:
        if name in taken or name in changed:
            continue
        base = "".join(c if c.isprintable() and not _RESERVED.match(c) else "_" for c in name)
        plain, number = base, 1
        while plain in taken:
            number += 1
            plain = f"{base}-{number}"
        taken.add(plain)
        changed[name] = plain
    if not changed:
        return list(names), ""
    first, new = next(iter(changed.items()))
    shown = first.encode("unicode_escape").decode()
    note = f"{len(changed)} names hold characters that no file name has on every system; scene {shown} is called {new}"
    return [changed.get(name, name) for name in names], note
