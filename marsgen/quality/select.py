"""Which candidates of a synthetic sample are kept: those in which a judge finds what was pasted.

A judge is a segmenter trained on real scenes. Each sample is drawn, up to `tries` times with other plans and noise,
until the judge agrees with the label map that was asked for; if it never does, the best candidate is kept.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from pydantic import Field, model_validator

from marsgen.cleaning.dataset import Dataset
from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.provenance import refuse_leaking_judge
from marsgen.quality.agreement import agreement_counts, ignore_noisy, pixel_losses, usual_losses
from marsgen.quality.judges import Judge, open_judge
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.confusion import iou_per_class

PILOT_SIZE = 128
"""candidates that `keep` is turned into a bar with: the first ones of the seed, whatever --n"""
USUAL_SCENES = 128
"""real scenes of each class that say what it usually loses"""
DIGITS = 4
"""agreement is rounded before it is compared, so that a manifest shows what was compared"""


class SelectConfig(Config):
    """Which candidates are kept; the `select` block of configs/synthesize.yaml."""

    judge: str | None = None
    """folder of a finished `segmenter train` run that has seen real scenes only; null = every candidate is kept"""
    keep: float | None = Field(None, gt=0, lt=1)
    """share of candidates to keep; the bar is the agreement that so many of the first 128 reach"""
    min_agreement: float | None = Field(None, gt=0, le=1)
    """the bar itself, instead of `keep`: least IoU between the judge's label map and the one asked for, of every pasted
    class, in the windows around what was pasted"""
    soft: bool = False
    """IoU of the judge's probabilities instead of its labels; ranks candidates even where a weak judge prefers another
    class everywhere"""
    tries: int = Field(8, ge=1)
    """candidates drawn for one sample; if none of them reaches the bar, the best is kept"""
    ignore_above: float | None = Field(None, gt=0)
    """drawn pixels become ignored where the judge's cross-entropy is above this many times what is usual for their
    class in real scenes (FreeMask uses 1.25); a judge weak on a class removes most of it. null = none"""

    @model_validator(mode="after")
    def _says_what_it_wants(self) -> "SelectConfig":
        if self.keep is not None and self.min_agreement is not None:
            raise ValueError("keep (--keep) and min_agreement (--min-agreement) are two ways to set one bar; give one")
        asked = self.keep is not None or self.min_agreement is not None or self.ignore_above is not None
        if asked and self.judge is None:
            raise ValueError("nobody to judge by; name a run of `segmenter train` with --judge")
        if self.judge is not None and not asked:
            raise ValueError(
                "a judge but nothing to decide; add --keep 0.8, --min-agreement 0.3 or --set select.ignore_above=1.25"
            )
        return self


class Candidate(Protocol):
    """A drawn picture and what it was asked to show."""

    image: np.ndarray
    """(H, W, channels) uint8"""
    indices: np.ndarray
    """(H, W) uint8 class indices asked for, 255 = ignored"""

    @property
    def drawn(self) -> np.ndarray:
        """(H, W) bool: the windows that the generator was given; the rest is the real parent and not judged."""

    @property
    def inpainting_mask(self) -> np.ndarray:
        """(H, W) float32: above 0 where the generator may have drawn."""

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
    indices: np.ndarray
    """(H, W) uint8: the candidate's, noisy pixels ignored"""
    ignored_pixels: int
    ignored_fraction: dict[str, float]
    """of each pasted class: share of its pixels that became ignored"""

    def record(self) -> dict[str, Any]:
        """Key `selection` of a manifest line."""
        return {
            "agreement": self.agreement,
            "attempt": self.attempt,
            "tried": self.tried,
            "kept": "passed" if self.passed else f"best of {self.tried}",
            "ignored_pixels": self.ignored_pixels,
            "ignored_fraction": self.ignored_fraction,
        }


@dataclass(frozen=True, eq=False)
class Selector:
    """Chooses among candidates; its choices depend on them alone."""

    config: SelectConfig
    judge: Judge
    bar: float | None
    """agreement that every pasted class has to reach; None = everything passes"""
    usual: np.ndarray | None
    """(C,) loss of a pixel of each class in real scenes; None = no pixel becomes ignored"""

    def choose(self, slots: int, draw: Callable[[list[int], int], Sequence[CandidateT]]) -> list[Choice[CandidateT]]:
        """Have candidates drawn for each of several samples until one passes or the tries run out.

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
                # a tie keeps the earlier one
                if slot not in best or lowest(agreement) > lowest(best[slot][1]):
                    best[slot] = attempt, agreement, candidate
            waiting = [slot for slot in waiting if not self._passes(best[slot][1])]
            if not waiting:
                break
        cleaned = self._without_noise([best[slot][2] for slot in range(slots)])
        return [self._choose(*best[slot], cleaned[slot]) for slot in range(slots)]

    def _passes(self, agreement: Mapping[str, float]) -> bool:
        return self.bar is None or lowest(agreement) >= self.bar

    def _choose(
        self, attempt: int, agreement: dict[str, float], candidate: CandidateT, indices: np.ndarray
    ) -> Choice[CandidateT]:
        passed, ignored = self._passes(agreement), indices != candidate.indices
        return Choice(
            candidate,
            agreement,
            attempt,
            tried=attempt + 1 if passed else self.config.tries,
            passed=passed,
            indices=indices,
            ignored_pixels=int(np.count_nonzero(ignored)),
            ignored_fraction={
                name: round(float(ignored[candidate.indices == self.judge.classes.index(name)].mean()), DIGITS)
                for name in candidate.pasted
            },
        )

    def _without_noise(self, candidates: Sequence[Candidate]) -> list[np.ndarray]:
        """The candidates' indices; drawn pixels with an unusual loss are ignored, real ones beside them stay."""
        cleaned = [candidate.indices for candidate in candidates]
        if self.usual is not None and self.config.ignore_above is not None:
            for numbers in _of_one_shape(candidates):
                indices = np.stack([candidates[n].indices for n in numbers])
                losses = pixel_losses(self.judge, np.stack([candidates[n].image for n in numbers]), indices)
                drawn = np.stack([candidates[n].inpainting_mask > 0 for n in numbers])
                quiet = ignore_noisy(indices, losses, self.usual, self.config.ignore_above, drawn)
                for number, result in zip(numbers, quiet, strict=True):
                    cleaned[number] = result
        return cleaned

    def recipe(self) -> dict[str, Any]:
        """What two sets share that were selected alike: the judge and the rule, not the bar that a pilot found."""
        return {**self.config.model_dump(mode="json"), "judge": self.judge.fingerprint}

    def record(self) -> dict[str, Any]:
        """Key `selection` of synth.json."""
        usual = None
        if self.usual is not None:  # json knows no infinity
            known = np.where(np.isfinite(self.usual), self.usual, np.nan)
            usual = dict(zip(self.judge.classes.names, known.tolist(), strict=True))
        return {"judge": self.judge.fingerprint, "bar": self.bar, "usual_losses": usual}


@dataclass
class Tally:
    """What the keys `selection` of a manifest add up to."""

    pairs: int = 0
    tried: int = 0
    passed: int = 0
    ignored_pixels: int = 0
    shares: Counter[str] = field(default_factory=Counter)
    """for each pasted class: sum over samples of the share that was ignored"""
    samples: Counter[str] = field(default_factory=Counter)
    """for each pasted class: samples that show it"""

    def add(self, selection: Mapping[str, Any]) -> None:
        """Count one sample, see `Choice.record`."""
        self.pairs += 1
        self.tried += selection["tried"]
        self.passed += selection["kept"] == "passed"
        self.ignored_pixels += selection["ignored_pixels"]
        self.samples.update(selection["ignored_fraction"].keys())
        self.shares.update(selection["ignored_fraction"])

    def describe(self, selector: Selector) -> dict[str, Any]:
        """Key `selection` of DONE: what was kept, dropped and ignored, in words."""
        said: dict[str, Any] = {}
        if selector.bar is not None:
            said["kept"] = f"{self.pairs} of {self.tried} candidates"
            said["dropped"] = f"{self.tried - self.pairs} (agreement below {selector.bar:g})"
            if self.passed < self.pairs:
                said["below the bar"] = f"{self.pairs - self.passed} (best of {selector.config.tries})"
        if selector.usual is not None:
            means = [f"{self.shares[name] / count:.0%} of {name}" for name, count in sorted(self.samples.items())]
            said["ignored"] = f"{self.ignored_pixels} px ({', '.join(means)})"
        return said


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


def build_selector(
    config: SelectConfig, judge: Judge, dataset: Dataset, pilot: Iterable[Sequence[Candidate]]
) -> Selector:
    """Find the bar and the usual losses that `config` asks for.

    Args:
        judge: from `open_fitting_judge`.
        pilot: the first PILOT_SIZE candidates in batches; drawn only where `config.keep` needs them.
    Raises:
        RunError: the judge cannot tell the candidates apart.
    """
    bar = config.min_agreement
    if config.keep is not None:
        scores = [lowest(found) for batch in pilot for found in measure_agreement(judge, batch, soft=config.soft)]
        bar = find_bar(scores, config.keep)
        if bar == 0:
            _refuse_blind_judge(config, scores)
    return Selector(config, judge, bar, None if config.ignore_above is None else real_losses(judge, dataset))


def find_bar(scores: Sequence[float], keep: float) -> float:
    """The highest bar that at least the share `keep` of the scores reaches."""
    count = math.ceil(keep * len(scores) - 1e-9)  # 0.1 * 30 is a little more than 3
    return sorted(scores, reverse=True)[count - 1]


def _refuse_blind_judge(config: SelectConfig, scores: Sequence[float]) -> None:
    seen = sum(score > 0 for score in scores) / len(scores)
    ways = [f"--keep {math.floor(100 * seen) / 100:g} or less"] if seen >= 0.01 else []
    ways += [] if config.soft else ["--set select.soft=true (compares probabilities)"]
    raise RunError(
        f"--keep {config.keep:g}: {config.judge} finds nothing of what was pasted in {1 - seen:.0%} of the first "
        f"{len(scores)} candidates, so no bar leaves out the worst of them; "
        f"take {', '.join([*ways, 'or a better judge'])}"
    )


def measure_agreement(judge: Judge, candidates: Sequence[Candidate], *, soft: bool = False) -> list[dict[str, float]]:
    """IoU of each pasted class between what was asked for and what the judge sees, inside the drawn windows.

    The mistakes that a judge makes elsewhere in the real parent say nothing about what was drawn.
    """
    found: list[dict[str, float]] = [{} for _ in candidates]
    for numbers in _of_one_shape(candidates):
        some = [candidates[n] for n in numbers]
        asked = np.stack([np.where(c.drawn, c.indices, np.uint8(IGNORED_INDEX)) for c in some])
        counts = agreement_counts(judge, np.stack([c.image for c in some]), asked, soft=soft)
        for number, iou in zip(numbers, iou_per_class(counts), strict=True):
            shares = {name: float(iou[judge.classes.index(name)]) for name in candidates[number].pasted}
            found[number] = {name: round(share, DIGITS) for name, share in shares.items()}
    return found


def lowest(agreement: Mapping[str, float]) -> float:
    """The agreement of the pasted class that the judge sees worst: what is compared with the bar."""
    return min(agreement.values())


def real_losses(judge: Judge, dataset: Dataset) -> np.ndarray:
    """(C,) what the judge loses on a pixel of each class in the train part, in at most USUAL_SCENES scenes with it."""
    train = np.array(dataset.split.train)
    chosen: set[int] = set()
    for shows_class in dataset.survey.shows[train].T:
        showing = train[shows_class]
        if showing.size:
            chosen.update(
                showing[np.linspace(0, len(showing) - 1, min(len(showing), USUAL_SCENES)).astype(int)].tolist()
            )

    def pictures() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for scene in (dataset.scenes[index] for index in sorted(chosen)):
            yield pixel_losses(judge, scene.image[None], scene.indices[None])[0], scene.indices

    return usual_losses(pictures(), len(judge.classes))


def _of_one_shape(candidates: Sequence[Candidate]) -> Iterator[list[int]]:
    """Positions of candidates that can be judged together."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, candidate in enumerate(candidates):
        by_shape[candidate.image.shape].append(position)
    return iter(by_shape.values())
