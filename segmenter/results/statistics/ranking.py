"""Secondary scores of a rare class that do not depend on how readily the class is called, from counts of margins.

IoU mixes two things: how well a network ranks pixels, and where it draws the line between the class and the rest.
Oversampling, pasting, class weights and calibration move that line, each by another amount. These two scores are about
the ranking alone, over all labelled pixels of the test images; adding a number to the class's logit changes neither.

*Average precision.* With pixels called in order of their margin, the mean over the class's pixels of the precision when
that pixel is called. Source: interpolation in counts, not in precision: Davis and Goadrich 2006,
doi:10.1145/1143844.1143874.

*IoU at matched fraction.* The IoU when as many labelled pixels are called the class as are labelled with it: those of
the highest margins. All arms then call the same fraction, found anew on each resample. Precision and recall are the
same number h there (the break-even point), and the score is h / (2 - h).

*Ranks.* Bins of margins (inference/margins.py) are more than these scores need. So neighbouring bins of a run are
joined, from the highest margin down: a rank ends where PARTS-ths of the class's pixels are full, or where the number of
pixels called has doubled. Within a rank pixels count as evenly mixed: a part of a rank holds that part of its pixels of
either kind, and average precision takes the precision where half of the rank is called. Nothing is drawn, and no order
of pixels or images matters. With thousands of pixels of the class, both scores are within 0.002 of those of the margins
themselves, and with bins joined as near as without (tests/segmenter/results/test_ranking.py). A network that is far
less sure than it could be, by a factor of 4 in its logits, has too few bins for that: 0.005.

Letters as in bootstrap.py; Q rare classes here, since R counts resamples. K = 2 Q scores: average precision of each
rare class, then its IoU at matched fraction.
"""

from collections.abc import Sequence

import numpy as np

from segmenter.inference.margins import BINS
from segmenter.results.statistics.bootstrap import ArmScores, draw_weights

PARTS = 64
RANKS = PARTS + 32
"""as many as there can be: the number called doubles 32 times at most, or the last rank holds the rest"""
_BLOCK_IMAGES = 1024
_BLOCK_SUMS = 2_000_000
"""resampled sums held in memory at a time"""


def rank_margins(margins: Sequence[np.ndarray]) -> np.ndarray:
    """Join neighbouring bins of one run; see the module's docstring.

    Args:
        margins: (N, Q, 2, BINS) unsigned, of each fold; may lie on disk: they are read in blocks.
    Returns:
        (N of all folds, Q, 2, RANKS) uint32, the highest margins first; what is left of RANKS holds 0.
    """
    blocks = [fold[start : start + _BLOCK_IMAGES] for fold in margins for start in range(0, len(fold), _BLOCK_IMAGES)]
    classes = margins[0].shape[1]
    totals = sum((block.sum(0, dtype=np.int64) for block in blocks), np.zeros((classes, 2, BINS), np.int64))
    joined = np.zeros((sum(len(fold) for fold in margins), classes, 2, RANKS), np.uint32)
    for q in range(classes):
        of_class, called = totals[q, 0, ::-1], totals[q].sum(0)[::-1]
        part = (np.cumsum(of_class) - of_class) * PARTS // max(int(of_class.sum()), 1)
        doubled = np.frexp(np.cumsum(called) - called + 1)[1]
        first = np.flatnonzero(np.diff(part, prepend=-1) | np.diff(doubled, prepend=-1))[:RANKS]
        start = 0
        for block in blocks:
            sums = np.add.reduceat(block[:, q, :, ::-1], first, axis=2, dtype=np.uint32)
            joined[start : start + len(block), q, :, : len(first)] = sums
            start += len(block)
    return joined


def ranking_scores(sums: np.ndarray) -> np.ndarray:
    """Pixels by rank, summed over images -> scores.

    Args:
        sums: (..., Q, 2, ranks) pixels of the class and other labelled pixels, the highest margins first.
    Returns:
        (..., 2 Q) in [0, 1]; NaN where there is no pixel of the class.
    """
    of_class, all_called = sums[..., 0, :], sums.sum(-2)
    hit_until, called_until = np.cumsum(of_class, -1), np.cumsum(all_called, -1)
    labelled = hit_until[..., -1]
    half_hit, half_called = hit_until - of_class / 2, called_until - all_called / 2
    precision = np.divide(half_hit, half_called, out=np.zeros_like(half_called), where=half_called > 0)
    average_precision = _ratio((precision * of_class).sum(-1), labelled)
    # the rank in which as many pixels are called as are labelled, and the part of it that is called
    rank = np.minimum((called_until < labelled[..., None]).sum(-1, keepdims=True), sums.shape[-1] - 1)
    called, hit, in_rank, of_class_in_rank = (
        np.take_along_axis(values, rank, -1)[..., 0] for values in (called_until, hit_until, all_called, of_class)
    )
    left_out = np.divide(called - labelled, in_rank, out=np.zeros_like(called), where=in_rank > 0)
    hits = hit - left_out * of_class_in_rank
    return np.concatenate([average_precision, _ratio(hits, 2 * labelled - hits)], axis=-1)


def resample_rankings(
    arms: Sequence[np.ndarray], resamples: int, seed: int, groups: Sequence[str] | None = None
) -> list[ArmScores]:
    """Score every arm on the resamples of the test images that `resample_arms` draws.

    Args:
        arms: (S, N, Q, 2, RANKS) unsigned, of each arm; N and Q agree.
        resamples, seed: as for `resample_arms`.
        groups: name of each image's group; None = each image is resampled by itself.
    """
    unit = np.arange(arms[0].shape[1]) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(unit.max()) + 1
    used = max(int(np.flatnonzero(arm.any((0, 1, 2, 3)))[-1]) + 1 if arm.any() else 1 for arm in arms)
    runs = [run[..., :used] for arm in arms for run in arm]
    tail = runs[0].shape[1:]
    full = [ranking_scores(run.sum(0, dtype=np.float64)) for run in runs]
    drawn = [np.empty((resamples, len(scores))) for scores in full]
    # most images do not show a rare class: its pixels are summed over the units that do
    showing = np.zeros(units, bool)
    showing[unit[runs[0][:, :, 0].any((1, 2))]] = True
    of_class, others = np.zeros((units, tail[0], tail[2])), np.zeros((units, tail[0], tail[2]))
    per_block = max(1, _BLOCK_SUMS // int(np.prod(tail)))
    for rows, weights in draw_weights(units, resamples, seed):
        of_showing = weights[:, showing]
        for run, out in zip(runs, drawn, strict=True):
            if groups is None:
                of_class[:], others[:] = run[:, :, 0], run[:, :, 1]
            else:
                of_class[:], others[:] = 0, 0
                np.add.at(of_class, unit, run[:, :, 0])
                np.add.at(others, unit, run[:, :, 1])
            flat = (of_class[showing].reshape(-1, tail[0] * tail[2]), others.reshape(units, -1))
            for start in range(0, len(weights), per_block):
                part = slice(start, start + per_block)
                sums = [w[part] @ each for w, each in zip((of_showing, weights), flat, strict=True)]
                by_class = [each.reshape(len(each), tail[0], tail[2]) for each in sums]
                out[rows][part] = ranking_scores(np.stack(by_class, axis=2))
    scored = iter(zip(full, drawn, strict=True))
    of_arms = [[next(scored) for _ in arm] for arm in arms]
    return [ArmScores(np.stack([a for a, _ in arm]), np.stack([b for _, b in arm], axis=1)) for arm in of_arms]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
