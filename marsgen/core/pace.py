"""What a training will take, said after its first steps."""

import logging
import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from marsgen.core.rehearsal import duration

_log = logging.getLogger(__name__)


@dataclass
class Pace:
    """Says once, after a few steps, what all of them will take: hours are better known beforehand."""

    name: str
    total: int
    """steps of the whole training"""
    timed: int = 4
    """steps that are timed, after the first, which is slower"""
    least_s: float = 60.0
    """shorter trainings are not announced"""
    marks: list[float] = field(default_factory=list)

    def step(self, step: int) -> None:
        """Note that a step is done."""
        if len(self.marks) > self.timed:
            return
        self.marks.append(time.monotonic())
        if len(self.marks) > self.timed:
            seconds = statistics.median(np.diff(self.marks))
            left = seconds * (self.total - step)
            if left >= self.least_s:
                _log.info(
                    "%s: %s more steps of %.2g s, about %s",
                    self.name,
                    f"{self.total - step:,}",
                    seconds,
                    duration(left),
                )
