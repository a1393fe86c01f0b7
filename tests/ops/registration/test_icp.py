from collections.abc import Callable

import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.alignment import Alignment, ScaleRule, align_points
from ops.registration.icp import Anchors, Icp, Metric
from ops.registration.register import Template
from ops.registration.solver import Status, solve
from ops.registration.surface import Rejection, Surface


def small_motion(scale: float) -> Alignment:
    angle = 0.06
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Alignment(turn, np.array([2.0, -1.5, 3.0]), scale)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("scale", [1.0, 1.03])
def test_recovers_a_known_motion(face_template: Template, metric: Metric, scale: float) -> None:
    truth = small_motion(scale)
    mesh = face_template.mesh
    target = Mesh(align_points(truth, mesh.vertices), mesh.triangles)
    solution = solve(
        Icp(
            points=mesh.vertices[::3],
            surface=Surface(target),
            metric=metric,
            scale=ScaleRule.RIGID if scale == 1.0 else ScaleRule.LEAST_SQUARES,
            rejection=Rejection(border=True),
            tolerance_mm=1e-5 if metric is Metric.PLANE else 1e-3,
            max_steps=500,
        )
    )
    assert solution.status is Status.CONVERGED
    tolerance = 1e-3 if metric is Metric.PLANE else 1.0
    np.testing.assert_allclose(solution.state.points, target.vertices[::3], atol=tolerance)
    assert solution.history[-1] < solution.history[0]


def test_point_to_plane_needs_fewer_steps(face_template: Template) -> None:
    mesh = face_template.mesh
    surface = Surface(Mesh(align_points(small_motion(1.0), mesh.vertices), mesh.triangles))
    steps = {
        metric: solve(
            Icp(points=mesh.vertices[::5], surface=surface, metric=metric, tolerance_mm=1e-2, max_steps=500)
        ).steps
        for metric in Metric
    }
    assert steps[Metric.PLANE] * 4 < steps[Metric.POINT]


def test_a_plane_only_moves_along_its_normal(make_grid: Callable[[int, int, float], Mesh]) -> None:
    surface = Surface(make_grid(41, 41, 1.0))
    points = make_grid(11, 11, 1.0).vertices + np.array([3.0, 2.0, 1.5])
    solution = solve(Icp(points=points, surface=surface))
    np.testing.assert_allclose(solution.state.points, points - np.array([0, 0, 1.5]), atol=1e-6)


def test_anchors_fix_what_the_surface_leaves_open(make_grid: Callable[[int, int, float], Mesh]) -> None:
    grid = make_grid(41, 41, 1.0)
    points = make_grid(11, 11, 1.0).vertices
    anchors = Anchors(points[[0, 10, 110]], points[[0, 10, 110]] + np.array([4.0, 1.0, 0.0]), 0.1)
    solution = solve(Icp(points=points, surface=Surface(grid), anchors=anchors))
    np.testing.assert_allclose(solution.state.points, points + np.array([4.0, 1.0, 0.0]), atol=1e-6)


def test_lost_when_nothing_is_near(face_template: Template) -> None:
    far = face_template.mesh.vertices + 500
    solution = solve(
        Icp(points=far, surface=Surface(face_template.mesh), rejection=Rejection(max_distance_mm=10.0), max_steps=5)
    )
    assert solution.status is Status.LOST
    assert solution.steps == 1
