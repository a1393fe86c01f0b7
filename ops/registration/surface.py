"""What registration needs to know of a mesh: normals, area, borders, pieces, and correspondences with rejection."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import connected_components

from ops.geometry.mesh import Mesh
from ops.registration.closest_point import ClosestPointIndex, interpolate

BORDER_BARYCENTRIC = 1e-3
"""A hit with a smaller weight for the opposite corner lies on the edge."""


def area_normals(mesh: Mesh) -> Float[np.ndarray, "triangle 3"]:
    """Triangle normals as long as twice the area."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "vertex 3"]:
    """Unit normals, the area-weighted mean of the triangles around; zero where a vertex has no area."""
    flat = area_normals(mesh)
    summed = np.zeros_like(mesh.vertices)
    for corner in range(3):
        for axis in range(3):
            summed[:, axis] += np.bincount(mesh.triangles[:, corner], flat[:, axis], len(summed))
    return _unit(summed)


def vertex_areas(mesh: Mesh) -> Float[np.ndarray, " vertex"]:
    """A third of the area of the triangles around each vertex."""
    third = np.linalg.norm(area_normals(mesh), axis=1) / 6
    return np.bincount(mesh.triangles.ravel(), np.repeat(third, 3), len(mesh.vertices))


def border_edges(mesh: Mesh) -> Bool[np.ndarray, "triangle 3"]:
    """Which edges (opposite corner 0, 1, 2) belong to no other triangle."""
    pairs = np.sort(mesh.triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2).reshape(-1, 2).astype(np.int64)
    key = pairs[:, 0] * len(mesh.vertices) + pairs[:, 1]
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return (count[inverse] == 1).reshape(-1, 3)


def vertex_pieces(mesh: Mesh) -> tuple[int, Int[np.ndarray, " vertex"]]:
    """Number of connected pieces and the piece of every vertex."""
    a, b, c = mesh.triangles.T
    rows, columns = np.concatenate((a, b)), np.concatenate((b, c))
    adjacency = sp.coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(mesh.vertices),) * 2)
    count, piece = connected_components(adjacency, directed=False)
    return int(count), piece.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Tests a correspondence must pass."""

    max_distance_mm: float = np.inf
    min_normal_cosine: float | None = None
    """Smallest cosine between the query's normal and the surface's; None admits any."""
    border: bool = True
    """Reject hits on the surface's border, where the true counterpart may be missing."""


class Correspondences(NamedTuple):
    """Closest points with the surface's interpolated unit normals, and which of them passed the tests."""

    points: Float[np.ndarray, "query 3"]
    normals: Float[np.ndarray, "query 3"]
    distance: Float[np.ndarray, " query"]
    triangle: Int[np.ndarray, " query"]
    accepted: Bool[np.ndarray, " query"]


class Surface:
    """A fixed mesh that answers closest-point queries with normals and border tests."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.index = ClosestPointIndex(mesh)
        self.normals = vertex_normals(mesh)
        self._border_edge = border_edges(mesh)
        self._border_vertex = np.zeros(len(mesh.vertices), dtype=bool)
        for corner in range(3):
            edge = mesh.triangles[self._border_edge[:, corner]]
            self._border_vertex[edge[:, (corner + 1) % 3]] = True
            self._border_vertex[edge[:, (corner + 2) % 3]] = True

    def correspond(
        self,
        points: Float[np.ndarray, "query 3"],
        normals: Float[np.ndarray, "query 3"] | None,
        rejection: Rejection,
        hint: Int[np.ndarray, " query"] | None = None,
    ) -> Correspondences:
        """Closest points of the queries; `normals` (of the queries) may be None where no cosine is asked for.

        `hint` names triangles near the queries and saves time, see `ClosestPointIndex.query`.
        """
        found = self.index.query(points, hint)
        surface_normals = _unit(interpolate(self.normals, self.mesh.triangles, found))
        accepted = found.distance <= rejection.max_distance_mm
        if rejection.min_normal_cosine is not None:
            assert normals is not None
            accepted &= np.einsum("qc,qc->q", normals, surface_normals) > rejection.min_normal_cosine
        if rejection.border:
            on_edge = self._border_edge[found.triangle] & (found.barycentric < BORDER_BARYCENTRIC)
            corner = self._border_vertex[self.mesh.triangles[found.triangle]]
            on_corner = corner & (found.barycentric > 1 - BORDER_BARYCENTRIC)
            accepted &= ~(on_edge.any(1) | on_corner.any(1))
        return Correspondences(found.points, surface_normals, found.distance, found.triangle, accepted)


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
