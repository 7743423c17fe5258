"""Rehearsal: the first steps of a command in a folder that is thrown away, to say what all of it will take (--dry-run).

The command itself runs, with its data, its networks and its files; its progress bar says how far it is, and after a few
steps it is stopped there.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marsgen.core.storage.places import in_words

STEPS = 8
"""steps that are timed"""
MOST_SECONDS = 60
"""of timed steps; slower ones are timed less often"""
_FEWEST = 3


class _Enough(Exception):
    """Raised in the loop that was timed long enough."""


@dataclass
class Rehearsal:
    """What was timed."""

    bar: str
    """description of the progress bar that is watched"""
    steps: int
    began: float = field(default_factory=lambda: time.monotonic())
    marks: list[tuple[float, float]] = field(default_factory=list)
    """after each step: seconds since the beginning, and units (images, pairs) done"""
    total: float = 0.0
    """units of the whole command"""
    elapsed: float = 0.0
    whole: bool = False
    """the command came to its end"""
    files: dict[str, int] = field(default_factory=dict)
    """name of each file that it had written -> bytes"""

    def tick(self, bar: str, units: float, total: float | None) -> None:
        """Note a step; raise where there were enough."""
        if bar != self.bar or total is None:
            return
        now, done = time.monotonic() - self.began, self.marks[-1][1] if self.marks else 0.0
        self.marks.append((now, done + units))
        self.total = float(total)
        slow = len(self.marks) >= _FEWEST and now - self.marks[0][0] > MOST_SECONDS
        if (len(self.marks) >= self.steps or slow) and done + units < self.total:
            raise _Enough

    @property
    def done(self) -> float:
        """Units that were done."""
        return self.marks[-1][1] if self.marks else 0.0


@dataclass(frozen=True)
class Estimate:
    """What a command will take."""

    seconds: float
    memory: int | None
    """bytes at most, of this process and its GPU; None where the system does not say"""
    disk: int
    """bytes"""
    how: str = ""
    """what it was computed from, in words"""

    def line(self) -> str:
        """In words."""
        memory = "memory not known" if self.memory is None else f"{in_words(self.memory)} of memory"
        how = f" ({self.how})" if self.how else ""
        return f"dry run: about {duration(self.seconds)}, {memory}, {in_words(self.disk)} of disk{how}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_now: Rehearsal | None = None


def is_rehearsing() -> bool:
    """Whether a rehearsal is going on."""
    return _now is not None


def rehearsed(bar: str, units: float, total: float | None) -> None:
    """Tell the rehearsal at hand, if there is one, of a step of a progress bar."""
    if _now is not None:
        _now.tick(bar, units, total)


def rehearse(command: Callable[[Path], object], bar: str, steps: int = STEPS) -> Rehearsal:
    """Run the first steps of a command.

    Args:
        command: takes the folder to write into, which is deleted afterwards.
        bar: description of its progress bar.
        steps: of the bar, after which it is stopped.
    Raises:
        InputError: what the command raises.
    """
    global _now
    with tempfile.TemporaryDirectory(prefix="marsgen-", ignore_cleanup_errors=True) as place:
        folder = Path(place) / "run"
        _now = rehearsal = Rehearsal(bar, steps)
        try:
            command(folder)
            rehearsal.whole = True
        except _Enough:
            pass
        finally:
            _now = None
        rehearsal.elapsed = time.monotonic() - rehearsal.began
        paths = [path for path in Path(place).rglob("*") if path.is_file()]
        rehearsal.files = {str(path.relative_to(place)): path.stat().st_size for path in paths}
    return rehearsal


def estimate(
    rehearsal: Rehearsal, unit: str, seldom: Mapping[int, int] | None = None, disk: int | None = None
) -> Estimate:
    """What all of a rehearsed command will take.

    Args:
        unit: what the bar counts, in words.
        seldom: gaps between two steps (0 = between the first and the second) that hold more than a step, such as a
            validation -> how often the whole command does it.
        disk: bytes; None = as the units done take, all files alike.
    """
    size, seldom = sum(rehearsal.files.values()), seldom or {}
    if rehearsal.whole or len(rehearsal.marks) < 2:
        return Estimate(rehearsal.elapsed, peak_memory(), size if disk is None else disk, "all of it was done")
    times, units = zip(*rehearsal.marks, strict=True)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    paces = [gap / (b - a) for gap, (a, b) in zip(gaps, itertools.pairwise(units), strict=True)]
    usual = [pace for number, pace in enumerate(paces) if number not in seldom] or paces
    pace = statistics.median(usual)
    per_step = (units[-1] - units[0]) / len(gaps)
    more = sum(max(0.0, gaps[gap] - pace * per_step) * often for gap, often in seldom.items() if gap < len(gaps))
    seconds = times[0] + pace * (rehearsal.total - units[0]) + more
    how = f"{times[0]:.1f} s until the first step, then {rehearsal.total:,.0f} {unit} of {pace:.3g} s"
    if more:
        how += f", {duration(more)} beside them"
    grown = round(size * rehearsal.total / max(rehearsal.done, 1.0))
    return Estimate(seconds, peak_memory(), grown if disk is None else disk, how)


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes, that of its GPU included."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    torch = sys.modules.get("torch")
    return held + (torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0)
