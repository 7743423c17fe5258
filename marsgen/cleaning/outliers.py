"""Label maps on more scenes than chance can explain: the mark of labels that do not belong to their pictures.

Label maps of real ground do repeat, but only simple ones: all soil, or all soil but for a strip of "no label" along an
image border. So the question is not how often a map occurs but whether a map *that complicated* can occur that often.

How complicated it is, its number of corners says (`count_corners`): someone who wants to describe the outlines needs
the places of their corners, and everything between them is straight. Each corner has hundreds of places to be in (13
bits in a map of 64 x 128); we ask for one bit only, so that two independent maps of k corners agree with a probability
of 2**-k at most. Then among N scenes the number of sets of n that all carry one map is expected to be

    C(N, n) * 2**(-k * (n - 1))

and a map is called repeated where that is below one in a thousand. Maps without corners are never flagged, however
many there are; in mars_for_students.npz one with a straight strip stands on 60 scenes, one with 1 corner on 8 and one
with 3 corners on 4 (expected: 10**20 or more sets), while the nonsense map has 316 corners and 110 scenes (10**-10000).

Copies of one picture count once, since a copied scene brings its map along; and fewer than three pictures are no
repetition: two scenes with equal labels are as likely one place photographed twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lgamma, log

from marsgen.cleaning.survey import Survey, all_of

_LOG10_EXPECTED = -3.0
_LEAST_PICTURES = 3


@dataclass(frozen=True)
class RepeatedMap:
    """One label map on scenes that do not show the same ground."""

    scenes: tuple[int, ...]
    """indices of all scenes that carry it, in order"""
    pictures: int
    """how many of them are left when copies of a picture count once"""
    corners: int
    log10_expected: float
    """log10 of the number of such sets of scenes that chance would give"""


def find_repeated_maps(survey: Survey, copies: Iterable[Sequence[int]] = ()) -> list[RepeatedMap]:
    """Label maps repeated too often to be chance, the most frequent first.

    Args:
        copies: clusters of scenes that show the same ground, each scene in one at most; exact copies need not be named.
    """
    ground: dict[int, object] = {scene: ("copy", number) for number, members in enumerate(copies) for scene in members}
    found = []
    for scenes in all_of(survey.label_keys).values():
        pictures = len({ground.get(scene, survey.keys[scene]) for scene in scenes})
        corners = int(survey.corners[scenes[0]])
        expected = log10_expected_sets(len(survey), pictures, corners)
        if pictures >= _LEAST_PICTURES and expected < _LOG10_EXPECTED:
            found.append(RepeatedMap(tuple(scenes), pictures, corners, expected))
    return sorted(found, key=lambda repeated: (-len(repeated.scenes), repeated.scenes))


def log10_expected_sets(count: int, pictures: int, corners: int) -> float:
    """log10 of C(count, pictures) * 2**(-corners * (pictures - 1)); see the head of this file."""
    choices = lgamma(count + 1) - lgamma(pictures + 1) - lgamma(count - pictures + 1)
    return (choices - corners * (pictures - 1) * log(2)) / log(10)


def explain_repeated_map(repeated: RepeatedMap) -> str:
    """The reason why its scenes are suspects, in words."""
    return f"label map repeated {len(repeated.scenes)} times"
