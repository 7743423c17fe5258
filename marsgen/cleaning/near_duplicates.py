"""Pictures of the same ground: exact copies, and near ones such as a second exposure or the other eye of a stereo pair.

A pair is first proposed by its thumbnails and then confirmed by its fine detail. Thumbnails alone mistake bland ground
for a copy: two hazy horizons, or two dunes that are darker to the left, correlate at 0.99 there. So each picture is
made flat (its blurred self is subtracted) and evenly contrasted (divided by the local contrast), which leaves stones,
cracks and ripples, and these are compared under small shifts. In the training set of mars_for_students.npz the pairs
that show the same ground to the eye have 0.78 and more; rover parts in front of other ground, and horizons, stay below
0.73. Pictures shifted by odd pixels keep 0.8 and more.

Near copies form groups that a split keeps together (`group_near_duplicates`). Where one group would hold so much that
nothing is left for validation, as with a fixed camera or one long drive, pictures are compared more strictly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marsgen.cleaning.details import block_means, normalise_contrast
from marsgen.cleaning.survey import Survey, all_of
from marsgen.cleaning.survey_cache import find_or_recall
from marsgen.scenes.scene import SceneSource

_CANDIDATE_DISTANCE = 0.6  # between unit thumbnails; those of a shifted or re-lit copy lie up to here
_LEAST_CORRELATION = 1 - _CANDIDATE_DISTANCE**2 / 2  # of unit vectors: distance**2 = 2 - 2 * correlation
_CANDIDATES_PER_SCENE = 8  # true copies were among the nearest two; the limit keeps work proportional to N
_LISTS_FROM = 50_000  # pictures; each with each takes half a minute there, and four times as long at twice as many
_NEAR_LISTS = 64  # of 9,615 tiles in 1,600 lists, no pair that is confirmed was lost with 64, one of 146 with 32
_GRID = (32, 64)
_RIM = 2  # cells left out at the border: scans often have a bright or dark line there
_SHIFT = 2  # cells
_TINY = 1e-6
_BATCH = 128  # pairs compared at a time: few enough to stay in the processor's cache
_STRICTER = 0.01  # step by which the similarity is raised until the groups are small enough

_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""rows, columns, correlations"""


@dataclass(frozen=True, order=True)
class DuplicatePair:
    """Two scenes that show the same ground."""

    first: int
    second: int
    """index in the same data set, or in the other one (see `find_duplicates_between`)"""
    similarity: float
    """correlation of the fine detail, up to 1"""
    exact: bool
    """the same pixels"""


@dataclass(frozen=True)
class DuplicateGroups:
    """Scenes that a split must keep together because their pictures show the same ground."""

    groups: tuple[tuple[int, ...], ...]
    """at least two scenes each, in order of index"""
    note: str = ""
    """one sentence where pictures had to be compared more strictly than asked; "" otherwise"""


def find_duplicates(scenes: SceneSource, survey: Survey, similarity: float) -> list[DuplicatePair]:
    """Exact and near copies within one data set.

    Args:
        survey: of the same scenes.
        similarity: least correlation of the fine detail, 0..1; 1 finds exact copies only.
    Returns:
        pairs with first < second, in order. Of several exact copies each is paired with the first one.
    """
    exact = _exact_pairs(survey)
    if similarity >= 1:
        return sorted(exact)

    def look() -> dict[str, np.ndarray]:
        first, second = _candidates(survey.thumbnails, survey.thumbnails, same=True)
        distinct = np.array([survey.keys[a] != survey.keys[b] for a, b in zip(first, second, strict=True)], bool)
        near = _confirmed(scenes, scenes, first[distinct], second[distinct], similarity)
        places = np.array([(pair.first, pair.second) for pair in near], np.int64).reshape(-1, 2)
        return {"places": places, "similarity": np.array([pair.similarity for pair in near], np.float64)}

    def fits(kept: Mapping[str, np.ndarray]) -> bool:
        if kept.keys() != {"places", "similarity"}:
            return False
        places, scores = kept["places"], kept["similarity"]
        whole = places.dtype == np.int64 and scores.dtype == np.float64 and places.shape == (len(scores), 2)
        return bool(whole and (places >= 0).all() and (places < len(survey)).all())

    found = find_or_recall("pairs", [str(similarity), *survey.keys], look, fits)  # the keys name every pixel
    near = [
        DuplicatePair(first, second, score, False)
        for (first, second), score in zip(found["places"].tolist(), found["similarity"].tolist(), strict=True)
    ]
    return sorted(exact + near)


def find_duplicates_between(
    scenes: SceneSource, survey: Survey, others: SceneSource, others_survey: Survey, similarity: float
) -> list[DuplicatePair]:
    """Exact and near copies across two data sets; see `find_duplicates`.

    Returns:
        pairs of an index into `scenes` and an index into `others`, in order.
    """
    places = all_of(others_survey.keys)
    exact = [
        DuplicatePair(here, there, 1.0, True) for here, key in enumerate(survey.keys) for there in places.get(key, ())
    ]
    if similarity >= 1:
        return sorted(exact)
    first, second = _candidates(survey.thumbnails, others_survey.thumbnails, same=False)
    distinct = np.array([survey.keys[a] != others_survey.keys[b] for a, b in zip(first, second, strict=True)], bool)
    return sorted(exact + _confirmed(scenes, others, first[distinct], second[distinct], similarity))


def group_near_duplicates(
    scenes: SceneSource,
    survey: Survey,
    pairs: Sequence[DuplicatePair],
    similarity: float,
    *,
    largest: int,
    fewest: int,
) -> DuplicateGroups:
    """Join pairs into groups, of a size that still leaves scenes for every part of a split.

    A group beyond `largest` is no place photographed twice but a fixed camera, a field of view with a sharp rim, or a
    chain of video frames. Then, in this order: (1) what its pictures have in common (the mean of their fine detail) is
    subtracted before they are compared, so that frames with the same objects in the same places stay together; (2) the
    similarity asked for is raised; (3) only exact copies are joined.

    Args:
        pairs: those that `find_duplicates` found at this similarity.
        largest: scenes that one group may hold.
        fewest: groups and single scenes that a split needs.
    """

    def fits(groups: Sequence[Sequence[int]]) -> bool:
        units = len(survey) - sum(len(group) - 1 for group in groups)
        return max(map(len, groups), default=0) <= largest and units >= fewest

    groups = cluster_pairs(len(survey), pairs)
    exact = cluster_pairs(len(survey), _exact_pairs(survey))
    if fits(groups) or not fits(exact):
        # where exact copies alone are too many, no other comparison helps, and the split says what is lacking
        return DuplicateGroups(tuple(groups))
    large = max(groups, key=len)
    story = f"{len(large)} of {len(survey)} scenes look alike, too many to keep in one part"
    named = "name groups in the data set, or set data.near_duplicate_similarity"
    inside = set(large)
    kept = [pair for pair in pairs if pair.exact or pair.first not in inside]
    moving = _pairs_without_common(scenes, survey, large, similarity)
    if fits(found := cluster_pairs(len(survey), [*kept, *moving])):
        return DuplicateGroups(
            tuple(found),
            f"{story} (one camera position or field of view?): grouped by what differs between them; if the camera "
            f"never moves, scores hold for new moments of this view only; {named}",
        )
    for higher in np.arange(similarity + _STRICTER, 1, _STRICTER):
        closer = [pair for pair in pairs if pair.exact or pair.similarity >= higher]
        if fits(found := cluster_pairs(len(survey), closer)):
            return DuplicateGroups(
                tuple(found),
                f"{story} (a video?): grouped at a similarity of {higher:.2f} instead, "
                f"so neighbouring frames may be in different parts; {named}",
            )
    return DuplicateGroups(
        tuple(exact),
        f"{story}: only exact copies stay together, so scores may be too high; {named}",
    )


def cluster_pairs(count: int, pairs: Iterable[DuplicatePair]) -> list[tuple[int, ...]]:
    """Join pairs that share a scene: clusters of at least two of the `count` scenes, each in order of index."""
    return join_linked(count, [(pair.first, pair.second) for pair in pairs])


def join_linked(count: int, links: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Connected components of at least two of `count` things, given lists of things that belong together."""
    edges = [(linked[0], other) for linked in links for other in linked[1:]]
    if not edges:
        return []
    # here: slow to import, and not needed before the data are opened
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(edges).T
    graph = coo_array((np.ones(len(edges), bool), (ends[0], ends[1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return sorted(tuple(int(i) for i in group) for group in groups if len(group) > 1)


def _exact_pairs(survey: Survey) -> list[DuplicatePair]:
    return [
        DuplicatePair(places[0], place, 1.0, True) for places in all_of(survey.keys).values() for place in places[1:]
    ]


def _pairs_without_common(
    scenes: SceneSource, survey: Survey, group: Sequence[int], similarity: float
) -> list[DuplicatePair]:
    """Pairs within a group that are similar in what their pictures do not have in common."""
    details, _ = read_details(scenes, np.asarray(group))
    details = details.astype(np.float32)
    details -= details.mean(0)
    thumbnails = survey.thumbnails[list(group)] - survey.thumbnails[list(group)].mean(0)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), _TINY)
    first, second = _candidates(thumbnails, thumbnails, same=True)
    found = []
    for start in range(0, len(first), _BATCH):
        a, b = first[start : start + _BATCH], second[start : start + _BATCH]
        for i, j, score in zip(a, b, compare_details(details[a], details[b]), strict=True):
            if score >= similarity and survey.keys[group[i]] != survey.keys[group[j]]:
                found.append(DuplicatePair(group[i], group[j], round(float(score), 4), False))
    return found


def _candidates(thumbnails: np.ndarray, others: np.ndarray, *, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """Index arrays (first, second) of the nearest thumbnails within reach; first < second if both sets are the same."""
    few = min(len(thumbnails), len(others)) < _LISTS_FROM
    within_reach = _each_with_each if few else _in_near_lists
    pairs = [np.zeros((0, 2), np.int64)]
    for row, column, correlation in within_reach(thumbnails, others):
        if same:
            apart = row != column
            row, column, correlation = row[apart], column[apart], correlation[apart]
        pairs.append(np.stack(_nearest(row, column, correlation, _CANDIDATES_PER_SCENE)[:2], 1))
    found = np.concatenate(pairs)
    if same:
        found = np.sort(found, axis=1)
    found = np.unique(found, axis=0)
    return found[:, 0], found[:, 1]


def _nearest(row: np.ndarray, column: np.ndarray, correlation: np.ndarray, number: int) -> _Pairs:
    """The nearest few pairs of each row."""
    nearest_first = np.lexsort((-correlation, row))
    row = row[nearest_first]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < number
    return row[kept], column[nearest_first][kept], correlation[nearest_first][kept]


def _each_with_each(thumbnails: np.ndarray, others: np.ndarray) -> Iterator[_Pairs]:
    """Rows, columns and correlations of all pairs within reach, a block of whole rows at a time."""
    rows = max(1, 2**24 // max(len(others), 1))  # 64 MB of correlations at a time
    for start in range(0, len(thumbnails), rows):
        correlation = thumbnails[start : start + rows] @ others.T
        row, column = np.nonzero(correlation >= _LEAST_CORRELATION)
        yield row + start, column, correlation[row, column]


def _in_near_lists(thumbnails: np.ndarray, others: np.ndarray) -> Iterator[_Pairs]:
    """Most pairs within reach, found in time that grows as N**1.5: an inverted file (Jegou et al. 2011).

    Each of `others` is in the list of the nearest of about 4 sqrt(N) of them drawn at random; each thumbnail is
    compared with what is in its nearest 64 lists.

    Source: doi:10.1109/TPAMI.2010.57.
    """
    centres = others[np.random.default_rng(0).choice(len(others), round(4 * len(others) ** 0.5), replace=False)]
    home = np.concatenate([(block @ centres.T).argmax(1) for block in np.array_split(others, len(others) // 4096 + 1)])
    by_list = np.argsort(home, kind="stable")
    ends = np.searchsorted(home[by_list], np.arange(len(centres) + 1))
    rows = max(1, 2**24 * len(centres) // (_NEAR_LISTS * len(others)))  # 16 million correlations at a time
    for start in range(0, len(thumbnails), rows):
        block = thumbnails[start : start + rows]
        lists = np.argpartition(block @ centres.T, -_NEAR_LISTS, axis=1)[:, -_NEAR_LISTS:]
        visitors = np.argsort(lists, axis=None, kind="stable")
        visited = lists.ravel()[visitors]
        visitors //= _NEAR_LISTS
        bounds = np.searchsorted(visited, np.arange(len(centres) + 1))
        found = []
        for number in np.unique(visited):
            rows_here = visitors[bounds[number] : bounds[number + 1]]
            members = by_list[ends[number] : ends[number + 1]]
            # under a fixed camera one list may hold nearly all
            for some in np.array_split(rows_here, len(rows_here) * len(members) // 2**24 + 1):
                correlation = block[some] @ others[members].T
                row, column = np.nonzero(correlation >= _LEAST_CORRELATION)
                within_reach = some[row] + start, members[column], correlation[row, column]
                found.append(_nearest(*within_reach, _CANDIDATES_PER_SCENE + 1))  # one may be the picture itself
        row, column, correlation = (np.concatenate(part) for part in zip(*found, strict=True))
        yield row, column, correlation


def _confirmed(
    scenes: SceneSource, others: SceneSource, first: np.ndarray, second: np.ndarray, similarity: float
) -> list[DuplicatePair]:
    """The candidate pairs whose fine detail is similar enough."""
    details, row_of = read_details(scenes, first if scenes is not others else np.concatenate([first, second]))
    other_details, other_row_of = (details, row_of) if scenes is others else read_details(others, second)
    found = []
    for start in range(0, len(first), _BATCH):
        a, b = first[start : start + _BATCH], second[start : start + _BATCH]
        scores = compare_details(details[[row_of[i] for i in a]], other_details[[other_row_of[i] for i in b]])
        for i, j, score in zip(a, b, scores, strict=True):
            if score >= similarity:
                found.append(DuplicatePair(int(i), int(j), round(float(score), 4), False))
    return found


def read_details(scenes: SceneSource, indices: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Fine detail of the scenes named, (M, 28, 60) float16, and the row in which each scene's is."""
    wanted = np.unique(indices)
    details = np.zeros((len(wanted), _GRID[0] - 2 * _RIM, _GRID[1] - 2 * _RIM), np.float16)
    for row, index in enumerate(wanted):
        details[row] = fine_detail(scenes.read(int(index))[0])
    return details, {int(index): row for row, index in enumerate(wanted)}


def fine_detail(image: np.ndarray) -> np.ndarray:
    """(H, W, channels) uint8 -> (28, 60) float32: the picture without its shading and contrast; about 0 where bland."""
    return normalise_contrast(block_means(image, *_GRID))[_RIM:-_RIM, _RIM:-_RIM]


def compare_details(details: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlation of (B, 28, 60) details with (B, 28, 60) others under the best shift: (B,) float32 in -1..1."""
    details, others = details.astype(np.float32), others.astype(np.float32)
    height, width = details.shape[1:]
    core = details[:, _SHIFT : height - _SHIFT, _SHIFT : width - _SHIFT]
    core = core / np.maximum(np.sqrt(_dot(core, core)), _TINY)[:, None, None]
    best = np.full(len(details), -1, np.float32)
    for down in range(2 * _SHIFT + 1):
        for right in range(2 * _SHIFT + 1):
            shifted = others[:, down : down + core.shape[1], right : right + core.shape[2]]
            norm = np.maximum(np.sqrt(_dot(shifted, shifted)), _TINY)
            np.maximum(best, _dot(core, shifted) / norm, out=best)
    return best


def _dot(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.einsum("bhw,bhw->b", windows, others)
