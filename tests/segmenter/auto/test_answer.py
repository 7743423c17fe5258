"""The answer in words: each verdict says what it is, and no more."""

from types import SimpleNamespace

import pytest

from segmenter.auto.answer import Answer, Claim, answer_of, answer_so_far, paragraph
from segmenter.auto.race import Rung
from segmenter.results.verdict import Verdict

OVERSAMPLING = Claim(title="oversampling", gain=0.098, low=0.05, high=0.14, verdict=Verdict.HELPS)
PASTED = Claim(title="copy-paste", gain=0.031, low=0.012, high=0.05, verdict=Verdict.HELPS)


def answer(**changes) -> Answer:
    given = {
        "class_name": "crack",
        "seeds": 5,
        "test_rare": 40,
        "recommended": "pasted",
        "recommended_title": "copy-paste",
        "plain_title": "real scenes only",
        "bar_title": "oversampling",
        "bar": OVERSAMPLING,
        "extra": PASTED,
        "score": 0.31,
        "pairs": 1000,
        "rare_scenes": 60,
    }
    return Answer(**given | changes)


def verdict(claim: Claim, word: Verdict, gain: float, low: float | None, high: float | None) -> Claim:
    return claim.model_copy(update={"verdict": word, "gain": gain, "low": low, "high": high})


def test_helps():
    fewer = Claim(title="half", gain=-0.002, low=-0.02, high=0.02, verdict=Verdict.CANNOT_TELL)
    doubling = Claim(title="oversampling", gain=0.05, low=0.025, high=0.1, verdict=Verdict.HELPS)
    text = paragraph(answer(fewer=fewer, doubling=doubling))
    assert text == (
        "Oversampling gives +9.8 points [+5.0, +14.0] of IoU crack over real scenes only. Copy-paste adds +3.1 points "
        "[+1.2, +5.0] on top. That is worth about 32 more labelled images of it [5, 180], if they go on to gain "
        "as from 30 to 60 (+5.0 points [+2.5, +10.0]). 500 pairs cannot be told from 1,000 "
        "(-0.2 points [-2.0, +2.0]). Recommended: copy-paste, IoU 31.0 (5 seeds, 40 test scenes with crack)."
    )
    worse = fewer.model_copy(update={"verdict": Verdict.HURTS})
    assert "500 pairs are not enough" in paragraph(answer(fewer=worse))


def test_generated_data_do_not_help_but_labels_would():
    doubling = Claim(title="oversampling", gain=0.05, low=0.025, high=0.1, verdict=Verdict.HELPS)
    none = verdict(PASTED, Verdict.NO_DIFFERENCE, 0.001, -0.01, 0.012)
    text = paragraph(answer(extra=none, doubling=doubling))
    assert "Generated data do not help here: the best of them, copy-paste, +0.1 points [-1.0, +1.2]." in text
    # one doubling of 60 images gains 5 points; two would be needed at 2.5 points each, half of one at 10
    assert "Label about 60 more images of it [25, 180] to gain 5 points" in text
    assert " Label about 60 more images" in paragraph(answer(extra=None, doubling=doubling))
    unsure = doubling.model_copy(update={"low": -0.01})
    assert "[25, more]" in paragraph(answer(extra=none, doubling=unsure))
    flat = doubling.model_copy(update={"gain": -0.01, "low": -0.03})
    assert "Twice as many labelled images of it (30 -> 60) did not help either" in paragraph(
        answer(extra=none, doubling=flat)
    )


@pytest.mark.parametrize(
    ("word", "gain", "low", "high", "words"),
    [
        (Verdict.CANNOT_TELL, 0.01, -0.02, 0.04, "Whether generated data help here cannot be told"),
        (Verdict.CANNOT_TELL, 0.01, None, None, "+1.0 points (no interval: too few images)"),
        (Verdict.HURTS, -0.06, -0.1, -0.03, "Generated data hurt here: the best of them, copy-paste, -6.0 points"),
        (Verdict.NO_VERDICT, 0.06, 0.02, 0.1, "with one seed, so no verdict"),
    ],
)
def test_what_is_not_shown_to_help_is_not_said_to(word, gain, low, high, words):
    text = paragraph(answer(extra=verdict(PASTED, word, gain, low, high), recommended_title="oversampling"))
    assert words in text
    assert "on top" not in text
    on_real = paragraph(answer(bar=verdict(OVERSAMPLING, word, gain, low, high), extra=None))
    assert "gives" not in on_real


def test_what_other_classes_lose_is_said_last():
    row = SimpleNamespace(score="IoU", low=0.0, high=0.0, title="", simultaneous_low=0.1, simultaneous_high=0.3)
    gains = [
        SimpleNamespace(**vars(row) | given)
        for given in (
            {"arm": "real", "baseline": "bar", "class_name": "crack", "gain": -0.4, "verdict": Verdict.HURTS},
            {"arm": "real", "baseline": "bar", "class_name": "wall", "gain": 0.2, "verdict": Verdict.HELPS},
            {"arm": "real", "baseline": "bar", "class_name": "door", "gain": 0.2, "verdict": Verdict.CANNOT_TELL},
            {"arm": "pasted", "baseline": "bar", "class_name": "crack", "gain": 0.1, "verdict": Verdict.HELPS},
            {"arm": "pasted", "baseline": "bar", "class_name": "door", "gain": -0.3, "verdict": Verdict.HURTS},
            {"arm": "pasted", "baseline": "bar", "class_name": "wall", "gain": 0.3, "verdict": Verdict.HELPS},
        )
    ]
    results = SimpleNamespace(
        gains=gains,
        scores=[],
        titles={"real": "real scenes", "bar": "oversampling", "pasted": "copy-paste"},
        metadata=SimpleNamespace(arms=[SimpleNamespace(name="bar", seeds=(0, 1, 2))]),
    )

    def lost(winner: str | None) -> list[tuple[str, float, str]]:
        found = answer_of(results, "crack", bar="bar", plain="real", winner=winner, pairs=9, rare=9, test=9)
        assert paragraph(found).count("Other classes pay for it: ") == 1
        return [(loss.claim.title, loss.claim.gain, loss.over) for loss in found.losses]

    assert lost("pasted") == [("door", -0.3, "oversampling"), ("wall", -0.2, "real scenes")]
    assert lost(None) == [("wall", -0.2, "real scenes")]
    gains[0].verdict, gains[0].gain = Verdict.HELPS, 0.4  # the plain arm is the better one: nothing is paid
    found = answer_of(results, "crack", bar="bar", plain="real", winner=None, pairs=9, rare=9, test=9)
    assert (found.recommended, found.losses) == ("real", ())
    assert "pay" not in paragraph(found)


def test_an_unfinished_race_names_its_leaders_and_claims_nothing():
    rung = Rung(seeds=1, gains={"real": -0.03, "pasted": 0.02}, kept=("pasted",))
    titles = {"real": "real scenes only", "oversampled": "oversampling", "pasted": "copy-paste"}
    text = paragraph(answer_so_far([rung], "crack", titles, "oversampled", "real", 9))
    assert text.startswith("Not confirmed yet.")
    assert "copy-paste +2.0, oversampling +0.0, real scenes only -3.0" in text
    nothing = answer_so_far([], "crack", titles, "oversampled", "real", 9)
    assert "No recipe was ranked yet" in paragraph(nothing)
