from collections.abc import Callable

import numpy as np

from ops.geometry.mesh import Mesh
from ops.registration.closest_point import ClosestPointIndex, interpolate


def brute_force(mesh: Mesh, queries: np.ndarray) -> np.ndarray:
    """The least distance over all triangles by dense sampling of the interior, edges and corners."""
    steps = np.linspace(0, 1, 41)
    u, v = (w.ravel() for w in np.meshgrid(steps, steps))
    inside = u + v <= 1 + 1e-12
    weights = np.stack((1 - u - v, u, v), 1)[inside]
    samples = np.einsum("sk,tkc->tsc", weights, mesh.vertices[mesh.triangles]).reshape(-1, 3)
    return np.array([np.linalg.norm(samples - q, axis=1).min() for q in queries])


def test_one_triangle_agrees_with_brute_force_in_every_region() -> None:
    mesh = Mesh(np.array([[0.0, 0, 0], [2, 0.2, 0], [0.3, 1.5, 0.4]]), np.array([[0, 1, 2]], dtype=np.int32))
    queries = np.random.default_rng(0).uniform(-2, 3, (300, 3))
    found = ClosestPointIndex(mesh).query(queries)
    expected = brute_force(mesh, queries)
    assert (found.distance <= expected + 1e-12).all()
    np.testing.assert_allclose(found.distance, expected, atol=2e-3)
    rebuilt = np.einsum("qk,kc->qc", found.barycentric, mesh.vertices)
    np.testing.assert_allclose(rebuilt, found.points, atol=1e-12)


def test_the_plane_is_exact_far_from_the_origin(make_grid: Callable[[int, int, float], Mesh]) -> None:
    mesh = make_grid(11, 11, 1.0)
    shifted = Mesh(mesh.vertices + np.array([1e5, -2e5, 3e5]), mesh.triangles)
    offset = np.random.default_rng(1).uniform(-4, 4, (200, 3))
    found = ClosestPointIndex(shifted).query(offset + np.array([1e5, -2e5, 3e5]))
    np.testing.assert_allclose(found.distance, np.abs(offset[:, 2]), atol=1e-9)


def test_the_sphere_is_met_along_the_radius(make_sphere: Callable[[float, int], Mesh]) -> None:
    mesh = make_sphere(50.0, 5)
    directions = np.random.default_rng(2).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(30, 70, 500)
    found = ClosestPointIndex(mesh).query(directions * radii[:, None])
    np.testing.assert_allclose(found.distance, np.abs(radii - 50), atol=0.03)
    np.testing.assert_allclose(found.points, directions * 50, atol=0.5)


def test_interpolation_returns_the_hit_itself(make_sphere: Callable[[float, int], Mesh]) -> None:
    mesh = make_sphere(1.0, 2)
    found = ClosestPointIndex(mesh).query(np.random.default_rng(3).normal(size=(50, 3)))
    np.testing.assert_allclose(interpolate(mesh.vertices, mesh.triangles, found), found.points, atol=1e-12)
