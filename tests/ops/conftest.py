"""Meshes that need no file."""

import numpy as np
import pytest
import torch

from ops.geometry.topology import Topology

Mesh = tuple[torch.Tensor, Topology]


def _topology(triangles: np.ndarray, uv: np.ndarray) -> Topology:
    corners = torch.from_numpy(triangles.astype(np.int32))
    return Topology(triangles=corners, uv=torch.from_numpy(uv), uv_triangles=corners)


@pytest.fixture
def bumpy_mesh() -> Mesh:
    """A 24 x 24 height field of about 160 mm with bumps of 25 mm, facing +z; vertices float64."""
    side = 24
    v, u = np.meshgrid(np.linspace(1, 0, side), np.linspace(0, 1, side), indexing="ij")
    x, y = 160 * (u - 0.5), 160 * (v - 0.5)
    z = 25 * np.sin(x / 17) * np.cos(y / 23) + 8 * np.sin(0.11 * x + 0.07 * y)
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate((np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)))
    vertices = torch.from_numpy(np.stack((x, y, z), -1).reshape(-1, 3))
    return vertices, _topology(triangles, np.stack((u, v), -1).reshape(-1, 2))


@pytest.fixture
def sphere_mesh() -> Mesh:
    """An icosahedron subdivided three times onto a sphere of 100 mm about the origin; vertices float64."""
    golden = (1 + 5**0.5) / 2
    corners = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    points = [np.roll(corner, shift) for shift in range(3) for corner in np.array(corners)]
    vertices = [point / np.linalg.norm(point) for point in points]
    hull = _hull_triangles(np.array(vertices))
    for _ in range(3):
        middles: dict[tuple[int, int], int] = {}
        refined = []
        for triangle in hull:
            m = []
            for i, j in zip(triangle, np.roll(triangle, -1), strict=True):
                key = (min(i, j), max(i, j))
                if key not in middles:
                    middle = vertices[i] + vertices[j]
                    middles[key] = len(vertices)
                    vertices.append(middle / np.linalg.norm(middle))
                m.append(middles[key])
            a, b, c = triangle
            refined += [(a, m[0], m[2]), (m[0], b, m[1]), (m[2], m[1], c), tuple(m)]
        hull = np.array(refined)
    unit = np.array(vertices)
    uv = np.stack((0.5 + np.arctan2(unit[:, 0], unit[:, 2]) / (2 * np.pi), 0.5 + np.arcsin(unit[:, 1]) / np.pi), -1)
    return torch.from_numpy(100 * unit), _topology(hull, uv)


def _hull_triangles(points: np.ndarray) -> np.ndarray:
    """Faces of the icosahedron: the triples at edge length, anticlockwise seen from outside."""
    edge = np.sort(np.linalg.norm(points[0] - points, axis=1))[1]
    near = np.abs(np.linalg.norm(points[:, None] - points, axis=-1) - edge) < 1e-6
    triples = [
        (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[i, k]
    ]
    oriented = [t if np.linalg.det(points[list(t)]) > 0 else t[::-1] for t in triples]
    return np.array(oriented)
