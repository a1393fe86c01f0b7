from collections.abc import Callable

import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.surface import (
    Rejection,
    Surface,
    border_edges,
    vertex_areas,
    vertex_normals,
    vertex_pieces,
)


def test_a_sphere_has_radial_normals_its_area_and_no_border(make_sphere: Callable[[float, int], Mesh]) -> None:
    mesh = make_sphere(10.0, 4)
    np.testing.assert_allclose(vertex_normals(mesh), mesh.vertices / 10, atol=0.01)
    assert vertex_areas(mesh).sum() == pytest.approx(4 * np.pi * 100, rel=0.01)
    assert not border_edges(mesh).any()


def test_the_border_of_a_grid_is_its_rim(make_grid: Callable[[int, int, float], Mesh]) -> None:
    mesh = make_grid(5, 4, 1.0)
    assert np.count_nonzero(border_edges(mesh)) == 2 * (4 + 3)


def test_pieces_are_told_apart(make_grid: Callable[[int, int, float], Mesh]) -> None:
    mesh = make_grid(3, 3, 1.0)
    two = Mesh(np.concatenate((mesh.vertices, mesh.vertices + 9)), np.concatenate((mesh.triangles, mesh.triangles + 9)))
    count, piece = vertex_pieces(two)
    assert count == 2
    assert len(set(piece[:9].tolist())) == 1
    assert piece[0] != piece[9]


def test_rejections(make_grid: Callable[[int, int, float], Mesh]) -> None:
    surface = Surface(make_grid(11, 11, 1.0))
    queries = np.array([[0.2, 0.1, 1.0], [0.2, 0.1, 3.0], [0.2, 0.1, -1.0], [9.0, 0.1, 1.0], [9.0, 9.0, 1.0]])
    normals = np.tile([0.0, 0.0, 1.0], (5, 1))
    normals[2] *= -1
    open_to_all = surface.correspond(queries, None, Rejection(border=False))
    assert open_to_all.accepted.all()
    near = surface.correspond(queries, normals, Rejection(max_distance_mm=2.0, min_normal_cosine=0.5))
    assert near.accepted.tolist() == [True, False, False, False, False]
    inner = surface.correspond(queries, None, Rejection(border=True))
    assert inner.accepted.tolist() == [True, True, True, False, False]
