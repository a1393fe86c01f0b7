from pathlib import Path

import numpy as np
import pytest

from evaluation.template import template_from_model
from ops.errors import ConfigurationError, DegeneratePointsError, GeometryError, UnitsError
from ops.geometry.mesh import Mesh
from ops.registration.register import Registration, RegistrationConfig, Template, flipped_share, register_scan
from ops.registration.solver import Status
from ops.registration.surface import Surface
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape


def register(scan: tuple[Template, Mesh, np.ndarray, np.ndarray]) -> Registration:
    return register_scan(scan[0], scan[1], scan[2], RegistrationConfig())


def face_error(found: Registration, template: Template, truth: np.ndarray, radius: float) -> float:
    near = np.linalg.norm(truth - truth[template.landmarks[30]], axis=1) < radius
    return float(np.linalg.norm(found.vertices_mm - truth, axis=1)[near].mean())


def test_recovers_a_known_face(face_scan: tuple[Template, Mesh, np.ndarray, np.ndarray]) -> None:
    template, _, landmarks, truth = face_scan
    found = register(face_scan)
    assert found.status is Status.CONVERGED
    assert found.scan.repairs == ()
    assert face_error(found, template, truth, 60) < 0.6
    assert found.quality.residual_mm < 0.05
    assert found.quality.flipped_share == 0
    assert 1.0 < found.quality.landmark_rms_mm < 3.0
    assert landmarks.shape == (68, 3)


def damaged(name: str, mesh: Mesh, landmarks: np.ndarray) -> tuple[Mesh, np.ndarray]:
    rng = np.random.default_rng(5)
    if name == "hole at the nose":
        keep = np.linalg.norm(mesh.vertices - landmarks[30], axis=1) > 14
        return Mesh(mesh.vertices, mesh.triangles[keep[mesh.triangles].all(1)]), landmarks
    if name == "metres":
        return Mesh(mesh.vertices / 1000, mesh.triangles), landmarks / 1000
    if name == "scan alone in metres":
        return Mesh(mesh.vertices / 1000, mesh.triangles), landmarks
    if name == "landmarks alone in metres":
        return mesh, landmarks / 1000
    if name == "flipped winding":
        return Mesh(mesh.vertices, np.ascontiguousarray(mesh.triangles[:, ::-1])), landmarks
    if name == "debris":
        pieces = [landmarks[30] + rng.normal(0, 40, 3) + rng.normal(0, 2, (3, 3)) for _ in range(40)]
        loose = np.arange(120, dtype=np.int32).reshape(-1, 3) + len(mesh.vertices)
        return Mesh(np.concatenate((mesh.vertices, *pieces)), np.concatenate((mesh.triangles, loose))), landmarks
    if name == "5 landmarks missing":
        fewer = landmarks.copy()
        fewer[[0, 8, 30, 36, 45]] = np.nan
        return mesh, fewer
    if name == "broken coordinates":
        vertices = mesh.vertices.copy()
        vertices[rng.choice(len(vertices), 20, replace=False)] = np.nan
        return Mesh(vertices, mesh.triangles), landmarks
    assert name == "split vertices"
    soup = mesh.vertices[mesh.triangles].reshape(-1, 3)
    return Mesh(soup, np.arange(len(soup), dtype=np.int32).reshape(-1, 3)), landmarks


DAMAGE = {
    "hole at the nose": "",
    "metres": "converted from m to mm",
    "scan alone in metres": "scan converted from m",
    "landmarks alone in metres": "scan converted from mm",
    "flipped winding": "turned triangles",
    "debris": "loose pieces",
    "5 landmarks missing": "5 landmarks missing",
    "broken coordinates": "20 vertices without finite coordinates",
    "split vertices": "coincident vertices",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_repaired_and_named(face_scan: tuple[Template, Mesh, np.ndarray, np.ndarray], name: str) -> None:
    template, mesh, landmarks, truth = face_scan
    found = register_scan(template, *damaged(name, mesh, landmarks), RegistrationConfig())
    assert DAMAGE[name] in "; ".join(found.scan.repairs)
    assert face_error(found, template, truth, 60) < 0.7


def test_what_cannot_work_is_refused(face_scan: tuple[Template, Mesh, np.ndarray, np.ndarray]) -> None:
    template, mesh, landmarks, truth = face_scan
    few = np.full((68, 3), np.nan)
    few[:4] = landmarks[:4]
    with pytest.raises(DegeneratePointsError, match="found 4 of 68"):
        register((template, mesh, few, truth))
    with pytest.raises(UnitsError, match="times as large"):
        register((template, mesh, landmarks * 30, truth))
    with pytest.raises(GeometryError, match="another scan or frame"):
        register((template, mesh, landmarks + 400, truth))
    with pytest.raises(GeometryError, match="iBUG order"):
        register((template, mesh, np.random.default_rng(0).permutation(landmarks), truth))
    with pytest.raises(GeometryError, match="at least 100 triangles"):
        register((template, Mesh(mesh.vertices, mesh.triangles[:5]), landmarks, truth))
    with pytest.raises(ConfigurationError, match="landmarks must be vertices"):
        Template(mesh=template.mesh, landmarks=template.landmarks + 10**6)


@pytest.mark.models
@pytest.mark.parametrize(("jitter_mm", "limit_mm"), [(None, 0.70), (4.0, 1.0)])
def test_the_reference_scan_meets_its_goals(
    reference_scan: tuple[Template, Mesh, np.ndarray, np.ndarray], jitter_mm: float | None, limit_mm: float
) -> None:
    template, mesh, landmarks, truth = reference_scan
    if jitter_mm is not None:
        landmarks = truth[template.landmarks] + np.random.default_rng(0).normal(0, jitter_mm, (68, 3))
    found = register_scan(template, mesh, landmarks, RegistrationConfig())
    near = np.linalg.norm(truth - truth[template.landmarks[30]], axis=1) < 95
    assert face_error(found, template, truth, 95) <= limit_mm
    assert Surface(mesh).index.query(found.vertices_mm[near]).distance.mean() <= 0.10
    registered, true_mesh = (Mesh(v, template.mesh.triangles) for v in (found.vertices_mm, truth))
    assert flipped_share(registered, true_mesh) <= 2e-4


@pytest.mark.models
def test_the_models_modes_bring_the_reference_scan_closer(
    reference_scan: tuple[Template, Mesh, np.ndarray, np.ndarray], model_dir: Path
) -> None:
    template, mesh, landmarks, truth = reference_scan
    made = template_from_model(load_shape(resolve_bundle("ict", model_dir).shape)).template
    np.testing.assert_allclose(made.mesh.vertices, template.mesh.vertices, atol=1e-3)
    found = register_scan(made, mesh, landmarks, RegistrationConfig())
    assert face_error(found, made, truth, 95) <= 0.45
    assert found.quality.residual_mm <= 0.10


@pytest.mark.models
@pytest.mark.parametrize("name", ["hole at the nose", "debris"])
def test_the_reference_scan_survives_damage(
    reference_scan: tuple[Template, Mesh, np.ndarray, np.ndarray], name: str
) -> None:
    template, mesh, landmarks, truth = reference_scan
    found = register_scan(template, *damaged(name, mesh, landmarks), RegistrationConfig())
    assert DAMAGE[name] in "; ".join(found.scan.repairs)
    assert face_error(found, template, truth, 95) <= 0.75
