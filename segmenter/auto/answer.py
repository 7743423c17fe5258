"""The answer: which recipe is recommended, why, and what else would help, in one paragraph.

Gains and intervals are those of the confirmation, corrected for the two gains that are claimed; verdicts are those of
segmenter/results/verdict.py.
"""

from collections.abc import Sequence

from marsgen.core.config import Config
from segmenter.auto.race import Rung
from segmenter.auto.studies import FEWER, HALF
from segmenter.results.gains.gains import Gain
from segmenter.results.gains.worth import MOST_TIMES, scenes_beyond
from segmenter.results.labels import points
from segmenter.results.summary import StudyResults
from segmenter.results.verdict import Verdict

GAIN_TO_LABEL_FOR = 0.05
"""where generated data do not help: the gain for which it is said how many images would have to be labelled"""


class Claim(Config):
    """One gain with its corrected interval, shares; NaN = none could be made."""

    title: str
    gain: float
    low: float | None
    high: float | None
    verdict: Verdict

    @property
    def text(self) -> str:
        """Gain and interval in points."""
        if self.low is None or self.high is None:
            return f"{points(self.gain)} points (no interval: too few images)"
        return f"{points(self.gain)} points [{points(self.low)}, {points(self.high)}]"


class Loss(Config):
    """What another class loses; the claim's title is its name."""

    claim: Claim
    over: str
    """title of the arm that it is compared with"""


class Answer(Config):
    """All that the paragraph says."""

    class_name: str
    seeds: int = 0
    """of the confirmation; 0 = it was not reached"""
    test_rare: int
    """test scenes that show the class"""
    recommended: str
    """an arm"""
    recommended_title: str
    plain_title: str
    bar_title: str
    bar: Claim | None = None
    """the best arm on real scenes over the plain arm; None = it is the plain arm, or was not measured"""
    extra: Claim | None = None
    """the best arm with extra scenes over the bar"""
    score: float | None = None
    """IoU of the recommended arm"""
    losses: tuple[Loss, ...] = ()
    """of other classes with the recommended arm; largest first"""
    fewer: Claim | None = None
    """half the pairs, over all of them"""
    pairs: int = 0
    """of the best arm with extra scenes"""
    doubling: Claim | None = None
    """the bar with all real scenes of the class, over half of them"""
    rare_scenes: int = 0
    """real scenes of the class that were trained on"""
    leading: str = ""
    """where there was no confirmation: which arms led the race, in words"""


def answer_of(
    results: StudyResults,
    class_name: str,
    *,
    bar: str,
    plain: str,
    winner: str | None,
    pairs: int,
    rare: int,
    test: int,
) -> Answer:
    """The answer of a finished confirmation.

    Args:
        bar, plain, winner: arms, see `confirm_config`.
        pairs: generated scenes of the winner's set.
        rare, test: scenes of the class that were trained on and tested.
    """
    titles = results.titles
    own = _claim(results, class_name, plain, bar)
    over_plain = own and _turned(own, titles[bar])
    extra = None if winner is None else _claim(results, class_name, winner, bar)
    half = _claim(results, class_name, HALF, bar, alone=True)
    if winner is not None and extra is not None and extra.verdict == Verdict.HELPS:
        recommended = winner
    elif over_plain is not None and (over_plain.verdict == Verdict.HURTS or over_plain.gain < 0):
        recommended = plain
    else:
        recommended = bar
    scored = [s for s in results.scores if (s.arm, s.score, s.class_name) == (recommended, "IoU", class_name)]
    return Answer(
        class_name=class_name,
        seeds=len(next(arm.seeds for arm in results.metadata.arms if arm.name == bar)),
        test_rare=test,
        recommended=recommended,
        recommended_title=titles[recommended],
        plain_title=titles[plain],
        bar_title=titles[bar],
        bar=over_plain,
        extra=extra,
        score=scored[0].value if scored else None,
        losses=_losses(results, class_name, recommended, plain, bar),
        fewer=None if winner is None else _claim(results, class_name, FEWER, winner),
        pairs=pairs,
        doubling=half and _turned(half, titles[bar]),
        rare_scenes=rare,
    )


def _losses(results: StudyResults, class_name: str, recommended: str, plain: str, bar: str) -> tuple[Loss, ...]:
    """What other classes lose with the recommended arm: over the bar, and with the bar over the plain arm."""
    titles, lost = results.titles, []
    for row in results.gains:
        if (row.baseline, row.score) != (bar, "IoU") or row.class_name == class_name:
            continue
        claim = claim_of(row).model_copy(update={"title": row.class_name})
        if row.arm == recommended and row.verdict == Verdict.HURTS:
            lost.append(Loss(claim=claim, over=titles[bar]))
        elif row.arm == plain != recommended and row.verdict == Verdict.HELPS:
            lost.append(Loss(claim=_turned(claim, claim.title), over=titles[plain]))
    return tuple(sorted(lost, key=lambda loss: loss.claim.gain))


def answer_so_far(
    rungs: Sequence[Rung], class_name: str, titles: dict[str, str], reference: str, plain: str, test: int
) -> Answer:
    """The answer of an unfinished race: who leads, unconfirmed."""
    gains = rungs[-1].gains if rungs else {}
    order = sorted([reference, *gains], key=lambda arm: gains.get(arm, 0.0), reverse=True)
    leading = ", ".join(f"{titles[arm]} {points(gains.get(arm, 0.0))}" for arm in order[:4]) if rungs else ""
    return Answer(
        class_name=class_name,
        test_rare=test,
        recommended=order[0],
        recommended_title=titles[order[0]],
        plain_title=titles[plain],
        bar_title=titles[reference],
        leading=leading,
    )


def paragraph(answer: Answer) -> str:
    """The answer in one paragraph."""
    if not answer.seeds:
        if not answer.leading:
            return "No recipe was ranked yet; repeat the command with a larger --budget and it goes on."
        return (
            f"Not confirmed yet. In the race so far, by IoU of {answer.class_name} on validation scenes, in points "
            f"over {answer.bar_title}: {answer.leading}. Such leads shrink: repeat the command, and the best is "
            "measured on scenes that the race never saw."
        )
    return " ".join(filter(None, [_of_bar(answer), _of_extra(answer), _of_score(answer), _of_losses(answer)]))


def _of_bar(answer: Answer) -> str:
    claim = answer.bar
    if claim is None:
        return f"No recipe on real scenes was better than {answer.plain_title} in the race."
    words = {
        Verdict.HELPS: f"{_capital(claim.title)} gives {claim.text} of IoU {answer.class_name} over "
        f"{answer.plain_title}.",
        Verdict.HURTS: f"{_capital(claim.title)} hurts: {claim.text} over {answer.plain_title}.",
        Verdict.NO_DIFFERENCE: f"{_capital(claim.title)} and {answer.plain_title} are equally good: {claim.text}.",
        Verdict.CANNOT_TELL: f"Whether {claim.title} helps cannot be told: {claim.text} over {answer.plain_title}.",
        Verdict.NO_VERDICT: f"{_capital(claim.title)}: {claim.text} over {answer.plain_title}, with one seed, so no "
        "verdict.",
    }
    return words[claim.verdict]


def _of_extra(answer: Answer) -> str:
    claim = answer.extra
    if claim is None:
        return _of_labels(answer).strip()
    if claim.verdict == Verdict.HELPS:
        return f"{_capital(claim.title)} adds {claim.text} on top.{_of_worth(answer)}{_of_pairs(answer)}"
    words = {
        Verdict.HURTS: f"Generated data hurt here: the best of them, {claim.title}, {claim.text}.",
        Verdict.NO_DIFFERENCE: f"Generated data do not help here: the best of them, {claim.title}, {claim.text}.",
        Verdict.CANNOT_TELL: f"Whether generated data help here cannot be told: the best of them, {claim.title}, "
        f"{claim.text}; they are not recommended.",
        Verdict.NO_VERDICT: f"The best generated data, {claim.title}: {claim.text}, with one seed, so no verdict.",
    }
    return f"{words[claim.verdict]}{_of_labels(answer)}"


def _of_pairs(answer: Answer) -> str:
    if answer.fewer is None:
        return f" {answer.pairs:,} pairs were made; whether fewer do was not measured." if answer.pairs else ""
    half = answer.pairs // 2
    if answer.fewer.verdict == Verdict.HURTS:
        return f" {half:,} pairs are not enough: {answer.fewer.text} against {answer.pairs:,}."
    return f" {half:,} pairs cannot be told from {answer.pairs:,} ({answer.fewer.text})."


def _of_labels(answer: Answer) -> str:
    """How many more images to label instead, from what the last doubling of them gained."""
    step, there = answer.doubling, answer.rare_scenes
    if step is None or not there:
        return ""
    if step.low is None or step.high is None or step.gain <= 0:
        return f" Twice as many labelled images of it ({there // 2} -> {there}) did not help either: {step.text}."
    more = [scenes_beyond(there, gain, GAIN_TO_LABEL_FOR) for gain in (step.gain, step.high, step.low)]
    ends = ", ".join("more" if number is None else f"{number}" for number in more[1:])
    about = f"about {more[0]} more images of it [{ends}]"
    if more[0] is None:
        about = f"more than {(MOST_TIMES - 1) * there} more images of it"
    return (
        f" Label {about} to gain {100 * GAIN_TO_LABEL_FOR:.0f} points, if it goes on as "
        f"from {there // 2} to {there} of them ({step.text})."
    )


def _of_worth(answer: Answer) -> str:
    """How many more labelled images would gain as much.

    The winner lies above the learning curve, which ends at the images that there are (so results/gains/worth.py has no
    number for it): the curve is drawn on, straight in the logarithm.
    """
    claim, step, there = answer.extra, answer.doubling, answer.rare_scenes
    if claim is None or step is None or not there or None in (claim.low, claim.high, step.low, step.high):
        return ""
    pairs = ((claim.gain, step.gain), (claim.low or 0.0, step.high or 0.0), (claim.high or 0.0, step.low or 0.0))
    about, low, high = (scenes_beyond(there, doubling, gain) for gain, doubling in pairs)
    if about is None:
        return f" That is worth more than {(MOST_TIMES - 1) * there} more labelled images of it."
    ends = f"{'more' if low is None else low}, {'more' if high is None else high}"
    return (
        f" That is worth about {about} more labelled images of it [{ends}], if they go on to gain as from {there // 2} "
        f"to {there} ({step.text})."
    )


def _of_score(answer: Answer) -> str:
    score = "" if answer.score is None else f", IoU {100 * answer.score:.1f}"
    return (
        f"Recommended: {answer.recommended_title}{score} ({answer.seeds} seeds, {answer.test_rare} test scenes with "
        f"{answer.class_name})."
    )


def _of_losses(answer: Answer) -> str:
    lost = "; ".join(f"{loss.claim.title} {loss.claim.text} over {loss.over}" for loss in answer.losses)
    return f"Other classes pay for it: {lost}." if lost else ""


def _claim(results: StudyResults, class_name: str, arm: str, over: str, *, alone: bool = False) -> Claim | None:
    found = [g for g in results.gains if (g.arm, g.baseline, g.score, g.class_name) == (arm, over, "IoU", class_name)]
    return claim_of(found[0], alone=alone) if found else None


def claim_of(row: Gain, *, alone: bool = False) -> Claim:
    """A gain with its corrected interval, or with that of the arm alone."""
    low, high = (row.low, row.high) if alone else (row.simultaneous_low, row.simultaneous_high)
    none = low != low
    return Claim(
        title=row.title,
        gain=row.gain,
        low=None if none else low,
        high=None if none else high,
        verdict=row.verdict,
    )


def _turned(claim: Claim, title: str) -> Claim:
    """The gain of the baseline over the arm."""
    other = {Verdict.HELPS: Verdict.HURTS, Verdict.HURTS: Verdict.HELPS}
    return Claim(
        title=title,
        gain=-claim.gain,
        low=None if claim.high is None else -claim.high,
        high=None if claim.low is None else -claim.low,
        verdict=other.get(claim.verdict, claim.verdict),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
