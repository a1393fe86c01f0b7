import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.nonrigid_icp import (
    Landmarks,
    NonrigidConfig,
    RestShape,
    conjugate_gradients,
    cotangent_laplacian,
    nonrigid_icp,
)
from ops.registration.register import Template
from ops.registration.solver import Status
from ops.registration.surface import Surface


def test_the_laplacian_of_a_linear_function_vanishes_inside(face_template: Template) -> None:
    flat = Mesh(face_template.mesh.vertices * np.array([1.0, 1.0, 0.0]), face_template.mesh.triangles)
    values = cotangent_laplacian(flat) @ flat.vertices
    extent = np.abs(flat.vertices[:, :2]).max(1)
    np.testing.assert_allclose(values[extent < 89], 0, atol=1e-9)
    np.testing.assert_allclose(cotangent_laplacian(flat).sum(1), 0, atol=1e-9)


def test_every_factorisation_solves_its_system(face_template: Template) -> None:
    rest = RestShape(face_template.mesh, 1.8)
    diagonal = np.linspace(0.3, 1.0, len(face_template.mesh.vertices))
    expected = np.random.default_rng(0).normal(size=(len(diagonal), 3))
    for stiffness in (30.0, 0.1):
        right = stiffness * (rest.smoothness @ expected) + diagonal[:, None] * expected
        np.testing.assert_allclose(rest.factorise(stiffness, diagonal)(right), expected, atol=1e-8)


def test_conjugate_gradients_reach_the_solution() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(20, 20))
    matrix = root @ root.T + np.eye(20)
    expected = rng.normal(size=(20, 3))
    diagonal = np.diag(matrix)[:, None]
    found = conjugate_gradients(lambda x: matrix @ x, matrix @ expected, lambda r: r / diagonal, 200)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_template_on_its_own_surface_stays(face_template: Template) -> None:
    mesh = face_template.mesh
    landmarks = Landmarks(face_template.landmarks, face_template.landmarks_mm)
    solution = nonrigid_icp(mesh, Surface(mesh), landmarks, NonrigidConfig())
    assert solution.status is Status.CONVERGED
    assert solution.steps == len(NonrigidConfig().levels)
    np.testing.assert_allclose(solution.state.displacement, 0, atol=1e-9)


def test_recovers_a_known_smooth_deformation(face_template: Template) -> None:
    mesh = face_template.mesh
    x, y, _ = mesh.vertices.T
    field = np.stack((1.5 * np.sin(y / 30), 1.5 * np.cos(x / 40), 3 * np.sin(x / 25) * np.cos(y / 35)), 1)
    target = Mesh(mesh.vertices + field, mesh.triangles)
    landmarks = Landmarks(face_template.landmarks, target.vertices[face_template.landmarks])
    solution = nonrigid_icp(mesh, Surface(target), landmarks, NonrigidConfig())
    inside = np.linalg.norm(mesh.vertices[:, :2], axis=1) < 65
    error = np.linalg.norm(solution.state.displacement - field, axis=1)[inside]
    assert error.mean() < 0.2 * np.linalg.norm(field, axis=1)[inside].mean()
    assert solution.history[-1] < 0.05 * solution.history[0]


def test_a_hole_is_bridged_by_the_rest_shape(face_template: Template) -> None:
    mesh = face_template.mesh
    raised = Mesh(mesh.vertices + np.array([0.0, 0.0, 4.0]), mesh.triangles)
    hole = np.linalg.norm(raised.vertices[:, :2] - np.array([20.0, 10.0]), axis=1) < 12
    cut = Mesh(raised.vertices, raised.triangles[~hole[raised.triangles].any(1)])
    nothing = Landmarks(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    solution = nonrigid_icp(mesh, Surface(cut), nothing, NonrigidConfig())
    np.testing.assert_allclose(solution.state.displacement[hole, 2], 4.0, atol=0.3)


@pytest.mark.parametrize("shift", [500.0])
def test_lost_when_nothing_matches(face_template: Template, shift: float) -> None:
    mesh = face_template.mesh
    nothing = Landmarks(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    far = Mesh(mesh.vertices + shift, mesh.triangles)
    assert nonrigid_icp(mesh, Surface(far), nothing, NonrigidConfig()).status is Status.LOST
