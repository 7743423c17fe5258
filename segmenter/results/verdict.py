"""The verdict rule: the only place that says what "helps" means.

`segmenter compare`, `segmenter report`, `segmenter study-report` and the study's page all call `decide`.

A gain (score of an arm minus score of its baseline) has two intervals (statistics/simultaneous.py): one of the arm
alone, and a wider one that holds together for all arms with the same baseline. The verdict uses the second, the
corrected one, because of many arms without effect some would be said to help by chance. The rule, in this order:

1. no verdict: the arm or its baseline has one training seed. The interval then covers other test images, but not
   what training again would change.
2. cannot tell: too few images show the class for an interval.
3. no practical difference: the corrected interval lies wholly between -practical_gain and +practical_gain, whether it
   holds 0 or not. This is an equivalence test; it keeps a sure but tiny gain or loss from being called one.
4. helps: the corrected interval lies above 0.  hurts: it lies below 0.
5. cannot tell: everything else, and any gain that is shown as 0.0.

Source: Schuirmann 1987, two one-sided tests of equivalence, doi:10.1007/BF01068419; what an equivalence test adds to
a test of difference: Lakens 2017, doi:10.1177/1948550617697177.
"""

from enum import StrEnum

from segmenter.results.labels import points


class Verdict(StrEnum):
    """What can be said of a gain; see the module's docstring."""

    HELPS = "helps"
    NO_DIFFERENCE = "no practical difference"
    CANNOT_TELL = "cannot tell"
    HURTS = "hurts"
    NO_VERDICT = "no verdict"


ALONE = "*"
"""Mark of a gain that cannot be told from 0 although the interval of the arm alone leaves out 0."""


def decide(gain: float, low: float, high: float, *, seeds: int, practical_gain: float) -> Verdict:
    """The verdict on one gain.

    Args:
        gain: of the arm over its baseline, a difference of shares in [-1, 1].
        low, high: its interval, corrected for all arms with the same baseline; NaN = none could be made.
        seeds: training seeds of the arm or of its baseline, whichever has fewer.
        practical_gain: the smallest gain worth having, a share in (0, 1).
    """
    if seeds < 2:
        return Verdict.NO_VERDICT
    if low != low:
        return Verdict.CANNOT_TELL
    if low > -practical_gain and high < practical_gain:
        return Verdict.NO_DIFFERENCE
    if float(points(gain)) == 0:
        return Verdict.CANNOT_TELL
    if low > 0:
        return Verdict.HELPS
    return Verdict.HURTS if high < 0 else Verdict.CANNOT_TELL


def explain(verdict: Verdict, low: float, high: float, practical_gain: float) -> str:
    """A verdict with its reason, and what the corrected interval low..high leaves possible."""
    fits = f"anything from {points(low)} to {points(high)} points fits"
    if verdict == Verdict.NO_VERDICT:
        return f"one seed: {verdict}"
    if verdict == Verdict.NO_DIFFERENCE:
        return f"{verdict}: {fits}, all less than {100 * practical_gain:g}"
    if verdict != Verdict.CANNOT_TELL:
        return str(verdict)
    if low != low:
        return f"{verdict}: too few images for an interval"
    ruled_out = "not ruled out" if high >= practical_gain else "ruled out"
    return f"{verdict}: {fits}, so a gain of {100 * practical_gain:g} is {ruled_out}"


def meanings(practical_gain: float) -> dict[str, str]:
    """What each word says, for the legend of a table."""
    size = f"{100 * practical_gain:g} points"
    return {
        Verdict.HELPS: "the interval, corrected for all arms with the same baseline, lies above 0",
        Verdict.HURTS: "the corrected interval lies below 0",
        Verdict.NO_DIFFERENCE: f"the corrected interval lies within {size} of 0",
        Verdict.CANNOT_TELL: "the corrected interval holds 0, or too few images show the class for an interval",
        Verdict.CANNOT_TELL + ALONE: "the same, although the interval of this arm alone leaves out 0",
        Verdict.NO_VERDICT: "one training seed: what training again would change is not in the interval",
    }
