"""The verdict rule: each line of it, its borders, and that every command says the same."""

import math

import pytest

from segmenter.results.verdict import Verdict, decide, explain, meanings

NAN = math.nan


@pytest.mark.parametrize(
    ("gain", "low", "high", "word"),
    [
        (0.1, 0.01, 0.2, "helps"),
        (-0.1, -0.2, -0.01, "hurts"),
        (0.05, -0.1, 0.2, "cannot tell"),
        (0.1, 0.0, 0.2, "cannot tell"),
        (-0.1, -0.2, 0.0, "cannot tell"),
        (0.1, NAN, NAN, "cannot tell"),
        # within 2 points of 0, whether it holds 0 or not
        (0.0, 0.0, 0.0, "no practical difference"),
        (-0.0004, -0.001, -0.0002, "no practical difference"),
        (0.01, 0.005, 0.019, "no practical difference"),
        (-0.01, -0.019, -0.005, "no practical difference"),
        (0.0, -0.019, 0.019, "no practical difference"),
        # at the border it is not within
        (0.015, 0.01, 0.02, "helps"),
        (-0.015, -0.02, -0.01, "hurts"),
        (0.0, -0.02, 0.01, "cannot tell"),
    ],
)
def test_rule(gain: float, low: float, high: float, word: str):
    assert decide(gain, low, high, seeds=3, practical_gain=0.02) == word


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.0), (NAN, NAN)])
def test_one_seed_gets_no_verdict(low: float, high: float):
    assert decide(0.1, low, high, seeds=1, practical_gain=0.02) == "no verdict"
    assert decide(0.1, low, high, seeds=2, practical_gain=0.02) != "no verdict"


@pytest.mark.parametrize(("gain", "word"), [(0.00049, "cannot tell"), (0.0006, "helps")])
def test_a_gain_that_is_shown_as_zero_neither_helps_nor_hurts(gain: float, word: str):
    assert decide(gain, 0.0001, 0.3, seeds=3, practical_gain=0.02) == word
    assert decide(-gain, -0.3, -0.0001, seeds=3, practical_gain=0.02) == word.replace("helps", "hurts")


def test_the_practical_gain_is_the_readers_choice():
    assert decide(0.01, 0.005, 0.015, seeds=3, practical_gain=0.001) == "helps"


@pytest.mark.parametrize(
    ("word", "low", "high", "sentence"),
    [
        ("helps", 0.03, 0.2, "helps"),
        ("no verdict", 0.03, 0.2, "one seed: no verdict"),
        ("cannot tell", NAN, NAN, "cannot tell: too few images for an interval"),
        (
            "cannot tell",
            -0.012,
            0.034,
            "cannot tell: anything from -1.2 to +3.4 points fits, so a gain of 2 is not ruled out",
        ),
        (
            "cannot tell",
            -0.034,
            0.019,
            "cannot tell: anything from -3.4 to +1.9 points fits, so a gain of 2 is ruled out",
        ),
        (
            "no practical difference",
            0.001,
            0.019,
            "no practical difference: anything from +0.1 to +1.9 points fits, all less than 2",
        ),
    ],
)
def test_reading_says_why_and_what_is_still_possible(word: str, low: float, high: float, sentence: str):
    assert explain(Verdict(word), low, high, practical_gain=0.02) == sentence


def test_every_word_is_explained():
    assert set(Verdict) <= set(meanings(0.02))
    assert "within 0.5 points of 0" in meanings(0.005)["no practical difference"]
