import numpy as np
import pytest

from evaluation.parts import (
    DistanceKind,
    Distances,
    Reduction,
    Samples,
    below_forehead,
    distances_to_surface,
    facing_distances,
    in_whole_triangles,
    quantile,
    reduce_distances,
    sample_surface,
    sphere_crop,
)
from ops.errors import DegeneratePointsError
from ops.geometry.mesh import Mesh
from ops.registration.surface import Surface

SQUARE = Mesh(
    np.array([[0.0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]]), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
)


def whole(mesh: Mesh) -> Samples:
    return sample_surface(mesh, np.ones(len(mesh.vertices), dtype=bool))


def test_crops() -> None:
    inside = sphere_crop(SQUARE.vertices, np.array([4.0, 1.0, 0.0]), 4.5)
    assert inside.tolist() == [True, True, True, False]
    assert in_whole_triangles(inside, SQUARE.triangles).tolist() == [True, True, True, False]
    assert not in_whole_triangles(np.array([True, False, True, False]), SQUARE.triangles).any()
    samples = sample_surface(SQUARE, inside)
    np.testing.assert_allclose(samples.areas, [16 / 3, 8 / 3, 16 / 3])
    np.testing.assert_allclose(samples.normals, [[0, 0, 1]] * 3)
    with pytest.raises(DegeneratePointsError, match="no surface"):
        sample_surface(SQUARE, np.zeros(4, dtype=bool))


def test_the_forehead_begins_above_the_brows(face_landmarks: np.ndarray) -> None:
    points = np.array([[0.0, 40.0, 0.0], [0.0, 150.0, 0.0], [0.0, -90.0, 0.0]])
    assert below_forehead(points, face_landmarks, 10.0).tolist() == [True, False, True]


def test_distance_to_plane_and_surface_beside_the_border() -> None:
    surface = Surface(SQUARE)
    beside = whole(Mesh(SQUARE.vertices + np.array([5.0, 0.0, 3.0]), SQUARE.triangles))
    to_plane = distances_to_surface(beside, surface, DistanceKind.PLANE).values_mm
    to_surface = distances_to_surface(beside, surface, DistanceKind.SURFACE).values_mm
    np.testing.assert_allclose(to_plane, 3.0)
    np.testing.assert_allclose(to_surface[0], np.hypot(1, 3))


def test_what_faces_away_or_meets_the_border_is_left_out() -> None:
    surface = Surface(SQUARE)
    inner = Mesh(SQUARE.vertices * 0.5 + np.array([1.0, 1.0, 2.0]), SQUARE.triangles)
    assert len(facing_distances(whole(inner), surface, DistanceKind.PLANE).values_mm) == 4
    turned = Mesh(inner.vertices, np.ascontiguousarray(inner.triangles[:, ::-1]))
    assert len(facing_distances(whole(turned), surface, DistanceKind.PLANE).values_mm) == 0
    outside = Mesh(inner.vertices + np.array([2.0, 0.0, 0.0]), inner.triangles)
    assert len(facing_distances(whole(outside), surface, DistanceKind.PLANE).values_mm) == 2


def test_reductions_and_quantiles_are_weighted() -> None:
    distances = Distances(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0]))
    assert reduce_distances(distances, Reduction.MEAN) == pytest.approx(7 / 4)
    assert reduce_distances(distances, Reduction.RMSE) == pytest.approx(np.sqrt(15 / 4))
    assert quantile(distances, 0.5) == 1.0
    assert quantile(distances, 0.75) == 2.0
    assert quantile(distances, 1.0) == 3.0
    with pytest.raises(DegeneratePointsError, match="no point"):
        reduce_distances(Distances(np.zeros(0), np.zeros(0)), Reduction.MEAN)
