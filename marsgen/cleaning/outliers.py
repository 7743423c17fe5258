"""Label maps that occur too often to be chance: a sign of labels that do not belong to their pictures.

Label maps of real scenes do repeat, but only simple ones: all soil, or all soil inside the round picture of a
microscope. So the test is not how often a map occurs, but whether a map *that complicated* can occur that often.

Complexity is the number of corners in the outlines (`find_corners`): a description of the outlines has to give the
place of each corner, and everything between two corners is straight. A corner has hundreds of possible places (13 bits
in a map of 64 x 128). We count one bit only, so two independent maps of k corners agree with a probability of 2**-k at
most. Among N scenes the expected number of sets of n scenes with one map is then

    C(N, n) * 2**(-k * (n - 1))

and a map is a suspect where that is below 0.001. Not counted are

* corners that the camera explains: on the outline of a convex area outside which nothing is labelled (a round or
  polygonal field of view, a frame), or at a place where at least a tenth of the other maps has a corner too (a part of
  the vehicle, a fixed scene);
* further copies of one picture, since a copied scene brings its map along;
* fewer than three pictures: two scenes with equal labels may well be one place photographed twice.

A suspect is left out of training by default only if its pictures differ (a fixed camera gives equal maps honestly) and
suspects are few (`MOST_LEFT_OUT`); otherwise it is kept and reported. In mars_for_students.npz exactly the 110 scenes
with the nonsense map are suspects: 10**-10000 such sets are expected.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lgamma, log
from typing import Literal

import numpy as np

from marsgen.cleaning.near_duplicates import compare_details, read_details
from marsgen.cleaning.survey import Survey, all_of
from marsgen.scenes.geometry import label_regions
from marsgen.scenes.scene import SceneSource

MOST_LEFT_OUT = 0.1
"""share of the scenes above which suspects are kept unless the user asks for their removal"""
SAME_VIEW = 0.4
"""median correlation of fine detail from which pictures show one view; different scenes have 0.09 (Mars, CamVid)"""
_LOG10_EXPECTED = -3.0
_LEAST_PICTURES = 3
_MASK_SHARE = 0.1
_MASK_LEAST = 3
_CONVEX = 0.95  # share of its convex hull that a field of view fills; outlines of pixels take a little
_MOST_MAPS = 200  # other label maps that are looked at; more change no share that matters
_MOST_PAIRS = 200

SuspectRule = Literal["auto", "keep", "remove"]


@dataclass(frozen=True)
class RepeatedMap:
    """One label map on scenes whose pictures are not copies of each other."""

    scenes: tuple[int, ...]
    """indices of all scenes that carry it, in order"""
    pictures: int
    """how many of them are left when copies of a picture count once"""
    corners: int
    """corners that the camera does not explain"""
    log10_expected: float
    """log10 of the number of such sets of scenes that chance would give"""
    likeness: float
    """median correlation of fine detail over pairs of its pictures, -1..1"""

    @property
    def same_view(self) -> bool:
        """Whether the pictures show one view, as those of a fixed camera do: then equal labels are no contradiction."""
        return self.likeness >= SAME_VIEW


def find_repeated_maps(scenes: SceneSource, survey: Survey, copies: Iterable[Sequence[int]] = ()) -> list[RepeatedMap]:
    """Label maps repeated too often to be chance, the most frequent first.

    Reads the scenes only of maps that occur at least three times and have corners.

    Args:
        survey: of the same scenes.
        copies: groups of scenes that are near copies, each scene in one at most; exact copies need not be named.
    """
    group_of: dict[int, object] = {scene: ("copy", number) for number, group in enumerate(copies) for scene in group}
    places = all_of(survey.label_keys)
    found = []
    for key, carriers in places.items():
        pictures = len({group_of.get(scene, survey.keys[scene]) for scene in carriers})
        if pictures < _LEAST_PICTURES:
            continue
        labels = scenes.read(carriers[0])[1]
        corners = find_corners(labels) & ~_on_field_of_view(labels, scenes.classes.ignored)
        if not _is_suspect(len(survey), pictures, int(corners.sum())):
            continue
        others = [scenes_with_it[0] for other, scenes_with_it in places.items() if other != key]
        corners &= ~_common_corners(scenes, others, labels.shape)
        if _is_suspect(len(survey), pictures, int(corners.sum())):
            expected = log10_expected_sets(len(survey), pictures, int(corners.sum()))
            likeness = _median_likeness(scenes, carriers)
            found.append(RepeatedMap(tuple(carriers), pictures, int(corners.sum()), expected, likeness))
    return sorted(found, key=lambda repeated: (-len(repeated.scenes), repeated.scenes))


def choose_left_out(
    repeated: Sequence[RepeatedMap], count: int, rule: SuspectRule
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The suspects to leave out, and what the user has to know about those that are kept.

    Args:
        repeated: see `find_repeated_maps`.
        count: scenes of the data set.
        rule: keep = none, remove = all, auto = those with different pictures, if they are at most `MOST_LEFT_OUT`.
    Returns:
        (indices in order, notes of one sentence each).
    """
    suspects = sorted({scene for found in repeated for scene in found.scenes})
    if rule != "auto":
        return tuple(suspects) if rule == "remove" else (), ()
    different = sorted({scene for found in repeated if not found.same_view for scene in found.scenes})
    alike = len(suspects) - len(different)
    notes = []
    if alike:
        notes.append(
            f"{alike} of {count} scenes carry a label map that occurs on several pictures, which look alike (one "
            "camera position or field of view?): kept; data.suspects=remove leaves them out"
        )
    if len(different) <= MOST_LEFT_OUT * count:
        return tuple(different), tuple(notes)
    notes.append(
        f"{len(different)} of {count} scenes ({len(different) / count:.0%}) carry a label map that occurs on different "
        f"pictures; more than {MOST_LEFT_OUT:.0%} is too many to leave out unseen, so they are KEPT: look at them with "
        "`marsgen inspect`, and if they are mistakes, data.suspects=remove leaves them out"
    )
    return (), tuple(notes)


def find_corners(labels: np.ndarray) -> np.ndarray:
    """Corners in the outlines of a (H, W) label map: (H - 1, W - 1) bool, the 2 x 2 blocks that no line explains.

    A block inside an area, or one with a straight vertical or horizontal border through it, is no corner. A map that is
    constant but for a straight strip along an image border has none; a rectangle has four; a ragged outline hundreds.
    """
    vertical = labels[1:] == labels[:-1]  # (H - 1, W): equal to the pixel below
    horizontal = labels[:, 1:] == labels[:, :-1]  # (H, W - 1): equal to the pixel on the right
    return ~((vertical[:, 1:] & vertical[:, :-1]) | (horizontal[1:] & horizontal[:-1]))


def log10_expected_sets(count: int, pictures: int, corners: int) -> float:
    """log10 of C(count, pictures) * 2**(-corners * (pictures - 1)); see the head of this file."""
    choices = lgamma(count + 1) - lgamma(pictures + 1) - lgamma(count - pictures + 1)
    return (choices - corners * (pictures - 1) * log(2)) / log(10)


def explain_repeated_map(repeated: RepeatedMap) -> str:
    """The reason why its scenes are suspects, in words."""
    return f"label map repeated {len(repeated.scenes)} times"


def _is_suspect(count: int, pictures: int, corners: int) -> bool:
    return log10_expected_sets(count, pictures, corners) < _LOG10_EXPECTED


def _on_field_of_view(labels: np.ndarray, ignored: int) -> np.ndarray:
    """(H - 1, W - 1) bool: 2 x 2 blocks on the outline of a round, polygonal or framed picture, if it is one.

    A field of view is a convex area with everything outside it unlabelled.
    """
    # here: slow to import, and not needed before the data are opened
    from skimage.morphology import convex_hull_image

    areas, _ = label_regions(labels == ignored)
    at_border = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    outside = np.isin(areas, at_border[at_border > 0])
    if outside.all() or (~outside).sum() < _CONVEX * convex_hull_image(~outside).sum():
        outside[:] = False
    return outside[1:, 1:] | outside[1:, :-1] | outside[:-1, 1:] | outside[:-1, :-1]


def _common_corners(scenes: SceneSource, others: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """(H - 1, W - 1) bool: places of a corner in at least a tenth of the other label maps of this shape.

    Args:
        others: one scene for each other label map.
    """
    counts = np.zeros((shape[0] - 1, shape[1] - 1), np.int64)
    maps = 0
    for number in np.unique(np.linspace(0, len(others) - 1, min(len(others), _MOST_MAPS)).astype(int)):
        labels = scenes.read(others[number])[1]
        if labels.shape == shape:
            counts += find_corners(labels)
            maps += 1
    return counts >= max(_MASK_SHARE * maps, _MASK_LEAST)


def _median_likeness(scenes: SceneSource, carriers: Sequence[int]) -> float:
    """Median correlation of fine detail over random pairs of the carriers; the same pairs at every call."""
    rng = np.random.default_rng(len(carriers))
    chosen = np.asarray(carriers)[np.sort(rng.permutation(len(carriers))[:_MOST_PAIRS])]
    details, _ = read_details(scenes, chosen)
    first, second = np.triu_indices(len(chosen), 1)
    some = rng.permutation(len(first))[:_MOST_PAIRS]
    return float(np.median(compare_details(details[first[some]], details[second[some]])))
