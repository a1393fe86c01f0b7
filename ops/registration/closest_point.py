"""Closest points on a triangle mesh, exact in float64: a bounding-volume hierarchy compiled by numba.

Searching in float32 (as Embree does) and only recomputing the hit is not enough for iterated closest points: near the
medial axis a rounding picks another sheet of the surface, the point jumps, and the mean moves in its sixth digit.
"""

from functools import partial
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int, Int32
from numpy.typing import NDArray

from ops.geometry.compiled import compiled
from ops.geometry.mesh import Mesh

LEAF_SIZE = 4
STACK_SIZE = 128
"""Pending nodes of one descent: at most one per level, and median splits halve every level."""


class ClosestPoints(NamedTuple):
    """The nearest point of a surface for each query; `barycentric` weighs the corners of `triangle`."""

    points: Float[np.ndarray, "query 3"]
    distance: Float[np.ndarray, " query"]
    triangle: Int[np.ndarray, " query"]
    barycentric: Float[np.ndarray, "query 3"]


class ClosestPointIndex:
    """A search structure over one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        corners = np.ascontiguousarray(mesh.vertices, dtype=np.float64)[mesh.triangles]
        self._low, self._high, self._start, self._count, self._order = _build(corners.min(1), corners.max(1))
        self._corners = np.ascontiguousarray(corners[self._order])
        self._slot = np.empty_like(self._order)
        self._slot[self._order] = np.arange(len(self._order))

    def query(
        self, points: Float[np.ndarray, "query 3"], hint: Int[np.ndarray, " query"] | None = None
    ) -> ClosestPoints:
        """The closest surface point of every query, on one thread.

        `hint` names a triangle near each query, such as the last answer for a point that moved a little; it saves
        time and does not change the distance.
        """
        queries = np.ascontiguousarray(points, dtype=np.float64)
        slots = np.full(len(queries), -1, dtype=np.int64) if hint is None else self._slot[hint]
        feet, distance, found, barycentric = _search(
            queries, self._corners, self._low, self._high, self._start, self._count, slots
        )
        return ClosestPoints(feet, distance, self._order[found], barycentric)


def interpolate(
    values: Float[np.ndarray, "vertex 3"], triangles: Int32[np.ndarray, "triangle 3"], found: ClosestPoints
) -> Float[np.ndarray, "query 3"]:
    """Values at the vertices carried to the closest points."""
    corners = values[triangles[found.triangle]]
    return (corners * found.barycentric[:, :, None]).sum(1)


@partial(compiled, nogil=True)
@no_type_check
def _build(low: NDArray[np.float64], high: NDArray[np.float64]):
    """Median splits along the longest axis of the centres; children of node i are `start[i]` and `start[i] + 1`.

    A leaf has `count` > 0 triangles from `start` on in the returned order.
    """
    total = len(low)
    capacity = 2 * max(1, total) + 1
    node_low, node_high = np.empty((capacity, 3)), np.empty((capacity, 3))
    start, count = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    first, last = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    centre = low + high
    order = np.arange(total)
    last[0] = total
    used = 1
    node = 0
    while node < used:
        begin, end = first[node], last[node]
        centre_low, centre_high = np.full(3, np.inf), np.full(3, -np.inf)
        for axis in range(3):
            node_low[node, axis], node_high[node, axis] = np.inf, -np.inf
        for k in range(begin, end):
            for axis in range(3):
                node_low[node, axis] = min(node_low[node, axis], low[order[k], axis])
                node_high[node, axis] = max(node_high[node, axis], high[order[k], axis])
                centre_low[axis] = min(centre_low[axis], centre[order[k], axis])
                centre_high[axis] = max(centre_high[axis], centre[order[k], axis])
        if end - begin <= LEAF_SIZE:
            start[node], count[node] = begin, end - begin
        else:
            axis = np.argmax(centre_high - centre_low)
            part = order[begin:end].copy()
            order[begin:end] = part[np.argsort(centre[part, axis], kind="mergesort")]
            middle = (begin + end) // 2
            start[node] = used
            first[used], last[used] = begin, middle
            first[used + 1], last[used + 1] = middle, end
            used += 2
        node += 1
    return node_low[:used].copy(), node_high[:used].copy(), start[:used].copy(), count[:used].copy(), order


@partial(compiled, nogil=True, inline="always")
@no_type_check
def _box_distance(p: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], node: int):
    """Squared distance of a point from a node's box."""
    squared = 0.0
    for axis in range(3):
        outside = max(low[node, axis] - p[axis], p[axis] - high[node, axis], 0.0)
        squared += outside * outside
    return squared


@partial(compiled, nogil=True)
@no_type_check
def _closest_weights(p: NDArray[np.float64], corners: NDArray[np.float64]):
    """Weights of corners 1 and 2 of the triangle's closest point, and its squared distance.

    By the seven Voronoi regions of a triangle (Ericson 2005, section 5.1.5).
    """
    d1 = d2 = d3 = d4 = d5 = d6 = 0.0
    for k in range(3):
        ab, ac = corners[1, k] - corners[0, k], corners[2, k] - corners[0, k]
        d1 += ab * (p[k] - corners[0, k])
        d2 += ac * (p[k] - corners[0, k])
        d3 += ab * (p[k] - corners[1, k])
        d4 += ac * (p[k] - corners[1, k])
        d5 += ab * (p[k] - corners[2, k])
        d6 += ac * (p[k] - corners[2, k])
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0 and d2 <= 0:
        v, w = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif vc <= 0 and d1 >= 0 and d3 <= 0 and d1 > d3:
        v, w = d1 / (d1 - d3), 0.0
    elif d6 >= 0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0 and d2 > d6:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0 and (d4 - d3) + (d5 - d6) > 0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1 - w
    elif va + vb + vc <= 0:
        # Without area there is no inside; the neighbours share the edges, so a corner is enough.
        v, w = 0.0, 0.0
    else:
        v, w = vb / (va + vb + vc), vc / (va + vb + vc)
    squared = 0.0
    for k in range(3):
        foot = corners[0, k] + v * (corners[1, k] - corners[0, k]) + w * (corners[2, k] - corners[0, k])
        squared += (foot - p[k]) ** 2
    return v, w, squared


@partial(compiled, nogil=True)
@no_type_check
def _search(
    queries: NDArray[np.float64],
    corners: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    start: NDArray[np.int64],
    count: NDArray[np.int64],
    hints: NDArray[np.int64],
):
    """Branch and bound from the root, nearer child first; hints and results are positions in the tree's order."""
    total = len(queries)
    points, distance = np.empty((total, 3)), np.empty(total)
    found, barycentric = np.empty(total, np.int64), np.empty((total, 3))
    stack, bound = np.empty(STACK_SIZE, np.int64), np.empty(STACK_SIZE)
    for i in range(total):
        p = queries[i]
        best, best_v, best_w, best_at = np.inf, 0.0, 0.0, 0
        if hints[i] >= 0:
            best_v, best_w, best = _closest_weights(p, corners[hints[i]])
            best_at = hints[i]
        stack[0], bound[0], depth = 0, 0.0, 1
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if bound[depth] >= best:
                continue
            if count[node] > 0:
                for t in range(start[node], start[node] + count[node]):
                    v, w, squared = _closest_weights(p, corners[t])
                    if squared < best:
                        best, best_v, best_w, best_at = squared, v, w, t
                continue
            near, far = start[node], start[node] + 1
            near_bound, far_bound = _box_distance(p, low, high, near), _box_distance(p, low, high, far)
            if far_bound < near_bound:
                near, far = far, near
                near_bound, far_bound = far_bound, near_bound
            if far_bound < best:
                stack[depth], bound[depth] = far, far_bound
                depth += 1
            if near_bound < best:
                stack[depth], bound[depth] = near, near_bound
                depth += 1
        barycentric[i, 0], barycentric[i, 1], barycentric[i, 2] = 1 - best_v - best_w, best_v, best_w
        for k in range(3):
            origin = corners[best_at, 0, k]
            points[i, k] = (
                origin + best_v * (corners[best_at, 1, k] - origin) + best_w * (corners[best_at, 2, k] - origin)
            )
        distance[i], found[i] = np.sqrt(best), best_at
    return points, distance, found, barycentric
