import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.geometry.mesh import Mesh
from ops.registration.alignment import IDENTITY, Alignment, align_points
from ops.registration.model_fit import ModelFitConfig, fit_modes, smooth_fields
from ops.registration.nonrigid_icp import Landmarks
from ops.registration.register import RegistrationConfig, Template, fit_template, register_scan
from ops.registration.surface import Surface, vertex_normals


def modes_of(mesh: Mesh, count: int = 6) -> np.ndarray:
    """Smooth displacements in all directions, about 2 mm each."""
    rng = np.random.default_rng(11)
    wave = rng.normal(0, 1 / 30, (count, 3))
    height = np.cos(mesh.vertices @ wave.T + rng.uniform(0, 6, count)).T
    direction = rng.normal(size=(count, 1, 3))
    return (3 * height[..., None] * direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def template(face_template: Template) -> Template:
    return Template(mesh=face_template.mesh, landmarks=face_template.landmarks, modes_mm=modes_of(face_template.mesh))


def shaped(template: Template, coefficients: np.ndarray) -> np.ndarray:
    assert template.modes_mm is not None
    return template.mesh.vertices + np.tensordot(coefficients, template.modes_mm, 1)


def test_recovers_known_coefficients_and_place(template: Template) -> None:
    assert template.modes_mm is not None
    wanted = np.array([1.2, -0.8, 0.5, 1.0, -1.5, 0.3])
    turn = np.array([[np.cos(0.05), -np.sin(0.05), 0], [np.sin(0.05), np.cos(0.05), 0], [0, 0, 1.0]])
    place = Alignment(turn, np.array([2.0, -1.0, 3.0]), 1.03)
    truth = align_points(place, shaped(template, wanted))
    landmarks = Landmarks(template.landmarks, truth[template.landmarks])
    config = ModelFitConfig(fields=0)
    surface = Surface(Mesh(truth, template.mesh.triangles))
    found = fit_modes(template.mesh, template.modes_mm, surface, landmarks, IDENTITY, config)
    np.testing.assert_allclose(found.coefficients, wanted, atol=0.1)
    error = np.linalg.norm(align_points(found.alignment, found.vertices_mm) - truth, axis=1)
    assert error.mean() < 0.2
    np.testing.assert_array_equal(found.vertices_mm, found.model_mm)


def test_one_landmark_far_off_does_not_matter(template: Template) -> None:
    assert template.modes_mm is not None
    truth = shaped(template, np.array([1.0, 0, 0, -1.0, 0, 0.5]))
    points = truth[template.landmarks]
    points[10] += 25.0
    surface = Surface(Mesh(truth, template.mesh.triangles))
    found = fit_modes(
        template.mesh, template.modes_mm, surface, Landmarks(template.landmarks, points), IDENTITY, ModelFitConfig()
    )
    error = np.linalg.norm(align_points(found.alignment, found.vertices_mm) - truth, axis=1)
    assert error.mean() < 0.5


def test_fields_run_along_the_normals_with_the_deviation_asked_for(template: Template) -> None:
    config = ModelFitConfig(fields=400, field_mm=0.8)
    fields = smooth_fields(template.mesh, config)
    normals = vertex_normals(template.mesh)
    along = np.einsum("fvc,vc->fv", fields, normals)
    np.testing.assert_allclose(along[..., None] * normals, fields, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.square(along).sum(0)).mean(), 0.8, rtol=0.05)


def test_nothing_to_meet_leaves_the_start(template: Template) -> None:
    assert template.modes_mm is not None
    far = Surface(Mesh(template.mesh.vertices + 500.0, template.mesh.triangles))
    nothing = Landmarks(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    found = fit_modes(template.mesh, template.modes_mm, far, nothing, IDENTITY, ModelFitConfig())
    np.testing.assert_array_equal(found.vertices_mm, template.mesh.vertices)
    assert found.alignment == IDENTITY


def test_modes_bring_the_registration_closer(template: Template) -> None:
    rng = np.random.default_rng(5)
    truth = shaped(template, np.array([1.5, -1.0, 1.0, 1.0, -1.5, -1.0]))
    landmarks = truth[template.landmarks] + rng.normal(0, 1.5, (68, 3))
    mesh = Mesh(truth, template.mesh.triangles)
    inside = np.linalg.norm(template.mesh.vertices[:, :2], axis=1) < 65
    errors = [
        np.linalg.norm(register_scan(made, mesh, landmarks, RegistrationConfig()).vertices_mm - truth, axis=1)[inside]
        for made in (template, Template(mesh=template.mesh, landmarks=template.landmarks))
    ]
    assert errors[0].mean() < 0.7 * errors[1].mean()


def test_modes_of_another_mesh_are_refused(template: Template) -> None:
    assert template.modes_mm is not None
    with pytest.raises(ConfigurationError, match="modes must move"):
        Template(mesh=template.mesh, landmarks=template.landmarks, modes_mm=template.modes_mm[:, 1:])
    plain = Template(mesh=template.mesh, landmarks=template.landmarks)
    with pytest.raises(ConfigurationError, match="without modes"):
        fit_template(plain, template.mesh, template.landmarks_mm, RegistrationConfig())
