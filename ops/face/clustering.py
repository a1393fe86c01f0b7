"""Which faces are one person's: average-link clustering of embeddings, over an index of near neighbours.

Every face starts as a group of its own. The two groups whose faces are most alike on average are joined, again and
again, until no two are alike enough. Only groups with faces that the index holds as neighbours are compared. The result
depends on the embeddings alone: their order and a random number play no part.
"""

import heapq
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

NEIGHBOURS = 32
"""Faces a face is compared with at most: those most like it. Larger groups come together over several of these."""
CELL_SIZE = 128
"""Faces in a cell of the index on average."""
PROBED = 16
"""Cells in which the neighbours of a face are looked for, those with the nearest centres."""
ROUNDS = 3
"""Of k-means for the centres."""
BLOCK = 2048
"""Rows of similarities in memory at a time."""


_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


class Neighbours(NamedTuple):
    """Pairs of faces that are alike, each once, `first` < `second`."""

    first: Int64[np.ndarray, " pair"]
    second: Int64[np.ndarray, " pair"]
    similarity: Float32[np.ndarray, " pair"]
    """Cosine."""


def cluster_faces(
    embeddings: Float32[np.ndarray, "face channel"],
    min_similarity: float,
    given: Int64[np.ndarray, " face"] | None = None,
) -> Int64[np.ndarray, " face"]:
    """The group of every face, numbered from 0 in the order of their first faces.

    Args:
        embeddings: of any length but 0; those of length 0 resemble nothing.
        min_similarity: groups whose faces have a lower mean cosine are not joined.
        given: groups to go on from: faces of one number stay together and are never joined with those of another;
            -1 for a face without a group. None: no face has one.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    unit = unit_rows(embeddings)
    order = np.lexsort(unit.T[::-1])
    groups = np.empty(len(unit), np.int64)
    start = np.full(len(unit), -1) if given is None else given
    groups[order] = _joined(unit[order], near_neighbours(unit[order], min_similarity), min_similarity, start[order])
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def unit_rows(embeddings: Float32[np.ndarray, "face channel"]) -> Float32[np.ndarray, "face channel"]:
    """Embeddings of length 1; those of length 0 stay 0."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.maximum(length, 1e-12)).astype(np.float32)


def near_neighbours(unit: Float32[np.ndarray, "face channel"], min_similarity: float) -> Neighbours:
    """For every face its most similar ones, at most `NEIGHBOURS`, found in the nearest cells of a k-means partition.

    Up to `PROBED * CELL_SIZE` faces the search is exact. Beyond, time grows as n sqrt(n) or so, memory as n.
    """
    centres = _centres(unit)
    cells = _nearest(unit, centres, min(PROBED, len(centres)))
    members = np.argsort(cells[:, 0], kind="stable")
    starts = np.searchsorted(cells[members, 0], np.arange(len(centres) + 1))
    pairs: list[_Pairs] = []
    for cell in range(len(centres)):
        asking = members[starts[cell] : starts[cell + 1]]
        for begin in range(0, len(asking), BLOCK):
            pairs.append(_alike(unit, asking[begin : begin + BLOCK], cells, members, starts, min_similarity))
    one, other, similarity = (np.concatenate(part) for part in zip(*pairs, strict=True))
    keys = np.minimum(one, other) * len(unit) + np.maximum(one, other)
    keys, index = np.unique(keys, return_index=True)
    return Neighbours(keys // len(unit), keys % len(unit), similarity[index])


def _centres(unit: Float32[np.ndarray, "face channel"]) -> Float32[np.ndarray, "cell channel"]:
    """Spherical k-means from evenly spaced faces."""
    count = 1 if len(unit) <= PROBED * CELL_SIZE else -(-len(unit) // CELL_SIZE)
    centres = unit[np.linspace(0, len(unit) - 1, count).astype(np.int64)]
    for _ in range(ROUNDS if count > 1 else 0):
        nearest = _nearest(unit, centres, 1)[:, 0]
        by_cell = np.argsort(nearest, kind="stable")
        present, first = np.unique(nearest[by_cell], return_index=True)
        sums = np.add.reduceat(unit[by_cell], first, axis=0)
        centres = centres.copy()
        centres[present] = unit_rows(sums)
    return centres


def _nearest(
    unit: Float32[np.ndarray, "face channel"], centres: Float32[np.ndarray, "cell channel"], count: int
) -> Int64[np.ndarray, "face count"]:
    """The nearest centres of every face, best first."""
    found = np.empty((len(unit), count), np.int64)
    for begin in range(0, len(unit), BLOCK):
        similarity = unit[begin : begin + BLOCK] @ centres.T
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count] if count < len(centres) else None
        chosen = np.broadcast_to(np.arange(len(centres)), similarity.shape) if best is None else np.sort(best, 1)
        ranked = np.argsort(-np.take_along_axis(similarity, chosen, 1), axis=1, kind="stable")
        found[begin : begin + BLOCK] = np.take_along_axis(chosen, ranked, 1)
    return found


def _alike(
    unit: Float32[np.ndarray, "face channel"],
    asking: Int64[np.ndarray, " asking"],
    cells: Int64[np.ndarray, "face probed"],
    members: Int64[np.ndarray, " face"],
    starts: Int64[np.ndarray, " edge"],
    min_similarity: float,
) -> _Pairs:
    """Pairs of some faces of one cell with those of the cells they look into."""
    rows: list[np.ndarray] = []
    others: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for cell in np.unique(cells[asking]).tolist():
        looking = np.flatnonzero((cells[asking] == cell).any(1))
        there = members[starts[cell] : starts[cell + 1]]
        similarity = unit[asking[looking]] @ unit[there].T
        row, column = np.nonzero(similarity >= min_similarity)
        distinct = asking[looking[row]] != there[column]
        row, column = row[distinct], column[distinct]
        rows.append(looking[row])
        others.append(there[column])
        values.append(similarity[row, column])
    row, other, value = np.concatenate(rows), np.concatenate(others), np.concatenate(values)
    order = np.lexsort((other, -value, row))
    row, other, value = row[order], other[order], value[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < NEIGHBOURS
    return asking[row[kept]], other[kept], value[kept]


def _joined(
    unit: Float32[np.ndarray, "face channel"],
    near: Neighbours,
    min_similarity: float,
    given: Int64[np.ndarray, " face"],
) -> Int64[np.ndarray, " face"]:
    """A group number for every face.

    The mean cosine between the faces of two groups is the product of their sums over that of their sizes.
    """
    parents = np.arange(len(unit))
    grouped = np.flatnonzero(given >= 0)
    _, first, number = np.unique(given[grouped], return_index=True, return_inverse=True)
    parents[grouped] = grouped[first][number]
    sums = np.zeros(unit.shape, np.float64)
    np.add.at(sums, parents, unit)
    sizes = np.bincount(parents, minlength=len(unit))
    fixed = np.zeros(len(unit), bool)
    fixed[parents[grouped]] = True
    ends = np.sort(np.stack((parents[near.first], parents[near.second])), axis=0)
    ends = np.unique(ends[:, ends[0] != ends[1]], axis=1)
    beside: list[set[int]] = [set() for _ in range(len(unit))]
    for one, other in ends.T.tolist():
        beside[one].add(other)
        beside[other].add(one)
    waiting: list[tuple[float, int, int, int, int]] = []
    for begin in range(0, ends.shape[1], BLOCK):
        one, other = ends[:, begin : begin + BLOCK]
        means = (sums[one] * sums[other]).sum(1) / (sizes[one] * sizes[other])
        parts = (-means, one, other, sizes[one], sizes[other])
        waiting += [row for row in zip(*(part.tolist() for part in parts), strict=True) if -row[0] >= min_similarity]
    heapq.heapify(waiting)
    while waiting:
        _, one, other, size_one, size_other = heapq.heappop(waiting)
        if sizes[one] != size_one or sizes[other] != size_other or (fixed[one] and fixed[other]):
            continue  # one of them has grown or been joined to another since, or both are to stay as they are
        fixed[one] |= fixed[other]
        parents[other] = one
        sums[one] += sums[other]
        sizes[one] += sizes[other]
        sizes[other] = 0
        around = sorted((beside[one] | beside[other]) - {one, other})
        beside[one], beside[other] = set(around), set()
        means = sums[around] @ sums[one] / (sizes[around] * sizes[one]) if around else np.zeros(0)
        for neighbour, mean in zip(around, means.tolist(), strict=True):
            beside[neighbour].discard(other)
            beside[neighbour].add(one)
            if mean >= min_similarity:
                low, high = min(one, neighbour), max(one, neighbour)
                heapq.heappush(waiting, (-mean, low, high, int(sizes[low]), int(sizes[high])))
    while (above := parents[parents]).tolist() != parents.tolist():
        parents = above
    return parents.astype(np.int64)
