"""Closest points on a triangle mesh: Embree's batched search, the hit recomputed in float64."""

from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int, Int32
from numpy.typing import NDArray

from ops.mesh import Mesh


class ClosestPoints(NamedTuple):
    """The nearest point of a surface for each query; `barycentric` weighs the corners of `triangle`."""

    points: Float[np.ndarray, "query 3"]
    distance: Float[np.ndarray, " query"]
    triangle: Int[np.ndarray, " query"]
    barycentric: Float[np.ndarray, "query 3"]


class ClosestPointIndex:
    """A search structure over one mesh; the mesh is centred first, so distance from the origin costs no precision."""

    def __init__(self, mesh: Mesh) -> None:
        import open3d as o3d

        self.vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
        self.triangles = np.ascontiguousarray(mesh.triangles)
        self._centre = (self.vertices.min(0) + self.vertices.max(0)) / 2
        self._tensor: Any = o3d.core.Tensor
        self._scene: Any = o3d.t.geometry.RaycastingScene(nthreads=1)
        centred = (self.vertices - self._centre).astype(np.float32)
        self._scene.add_triangles(self._tensor(centred), self._tensor(self.triangles.astype(np.uint32)))

    def query(self, points: Float[np.ndarray, "query 3"]) -> ClosestPoints:
        """The closest surface point of every query, on one thread; exact but for ties within float32 rounding."""
        queries = np.ascontiguousarray(points, dtype=np.float64)
        found = self._scene.compute_closest_points(
            self._tensor((queries - self._centre).astype(np.float32)), nthreads=1
        )
        triangle = found["primitive_ids"].numpy().astype(np.int64)
        return ClosestPoints(*_project(queries, self.vertices, self.triangles, triangle))


def interpolate(
    values: Float[np.ndarray, "vertex 3"], triangles: Int32[np.ndarray, "triangle 3"], found: ClosestPoints
) -> Float[np.ndarray, "query 3"]:
    """Values at the vertices carried to the closest points."""
    corners = values[triangles[found.triangle]]
    return np.einsum("qk,qkc->qc", found.barycentric, corners)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _project(
    queries: NDArray[np.float64],
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int32],
    triangle: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Closest point of each query on its given triangle (the seven Voronoi regions; Ericson 2005, 5.1.5)."""
    count = len(queries)
    points = np.empty((count, 3))
    distance = np.empty(count)
    barycentric = np.empty((count, 3))
    for i in range(count):
        a = vertices[triangles[triangle[i], 0]]
        b = vertices[triangles[triangle[i], 1]]
        c = vertices[triangles[triangle[i], 2]]
        p = queries[i]
        d1 = d2 = d3 = d4 = d5 = d6 = 0.0
        for k in range(3):
            ab, ac = b[k] - a[k], c[k] - a[k]
            d1 += ab * (p[k] - a[k])
            d2 += ac * (p[k] - a[k])
            d3 += ab * (p[k] - b[k])
            d4 += ac * (p[k] - b[k])
            d5 += ab * (p[k] - c[k])
            d6 += ac * (p[k] - c[k])
        va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
        if d1 <= 0 and d2 <= 0:
            v, w = 0.0, 0.0
        elif d3 >= 0 and d4 <= d3:
            v, w = 1.0, 0.0
        elif vc <= 0 and d1 >= 0 and d3 <= 0:
            v, w = d1 / (d1 - d3), 0.0
        elif d6 >= 0 and d5 <= d6:
            v, w = 0.0, 1.0
        elif vb <= 0 and d2 >= 0 and d6 <= 0:
            v, w = 0.0, d2 / (d2 - d6)
        elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
            w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
            v = 1 - w
        else:
            total = va + vb + vc
            v, w = vb / total, vc / total
        squared = 0.0
        for k in range(3):
            points[i, k] = a[k] + v * (b[k] - a[k]) + w * (c[k] - a[k])
            squared += (points[i, k] - p[k]) ** 2
        distance[i] = np.sqrt(squared)
        barycentric[i, 0], barycentric[i, 1], barycentric[i, 2] = 1 - v - w, v, w
    return points, distance, triangle, barycentric
