"""The same picture in another file: saved again as JPEG, resized, or cropped a little.

`scene_key` names a picture by its exact pixels, so a picture that was saved again has another key. A *fingerprint*
still knows it: one bit for each cell of a 24 x 24 grid, the sign of the fine detail there (brighter or darker than its
surroundings). It takes 72 bytes, so a run can store those of all scenes it has seen, and a data set that is at hand
later is compared with them without the first one.

A picture is compared with a fingerprint by agreement: the share of the cells whose sign agrees minus the share whose
sign differs. To find crops, the picture is laid on grids of 20 to 28 cells and moved over the fingerprint (up to a
sixth of the height and of the width may be missing in either), and the best placements are refined.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from marsgen.cleaning.fingerprints import CELLS, FINGERPRINT_BYTES, WHOLE, Window, lay_out, reduce_picture
from marsgen.cleaning.survey import identity_of
from marsgen.cleaning.survey_cache import find_or_recall
from marsgen.scenes.scene import SceneSource

SAME_PICTURE = 0.8
"""agreement from which two pictures count as the same one, where chance makes no others agree so much"""
SURELY_SAME = 0.95
"""agreement from which they do in any case"""
FALSE_MATCHES = 0.01
"""share of different pictures that agree so much by chance: 2 of 300 tiles of mars_dev_test.npz with 2615 training
tiles of other places, 3 of 200 pictures of AI4Mars with 560 taken 130 days before and more, none of 101 frames of one
CamVid drive with 367 of other drives. Neighbouring frames of one video
and exposures of one object do agree: they show the same thing"""
_SIDES = (20, 22, 24, 26, 28)  # cells on which a picture is laid: fewer = it is a crop, more = the other one is
_BATCH = 2**20  # agreements computed at a time: 4 MB, which stay in the processor's cache
_PICTURES = 256  # asked about at a time
_WORTH = 0.25  # agreement that refining may add: what lies further below the bound is not looked at
_REFINED = 5  # known pictures whose placement is refined
_COMPARED = 1000  # known pictures, evenly chosen, that chance is learned from
_FEWEST = 30  # of fewer nothing is learned
_STEPS = (1.0, 0.5, 0.25)  # cells by which the sides of a placement are moved


@dataclass(frozen=True, order=True)
class PictureCopy:
    """A picture asked about, and the known picture it is a copy of."""

    asked: int
    known: int
    agreement: float
    """up to 1"""


def find_copies(
    known: Sequence[bytes],
    asked: SceneSource,
    indices: Sequence[int] | None = None,
    least: float | None = None,
    most_crops: int = 100,
) -> list[PictureCopy]:
    """Which pictures are copies of known ones.

    Args:
        known: fingerprints of pictures, see `fingerprint_picture`.
        asked: scenes that are at hand.
        indices: those of `asked` to look at, for example the ones whose exact key is not known; None = all.
        least: agreement from which two pictures count as the same; None = `least_agreement` of the known ones.
        most_crops: pictures, evenly chosen, that are looked for as crops too; it takes a tenth of a second each, and a
            hundred show whether a whole set was cropped.
    Returns:
        at most one entry per picture asked about, with the known picture that agrees most, in order.
    """
    signs = _unpack(known)
    if not len(signs):
        return []
    chosen = [int(index) for index in (range(len(asked)) if indices is None else indices)]
    bar = least_agreement(known) if least is None else least

    def fits(kept: Mapping[str, np.ndarray]) -> bool:
        if {name: array.dtype.str for name, array in kept.items()} != {"places": "<i8", "agreements": "<f8"}:
            return False
        places = kept["places"]
        whole = places.shape == (len(kept["agreements"]), 2) and np.isin(places[:, 0], chosen).all()
        return bool(whole and (places[:, 1] >= 0).all() and (places[:, 1] < len(known)).all())

    # a study asks the same of the same pictures in every run
    asked_of = [str(part) for part in (FINGERPRINT_BYTES, bar, most_crops, *chosen)]
    digest = hashlib.blake2b(b"".join(known), digest_size=16).hexdigest()
    found = find_or_recall(
        "copies", [digest, *identity_of(asked), *asked_of], lambda: _look(signs, asked, chosen, bar, most_crops), fits
    )
    return [
        PictureCopy(index, position, agreement)
        for (index, position), agreement in zip(found["places"].tolist(), found["agreements"].tolist(), strict=True)
    ]


def least_agreement(known: Sequence[bytes]) -> float:
    """Agreement that by chance one picture in a hundred reaches with any of the known ones, SAME_PICTURE at least.

    Pictures of ground agree little. Pictures of one kind of part, lit from one side, agree a lot: of 199 magnetic tiles
    34 reached 0.8 with one of 597, and all but about six of these were other tiles. How much is learned from the
    known pictures: Fisher's z of their agreements with each other is taken for normal, with the median and the width of
    the upper half of all pairs, which views of one object, being few of all pairs, hardly change; a picture has as many
    chances as there are known pictures and placements.
    """
    if len(known) < _FEWEST:
        return SAME_PICTURE
    from scipy.special import ndtri  # quantile of the normal distribution; scipy.stats takes a second to import

    chosen = np.linspace(0, len(known) - 1, min(_COMPARED, len(known))).astype(int)
    signs = _unpack([known[place] for place in chosen])
    agreements = (signs @ signs.T)[np.triu_indices(len(signs), 1)] / signs.shape[1]
    middle, upper = np.quantile(np.arctanh(np.clip(agreements, -0.999, 0.999)), [0.5, 0.8413])
    chances = len(known) * len(_windows())
    bound = float(np.tanh(middle - (upper - middle) * ndtri(FALSE_MATCHES / chances)))
    return min(max(SAME_PICTURE, round(bound, 3)), SURELY_SAME)


def _look(
    signs: np.ndarray, asked: SceneSource, indices: Sequence[int], least: float, most_crops: int
) -> dict[str, np.ndarray]:
    found = []
    cropped = set(np.linspace(0, len(indices) - 1, min(most_crops, len(indices))).astype(int).tolist())
    for start in range(0, len(indices), _PICTURES):
        block = indices[start : start + _PICTURES]
        reduced = [reduce_picture(asked.read(index)[0]) for index in block]
        best, highest = _find_whole(signs, np.concatenate([lay_out(picture, [WHOLE]) for picture in reduced]))
        for row, index in enumerate(block):
            position, agreement = int(best[row]), float(highest[row])
            if agreement < least and start + row in cropped:
                position, agreement = _find_crop(signs, reduced[row], least)
            if agreement >= least:
                found.append((index, position, round(agreement, 4)))
    places = np.array([entry[:2] for entry in found], np.int64).reshape(-1, 2)
    return {"places": places, "agreements": np.array([entry[2] for entry in found], np.float64)}


def more_than_chance(copies: int, asked: int) -> bool:
    """Whether so many copies among the pictures asked about cannot be false matches (binomial test, p < 0.001)."""
    from scipy.special import bdtrc  # of the binomial distribution; scipy.stats takes a second to import

    return copies > 0 and bool(bdtrc(copies - 1, asked, FALSE_MATCHES) < 0.001)


def _unpack(fingerprints: Sequence[bytes]) -> np.ndarray:
    """(N, 576) float32: +1 or -1 in each cell; 0 in all cells of a flat picture."""
    bits = np.unpackbits(np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, FINGERPRINT_BYTES), axis=1)
    return np.where(bits.any(1, keepdims=True), bits * 2.0 - 1, 0).astype(np.float32)


def _find_whole(signs: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of (B, 24, 24) pictures the one of (N, 576) fingerprints that agrees most, and how much: (B,), (B,)."""
    best, highest = np.zeros(len(pictures), np.int64), np.full(len(pictures), -np.inf, np.float32)
    for start, agreements in _agreements(signs, pictures):
        here = agreements.max(0)
        better = here > highest  # not where equal: the first of several is the one named
        best[better] = start + agreements[:, better].argmax(0)
        highest[better] = here[better]
    return best, highest


def _find_crop(signs: np.ndarray, reduced: np.ndarray, least: float) -> tuple[int, float]:
    """The known picture that agrees most with part of a reduced one: (position in (N, 576) `signs`, agreement)."""
    windows = _windows()
    placements = lay_out(reduced, windows)
    agreements = np.concatenate([found.max(1) for _, found in _agreements(signs, placements)])
    best, highest = 0, -1.0
    for position in np.argsort(-agreements)[:_REFINED]:
        agreement = float(agreements[position])
        if agreement >= least - _WORTH:
            _, which = _best_placement(signs[position], placements)
            agreement = _refine(signs[position], reduced, windows[which], agreement)
        if agreement > highest:
            best, highest = int(position), agreement
    return best, highest


def _agreements(signs: np.ndarray, placements: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Agreement of (N, 576) fingerprints with (P, 24, 24) placements in blocks: first row, (rows, P) float32.

    Signs are added before they are divided by their number: such sums are exact, in whatever order they are added.
    """
    flat = np.sign(placements.reshape(len(placements), -1))
    cells = np.maximum(np.abs(flat).sum(1), 1)
    rows = max(1, _BATCH // len(flat))
    for start in range(0, len(signs), rows):
        yield start, signs[start : start + rows] @ flat.T / cells


def _best_placement(signs: np.ndarray, placements: np.ndarray) -> tuple[float, int]:
    """The highest agreement of one (576,) fingerprint with (P, 24, 24) placements, and which."""
    ((_, agreements),) = _agreements(signs[None], placements)
    which = int(agreements[0].argmax())
    return float(agreements[0, which]), which


@lru_cache(maxsize=1)
def _windows() -> list[Window]:
    """Every way in which a picture may lie on a fingerprint: the smaller one within the larger one, in whole cells."""
    lines = [
        (float(first), float(first + cells))
        for cells in _SIDES
        for first in range(min(0, CELLS - cells), max(0, CELLS - cells) + 1)
    ]
    return [(*rows, *columns) for rows in lines for columns in lines]


def _refine(signs: np.ndarray, reduced: np.ndarray, window: Window, agreement: float) -> float:
    """The agreement with one fingerprint after moving the sides of a window, one at a time, as long as it rises."""
    for step in _STEPS:
        rising = True
        while rising:
            moved = [
                (*window[:side], window[side] + way * step, *window[side + 1 :]) for side in range(4) for way in (-1, 1)
            ]
            highest, which = _best_placement(signs, lay_out(reduced, moved))  # type: ignore[arg-type]
            rising = highest > agreement
            if rising:
                agreement, window = highest, moved[which]  # type: ignore[assignment]
    return agreement
