"""Selection: a synthetic sample is redrawn until a judge finds in it what was pasted.

A judge is a segmenter trained on real scenes. Each sample is drawn up to `tries` times, with other plans and noise,
until the judge's segmentation agrees with the sample's label map; otherwise the best candidate is kept.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.core.errors import RunError
from marsgen.provenance import refuse_leaking_judge
from marsgen.quality.agreement import agreement_counts
from marsgen.quality.config import SelectConfig
from marsgen.quality.judges import Judge, open_judge
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.confusion import iou_per_class

PILOT_SIZE = 128
"""candidates from which `keep` is turned into a threshold: the first ones of the seed, whatever --n"""
DIGITS = 4
"""agreement is rounded before it is compared, so that a manifest shows what was compared"""


class Candidate(Protocol):
    """A drawn picture and the label map that it was drawn from."""

    image: np.ndarray
    """(H, W, channels) uint8"""
    indices: np.ndarray
    """(H, W) uint8 class indices of the label map, 255 = ignored"""

    @property
    def drawn(self) -> np.ndarray:
        """(H, W) bool: the windows that the generator was given; the rest is the real parent and not judged."""

    @property
    def pasted(self) -> Sequence[str]:
        """Names of the classes that were pasted."""


CandidateT = TypeVar("CandidateT", bound=Candidate)


@dataclass(frozen=True, eq=False)
class Choice(Generic[CandidateT]):
    """The candidate of a sample that was kept, and why."""

    candidate: CandidateT
    agreement: dict[str, float]
    """IoU of each pasted class, in 0..1"""
    attempt: int
    """number of the candidate, from 0"""
    tried: int
    """candidates that were drawn for the sample"""
    passed: bool

    def record(self) -> dict[str, Any]:
        """Key `selection` of a manifest line."""
        return {
            "agreement": self.agreement,
            "attempt": self.attempt,
            "tried": self.tried,
            "kept": "passed" if self.passed else f"best of {self.tried}",
        }


@dataclass(frozen=True, eq=False)
class Selector:
    """Chooses among candidates; its choices depend on them alone."""

    config: SelectConfig
    judge: Judge
    threshold: float
    """agreement that every pasted class has to reach"""

    def choose(self, slots: int, draw: Callable[[list[int], int], Sequence[CandidateT]]) -> list[Choice[CandidateT]]:
        """Have candidates drawn for each of several samples until one passes or the tries are used up.

        Args:
            slots: number of samples.
            draw: (slots still without one that passes, attempt from 0) -> a candidate for each.
        """
        best: dict[int, tuple[int, dict[str, float], CandidateT]] = {}
        waiting = list(range(slots))
        for attempt in range(self.config.tries):
            candidates = draw(waiting, attempt)
            agreements = measure_agreement(self.judge, candidates, soft=self.config.soft)
            for slot, candidate, agreement in zip(waiting, candidates, agreements, strict=True):
                # of equals, the earlier one is kept
                if slot not in best or lowest_agreement(agreement) > lowest_agreement(best[slot][1]):
                    best[slot] = attempt, agreement, candidate
            waiting = [slot for slot in waiting if not self._passes(best[slot][1])]
            if not waiting:
                break
        return [self._choose(*best[slot]) for slot in range(slots)]

    def _passes(self, agreement: Mapping[str, float]) -> bool:
        return lowest_agreement(agreement) >= self.threshold

    def _choose(self, attempt: int, agreement: dict[str, float], candidate: CandidateT) -> Choice[CandidateT]:
        passed = self._passes(agreement)
        return Choice(candidate, agreement, attempt, attempt + 1 if passed else self.config.tries, passed)

    def recipe(self) -> dict[str, Any]:
        """What two sets share that were selected alike: the judge and the rule, not the threshold found by a pilot."""
        return {**self.config.model_dump(mode="json"), "judge": self.judge.fingerprint}

    def record(self) -> dict[str, Any]:
        """Key `selection` of synth.json."""
        return {"judge": self.judge.fingerprint, "threshold": self.threshold}


@dataclass
class SelectionCounts:
    """Sums over the keys `selection` of a manifest."""

    pairs: int = 0
    tried: int = 0
    passed: int = 0

    def add(self, selection: Mapping[str, Any]) -> None:
        """Count one sample, see `Choice.record`."""
        self.pairs += 1
        self.tried += selection["tried"]
        self.passed += selection["kept"] == "passed"

    def describe(self, selector: Selector) -> dict[str, Any]:
        """Key `selection` of DONE: what was kept and dropped, in words."""
        described = {
            "kept": f"{self.pairs} of {self.tried} candidates",
            "dropped": f"{self.tried - self.pairs} (agreement below {selector.threshold:g})",
        }
        if self.passed < self.pairs:
            described["below the threshold"] = f"{self.pairs - self.passed} (best of {selector.config.tries})"
        return described


def open_fitting_judge(config: SelectConfig, dataset: Dataset) -> Judge | None:
    """The judge that `config` names, fit to judge what is grown from the train part of `dataset`; None without one.

    Raises:
        RunError: no finished segmenter, one of other classes or channels, or one that has seen held-out scenes.
    """
    if config.judge is None:
        return None
    judge = open_judge(Path(config.judge), dataset.scenes.classes, dataset.scenes.channels)
    refuse_leaking_judge(judge.trained_on, config.judge, dataset)
    return judge


def build_selector(config: SelectConfig, judge: Judge, pilot: Iterable[Sequence[Candidate]]) -> Selector:
    """Find the threshold that `config` sets.

    Args:
        judge: from `open_fitting_judge`.
        pilot: the first PILOT_SIZE candidates in batches; drawn only where `config.keep` needs them.
    Raises:
        RunError: the judge cannot tell the candidates apart.
    """
    if config.min_agreement is not None:
        return Selector(config, judge, config.min_agreement)
    assert config.keep is not None
    found = [one for batch in pilot for one in measure_agreement(judge, batch, soft=config.soft)]
    scores = [lowest_agreement(agreement) for agreement in found]
    threshold = find_threshold(scores, config.keep)
    if threshold == 0:
        _refuse_blind_judge(config, scores)
    return Selector(config, judge, threshold)


def find_threshold(scores: Sequence[float], keep: float) -> float:
    """The highest threshold that at least the fraction `keep` of the scores reaches."""
    count = math.ceil(keep * len(scores) - 1e-9)  # 0.1 * 30 is a little more than 3
    return sorted(scores, reverse=True)[count - 1]


def _refuse_blind_judge(config: SelectConfig, scores: Sequence[float]) -> None:
    seen = sum(score > 0 for score in scores) / len(scores)
    ways = [f"--keep {math.floor(100 * seen) / 100:g} or less"] if seen >= 0.01 else []
    ways += [] if config.soft else ["--set select.soft=true (compares probabilities)"]
    raise RunError(
        f"--keep {config.keep:g}: {config.judge} finds nothing of what was pasted in {1 - seen:.0%} of the first "
        f"{len(scores)} candidates, so no threshold drops the worst of them; "
        f"take {', '.join([*ways, 'or a better judge'])}"
    )


def measure_agreement(judge: Judge, candidates: Sequence[Candidate], *, soft: bool = False) -> list[dict[str, float]]:
    """IoU of each pasted class between the label map and the judge's segmentation, inside the drawn windows.

    The judge's errors elsewhere in the real parent say nothing about what was drawn.
    """
    found: list[dict[str, float]] = [{} for _ in candidates]
    for numbers in _group_by_shape(candidates):
        some = [candidates[n] for n in numbers]
        labels = np.stack([np.where(c.drawn, c.indices, np.uint8(IGNORED_INDEX)) for c in some])
        counts = agreement_counts(judge, np.stack([c.image for c in some]), labels, soft=soft)
        for number, iou in zip(numbers, iou_per_class(counts), strict=True):
            shares = {name: float(iou[judge.classes.index(name)]) for name in candidates[number].pasted}
            found[number] = {name: round(share, DIGITS) for name, share in shares.items()}
    return found


def lowest_agreement(agreement: Mapping[str, float]) -> float:
    """The agreement of the pasted class with the least: what is compared with the threshold."""
    return min(agreement.values())


def _group_by_shape(candidates: Sequence[Candidate]) -> Iterator[list[int]]:
    """Positions of candidates of one shape, which can be judged together."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, candidate in enumerate(candidates):
        by_shape[candidate.image.shape].append(position)
    return iter(by_shape.values())
