"""ProgressBar: tqdm's, quiet in logs, and seen by rehearsals."""

import os
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from marsgen.core.rehearsal import is_rehearsing, rehearsed


class ProgressBar(tqdm):
    """tqdm, which follows TQDM_MININTERVAL, TQDM_DELAY and TQDM_DISABLE wherever these are set.

    tqdm itself lets what a call says win over them: a log would hold a line a second, and --quiet would show bars.
    """

    def __init__(self, *words: Any, **more: Any) -> None:
        for key in ("mininterval", "delay"):
            if f"TQDM_{key.upper()}" in os.environ:
                more.pop(key, None)
        if os.environ.get("TQDM_DISABLE", "") not in ("", "0"):
            more["disable"] = True
        self._wanted = more.get("desc") or (words[1] if len(words) > 1 else "")
        if is_rehearsing():  # it will not be filled
            more["leave"] = False
        super().__init__(*words, **more)

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            yield item
            rehearsed(self._wanted, 1, self.total)

    def update(self, n: float | None = 1) -> bool | None:
        """See tqdm."""
        shown = super().update(n)
        rehearsed(self._wanted, n or 0, self.total)
        return shown
